"""Files that somebody asked for, at the place that was named."""

from __future__ import annotations

from pathlib import Path

from improv.errors import RunError


def write(name: str, data: str | bytes) -> None:
    """Write a file. Raises RunError where it cannot be written."""
    try:
        Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    except OSError as e:
        raise _unwritable(name, e) from None


def expect(*names: str) -> None:
    """Raise RunError where a file of that name could not be written: before the work whose result
    would have no place. What is there already stays as it is."""
    for name in names:
        path = Path(name)
        there = path.exists()
        try:
            with path.open("ab"):
                pass
            if not there:
                path.unlink()
        except OSError as e:
            raise _unwritable(name, e) from None


def _unwritable(name: str, error: OSError) -> RunError:
    return RunError(f"{name}: cannot be written: {error.strerror or error}")
