"""Intervals count scenes, not turns. An event that was never seen may still have a rate."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from improv.analysis.stats.interval import (
    Estimate,
    Floats,
    at_edge,
    bootstrap_sums,
    percentile_ends,
    proportion,
)


def rate(totals: Floats) -> Floats:
    return totals[:, 0] / totals[:, 1]


def test_a_proportion_is_wilsons() -> None:
    # Worked by hand: p 8/10, z 1.959964, centre (p + z²/2n)/(1 + z²/n).
    share = proportion(8, 10)
    assert share.value == 0.8
    assert share.low == pytest.approx(0.490162, abs=1e-6)
    assert share.high == pytest.approx(0.943318, abs=1e-6)
    assert (share.n, share.unit, share.level) == (10, "items", 0.95)


def test_none_of_a_thousand_bounds_the_rate() -> None:
    none = proportion(0, 1000, unit="lines")
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 1000))
    assert f"{none.high:.2%}" == "0.37%"
    all_of_them = proportion(1000, 1000)
    assert all_of_them.low == pytest.approx(1 - none.high) and all_of_them.high == 1


def test_nothing_counted_is_unknown_and_nonsense_is_refused() -> None:
    empty = proportion(0, 0)
    assert math.isnan(empty.value) and math.isnan(empty.high) and empty.why
    with pytest.raises(ValueError, match="3 of 2"):
        proportion(3, 2)


def test_an_interval_of_the_mean_is_about_the_one_of_theory() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=100)
    half = 1.984 * values.std(ddof=1) / 10
    sums = np.column_stack([values, np.ones(100)])
    [estimate] = bootstrap_sums(sums, rate, seed=3)
    assert (estimate.value, estimate.n) == (pytest.approx(values.mean()), 100)
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.06)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.06)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    sums = np.random.default_rng(2).random((30, 2))
    assert bootstrap_sums(sums, rate, seed=1) == bootstrap_sums(sums, rate, seed=1)
    assert bootstrap_sums(sums, rate, seed=1) != bootstrap_sums(sums, rate, seed=2)


@pytest.mark.parametrize("scenes", [8, 60])
def test_scenes_cover_the_truth_where_turns_do_not(scenes: int) -> None:
    # Each scene has its own rate, mean .3; 20 turns of it each.
    rng = np.random.default_rng(4)
    covered = by_turns = 0
    for study in range(400):
        called = rng.binomial(20, rng.beta(1.5, 3.5, size=scenes))
        [estimate] = bootstrap_sums(
            np.column_stack([called, np.full(scenes, 20)]), rate, seed=study, draws=500
        )
        covered += estimate.low <= 0.3 <= estimate.high
        turns = proportion(int(called.sum()), 20 * scenes)
        by_turns += turns.low <= 0.3 <= turns.high
    # Three Monte-Carlo errors of .95 in 400 are .033; eight scenes lose a little.
    assert covered / 400 > (0.89 if scenes == 8 else 0.917)
    assert by_turns / 400 < 0.75


def test_one_cluster_has_a_value_and_no_interval() -> None:
    [one] = bootstrap_sums([[3.0, 4.0]], rate, seed=1)
    assert one.value == 0.75 and math.isnan(one.low) and math.isnan(one.high)
    assert one.why == "no interval from so few scenes"


def test_no_cluster_has_nothing() -> None:
    [none] = bootstrap_sums(np.empty((0, 2)), rate, seed=1)
    assert math.isnan(none.value) and none.n == 0 and none.why


def test_what_most_resamples_cannot_compute_has_no_interval() -> None:
    # Two of twelve scenes have anything to divide by: (10/12)^12 = 11% of resamples have none.
    sums = np.zeros((12, 2))
    sums[:2] = [[1, 2], [1, 4]]
    [rare] = bootstrap_sums(sums, rate, seed=1)
    assert rare.value == pytest.approx(1 / 3) and math.isnan(rare.low)
    assert rare.why == "undefined in more than 10% of the resamples"
    sums[2] = [3, 4]
    [enough] = bootstrap_sums(sums, rate, seed=1)
    assert enough.low < 5 / 10 < enough.high and not enough.why


def test_infinity_is_a_value_and_one_over_x_is_x_turned_over() -> None:
    values = np.random.default_rng(1).random(999)
    values[:50] = 0
    low, high = percentile_ends(values, 100, 0.95)
    with np.errstate(divide="ignore"):
        assert percentile_ends(1 / values, 100, 0.95) == (1 / high, math.inf)
    assert low == 0


def test_twenty_scenes_without_a_break_do_not_prove_that_there_are_none() -> None:
    sums = np.column_stack([np.zeros(20), np.full(20, 19)])
    [point] = bootstrap_sums(sums, rate, seed=1)
    assert (point.low, point.high) == (0, 0)
    wide = at_edge(point)
    assert wide.low == 0 and wide.high == pytest.approx(1 - 0.025 ** (1 / 20))
    ones = at_edge(Estimate(1.0, 1.0, 1.0, 0.95, 20, "scenes"))
    assert ones.low == pytest.approx(0.025 ** (1 / 20)) and ones.high == 1
    usual = Estimate(0.2, 0.1, 0.3, 0.95, 20, "scenes")
    assert at_edge(usual) == usual


def test_two_thousand_draws_of_a_hundred_scenes_take_no_time() -> None:
    sums = np.random.default_rng(1).random((100, 4))
    began = time.process_time()
    bootstrap_sums(sums, rate, seed=1)
    assert time.process_time() - began < 0.5  # of the processor; some 10 ms


def test_sums_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted"):
        bootstrap_sums(np.ones(5), rate, seed=1)
