"""Controls of a plan: checks that would catch a false positive, and whether they held. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from improv.analysis.compare import by_scene, mean_outcome, phrasing_contrasts
from improv.analysis.judge_error import JudgeErrors, is_trusted
from improv.analysis.stats.bounded import bounded_mean, fewest_for_bound
from improv.analysis.stats.contrast import equivalence, unpaired
from improv.analysis.stats.interval import Estimate
from improv.analysis.trajectories import linear_slope, turn_grid
from improv.analysis.units import (
    Frame,
    Tables,
    by_cell,
    cell_weights,
    matching_units,
    outcome_units,
)
from improv.records import seed_of
from improv.study.plan import (
    ARM,
    Bound,
    ChanceSpec,
    Control,
    EquivalenceSpec,
    Flat,
    Outcome,
    Plan,
    Unmoved,
)


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control's result: what had to hold, and whether it held (None if the data do not say)."""

    name: str
    what: str
    estimate: Estimate
    held: bool | None


def check_controls(
    plan: Plan,
    outcome: Outcome,
    units: Frame,
    tables: Tables,
    seed: int,
    judges: Sequence[JudgeErrors],
) -> Iterator[ControlResult]:
    for control in plan.controls:
        measure = getattr(control.check, "measure", "") or outcome.measure
        if not is_trusted(tables, measure, judges):
            nothing = Estimate.unknown(f"no judge of {measure} could tell", unit="blocks")
            yield ControlResult(control.name, "not looked at", nothing, None)
            continue
        if isinstance(same := control.check, EquivalenceSpec):
            try:
                cell_weights(units, same.plus, same.minus)
            except ValueError as e:
                nothing = Estimate.unknown(str(e), unit="blocks")
                yield ControlResult(control.name, "not looked at", nothing, None)
                continue
        yield _check(control, outcome, units, tables, plan, seed)


def _check(
    control: Control, outcome: Outcome, units: Frame, tables: Tables, plan: Plan, seed: int
) -> ControlResult:
    check = control.check
    if isinstance(check, EquivalenceSpec):
        return _same(control.name, check, outcome, units, plan.alpha, seed)
    if isinstance(check, ChanceSpec):
        read = Outcome(of="mean", measure=check.measure)
        part = matching_units(outcome_units(read, tables, arms=ARM in check.where), check.where)
        mean = mean_outcome(part[part["value"].notna()])
        what = f"the mean of {check.measure} is {check.value:g} ± {check.margin:g}"
        inside = mean.low >= check.value - check.margin and mean.high <= check.value + check.margin
        return ControlResult(control.name, what, mean, None if math.isnan(mean.low) else inside)
    if isinstance(check, Bound):
        return _bounded(control.name, check, outcome, tables)
    if isinstance(check, Unmoved):
        (level, *_) = phrasing_contrasts(outcome, matching_units(units, check.where), tables, seed)
        what = (
            f"the intraclass correlation, with its interval, is within ±{check.within:g} of nothing"
        )
        icc = level.estimate
        held = -check.within <= icc.low and icc.high <= check.within
        return ControlResult(control.name, what, icc, None if math.isnan(icc.low) else held)
    return _flat(control.name, check, outcome, matching_units(units, check.where), tables, seed)


def _bounded(name: str, check: Bound, outcome: Outcome, tables: Tables) -> ControlResult:
    """Bound the share of broken lines, over blocks: lines of one scene break together."""
    measure = check.measure or outcome.measure
    read = outcome.model_copy(update={"of": "broken", "measure": measure, "less": ""})
    units = matching_units(outcome_units(read, tables, arms=ARM in check.where), check.where)
    known = units[units["value"].notna()]
    rate = bounded_mean(known.groupby("block")["value"].mean(), unit="blocks")
    what = f"at most {check.at_most:.2%} of lines break {measure}, by a bound over blocks"
    if not len(known):
        return ControlResult(name, what, rate, None)
    held = rate.high <= check.at_most
    fewest = fewest_for_bound(check.at_most)
    if not held and rate.n < fewest:
        why = f"{rate.n} blocks cannot hold it: at least {fewest} are needed, none with a break"
        rate = replace(rate, why=why)
    return ControlResult(name, what, rate, held)


def _same(
    name: str, check: EquivalenceSpec, outcome: Outcome, units: Frame, alpha: float, seed: int
) -> ControlResult:
    what = f"the difference is within ±{check.margin:g} (two one-sided tests)"
    if outcome.unit == "scene" or outcome.of == "time":
        # Where scenes are not paired, the interval of level 1 − 2α must lie within the margin.
        sides = [by_scene(matching_units(units, side[0])) for side in (check.plus, check.minus)]
        apart = unpaired(*sides, name=name, seed=seed, planned=True, level=1 - 2 * alpha).estimate
        inside = -check.margin < apart.low and apart.high < check.margin
        return ControlResult(name, what, apart, None if math.isnan(apart.low) else inside)
    means = by_cell(units)
    values: dict[str, dict[str, float | None]] = {}
    for side, wheres in (("plus", check.plus), ("minus", check.minus)):
        weighed = cell_weights(units, wheres, [])
        blocks = set.intersection(*(set(means[cell]) for cell in weighed))
        values[side] = {b: sum(w * means[cell][b] for cell, w in weighed.items()) for b in blocks}
    same = equivalence(values, "plus", "minus", margin=check.margin, alpha=alpha, name=name)
    unknown = math.isnan(same.p)
    return ControlResult(name, what, same.estimate, None if unknown else same.equivalent)


def _flat(
    name: str, check: Flat, outcome: Outcome, part: Frame, tables: Tables, seed: int
) -> ControlResult:
    what = f"the outcome moves by at most {check.margin:g} a turn"
    sloped = linear_slope(turn_grid(outcome, tables, part), seed_of("flat", seed, name))
    if math.isnan(sloped.low):
        return ControlResult(name, what, sloped, None)
    inside = -check.margin <= sloped.low and sloped.high <= check.margin
    return ControlResult(name, what, sloped, inside)
