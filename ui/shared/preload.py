"""Imports a module ahead of its first use, on a thread, and logs an import that fails."""

from __future__ import annotations

import importlib

from improv.output import logger


def preload(module: str) -> None:
    """Import `module`. A failure is logged and not raised: the room that needs the module raises
    it again, where the reader sees it."""
    try:
        importlib.import_module(module)
    except Exception:
        logger().exception("%s could not be imported ahead of use", module)
