"""Judges with planted errors: the corrected rate, when a judge may judge, and agreement."""

from __future__ import annotations

import math

import krippendorff
import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from improv.analysis.stats.calibration import (
    Confusion,
    agreement,
    can_judge,
    compare_errors,
    rogan_gladen,
)
from improv.analysis.stats.interval import Estimate

GOOD = Confusion(hits=90, misses=10, clears=95, alarms=5)


def planted(rng: np.random.Generator, n: int, se: float, sp: float) -> Confusion:
    hits, clears = rng.binomial(n, se), rng.binomial(n, sp)
    return Confusion(int(hits), int(n - hits), int(clears), int(n - clears))


def corrected(rate: float, n: int, judge: Confusion, *, seed: int) -> Estimate:
    """The corrected rate of `n` scenes of one line each."""
    called = round(rate * n)
    lines = [1] * called + [0] * (n - called)
    return rogan_gladen(lines, [1] * n, judge, seed=seed)


def test_verdicts_are_counted_by_truth_and_unreadable_ones_apart() -> None:
    confusion = Confusion.of(
        [(0, 0), (0, 0), (0, 1), (0, 0.5), (0, None), (1, 1), (1, 0.5), (1, 0), (1, math.nan)]
    )
    assert confusion == Confusion(
        hits=2, misses=2, clears=2, alarms=1, unread_opposite=1, unread_pole=1
    )
    assert confusion.unread == pytest.approx(2 / 9)
    assert confusion.sensitivity().value == 0.5
    assert confusion.specificity().value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"truth 0\.5"):
        Confusion.of([(0.5, 1)])


def test_sensitivity_and_specificity_have_intervals() -> None:
    assert GOOD.sensitivity().n == 100 and GOOD.sensitivity().unit == "planted lines"
    assert GOOD.sensitivity().low < 0.9 < GOOD.sensitivity().high
    none = Confusion(0, 0, 10, 0)
    assert math.isnan(none.sensitivity().value) and none.specificity().value == 1


def test_rogan_gladen_recovers_the_truth_from_what_was_observed() -> None:
    """Check 8 of SCIENCE: .200 from .220."""
    rate = corrected(0.22, 1000, GOOD, seed=1)
    assert rate.value == pytest.approx(0.2)
    # By the delta method: the variance of p, plus (1−p)² and p² times those of Sp and Se, over J².
    se = math.sqrt(
        (0.22 * 0.78 / 1000 + 0.8**2 * 0.95 * 0.05 / 100 + 0.2**2 * 0.9 * 0.1 / 100) / 0.85**2
    )
    assert rate.low == pytest.approx(0.2 - 1.96 * se, abs=0.012)
    assert rate.high == pytest.approx(0.2 + 1.96 * se, abs=0.012)
    sure = corrected(0.22, 1000, Confusion(90_000, 10_000, 95_000, 5_000), seed=1)
    assert sure.high - sure.low < 0.7 * (rate.high - rate.low), "the judge's errors count too"


def test_the_corrected_interval_covers_the_truth_and_the_observed_one_does_not() -> None:
    rng = np.random.default_rng(3)
    covered = raw = 0
    for study in range(400):
        called = rng.binomial(400, 0.2 * 0.9 + 0.8 * 0.1)
        rate = corrected(called / 400, 400, planted(rng, 80, 0.9, 0.9), seed=study)
        covered += rate.low <= 0.2 <= rate.high
        low, high = stats.binomtest(called, 400).proportion_ci(method="wilson")
        raw += low <= 0.2 <= high
    assert 0.917 < covered / 400 < 0.983  # three Monte-Carlo errors of .95
    assert raw / 400 < 0.3


def test_scenes_are_the_units_of_a_corrected_rate() -> None:
    rng = np.random.default_rng(4)
    covered = by_lines = 0
    for study in range(200):
        rates = rng.beta(0.6, 2.4, size=40)
        called = rng.binomial(20, rates * 0.9 + (1 - rates) * 0.05)
        judge = planted(rng, 200, 0.9, 0.95)
        rate = rogan_gladen(called.tolist(), [20] * 40, judge, seed=study)
        covered += rate.low <= 0.2 <= rate.high
        lines = corrected(called.sum() / 800, 800, judge, seed=study)
        by_lines += lines.low <= 0.2 <= lines.high
        assert rate.value == pytest.approx(lines.value)
    assert covered / 200 > 0.9
    assert by_lines / 200 < 0.88
    assert (rate.n, rate.unit) == (40, "scenes")


