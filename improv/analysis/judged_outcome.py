"""An outcome that a judge called: people's correction of it, and the doubts about it. Pure.

Planted lines show whether a judge can tell a trait apart; only people's verdicts on played lines
show whether it does so alike in all arms (`played_lines`). Without them nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from improv.analysis.compare import compare_sides
from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.judge_error import PLANTED, JudgeErrors, judge_of, line_agreement
from improv.analysis.played_lines import PEOPLE, PlayedLines, powered_contrast, rated_lines
from improv.analysis.stats.calibration import can_judge
from improv.analysis.stats.contrast import Contrast, holm
from improv.analysis.units import Frame, Tables, by_cell, cell_weights, outcome_units, scores_of
from improv.study.measure_spec import Need, find_measure
from improv.study.plan import Outcome, Plan
from improv.study.scene import EVERYBODY

_MOST_LINES = 0.8
"""The share of the deciding judge's lines from which on another judge's contrast is compared."""


@dataclass(frozen=True)
class JudgedOutcome:
    """The verdicts on the lines that an outcome counts, of every judge, and who judges well."""

    judge: str
    family: str
    lines: Frame
    judges: Sequence[JudgeErrors]

    @property
    def models(self) -> list[str]:
        """The judges that are no people."""
        return [str(j) for j in self.lines["judge"].unique() if not str(j).startswith(PEOPLE)]

    @property
    def people(self) -> frozenset[str]:
        """The people who showed on planted lines that they can judge."""
        return frozenset(
            j.judge
            for j in self.judges
            if j.measure == self.family and j.judge.startswith(PEOPLE) and can_judge(j.pooled).able
        )


def judged_outcome(
    outcome: Outcome, tables: Tables, judges: Sequence[JudgeErrors]
) -> JudgedOutcome | None:
    """Return the verdicts that an outcome rests on, None if no judge made its scores."""
    name, family = judge_of(tables, outcome.measure), outcome.measure.partition(":")[0]
    known = find_measure(outcome.measure)
    if not name or tables.verdicts is None or known is None:
        return None
    if known.known_answer or known.needs is Need.PROBABILITIES:
        return None
    rows = tables.verdicts
    measure = rows["measure"].astype(object)
    mine = measure == outcome.measure
    if outcome.measure == family:
        mine |= measure.str.startswith(f"{family}:")
    mine &= (rows["error"] == "") & ~measure.str.startswith(PLANTED)
    mine &= ~(rows["turn"] < outcome.first)
    if outcome.of_whom != EVERYBODY:
        mine &= rows["character"] == outcome.of_whom
    return JudgedOutcome(name, family, rows[mine], judges)


def by_people(
    plan: Plan,
    judged: JudgedOutcome,
    findings: list[Contrast],
    units: Frame,
    tables: Tables,
    seed: int,
) -> tuple[list[Contrast], str]:
    """Return the planned contrasts as people's verdicts on played lines correct them, and a
    sentence about that; the findings as they are, and "", where the verdicts do not suffice or the
    outcome is none of shares of lines in the conditions."""
    made = _corrected(plan, judged, units, tables, seed)
    if not made:
        return findings, ""
    return holm([c for c, _ in made], plan.alpha), _note([lines for _, lines in made])


def _corrected(
    plan: Plan, judged: JudgedOutcome, units: Frame, tables: Tables, seed: int
) -> list[tuple[Contrast, PlayedLines]]:
    outcome = plan.outcome
    if outcome.of != "broken" or plan.of_arms or outcome.unit == "scene" or not judged.people:
        return []
    if outcome.less and judge_of(tables, outcome.less):
        return []
    rated = rated_lines(judged.lines, tables.trials, judged.judge, judged.people)
    values = by_cell(units)
    made = []
    for c in plan.contrasts:
        try:
            weights = cell_weights(units, c.plus, c.minus)
        except ValueError:
            return []
        made.append(powered_contrast(values, weights, rated, name=c.name, seed=seed))
    return [] if any(math.isnan(c.estimate.value) for c, _ in made) else made


def judged_doubts(
    plan: Plan, judged: JudgedOutcome, findings: Sequence[Contrast], tables: Tables, people: bool
) -> Iterator[Doubt]:
    """Yield what speaks against deciding by a judge. `people` says whether they corrected it."""
    if plan.judge and plan.judge != judged.judge:
        why = (
            f"the plan says that {plan.judge} decides, and the scores are those of {judged.judge}: "
            f"run improv score --judge {plan.judge}"
        )
        yield Doubt(DoubtKind.WHICH_JUDGE, why)
    elif not plan.judge and len(judged.models) > 1:
        names = ", ".join(judged.models)
        why = f"{names} judged {judged.family}, and the plan does not say whose verdicts decide"
        yield Doubt(DoubtKind.WHICH_JUDGE, why)
    yield from _agreement(plan, judged)
    yield from _signs(plan, judged, findings, tables)
    if not people:
        why = (
            f"{judged.judge} is calibrated on planted lines only. Played lines may sway it "
            "otherwise, and differently in each arm: let people rate played lines of every arm in "
            "the Rate room; their verdicts correct the judge"
        )
        yield Doubt(DoubtKind.PLANTED_ONLY, why)


def _note(lines: Sequence[PlayedLines]) -> str:
    """Return the sentence that says how people corrected the judge."""
    blocks = min(line.blocks for line in lines)
    weights = ", ".join(f"{line.tuning:.2f}" for line in lines)
    return (
        f"The contrasts are corrected by people's verdicts on played lines of {blocks} blocks "
        f"(prediction-powered inference; weight of the judge's numbers: {weights})."
    )


def _agreement(plan: Plan, judged: JudgedOutcome) -> Iterator[Doubt]:
    """Hold the agreement of models, and of people who can judge, against the plan's."""
    who = judged.lines["judge"].isin([*judged.models, *judged.people])
    alpha = line_agreement(judged.lines[who], 0).value
    if alpha < plan.agreement:
        why = (
            f"the judges of {judged.family} agree on played lines with an alpha of {alpha:.2f} "
            f"(Krippendorff); the plan asks for at least {plan.agreement:g}"
        )
        yield Doubt(DoubtKind.AGREEMENT, why)


