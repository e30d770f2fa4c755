"""The rules of the house: imports point one way, heavy packages have doors, names are pinned."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent

# The stair. A module may import from rows above its own, not from its own row or below. A module
# whose row says which others it may import (`only`) is a reader beside the stair.
RANKS: list[set[str]] = [
    {"errors", "record", "paths"},
    {"source", "scene", "line"},
    {"study", "hearing"},
    {"trial", "branch"},
    {"prompt"},
    {"puppet"},
    {"model", "puppet_server", "local"},
    {"character", "author"},
    {"stage"},
    {"store"},
    {"limiter"},
    {"host"},
    {"run"},
    {"doctor", "demo"},
    {"show", "terminal"},
    {"cli"},
    {"ui"},
]
