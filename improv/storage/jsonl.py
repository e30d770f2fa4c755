"""Append-only files of JSON lines, written by processes that may be killed at any moment.

A torn line is never continued: the next append begins a new line, and readers skip lines that are
not whole. The modules that write the files define their content.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Self

import orjson

from improv.folder import Folder
from improv.records import Json


class JsonLines:
    """Appends lines to one file, which only its owner may read.

    Each append reaches the operating system at once, so a crash of the process loses nothing.
    `sync` bounds what a power cut loses. Opening and appending raise OSError if the disk is full or
    gone; the lines written before stay valid. Opening raises RunError for a link.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._dirty = False
        self._file = folder.open_to_append(name)
        try:
            # While another process writes, its last line may look torn. Then this one adds an empty
            # line, which readers skip.
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
        """Append a line for each value, all in one piece. Raises OSError."""
        lines = [b""] if self._torn else []
        lines += [orjson.dumps(value) for value in values]
        lines.append(b"")
        data = memoryview(b"\n".join(lines))
        # Until all is written, the file may end in the middle of a line.
        self._torn = self._dirty = True
        while data:
            data = data[os.write(self._file, data) :]
        self._torn = False

    def sync(self) -> None:
        """Wait until all appended lines are on the disk. Raises OSError."""
        if self._dirty:
            self._dirty = False
            os.fsync(self._file)

    def close(self, *, sync: bool = True) -> None:
        """Close the file; with `sync`, wait first until all lines are on the disk. The file may be
        closed already: its number may then be another file's."""
        if self._file < 0:
            return
        try:
            if sync:
                self.sync()
        finally:
            file, self._file = self._file, -1
            os.close(file)


def read_rows(data: bytes) -> Iterator[Json]:
    """Yield the JSON objects in a file's lines; skip lines that are torn or hold anything else."""
    for line in data.split(b"\n"):
        with contextlib.suppress(orjson.JSONDecodeError):
            row = orjson.loads(line)
            if isinstance(row, dict):
                yield row


def read_whole_lines(folder: Folder, name: str, start: int = 0) -> tuple[list[bytes], int, bool]:
    """Read the whole lines of a file from byte `start` on. A process may still write to it.

    Returns the lines, the byte after the last one, which is the next `start`, and whether a part of
    a line follows. Raises OSError, and RunError for a link.
    """
    with folder.open_to_read(name) as source:
        source.seek(start)
        data = source.read()
    whole = data.rfind(b"\n") + 1
    return data[:whole].split(b"\n"), start + whole, whole < len(data)
