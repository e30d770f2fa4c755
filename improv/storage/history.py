"""history.jsonl: what was done with a run, from its plan on: sessions, looks, scorings, branches.

A reader of a report must know how often somebody looked, scored or started again before he saw what
is printed. So each of our commands appends an entry. An entry has its number and the hash of the
entry before it; leaving one out or changing one breaks the chain. run.json has the number of
entries and the last hash, so that a history that ends too early shows too. Nothing here is secret:
whoever makes all files again, with their hashes, is not seen. For that there is `improv plan`,
whose output is kept elsewhere.

This module also has the mutex under which run.json and checksums.json are changed, because somebody
may look at a run while another process plays it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from improv.errors import RunError
from improv.folder import Folder
from improv.records import Json, digest
from improv.storage.jsonl import JsonLines
from improv.storage.run_files import RunFiles

if sys.platform != "win32":
    import fcntl

HISTORY_FILE = "history.jsonl"
_LARGEST = 64 * 2**20
_HASH_BYTES = 16
_START = ""
"""What the first entry has as the hash of the entry before it."""
CLOSING = ("ended", "scored", "restored")
"""Entries with the checksums of the tables. Nothing writes tables after one of them before there is
another entry, so that a killed process leaves no false alarm."""
FOUND_CHANGED = "found changed"
"""The kind of entry that names files which somebody else has written."""
_OWN = ("number", "at", "what", "before", "hash")
_OWN_KEYS = {"number", "hash"}


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was done with a run: what, when (UTC), and how."""

    number: int
    at: str
    what: str
    details: Json
    hash: str


@dataclass(frozen=True)
class Past:
    """A run's history as it was read, and sentences about what is wrong with it.

    `kept` says whether the run has a history at all: runs of older versions have none.
    """

    kept: bool
    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    def of(self, *what: str) -> list[Entry]:
        """Return the entries of some kinds, in their order."""
        return [entry for entry in self.entries if entry.what in what]


NO_HISTORY = Past(kept=False)


@dataclass(frozen=True)
class History:
    """The history of one run folder."""

    files: RunFiles

    def begin(self, **details: Any) -> Json:
        """Begin the history of a new run with its first entry; return what run.json says of it."""
        self.files.folder.create(HISTORY_FILE, b"")
        return self.append("begun", None, **details)

    def append(self, what: str, said: object, /, **details: Any) -> Json:
        """Append an entry; return what run.json has to say of the history, which now is `said`.
        Raises OSError and RunError. The caller holds the mutex, and writes run.json.

        If the file is not the one that run.json says, the new entry follows the one that is
        missing. So its chain is broken for good, and nobody mends it by going on.
        """
        count, head = _said(said)
        rows = {
            row["number"]: str(row["hash"])
            for row in _rows(self._data())
            if set(row) >= _OWN_KEYS and isinstance(row["number"], int)
        }
        number = max(rows, default=0)
        whole = not count or rows.get(count) == head
        entry: Json = {
            **details,
            "number": max(number, count) + 1,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "what": what,
            "before": rows.get(number, _START) if whole else head,
        }
        entry["hash"] = _hash(entry)
        with JsonLines(self.files.folder, HISTORY_FILE) as lines:
            lines.append(entry)
        return {"entries": entry["number"], "hash": entry["hash"]}

    def is_kept(self) -> bool:
        with contextlib.suppress(OSError, RunError):
            return self.files.exists(HISTORY_FILE)
        return False

    def read(self, said: object = None) -> Past:
        """Return the history, compared with what run.json has `said` of it."""
        count, head = _said(said)
        name = f"{self.files.id}/{HISTORY_FILE}"
        try:
            data = self._data()
        except (OSError, RunError) as e:
            missing = isinstance(e, FileNotFoundError)
            if missing and said is None:
                return NO_HISTORY
            what = f"is missing, and run.json says that it has {count} entries" if missing else e
            return Past(kept=True, problems=(f"{name}: {what}",))
        entries, problems = _checked(data, name)
        if said is None:
            problems.append(f"{name}: run.json does not say how many entries it has")
        elif len(entries) < count:
            problems.append(f"{name}: ends after {len(entries)} entries; run.json says {count}")
        elif count and entries[count - 1].hash != head:
            problems.append(f"{name}: entry {count} is not the one that run.json says")
        return Past(kept=True, entries=tuple(entries), problems=tuple(problems))

    def _data(self) -> bytes:
        size = self.files.fs.get_file_info(f"{self.files.path}/{HISTORY_FILE}").size or 0
        if size > _LARGEST:
            raise RunError(f"has more than {_LARGEST:,} bytes")
        return self.files.read(HISTORY_FILE)


