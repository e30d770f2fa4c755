"""Processes that the viewer starts: `improv run`, `resume` and `branch`.

A process goes on when the page is closed or the viewer ends. Its output goes to a file under
`.viewer` in the runs folder, and the process holds a lock on that file until it ends. So a page
that is loaded later knows whether the process still runs and whether its pid may be interrupted,
and the viewer never starts the same process twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from improv import import_path
from improv.errors import RunError
from improv.records import Json
from ui.shared.permission import TOKEN, Permit

if sys.platform != "win32":
    import fcntl

FOLDER = ".viewer"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_SAID = 20_000
"""Characters at the end of a process's output that are shown."""
_TRIES = 5

_ours: dict[str, subprocess.Popen[bytes]] = {}
"""Processes of this viewer, which must collect their exit codes."""


@dataclass(frozen=True)
class Started:
    """A process, as its file describes it. `at` and `ended` are seconds since 1970, `said` is the
    end of its output, and `more` are the caller's own values. `code` is the exit code, None while
    the process runs and where another viewer started it.

    `ours` is whether this viewer started it. The files of another may have come with a stranger's
    folder: they are shown, and no command is made of them."""

    name: str
    command: tuple[str, ...]
    at: float
    ended: float | None
    code: int | None
    said: str
    more: Json
    ours: bool

    @property
    def alive(self) -> bool:
        return self.ended is None


def improv(*words: str) -> list[str]:
    """Return the command line that runs `improv` with these words under this Python."""
    return import_path.python("-m", "improv.cli", *words)


def start(
    permit: Permit, root: str, name: str, command: Sequence[str], more: Mapping[str, object]
) -> bool:
    """Start a process under a name. Return False if a process of that name runs already.

    Raises RunError where the name is not allowed, the runs folder cannot be written, or the command
    cannot be started.
    """
    folder = process_folder(root)
    if not _NAME.fullmatch(name):
        raise RunError(f"{name!r}: a process of the viewer cannot have this name")
    try:
        file = os.open(folder / f"{name}.log", _OPEN, 0o600)
    except OSError as e:
        raise RunError(f"{folder}: cannot be written: {e.strerror or e}") from None
    try:
        if not _taken(file):
            return False
        os.ftruncate(file, 0)
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment(),
            start_new_session=True,
        )
        _ours[str(folder / name)] = process
        known = {"command": list(command), "pid": process.pid, "at": time.time(), **more}
        (folder / f"{name}.json").write_text(json.dumps(known), encoding="utf-8")
    except OSError as e:
        raise RunError(f"{command[0]}: cannot be started: {e.strerror or e}") from None
    finally:
        os.close(file)  # the process has inherited it, and keeps the lock
    return True


def process_state(root: str, name: str) -> Started | None:
    """Return the state of a process, None if no process of that name was started in this folder."""
    if not _NAME.fullmatch(name):
        return None
    try:
        folder = process_folder(root, make=False)
        known = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        command = tuple(map(str, known.pop("command")))
        at, _ = float(known.pop("at")), int(known.pop("pid"))
        log = folder / f"{name}.log"
        ended = None if _alive(log) else log.stat().st_mtime
        said = log.read_bytes()[-4 * _SAID :].decode("utf-8", "replace")[-_SAID:]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError):
        return None
    ours = _ours.get(str(folder / name))
    code = ours.poll() if ours is not None else None
    return Started(name, command, at, ended, code, said, known, ours is not None)


def interrupt(permit: Permit, root: str, name: str) -> bool:
    """Send a process the signal of Ctrl-C. Return False if it has ended."""
    if not _NAME.fullmatch(name):
        return False
    try:
        folder = process_folder(root, make=False)
        known = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        # While the lock is held the pid cannot belong to another process.
        if not _alive(folder / f"{name}.log"):
            return False
        os.kill(int(known["pid"]), signal.SIGINT)
    except (OSError, ValueError, KeyError, TypeError, RunError):
        return False
    return True


def process_folder(root: str, *, make: bool = True) -> Path:
    """Return the folder of the processes' files. Raises RunError where it cannot be written."""
    if "://" in root:
        raise RunError(f"{root}: the viewer starts runs in a folder of this machine only")
    folder = Path(root).resolve() / FOLDER
    if folder.is_symlink():
        raise RunError(f"{folder}: is a symbolic link, which the viewer does not follow")
    if make:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise RunError(f"{folder}: cannot be written: {e.strerror or e}") from None
    return folder


_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


def _taken(file: int) -> bool:
    """Take the lock of a file. A reader holds it for an instant, so it is tried several times."""
    if sys.platform == "win32":
        return True
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def _alive(log: Path) -> bool:
    """Whether a process holds the lock of the file."""
    if sys.platform == "win32":
        ours = _ours.get(str(log.with_suffix("")))
        return ours is not None and ours.poll() is None
    file = os.open(log, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def environment() -> dict[str, str]:
    """Return the environment of a process that this viewer starts. It gets no token: what the
    process plays has nothing to do with the page."""
    return {k: v for k, v in import_path.child_environment().items() if k != TOKEN}
