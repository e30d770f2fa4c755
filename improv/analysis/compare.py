"""Comparisons: the mean outcome of units, and one side of a design against another.

The outcome decides which test is right: times, scenes that are not paired, shares that a judge
called, phrasings, or means of blocks. The module `inference` reads the plan. Pure.
"""

from __future__ import annotations

import math

from improv.analysis.judge_error import JudgeErrors, corrected_contrast
from improv.analysis.stats import phrasing, survival
from improv.analysis.stats.contrast import Contrast, contrast, unpaired
from improv.analysis.stats.interval import Estimate
from improv.analysis.stats.rate import cluster_mean, cluster_rate
from improv.analysis.trajectories import means_by_turn, unbroken_spells
from improv.analysis.units import Frame, Tables, by_cell, cell_name, cell_weights, matching_units
from improv.study.plan import FactorLevels, Outcome


def compare_sides(
    name: str,
    plus: list[FactorLevels],
    minus: list[FactorLevels],
    outcome: Outcome,
    units: Frame,
    seed: int,
    judge: JudgeErrors | None = None,
) -> Contrast:
    """Compare two sides of units on an outcome, by the test that the outcome asks for.

    With a `judge`, shares are corrected for its errors first. If a side matches no condition that
    was played, every number of the contrast is NaN and its estimate has the reason.
    """
    try:
        weighed = cell_weights(units, plus, minus)
    except ValueError as e:
        return _unknown(name, str(e))
    if outcome.of == "time":
        return _survive(name, matching_units(units, plus[0]), matching_units(units, minus[0]), seed)
    if outcome.unit == "scene":
        sides = [by_scene(matching_units(units, side[0])) for side in (plus, minus)]
        return unpaired(*sides, name=name, seed=seed, planned=True)
    if judge is not None:
        cells_of = zip(units["condition"], units["levels"], strict=True)
        confusions = {cell_name(c, levels): judge.arms[c][0] for c, levels in cells_of}
        values = by_cell(units)
        return corrected_contrast(values, weighed, confusions, name=name, seed=seed)
    return contrast(by_cell(units), weighed, name=name, seed=seed, planned=True)


def phrasing_contrasts(outcome: Outcome, part: Frame, tables: Tables, seed: int) -> list[Contrast]:
    """Return the intraclass correlation of phrasings and its slope over turns, as findings."""
    phrasings = [levels.get(outcome.factor, "") for levels in part["levels"]]
    values: dict[str, dict[str, dict[int, float]]] = {}
    for name, rows in part.groupby(phrasings, sort=False):
        for block, turns in means_by_turn(outcome, tables, rows).items():
            values.setdefault(block, {})[str(name)] = turns
    slugs = dict(zip(part["block"], part["scene"], strict=True))
    icc = phrasing.phrasing_icc(values, seed=seed, slugs=slugs)

    def finding(name: str, estimate: Estimate, p: float) -> Contrast:
        return Contrast(name, estimate, p, icc.blocks, (), math.nan, planned=True)

    return [
        finding("intraclass correlation of phrasings, mean over turns", icc.mean, icc.mean_p),
        finding("its slope a turn", icc.slope, icc.slope_p),
    ]


def mean_outcome(known: Frame) -> Estimate:
    """Return the mean over units, with blocks as the clusters of its interval."""
    sums = known.groupby("block")["value"].agg(["sum", "size"]).to_numpy(dtype=float)
    if not len(sums):
        return Estimate.unknown("no unit has an outcome", unit="blocks")
    shares = bool(known["value"].between(0, 1).all())
    return cluster_rate(sums, unit="blocks") if shares else cluster_mean(sums, unit="blocks")


def by_scene(part: Frame) -> dict[str, float | None]:
    """Return unit → value for the units that have a value: for scenes that are not paired."""
    known = part[part["value"].notna()]
    names = known["trial"] + "~" + known["branch"]
    return dict(zip(names, known["value"].astype(float), strict=True))


def _unknown(name: str, why: str) -> Contrast:
    nothing = Estimate.unknown(why, unit="blocks")
    return Contrast(name, nothing, math.nan, 0, (), math.nan, planned=True)


def _survive(name: str, a: Frame, b: Frame, seed: int) -> Contrast:
    """Compare times to the first break within blocks: how many turns longer scenes last."""
    both = [*unbroken_spells(a, "plus"), *unbroken_spells(b, "minus")]
    times, horizon = survival.restricted_times(both, "plus", "minus")
    if not horizon:
        return _unknown(name, "a side has no scene that was followed to turn 1")
    return contrast(times, {"plus": 1.0, "minus": -1.0}, name=name, seed=seed, planned=True)
