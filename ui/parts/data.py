"""What the rooms read: the store's tables, kept in memory for as long as they cannot change.

A run that is over never changes, so what was read of it is kept; one that is still being played
is read again at most every two seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from improv.errors import ImprovError, RunError
from improv.record import MAIN, Block, Json, Transcript
from improv.scene import Scene
from improv.store import RunFolder, list_runs, open_run

REFRESH = 2.0
"""Seconds after which a run that is being played is read again."""
TRIES = 3

Found = TypeVar("Found")


def root() -> str:
    """Return the runs folder that the viewer was started on."""
    return os.environ.get("IMPROV_RUNS", "runs")


@dataclass(frozen=True)
class Run:
    """A run as the rooms know it. `stamp` changes whenever its tables may have."""

    id: str
    meta: Json
    stamp: str

    @property
    def playing(self) -> bool:
        return self.meta.get("status") == "playing"

    @property
    def planned(self) -> int:
        return int(self.meta.get("trials") or 0)

    @property
    def models(self) -> list[str]:
        return [str(m) for m in self.meta.get("models") or []]


@dataclass(frozen=True)
class Play:
    """One trial as it can be read: its row, its turns, and the scene where its study has it."""

    row: Json
    transcript: Transcript
    scene: Scene | None
    scores: list[Json]

    @property
    def last(self) -> int:
        """The number of the last turn that was improvised, or begun."""
        return max((t.turn for t in self.transcript.turns), default=0)


def runs() -> list[Run]:
    """Return every run that can be read, newest first. Raises RunError."""
    return [_known(folder) for folder in list_runs(root())]


def run(name: str) -> Run:
    """Return a run by its id, a unique part of it, or "last". Raises RunError."""
    return _known(open_run(root(), name))


def trials(run: Run) -> list[Json]:
    """Return the rows of the trials that are finished, in the order of the plan."""
    return patiently(lambda: _trials(root(), run.id, run.stamp))


def find(run: Run, name: str) -> Json:
    """Return a trial's row by its number, its id, or a unique beginning of that. Raises RunError.

    A number comes first: "2" is the beginning of some id as often as not.
    """
    if name.isascii() and name.isdecimal():
        for row in trials(run):
            if row["index"] == int(name[:9]):
                return row
    return patiently(lambda: open_run(root(), run.id).trial(name))


def play(run: Run, row: Json) -> Play:
    """Return a finished trial to read. Raises RunError where its tables cannot be read."""
    return patiently(lambda: _play(root(), run.id, run.stamp, row["trial"], row["branch"]))


def question(run: Run) -> str:
    """Return what the run's study asks, or says about itself."""
    return _study(root(), run.id)[0]


def calls(run: Run, row: Json, turn: int) -> list[tuple[Json, Json | None]]:
    """Return the calls made for a turn, the author's first, each with the one before it by the
    same role (None for a role's first)."""
    table, places = patiently(
        lambda: _calls(root(), run.id, run.stamp, row["trial"], row["branch"])
    )
    found = []
    for place, (at, role) in enumerate(places):
        if at == turn:
            before = [i for i in range(place) if places[i][1] == role and 0 < places[i][0] < turn]
            found.append((_at(table, place), _at(table, before[-1]) if before else None))
    return found


def blocks(run: Run, call: Json) -> list[Block]:
    """Return the blocks that a call showed, in order."""
    ids = tuple(call["blocks"] or ())
    known = patiently(lambda: _blocks(root(), run.id, run.stamp, ids))
    lost = Block("", "task", "(this block is not in the run's tables)")
    return [known.get(i, lost) for i in ids]


def _known(folder: RunFolder) -> Run:
    meta = folder.meta()
    stamp = f"{meta.get('status')} {meta.get('ended')} {meta.get('created')}"
    if meta.get("status") == "playing":
        stamp += f" {int(time.time() / REFRESH)}"
    return Run(folder.id, meta, stamp)


def patiently(read: Callable[[], Found]) -> Found:
    """Read, and read again: a run that is being compacted moves its files under one's feet.

    Raises RunError where it stays unreadable. A broken Parquet file is a ValueError to pyarrow.
    """
    for _ in range(TRIES):
        try:
            return read()
        except (OSError, ValueError) as e:
            why = e
            time.sleep(0.1)
    raise RunError(f"a table of this run is not readable: {why}")


def _at(table: Any, place: int) -> Json:
    row: Json = table.slice(place, 1).to_pylist()[0]
    return row


@st.cache_resource(max_entries=4, show_spinner=False)
def _trials(root: str, run: str, stamp: str) -> list[Json]:
    rows: list[Json] = open_run(root, run).table("trials").to_pylist()
    # While a run is compacted its rows are for a moment both in the shards and in the table.
    return list({row["trial"]: row for row in rows if row["branch"] == MAIN}.values())


@st.cache_resource(max_entries=32, show_spinner=False)
def _play(root: str, run: str, stamp: str, trial: str, branch: str) -> Play:
    folder = open_run(root, run)
    row = next(r for r in folder.branches(trial) if r["branch"] == branch)
    transcript = folder.transcript(trial, branch)
    if row["turns"] and not transcript.turns:
        # The store passes over what is torn; a page must not show it as a silent scene.
        raise RunError(f"the turns of trial {trial} are torn; improv resume {run} sets them right")
    scores = folder.table("scores", trial=trial).to_pylist()
    scene = _study(root, run)[1].get((row["scene"], row["condition"]))
    return Play(row, transcript, scene, [s for s in scores if s["branch"] == branch])


@st.cache_resource(max_entries=8, show_spinner=False)
def _study(root: str, run: str) -> tuple[str, dict[tuple[str, str], Scene]]:
    """Return the question of a run's study, and its scenes by file and condition.

    A study that this version cannot read leaves its transcripts readable all the same.
    """
    try:
        study = open_run(root, run).study()
    except (ImprovError, OSError, UnicodeDecodeError):
        return "", {}
    scenes = {(slug, condition.name): scene for slug, condition, scene in study.cells}
    return study.question or study.about, scenes


@st.cache_resource(max_entries=8, show_spinner=False)
def _calls(
    root: str, run: str, stamp: str, trial: str, branch: str
) -> tuple[Any, list[tuple[int, str]]]:
    """Return the calls of a trial as a table, and the turn and role of each of its rows.

    Only the rows that are looked at are unpacked: each lists every block of its prompt.
    """
    table = open_run(root, run).table("calls", trial=trial)
    turns, roles, branches = (table[c].to_pylist() for c in ("turn", "role", "branch"))
    # Rows of other branches keep their place and match no turn.
    rows = zip(turns, roles, branches, strict=True)
    return table, [(turn if at == branch else -1, role) for turn, role, at in rows]


@st.cache_resource(max_entries=64, show_spinner=False)
def _blocks(root: str, run: str, stamp: str, ids: tuple[str, ...]) -> dict[str, Block]:
    return open_run(root, run).blocks(ids)
