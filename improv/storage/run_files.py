"""The files of one run, by their names in its folder: read anywhere, written whole or not at all.

Any address that pyarrow.fs knows can be read; a run is played in a folder that is mounted. What
the files hold is not known here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.fs as pafs

from improv.errors import RunError

READ_ERRORS = (OSError, pa.ArrowException, KeyError, ValueError)
"""What reading a file that is torn or foreign may raise."""


@dataclass(frozen=True)
class RunFiles:
    """Where a run's folder is. A file's name is its path in the folder, like "shards/a.parquet"."""

    fs: pafs.FileSystem
    path: str

    @property
    def id(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def local(self) -> Path:
        """The folder as this machine mounts it. Raises RunError where it does not."""
        if not isinstance(self.fs, pafs.LocalFileSystem):
            raise RunError(
                f"{self.path}: a run is played in a folder that this machine mounts; what was "
                "played can be copied to an object store and read there"
            )
        return Path(self.path)

    def exists(self, name: str) -> bool:
        info = self.fs.get_file_info(f"{self.path}/{name}")
        return bool(info.type == pafs.FileType.File)

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises OSError."""
        with self.fs.open_input_stream(f"{self.path}/{name}") as source:
            return bytes(source.read())

    def list(self, part: str) -> list[pafs.FileInfo]:
        """Return the files in a folder of the run, by name; none where there is no such folder.
        Raises OSError."""
        selector = pafs.FileSelector(f"{self.path}/{part}", allow_not_found=True)
        files = (i for i in self.fs.get_file_info(selector) if i.type == pafs.FileType.File)
        return sorted(files, key=lambda info: str(info.base_name))

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all. Raises OSError."""
        with self.open_for_writing(name) as sink:
            sink.write(data)

    @contextlib.contextmanager
    def open_for_writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that gets its name when it is whole and on the disk."""
        final = self.local / name
        temporary = final.with_name(f"{final.name}.tmp")
        try:
            # Not by pyarrow, which neither makes files private nor waits for the disk.
            with os.fdopen(os.open(temporary, _CREATE, 0o600), "wb") as sink:
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
            temporary.replace(final)
        except BaseException:
            # On a full disk it would keep the room that others need.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
