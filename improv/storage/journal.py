"""The journal: every call of a run, written before its reply is used. A run is resumed from it.

Each host has a file. A call is a line `[identity, [shared, blocks], rest]`, and before it stands a
line `[id, kind, text]` for each block that it is the first to show. `shared` is the number of
blocks that the prompt has in common with the last call of the same role in the file, and `blocks`
are those after them. Prompts only grow, and whole lists would make the journal of a long scene a
hundred times as large as its transcript. A call whose line is torn is made again. When a run is
finished, its tables hold the content of its journals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import orjson

from improv.errors import kind_of, read_error_line
from improv.folder import Entry, Folder
from improv.records import Block, Call, Draw, Purpose, known_faults
from improv.storage.batch_log import BATCHES
from improv.storage.jsonl import JsonLines, read_whole_lines
from improv.storage.table_rules import LAST_TIME, LONGEST, MOST_TURNS

_ADDED = ["error_kind", "estimated", "reasoning", "reasoning_tokens", "faults", "cuts"]
"""The last fields of a call's line. Journals of old runs lack the last ones, or all."""
_TUPLES = ("retried", "faults", "cuts")
_CALL_FIELDS = [f.name for f in fields(Call) if f.name not in ("draw", "blocks", *_ADDED)] + _ADDED
"""The fields in the rest of a call's line, in order."""
LIMITS_FILE = "limits.jsonl"
"""The history of the limits of endpoints. It is in the journals' folder, and is no journal."""
VERDICTS_FILE = "verdicts.jsonl"
"""The verdicts that no table holds yet. It is in the journals' folder, and is no journal."""
_CALL = b'[["'
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "retries", "reasoning_tokens")
_NUMBERS = {"started": LAST_TIME, "latency": LONGEST, "waited": LONGEST}
"""The fields of a call that are seconds, and the most that each may be."""
LONGEST_LINE = 64 * 2**20
"""A longer line (in bytes) counts as a foreign one."""


class Journal:
    """Appends calls and blocks to one host's file, before their replies are used.

    Each append reaches the operating system at once, so a crash of the process loses nothing.
    `sync`, called about every second, bounds what a power cut loses. Raises OSError if the disk is
    full or gone; the lines written before stay valid.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._shown: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
        self._lines = JsonLines(folder, name)
        folder.sync()

    def append(self, call: Call, blocks: Iterable[Block]) -> None:
        """Write a call, and the blocks that it is the first to show, in one piece. Raises
        OSError."""
        draw = call.draw
        identity = [draw.trial, draw.branch, draw.turn, draw.role, draw.purpose, draw.attempt]
        rest = [getattr(call, name) for name in _CALL_FIELDS]
        # If the append fails, the line may be torn. So the role is removed first, and its next call
        # writes its whole list of blocks.
        role, shown = (draw.branch, draw.role), self._shown.setdefault(draw.trial, {})
        shared = _shared(shown.pop(role, ()), call.blocks)
        line = [identity, [shared, call.blocks[shared:]], rest]
        self._lines.append(*([b.id, b.kind, b.text] for b in blocks), line)
        shown[role] = call.blocks

    def forget(self, trial: str) -> None:
        """Drop the block lists of a finished trial. A later call of it writes its whole list."""
        self._shown.pop(trial, None)

    def sync(self) -> None:
        self._lines.sync()

    def close(self, *, sync: bool = True) -> None:
        self._lines.close(sync=sync)


class Journaled:
    """The journals of a run, read up to the last `refresh`, with their lines by trial.

    A line stays bytes until its trial is needed, so reading a hundred thousand calls takes only
    the time of the disk. `refresh` continues where the last one stopped.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        self._lines: dict[str, dict[str, list[bytes]]] = {}
        self.strange: dict[Path, int] = {}
        """For each file, the number of its torn and foreign lines, if there are any."""

    def refresh(self) -> Journaled:
        """Read the lines written since the last call, up to the last whole line of each file.
        Raises RunError for a link."""
        for file in self._files():
            start = self._read.get(file.name, 0)
            lines, self._read[file.name], torn = read_whole_lines(self._folder, file.name, start)
            strange = int(torn)
            for line in lines:
                if len(line) > LONGEST_LINE:
                    strange += 1
                elif line.startswith(_CALL) and line.endswith(b"]"):
                    trial = line[len(_CALL) : line.find(b'"', len(_CALL))].decode(
                        "utf-8", "replace"
                    )
                    files = self._lines.setdefault(trial, {})
                    files.setdefault(file.name, []).append(line)
                elif line and not (line.startswith(b'["') and line.endswith(b"]")):
                    strange += 1
            if strange:
                self.strange[self._folder.path / file.name] = strange
        return self

    def _files(self) -> list[Entry]:
        try:
            entries = self._folder.entries()
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = [entry for entry in entries if entry.name.endswith(".jsonl")]
        return [e for e in names if not e.is_folder and is_journal(e.name)]

    def lines_of(self, trial: str) -> list[list[bytes]]:
        """Return the lines of a trial's calls, including its branches, for `parse_calls`: one list
        for each file that has some."""
        return list(self._lines.get(trial, {}).values())

    def calls(self) -> Iterator[Call]:
        """Yield every call."""
        for trial in self._lines:
            yield from parse_calls(self.lines_of(trial))


