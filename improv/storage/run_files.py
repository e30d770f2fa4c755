"""The files of one run by their names in its folder. A file is written whole or not at all.

Files can be read at any address that pyarrow.fs knows, and written only in a local folder, through
`improv.folder`, which follows no link. This module does not know what the files hold.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.fs as pafs

from improv.errors import RunError
from improv.folder import Folder
from improv.output import logger
from improv.storage.filesystem import local_folder

_log = logger()
READ_ERRORS = (OSError, pa.ArrowException, KeyError, ValueError)
"""The errors that reading a torn or foreign file may raise."""
_LARGEST_CACHE = 64 * 2**20
"""A larger cache (in bytes) is not read: no cache of ours is that large."""


@dataclass(frozen=True)
class RunFiles:
    """The folder of a run. A file's name is its path in the folder, like "shards/a.parquet"."""

    fs: pafs.FileSystem
    path: str

    @property
    def id(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def folder(self) -> Folder:
        """The folder, to write into. Raises RunError if it is not on a local filesystem."""
        folder = local_folder(self.fs, self.path)
        if folder is None:
            raise RunError(
                f"{self.path}: a run is played in a local folder; copy it to an object store "
                "when it is finished, to read it there"
            )
        return folder

    @property
    def local(self) -> Path:
        """The folder as a local path. Raises RunError if it is not on a local filesystem."""
        return self.folder.path

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name. Raises RunError if there is a link."""
        info = self.fs.get_file_info(f"{self.path}/{name}")
        return bool(info.type == pafs.FileType.File)

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises OSError, and RunError for a link."""
        with self.fs.open_input_stream(f"{self.path}/{name}") as source:
            return bytes(source.read())

    def list(self, part: str) -> list[pafs.FileInfo]:
        """Return the files in a folder of the run, sorted by name; none if there is no such folder.
        Raises OSError, and RunError if there is a link or a special file."""
        selector = pafs.FileSelector(f"{self.path}/{part}", allow_not_found=True)
        infos = self.fs.get_file_info(selector)
        for info in infos:
            if info.type == pafs.FileType.Unknown:
                self.fs.get_file_info(info.path)  # raises RunError with its name
        files = (i for i in infos if i.type == pafs.FileType.File)
        return sorted(files, key=lambda info: str(info.base_name))

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all. Raises OSError, and RunError if it is not local or a
        link has its name."""
        self.folder.write(name, data)

    def read_cache(self, name: str) -> bytes:
        """Return a file that only saves time; b"" if it is missing, too large, or cannot be read.
        A link is named in a warning."""
        try:
            size = self.fs.get_file_info(f"{self.path}/{name}").size or 0
            return self.read(name) if 0 < size <= _LARGEST_CACHE else b""
        except RunError as e:
            _log.warning("%s", e)
        except READ_ERRORS:
            pass  # what it held is computed again
        return b""

    def write_cache(self, name: str, data: bytes) -> None:
        """Write a file that only saves time. A folder that cannot be written is no error: it is
        read all the same."""
        with contextlib.suppress(OSError, RunError):
            self.write(name, data)

    def open_for_writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for writing under a new name; rename it when it is whole and on disk."""
        return self.folder.writing(name)
