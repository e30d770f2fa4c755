"""The folders that ship with improv, and files that are written where the user names.

The user may name a link of their own, which is followed. Below the folder of a run no link is:
it may have come with the run, from a stranger.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from improv.errors import RunError
from improv.folder import Folder

_MOST_LINKS = 40
_NOT_FILES = ("/dev/", "/proc/")
"""Where names stand for devices and open files, which are written into and not replaced."""


def shipped(name: str) -> Path:
    """Return the folder `name` ("ui", "scenes", "runs") as installed or as checked out."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


@contextlib.contextmanager
def open_for_writing(name: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for writing; it gets its name when it is whole. Raises OSError, and RunError if a
    run has a link there."""
    folder, last = _place(Path(name))
    if _is_stream(folder.path / last):
        with (folder.path / last).open("wb") as sink:
            yield sink
        return
    old = folder.entry(last)
    with folder.writing(last, mode=0o666) as sink:
        if old is not None and os.chmod in os.supports_fd:
            os.chmod(sink.fileno(), stat.S_IMODE(old.mode))  # noqa: PTH101  (a handle)
        yield sink


def write_file(name: str | os.PathLike[str], data: str | bytes) -> None:
    """Write a file. Raises RunError if it cannot be written."""
    try:
        with open_for_writing(name) as sink:
            sink.write(data if isinstance(data, bytes) else data.encode())
    except OSError as e:
        raise _unwritable(name, e.strerror or str(e)) from None


def create_file(name: str | os.PathLike[str], data: str) -> None:
    """Write a file that does not exist yet. Raises OSError and RunError."""
    folder, last = _place(Path(name), follow=False)
    folder.create(last, data.encode(), mode=0o666)


def make_folder(name: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, if they are missing. Raises OSError and RunError."""
    path = Path(name)
    run = _run_above(_absolute(path) / "file")
    if run is None:
        path.mkdir(parents=True, exist_ok=True)
    else:
        below = _absolute(path).relative_to(run.path).as_posix()
        run.make("" if below == "." else below)


def remove_file(name: str | os.PathLike[str]) -> None:
    """Remove a file. Raises OSError and RunError."""
    folder, last = _place(Path(name), follow=False)
    folder.remove(last)


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
            home, last = _place(path)
            if not _is_stream(home.path / last):
                home.is_file(last)
            continue
        raise _unwritable(name, os.strerror(code))


def _place(path: Path, *, follow: bool = True) -> tuple[Folder, str]:
    """Return the folder and the name of a file that the user names. Links are followed as far as
    they do not stand in a run; with `follow` the file itself may be one."""
    path = _absolute(path)
    for _ in range(_MOST_LINKS):
        for there in (path, path.parent.resolve() / path.name):
            run = _run_above(there)
            if run is not None:
                return run, there.relative_to(run.path).as_posix()
        path = there
        if not follow or not path.is_symlink() or _is_stream(path):
            return Folder(path.parent), path.name
        path = _absolute(path.parent / path.readlink())
    raise RunError(f"{path}: cannot be written: {os.strerror(errno.ELOOP)}")


def _run_above(path: Path) -> Folder | None:
    """Return the folder of the run that a file is in, None if it is in none."""
    for above in reversed(path.parents):
        if os.path.lexists(above / "run.json"):
            return Folder(above.parent, above.name)
    return None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolves "..", and no link)


def _is_stream(path: Path) -> bool:
    """Return whether a name stands for a device, a pipe or an open file."""
    if path.as_posix().startswith(_NOT_FILES):
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def _unwritable(name: str | os.PathLike[str], why: str) -> RunError:
    return RunError(f"{os.fspath(name)}: cannot be written: {why}")
