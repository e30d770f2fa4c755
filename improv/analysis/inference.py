"""From units to findings: the planned contrasts and controls of a run, and its exploration. Pure.

Planned contrasts are tested with Holm's correction. All other contrasts are exploratory: they are
labelled so and corrected by Benjamini and Hochberg. If too many lines of an arm could not be read,
the analysis decides nothing and gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from improv.analysis.borrowed import Borrowed
from improv.analysis.compare import compare_sides, mean_outcome, phrasing_contrasts
from improv.analysis.controls import ControlResult, check_controls
from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.domain import domain_doubts
from improv.analysis.judge_error import JudgeErrors, corrected_rates, is_trusted, judge_of
from improv.analysis.judged_chain import judged_absorptions
from improv.analysis.judged_outcome import (
    JudgedOutcome,
    by_people,
    judged_doubts,
    judged_outcome,
)
from improv.analysis.lengths import Lengths
from improv.analysis.looks import (
    Standing,
    at_look,
    look_doubts,
    spend,
    standing,
    with_spent_alpha,
)
from improv.analysis.missing import Bounds
from improv.analysis.scrutiny import scrutinise
from improv.analysis.speech import Speech
from improv.analysis.stats.chain import Absorption
from improv.analysis.stats.contrast import Contrast, benjamini_hochberg, contrast, holm
from improv.analysis.stats.interval import Estimate
from improv.analysis.stats.survival import Hazard
from improv.analysis.trajectories import (
    CellChain,
    Curve,
    cell_chains,
    cell_hazards,
    drift_curves,
    drift_slopes,
    survival_curves,
    turn_grids,
    units_by_cell,
)
from improv.analysis.units import (
    Frame,
    Tables,
    by_cell,
    cell_names,
    matching_units,
    outcome_units,
    scores_of,
)
from improv.study.measure_spec import DERIVED, PREFERRED, find_measure
from improv.study.plan import FactorLevels, Outcome, Plan, fits

_MISSING_ABOVE = 0.05


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


@dataclass(frozen=True)
class Analysis:
    """Everything that a report says about the outcome of a run.

    `planned` says whether the plan has the hash that the run recorded. `doubts` lists what its
    tables have against a decision; `Material.doubts` has those that are known outside them.
    """

    plan: Plan | None
    outcome: Outcome | None
    planned: bool
    arms: tuple[Arm, ...] = ()
    findings: tuple[Contrast, ...] = ()
    checks: tuple[ControlResult, ...] = ()
    exploratory: tuple[Contrast, ...] = ()
    chains: tuple[CellChain, ...] = ()
    absorptions: tuple[tuple[str, tuple[Absorption, ...]], ...] = ()
    survival: tuple[Curve, ...] = ()
    drift: tuple[Curve, ...] = ()
    slopes: tuple[tuple[str, Estimate], ...] = ()
    hazards: tuple[Hazard, ...] = ()
    """How the risk of breaking at a turn differs from that of `reference`, cell by cell."""
    reference: str = ""
    doubts: tuple[Doubt, ...] = ()
    standing: Standing | None = None
    """How many of the planned blocks are there, if there is a plan."""
    bounds: tuple[Bounds, ...] = ()
    """Each planned contrast in the worst cases of what is missing."""
    lengths: Lengths = field(default_factory=Lengths)
    """The length of lines by arm, and the planned contrasts at equal length."""
    borrowed: Borrowed = field(default_factory=Borrowed)
    """Signs and planned contrasts on the lines of other characters."""
    compared: tuple[str, ...] = ()
    """The cells that the planned contrasts compare, in their order."""
    corrected: Mapping[str, Estimate] = field(default_factory=dict)
    """Condition → its rate, with a judge's errors taken out."""
    judge: str = ""
    """The judge that made the outcome's scores, if planted lines showed that it can judge."""
    people: str = ""
    """How people's verdicts on played lines corrected the contrasts, "" if they did not."""

    @property
    def mute(self) -> bool:
        """Whether the outcome's judge cannot judge, so that no rate means anything."""
        return any(reason.kind is DoubtKind.JUDGE for reason in self.doubts)


