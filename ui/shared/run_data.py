"""What the rooms read of a run: its tables, cached until they change.

The tables of a run that has ended are cached until it is scored or a branch is played. The tables
of a run that is being played are read again, at most every two seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from improv.errors import ImprovError, RunError
from improv.records import MAIN, Block, Json, Transcript
from improv.storage.run_folder import RunFolder
from improv.storage.runs import list_runs, open_run
from improv.study.design import Study
from improv.study.scene import Scene
from ui.shared.lazy_rows import Rows

REFRESH = 2.0
"""Seconds after which a run that is being played is read again."""
TRIES = 3

_Read = TypeVar("_Read")


def root() -> str:
    """Return the runs folder that the viewer was started on."""
    return os.environ.get("IMPROV_RUNS", "runs")


@dataclass(frozen=True)
class ViewedRun:
    """A run as the rooms show it. `stamp` changes whenever its tables may have changed. `problem`
    says what is wrong with its run.json, and `meta` is empty then."""

    id: str
    meta: Json
    stamp: str
    problem: str = ""

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
    """One trial or branch to read: its row, its turns with those that it shares, and its scene
    (None where the study cannot be read). `scores` are those of the turns and of the whole
    scene. `failures` are the rows of its earlier failures, if it was played again."""

    row: Json
    transcript: Transcript
    scene: Scene | None
    scores: list[Json]
    failures: list[Json] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The number of the last turn that was improvised or begun."""
        return max((t.turn for t in self.transcript.turns), default=0)


def all_runs() -> list[ViewedRun]:
    """Return every run, newest first. Raises RunError."""
    return [_known(folder) for folder in list_runs(root())]


def find_run(name: str) -> ViewedRun:
    """Return a run by its id, a unique part of it, or "last". Raises RunError."""
    run = _known(open_run(root(), name))
    if run.problem:
        raise RunError(run.problem)
    return run


def trial_rows(run: ViewedRun) -> Rows:
    """Return the rows of the finished trials, in the order of the plan."""
    return patiently(lambda: _trials(root(), run.id, run.stamp))[0]


def earlier_failures(run: ViewedRun) -> list[Json]:
    """Return the failures of trials and branches that were played again."""
    return patiently(lambda: _failures(root(), run.id, run.stamp))


def branch_rows(run: ViewedRun, trial: str) -> list[Json]:
    """Return the rows of a trial's branches, sorted by the turn of their fork."""
    grown = patiently(lambda: _trials(root(), run.id, run.stamp))[1]
    rows = [grown[i] for i in grown.places(trial=trial).tolist()]
    return sorted(rows, key=lambda r: (r["fork"], r["branch"]))


def find_trial(run: ViewedRun, name: str) -> Json:
    """Return a trial's row by its number, its id, or a unique beginning of its id.

    A number is tried first, because "2" is also the beginning of many ids. Raises RunError.
    """
    rows = trial_rows(run)
    if name.isascii() and name.isdecimal():
        at = rows.places(index=int(name[:9]))
        if len(at):
            return rows[int(at[0])]
    if (place := rows.where(name)) is not None:
        return rows[place]
    near = [i for i, trial in enumerate(rows.column("trial")) if name and trial.startswith(name)]
    if len(near) != 1:
        why = "means several trials" if near else "is not a finished trial"
        raise RunError(f"{name}: {why} of {run.id}")
    return rows[near[0]]


def play(run: ViewedRun, row: Json) -> Play:
    """Return a finished trial or branch to read. Raises RunError if a table is not readable."""
    return patiently(lambda: _play(root(), run.id, run.stamp, row["trial"], row["branch"]))


def study(run: ViewedRun) -> Study:
    """Return a run's study. Raises ImprovError where this version cannot read it."""
    return patiently(lambda: _whole_study(root(), run.id))


def question(run: ViewedRun) -> str:
    """Return the question of the run's study, or else its description."""
    return _question(root(), run.id)


