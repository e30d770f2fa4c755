"""The folders that ship with improv, and files that are written where the user names."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from improv.errors import RunError


def shipped(name: str) -> Path:
    """Return the folder `name` ("ui", "scenes", "runs") as installed or as checked out."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def write_file(name: str, data: str | bytes) -> None:
    """Write a file. Raises RunError if it cannot be written."""
    try:
        Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    except OSError as e:
        raise _unwritable(name, e.strerror or str(e)) from None


def check_writable(*names: str) -> None:
    """Raise RunError if a file of one of these names cannot be written. Nothing is written.

    Commands call this before long work, so that its result has a place.
    """
    for name in names:
        path = Path(name)
        folder = path.parent
        if path.is_dir():
            code = errno.EISDIR
        elif not folder.is_dir():
            code = errno.ENOTDIR if folder.exists() else errno.ENOENT
        elif not os.access(path if path.exists() else folder, os.W_OK):
            code = errno.EACCES
        else:
            continue
        raise _unwritable(name, os.strerror(code))


def _unwritable(name: str, why: str) -> RunError:
    return RunError(f"{name}: cannot be written: {why}")
