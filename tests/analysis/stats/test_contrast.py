"""Contrasts against a planted truth and against numbers computed by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from improv.analysis.stats.contrast import (
    Contrast,
    benjamini_hochberg,
    contrast,
    equivalence,
    holm,
    unpaired,
)
from improv.analysis.stats.permutation import relabel, sign_flip

Floats = npt.NDArray[np.float64]
A_B = {"a": 1.0, "b": -1.0}


def by_block(**conditions: Iterable[float | None]) -> dict[str, dict[str, float | None]]:
    return {c: {f"block {i:03}": v for i, v in enumerate(vs)} for c, vs in conditions.items()}


def compared(values: Mapping[str, Mapping[str, float | None]], seed: int = 1) -> Contrast:
    return contrast(values, A_B, name="a against b", seed=seed, planned=True)


def shares(chance: np.random.Generator, n: int, icc: float, turns: int = 10) -> Floats:
    """Shares of broken turns of n scenes, whose turns have the intraclass correlation `icc`."""
    k = (1 - icc) / icc
    rates = chance.beta(0.3 * k, 0.7 * k, size=n)
    return np.asarray(chance.binomial(turns, rates) / turns, dtype=np.float64)


def enumerated(differences: Floats) -> float:
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9))


# -- by hand ------------------------------------------------------------------------------------


def test_a_contrast_worked_out_by_hand() -> None:
    # Differences .3, .1, .2, .4: mean .25, sd .129; of 16 patterns of signs 2 are as far out.
    result = compared(by_block(a=[0.5, 0.4, 0.6, 0.9], b=[0.2, 0.3, 0.4, 0.5]))
    assert result.estimate.value == pytest.approx(0.25)
    assert result.sd == pytest.approx(0.12909944)
    half = 3.18244631 * 0.12909944 / 2
    assert (result.estimate.low, result.estimate.high) == pytest.approx((0.25 - half, 0.25 + half))
    assert (result.p, result.blocks, result.estimate.n) == (pytest.approx(2 / 16), 4, 4)
    assert (result.estimate.unit, result.dropped) == ("blocks", ())


def test_an_interaction_is_a_contrast_too() -> None:
    values = by_block(w=[1.0, 0.8, 0.9], x=[0.5, 0.5, 0.6], y=[0.4, 0.2, 0.3], z=[0.3, 0.1, 0.1])
    weights = {"w": 1, "x": -1, "y": -1, "z": 1}
    result = contrast(values, weights, name="w−x against y−z", seed=1, planned=False)
    assert result.estimate.value == pytest.approx(np.mean([0.4, 0.2, 0.1]))
    assert not result.planned


def test_blocks_that_lack_a_value_are_dropped_and_named() -> None:
    values = by_block(a=[0.5, None, 0.6, 0.9], b=[0.2, 0.3, math.nan, 0.5], c=[None] * 4)
    del values["b"]["block 003"]
    result = contrast(values, {**A_B, "c": 0.0}, name="x", seed=1, planned=True)
    assert (result.blocks, result.dropped) == (1, ("block 001", "block 002", "block 003"))


@pytest.mark.parametrize("blocks", [5, 9, 30])
def test_counted_outcomes_have_an_exact_p_however_many_blocks(blocks: int) -> None:
    chance = np.random.default_rng(blocks)
    differences = chance.integers(-3, 5, size=blocks) / 7
    (exact,) = sign_flip(differences[None, :], seed=1)
    if blocks < 12:
        assert exact == pytest.approx(enumerated(differences))
    signs = chance.choice((-1.0, 1.0), size=(200_000, blocks))
    drawn = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert exact == pytest.approx(drawn, abs=0.006)  # five standard errors


def test_outcomes_of_one_size_are_the_sign_test() -> None:
    for ups, downs in ((9, 1), (14, 3), (40, 22), (60, 0)):
        differences = np.array([1.0] * ups + [-1.0] * downs + [0.0] * 11)
        (p,) = sign_flip(differences[None, :], seed=1)
        assert p == pytest.approx(stats.binomtest(ups, ups + downs).pvalue, rel=1e-6)


def test_few_blocks_of_any_outcome_are_enumerated_and_many_are_drawn() -> None:
    chance = np.random.default_rng(5)
    few, many = chance.normal(0.4, 1, size=9), chance.normal(0.25, 1, size=60)
    assert sign_flip(few[None, :], seed=1)[0] == pytest.approx(enumerated(few))
    p = [float(sign_flip(many[None, :], seed=s)[0]) for s in (1, 1, 2)]
    assert p[0] == p[1] != p[2]
    assert p[0] == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.02)
    far = sign_flip(many[None, :] + 9, seed=1, draws=99)
    assert far[0] == 0.01  # nothing drawn was as far out, and yet p is not 0


# -- where there is little or nothing -------------------------------------------------------------


def test_nothing_to_compare_gives_no_number_and_no_crash() -> None:
    for values in ({}, by_block(a=[], b=[]), by_block(a=[None, None], b=[0.5, 0.1])):
        result = compared(values)
        assert math.isnan(result.estimate.value) and math.isnan(result.p) and math.isnan(result.sd)
        assert (result.blocks, result.estimate.why) == (0, "no complete block")


def test_one_block_has_a_value_and_proves_nothing() -> None:
    result = compared(by_block(a=[0.9], b=[0.2]))
    assert result.estimate.value == pytest.approx(0.7)
    assert (result.p, result.blocks) == (1.0, 1) and math.isnan(result.sd)
    assert result.estimate.low < 0 < result.estimate.high


def test_identical_values_have_p_1_and_leave_room_for_what_was_not_seen() -> None:
    result = compared(by_block(a=[1.0] * 20, b=[1.0] * 20))
    assert (result.estimate.value, result.p, result.sd) == (0.0, 1.0, 0.0)
    assert result.estimate.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert result.estimate.low == -result.estimate.high


def test_the_same_difference_everywhere_is_not_taken_for_certainty() -> None:
    result = compared(by_block(a=[0.7] * 10, b=[0.4] * 10))
    assert result.p == pytest.approx(2 / 2**10)
    assert result.estimate.low < 0.3 < result.estimate.high
    unbounded = compared(by_block(a=[7.0] * 10, b=[4.0] * 10))
    assert math.isnan(unbounded.estimate.low) and unbounded.estimate.why == "all blocks alike"


# -- unpaired -------------------------------------------------------------------------------------


def by_scene(values: Iterable[float | None]) -> dict[str, float | None]:
    return {f"scene {i}": v for i, v in enumerate(values)}


def test_counts_of_unpaired_scenes_have_newcombes_interval_and_an_exact_p() -> None:
    a, b = by_scene([1.0] * 9 + [0.0] * 3), by_scene([1.0] * 4 + [0.0] * 10 + [None])
    result = unpaired(a, b, name="reveal against nothing", seed=1, planned=True)
    assert result.estimate.value == pytest.approx(9 / 12 - 4 / 14)
    low, high = confint_proportions_2indep(9, 12, 4, 14, method="newcomb")
    assert (result.estimate.low, result.estimate.high) == pytest.approx((low, high))
    assert (result.blocks, result.dropped, result.estimate.unit) == (26, ("scene 14",), "scenes")
    ways = [math.comb(12, k) * math.comb(14, 13 - k) for k in range(13)]
    off = [abs(k / 12 - (13 - k) / 14) for k in range(13)]
    as_far = sum(w for w, o in zip(ways, off, strict=True) if o >= off[9] - 1e-9)
    assert result.p == pytest.approx(as_far / sum(ways))


def test_other_unpaired_outcomes_have_welchs_interval() -> None:
    chance = np.random.default_rng(2)
    a, b = chance.normal(1, 1, size=25), chance.normal(0, 2, size=40)
    result = unpaired(by_scene(a), by_scene(b), name="x", seed=1, planned=True)
    wanted = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (result.estimate.low, result.estimate.high) == pytest.approx(tuple(wanted))
    drawn = stats.permutation_test(
        (a, b),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    assert result.p == pytest.approx(drawn.pvalue, abs=0.02)


def test_few_unpaired_scenes_are_enumerated() -> None:
    a, b = np.array([0.9, 0.7, 0.8]), np.array([0.1, 0.5, 0.3, 0.4])
    assert relabel(a, b, seed=1) == pytest.approx(1 / math.comb(7, 3))  # no other split is so far


def test_unpaired_samples_may_be_empty_or_alike() -> None:
    result = unpaired({}, by_scene([1.0, 0.0]), name="x", seed=1, planned=True)
    assert math.isnan(result.p) and result.estimate.why == "a sample is empty"
    alike = unpaired(by_scene([0.5] * 3), by_scene([0.5] * 4), name="x", seed=1, planned=True)
    assert alike.p == 1.0 and alike.estimate.value == 0.0 and math.isnan(alike.estimate.low)


# -- families -------------------------------------------------------------------------------------


def with_p(*values: float) -> list[Contrast]:
    base = compared(by_block(a=[0.5, 0.4], b=[0.2, 0.3]))
    return [Contrast(str(p), base.estimate, p, 2, (), 0.1, planned=True) for p in values]


@pytest.mark.parametrize(("correct", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_families_are_corrected_as_statsmodels_does(correct: object, method: str) -> None:
    assert callable(correct)
    p = np.random.default_rng(3).uniform(0, 0.2, size=8)
    p[0], p[3] = 0.001, p[5]
    rejected, adjusted, _, _ = multipletests(p, 0.1, method=method)
    result = correct(with_p(*p), 0.1)
    assert [c.adjusted for c in result] == pytest.approx(list(adjusted))
    assert [c.rejected for c in result] == rejected.tolist() and any(rejected) and not all(rejected)
    assert [c.name for c in result] == [str(x) for x in p]


def test_a_contrast_without_a_p_stays_in_its_family() -> None:
    result = holm(with_p(0.02, math.nan, 0.5))
    assert result[0].adjusted == pytest.approx(0.06) and not result[0].rejected
    assert math.isnan(result[1].adjusted) and not result[1].rejected
    assert holm([]) == [] == benjamini_hochberg([])


# -- equivalence ----------------------------------------------------------------------------------


def test_equivalence_is_two_one_sided_tests() -> None:
    chance = np.random.default_rng(4)
    a = chance.uniform(0.2, 0.8, size=60)
    b = a + chance.normal(0.005, 0.05, size=60)
    result = equivalence(by_block(a=a, b=b), "a", "b", margin=0.04)
    d = a - b
    sides = [stats.ttest_1samp(d, -0.04, alternative="greater").pvalue]
    sides.append(stats.ttest_1samp(d, 0.04, alternative="less").pvalue)
    assert result.p == pytest.approx(max(sides)) and result.equivalent
    assert (result.estimate.level, result.blocks) == (pytest.approx(0.9), 60)
    assert -0.04 < result.estimate.low < result.estimate.high < 0.04
    narrow = equivalence(by_block(a=a, b=b), "a", "b", margin=0.01)
    assert not narrow.equivalent and narrow.estimate.low < -0.01


def test_blocks_that_never_differ_are_equivalent_only_if_there_are_many() -> None:
    few, many = (
        equivalence(by_block(a=[1.0] * n, b=[1.0] * n), "a", "b", margin=0.04) for n in (10, 80)
    )
    assert few.p == pytest.approx(0.96**10) and not few.equivalent
    assert many.equivalent and many.estimate.high < 0.04
    assert math.isnan(equivalence({}, "a", "b", margin=0.04).p)


# -- planted truth --------------------------------------------------------------------------------


@pytest.mark.parametrize("icc", [0.1, 0.3, 0.5])
def test_without_an_effect_one_study_in_twenty_rejects(icc: float) -> None:
    # Check 3: 40 scenes an arm, turns that hang together. Of 400 studies .05 ± 3 · .011.
    chance = np.random.default_rng(int(10 * icc))
    result = [
        compared(by_block(a=shares(chance, 40, icc), b=shares(chance, 40, icc)), seed)
        for seed in range(400)
    ]
    assert 0.017 < np.mean([c.p <= 0.05 for c in result]) < 0.083
    covered = [c.estimate.low <= 0 <= c.estimate.high for c in result]
    assert 0.917 < np.mean(covered) < 0.983


def test_an_effect_is_estimated_without_bias_and_covered_with_few_blocks() -> None:
    chance = np.random.default_rng(6)
    planted, result = 0.15, []
    for seed in range(300):
        base = chance.uniform(0.1, 0.8, size=(2, 8))
        a, b = chance.binomial(10, base[0] + np.array([[planted], [0.0]])) / 10
        result.append(compared(by_block(a=a, b=b), seed).estimate)
    assert np.mean([e.value for e in result]) == pytest.approx(planted, abs=0.014)
    assert np.mean([e.low <= planted <= e.high for e in result]) > 0.91


def test_a_placebo_study_rejects_one_time_in_twenty() -> None:
    # Check 10: four arms alike, three planned contrasts against none, Holm. The three share an
    # arm, so that their family rejects a little less than .05.
    chance, rejections = np.random.default_rng(10), 0
    for seed in range(250):
        block = chance.normal(-0.85, 1, size=60)
        odds = block + chance.normal(0, 0.8, size=(4, 60))
        none, brief, placebo, notes = chance.binomial(10, 1 / (1 + np.exp(-odds))) / 10
        values = by_block(none=none, brief=brief, placebo=placebo, notes=notes)
        family = [
            contrast(values, {c: 1, "none": -1}, name=c, seed=seed, planned=True)
            for c in ("brief", "placebo", "notes")
        ]
        rejections += any(c.rejected for c in holm(family))
    assert 0.01 <= rejections / 250 <= 0.09


def test_the_order_of_blocks_does_not_matter() -> None:
    chance = np.random.default_rng(8)
    values = by_block(a=chance.normal(size=30), b=chance.normal(size=30))
    backwards = {c: dict(reversed(blocks.items())) for c, blocks in reversed(values.items())}
    assert compared(values) == compared(backwards)
