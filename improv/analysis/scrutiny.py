"""Everything that a run's own tables have to say against its planned contrasts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from improv.analysis.borrowed import Borrowed, borrowed_doubts, check_borrowed
from improv.analysis.controls import ControlResult
from improv.analysis.decision import Doubt
from improv.analysis.design_doubts import control_doubts
from improv.analysis.judge_error import JudgeErrors
from improv.analysis.lengths import Lengths, check_lengths, length_doubts
from improv.analysis.missing import Bounds, missing_bounds, missing_doubts
from improv.analysis.speech import Speech
from improv.analysis.stats.contrast import Contrast
from improv.analysis.units import Frame, Tables
from improv.study.plan import Outcome, Plan

_UNREAD = "The lines were not read."


@dataclass(frozen=True)
class Scrutiny:
    """The worst cases of what is missing, the contrasts at equal length and on the lines of
    other characters, and the doubts that follow from them, from the controls."""

    bounds: tuple[Bounds, ...] = ()
    lengths: Lengths = field(default_factory=Lengths)
    borrowed: Borrowed = field(default_factory=Borrowed)
    doubts: tuple[Doubt, ...] = ()


def scrutinise(
    plan: Plan | None,
    outcome: Outcome,
    units: Frame,
    tables: Tables,
    findings: Sequence[Contrast],
    checks: Sequence[ControlResult],
    *,
    speech: Speech | None,
    judge: JudgeErrors | None,
    seed: int,
    early: bool = False,
) -> Scrutiny:
    """Look at planned contrasts from every side that can speak against them. `early` says that
    this is a planned look before all blocks are there."""
    lengths, borrowed = Lengths(reason=_UNREAD), Borrowed(reason=_UNREAD)
    if speech is not None and len(units):
        lengths = check_lengths(plan, outcome, units, tables, speech, findings, seed)
        others = speech.borrowed
        borrowed = check_borrowed(plan, outcome, units, tables, others, findings, seed)
    if plan is None or not len(units):
        return Scrutiny(lengths=lengths, borrowed=borrowed)
    bounds = missing_bounds(plan, outcome, units, tables, findings, seed, judge)
    doubts = (
        *control_doubts(checks, early=early),
        *missing_doubts(findings, bounds),
        *length_doubts(findings, lengths),
        *borrowed_doubts(findings, borrowed),
    )
    return Scrutiny(bounds, lengths, borrowed, doubts)
