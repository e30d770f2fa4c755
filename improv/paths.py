"""Where the folders that ship with improv are: beside the package, or at the repository's top."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """Return the folder `name` ("ui", "scenes", "runs") as installed or as checked out."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
