"""A local folder whose files are reached through no link.

A folder of runs may come from a stranger, and a link in it would lead our reads and writes
elsewhere. So everything that improv reads and writes in a run goes through this module. A name is
walked folder by folder from one that is trusted; each is opened once, and what is done to a file is
done in the open folder. A file is written under a new name and renamed when it is whole. Symbolic
links, pipes, devices and sockets are refused with a RunError that names them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from improv.errors import RunError

_HAS_DIR_FD = {os.open, os.stat, os.mkdir, os.unlink, os.rename, os.link} <= os.supports_dir_fd
"""Whether this system can open a file by its name in an open folder. Windows cannot: there each
folder of a path is looked at before the path is used."""
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FLAGS = (
    _NO_FOLLOW
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for its other end
    | getattr(os, "O_BINARY", 0)
)
_FOLDER_FLAGS = os.O_RDONLY | _FLAGS | getattr(os, "O_DIRECTORY", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(frozen=True)
class Entry:
    """A name in a folder."""

    name: str
    mode: int
    size: int
    mtime_ns: int

    @property
    def kind(self) -> int:
        """One of the S_IF constants of the module `stat`."""
        return stat.S_IFMT(self.mode)

    @property
    def is_file(self) -> bool:
        return self.kind == stat.S_IFREG

    @property
    def is_folder(self) -> bool:
        return self.kind == stat.S_IFDIR

    @property
    def is_odd(self) -> bool:
        """Whether this is neither a file nor a folder: a link, a pipe, a socket or a device."""
        return not (self.is_file or self.is_folder)


@dataclass(frozen=True)
class Folder:
    """A folder at `trusted`/`below`. Links are followed in `trusted`, never below it.

    A name is a path in the folder, like "shards/a.parquet". Every method raises OSError, and
    RunError if a part of the name is a link, or is no folder or file where there should be one.
    """

    trusted: Path
    below: str = ""

    @property
    def path(self) -> Path:
        return self.trusted / self.below

    def within(self, part: str) -> Folder:
        """Return a folder in this one. It need not exist."""
        return Folder(self.trusted, self._full(part))

    # -- reading ---------------------------------------------------------------------------

    def entry(self, name: str) -> Entry | None:
        """Return what has this name, None if nothing has. A link is returned as a link."""
        try:
            with self._parent(name) as place:
                return place.entry()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_file(self, name: str) -> bool:
        """Return whether there is a file of this name. Raises RunError if there is a link."""
        entry = self.entry(name)
        if entry is not None and entry.is_odd:
            raise self.refusal(name, entry.kind)
        return entry is not None and entry.is_file

    def entries(self, part: str = "") -> list[Entry]:
        """Return what is in this folder or a part of it, sorted by name; nothing if there is no
        such folder. No link is followed. Raises RunError if there is a file in its place."""
        try:
            with self._folder(part) as (handle, path):
                with os.scandir(path if handle is None else handle) as listing:
                    names = sorted(entry.name for entry in listing)
                places = [_Place.of(handle, path / name) for name in names]
                # A file may have been removed meanwhile.
                return [entry for place in places if (entry := place.entry())]
        except FileNotFoundError:
            return []
        except NotADirectoryError as e:
            raise _refusal(Path(e.filename), stat.S_IFREG, folder=True) from None

    def open_to_read(self, name: str) -> IO[bytes]:
        """Open a file for reading, without a buffer."""
        with self._parent(name) as place:
            place.require_file(missing_ok=False)
            return os.fdopen(place.open(os.O_RDONLY), "rb", buffering=0)

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        with self.open_to_read(name) as source:
            return source.read()

    def refusal(self, name: str, kind: int) -> RunError:
        """Return the error for something of this kind that has the name of a file."""
        return _refusal(self.path / name, kind)

    # -- writing ---------------------------------------------------------------------------

    def make(self, part: str = "", *, new: bool = False) -> None:
        """Make a folder, and those above it, for their owner only; with `new` it must not exist."""
        if not self._full(part):
            self.trusted.mkdir(mode=0o700, parents=True, exist_ok=not new)
            return
        with self._parent(part, make=True) as place:
            try:
                os.mkdir(place.name, 0o700, dir_fd=place.handle)
            except FileExistsError:
                entry = place.entry()
                if new or entry is None:
                    raise
                if not entry.is_folder:
                    raise _refusal(place.path, entry.kind, folder=True) from None

    @contextlib.contextmanager
    def writing(self, name: str, *, mode: int = 0o600) -> Iterator[IO[bytes]]:
        """Open a file for writing under a new name; rename it when it is whole and on disk."""
        with self._parent(name) as place:
            place.require_file()
            temporary = place.beside(f"{place.path.name}.{secrets.token_hex(4)}.tmp")
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with os.fdopen(temporary.open(flags, mode), "wb") as sink:
                    yield sink
                    sink.flush()
                    os.fsync(sink.fileno())
                temporary.replace(place)
            except BaseException:
                # On a full disk the rest of the file would take space that other files need.
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file, whole or not at all."""
        with self.writing(name) as sink:
            sink.write(data)

    def create(self, name: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a file that does not exist yet. Raises FileExistsError."""
        with self._parent(name) as place:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(place.open(flags, mode), "wb") as sink:
                try:
                    sink.write(data)
                    sink.flush()
                except BaseException:
                    with contextlib.suppress(OSError):
                        place.unlink()
                    raise

    def open_to_append(self, name: str) -> int:
        """Open a file for appending and reading; make it if it is missing. Return its handle.

        Raises RunError if the file has a second name (a hard link), which may be elsewhere.
        """
        with self._parent(name) as place:
            place.require_file()
            handle = place.open(os.O_RDWR | os.O_CREAT | os.O_APPEND)
            if os.fstat(handle).st_nlink > 1:
                os.close(handle)
                raise RunError(
                    f"{place.path}: has a second name (a hard link), and what is appended would "
                    "change both; put a copy of the file in its place"
                )
            return handle

    def open_in_place(self, name: str, *, make: bool = False) -> int:
        """Open a file for reading and for writing in place; with `make`, make it if it is missing.
        Return its handle. The caller knows that the file is its own."""
        with self._parent(name) as place:
            place.require_file(missing_ok=make)
            return place.open(os.O_RDWR | (os.O_CREAT if make else 0))

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._parent(name) as place:
            place.unlink()

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, which replaces the file of that name."""
        with self._parent(name) as source, self._parent(new) as target:
            source.replace(target)

    def link(self, name: str, new: str) -> None:
        """Give a file of ours a second name. Raises FileExistsError if that name is taken."""
        with self._parent(name) as a, self._parent(new) as b:
            os.link(a.name, b.name, src_dir_fd=a.handle, dst_dir_fd=b.handle)

    def sync(self) -> None:
        """Wait until the names in this folder are on disk, where the filesystem can do that."""
        with contextlib.suppress(OSError), self._folder("") as (handle, _):
            if handle is not None:
                os.fsync(handle)

    # -- walking ---------------------------------------------------------------------------

    def _full(self, name: str) -> str:
        return "/".join(part for part in (self.below, name) if part)

    @contextlib.contextmanager
    def _parent(self, name: str, *, make: bool = False) -> Iterator[_Place]:
        """Open the folder that holds the file `name`."""
        above, _, last = self._full(name).rpartition("/")
        _check_parts(self.path / name, [last])
        with _walk(self.trusted, above, make=make) as (handle, path):
            yield _Place.of(handle, path / last)

    @contextlib.contextmanager
    def _folder(self, part: str) -> Iterator[tuple[int | None, Path]]:
        with _walk(self.trusted, self._full(part), make=False) as opened:
            yield opened


@dataclass(frozen=True)
class _Place:
    """A name in an open folder: the folder's handle, and the name in it. Where folders cannot be
    opened, the handle is None and the name is a path."""

    handle: int | None
    name: str
    path: Path

    @classmethod
    def of(cls, handle: int | None, path: Path) -> _Place:
        return cls(handle, path.name if handle is not None else str(path), path)

    def entry(self) -> Entry | None:
        try:
            status = os.stat(self.name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Entry(self.path.name, _mode(status), status.st_size, status.st_mtime_ns)

    def require_file(self, *, missing_ok: bool = True) -> None:
        entry = self.entry()
        if entry is None and not missing_ok:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        if entry is not None and not entry.is_file:
            raise _refusal(self.path, entry.kind)

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open the file. It is looked at again, because it may have been replaced meanwhile."""
        handle = os.open(self.name, flags | _FLAGS, mode, dir_fd=self.handle)
        kind = stat.S_IFMT(os.fstat(handle).st_mode)
        if kind != stat.S_IFREG:
            os.close(handle)
            raise _refusal(self.path, kind)
        return handle

    def beside(self, name: str) -> _Place:
        return _Place.of(self.handle, self.path.with_name(name))

    def replace(self, other: _Place) -> None:
        os.replace(self.name, other.name, src_dir_fd=self.handle, dst_dir_fd=other.handle)

    def unlink(self) -> None:
        os.unlink(self.name, dir_fd=self.handle)


@contextlib.contextmanager
def _walk(trusted: Path, below: str, *, make: bool) -> Iterator[tuple[int | None, Path]]:
    """Open the folder `below` in `trusted`, one part after the other. Yield its handle, None where
    folders cannot be opened, and its path."""
    parts = below.split("/") if below else []
    _check_parts(trusted / below, parts)
    path = trusted
    if make:
        trusted.mkdir(parents=True, exist_ok=True)
    handle = os.open(trusted, _FOLDER_FLAGS & ~_NO_FOLLOW) if _HAS_DIR_FD else None
    try:
        for part in parts:
            path = path / part
            place = _Place.of(handle, path)
            entry = place.entry()
            if entry is None and make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place.name, 0o700, dir_fd=handle)
                entry = place.entry()
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            if entry.is_odd:
                raise _refusal(path, entry.kind, folder=True)
            if not entry.is_folder:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            if handle is not None:
                inner = os.open(part, _FOLDER_FLAGS, dir_fd=handle)
                os.close(handle)
                handle = inner
        yield handle, path
    finally:
        if handle is not None:
            os.close(handle)


def _check_parts(path: Path, parts: list[str]) -> None:
    """Raise RunError for a name that leads out of its folder."""
    separators = {os.sep, os.altsep or os.sep, "\0"}
    for part in parts:
        if part in ("", ".", "..") or separators & set(part):
            raise RunError(f"{path}: {part!r} is not the name of a file in a run")


def _mode(status: os.stat_result) -> int:
    """Return the kind and permissions of a file. A junction of Windows counts as a link."""
    if getattr(status, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1):
        return stat.S_IFLNK
    return status.st_mode


def _refusal(path: Path, kind: int, *, folder: bool = False) -> RunError:
    wanted = "folder" if folder else "file"
    if kind == stat.S_IFLNK:
        return RunError(
            f"{path}: is a symbolic link, which improv does not follow; put the {wanted} itself in "
            "its place"
        )
    what = _KINDS.get(kind, "of an unknown kind")
    return RunError(f"{path}: is {what}, where a {wanted} should be; remove it")
