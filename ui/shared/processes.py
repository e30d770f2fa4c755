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

import orjson

from improv import import_path
from improv.errors import RunError
from improv.folder import Folder
from improv.records import Json
from improv.storage.table_rules import LAST_TIME
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
        file = folder.open_to_append(f"{name}.log")
    except OSError as e:
        raise RunError(f"{folder.path}: cannot be written: {e.strerror or e}") from None
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
        _ours[str(folder.path / name)] = process
        known = {"command": list(command), "pid": process.pid, "at": time.time(), **more}
        folder.write(f"{name}.json", json.dumps(known).encode())
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
        known, _, at = _described(folder, name)
        command = tuple(map(str, known.pop("command")))
        with folder.open_to_read(f"{name}.log") as log:
            ended = None if _alive(folder, name) else os.fstat(log.fileno()).st_mtime
            log.seek(max(0, os.fstat(log.fileno()).st_size - 4 * _SAID))
            said = log.read().decode("utf-8", "replace")[-_SAID:]
    except (OSError, ValueError, KeyError, TypeError, RunError):
        return None
    ours = _ours.get(str(folder.path / name))
    code = ours.poll() if ours is not None else None
    return Started(name, command, at, ended, code, said, known, ours is not None)


def interrupt(permit: Permit, root: str, name: str) -> bool:
    """Send a process the signal of Ctrl-C. Return False if it has ended."""
    if not _NAME.fullmatch(name):
        return False
    try:
        folder = process_folder(root, make=False)
        _, pid, _ = _described(folder, name)
        # While the lock is held the pid cannot belong to another process.
        if not _alive(folder, name):
            return False
        os.kill(pid, signal.SIGINT)
    except (OSError, ValueError, KeyError, TypeError, RunError):
        return False
    return True


def _described(folder: Folder, name: str) -> tuple[Json, int, float]:
    """Return the file of a process without its pid and time, the pid, and the time. The file may
    come from anybody: raises OSError, ValueError, KeyError, TypeError or RunError."""
    known = orjson.loads(folder.read(f"{name}.json"))
    if not isinstance(known, dict):
        raise ValueError("no JSON object")
    pid, at = int(known.pop("pid")), float(known.pop("at"))
    if not (0 < pid < 2**31 and 0 <= at <= LAST_TIME):  # 0 and below mean groups of processes
        raise ValueError("a process that cannot be")
    return known, pid, at


def process_folder(root: str, *, make: bool = True) -> Folder:
    """Return the folder of the processes' files. Raises RunError where it cannot be written, or is
    a link."""
    if "://" in root:
        raise RunError(f"{root}: the viewer starts runs in a folder of this machine only")
    folder = Folder(Path(root).resolve(), FOLDER)
    if make:
        try:
            folder.make()
        except OSError as e:
            raise RunError(f"{folder.path}: cannot be written: {e.strerror or e}") from None
    return folder


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


def _alive(folder: Folder, name: str) -> bool:
    """Whether a process holds the lock of its output file."""
    if sys.platform == "win32":
        ours = _ours.get(str(folder.path / name))
        return ours is not None and ours.poll() is None
    with folder.open_to_read(f"{name}.log") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def environment() -> dict[str, str]:
    """Return the environment of a process that this viewer starts. It gets no token: what the
    process plays has nothing to do with the page."""
    return {k: v for k, v in import_path.child_environment().items() if k != TOKEN}
