"""Selects scenes of a run and reads them one by one, each with its turns, calls and scores.

The tables of a run are sorted by trial, so they are read side by side, and a run of a million turns
needs the memory of a few thousand. A branch has also the turns and calls that it shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from improv.errors import ImprovError, RunError
from improv.records import MAIN, Call, Json, Turn
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, call_from_row, turn_from_row
from improv.study.branch import keeps_turn, shared
from improv.study.scene import Scene

_SCORE_COLUMNS = ["trial", "branch", "turn", "character", "measure", "value", "evidence"]


@dataclass(frozen=True, slots=True)
class SceneFilter:
    """Which scenes of a run to export; an empty text does not filter.

    `trial` is any name of a trial, with ~BRANCH for a branch. `branches` adds the branches of the
    trials.
    """

    trial: str = ""
    condition: str = ""
    scene: str = ""
    branches: bool = False


@dataclass(frozen=True)
class Selection:
    """The selected scenes of a run.

    `rows` has the rows of the table of trials that are selected and done, by trial id; `failed`
    counts the selected rows that failed. `known` has all rows of the run, by trial id, so that the
    parents of branches are in it. `trials` are the ids of all selected trials, failed ones too.
    """

    folder: RunFolder
    rows: dict[str, list[Json]]
    known: dict[str, list[Json]]
    trials: frozenset[str]
    failed: int = 0

    @property
    def whole(self) -> bool:
        """Whether these are all trials of the run."""
        return len(self.trials) == len(self.known)

    @property
    def count(self) -> int:
        """How many scenes are selected and done."""
        return sum(map(len, self.rows.values()))

    def rows_in_order(self) -> Iterator[Json]:
        """Yield the rows in the order of the plan."""
        rows = [row for rows in self.rows.values() for row in rows]
        yield from sorted(rows, key=lambda r: (r["index"], r["branch"] != MAIN, r["branch"]))

    def subset(self, **values: str) -> Selection:
        """Return only the scenes whose rows have these values."""
        rows = {
            trial: kept
            for trial, scenes in self.rows.items()
            if (kept := [r for r in scenes if all(r[k] == v for k, v in values.items())])
        }
        return Selection(self.folder, rows, self.known, frozenset(rows))


@dataclass(frozen=True)
class PlayedScene:
    """One scene of a run.

    `turns` and `calls` are those of the whole scene; a branch has first those that it shares with
    its parent. `own` are the calls and `scores` the rows of scores that it does not share.
    """

    row: Json
    turns: Sequence[Turn]
    calls: Sequence[Call]
    own: Sequence[Call]
    scores: Sequence[Json]

    @property
    def name(self) -> str:
        """The trial's id, with ~BRANCH for a branch."""
        trial, branch = self.row["trial"], self.row["branch"]
        return str(trial) if branch == MAIN else f"{trial}~{branch}"


def select_scenes(folder: RunFolder, wanted: SceneFilter) -> Selection:
    """Select the scenes of a run that pass the filter. Raises RunError where there are none."""
    table = folder.tables.read("trials").to_pylist()
    if not table:
        raise RunError(f"{folder.id}: no scene of this run is finished yet")
    known: dict[str, list[Json]] = {}
    for row in table:
        known.setdefault(row["trial"], []).append(row)
    chosen = table
    if wanted.trial:
        named = folder.transcripts.trial(wanted.trial)
        whole = wanted.branches and named["branch"] == MAIN
        chosen = [r for r in known[named["trial"]] if whole or r["branch"] == named["branch"]]
    elif not wanted.branches:
        chosen = [r for r in table if r["branch"] == MAIN]
    for column, value in (("condition", wanted.condition), ("scene", wanted.scene)):
        if value:
            name = _match_name(folder, column, value, sorted({r[column] for r in table}))
            chosen = [r for r in chosen if r[column] == name]
    # Rows that are not done have no scene to export.
    rows: dict[str, list[Json]] = {}
    for row in chosen:
        if row["status"] == "done":
            rows.setdefault(row["trial"], []).append(row)
    failed = [r for r in chosen if r["status"] != "done"]
    if not rows:
        why = f": {failed[0]['failure']}" if len(failed) == 1 else ""
        what = f"all {len(failed)} failed{why}" if failed else "none was played"
        raise RunError(f"{folder.id}: no scene to export; {what}")
    trials = frozenset(row["trial"] for row in chosen)
    return Selection(folder, rows, known, trials, len(failed))


