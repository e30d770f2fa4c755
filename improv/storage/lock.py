"""The lock of a run folder: only one process plays a run at a time.

The lock consists of two files, because each works where the other fails. `lock` is an empty file
that is never replaced or removed. The process that plays the run holds an flock on it, which the
system frees when the process dies. But some filesystems have no flock, and others do not share it
between machines. So `holder.json` names the holder, and contains a number (the beat) that grows
while the holder lives. Another process sees the number grow without comparing clocks.

A claim writes holder.json by link or rename, so the file is always whole. A beat overwrites the
number in place: this needs no space on a full disk, and does no harm if the file was replaced.
What a run does if the lock is refused or lost is decided in `runner`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from improv.errors import ImprovError, MachineError, RunError
from improv.folder import Folder
from improv.storage.lock_holder import (
    BEAT_HEAD,
    HOLDER_FILE,
    MAX_HOLDER_BYTES,
    NAMELESS_HOSTS,
    Holder,
    beat_bytes,
    folder_number,
    holder_bytes,
    parse_holder,
    process_start,
    read_holder,
    this_process,
)

if sys.platform != "win32":
    import fcntl

_LOCK_FILE = "lock"

_MARGIN = 2.0
"""Seconds beyond three beats before a silent holder on another machine counts as dead."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}  # SMB reports EACCES
_HolderState = Literal["alive", "gone", "rebooted", "unknown"]