def _signs(
    plan: Plan, judged: JudgedOutcome, findings: Sequence[Contrast], tables: Tables
) -> Iterator[Doubt]:
    """Compare the sign of each contrast with that of every other model that judged the lines."""
    counts = judged.lines["judge"].value_counts()
    for name in judged.models:
        if name == judged.judge or counts[name] < _MOST_LINES * counts.get(judged.judge, 0):
            continue
        theirs = _units_of(plan, judged, name, tables)
        for spec, finding in zip(plan.contrasts, findings, strict=False):
            other = compare_sides(spec.name, spec.plus, spec.minus, plan.outcome, theirs, 0)
            if other.estimate.value * finding.estimate.value < 0:
                why = (
                    f"{spec.name}: {judged.judge} gives a difference of "
                    f"{finding.estimate.value:+.3f} and {name} one of {other.estimate.value:+.3f}"
                )
                yield Doubt(DoubtKind.AGREEMENT, why, contrast=spec.name)


def _units_of(plan: Plan, judged: JudgedOutcome, name: str, tables: Tables) -> Frame:
    """Return the outcome's units by the verdicts of another judge."""
    rows = judged.lines[judged.lines["judge"] == name]
    scores = rows[["trial", "branch", "turn", "character", "measure", "value"]].astype(
        dict.fromkeys(("trial", "branch", "character", "measure"), object)
    )
    scores = scores.assign(version=f"@{name}")
    if plan.outcome.less:
        scores = pd.concat([scores, scores_of(tables.scores, plan.outcome.less)])
    own = Tables(tables.trials, scores.reset_index(drop=True), tables.marks)
    return outcome_units(plan.outcome, own, arms=plan.of_arms)
