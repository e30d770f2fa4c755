"""Alpha spending: looking is free, the p and intervals hold at every look, and power is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from improv.analysis.stats.contrast import contrast
from improv.analysis.stats.interval import Floats
from improv.analysis.stats.sequential import Looks, first_look, normal_boundary, repeated, spent

PATHS = 2000


def looks(d: Floats, every: int = 1, paths: int = PATHS) -> Looks:
    """All looks at these differences of blocks, the last one at all of them."""
    at = [*range(every, len(d), every), len(d)]
    return Looks.of([d[:n] for n in at], [n / len(d) for n in at], seed=1, paths=paths)


def test_the_boundary_is_that_of_the_published_table() -> None:
    # Jennison and Turnbull (2000): Lan and DeMets, like O'Brien and Fleming, 5 looks, α = .05.
    shares = (0.2, 0.4, 0.6, 0.8, 1.0)
    published = (4.877, 3.357, 2.680, 2.290, 2.031)
    assert normal_boundary(shares, 0.05) == pytest.approx(published, abs=0.005)


def test_all_of_alpha_is_spent_at_the_end_and_little_before() -> None:
    assert spent(1.0, 0.05) == 0.05 and spent(0.0, 0.05) == 0.0
    assert spent(0.5, 0.05) == pytest.approx(0.00305, abs=1e-4)
    assert spent(0.25, 0.05) < 1e-4


@pytest.mark.parametrize("blocks", [12, 40])
def test_looking_after_every_block_raises_no_more_false_alarms_than_alpha(blocks: int) -> None:
    chance = np.random.default_rng(4)
    studies = 400
    alarms = 0
    for _ in range(studies):
        shares = chance.binomial(9, chance.beta(2, 8, size=blocks)) / 9
        others = chance.binomial(9, chance.beta(2, 8, size=blocks)) / 9
        alarms += looks(shares - others, paths=1000).crossed(0.05) is not None
    # At most 5%, with three standard errors of the simulation.
    assert alarms / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_of_all_patterns_of_signs_at_most_alpha_cross() -> None:
    # The observed path is one of those from which the critical values come. So each path, put in
    # its place, crosses or not: no more than the spent share can.
    d = np.random.default_rng(7).normal(size=24)
    seen = looks(d, every=2, paths=400)
    crossing = 0
    for i in range(seen.paths.shape[1]):
        order = [i, *(j for j in range(seen.paths.shape[1]) if j != i)]
        crossing += Looks(seen.shares, seen.paths[:, order]).crossed(0.1) is not None
    assert 0 < crossing <= 0.1 * 400


def test_an_effect_is_found_early_and_power_is_kept() -> None:
    chance = np.random.default_rng(5)
    ends, found, fixed = [], 0, 0
    for _ in range(60):
        d = chance.normal(0.65, 1.0, size=40)
        at = looks(d, every=4).crossed(0.05)
        found += at is not None
        ends.append(4 * (at + 1) if at is not None else 40)
        values = {"a": dict(enumerate(d)), "b": dict.fromkeys(range(40), 0.0)}
        named = {k: {str(b): v for b, v in row.items()} for k, row in values.items()}
        weighed = {"a": 1.0, "b": -1.0}
        fixed += contrast(named, weighed, name="d", seed=1, planned=True, draws=500).p <= 0.05
    assert found >= fixed - 3
    assert np.mean(ends) < 0.65 * 40


def test_a_p_does_not_depend_on_blocks_that_were_not_looked_at() -> None:
    d = np.random.default_rng(3).normal(0.8, 1.0, size=30)
    shares = [0.2, 0.4]
    early = Looks.of([d[:6], d[:12]], shares, seed=9, paths=PATHS)
    later = Looks.of([d[:6], d[:12], d], [*shares, 1.0], seed=9, paths=PATHS)
    assert np.array_equal(early.paths, later.paths[:2])
    assert later.p <= early.p <= 1.0


def test_no_difference_at_all_decides_nothing() -> None:
    none = looks(np.zeros(20))
    assert none.crossed(0.05) is None
    assert none.p > 0.9
    assert math.isnan(Looks.of([], [], seed=1).p)


def test_repeated_intervals_cover_at_every_look_at_once() -> None:
    chance = np.random.default_rng(2)
    at = [8, 16, 24, 32, 40]
    studies, wrong = 400, 0
    for _ in range(studies):
        d = chance.normal(0.3, 1.0, size=40)
        misses = []
        for k, n in enumerate(at):
            values = {"a": {f"{i:02}": float(d[i]) for i in range(n)}}
            found = contrast(values, {"a": 1.0}, name="d", seed=1, planned=True, draws=100)
            known = repeated(found.estimate, [m / 40 for m in at[: k + 1]], units=n)
            misses.append(not known.low <= 0.3 <= known.high)
        wrong += any(misses)
    assert wrong / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_a_look_that_spends_nothing_has_no_interval() -> None:
    values = {"a": {f"{i}": float(i % 3) - 0.5 for i in range(3)}}
    found = contrast(values, {"a": 1.0}, name="d", seed=1, planned=True)
    known = repeated(found.estimate, [0.01], units=3)
    assert math.isnan(known.low) and "too early" in known.why


def test_the_first_look_that_can_decide_is_known_beforehand() -> None:
    at = list(range(1, 101))
    assert first_look(at, 100, 0.05) > 5
    assert first_look(at, 100, 0.05) < first_look(at, 100, 0.01) < 60