class RunLock:
    """Context manager that holds the lock of a run folder.

    Entering raises RunError if another process holds the run. The folder may be on a filesystem
    that other machines mount too. The lock of a dead process is taken over, and `took_over` then
    names that process ("" otherwise). While the lock is held, a thread writes a beat every `beat`
    seconds. If another process has taken the run over (because this machine slept, for example),
    the thread sets `lost`, and the caller must stop playing.

    A holder on another machine counts as dead if it shows no beat for `patience` seconds. The
    default is three of its beats and a margin.
    """

    def __init__(
        self, folder: str | Path, *, beat: float = 2.0, patience: float | None = None
    ) -> None:
        self.folder = Path(folder)
        self._home = _run_home(self.folder)
        self.lost = threading.Event()
        self.took_over = ""
        self._beat = beat
        self._patience = patience
        self._poll = min(beat / 4, 0.25)
        self._me: Holder
        self._file: int | None = None
        self._flocked = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.lost.clear()
        self._stop.clear()
        self.took_over = ""
        self._me = this_process(self._beat, folder_number(self.folder))
        try:
            self._file = self._home.open_in_place(_LOCK_FILE, make=True)
            _OPEN.add(self)
            self._flocked = self._flock()
            self._claim()
            self._thread = threading.Thread(target=self._keep_beating, daemon=True)
            self._thread.start()
        except OSError as e:
            self._leave()
            raise unwritable_error(f"{self.folder}: {_why(e)}", e) from None
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._file is not None and self._thread:
            self._thread.join()
        self._leave()

    # -- taking the lock --------------------------------------------------------------------

    def _flock(self) -> bool:
        """Take the flock; return False if the filesystem has none.

        Raises RunError if another process has it.
        """
        if sys.platform == "win32":
            return False
        assert self._file is not None
        # The process with the flock may not have written holder.json yet, or may have just removed
        # it. So a refusal waits up to one beat for the holder's name.
        end = time.monotonic() + self._beat
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as e:
                if e.errno in _NO_LOCKS:
                    return False
                if e.errno not in _TAKEN:
                    raise
            holder = parse_holder(read_holder(self._home))
            state = _state_of(holder) if holder else "gone"
            if state == "alive":
                raise self._refusal(holder)
            if state == "unknown":
                # That machine may have crashed, and a file server can keep its flock for long.
                file = self.folder / _LOCK_FILE
                raise self._refusal(holder, f"; if that machine is gone for good, remove {file}")
            if time.monotonic() > end:
                raise self._refusal(None)
            time.sleep(self._poll)

    def _claim(self) -> None:
        """Write this process into holder.json, after the holder there is known to be dead."""
        while True:
            raw = read_holder(self._home)
            if self._is_mine(raw):
                return  # the file server made the link, but its first answer was lost
            if raw is None:
                sure = self._write_first()
                if sure is None:
                    continue
                self.took_over = ""
            else:
                sentence, sure = self._outlive(raw)
                if not sentence:
                    continue
                self._write_over()
                self.took_over = f"took over from {sentence}"
            if sure or self._is_still_mine():
                return

    def _outlive(self, raw: bytes) -> tuple[str, bool]:
        """Describe a dead holder, and say whether no other process can take over from it now.

        Returns an empty description if the holder left meanwhile. Raises RunError if it is alive.
        """
        holder = parse_holder(raw)
        if holder is None and self._flocked:
            return f"nobody known: {HOLDER_FILE} was torn", True
        state = _state_of(holder) if holder else "unknown"
        if state == "gone":
            return f"{holder}, which is gone", self._flocked
        if state == "rebooted":
            return f"{holder}, which ended before that machine's last start", self._flocked
        if state == "alive":
            # We have the flock of this folder, and a copy has a new number: that process plays the
            # original. Without a flock, numbers are not relied on: file servers may change them.
            if self._flocked and holder and not holder.is_of(self._me.folder):
                return f"{holder}, which plays the run that this is a copy of", True
            raise self._refusal(holder)
        patience = self._patience
        if patience is None:
            patience = 3 * max(self._beat, holder.every if holder else 0) + _MARGIN
        now = _watch(self._home, raw, patience, self._poll)
        if now is None:
            return "", False
        if now != raw:
            raise self._refusal(parse_holder(now) or holder)
        return f"{holder or 'nobody known'}, which gave no sign of life for {patience:g} s", False

    def _write_first(self) -> bool | None:
        """Claim a run that has no holder. Return None if another process was first, and False if
        that is uncertain."""
        mine = self._draft()
        try:
            self._home.link(mine, HOLDER_FILE)  # fails if it exists, on file servers too
            return True
        except FileExistsError:
            return None
        except OSError:  # a filesystem without links
            self._home.rename(mine, HOLDER_FILE)
            return False
        finally:
            self._home.remove(mine)

    def _write_over(self) -> None:
        mine = self._draft()
        try:
            self._home.rename(mine, HOLDER_FILE)
        finally:
            self._home.remove(mine)

    def _draft(self) -> str:
        """Write the claim of this process under a name of its own; return the name."""
        name = f"{HOLDER_FILE}.{self._me.token}"
        self._home.remove(name)
        self._home.create(name, holder_bytes(self._me))
        return name

    def _is_still_mine(self) -> bool:
        """Read holder.json again after one beat. If two processes take the lock over at once, the
        last writer owns it."""
        time.sleep(self._beat)
        raw = read_holder(self._home)
        if raw is None or self._is_mine(raw):
            return raw is not None
        raise self._refusal(parse_holder(raw))

    def _is_mine(self, raw: bytes | None) -> bool:
        holder = parse_holder(raw)
        return holder is not None and holder.token == self._me.token

    def _refusal(self, holder: Holder | None, more: str = "") -> RunError:
        if holder is None:
            return RunError(
                f"{self.folder}: another process is taking this run just now; try again"
            )
        return RunError(f"{self.folder}: {_plays(holder)}; wait for it, or stop {holder}{more}")

    # -- holding the lock -------------------------------------------------------------------

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat):
            # The disk may be full, or the file server away. Another process may then take over;
            # the next beat that succeeds finds this out.
            with contextlib.suppress(OSError, RunError):
                if not self._beat_once():
                    self.lost.set()
                    return

    def _beat_once(self) -> bool:
        """Write the next beat. Return False if another process holds the run."""
        me = replace(self._me, beat=self._me.beat + 1)
        try:
            # Reading and writing use one open file. If another claim replaces the file in between,
            # the number goes into our old file, which nobody reads.
            handle = self._home.open_in_place(HOLDER_FILE)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                holder = parse_holder(file.read(MAX_HOLDER_BYTES))
                if holder is None:
                    return True  # torn: the next beat finds a new holder
                if holder.token != me.token:
                    return False
                file.seek(len(BEAT_HEAD))
                file.write(beat_bytes(me.beat))
            self._me = me
        except FileNotFoundError:
            # An earlier holder, which counted as dead, woke and removed our claim. Claim again; if
            # another process is quicker, the next beat finds it.
            self._write_first()
        return True

    def _leave(self) -> None:
        """Remove holder.json if it names this process, and free the flock.

        Does nothing in a fork of the holder.
        """
        _OPEN.discard(self)
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError, RunError):
            if self._is_mine(read_holder(self._home)):
                self._home.remove(HOLDER_FILE)
        with contextlib.suppress(OSError):
            if sys.platform != "win32" and self._flocked:
                fcntl.flock(file, fcntl.LOCK_UN)
        self._flocked = False
        with contextlib.suppress(OSError):
            os.close(file)

    def _forget(self) -> None:
        """In a fork: close only the copy of the flock, which would outlive its holder."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def current_holder(folder: str | Path, *, patience: float = 0.0) -> str | None:
    """Return a sentence about the process that plays a run now, or None. Writes and locks nothing.

    Only a beat shows that a holder on another machine is alive. With `patience`, it must beat
    within that many seconds. Without, it counts as alive, and the sentence says that this is not
    certain.
    """
    home = _run_home(Path(folder))
    try:
        raw = read_holder(home)
        holder = parse_holder(raw)
        if raw is None or holder is None:
            return None
        state = _state_of(holder)
        if state == "unknown" and not patience:
            return f"{_plays(holder)}, as far as can be told from here"
        if state == "unknown":
            now = _watch(home, raw, patience, min(patience / 4, 0.25))
            state, holder = ("gone" if now == raw else "alive"), parse_holder(now)
        elif not holder.is_of(folder_number(Path(folder))):
            return None  # the run is a copy of one that is played
    except (OSError, RunError):
        return None  # where a link has the name of the file, nobody plays
    return _plays(holder) if holder and state == "alive" else None


_OPEN: set[RunLock] = set()
"""The locks that this process holds or is taking."""


def _leave_to_parent() -> None:
    for lock in list(_OPEN):
        lock._forget()
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _plays(holder: Holder) -> str:
    return f"{holder} plays this run since {holder.created}"


def _run_home(folder: Path) -> Folder:
    """Return the folder of a run. The folder of runs is trusted; the run itself may be a link."""
    folder = folder.absolute()
    return Folder(folder.parent, folder.name)


def _watch(folder: Folder, raw: bytes, patience: float, poll: float) -> bytes | None:
    """Wait up to `patience` seconds for holder.json to change; return its content."""
    end = time.monotonic() + patience
    while True:
        now = read_holder(folder)
        left = end - time.monotonic()
        if now != raw or left <= 0:
            return now
        time.sleep(min(poll, left))


def _state_of(holder: Holder) -> _HolderState:
    """Return the state of a holder as this process sees it; "unknown" on another machine."""
    me = this_process(0)
    if holder.host != me.host:
        return "unknown"
    if holder.boot != me.boot:
        known = holder.boot and me.boot and me.host not in NAMELESS_HOSTS
        return "rebooted" if known else "unknown"
    if holder.pids != me.pids or os.name != "posix":
        return "unknown"  # a container's: its pids are not ours
    if holder.pid == me.pid and holder.started == me.started:
        return "alive" if any(lock._me.token == holder.token for lock in _OPEN) else "gone"
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass  # the process exists and belongs to another user
    started = process_start(holder.pid)
    if started is None or not holder.started:
        return "unknown"
    return "alive" if started == holder.started else "gone"


def unwritable_error(what: str, e: OSError) -> ImprovError:
    """Return the error for a run folder that cannot be written: MachineError for a full disk,
    RunError otherwise."""
    full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return MachineError(f"{what}; make room, and go on") if full else RunError(what)


def _why(e: OSError) -> str:
    if e.errno == errno.ENOENT:
        return "there is no such run folder"
    if e.errno == errno.ENOTDIR:
        return "is not a run folder, but a file"
    if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot be written, so it cannot be played ({e.strerror}); copy it to where it can"
    return f"cannot be locked: {e.strerror or e}"
