"""Rates over clusters: their intervals cover, and have no gap where there is nothing to see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from improv.analysis.stats.bounded import bounded_mean, fewest_for_bound
from improv.analysis.stats.rate import cluster_mean, cluster_rate, rate_draws, ratio_of


@pytest.mark.parametrize("scenes", [6, 10, 30])
def test_a_rate_of_few_scenes_is_covered(scenes: int) -> None:
    """Three Monte-Carlo errors of .95 in 600 studies are .027."""
    chance = np.random.default_rng(scenes)
    covered = 0
    for _ in range(600):
        broken = chance.binomial(10, chance.beta(1.8, 7.2, size=scenes))
        rate = cluster_rate(np.column_stack([broken / 10, np.ones(scenes)]))
        covered += rate.low <= 0.2 <= rate.high
    assert covered / 600 > 0.92


def test_the_variance_of_a_ratio_is_that_of_its_linear_form() -> None:
    part, whole = np.array([1.0, 0, 3, 2]), np.array([4.0, 5, 6, 5])
    ratio = ratio_of(np.column_stack([part, whole]))
    assert ratio.value == 0.3 and ratio.clusters == 4
    assert ratio.variance == pytest.approx(4 / 3 * ((part - 0.3 * whole) ** 2).sum() / 400)
    # A scene without a line that could break says nothing.
    more = ratio_of(np.column_stack([[*part, 0], [*whole, 0]]))
    assert (more.value, more.clusters, more.variance) == (0.3, 4, pytest.approx(ratio.variance))


def test_a_rate_that_is_nowhere_or_everywhere_has_the_bound_of_its_scenes() -> None:
    none = cluster_rate([[0, 10]] * 20)
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(1 - 0.025 ** (1 / 20)))
    alike = cluster_rate([[0.3, 1]] * 20)
    assert alike.low < 0.3 < alike.high and alike.why == "all scenes alike"


def test_few_scenes_that_happen_to_be_alike_are_no_certainty() -> None:
    rate = cluster_rate([[2, 10], [2, 10]], trials=True)
    assert rate.low < 0.02 and rate.high > 0.7


def test_what_has_no_rate_has_a_reason() -> None:
    for table in ([], [[0, 0]]):
        assert math.isnan(cluster_rate(table).value) and cluster_rate(table).why
    one = cluster_rate([[1, 2]])
    assert one.value == 0.5 and math.isnan(one.low) and one.why
    mean = cluster_mean([[-1.0, 1], [3.0, 1], [4.0, 1]])
    assert mean.value == 2 and mean.low < -1 and mean.high > 4


def test_draws_have_the_ends_of_the_interval() -> None:
    table = np.array([[1.0, 10], [3, 10], [0, 10], [4, 10], [2, 10], [1, 10]])
    drawn = rate_draws(table, 200_000, np.random.default_rng(1))
    rate = cluster_rate(table, trials=True)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([rate.low, rate.high], abs=0.01)


def test_a_bound_over_scenes_is_clopper_pearsons_for_0_and_1() -> None:
    low, high = proportion_confint(3, 40, method="beta")
    bound = bounded_mean([1.0] * 3 + [0.0] * 37)
    assert (bound.low, bound.high) == (pytest.approx(low), pytest.approx(high))
    assert bounded_mean([0.0] * 60).high == pytest.approx(1 - 0.025 ** (1 / 60))
    assert bounded_mean([0.0] * fewest_for_bound(0.03)).high <= 0.03
    assert bounded_mean([0.0] * (fewest_for_bound(0.03) - 1)).high > 0.03


def test_a_bound_over_scenes_holds_where_one_in_fifty_breaks_every_line() -> None:
    chance = np.random.default_rng(3)
    held = [bounded_mean((chance.random(60) < 0.02).astype(float)).high >= 0.02 for _ in range(300)]
    assert np.mean(held) > 0.97
    shares = [bounded_mean(chance.binomial(12, 0.1, 30) / 12, draws=4000) for _ in range(50)]
    assert sum(s.low <= 0.1 <= s.high for s in shares) >= 46
    with pytest.raises(ValueError, match="between 0 and 1"):
        bounded_mean([0.5, 1.5])
