"""The files of one run by their names in its folder. A file is written whole or not at all.

Files can be read at any address that pyarrow.fs knows, and written only in a local folder. This
module does not know what the files hold.
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
"""The errors that reading a torn or foreign file may raise."""


@dataclass(frozen=True)
class RunFiles:
    """The folder of a run. A file's name is its path in the folder, like "shards/a.parquet"."""

    fs: pafs.FileSystem
    path: str

    @property
    def id(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def local(self) -> Path:
        """The folder as a local path. Raises RunError if it is not on a local filesystem."""
        if not isinstance(self.fs, pafs.LocalFileSystem):
            raise RunError(
                f"{self.path}: a run is played in a local folder; copy it to an object store "
                "when it is finished, to read it there"
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
        """Return the files in a folder of the run, sorted by name; none if there is no such folder.
        Raises OSError."""
        selector = pafs.FileSelector(f"{self.path}/{part}", allow_not_found=True)
        files = (i for i in self.fs.get_file_info(selector) if i.type == pafs.FileType.File)
        return sorted(files, key=lambda info: str(info.base_name))

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all. Raises OSError, and RunError if it is not local."""
        with self.open_for_writing(name) as sink:
            sink.write(data)

    @contextlib.contextmanager
    def open_for_writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing under a temporary name; rename it when it is whole and on
        disk."""
        final = self.local / name
        temporary = final.with_name(f"{final.name}.tmp")
        try:
            # pyarrow's own files are not private, and it does not wait for the disk.
            with os.fdopen(os.open(temporary, _CREATE, 0o600), "wb") as sink:
                yield sink
                sink.flush()
                os.fsync(sink.fileno())
            temporary.replace(final)
        except BaseException:
            # On a full disk the rest of the file would take space that other files need.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
