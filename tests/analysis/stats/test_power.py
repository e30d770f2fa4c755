"""Power by resampling, against planted power and against the test itself, run on many studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from improv.analysis.stats.contrast import contrast
from improv.analysis.stats.power import contrast_power

A_B = {"treated": 1.0, "none": -1.0}


def pool(effect: float, n: int = 40_000, seed: int = 4) -> dict[str, dict[str, float]]:
    """Blocks of two scenes of ten turns: base rate .5, logit SD 1 of blocks and .85 of scenes."""
    chance = np.random.default_rng(seed)
    block = chance.normal(0, 1, size=n)
    values = {}
    for condition, moved in (("treated", effect), ("none", 0.0)):
        odds = block + moved + chance.normal(0, 0.85, size=n)
        rates = chance.binomial(10, 1 / (1 + np.exp(-odds))) / 10
        values[condition] = {f"b{i}": float(rate) for i, rate in enumerate(rates)}
    return values


def test_planted_power_is_found() -> None:
    # Check 4: logit −.6, paired.
    powers = contrast_power(pool(-0.6), A_B, [40, 80, 120], seed=1, repetitions=1500)
    assert [p.n for p in powers] == [40, 80, 120]
    for share, wanted in zip(powers, (0.62, 0.90, 0.97), strict=True):
        assert share.power.value == pytest.approx(wanted, abs=0.04)
        assert share.power.low < share.power.value < share.power.high
        assert share.power.high - share.power.low < 0.06


def test_without_an_effect_power_is_the_rate_of_false_alarms() -> None:
    powers = contrast_power(pool(0.0, n=200_000), A_B, [20, 60], seed=2, repetitions=2000)
    assert all(0.034 < p.power.value < 0.066 for p in powers)


def test_it_is_the_power_of_the_test_that_will_be_made() -> None:
    values = pool(-0.6, n=300)
    (fast,) = contrast_power(values, A_B, [25], seed=3, repetitions=2000)
    chance, rejected = np.random.default_rng(9), 0
    names = list(values["none"])
    for seed in range(300):
        drawn = chance.choice(names, size=25)
        study = {c: {str(i): values[c][b] for i, b in enumerate(drawn)} for c in values}
        rejected += contrast(study, A_B, name="x", seed=seed, planned=True).p <= 0.05
    assert fast.power.value == pytest.approx(rejected / 300, abs=0.1)


def test_outcomes_that_cannot_be_counted_have_the_power_of_t() -> None:
    chance = np.random.default_rng(5)
    d = chance.normal(0.4, 1, size=20_000)
    values = {
        "treated": {str(i): float(x) for i, x in enumerate(d)},
        "none": {str(i): 0.0 for i in range(len(d))},
    }
    (power,) = contrast_power(values, A_B, [40], seed=1, repetitions=1500, draws=999)
    t = stats.t.ppf(0.975, 39)
    wanted = stats.nct.sf(t, 39, 0.4 * math.sqrt(40))
    assert power.power.value == pytest.approx(wanted, abs=0.045)


def test_a_smaller_alpha_has_less_power() -> None:
    half, sixth = (
        contrast_power(pool(-0.6), A_B, [40], seed=1, repetitions=800, alpha=a)[0].power.value
        for a in (0.05, 0.05 / 3)
    )
    assert sixth < half - 0.05


def test_the_same_seed_gives_the_same_power() -> None:
    first, again, other = (
        contrast_power(pool(-0.6, 200), A_B, [30], seed=s, repetitions=300) for s in (1, 1, 2)
    )
    assert first == again != other


def test_a_pool_without_blocks_or_differences() -> None:
    (nothing,) = contrast_power({}, A_B, [10], seed=1)
    assert math.isnan(nothing.power.value) and "no complete block" in nothing.power.why
    (none,) = contrast_power(pool(0), A_B, [0], seed=1)
    assert math.isnan(none.power.value)
    same = {c: {"x": 0.5, "y": 0.25} for c in A_B}
    (never,) = contrast_power(same, A_B, [10], seed=1, repetitions=100)
    assert never.power.value == 0.0 and never.power.high > 0