@contextlib.contextmanager
def mutex(files: RunFiles) -> Iterator[None]:
    """Hold the mutex of a run's small files: one thread of one process changes them at a time.

    Where the filesystem has no flock, or the run has no history, other processes are not waited
    for.
    """
    lock = _thread_lock(str(files.path))
    with lock.lock:
        lock.depth += 1
        try:
            with _flocked(files.folder) if lock.depth == 1 else contextlib.nullcontext():
                yield
        finally:
            lock.depth -= 1


@dataclass
class _ThreadLock:
    lock: threading.RLock
    depth: int = 0


@functools.lru_cache(maxsize=256)
def _thread_lock(path: str) -> _ThreadLock:
    return _ThreadLock(threading.RLock())


@contextlib.contextmanager
def _flocked(folder: Folder) -> Iterator[None]:
    handle = -1
    if sys.platform != "win32":
        with contextlib.suppress(OSError, RunError):
            handle = folder.open_in_place(HISTORY_FILE)
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def _checked(data: bytes, name: str) -> tuple[list[Entry], list[str]]:
    """Return the entries in a file's lines, and what is wrong with their chain."""
    entries: list[Entry] = []
    problems: list[str] = []
    before = _START
    for i, row in enumerate(_rows(data), start=1):
        try:
            details = {key: value for key, value in row.items() if key not in _OWN}
            number, at, what = int(row["number"]), str(row["at"])[:40], str(row["what"])[:40]
            entry = Entry(number, at, what, details, str(row["hash"])[:100])
            right = row["hash"] == _hash({k: v for k, v in row.items() if k != "hash"})
            linked = row["before"] == before and row["number"] == i
        except (KeyError, TypeError, ValueError, OverflowError):
            problems.append(f"{name}: line {i} is no entry")
            continue
        if not right:
            problems.append(f"{name}: entry {i} ('{entry.what}') was changed")
        elif not linked:
            problems.append(f"{name}: an entry before entry {i} ('{entry.what}') was left out")
        entries.append(entry)
        before = entry.hash
    return entries, problems


def _rows(data: bytes) -> Iterator[Json]:
    """Yield the rows of the lines. A line that was torn by a kill is no row: its entry was never
    said to be there."""
    for line in data.split(b"\n"):
        with contextlib.suppress(orjson.JSONDecodeError):
            row = orjson.loads(line)
            if isinstance(row, dict):
                yield row


def _hash(entry: Json) -> str:
    return digest(orjson.dumps(entry, option=orjson.OPT_SORT_KEYS).decode(), size=_HASH_BYTES)


def _said(said: object) -> tuple[int, str]:
    """Return the number of entries and the last hash that run.json gives."""
    if not isinstance(said, dict):
        return 0, ""
    count = said.get("entries")
    return (count if isinstance(count, int) else 0), str(said.get("hash", ""))


def counted(entries: Sequence[Entry], key: str) -> dict[str, int]:
    """Return how many entries have each value of a detail."""
    counts: dict[str, int] = {}
    for entry in entries:
        value = str(entry.details.get(key, ""))
        counts[value] = counts.get(value, 0) + 1
    return counts
