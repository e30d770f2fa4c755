"""Doubts from what a plan promised: a control has failed, or a table has lost rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from improv.analysis.controls import ControlResult
from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.units import Frame
from improv.records import MAIN, Json
from improv.study.plan import Plan


def control_doubts(checks: Sequence[ControlResult], *, early: bool) -> Iterator[Doubt]:
    """Yield a doubt for each control that is not shown to hold. A plan says what would make its
    result worthless; where this was not ruled out, the result is withdrawn.

    At an early look (`early`) the blocks are too few to show that two sides are the same, so a
    control of a difference counts only if its interval excludes 0.
    """
    for check in checks:
        if check.held or (early and check.estimate.low <= 0 <= check.estimate.high):
            continue
        if check.held is None:
            what = f"could not be checked ({check.estimate.why or 'no data'})"
        else:
            what = "is not shown to hold; more blocks may show it if its interval is wide"
        why = f"The control “{check.name}” ({check.what}) {what}. The result is withdrawn."
        yield Doubt(DoubtKind.CONTROL, why)


def record_doubts(
    plan: Plan, meta: Json, trials: Frame, turns: Frame, blocks: int
) -> Iterator[Doubt]:
    """Compare the tables with what run.json says was played, and with each other.

    `turns` has a row for each trial and branch, with the number of its `rows` in the table of
    turns; `blocks` are those of the study. Runs of which run.json does not say what was played are
    compared with the plan alone.
    """
    mains = trials[trials["branch"] == MAIN]
    ended = int((mains["status"] != "").sum())
    played = int(meta.get("done") or 0) + int(meta.get("failed") or 0)
    if ended < played:
        why = (
            f"{max(plan.blocks, blocks):,} blocks were planned and {played:,} trials of them "
            f"played; {mains['block'].nunique():,} blocks with {ended:,} trials are here. What was "
            "played must all be here: a run from which somebody took blocks away finds what they "
            "want it to find."
        )
        yield Doubt(DoubtKind.RECORD, why)
    # A branch shares its first turns with its parent, whose they are.
    both = mains.merge(turns, on=["trial", "branch"], how="left")
    short = both[(both["rows"].fillna(0) < both["turns"]) & (both["status"] == "done")]
    if len(short):
        lost = int((short["turns"] - short["rows"].fillna(0)).sum())
        why = (
            f"{lost:,} turns of {len(short):,} scenes were played and are not in the table of "
            f"turns, of {short['trial'].iloc[0]} for example."
        )
        yield Doubt(DoubtKind.RECORD, why)
