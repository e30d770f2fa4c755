"""The domain of a planned test: the doubts about a finding whose test cannot hold here. Pure.

`docs/validity.md` has, test by test, the sizes, tails, ties and missing shares within which its
level and its intervals hold. What lies outside is a doubt, and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.stats.contrast import Contrast
from improv.study.measure_spec import find_measure
from improv.study.plan import Plan, fewest_blocks_of


def domain_doubts(
    plan: Plan, findings: Sequence[Contrast], *, whole: bool = True
) -> Iterator[Doubt]:
    """Yield what speaks against deciding each finding. A study that is not `whole` lacks blocks for
    that reason, which `looks` says."""
    for name in (plan.outcome.measure, plan.outcome.less):
        known = find_measure(name) if name else None
        if known is not None and known.no_outcome:
            why = f"'{name}' cannot decide: {known.no_outcome}"
            yield Doubt(DoubtKind.NO_OUTCOME, why)
    for finding in findings:
        if few := _too_few(plan, finding):
            yield from [few] if whole else []
        elif finding.rejected:
            yield from _of_rejection(plan, finding)


def _too_few(plan: Plan, finding: Contrast) -> Doubt | None:
    """Return the doubt that so few blocks could never reject."""
    if plan.outcome.of == "phrasing" or math.isnan(finding.p):
        return None
    scenes = plan.outcome.unit == "scene"
    fewest = fewest_blocks_of(plan) * (2 if scenes else 1)
    if finding.blocks >= fewest:
        return None
    unit = finding.estimate.unit
    why = (
        f"{finding.name}: {finding.blocks} {unit} are compared, and their test can never reject at "
        f"α = {plan.alpha:g} with {len(plan.contrasts)} planned contrasts; at least {fewest} "
        f"{unit} are needed"
    )
    return Doubt(DoubtKind.TOO_FEW, why, contrast=finding.name)


def _of_rejection(plan: Plan, finding: Contrast) -> Iterator[Doubt]:
    # Holm's factor of this contrast in its family.
    factor = finding.adjusted / finding.p if finding.p else 1.0
    if finding.p_mean * factor > plan.alpha:
        why = (
            f"{finding.name}: the permutation test rejects, but a test of the means alone, which "
            f"allows for lopsided differences, does not (p = {finding.p_mean:.2g} before Holm's "
            "correction). The two sides differ in shape; whether their means differ is not "
            "decided. More blocks decide it"
        )
        yield Doubt(DoubtKind.SHAPES, why, contrast=finding.name)
    if finding.unseen_p > plan.alpha:
        why = (
            f"{finding.name}: if {finding.unseen:.1%} of all blocks went to the other extreme, the "
            f"true difference would be 0, and the {finding.blocks} blocks played miss all of these "
            f"with a chance of {finding.unseen_p:.0%}. More blocks decide it"
        )
        yield Doubt(DoubtKind.RARE_EVENT, why, contrast=finding.name)
