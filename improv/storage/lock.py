"""One process plays a run at a time: the lock of a run folder.

Two files, because each is sound where the other is not. `lock` is empty, is never replaced nor
removed, and carries an flock: the system frees it the moment its holder dies. But an flock may be
unknown to the filesystem, or end at this machine. So `holder.json` says who holds the run and
holds a number that grows; whoever sees it grow knows, without comparing clocks, that the holder
lives. A claim enters by link or rename, whole; a beat overwrites the number in place, which needs
no room on a full disk, and in a file that was replaced meanwhile harms nobody.

Not here: what a run does when it is refused, or finds that it lost its lock.
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
from improv.storage.lock_holder import (
    BEAT_HEAD,
    HOLDER,
    LONGEST,
    NAMELESS,
    Holder,
    beat_bytes,
    content,
    parse_holder,
    read_holder,
    started_at,
    this_process,
)

if sys.platform != "win32":
    import fcntl

LOCK = "lock"

_MARGIN = 2.0
"""Seconds beyond three beats before a silent holder on another machine counts as dead."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}  # the last is how SMB says it
Fate = Literal["alive", "gone", "rebooted", "unknown"]


class RunLock:
    """Hold a run folder, as a context manager; RunError if another process holds it.

    The folder is on a local or a mounted filesystem, which other machines may mount too. A lock
    that a dead process left is taken over, and `took_over` says from whom ("" if from nobody).
    While it is held, a thread writes a beat every `beat` seconds. If that finds the run in other
    hands (this machine slept, say, and was given up), it sets `lost`: then stop playing.

    A holder on another machine is given `patience` seconds to show a beat: unless told, three of
    its beats and a margin.
    """

    def __init__(
        self, folder: str | Path, *, beat: float = 2.0, patience: float | None = None
    ) -> None:
        self.folder = Path(folder)
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
        self._me = this_process(self._beat)
        try:
            self._file = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            _OPEN.add(self)
            self._flocked = self._flock()
            self._claim()
            self._thread = threading.Thread(target=self._keep_beating, daemon=True)
            self._thread.start()
        except OSError as e:
            self._leave()
            raise unwritable(f"{self.folder}: {_why(e)}", e) from None
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

    # -- taking it --------------------------------------------------------------------------

    def _flock(self) -> bool:
        """Take the flock. False if there are none here; RunError if another process has it."""
        if sys.platform == "win32":
            return False
        assert self._file is not None
        # Who has the flock may not have written its name yet, or have just removed it: a refusal
        # without a name waits a beat for one.
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
            found = parse_holder(read_holder(self.folder))
            fate = _fate(found) if found else "gone"
            if fate == "alive":
                raise self._refusal(found)
            if fate == "unknown":
                # Its machine may have crashed, and a file server can remember that for long.
                file = self.folder / LOCK
                raise self._refusal(found, f"; if that machine is gone for good, remove {file}")
            if time.monotonic() > end:
                raise self._refusal(None)
            time.sleep(self._poll)

    def _claim(self) -> None:
        """Put our name into holder.json, once whoever stands there is known to be dead."""
        while True:
            raw = read_holder(self.folder)
            if self._is_mine(raw):
                return  # a link that a file server made, though its first answer was lost
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
        """Return which dead holder this is, and whether nobody else can be taking over from it.

        RunError if it lives; an empty sentence if it left while we looked.
        """
        found = parse_holder(raw)
        if found is None and self._flocked:
            return f"nobody known: {HOLDER} was torn", True
        fate = _fate(found) if found else "unknown"
        if fate == "gone":
            return f"{found}, which is gone", self._flocked
        if fate == "rebooted":
            return f"{found}, which ended before that machine's last start", self._flocked
        if fate == "alive":
            raise self._refusal(found)
        patience = self._patience
        if patience is None:
            patience = 3 * max(self._beat, found.every if found else 0) + _MARGIN
        now = _watch(self.folder, raw, patience, self._poll)
        if now is None:
            return "", False
        if now != raw:
            raise self._refusal(parse_holder(now) or found)
        return f"{found or 'nobody known'}, which gave no sign of life for {patience:g} s", False

    def _write_first(self) -> bool | None:
        """Claim a run that nobody holds. None if another was first, False if that is not sure."""
        mine = self._draft()
        try:
            os.link(mine, self.folder / HOLDER)  # fails if it exists, on file servers too
            return True
        except FileExistsError:
            return None
        except OSError:  # a filesystem without links
            mine.replace(self.folder / HOLDER)
            return False
        finally:
            mine.unlink(missing_ok=True)

    def _write_over(self) -> None:
        mine = self._draft()
        try:
            mine.replace(self.folder / HOLDER)
        finally:
            mine.unlink(missing_ok=True)

    def _draft(self) -> Path:
        path = self.folder / f"{HOLDER}.{self._me.token}"
        try:
            path.touch(0o600)
            path.write_bytes(content(self._me))
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return path

    def _is_still_mine(self) -> bool:
        """Look again after a beat: of two who took over at once, the last to write has it."""
        time.sleep(self._beat)
        raw = read_holder(self.folder)
        if raw is None or self._is_mine(raw):
            return raw is not None
        raise self._refusal(parse_holder(raw))

    def _is_mine(self, raw: bytes | None) -> bool:
        found = parse_holder(raw)
        return found is not None and found.token == self._me.token

    def _refusal(self, found: Holder | None, more: str = "") -> RunError:
        if found is None:
            return RunError(
                f"{self.folder}: another process is taking this run just now; try again"
            )
        return RunError(f"{self.folder}: {_plays(found)}; wait for it, or stop {found}{more}")

    # -- holding it -------------------------------------------------------------------------

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat):
            # A full disk or a file server that is away: others may give us up, and the next beat
            # that succeeds finds out.
            with contextlib.suppress(OSError):
                if not self._beat_once():
                    self.lost.set()
                    return

    def _beat_once(self) -> bool:
        """Write the next number. False if the run is in other hands."""
        me = replace(self._me, beat=self._me.beat + 1)
        try:
            # Read and written through one open file: if another claim replaces it in between,
            # the number goes into the file that was ours and is no longer seen.
            with (self.folder / HOLDER).open("r+b", buffering=0) as file:
                found = parse_holder(file.read(LONGEST))
                if found is None:
                    return True  # torn: who takes over will be found the next time
                if found.token != me.token:
                    return False
                file.seek(len(BEAT_HEAD))
                file.write(beat_bytes(me.beat))
            self._me = me
        except FileNotFoundError:
            # A holder that was given up woke and removed our claim for its own: claim again. If
            # another is quicker, the next beat finds it.
            self._write_first()
        return True

    def _leave(self) -> None:
        """Remove our name, if it is ours, and free the flock. Nothing in a fork of the holder."""
        _OPEN.discard(self)
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError):
            if self._is_mine(read_holder(self.folder)):
                (self.folder / HOLDER).unlink()
        with contextlib.suppress(OSError):
            if sys.platform != "win32" and self._flocked:
                fcntl.flock(file, fcntl.LOCK_UN)
        self._flocked = False
        with contextlib.suppress(OSError):
            os.close(file)

    def _forget(self) -> None:
        """In a fork: close our copy of the flock, which would outlive its holder, and no more."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def held(folder: str | Path, *, patience: float = 0.0) -> str | None:
    """Say who plays a run now, or None. Writes nothing and takes no lock, not for an instant.

    Of a holder on another machine only its beat tells. Without `patience` it is believed, and the
    sentence says so; with, it must beat within so many seconds.
    """
    folder = Path(folder)
    try:
        raw = read_holder(folder)
        found = parse_holder(raw)
        if raw is None or found is None:
            return None
        fate = _fate(found)
        if fate == "unknown" and not patience:
            return f"{_plays(found)}, as far as can be told from here"
        if fate == "unknown":
            now = _watch(folder, raw, patience, min(patience / 4, 0.25))
            fate, found = ("gone" if now == raw else "alive"), parse_holder(now)
    except OSError:
        return None
    return _plays(found) if found and fate == "alive" else None


_OPEN: set[RunLock] = set()
"""The locks that this process has or is taking."""


def _leave_to_parent() -> None:
    for lock in list(_OPEN):
        lock._forget()
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _plays(found: Holder) -> str:
    return f"{found} plays this run since {found.created}"


def _watch(folder: Path, raw: bytes, patience: float, poll: float) -> bytes | None:
    """Return what holder.json becomes, as soon as it changes, or `raw` if it does not."""
    end = time.monotonic() + patience
    while True:
        now = read_holder(folder)
        left = end - time.monotonic()
        if now != raw or left <= 0:
            return now
        time.sleep(min(poll, left))


def _fate(found: Holder) -> Fate:
    """Tell from here what became of a holder; of another machine's processes it is unknown."""
    me = this_process(0)
    if found.host != me.host:
        return "unknown"
    if found.boot != me.boot:
        known = found.boot and me.boot and me.host not in NAMELESS
        return "rebooted" if known else "unknown"
    if found.pids != me.pids or os.name != "posix":
        return "unknown"  # a container's: its pids are not ours
    if found.pid == me.pid and found.started == me.started:
        return "alive" if any(lock._me.token == found.token for lock in _OPEN) else "gone"
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass  # somebody else's, and there
    started = started_at(found.pid)
    if started is None or not found.started:
        return "unknown"
    return "alive" if started == found.started else "gone"


def unwritable(what: str, e: OSError) -> ImprovError:
    """Return what to raise where a run folder cannot be written: a full disk is the machine's."""
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
