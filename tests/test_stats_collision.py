"""How alike regenerated draws are, against processes whose collisions we planted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from improv.stats.collision import (
    Refused,
    collided,
    collision,
    energy_distance,
    guard,
    plug_in_entropy,
)
from improv.stats.interval import Estimate


def estimate(found: Estimate | Refused) -> Estimate:
    assert isinstance(found, Estimate), found
    return found


def test_collisions_by_hand() -> None:
    assert collided(["cat", "cat", "dog", "cat"]) == pytest.approx(6 / 12)
    assert collided(["cat", None, "cat"]) == 1, "what could not be read is no draw"
    assert collided(["cat", "dog"]) == 0
    assert math.isnan(collided(["cat"])) and math.isnan(collided([None, None]))


def test_twenty_questions() -> None:
    """Check 6 of SCIENCE, R = 10: committed 1, six objects .29, one alias in fifty .96."""
    rng = np.random.default_rng(1)
    committed = [[int(rng.integers(6))] * 10 for _ in range(100)]
    loose = [rng.choice(6, 10, p=rng.dirichlet(np.ones(6))).tolist() for _ in range(100)]
    alias = [[o if rng.random() > 0.02 else f"{o}{i}" for i, o in enumerate(g)] for g in committed]

    one = estimate(collision(committed, seed=1))
    assert (one.value, one.high) == (1, 1)
    assert one.low == pytest.approx(0.025 ** (1 / 100)), "a hundred are not all there are"
    some = estimate(collision(loose, seed=1))
    assert some.low < 2 / 7 < some.high and some.high - some.low < 0.12
    most = estimate(collision(alias, seed=1))
    assert most.low < 0.98**2 < most.high and most.high < 1


def test_collision_is_unbiased_where_entropy_is_not() -> None:
    """Check 7 of SCIENCE: K = 100 equal acts, 20 draws; truth 1/100 and 6.64 bits."""
    rng = np.random.default_rng(2)
    groups = rng.integers(100, size=(2000, 20)).tolist()
    found = estimate(collision(groups, seed=1))
    # One group's standard deviation is about sqrt(2·.01·.99/(20·19)) = .0072.
    assert found.value == pytest.approx(0.01, abs=4 * 0.0072 / math.sqrt(2000))
    assert found.low < 0.01 < found.high
    assert np.mean([plug_in_entropy(g) for g in groups]) == pytest.approx(4.14, abs=0.02)
    few = [g[:3] for g in groups]
    assert estimate(collision(few, seed=1)).value == pytest.approx(0.01, abs=0.006)


def test_the_interval_covers_the_truth_where_moments_differ() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for study in range(200):
        groups = [rng.choice(6, 8, p=rng.dirichlet(np.ones(6))).tolist() for _ in range(30)]
        found = estimate(collision(groups, seed=study, draws=800))
        covered += found.low <= 2 / 7 <= found.high
    assert 0.9 < covered / 200 < 0.996


def test_plug_in_entropy_by_hand() -> None:
    assert plug_in_entropy(["a", "b", "c", "d", None]) == 2
    assert plug_in_entropy(["a", "a"]) == 0
    assert math.isnan(plug_in_entropy([]))


def test_what_cannot_differ_is_refused() -> None:
    acts = [["cat"] * 10] * 5
    cold = collision(acts, seed=1, temperatures=[0.8, 0.0])
    assert isinstance(cold, Refused) and "temperature 0" in cold.reason
    cached = collision(acts, seed=1, temperatures=[0.8], cached=3)
    assert isinstance(cached, Refused) and cached.reason.startswith("3 replies came from a cache")
    copies = collision([["cat", "cat"]], seed=1, ids=[["t1/0", "t1/0"]])
    assert isinstance(copies, Refused) and "t1/0 stands 2 times" in copies.reason
    # The same identity in two moments is not a copy, and an endpoint may choose its temperature.
    fine = collision(acts[:2], seed=1, temperatures=[None, 1.0], ids=[["0", "1"], ["0", "1"]])
    assert estimate(fine).value == 1
    assert guard() is None and guard(draws=[[], []]) is None


def test_moments_without_two_acts_say_nothing() -> None:
    none = estimate(collision([["cat"], [None, None], []], seed=1))
    assert math.isnan(none.value) and none.n == 0 and none.why == "no moment with two acts"
    assert math.isnan(estimate(collision([], seed=1)).value)
    one = estimate(collision([["cat", "dog", "cat"], ["cat"]], seed=1))
    assert one.value == pytest.approx(1 / 3) and math.isnan(one.low) and one.n == 1


def test_energy_distance_by_hand() -> None:
    # E|X−Y| = (1 + 3)/2, E|X−X'| = 0, E|Y−Y'| = (0 + 2 + 2 + 0)/4.
    found = energy_distance([[0.0]], [[1.0], [3.0]], seed=1)
    assert found.value == pytest.approx(2 * 2 - 0 - 1) and (found.n, found.m) == (1, 2)


def test_energy_distance_finds_what_differs_and_spares_what_does_not() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(25, 16))
    moved = energy_distance(x, rng.normal(size=(25, 16)) + 0.5, seed=1)
    assert moved.p < 0.005
    wider = energy_distance(x, 2 * rng.normal(size=(25, 16)), seed=1)
    assert wider.p < 0.005, "the same mean, another spread"
    p = np.array(
        [
            energy_distance(*rng.normal(size=(2, 12, 8)), seed=i, permutations=199).p
            for i in range(200)
        ]
    )
    assert 0.01 <= np.mean(p <= 0.05) <= 0.097  # three Monte-Carlo errors
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)


def test_identical_vectors_lie_nowhere_apart() -> None:
    same = energy_distance(np.ones((5, 3)), np.ones((4, 3)), seed=1)
    assert same.value == pytest.approx(0) and same.p == 1
    empty = energy_distance(np.empty((0, 3)), np.ones((4, 3)), seed=1)
    assert math.isnan(empty.value) and math.isnan(empty.p)
    with pytest.raises(ValueError):
        energy_distance(np.ones((2, 3)), np.ones((2, 4)), seed=1)
