"""How much a study asks for, counted before any of it is built. Pure.

A kilobyte of factors can stand for a billion conditions. So cells (scenes under conditions) and
trials are counted from the file, and branches from the resolved scenes, in whole numbers, and a
study over a limit is refused with the count as a product.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from improv.errors import Problem, StudyError
from improv.study.design import StudyFile
from improv.study.edit import Branching, Probe, Regeneration, turns_of
from improv.study.limits import MAX_BRANCHES, TRIALS_A_CELL
from improv.study.scene import EVERYBODY, Scene
from improv.study.trial import Trials
from improv.study.yaml_source import DataPath, Source

OPTION = "--max-trials"


class Branched(Protocol):
    """What asks for branches: a study, or its file."""

    @property
    def branches(self) -> Sequence[Branching]: ...
    @property
    def regenerations(self) -> Sequence[Regeneration]: ...
    @property
    def probes(self) -> Sequence[Probe]: ...


class BranchCount(NamedTuple):
    """How many branches of one trial an entry of a study asks for: its path, and the product."""

    place: DataPath
    factors: str
    number: int


def branch_counts(study: Branched, scene: Scene) -> list[BranchCount]:
    """Return what each entry of a study asks for in a trial of `scene`.

    A regeneration that an earlier entry asks for already counts there alone.
    """
    counts = []
    for i, wish in enumerate(study.branches):
        first = int(any(edit.line is not None for edit in wish.arms.values()))
        turns = len(turns_of(wish.at, first, scene.turns - 1))
        parts = [(turns, "turn"), (len(wish.arms), "arm"), (wish.draws, "draw")]
        counts.append(_branch_count(("branches", i), parts))
    drawn: dict[int, int] = {}
    for i, again in enumerate(study.regenerations):
        fresh = 0
        turns_again = turns_of(again.at, 1, scene.turns)
        for turn in turns_again:
            fresh += max(0, again.draws - drawn.get(turn, 0))
            drawn[turn] = max(again.draws, drawn.get(turn, 0))
        parts = [(len(turns_again), "turn"), (again.draws, "draw")]
        counts.append(_branch_count(("regenerations", i), parts)._replace(number=fresh))
    for i, probe in enumerate(study.probes):
        turns = len(turns_of(probe.at, 0, scene.turns))
        asked = len(scene.cast) if probe.of == EVERYBODY else 1
        parts = [(turns, "turn"), (asked, "character"), (probe.draws, "draw")]
        counts.append(_branch_count(("probes", i), parts))
    return counts


def file_problems(
    written: StudyFile, source: Source, replicates: int | None, max_trials: int
) -> list[Problem]:
    """Find what is too large in a study's file before its scenes are read.

    `replicates` is an option that replaces those of the file. Branches are not counted here.
    """
    problems = []
    cells, factors = _cell_product(written)
    most = max_trials // TRIALS_A_CELL
    place = _largest_place(written)
    if cells > most:
        what = (
            f"{factors} = {_number(cells)} scenes to build, and the limit is {_number(most)}, one "
            f"for every {TRIALS_A_CELL} of {OPTION}; list the conditions to play in 'cells', or "
            f"raise the limit{_with_option(cells * TRIALS_A_CELL)}"
        )
        problems.append(source.problem(place, what))
    repeated = written.replicates if replicates is None else replicates
    trials = cells * repeated
    if trials > max_trials:
        parts = [factors] if cells > 1 else []
        parts += [_counted(repeated, "replicate")]
        what = _over(" × ".join(parts), trials, "trials", max_trials)
        if replicates is not None:
            problems.append(Problem("options", 1, 1, "replicates", what))
        elif not problems:
            place = ("replicates",) if repeated > 1 else place
            problems.append(source.problem(place, what))
    return problems


def trial_problems(
    trials: Trials, max_trials: int, source: Source | None = None, asked: int = 0
) -> list[Problem]:
    """Find what is too large in the planned trials of a study, their branches included.

    Places are those of `source` if the study was read from a file. `asked` is the number of
    branches that were asked for besides.
    """
    study = trials.study

    def problem(place: DataPath, what: str) -> Problem:
        if source is not None:
            return source.problem(place, what)
        return Problem(study.name, 1, 1, ".".join(map(str, place)), what)

    total = asked
    largest = BranchCount((), "", 0)
    for trial, count in trials.counts():
        of_one = branch_counts(study, trial.scene)
        branches = sum(c.number for c in of_one)
        worst = max(of_one, key=lambda c: c.number, default=largest)
        if worst.number > largest.number:
            largest = worst
        total += count * (1 + branches)
        if branches > MAX_BRANCHES and total <= max_trials:
            what = (
                f"{worst.factors} = {_number(worst.number)}; a trial is branched "
                f"{_number(branches)} times in all, and at most {_number(MAX_BRANCHES)} times is "
                "possible; draw less often, or at fewer turns"
            )
            return [problem(worst.place, what)]
    if total <= max_trials:
        return []
    if not largest.number:
        place: DataPath = ("replicates",) if study.replicates > 1 else ()
        return [problem(place, _over("all trials", total, "", max_trials))]
    each = f"{largest.factors} = {_number(largest.number)} in each trial"
    over = _over(f"{_counted(len(trials), 'trial')} with all branches", total, "", max_trials)
    return [problem(largest.place, f"{each}; {over}")]


def refuse_too_many(trials: Trials, max_trials: int, *, asked: int = 0) -> None:
    """Raise StudyError if the trials, their branches and those `asked` for besides are more than
    `max_trials`."""
    if problems := trial_problems(trials, max_trials, asked=asked):
        raise StudyError(problems)


def _cell_product(written: StudyFile) -> tuple[int, str]:
    """Return the number of cells, and what it is the product of."""
    if written.cells is None:
        levels = [len(of_factor) for of_factor in written.factors.values()]
        conditions, text = math.prod(levels), _powers(levels)
    else:
        conditions = len(written.cells)
        text = str(conditions)
    parts = [f"{text} {'condition' if text == '1' else 'conditions'}"]
    blocks = [len(of_block) for of_block in written.blocks.values()]
    if blocks:
        parts.append(f"{_powers(blocks)} combinations of blocking levels")
    parts.append(_counted(len(written.scenes), "scene"))
    return conditions * math.prod(blocks) * len(written.scenes), " × ".join(parts)


def _largest_place(written: StudyFile) -> DataPath:
    conditions = [len(of_factor) for of_factor in written.factors.values()]
    blocks = [len(of_block) for of_block in written.blocks.values()]
    sizes: list[tuple[int, str]] = [
        (math.prod(conditions), "factors")
        if written.cells is None
        else (len(written.cells), "cells"),
        (math.prod(blocks), "blocks"),
        (len(written.scenes), "scenes"),
    ]
    return (max(sizes, key=lambda size: size[0])[1],)


def _branch_count(place: DataPath, parts: Iterable[tuple[int, str]]) -> BranchCount:
    numbers = list(parts)
    factors = " × ".join(_counted(number, noun) for number, noun in numbers)
    return BranchCount(place, factors, math.prod(number for number, _ in numbers))


def _over(factors: str, count: int, noun: str, most: int) -> str:
    return (
        f"{factors} = {_number(count)}{f' {noun}' if noun else ''}, and the limit is "
        f"{_number(most)}; ask for less, or raise the limit{_with_option(count)}"
    )


def _with_option(count: int) -> str:
    return f" with {OPTION} {count}" if count < 10**12 else f" with {OPTION}"


def _powers(numbers: Sequence[int]) -> str:
    """Write a product of numbers: 2^30, or 2^3 × 5."""
    counts = Counter(numbers)
    texts = [f"{n}^{times}" if times > 1 else f"{n}" for n, times in counts.most_common(5)]
    rest = "" if len(counts) <= 5 else " × ..."
    return " × ".join(texts) + rest if texts else "1"


def _counted(count: int, noun: str) -> str:
    return f"{_number(count)} {noun}{'' if count == 1 else 's'}"


def _number(count: int) -> str:
    """Write a number in full, or its order of magnitude if it has more than fifteen digits."""
    return f"{count:,}" if count < 10**15 else f"about 10^{math.log10(count):.0f}"
