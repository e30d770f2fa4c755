"""Which trials an estimate plays, and for how many each of them stands. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from improv.study.trial import Trial, Trials

LONG_SCENE = 40
"""Turns. Towards the maximum a longer trial counts as one for each 40 turns, rounded up."""


@dataclass(frozen=True, slots=True)
class SampledTrial:
    """A trial that is played, and how many trials it represents.

    `branching` is that number for its branches: one trial of a cell represents all of them, and
    the other trials are not branched.
    """

    trial: Trial
    weight: float
    branching: int


def sample_trials(trials: Trials, at_most: int) -> list[SampledTrial]:
    """Return the trials to be played: of more than `at_most` equally many of each cell, the first
    in the order of play, and at least one."""
    counts: dict[tuple[str, str], int] = {}
    weights: dict[tuple[str, str], int] = {}
    for trial, count in trials.counts():
        key = (trial.slug, trial.condition)
        counts[key] = counts.get(key, 0) + count
        weights.setdefault(key, _weight(trial))
    few = sum(counts[key] * weight for key, weight in weights.items()) <= at_most
    cells: dict[tuple[str, str], list[Trial]] = {key: [] for key in counts}
    each = {
        key: count if few else min(count, max(1, at_most // (len(cells) * weights[key])))
        for key, count in counts.items()
    }
    missing = sum(each.values())
    for trial in trials:
        if not missing:
            break
        key = (trial.slug, trial.condition)
        if len(cells[key]) < each[key]:
            cells[key].append(trial)
            missing -= 1
    return [
        SampledTrial(trial, counts[key] / each[key], counts[key] if trial is cell[0] else 0)
        for key, cell in cells.items()
        for trial in cell
    ]


def _weight(trial: Trial) -> int:
    # Every call reads the whole scene again: the time grows faster than the number of turns.
    return math.ceil(trial.scene.turns / LONG_SCENE)