def test_a_corrected_rate_stays_a_rate() -> None:
    below = corrected(0.04, 200, GOOD, seed=1)
    assert below.value == 0 and below.low == 0 and 0 < below.high < 0.1
    above = corrected(0.92, 200, GOOD, seed=1)
    assert above.value == 1 and above.high == 1 and 0.9 < above.low < 1
    none = rogan_gladen([0] * 20, [10] * 20, Confusion(100, 0, 100, 0), seed=1)
    assert none.value == 0 and 0.05 < none.high < 0.2, "20 scenes without any prove no nought"


def test_a_calibration_that_does_not_fit_is_said_to_not_fit() -> None:
    # Five in a hundred are called opposite where none is, and here none of 1,000 was.
    silent = corrected(0.0, 1000, GOOD, seed=1)
    assert silent.value == 0 and math.isnan(silent.high) and "less than" in silent.why
    eager = corrected(1.0, 1000, GOOD, seed=1)
    assert eager.value == 1 and math.isnan(eager.low) and "more than" in eager.why


def test_a_judge_that_guesses_corrects_nothing() -> None:
    blind = corrected(0.5, 100, Confusion(50, 50, 50, 50), seed=1)
    assert math.isnan(blind.value) and math.isnan(blind.high)
    assert blind.why == "Se + Sp is 1.00, not above 1: this judge cannot judge"
    assert corrected(0.5, 0, GOOD, seed=1).why == "nothing was judged"
    half = corrected(0.5, 100, Confusion(0, 0, 5, 5), seed=1)
    assert math.isnan(half.value) and half.why == "nothing planted at the opposite"
    hazy = corrected(0.5, 100, Confusion(11, 9, 11, 9), seed=1)
    assert not math.isnan(hazy.value) and math.isnan(hazy.low)
    assert hazy.why == "Se + Sp may well be below 1"
    unread = rogan_gladen([0, 0], [0, 0], GOOD, seed=1)
    assert math.isnan(unread.value) and unread.why == "nothing was judged"


def test_who_may_judge() -> None:
    good = can_judge(GOOD)
    assert good.able and good.youden.value == pytest.approx(0.85)
    # Newcombe 1998, method 10: Wilson's ends of .90 and of .05, 100 of each.
    assert (good.youden.low, good.youden.high) == (
        pytest.approx(0.7533, abs=1e-4),
        pytest.approx(0.9030, abs=1e-4),
    )
    poor = can_judge(Confusion(70, 30, 75, 25))
    assert not poor.able and "must pass 0.5" in poor.reason
    assert can_judge(Confusion(70, 30, 75, 25), enough=0.3).able
    few = can_judge(Confusion(4, 0, 4, 0))
    assert not few.able, "four of each right is no calibration"
    mute = can_judge(Confusion(90, 0, 95, 0, unread_opposite=10, unread_pole=5))
    assert not mute.able and "7.5% of the verdicts" in mute.reason
    assert can_judge(Confusion(0, 0, 0, 0)).reason == "nothing planted at the opposite"


def test_a_judge_that_errs_more_in_one_condition_is_caught() -> None:
    rng = np.random.default_rng(6)
    caught = [
        compare_errors(
            {"none": planted(rng, 2000, 0.9, 0.95), "brief": planted(rng, 2000, 0.9, 0.92)},
            seed=study,
        ).differs
        for study in range(30)
    ]
    # About .94 of studies; three Monte-Carlo errors are 4 of 30.
    assert sum("specificity" in unequal for unequal in caught) >= 24
    assert sum("sensitivity" in unequal for unequal in caught) <= 5


@pytest.mark.parametrize("arms", ["ab", "abcd"])
def test_judges_that_err_alike_are_rarely_accused(arms: str) -> None:
    rng = np.random.default_rng(7)
    accused = 0
    for study in range(25):
        each = {arm: planted(rng, 150, 0.9, 0.95) for arm in arms}
        accused += bool(compare_errors(each, seed=study).differs)
    assert accused <= 4  # at most 5% of 25, and three Monte-Carlo errors