@dataclass(frozen=True)
class Findings:
    """A whole analysis, with the errors of its judges."""

    analysis: Analysis
    judges: tuple[JudgeErrors, ...]


def analyse(
    plan: Plan | None,
    tables: Tables,
    *,
    seed: int = 0,
    planned: bool = True,
    judges: Sequence[JudgeErrors] = (),
    speech: Speech | None = None,
) -> Analysis:
    """Analyse a run by a plan, or explore it where there is none.

    `judges` are the errors of the run's judges. A contrast of a condition that was not played has
    no number, only a reason.
    """
    analysis = analyse_planned(
        plan, tables, seed=seed, planned=planned, judges=judges, speech=speech
    )
    return add_exploratory(analysis, tables, seed=seed, judges=judges)


def analyse_planned(
    plan: Plan | None,
    tables: Tables,
    *,
    seed: int = 0,
    planned: bool = True,
    judges: Sequence[JudgeErrors] = (),
    speech: Speech | None = None,
) -> Analysis:
    """Do the planned part of `analyse`: arms, findings, controls, and the reasons to stop."""
    outcome = plan.outcome if plan is not None else _default(tables)
    if outcome is None:
        nothing = Doubt(DoubtKind.NO_SCORES, "there are no scores to analyse")
        return Analysis(plan, None, False, doubts=(nothing,))
    replicates = outcome_units(outcome, tables, arms=plan is not None and plan.of_arms)
    judge, unfit = _judge(outcome, tables, judges)
    right = judge if outcome.of == "broken" and not outcome.less else None
    arms = tuple(_arm(name, part) for name, part in units_by_cell(replicates))
    limit = plan.exclude.missing_above if plan is not None else _MISSING_ABOVE
    reached = standing(plan, tables, judged=right is not None) if plan is not None else None
    if plan is not None and reached is not None and reached.decides_by_looks:
        tables = at_look(tables, reached.look)
        replicates = outcome_units(outcome, tables, arms=plan.of_arms)
    judged = None if unfit else judged_outcome(outcome, tables, judges)
    tested, scope = _Tested(), plan
    if plan is not None and reached is not None:
        scope = with_spent_alpha(plan, reached)
        tested = _test(plan, outcome, replicates, tables, seed, right, judged, reached)
        checks = check_controls(scope, outcome, replicates, tables, seed, judges)
        tested = replace(tested, checks=tuple(checks))
    early = reached is not None and not reached.is_whole
    known = (scope, outcome, replicates, tables, tested.findings, tested.checks)
    scrutiny = scrutinise(*known, speech=speech, judge=right, seed=seed, early=early)
    doubts = [Doubt(DoubtKind.JUDGE, sentence) for sentence in unfit]
    doubts += [*_arm_doubts(arms, limit), *look_doubts(reached, tested.findings)]
    doubts += [*tested.doubts, *scrutiny.doubts]
    return Analysis(
        plan=plan,
        outcome=outcome,
        planned=planned and plan is not None,
        arms=arms,
        findings=tested.findings,
        checks=tested.checks,
        doubts=tuple(doubts),
        standing=reached,
        bounds=scrutiny.bounds,
        lengths=scrutiny.lengths,
        borrowed=scrutiny.borrowed,
        compared=tuple(_compared(plan, replicates)) if plan else (),
        corrected=_corrected(replicates, right, seed) if right is not None else {},
        judge=judge.judge if judge is not None else "",
        people=tested.people,
    )


