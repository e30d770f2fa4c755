"""The tests and intervals of docs/validity.md: what each is of, and the band it has to be in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tools.truth import validity_draws as draws

SIZES = (5, 8, 10, 20, 40, 80)
COVERAGE = (0.94, 0.96)
LEVEL = (0.04, 0.06)
AT_LEAST = (0.94, 1.0)
"""The band of an interval that must hold whatever the shape, and may be wide."""
AT_MOST = (0.0, 0.06)
"""The band of a test that must not reject too often, and may reject less."""

Draw = Callable[[str, int, int, int], Iterator[float]]


@dataclass(frozen=True)
class Test:
    """One test or interval: what it is of, the band it has to be in, and its shapes of data.

    `modules` hold the code that it measures. `unit` is what a size counts.
    """

    name: str
    what: str
    band: tuple[float, float]
    unit: str
    shapes: Mapping[str, str]
    draw: Draw
    modules: tuple[str, ...]


_STATS = "improv.analysis.stats"
_CONTRAST = (f"{_STATS}.contrast", f"{_STATS}.permutation", f"{_STATS}.mean_test")
_JUDGED = (
    *_CONTRAST,
    "improv.analysis.judge_error:corrected_contrast",
    "improv.analysis.judge_error:_studentised",
    f"{_STATS}.calibration",
)
_SINGLE = {
    "usual": draws.SHARES["usual"],
    "rare": draws.SHARES["rare"],
    "ties": draws.SHARES["ties"],
}

TESTS = (
    Test(
        "mean of an arm",
        "interval of a share",
        COVERAGE,
        "blocks",
        draws.SHARES,
        draws.arm_mean,
        (f"{_STATS}.rate",),
    ),
    Test(
        "falls of a chain",
        "interval of α",
        COVERAGE,
        "scenes",
        draws.CHAINS,
        draws.fall_covers,
        (f"{_STATS}.rate", f"{_STATS}.chain"),
    ),
    Test(
        "returns of a chain",
        "interval of β",
        COVERAGE,
        "scenes",
        draws.CHAINS,
        draws.return_covers,
        (f"{_STATS}.rate", f"{_STATS}.chain"),
    ),
    Test(
        "interval of a contrast",
        "interval of a difference within blocks",
        COVERAGE,
        "blocks",
        draws.PAIRED,
        draws.contrast_covers,
        _CONTRAST,
    ),
    Test(
        "test of a contrast",
        "sign flips, no difference of means",
        LEVEL,
        "blocks",
        draws.PAIRED,
        draws.contrast_rejects,
        _CONTRAST,
    ),
    Test(
        "a contrast that is shown",
        "sign flips, and no doubt of the report",
        AT_MOST,
        "blocks",
        draws.PAIRED,
        draws.contrast_shown,
        _CONTRAST,
    ),
    Test(
        "equivalence",
        "two one-sided tests, arms that differ by the margin",
        AT_MOST,
        "blocks",
        {"usual": draws.PAIRED["usual"], "alike": "blocks nearly alike (.05)"},
        draws.not_same,
        _CONTRAST,
    ),
    Test(
        "scenes against scenes",
        "exchanged labels, no difference",
        LEVEL,
        "scenes a side",
        _SINGLE,
        draws.scenes_reject,
        _CONTRAST,
    ),
    Test(
        "judged contrast, test",
        "no difference, each arm corrected",
        AT_MOST,
        "blocks",
        draws.JUDGES,
        draws.judged_rejects,
        _JUDGED,
    ),
    Test(
        "judged contrast, interval",
        "interval of a corrected difference",
        AT_LEAST,
        "blocks",
        draws.JUDGES,
        draws.judged_covers,
        _JUDGED,
    ),
    Test(
        "judge corrected by people, test",
        "no difference; one line of each rated block, of 120 blocks",
        AT_MOST,
        "rated blocks",
        draws.PEOPLE,
        draws.people_reject,
        ("improv.analysis.played_lines",),
    ),
    Test(
        "judge corrected by people, interval",
        "interval of a difference; one line of each rated block, of 120 blocks",
        COVERAGE,
        "rated blocks",
        draws.PEOPLE,
        draws.people_cover,
        ("improv.analysis.played_lines",),
    ),
    Test(
        "corrected rate",
        "interval of an arm's corrected rate",
        COVERAGE,
        "scenes",
        draws.JUDGES,
        draws.corrected_covers,
        (f"{_STATS}.calibration", f"{_STATS}.rate"),
    ),
    Test(
        "times, test",
        "sign flips of restricted times, no difference",
        LEVEL,
        "blocks",
        draws.TIMES,
        draws.times_reject,
        (*_CONTRAST, f"{_STATS}.survival"),
    ),
    Test(
        "times, interval",
        "interval of a difference of restricted means",
        COVERAGE,
        "blocks",
        draws.TIMES,
        draws.times_cover,
        (*_CONTRAST, f"{_STATS}.survival"),
    ),
    Test(
        "control 'bound'",
        "upper bound of a share, 97.5%",
        AT_LEAST,
        "blocks",
        draws.SHARES,
        draws.upper_bound,
        (f"{_STATS}.bounded",),
    ),
    Test(
        "control 'icc'",
        "interval of an intraclass correlation, eight phrasings",
        COVERAGE,
        "blocks",
        {"nothing": "phrasing does not matter", "some": "correlation .1"},
        draws.icc_covers,
        (f"{_STATS}.phrasing",),
    ),
)
