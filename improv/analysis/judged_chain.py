"""Tests of a chain over the errors of the judge that saw it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from improv.analysis.judge_error import JudgeErrors
from improv.analysis.stats.chain import Absorption
from improv.analysis.trajectories import absorptions
from improv.analysis.units import Tables
from improv.study.measure_spec import has_two_states
from improv.study.plan import Outcome


def judged_absorptions(
    outcome: Outcome, tables: Tables, judge: JudgeErrors
) -> Iterator[tuple[str, tuple[Absorption, ...]]]:
    """Test β = 0 over the confidence range of the judge's errors, the calibrated values first.

    The lower bound of Sp matters as that of Se does: if Sp is taken for too high, each false alarm
    looks like a break and a return.
    """
    if not has_two_states(outcome.measure):
        return
    whole = judge.pooled
    se, sp = whole.sensitivity(), whole.specificity()
    grids = [
        list(dict.fromkeys(round(max(x, 0.5), 3) for x in ends))
        for ends in ((se.value, se.low, se.high), (sp.value, sp.low))
    ]
    yield from absorptions(tables, outcome.measure, *grids)
