"""From units to findings: what a plan asks of a run, and what else its numbers show. Pure.

What the plan names is tested with Holm's correction; all else is exploratory, corrected by
Benjamini and Hochberg, and called so. Where an arm's lines could not be read nothing is decided,
and the reason is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from improv.plan import Bound, Chance, Control, Equivalence, Flat, Outcome, Plan, Unmoved, Where
from improv.record import MAIN, seed_of
from improv.stats import chain as chains
from improv.stats import drift, phrasing, survival
from improv.stats.chain import Absorption, Chain
from improv.stats.contrast import (
    Contrast,
    benjamini_hochberg,
    contrast,
    equivalence,
    holm,
    unpaired,
)
from improv.stats.interval import Estimate, at_edge, bootstrap_sums, proportion
from improv.unit import (
    Frame,
    Tables,
    among,
    by_cell,
    cell_name,
    cell_names,
    named,
    sequences,
    units,
    weights,
)

PREFERRED = ("sign", "state", "habit", "rule")
"""What is explored where no plan names a measure: the first of these that there are scores of."""
MISSING_ABOVE = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """A control: what had to hold, and whether it did (None where that cannot be told)."""

    name: str
    what: str
    estimate: Estimate
    held: bool | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One cell of the design as it was played, and its mean outcome over units.

    `without` counts units that have no outcome: they failed, could not be read, or (for
    recovery) never broke. `missing` of `lines` scores could not be read.
    """

    cell: str
    blocks: int
    units: int
    failed: int
    without: int
    lines: int
    missing: int
    value: Estimate

    @property
    def missing_share(self) -> float:
        return self.missing / self.lines if self.lines else 0.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over turns with its band: (turn, value, low, high) each."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class CellChain:
    """The two-state chain of one cell and measure."""

    cell: str
    measure: str
    chain: Chain


@dataclass(frozen=True)
class Analysis:
    """Everything that a report says about the outcome of a run.

    `planned` is whether the plan is the one whose hash stands in the run. `stopped` are reasons
    why nothing is decided.
    """

    plan: Plan | None
    outcome: Outcome | None
    planned: bool
    arms: tuple[Arm, ...] = ()
    findings: tuple[Contrast, ...] = ()
    checks: tuple[Check, ...] = ()
    exploratory: tuple[Contrast, ...] = ()
    chains: tuple[CellChain, ...] = ()
    survival: tuple[Curve, ...] = ()
    drift: tuple[Curve, ...] = ()
    slopes: tuple[tuple[str, Estimate], ...] = ()
    stopped: tuple[str, ...] = ()


def analyse(plan: Plan | None, given: Tables, *, seed: int = 0, planned: bool = True) -> Analysis:
    """Analyse a run by a plan, or explore it where there is none.

    Raises ValueError where the plan names a condition that the run has not.
    """
    outcome = plan.outcome if plan is not None else _default(given)
    if outcome is None:
        return Analysis(plan, None, False, stopped=("there are no scores to analyse",))
    found = units(outcome, given, arms=plan is not None and plan.of_arms)
    arms = tuple(_arm(name, part, seed) for name, part in _cells(found))
    limit = plan.exclude.missing_above if plan is not None else MISSING_ABOVE
    every = units(outcome, given) if plan is not None and plan.of_arms else found
    return Analysis(
        plan=plan,
        outcome=outcome,
        planned=planned and plan is not None,
        arms=arms,
        findings=tuple(_findings(plan, outcome, found, given, seed)) if plan else (),
        checks=tuple(_check(c, outcome, found, given, plan, seed) for c in plan.controls)
        if plan
        else (),
        exploratory=tuple(_explored(plan, outcome, given, seed)),
        chains=tuple(_chains(outcome, given, seed)),
        survival=tuple(_survival(outcome, given)),
        drift=tuple(_drift(outcome, given, every, seed)),
        slopes=tuple(_slopes(outcome, given)),
        stopped=tuple(_stopped(arms, limit)),
    )


def _default(given: Tables) -> Outcome | None:
    for name in PREFERRED:
        if len(named(given.scores, name)):
            return Outcome(of="broken", measure=name)
    return None


def _cells(found: Frame) -> Iterator[tuple[str, Frame]]:
    names = [cell_name(c, lv) for c, lv in zip(found["condition"], found["levels"], strict=True)]
    cells = found.assign(cell=names)
    for name in cell_names(found):
        yield name, cells[cells["cell"] == name]


def _arm(name: str, part: Frame, seed: int) -> Arm:
    known = part[part["value"].notna()]
    return Arm(
        cell=name,
        blocks=part["block"].nunique(),
        units=len(part),
        failed=int((part["status"] != "done").sum()),
        without=len(part) - len(known),
        lines=int(part["lines"].sum()),
        missing=int(part["missing"].sum()),
        value=_mean(known, seed_of("arm", seed, name)),
    )


def _mean(known: Frame, seed: int) -> Estimate:
    """Return the mean over units, its interval from resampled blocks."""
    sums = known.groupby("block")["value"].agg(["sum", "size"]).to_numpy(dtype=float)
    if not len(sums):
        return Estimate.unknown("no unit has an outcome", unit="blocks")
    (found,) = bootstrap_sums(sums, lambda s: s[:, 0] / s[:, 1], seed=seed, unit="blocks")
    shares = bool(known["value"].between(0, 1).all())
    return at_edge(found) if shares else found