def verdicts(run: ViewedRun, play: Play, turn: int | None) -> list[Json]:
    """Return the judges' verdicts on a turn, or on the whole scene, without those on planted
    lines."""
    trial, branch = play.row["trial"], play.row["branch"]
    whose = _owners(play.transcript).get(turn, branch) if turn is not None else branch
    stamp = f"{run.stamp} {open_run(root(), run.id).ratings.state()}"
    rows = patiently(lambda: _verdicts(root(), run.id, stamp, trial))
    return [v for v in rows if v["turn"] == turn and v["branch"] == whose]


def calls(run: ViewedRun, row: Json, turn: int) -> list[tuple[Json, Json | None]]:
    """Return the calls of a turn, the author's first, each with the previous call of the same role
    (None for the first call of a role)."""
    table, places = patiently(
        lambda: _calls(root(), run.id, run.stamp, row["trial"], row["branch"])
    )
    pairs = []
    for place, (at, role) in enumerate(places):
        if at == turn:
            before = [i for i in range(place) if places[i][1] == role and 0 < places[i][0] < turn]
            pairs.append((_at(table, place), _at(table, before[-1]) if before else None))
    return pairs


def call_blocks(run: ViewedRun, call: Json) -> list[Block]:
    """Return the blocks of a call's prompt, in order."""
    ids = tuple(call["blocks"] or ())
    known = patiently(lambda: _blocks(root(), run.id, run.stamp, ids))
    lost = Block("", "task", "(this block is not in the run's tables)")
    return [known.get(i, lost) for i in ids]


_CHANGING = ("trials", "scores", "verdicts")


def _known(folder: RunFolder) -> ViewedRun:
    meta: Json = {}
    problem, changing = "", []
    try:
        meta = folder.meta()
        changing = folder.fs.get_file_info([f"{folder.path}/{name}.parquet" for name in _CHANGING])
    except RunError as e:
        problem = str(e)
    stamp = f"{problem} {meta.get('status')} {meta.get('ended')} {meta.get('created')}"
    # Scoring, or a new branch, changes a run that has ended.
    for info in changing:
        stamp += f" {info.mtime_ns}"
    if meta.get("status") == "playing":
        stamp += f" {int(time.time() / REFRESH)}"
    return ViewedRun(folder.id, meta, stamp, problem)


def patiently(read: Callable[[], _Read]) -> _Read:
    """Return `read()`, tried several times, because compaction moves the files of a run meanwhile.

    Raises RunError if every attempt fails. For a broken Parquet file pyarrow raises ValueError.
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
def _trials(root: str, run: str, stamp: str) -> tuple[Rows, Rows]:
    """Return the rows of a run's trials, and the rows of their branches."""
    rows = Rows(open_run(root, run).tables.read("trials"))
    trials, branches = rows.column("trial"), rows.column("branch")
    if branches.count(MAIN) == len(set(trials)) == len(rows):
        return rows, rows.take(np.empty(0, np.int64))
    keys = list(zip(trials, branches, strict=True))
    # While a run is compacted, a row can be both in the shards and in the table.
    last = {key: i for i, key in enumerate(keys)}
    main = np.array([i for (_, branch), i in last.items() if branch == MAIN], np.int64)
    grown = np.array([i for (_, branch), i in last.items() if branch != MAIN], np.int64)
    return (rows if len(main) == len(rows) else rows.take(main)), rows.take(grown)


def _row(root: str, run: str, stamp: str, trial: str, branch: str) -> Json:
    main, grown = _trials(root, run, stamp)
    if branch == MAIN:
        at = main.where(trial)
    else:
        near = (i for i in grown.places(trial=trial).tolist() if grown[i]["branch"] == branch)
        at = next(near, None)
    if at is None:
        raise RunError(f"{run}: trial {trial} has no branch {branch}")
    return main[at] if branch == MAIN else grown[at]


