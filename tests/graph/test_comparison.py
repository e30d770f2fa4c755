"""The comparison of two conditions, and of scenes before and after a mark."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from improv.graph.comparison import (
    EdgeVectors,
    before_after,
    changes_at_marks,
    compare_conditions,
    compare_vectors,
    edge_vectors,
)
from improv.graph.metrics import (
    FIGURES,
)
from tests.support.graph import FERRY, made_marks, planted, read, written


def one_edge(seed: int, blocks: int, more: float) -> float:
    """Return the p of the planted edge alone."""
    talk = planted(np.random.default_rng(seed), blocks, more=more, spread=0.0)
    vectors = edge_vectors(talk)
    at = [i for i, pair in enumerate(vectors.pairs.tolist()) if pair == [1, 2]]
    alone = EdgeVectors(vectors.rows[:, at], vectors.pairs[at])
    return compare_vectors(talk, alone, "c0", "c1", seed=seed, draws=399).p


def test_a_true_null_is_rejected_in_three_to_seven_of_a_hundred() -> None:
    rejected = 0
    for seed in range(400):
        talk = planted(np.random.default_rng([7, seed]), 24, spread=1.5)
        compared = compare_vectors(talk, edge_vectors(talk), "c0", "c1", seed=seed, draws=399)
        rejected += compared.p <= 0.05
    assert 12 <= rejected <= 28, rejected


def test_a_planted_difference_is_found_with_the_power_that_is_expected() -> None:
    blocks, lines, more = 20, 16, 0.75
    # Each of 16 lines is the first's by a chance of 1/3, and then to the second by p.
    share = [1 / (1 + math.exp(-x)) / 3 for x in (more, 0.0)]
    apart = lines * (share[0] - share[1])
    spread = math.sqrt(lines * sum(p * (1 - p) for p in share))
    away = apart / (spread / math.sqrt(blocks))
    edge = stats.t.ppf(0.975, blocks - 1)
    expected = stats.nct.sf(edge, blocks - 1, away) + stats.nct.cdf(-edge, blocks - 1, away)
    assert 0.3 < expected < 0.7, "a size at which power could be missed both ways"
    rejected = sum(one_edge(seed, blocks, more) <= 0.05 for seed in range(240)) / 240
    assert abs(rejected - expected) < 0.08, (rejected, expected)


def test_the_planted_edge_has_the_smallest_p() -> None:
    talk = planted(np.random.default_rng(2), 60, more=1.6)
    compared = compare_conditions(talk, "c0", "c1", seed=1)
    assert compared.p < 0.01 and compared.units == 60 and not compared.dropped
    least = min(compared.pairs, key=lambda d: d.p)
    assert (least.source, least.target) == ("p0", "p1") and least.p < 0.01
    assert least.a > least.b and least.estimate.low > 0
    assert sum(d.p < 0.05 for d in compared.pairs) <= 3
    other = compare_conditions(talk, "c1", "c0", seed=1)
    assert other.p < 0.01 and {c.name for c in compared.figures} <= set(FIGURES)


def test_a_block_without_its_partner_is_dropped_and_named() -> None:
    two = written(FERRY), written(FERRY, trial="t1", condition="live", block="ferry/1")
    compared = compare_conditions(read(*two), "none", "live")
    assert compared.units == 0 and math.isnan(compared.p)
    assert compared.dropped == ("ferry/0", "ferry/1") and compared.why


def test_a_change_at_the_mark_is_told_from_a_drift() -> None:
    talk = planted(np.random.default_rng(4), 60, conditions=1, lines=24, more=2.5, turn=1)
    compared = before_after(talk, made_marks, seed=1, draws=199)
    assert compared.p <= 0.01 and compared.units == 60
    named = min(compared.pairs, key=lambda d: d.p)
    assert (named.source, named.target) == ("p0", "p1") and named.a > named.b
    # The same marks at the wrong scenes show no change.
    chance = np.random.default_rng(9)
    low = 0
    for i in range(40):
        trials = list(made_marks)
        dealt = dict(zip(trials, chance.permutation(list(made_marks.values())), strict=True))
        low += before_after(talk, dealt, seed=i, draws=39).p <= 0.05
    assert low <= 6


def test_marks_at_one_turn_cannot_be_told_from_time() -> None:
    talk = planted(np.random.default_rng(4), 10, conditions=2)
    marks = dict.fromkeys(talk.trials, 6)
    assert "same turn" in before_after(talk, marks).why
    # But the changes of two arms can be compared.
    compared = compare_vectors(talk, changes_at_marks(talk, marks), "c0", "c1", seed=1)
    assert 0.01 < compared.p <= 1 and compared.units == 10
