"""What a run still owes: the trials and branches that its folder does not hold yet.

A million owed trials take no memory: work is made when a host has a place for it. What is kept is
what was played or asked for, and how much is owed of each condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from improv.errors import ErrorKind, is_weather
from improv.records import MAIN, Json
from improv.runner.session import Work
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS
from improv.study.branch import Branch, planned_branches
from improv.study.model_spec import Model
from improv.study.trial import Trial, Trials, find_trials, models_of
from improv.study.trial_count import branch_counts

_ROWS = 10_000
"""Rows of the table of trials that are read at once."""


@dataclass(frozen=True)
class Owed:
    """What is owed of the trials of a run, in the order of play. It is false if nothing is.

    `size` counts trials and branches; `trials` counts the trials of which something is owed.
    """

    size: int
    trials: int
    by_condition: Mapping[str, int]
    cells: Sequence[Trial] = ()
    """A trial of each cell that something is owed of."""
    _planned: Trials | None = field(repr=False, default=None)
    _played: bytes = field(repr=False, default=b"")
    _left: Mapping[int, tuple[Branch, ...]] = field(repr=False, default_factory=dict)
    _only: bool = False

    def __bool__(self) -> bool:
        return self.size > 0

    @property
    def models(self) -> list[Model]:
        """The models that play what is owed, without those that only branches use."""
        return models_of(self.cells)

    def __iter__(self) -> Iterator[Work]:
        planned = self._planned
        if planned is None:
            return
        branches = planned.study.branches or planned.study.regenerations or planned.study.probes
        for index in sorted(self._left) if self._only else range(len(planned)):
            main = not self._played[index] and not self._only
            left = self._left.get(index)
            if left is None and not branches and not main:
                continue
            trial = planned[index]
            if left is None:
                left = tuple(planned_branches(planned.study, trial))
            if main or left:
                yield Work(trial, main, left)


def owed(
    folder: RunFolder, planned: Trials, asked: Iterable[Branch], only: set[str] | None = None
) -> Owed:
    """Return the trials and branches that are not in the folder yet.

    Branches are planned by the study, or are `asked` for. With `only`, no trials are owed, and only
    those of the branches asked for that have these ids.
    """
    played = bytearray(len(planned))
    branches = _read_played(folder, planned, played)
    asked_of: dict[int, list[Branch]] = {}
    wishes = [b for b in asked if only is None or b.id in only]
    known = find_trials(planned, {b.trial for b in wishes})
    for b in wishes:
        if b.trial in known:
            asked_of.setdefault(known[b.trial].index, []).append(b)
    left: dict[int, tuple[Branch, ...]] = {}
    for index in asked_of.keys() | (branches.keys() if only is None else ()):
        of_trial = asked_of.get(index, [])
        if only is None:
            of_trial = [*planned_branches(planned.study, planned[index]), *of_trial]
        there = branches.get(index, ())
        left[index] = tuple(b for b in of_trial if b.id not in there)
    return _counted(planned, bytes(played), left, only is not None)


def to_play_again(folder: RunFolder, *, every: bool = False) -> list[Json]:
    """Return the rows of the failed trials and branches that are played again, with the columns of
    the table of failures: those that an endpoint failed in a way that may pass, or `every` one.

    A branch that was not reached is one of them only if its parent is.
    """
    failed = folder.tables.failed_trials()
    unreached = [r for r in failed if r["failure_kind"] == ErrorKind.UNREACHED]
    again = {
        (r["trial"], r["branch"])
        for r in failed
        if r["failure_kind"] != ErrorKind.UNREACHED and (every or is_weather(r["failure_kind"]))
    }
    more = set(again)
    while more:
        more = {(r["trial"], r["branch"]) for r in unreached if (r["trial"], r["parent"]) in more}
        again |= more
    names = SCHEMAS["failures"].names
    return [{n: r[n] for n in names} for r in failed if (r["trial"], r["branch"]) in again]


def _read_played(folder: RunFolder, planned: Trials, played: bytearray) -> dict[int, set[str]]:
    """Mark the trials that were played; return the branches that were, by the trial's index."""
    branches: dict[int, set[str]] = {}
    elsewhere: list[tuple[str, str]] = []

    def mark(index: int, branch: str) -> None:
        if branch == MAIN:
            played[index] = 1
        else:
            branches.setdefault(index, set()).add(branch)

    columns = ["trial", "branch", "index"]
    for rows in folder.tables.read("trials", columns=columns).to_batches(_ROWS):
        for trial, branch, there in zip(*(rows[c].to_pylist() for c in columns), strict=True):
            index = planned.place(trial, there)
            if index is None:
                elsewhere.append((trial, branch))
            else:
                mark(index, branch)
    if elsewhere:
        # The study has changed since, or the rows are somebody else's.
        known = find_trials(planned, {trial for trial, _ in elsewhere})
        for trial, branch in elsewhere:
            if trial in known:
                mark(known[trial].index, branch)
    return branches


def _counted(
    planned: Trials, played: bytes, left: Mapping[int, tuple[Branch, ...]], only: bool
) -> Owed:
    """Count what is owed, cell by cell. Only trials that were played or asked for are looked at."""
    cells = planned.counts()
    branches = [_branch_count(planned, trial) for trial, _ in cells]
    size = [0 if only else count * (1 + b) for (_, count), b in zip(cells, branches, strict=True)]
    trials = [0 if only else count for _, count in cells]
    if not only:
        for index in itertools.compress(range(len(planned)), played):
            cell = planned.cell_of(index)
            size[cell] -= 1
            trials[cell] -= not branches[cell] and index not in left
    for index, of_trial in left.items():
        cell = planned.cell_of(index)
        size[cell] += len(of_trial) - (0 if only else branches[cell])
        trials[cell] += bool(of_trial) if only else -bool(played[index] and not of_trial)
    by_condition: dict[str, int] = {}
    for (trial, _), count in zip(cells, size, strict=True):
        if count:
            by_condition[trial.condition] = by_condition.get(trial.condition, 0) + count
    return Owed(
        size=sum(size),
        trials=sum(trials),
        by_condition=by_condition,
        cells=[trial for (trial, _), count in zip(cells, size, strict=True) if count],
        _planned=planned,
        _played=played,
        _left=left,
        _only=only,
    )


def _branch_count(planned: Trials, trial: Trial) -> int:
    return sum(wish.number for wish in branch_counts(planned.study, trial.scene))