@st.cache_resource(max_entries=32, show_spinner=False)
def _play(root: str, run: str, stamp: str, trial: str, branch: str) -> Play:
    folder = open_run(root, run)
    row = _row(root, run, stamp, trial, branch)
    transcript = folder.transcripts.read(trial, branch)
    if row["turns"] and not transcript.turns:
        # `tables.read` skips a torn file; a page must not show that as a scene without lines.
        raise RunError(f"the turns of trial {trial} are torn; improv resume {run} sets them right")
    scene = _scene(root, run, row["scene"], row["condition"])
    scores = folder.tables.read("scores", trial=trial).to_pylist()
    own = _own(scores, transcript, _probes(root, run, stamp, trial))
    failures = [
        f for f in _failures(root, run, stamp) if (f["trial"], f["branch"]) == (trial, branch)
    ]
    return Play(row, transcript, scene, own, failures)


@st.cache_resource(max_entries=8, show_spinner=False)
def _failures(root: str, run: str, stamp: str) -> list[Json]:
    """Return the earlier failures of what was played again; none if their table cannot be read."""
    try:
        rows: list[Json] = open_run(root, run).tables.read("failures").to_pylist()
    except RunError:
        return []
    return rows


def _owners(transcript: Transcript) -> dict[int, str]:
    """Return turn → the branch that owns it: this branch, or an ancestor."""
    return {t.turn: t.branch for t in transcript.turns}


def _probes(root: str, run: str, stamp: str, trial: str) -> dict[str, str]:
    """Return probe → the branch that it was put to, of a trial."""
    grown = _trials(root, run, stamp)[1]
    rows = (grown[i] for i in grown.places(trial=trial, origin="probe").tolist())
    return {row["branch"]: row["parent"] for row in rows}


def _own(scores: list[Json], transcript: Transcript, probes: Mapping[str, str]) -> list[Json]:
    """Return the scores of a branch's turns, those of shared turns included. A probe's score
    belongs to the branch and the turn that the probe was put to."""
    owners, branch = _owners(transcript), transcript.branch
    own = []
    for score in scores:
        whose = branch if score["turn"] is None else owners.get(score["turn"], branch)
        if score["branch"] == branch or probes.get(score["branch"], score["branch"]) == whose:
            own.append(score)
    return own


@st.cache_resource(max_entries=8, show_spinner=False)
def _verdicts(root: str, run: str, stamp: str, trial: str) -> list[Json]:
    rows: list[Json] = open_run(root, run).tables.read("verdicts", trial=trial).to_pylist()
    return [v for v in rows if not v["measure"].startswith("calibration:")]


@st.cache_resource(max_entries=8, show_spinner=False)
def _whole_study(root: str, run: str) -> Study:
    return open_run(root, run).study()


@st.cache_data(max_entries=200, show_spinner=False)
def _question(root: str, run: str) -> str:
    """Return the question of a run's study, "" where this version cannot read the study."""
    try:
        return open_run(root, run).question()
    except (ImprovError, OSError, UnicodeDecodeError):
        return ""


@st.cache_resource(max_entries=64, show_spinner=False)
def _scene(root: str, run: str, slug: str, condition: str) -> Scene | None:
    """Return the scene as a condition plays it, None where this version cannot read the study.

    The transcripts can be read without it.
    """
    try:
        return open_run(root, run).scene(slug, condition)
    except (ImprovError, OSError, UnicodeDecodeError):
        return None


@st.cache_resource(max_entries=8, show_spinner=False)
def _calls(
    root: str, run: str, stamp: str, trial: str, branch: str
) -> tuple[Any, list[tuple[int, str]]]:
    """Return the calls of a trial as a table, and the turn and role of each of its rows.

    Only the rows that are shown are converted, because each lists every block of its prompt.
    """
    table = open_run(root, run).tables.read("calls", trial=trial)
    turns, roles, branches = (table[c].to_pylist() for c in ("turn", "role", "branch"))
    owners = _owners(_play(root, run, stamp, trial, branch).transcript)
    # A row of another branch keeps its index, with a turn that matches nothing.
    rows = zip(turns, roles, branches, strict=True)
    return table, [
        (turn if at == owners.get(turn, branch) else -1, role) for turn, role, at in rows
    ]


@st.cache_resource(max_entries=64, show_spinner=False)
def _blocks(root: str, run: str, stamp: str, ids: tuple[str, ...]) -> dict[str, Block]:
    return open_run(root, run).tables.blocks(ids)