def played_scenes(selection: Selection) -> Iterator[PlayedScene]:
    """Yield each scene in the order of the tables: by trial id, then branch.

    Raises RunError where a table is not sorted by trial.
    """
    turns, calls, scores = (
        _Groups(selection, name, columns)
        for name, columns in (("turns", None), ("calls", None), ("scores", _SCORE_COLUMNS))
    )
    for trial in sorted(selection.rows):
        parts = _Trial(
            selection.known[trial],
            _by_branch(turn_from_row(row) for row in turns.take(trial)),
            _by_branch_of_calls(call_from_row(row) for row in calls.take(trial)),
        )
        scored: dict[str, list[Json]] = {}
        for row in scores.take(trial):
            scored.setdefault(row["branch"], []).append(row)
        for row in sorted(selection.rows[trial], key=lambda r: (r["branch"] != MAIN, r["branch"])):
            name = row["branch"]
            yield PlayedScene(
                row,
                parts.turns_of(name),
                parts.calls_of(name),
                parts.calls.get(name, []),
                scored.get(name, []),
            )


def study_scenes(folder: RunFolder) -> dict[tuple[str, str], Scene]:
    """Return (slug, condition) → scene of a run's study; empty if the study cannot be read."""
    try:
        return {(slug, c.name): scene for slug, c, scene in folder.study().cells}
    except ImprovError:
        return {}


@dataclass(frozen=True)
class _Trial:
    """A trial and its branches: the turns and calls of each branch that it does not share."""

    rows: Sequence[Json]
    turns: dict[str, list[Turn]]
    calls: dict[str, list[Call]]
    by_id: dict[str, Json] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {r["branch"]: r for r in self.rows})

    def turns_of(self, branch: str) -> list[Turn]:
        own = self.turns.get(branch, [])
        row = self.by_id.get(branch)
        if branch == MAIN or row is None:
            return own
        return [*(t for t in self.turns_of(row["parent"]) if t.turn <= row["fork"]), *own]

    def calls_of(self, branch: str) -> list[Call]:
        own = self.calls.get(branch, [])
        row = self.by_id.get(branch)
        if branch == MAIN or row is None:
            return own
        kept = keeps_turn(row["origin"], row["edit"])
        return [*shared(self.calls_of(row["parent"]), row["fork"], kept=kept), *own]


class _Groups:
    """The rows of a table, grouped by trial and read only as they are taken."""

    def __init__(self, selection: Selection, name: str, columns: list[str] | None) -> None:
        self._name = name
        rows = _rows(selection, name, columns or SCHEMAS[name].names)
        self._groups = groupby(rows, key=itemgetter("trial"))
        self._next: tuple[str, list[Json]] | None = None
        self._step("")

    def take(self, trial: str) -> list[Json]:
        """Return the rows of a trial; drop those of the trials before it."""
        while self._next is not None and self._next[0] < trial:
            self._step(self._next[0])
        if self._next is None or self._next[0] != trial:
            return []
        rows = self._next[1]
        self._step(trial)
        return rows

    def _step(self, last: str) -> None:
        trial, rows = next(self._groups, ("", None))
        self._next = None if rows is None else (trial, list(rows))
        if self._next is not None and trial <= last:
            raise RunError(f"{self._name}.parquet: not sorted: trial {trial} follows {last}")


def _rows(selection: Selection, name: str, columns: list[str]) -> Iterator[Json]:
    folder = selection.folder
    if len(selection.rows) == 1:
        only = next(iter(selection.rows))
        yield from folder.tables.read(name, trial=only, columns=columns).to_pylist()
        return
    wanted = pa.array(sorted(selection.rows), pa.string())
    for part in folder.tables.read_batches(name, columns):
        if not selection.whole:
            part = part.filter(pc.is_in(part["trial"], value_set=wanted))
        for batch in part.to_batches(_BATCH_ROWS):
            yield from batch.to_pylist()


_BATCH_ROWS = 2_000
"""Rows converted to Python objects at once; of a run that is playing, a piece is a whole table."""


def _by_branch(turns: Iterator[Turn]) -> dict[str, list[Turn]]:
    grouped: dict[str, list[Turn]] = {}
    for turn in turns:
        grouped.setdefault(turn.branch, []).append(turn)
    return grouped


def _by_branch_of_calls(calls: Iterator[Call]) -> dict[str, list[Call]]:
    grouped: dict[str, list[Call]] = {}
    for call in calls:
        grouped.setdefault(call.draw.branch, []).append(call)
    return grouped


def _match_name(folder: RunFolder, what: str, name: str, known: Sequence[str]) -> str:
    """Return the condition or scene with this name, or the only one whose name contains it."""
    near = [k for k in known if k == name] or [k for k in known if name.casefold() in k.casefold()]
    if len(near) != 1:
        why = f"means several {what}s" if near else f"is not a {what} of {folder.id}"
        raise RunError(f"{name}: {why}; there are {', '.join(near or known)}")
    return near[0]
