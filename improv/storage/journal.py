"""The journal: every call of a run, written before its reply is used. It is the truth of a run.

One file a host, a line a call: `[identity, [shared, blocks], rest]`, and before it a line for
each block that it was the first to show: `[id, kind, text]`. What a call was shown is written as
how much of it the same role's last call in the file was shown, and the blocks after that: threads
only grow, and whole lists would make the journal of a long scene a hundred times its transcript.
A torn line is owed again, no more. What a finished run's journal held stands in its tables.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from improv.errors import kind_of, read_error_line
from improv.records import Block, Call, Draw
from improv.storage.jsonl import JsonLines, read_whole_lines

_CALL_FIELDS = [f.name for f in fields(Call) if f.name not in ("draw", "blocks", "error_kind")]
_CALL_FIELDS += ["error_kind"]
"""What stands in the rest of a call's line; the last of them stands in no journal of an old run."""
LIMITS_FILE = "limits.jsonl"
"""What lies beside the journals and is none: the history of the limits of endpoints."""
VERDICTS_FILE = "verdicts.jsonl"
"""What judges have said and no table holds yet; it is no host's journal either."""
_CALL = b'[["'


class Journal:
    """Appends calls and blocks to one host's file, before anything is made of them.

    Each append reaches the operating system at once, so that a crash of the process loses
    nothing; `sync`, called every second or so, bounds what a power cut can take. Raises OSError
    where the disk is full or gone; what was written before stays good.
    """

    def __init__(self, path: Path) -> None:
        self._shown: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
        self._lines = JsonLines(path)
        with contextlib.suppress(OSError):  # not every filesystem lets a folder be synced
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def append(self, call: Call, blocks: Iterable[Block]) -> None:
        """Write a call, and the blocks it was the first to show, in one piece."""
        draw = call.draw
        identity = [draw.trial, draw.branch, draw.turn, draw.role, draw.purpose, draw.attempt]
        rest = [getattr(call, name) for name in _CALL_FIELDS]
        # A call whose line is torn is not built upon: its role stays out until a line is whole.
        role, shown = (draw.branch, draw.role), self._shown.setdefault(draw.trial, {})
        shared = _shared(shown.pop(role, ()), call.blocks)
        line = [identity, [shared, call.blocks[shared:]], rest]
        self._lines.append(*([b.id, b.kind, b.text] for b in blocks), line)
        shown[role] = call.blocks

    def forget(self, trial: str) -> None:
        """Let go of what a trial was shown that is over: a later call of it stands on its own."""
        self._shown.pop(trial, None)

    def sync(self) -> None:
        self._lines.sync()

    def close(self, *, sync: bool = True) -> None:
        self._lines.close(sync=sync)


class Journaled:
    """What the journals of a run hold, trial by trial, as far as it was read.

    Lines stay bytes until somebody needs their trial: a hundred thousand calls are found in the
    time that it takes to read them. `refresh` reads on from where it stopped.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        self._lines: dict[str, dict[str, list[bytes]]] = {}
        self.strange: dict[Path, int] = {}
        """Files, with how many of their lines are no whole line of a journal."""

    def refresh(self) -> Journaled:
        """Read what was written since, up to the last whole line of each file."""
        for file in sorted(self._folder.glob("*.jsonl")):
            if file.name in (LIMITS_FILE, VERDICTS_FILE) or not file.is_file():
                continue
            start = self._read.get(file.name, 0)
            lines, self._read[file.name], torn = read_whole_lines(file, start)
            strange = int(torn)
            for line in lines:
                if line.startswith(_CALL) and line.endswith(b"]"):
                    trial = line[len(_CALL) : line.find(b'"', len(_CALL))].decode(
                        "utf-8", "replace"
                    )
                    files = self._lines.setdefault(trial, {})
                    files.setdefault(file.name, []).append(line)
                elif line and not (line.startswith(b'["') and line.endswith(b"]")):
                    strange += 1
            if strange:
                self.strange[file] = strange
        return self

    def of(self, trial: str) -> list[list[bytes]]:
        """Return the lines of a trial's calls, all its branches', for `calls_of` to read: a list
        for each file that has some."""
        return list(self._lines.get(trial, {}).values())

    def calls(self) -> Iterator[Call]:
        """Yield every call."""
        for trial in self._lines:
            yield from parse_calls(self.of(trial))


def parse_calls(files: Iterable[Iterable[bytes]]) -> list[Call]:
    """Read the calls of some lines; one that cannot be read is left out, and so owed again."""
    found = []
    for lines in files:
        shown: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for line in lines:
            with contextlib.suppress(orjson.JSONDecodeError, TypeError, ValueError):
                identity, (shared, fresh), rest = orjson.loads(line)
                known = _fields(rest)
                draw = Draw(*identity)
                role = (draw.trial, draw.branch, draw.role)
                before = shown.get(role, ())
                if shared > len(before):
                    continue  # the call that it builds upon is torn
                blocks = shown[role] = (*before[:shared], *fresh)
                found.append(Call(draw=draw, blocks=blocks, **known))
    return found


def _fields(rest: list[Any]) -> dict[str, Any]:
    """Return the fields of a call's rest. Raises ValueError where they are not the right number."""
    old = len(rest) == len(_CALL_FIELDS) - 1
    known = dict(zip(_CALL_FIELDS[:-1] if old else _CALL_FIELDS, rest, strict=True))
    if old:
        known["error_kind"], known["error"] = read_error_line(known["error"])
    else:
        known["error_kind"] = kind_of(known["error_kind"])
    known["retried"] = tuple(known["retried"])
    return known


def _shared(before: tuple[str, ...], now: tuple[str, ...]) -> int:
    """Return how many blocks two prompts of one role share from the start."""
    # Nearly always all of the last one, or all but the cue that a script's line took the place of.
    for length in (len(before), len(before) - 1):
        if 0 < length <= len(now) and before[:length] == now[:length]:
            return length
    return 0
