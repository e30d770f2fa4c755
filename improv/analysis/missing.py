"""What missing lines can do to a planned contrast: its worst cases, and whether arms lose lines
alike. Pure.

Nobody knows what a line that could not be read would have scored. So each contrast is computed
twice more: with all that is missing broken on the first side and kept on the second, and the other
way round. What is shown is shown in both, or it is not decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from improv.analysis.compare import compare_sides
from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.judge_error import JudgeErrors
from improv.analysis.stats.contrast import Contrast, contrast, holm
from improv.analysis.stats.interval import Estimate
from improv.analysis.units import (
    Frame,
    Tables,
    by_cell,
    cell_weights,
    outcome_scores,
    outcome_units,
    scores_of,
)
from improv.records import seed_of
from improv.study.measure_spec import find_measure
from improv.study.plan import Outcome, Plan

_LOWER_IS_BROKEN = ("mean", "recovered", "collision")
"""Outcomes that fall where lines are broken; the others rise."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A planned contrast in its two worst cases.

    `lines` scores and `units` whole scenes are missing in the cells that it compares. `broken` is
    the contrast if all of them are broken on the first side and kept on the second; `kept` is the
    reverse. `apart` is the difference of the shares that are missing, paired by block, `p` that of
    its test. `holds` says whether both cases come to the decision that the plain contrast came to.
    """

    contrast: str
    lines: int
    units: int
    broken: Estimate
    kept: Estimate
    apart: Estimate
    p: float
    holds: bool


def missing_bounds(
    plan: Plan,
    outcome: Outcome,
    units: Frame,
    tables: Tables,
    findings: Sequence[Contrast],
    seed: int,
    judge: JudgeErrors | None = None,
) -> tuple[Bounds, ...]:
    """Return the bounds of each planned contrast. Empty for an outcome whose scores have no
    smallest or largest value, or that is no mean of units."""
    known = find_measure(outcome.measure)
    if outcome.of == "phrasing" or (known is not None and known.unit.range != (0.0, 1.0)):
        return ()
    complete = not (units["missing"].any() or (units["status"] != "done").any())
    filled = {
        v: units if complete else _filled(plan, outcome, tables, units, v) for v in (0.0, 1.0)
    }
    cases: dict[float, list[Contrast]] = {}
    for value in (0.0, 1.0):
        worst = []
        for spec, found in zip(plan.contrasts, findings, strict=True):
            if complete or np.isnan(found.estimate.value):
                worst.append(found)
                continue
            mixed = _mixed(filled, cell_weights(units, spec.plus, spec.minus), value)
            sides = (spec.name, spec.plus, spec.minus)
            worst.append(compare_sides(*sides, outcome, mixed, seed, judge))
        cases[value] = holm(worst, plan.alpha)
    by_name = {v: {c.name: c for c in found} for v, found in cases.items()}
    return tuple(_bounds(plan, units, found, by_name, seed) for found in findings)


def missing_doubts(findings: Sequence[Contrast], bounds: Sequence[Bounds]) -> Iterator[Doubt]:
    """Yield a doubt for each contrast that is shown only if what is missing is not against it."""
    rejected = {c.name: c.rejected for c in findings}
    for b in bounds:
        if b.holds or not rejected[b.contrast]:
            continue
        lost = _counted(b.lines, b.units)
        why = (
            f"{lost} missing. If all of them were broken on the first side and kept on the second, "
            f"the difference would be {b.broken.value:.3g}; the other way round, "
            f"{b.kept.value:.3g}. What is shown must hold in both cases."
        )
        yield Doubt(DoubtKind.MISSING_BOUNDS, why, contrast=b.contrast, short=f"{lost} missing")


def _counted(lines: int, units: int) -> str:
    parts = [
        f"{n:,} {what}{'s' * (n != 1)}" for n, what in ((lines, "line"), (units, "scene")) if n
    ]
    return " and ".join(parts) or "nothing"


def _bounds(
    plan: Plan,
    units: Frame,
    found: Contrast,
    cases: Mapping[float, Mapping[str, Contrast]],
    seed: int,
) -> Bounds:
    nothing = Estimate.unknown(found.estimate.why, unit="blocks")
    if np.isnan(found.estimate.value):
        return Bounds(found.name, 0, 0, nothing, nothing, nothing, float("nan"), holds=True)
    spec = next(c for c in plan.contrasts if c.name == found.name)
    weights = cell_weights(units, spec.plus, spec.minus)
    own = units[units["cell"].isin(list(weights))]
    failed = own["status"] != "done"
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(failed, 1.0, own["missing"] / own["lines"].where(own["lines"] > 0))
    missing = by_cell(own.assign(value=share))
    apart = contrast(
        missing, weights, name=found.name, seed=seed_of("missing", seed, found.name), planned=True
    )
    broken, kept = cases[0.0][found.name], cases[1.0][found.name]
    side = np.sign(found.estimate.value)
    lines, scenes = int(own["missing"][~failed].sum()), int(failed.sum())
    alike = lines + scenes == 0 or all(
        c.rejected == found.rejected and (not found.rejected or np.sign(c.estimate.value) == side)
        for c in (broken, kept)
    )
    return Bounds(
        found.name,
        lines,
        scenes,
        broken.estimate,
        kept.estimate,
        apart.estimate,
        apart.p,
        holds=bool(alike),
    )


def _filled(plan: Plan, outcome: Outcome, tables: Tables, units: Frame, value: float) -> Frame:
    """Return the units as they would be if all that is missing scored `value`. What is subtracted
    (`less`) scores the opposite, which is its worst case."""
    scores = scores_of(tables.scores, outcome.measure)
    scores = scores.assign(value=scores["value"].fillna(value))
    plain = outcome.model_copy(update={"less": ""})
    whole = _with_scores(plan, plain, tables, scores)
    numbers = whole["value"].to_numpy(dtype=float)
    if outcome.less:
        other = scores_of(tables.scores, outcome.less)
        other = other.assign(value=other["value"].fillna(1 - value))
        less = outcome.model_copy(update={"measure": outcome.less, "less": ""})
        numbers = numbers - _with_scores(plan, less, tables, other)["value"].to_numpy(dtype=float)
    failed = (units["status"] != "done").to_numpy()
    at_worst, event = _extreme(outcome, tables, value)
    return whole.assign(
        value=np.where(failed, at_worst, numbers),
        event=np.where(failed, event, whole["event"]),
        # A judge's errors are taken out of counts of lines, so a scene that failed needs one.
        lines=np.where(failed, np.maximum(units["lines"], 1), units["lines"]),
        missing=0,
    )


def _with_scores(plan: Plan, outcome: Outcome, tables: Tables, scores: Frame) -> Frame:
    filled = replace(tables, scores=scores, _kept={})
    return outcome_units(outcome, filled, arms=plan.of_arms)


def _extreme(outcome: Outcome, tables: Tables, value: float) -> tuple[float, bool]:
    """Return the outcome of a scene that failed if all of its lines scored `value`, and whether
    it is an event."""
    if outcome.of == "time":
        turns = outcome_scores(outcome, tables)["turn"]
        return (float(turns.min()), True) if value == 0 else (float(turns.max()), False)
    rises = outcome.of not in _LOWER_IS_BROKEN
    high = (value == 0) == rises
    low = -1.0 if outcome.less else 0.0
    return (1.0 if high else low), True


def _mixed(filled: Mapping[float, Frame], weights: Mapping[str, float], first: float) -> Frame:
    """Return the units with all that is missing at `first` in cells of positive weight, and at the
    other value in those of negative weight."""
    positive = filled[first]["cell"].map(lambda cell: weights.get(cell, 0.0) > 0).to_numpy(bool)
    one, other = filled[first], filled[1 - first]
    changes = {
        name: np.where(positive, one[name], other[name])
        for name in ("value", "event", "lines", "missing")
    }
    return one.assign(**changes)