def _stopped(arms: Sequence[Arm], limit: float) -> Iterator[str]:
    for arm in arms:
        if arm.missing_share > limit:
            yield (
                f"{arm.cell}: {arm.missing} of {arm.lines} scores are missing "
                f"({arm.missing_share:.1%}); more than {limit:.0%} decides nothing"
            )
        elif arm.units and arm.failed / arm.units > limit:
            yield (
                f"{arm.cell}: {arm.failed} of {arm.units} units failed; more than {limit:.0%} "
                "decides nothing"
            )


# -- what was planned ---------------------------------------------------------------------------


def _findings(
    plan: Plan, outcome: Outcome, found: Frame, given: Tables, seed: int
) -> list[Contrast]:
    if outcome.of == "phrasing":
        left = [c.icc.where for c in plan.controls if c.icc is not None]
        return holm(_of_phrasings("", outcome, _without(found, left), given, seed), plan.alpha)
    made = []
    for wanted in plan.contrasts:
        made.append(_compare(wanted.name, wanted.plus, wanted.minus, outcome, found, seed))
    return holm(made, plan.alpha)


def _compare(
    name: str, plus: list[Where], minus: list[Where], outcome: Outcome, found: Frame, seed: int
) -> Contrast:
    if outcome.of == "time":
        return _survive(name, among(found, plus[0]), among(found, minus[0]), seed)
    if outcome.unit == "scene":
        sides = [_by_scene(among(found, side[0])) for side in (plus, minus)]
        return unpaired(*sides, name=name, seed=seed, planned=True)
    weighed = weights(found, plus, minus)
    return contrast(by_cell(found), weighed, name=name, seed=seed, planned=True)


def _by_scene(part: Frame) -> dict[str, float | None]:
    known = part[part["value"].notna()]
    names = known["trial"] + "~" + known["branch"]
    return dict(zip(names, known["value"].astype(float), strict=True))


def _without(found: Frame, wheres: Sequence[Where]) -> Frame:
    for where in wheres:
        found = found.drop(among(found, where).index)
    return found


# -- controls -----------------------------------------------------------------------------------


def _check(
    control: Control, outcome: Outcome, found: Frame, given: Tables, plan: Plan, seed: int
) -> Check:
    check = control.check
    if isinstance(check, Equivalence):
        return _same(control.name, check, outcome, found, plan.alpha, seed)
    if isinstance(check, Chance):
        asked = Outcome(of="mean", measure=check.measure)
        part = among(units(asked, given), check.where)
        mean = _mean(part[part["value"].notna()], seed_of("chance", seed, control.name))
        what = f"the mean of {check.measure} is {check.value:g} ± {check.margin:g}"
        inside = mean.low >= check.value - check.margin and mean.high <= check.value + check.margin
        return Check(control.name, what, mean, None if math.isnan(mean.low) else inside)
    if isinstance(check, Bound):
        measure = check.measure or outcome.measure
        meant = among(units(Outcome(of="broken", measure=measure), given), check.where)
        scores = named(given.scores, measure).merge(meant[["trial", "branch"]])["value"].dropna()
        rate = proportion(int((scores == 0).sum()), len(scores), unit="lines")
        what = f"at most {check.at_most:.2%} of lines break {measure}"
        return Check(control.name, what, rate, rate.high <= check.at_most if len(scores) else None)
    if isinstance(check, Unmoved):
        (level, *_) = _of_phrasings("", outcome, among(found, check.where), given, seed)
        what = f"the intraclass correlation is within ±{check.within:g} of nothing"
        held = abs(level.estimate.value) <= check.within
        unknown = math.isnan(level.estimate.value)
        return Check(control.name, what, level.estimate, None if unknown else held)
    return _flat(control.name, check, outcome, among(found, check.where), given, seed)


def _same(
    name: str, check: Equivalence, outcome: Outcome, found: Frame, alpha: float, seed: int
) -> Check:
    what = f"the difference is within ±{check.margin:g} (two one-sided tests)"
    if outcome.unit == "scene" or outcome.of == "time":
        # Where scenes are not paired, the interval of level 1 − 2α must lie within the margin.
        sides = [_by_scene(among(found, side[0])) for side in (check.plus, check.minus)]
        apart = unpaired(*sides, name=name, seed=seed, planned=True, level=1 - 2 * alpha).estimate
        inside = -check.margin < apart.low and apart.high < check.margin
        return Check(name, what, apart, None if math.isnan(apart.low) else inside)
    sides = {"plus": check.plus, "minus": check.minus}
    cells = by_cell(found)
    values: dict[str, dict[str, float | None]] = {}
    for side, wheres in sides.items():
        weighed = weights(found, wheres, [])
        blocks = set.intersection(*(set(cells[cell]) for cell in weighed))
        values[side] = {b: sum(w * cells[cell][b] for cell, w in weighed.items()) for b in blocks}
    same = equivalence(values, "plus", "minus", margin=check.margin, alpha=alpha, name=name)
    unknown = math.isnan(same.p)
    return Check(name, what, same.estimate, None if unknown else same.equivalent)
