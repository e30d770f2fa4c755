"""Files of JSON lines to which only lines are added, by processes that may be killed in between.

A line that was torn off in the middle is never continued: the next line begins anew, and whoever
reads skips what is no whole line. What the lines mean is their writers' business.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import orjson

from improv.records import Json

# A folder from a stranger could have us write elsewhere through a link. Windows does not know the
# flag for that; it alone has text files, whose line ends it would change.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class JsonLines:
    """Appends lines to one file, which only its owner may read.

    Each append reaches the operating system at once, so that a crash of the process loses
    nothing; `sync` bounds what a power cut can take. Opening and appending raise OSError where
    the disk is full or gone; what was written before stays good.
    """

    def __init__(self, path: Path) -> None:
        self._dirty = False
        self._file = os.open(path, _FLAGS, 0o600)
        try:
            # Another process may look torn while it writes: then there is an empty line, which
            # is nothing.
            self._torn = False
            if os.fstat(self._file).st_size:
                os.lseek(self._file, -1, os.SEEK_END)
                self._torn = os.read(self._file, 1) != b"\n"
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def append(self, *values: Any) -> None:
        """Append a line for each value, all in one piece."""
        lines = [b""] if self._torn else []
        lines += [orjson.dumps(value) for value in values]
        lines.append(b"")
        data = memoryview(b"\n".join(lines))
        # Until all is written the file may end in a part of a line.
        self._torn = self._dirty = True
        while data:
            data = data[os.write(self._file, data) :]
        self._torn = False

    def sync(self) -> None:
        """Wait until what was appended is on the disk."""
        if self._dirty:
            self._dirty = False
            os.fsync(self._file)

    def close(self, *, sync: bool = True) -> None:
        """Close the file, once what was appended is on the disk unless `sync` is false."""
        try:
            if sync:
                self.sync()
        finally:
            os.close(self._file)


def read_rows(data: bytes) -> Iterator[Json]:
    """Yield the JSON objects of a file's lines; a torn line is skipped, and so is any other."""
    for line in data.split(b"\n"):
        with contextlib.suppress(orjson.JSONDecodeError):
            row = orjson.loads(line)
            if isinstance(row, dict):
                yield row


def read_whole_lines(path: Path, start: int = 0) -> tuple[list[bytes], int, bool]:
    """Read a file that may still be written to, from a byte on.

    Returns its whole lines, the byte after the last of them, from which to read on later, and
    whether a part of a line follows.
    """
    with path.open("rb") as source:
        source.seek(start)
        data = source.read()
    whole = data.rfind(b"\n") + 1
    return data[:whole].split(b"\n"), start + whole, whole < len(data)
