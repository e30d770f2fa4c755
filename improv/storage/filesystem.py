"""A local folder of runs as a filesystem of pyarrow, which follows no link below that folder.

Tables, run.json and the study are read through it, so a link in a run is refused wherever it is
met. It cannot write: `run_files` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.fs as pafs

from improv.folder import Entry, Folder

_TYPES = {True: pafs.FileType.File, False: pafs.FileType.Directory}
_HANDLES = Path("/proc/self/fd")
"""The open files of this process by their handles, on Linux. A file is opened there by pyarrow
itself, which reads without holding the interpreter."""


class RunsHandler(pafs.FileSystemHandler):  # type: ignore[misc]
    """The folder of runs at `root`. A path elsewhere is walked from the top, and follows no link
    at all. A missing file raises FileNotFoundError, and a link or special file RunError."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunsHandler) and other.root == self.root

    __hash__ = None  # type: ignore[assignment]

    def folder(self, path: str) -> Folder:
        """Return the folder at this path, which trusts the folder of runs alone."""
        root = Path(self.root)
        if not Path(path).is_relative_to(root):
            root = Path(Path(path).anchor)
        below = Path(path).relative_to(root).as_posix()
        return Folder(root, "" if below == "." else below)

    def get_type_name(self) -> str:
        return "runs"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        folder = self.folder(selector.base_dir)
        infos = [_file_info(f"{selector.base_dir}/{e.name}", e) for e in folder.entries()]
        if not infos and not selector.allow_not_found and not folder.path.is_dir():
            raise FileNotFoundError(selector.base_dir)
        return infos

    def open_input_file(self, path: str) -> pa.NativeFile:
        folder, name = self._place(path)
        source = folder.open_to_read(name)
        if not _HANDLES.is_dir():
            return pa.PythonFile(source, mode="r")
        with source:
            return pa.OSFile(str(_HANDLES / str(source.fileno())))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        return self.folder(above), name

    def _info(self, path: str) -> pafs.FileInfo:
        if path.rstrip("/") == self.root:
            kind = pafs.FileType.Directory if Path(path).is_dir() else pafs.FileType.NotFound
            return pafs.FileInfo(path, kind)
        folder, name = self._place(path)
        entry = folder.entry(name)
        if entry is not None and entry.is_odd:
            raise folder.refusal(name, entry.kind)
        return _file_info(path, entry)

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotImplementedError("a run's files are written by improv.storage.run_files")

    copy_file = create_dir = delete_dir = delete_dir_contents = delete_file = _refuse
    delete_root_dir_contents = move = open_append_stream = open_output_stream = _refuse


def _file_info(path: str, entry: Entry | None) -> pafs.FileInfo:
    if entry is None:
        return pafs.FileInfo(path, pafs.FileType.NotFound)
    if entry.is_odd:
        return pafs.FileInfo(path, pafs.FileType.Unknown)
    size = entry.size if entry.is_file else None
    return pafs.FileInfo(path, _TYPES[entry.is_file], size=size, mtime_ns=entry.mtime_ns)


def local_filesystem(root: Path) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem of a local folder of runs, and the folder's own path. The folder may be
    a link, because the user names it."""
    path = root.resolve().as_posix()
    return pafs.PyFileSystem(RunsHandler(path)), path


def local_folder(fs: pafs.FileSystem, path: str) -> Folder | None:
    """Return the folder at a path of a local folder of runs, None for any other filesystem."""
    handler = fs.handler if isinstance(fs, pafs.PyFileSystem) else None
    return handler.folder(path) if isinstance(handler, RunsHandler) else None
