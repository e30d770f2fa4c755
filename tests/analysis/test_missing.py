"""The worst cases of what is missing in a planned contrast."""

from __future__ import annotations

import math

from improv.analysis.decision import DoubtKind
from improv.analysis.inference import Analysis, analyse
from tests.support.table import X_Y, Row, made, plan, said, trials


def with_gaps(gone: int) -> Analysis:
    """Return the analysis of 40 blocks in most of which x breaks 1 of 10 lines and y 2, and where
    in so many of x's scenes one line could not be read."""
    rows: list[Row] = []
    for k in range(40):
        last = math.nan if k < gone else 1.0
        rows += said(f"x{k}", [0.0, *[1.0] * 8, last])
        rows += said(f"y{k}", [0.0, 0.0, *[1.0] * 8] if k % 8 else [1.0] * 10)
    return analyse(plan(X_Y, exclude={"missing_above": 0.2}), made(trials(40, "x", "y"), rows))


def test_few_missing_lines_change_nothing_and_many_leave_it_undecided() -> None:
    few, many = with_gaps(1), with_gaps(40)
    assert few.findings[0].rejected and many.findings[0].rejected
    (bounds,) = few.bounds
    assert (bounds.lines, bounds.units, bounds.holds) == (1, 0, True)
    assert bounds.kept.value < bounds.broken.value < 0
    assert DoubtKind.MISSING_BOUNDS not in [doubt.kind for doubt in few.doubts]
    (bounds,) = many.bounds
    assert bounds.lines == 40 and not bounds.holds
    assert bounds.apart.value > 0 and bounds.p < 0.01
    (doubt,) = (d for d in many.doubts if d.kind is DoubtKind.MISSING_BOUNDS)
    assert doubt.contrast == many.findings[0].name and doubt.words == "40 lines missing"