@dataclass(frozen=True)
class _Tested:
    """Planned contrasts and controls, with the doubts about the tests themselves."""

    findings: tuple[Contrast, ...] = ()
    checks: tuple[ControlResult, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    people: str = ""


def _test(
    plan: Plan,
    outcome: Outcome,
    replicates: Frame,
    tables: Tables,
    seed: int,
    right: JudgeErrors | None,
    judged: JudgedOutcome | None,
    reached: Standing,
) -> _Tested:
    """Test the planned contrasts, at a planned look by what it may spend."""
    people = ""
    doubts: list[Doubt] = []
    findings = _findings(plan, outcome, replicates, tables, seed, right)
    if judged:
        findings, people = by_people(plan, judged, findings, replicates, tables, seed)
        doubts += judged_doubts(plan, judged, findings, tables, bool(people))
    if reached.decides_by_looks:
        findings = spend(plan, outcome, tables, findings, reached, seed)
    doubts += domain_doubts(plan, findings, whole=reached.is_whole)
    return _Tested(tuple(findings), (), tuple(doubts), people)


def add_exploratory(
    analysis: Analysis, tables: Tables, *, seed: int = 0, judges: Sequence[JudgeErrors] = ()
) -> Analysis:
    """Add the curves over turns, and the contrasts that the plan does not name."""
    plan, outcome = analysis.plan, analysis.outcome
    if outcome is None:
        return analysis
    judge, _ = _judge(outcome, tables, judges)
    turns = turn_grids(outcome, tables, outcome_units(outcome, tables))
    reference, ratios = cell_hazards(outcome, tables)
    return replace(
        analysis,
        exploratory=tuple(_explored(plan, outcome, tables, seed, judges)),
        chains=tuple(cell_chains(outcome, tables, seed)),
        survival=tuple(survival_curves(outcome, tables)),
        hazards=ratios,
        reference=reference,
        drift=tuple(drift_curves(turns, seed)),
        slopes=tuple(drift_slopes(outcome, turns)),
        absorptions=tuple(judged_absorptions(outcome, tables, judge)) if judge is not None else (),
    )


def _judge(
    outcome: Outcome, tables: Tables, judges: Sequence[JudgeErrors]
) -> tuple[JudgeErrors | None, list[str]]:
    """Return the errors of the outcome's judge, and the reasons why its verdicts decide nothing."""
    name = judge_of(tables, outcome.measure)
    if outcome.less and not is_trusted(tables, outcome.less, judges):
        who = judge_of(tables, outcome.less)
        return None, [f"{who} cannot judge {outcome.less}, or was not calibrated on planted lines"]
    if not name:
        return None, []
    family = outcome.measure.partition(":")[0]
    errors = next((j for j in judges if j.judge == name and j.measure == family), None)
    if errors is None:
        if is_trusted(tables, outcome.measure, judges):
            return None, []
        return None, [
            f"{name}, who judged {family}, was not calibrated on planted lines: run improv score"
        ]
    if missed := sorted(set(tables.trials["condition"]) - set(errors.arms)):
        where = ", ".join(missed)
        return None, [
            f"{name}, who judged {family}, was not calibrated on planted lines in {where}"
        ]
    if not errors.able:
        why = next(v.reason for _, v in errors.arms.values() if not v.able)
        return None, [f"{name} cannot judge {family}: {why}"]
    return errors, []


def _corrected(replicates: Frame, judge: JudgeErrors, seed: int) -> dict[str, Estimate]:
    known = replicates[replicates["value"].notna()]
    read = known["lines"] - known["missing"]
    called = known.assign(read=read, broken=(known["value"] * read).round().astype(int))
    return corrected_rates(called, judge, seed=seed)


def _default(tables: Tables) -> Outcome | None:
    for name in PREFERRED:
        if len(scores_of(tables.scores, name)):
            return Outcome(of="broken", measure=name)
    return None


def _arm(name: str, part: Frame) -> Arm:
    known = part[part["value"].notna()]
    return Arm(
        cell=name,
        blocks=part["block"].nunique(),
        units=len(part),
        failed=int((part["status"] != "done").sum()),
        without=len(part) - len(known),
        lines=int(part["lines"].sum()),
        missing=int(part["missing"].sum()),
        value=mean_outcome(known),
    )


def _arm_doubts(arms: Sequence[Arm], limit: float) -> Iterator[Doubt]:
    if arms and not any(arm.lines for arm in arms):
        why = "there are no scores of what the plan reads: `improv score` makes them"
        yield Doubt(DoubtKind.NO_SCORES, why)
        return
    for arm in arms:
        if arm.missing_share > limit:
            why = (
                f"{arm.cell}: {arm.missing} of {arm.lines} scores are missing "
                f"({arm.missing_share:.1%}); more than {limit:.0%} decides nothing"
            )
            yield Doubt(DoubtKind.MISSING_SCORES, why, cell=arm.cell)
        elif arm.units and arm.failed / arm.units > limit:
            why = (
                f"{arm.cell}: {arm.failed} of {arm.units} units failed; more than {limit:.0%} "
                "decides nothing"
            )
            yield Doubt(DoubtKind.FAILED_UNITS, why, cell=arm.cell)


# -- planned -----------------------------------------------------------------------------------


def _findings(
    plan: Plan,
    outcome: Outcome,
    replicates: Frame,
    tables: Tables,
    seed: int,
    judge: JudgeErrors | None,
) -> list[Contrast]:
    if outcome.of == "phrasing":
        left = [c.icc.where for c in plan.controls if c.icc is not None]
        contrasts = phrasing_contrasts(outcome, _without(replicates, left), tables, seed)
        return holm(contrasts, plan.alpha)
    contrasts = [
        compare_sides(c.name, c.plus, c.minus, outcome, replicates, seed, judge)
        for c in plan.contrasts
    ]
    return holm(contrasts, plan.alpha)


def _compared(plan: Plan, replicates: Frame) -> dict[str, None]:
    """Return the names of the cells that a plan's contrasts mean."""
    known = cell_names(replicates)
    sides = (side for c in plan.contrasts for side in (c.plus, c.minus))
    wheres = [where for side in sides for where in side]
    return {name: None for where in wheres for name, lv in known.items() if fits(where, lv)}


def _without(replicates: Frame, wheres: Sequence[FactorLevels]) -> Frame:
    for where in wheres:
        replicates = replicates.drop(matching_units(replicates, where).index)
    return replicates


# -- exploratory --------------------------------------------------------------------------------


def _explored(
    plan: Plan | None, outcome: Outcome, tables: Tables, seed: int, judges: Sequence[JudgeErrors]
) -> list[Contrast]:
    """Compare every condition with the first, on every measure that is not the planned outcome."""
    contrasts = []
    for measure, means in explored_means(plan, outcome, tables, judges):
        first, *others = means
        for other in others:
            if means[first] and means[other]:
                name = f"{measure}: {other} against {first}"
                weighed = {first: -1.0, other: 1.0}
                contrasts.append(contrast(means, weighed, name=name, seed=seed, planned=False))
    return benjamini_hochberg(contrasts)


def explored_means(
    plan: Plan | None, outcome: Outcome, tables: Tables, judges: Sequence[JudgeErrors]
) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Yield each measure that is not the planned outcome, with cell → block → mean."""
    measures = [_family(m) for m in tables.measures() if m not in DERIVED]
    for measure in dict.fromkeys(measures):
        planned = plan is not None and (
            measure == _family(outcome.measure) or measure.startswith(f"{outcome.measure}:")
        )
        if planned or not is_trusted(tables, measure, judges):
            continue
        known = find_measure(measure)
        summed = known.explored if known is not None else "mean"
        means = by_cell(outcome_units(Outcome(of=summed, measure=measure), tables))
        if means:
            yield measure, means


def _family(name: str) -> str:
    """Return the family that traits of several scenes share; a rule or probe is its own family."""
    known = find_measure(name)
    return known.name if known is not None and known.pooled else name
