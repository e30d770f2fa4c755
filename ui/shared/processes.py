"""Processes that the viewer starts: `improv run`, `resume` and `branch`, each a process of its own.

A process outlives the page and the viewer. What it says goes to a file under `.viewer` in the runs
folder, and it holds a lock on that file for as long as it lives: so it is known after a reload
whether it still runs, whose number may be interrupted, and that nothing is started twice.
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

from improv import files
from improv.errors import RunError
from improv.records import Json

if sys.platform != "win32":
    import fcntl

FOLDER = ".viewer"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
SAID = 20_000
"""Characters at the end of what a process said that are kept to show."""
_TRIES = 5

_ours: dict[str, subprocess.Popen[bytes]] = {}
"""Those that this viewer started, which it has to bury."""


@dataclass(frozen=True)
class Started:
    """A process as its file tells of it. `code` is its exit code, None while it runs, and where
    another viewer started it; `more` is what whoever started it wanted to remember."""

    name: str
    command: tuple[str, ...]
    at: float
    ended: float | None
    code: int | None
    said: str
    more: Json

    @property
    def alive(self) -> bool:
        return self.ended is None


def improv(*words: str) -> list[str]:
    """Return the command line of `improv` with these words, by this Python."""
    return [sys.executable, "-m", "improv.cli", *words]


def start(root: str, name: str, command: Sequence[str], more: Mapping[str, object]) -> bool:
    """Start a process under a name; False if one of that name runs already.

    Raises RunError where the runs folder cannot be written.
    """
    folder = place(root)
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r}: no name for what the viewer starts")
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
            env=_environment(),
            start_new_session=True,
        )
        _ours[str(folder / name)] = process
        known = {"command": list(command), "pid": process.pid, "at": time.time(), **more}
        (folder / f"{name}.json").write_text(json.dumps(known), encoding="utf-8")
    except OSError as e:
        raise RunError(f"{command[0]}: cannot be started: {e.strerror or e}") from None
    finally:
        os.close(file)  # the process has it too, and with it the lock
    return True


def look(root: str, name: str) -> Started | None:
    """Return what is known of a process, None if none of that name was started here."""
    if not NAME.fullmatch(name):
        return None
    try:
        folder = place(root, make=False)
        known = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        command = tuple(map(str, known.pop("command")))
        at, _ = float(known.pop("at")), int(known.pop("pid"))
        log = folder / f"{name}.log"
        ended = None if _alive(log) else log.stat().st_mtime
        said = log.read_bytes()[-4 * SAID :].decode("utf-8", "replace")[-SAID:]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError):
        return None
    ours = _ours.get(str(folder / name))
    code = ours.poll() if ours is not None else None
    return Started(name, command, at, ended, code, said, known)


def interrupt(root: str, name: str) -> bool:
    """Send a process what Ctrl-C would; False if it is over."""
    if not NAME.fullmatch(name):
        return False
    try:
        folder = place(root, make=False)
        known = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        # As long as the lock is held the number cannot be anybody else's.
        if not _alive(folder / f"{name}.log"):
            return False
        os.kill(int(known["pid"]), signal.SIGINT)
    except (OSError, ValueError, KeyError, TypeError, RunError):
        return False
    return True


def place(root: str, *, make: bool = True) -> Path:
    """Return the folder that holds what is known of processes. Raises RunError."""
    if "://" in root:
        raise RunError(f"{root}: runs are played in a folder that this machine mounts")
    folder = Path(root).resolve() / FOLDER
    if folder.is_symlink():
        raise RunError(f"{folder}: is a link; the viewer writes to none")
    if make:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise RunError(f"{folder}: cannot be written: {e.strerror or e}") from None
    return folder


_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


def _taken(file: int) -> bool:
    """Take the lock of a file; somebody who only looks has it for an instant."""
    if sys.platform == "win32":
        return True
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def _alive(log: Path) -> bool:
    """Whether a process that holds the file's lock is there."""
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


def _environment() -> dict[str, str]:
    """Return our environment, in which this very improv is found."""
    home = str(Path(files.__file__).resolve().parent.parent)
    path = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return os.environ | {"PYTHONPATH": os.pathsep.join([*path, home])}