def test_two_conditions_are_fishers_test_and_holms_adjustment() -> None:
    each = {"a": Confusion(90, 10, 95, 5), "b": Confusion(70, 30, 93, 7)}
    difference = compare_errors(each, seed=1)
    raw = [stats.fisher_exact(table).pvalue for table in ([[90, 10], [70, 30]], [[95, 5], [93, 7]])]
    _, adjusted, *_ = multipletests(raw, method="holm")
    assert (difference.p_sensitivity, difference.p_specificity) == pytest.approx(tuple(adjusted))
    assert adjusted[0] == pytest.approx(2 * raw[0]) and difference.differs == ("sensitivity",)
    alike = compare_errors({"a": GOOD, "b": GOOD}, seed=1)
    assert (alike.p_sensitivity, alike.p_specificity, alike.differs) == (1, 1, ())


def test_many_conditions_have_an_exact_p() -> None:
    table = [[30, 0], [28, 2], [22, 8]]
    difference = compare_errors(
        {str(i): Confusion(r, w, 10, 0) for i, (r, w) in enumerate(table)}, seed=1
    )
    # Every table of these margins, by hand: x errors of 10 in the first arm, y in the second.
    ways, far = 0, 0
    for x in range(11):
        for y in range(11 - x):
            z = 10 - x - y
            here = math.comb(30, x) * math.comb(30, y) * math.comb(30, z)
            ways += here
            apart = sum((e - 10 / 3) ** 2 for e in (x, y, z))
            far += here * (apart >= sum((w - 10 / 3) ** 2 for _, w in table) - 1e-9)
    assert difference.p_sensitivity == pytest.approx(2 * far / ways, abs=0.003)
    assert difference.p_specificity == 1


def test_one_condition_differs_from_nothing() -> None:
    alone = compare_errors({"a": GOOD}, seed=1)
    assert alone.differs == () and math.isnan(alone.p_specificity)
    assert compare_errors({}, seed=1) == alone or compare_errors({}, seed=1).differs == ()


def test_agreement_is_krippendorffs_own_example() -> None:
    # Krippendorff 2011, "Computing Krippendorff's alpha-reliability", C: nominal data, α = .743.
    ratings = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    alpha = agreement(ratings, seed=1)
    assert alpha.value == pytest.approx(0.743, abs=5e-4)
    assert alpha.low < 0.743 < alpha.high and alpha.n == 11
    named = [[v and f"v{v}" for v in rater] for rater in ratings]
    assert agreement(named, seed=1) == alpha


def test_agreement_covers_the_truth_and_scenes_widen_it() -> None:
    rng = np.random.default_rng(9)

    def rate(n: int) -> list[list[bool]]:
        truth = rng.random(n) < 0.3
        return [np.where(rng.random(n) < 0.9, truth, ~truth).tolist() for _ in range(3)]

    whole = np.array(rate(200_000), dtype=float)
    truth = krippendorff.alpha(whole, level_of_measurement="nominal")
    studies = [agreement(rate(100), seed=i, draws=500) for i in range(200)]
    assert sum(e.low <= truth <= e.high for e in studies) / 200 > 0.9
    # Ten lines of each scene that are copies of one another are one line.
    once = rate(40)
    copied = [[v for v in rater for _ in range(10)] for rater in once]
    scenes = [i // 10 for i in range(400)]
    by_scene = agreement(copied, seed=1, scenes=scenes)
    by_line = agreement(copied, seed=1)
    assert by_scene.high - by_scene.low > 2 * (by_line.high - by_line.low)
    assert (by_scene.n, by_scene.unit) == (40, "scenes")


def test_agreement_of_nothing_is_unknown() -> None:
    assert math.isnan(agreement([], seed=1).value)
    assert agreement([[1, None], [None, 1]], seed=1).why == "no item with two ratings"
    same = agreement([[1, 1, 1], [1, 1, 1]], seed=1)
    assert math.isnan(same.value) and same.why == "all ratings are the same value"
    assert agreement([["a", "b"], ["a", "b"]], seed=1).value == 1
    with pytest.raises(ValueError, match="different lengths"):
        agreement([[1, 2], [1]], seed=1)