def is_journal(name: str) -> bool:
    """Return whether a file of JSON lines in the journals' folder is a journal."""
    return name not in (LIMITS_FILE, VERDICTS_FILE) and not name.startswith(BATCHES)


def parse_calls(files: Iterable[Iterable[bytes]]) -> list[Call]:
    """Parse the calls in the lines of each file. A line that cannot be read is left out, so its
    call is made again."""
    calls = []
    for lines in files:
        shown: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for line in lines:
            with contextlib.suppress(orjson.JSONDecodeError, TypeError, ValueError):
                identity, (shared, fresh), rest = orjson.loads(line)
                if not _is_identity(identity) or not _is_texts(fresh) or not _is_count(shared):
                    continue
                known = _fields(rest)
                draw = Draw(*identity)
                role = (draw.trial, draw.branch, draw.role)
                before = shown.get(role, ())
                if shared > len(before):
                    continue  # the call that it shares blocks with is torn
                blocks = shown[role] = (*before[:shared], *fresh)
                calls.append(Call(draw=draw, blocks=blocks, **known))
    return calls


def _fields(rest: list[Any]) -> dict[str, Any]:
    """Return the fields in the rest of a call's line. Raises ValueError if their number or a type
    is wrong."""
    missing = min(len(_CALL_FIELDS) - len(rest), len(_ADDED))
    known = dict(zip(_CALL_FIELDS[: len(_CALL_FIELDS) - max(missing, 0)], rest, strict=True))
    if not all(_fits(name, value) for name, value in known.items()):
        raise ValueError("a field of another type")
    if "error_kind" not in known:
        known["error_kind"], known["error"] = read_error_line(known["error"])
    else:
        known["error_kind"] = kind_of(known["error_kind"])
    for name in _TUPLES:
        known[name] = tuple(known.get(name, ()))
    known["faults"] = known_faults(known["faults"])
    return known


def _is_identity(values: Any) -> bool:
    """Return whether `values` are the six fields of a draw."""
    if not isinstance(values, list) or len(values) != 6:
        return False
    trial, branch, turn, role, purpose, attempt = values
    known = purpose in get_args(Purpose) and turn <= MOST_TURNS if _is_count(turn) else False
    return known and _is_texts([trial, branch, role]) and _is_count(attempt)


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_count(value: Any) -> bool:
    """Return whether a value is a count that the tables can hold."""
    return type(value) is int and 0 <= value < 2**31


def _fits(name: str, value: Any) -> bool:
    """Return whether a value can be that of a call's field."""
    if name in _NUMBERS:
        return type(value) in (int, float) and abs(value) <= _NUMBERS[name]
    if name in _COUNTS:
        return _is_count(value) or (value is None and name != "retries")
    if name == "estimated":
        return isinstance(value, bool)
    return _is_texts(value) if name in _TUPLES else isinstance(value, str)


def _shared(before: tuple[str, ...], now: tuple[str, ...]) -> int:
    """Return how many blocks at the start of two prompts of a role are the same, as far as it is
    quick to see: all of `before`, all but its last, or 0."""
    # Nearly always it is all of `before`, or all but the cue that a script replaces by the line.
    for length in (len(before), len(before) - 1):
        if 0 < length <= len(now) and before[:length] == now[:length]:
            return length
    return 0
