"""The chain of pole and opposite against chains whose rates we planted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit, logit

from improv.analysis.stats.chain import (
    Absorption,
    Chain,
    Counts,
    Scenes,
    absorption,
    count_transitions,
    fit_transitions,
    least_certain,
)

Floats = npt.NDArray[np.float64]


def play(
    rng: np.random.Generator, scenes: int, alpha: float, beta: float, *, spread: float = 0.0
) -> Floats:
    """Scenes of 20 lines from the pole on, 1 pole and 0 opposite; rates differ by scene."""
    a = expit(logit(alpha) + spread * rng.standard_normal(scenes))
    b = expit(logit(beta) + spread * rng.standard_normal(scenes)) if beta else np.zeros(scenes)
    lines = np.ones((scenes, 20))
    for t in range(1, 20):
        leaves = rng.random(scenes) < np.where(lines[:, t - 1] == 1, a, b)
        lines[:, t] = np.where(leaves, 1 - lines[:, t - 1], lines[:, t - 1])
    return lines


def judged(rng: np.random.Generator, lines: Floats, se: float, sp: float) -> Floats:
    right = rng.random(lines.shape) < np.where(lines == 0, se, sp)
    return np.where(right, lines, 1 - lines)


def pooled(spread: float) -> tuple[float, float]:
    """E[n01]/E[n0·] and E[n10]/E[n1·] of `play`, by quadrature over scenes: what α̂ and β̂ mean.

    Scenes differ, and one that stays long at the opposite has more chances to leave it, so that
    these are neither .10 and .30 nor the means of the scenes' rates.
    """
    x, w = np.polynomial.hermite_e.hermegauss(40)
    a = expit(logit(0.1) + spread * x)[:, None]
    b = expit(logit(0.3) + spread * x)[None, :]
    weight = np.outer(w, w) / w.sum() ** 2
    p = np.zeros_like(weight)
    n01, n0, n10, n1 = (np.zeros_like(p) for _ in range(4))
    for _ in range(19):
        n01, n0, n10, n1 = n01 + (1 - p) * a, n0 + 1 - p, n10 + p * b, n1 + p
        p = p * (1 - b) + (1 - p) * a
    total = [float((weight * n).sum()) for n in (n01, n0, n10, n1)]
    return total[0] / total[1], total[2] / total[3]


def one_each(lines: Floats) -> list[list[list[float | None]]]:
    return [[row.tolist()] for row in lines]


def fit_chain(scenes: Scenes) -> Chain:
    """The chain of sequences whose transitions are counted one by one."""
    each = [sum((count_transitions(s) for s in scene), Counts()) for scene in scenes]
    table = np.array([(c.n00, c.n01, c.n10, c.n11) for c in each], dtype=float).reshape(-1, 4)
    return fit_transitions(table)


def test_transitions_are_counted_by_hand() -> None:
    assert count_transitions([1, 1, 0, 0, 1]) == Counts(n00=1, n01=1, n10=1, n11=1)
    assert count_transitions([1, 0, 1, 0]) == Counts(n01=2, n10=1)
    assert count_transitions([]) == count_transitions([1]) == Counts()


@pytest.mark.parametrize("gap", [None, math.nan, 0.5])
def test_a_line_without_evidence_is_never_bridged(gap: float | None) -> None:
    assert count_transitions([1, gap, 0, 0]) == Counts(n11=1)
    assert count_transitions([gap, 1, 0, gap]) == Counts(n01=1)
    assert count_transitions([gap, gap]) == Counts()


def test_scenes_are_pooled_and_spells_follow() -> None:
    scenes = [[[1, 1, 0, 0, 1], [1, 1]], [[0, 0, 0, 1, 1]], [[1, None, 1]]] * 20
    chain = fit_chain(scenes)
    assert chain.counts == Counts(n00=60, n01=20, n10=40, n11=60)
    assert (chain.alpha.value, chain.beta.value) == (0.25, 0.4)
    assert chain.opposite_share.value == pytest.approx(0.25 / 0.65)
    assert chain.spell.value == 2.5
    assert chain.spell.low == 1 / chain.beta.high and chain.spell.high == 1 / chain.beta.low
    # The third of each three scenes has no transition at all.
    assert (chain.alpha.n, chain.beta.n, chain.scenes) == (40, 40, 60)


def test_planted_rates_are_covered_where_scenes_differ() -> None:
    """Check 1 of SCIENCE in 150 studies; three Monte-Carlo errors of .95 are .053."""
    alpha, beta = pooled(1.0)
    assert (alpha, beta) == (pytest.approx(0.1136, abs=1e-4), pytest.approx(0.2727, abs=1e-4))
    rng = np.random.default_rng(11)
    covered = np.zeros(3)
    centre = []
    for _ in range(150):
        scenes = one_each(play(rng, 100, 0.1, 0.3, spread=1.0))
        chain = fit_chain(scenes)
        pairs = (chain.alpha, alpha), (chain.beta, beta), (chain.spell, 1 / beta)
        covered += [e.low <= truth <= e.high for e, truth in pairs]
        centre.append((chain.alpha.value, chain.beta.value))
    assert (covered / 150 > 0.897).all() and (covered / 150 < 1).all()
    assert np.mean(centre, axis=0) == pytest.approx((alpha, beta), abs=0.006)


def test_no_opposite_leaves_recovery_unknown_and_bounds_the_break() -> None:
    chain = fit_chain([[[1, 1, 1]]] * 20)
    assert chain.alpha.value == 0 and chain.alpha.high == pytest.approx(0.1684, abs=1e-4)
    for unknown in (chain.beta, chain.spell, chain.opposite_share):
        assert math.isnan(unknown.value) and math.isnan(unknown.low)
        assert unknown.why == "no transition from the opposite was seen" and unknown.n == 0


def test_nobody_who_returns_has_an_endless_spell() -> None:
    chain = fit_chain([[[1, 0, 0, 0]]] * 20)
    assert chain.beta.value == 0 and chain.spell.value == math.inf
    assert chain.spell.low == pytest.approx(1 / 0.1684, rel=1e-3)
    assert chain.spell.high == math.inf


@pytest.mark.parametrize("scenes", [[], [[]], [[[]]], [[[None, None]]]])
def test_nothing_is_known_of_nothing(scenes: list[list[list[float | None]]]) -> None:
    chain = fit_chain(scenes)
    assert chain.counts == Counts()
    assert math.isnan(chain.alpha.value) and math.isnan(chain.spell.high)
    [tested] = absorption(scenes, sensitivity=[0.9], specificity=[0.95])
    assert math.isnan(tested.p) and tested.beta.why == "no line with evidence"
    assert least_certain([tested]) is None


def test_one_scene_has_rates_without_intervals() -> None:
    chain = fit_chain([[[1, 1, 0, 1]]])
    assert chain.alpha.value == 0.5 and math.isnan(chain.alpha.low)
    assert chain.alpha.why == "no interval from so few scenes"


def by_all_paths(sequence: list[float | None], a: Absorption, beta: float) -> float:
    """The log likelihood of one sequence as a sum over every hidden path."""
    total = 0.0
    for path in itertools.product([0, 1], repeat=len(sequence)):
        chance = a.initial if path[0] else 1 - a.initial
        for was, now in itertools.pairwise(path):
            leave = beta if was else a.alpha
            chance *= leave if was != now else 1 - leave
        for state, value in zip(path, sequence, strict=True):
            if value in (0, 1):
                right = a.sensitivity if state else a.specificity
                chance *= right if value == 1 - state else 1 - right
        total += chance
    return math.log(total)


def test_the_likelihood_is_that_of_all_hidden_paths_and_at_its_top() -> None:
    rng = np.random.default_rng(5)
    lines = judged(rng, play(rng, 60, 0.2, 0.3)[:, 4:11], 0.85, 0.9)
    rows: list[list[float | None]] = [r.tolist() for r in lines]
    for i, row in enumerate(rows):
        row[i % 7] = [None, 0.5, math.nan][i % 3]  # lines that show nothing
        rows[i] = row[: 3 + i % 5]  # and scenes of unequal length
    [tested] = absorption([[r] for r in rows], sensitivity=[0.85], specificity=[0.9])
    beta = tested.beta.value
    top = sum(by_all_paths(r, tested, beta) for r in rows)
    assert tested.loglik == pytest.approx(top, abs=1e-6)
    for step in (-0.02, 0.02):
        assert sum(by_all_paths(r, tested, beta + step) for r in rows) < top
    assert tested.statistic == pytest.approx(2 * (tested.loglik - tested.loglik_absorbing))
    assert tested.beta.low < beta < tested.beta.high and 0 < tested.p < 0.5


def test_a_noisy_judge_makes_returns_that_the_hidden_chain_sees_through() -> None:
    """Check 2 of SCIENCE in 20 studies: true β = 0; at most 5% plus three errors are 4 of 20."""
    rng = np.random.default_rng(6)
    tested = []
    for _ in range(20):
        seen = judged(rng, play(rng, 100, 0.1, 0.0), 0.9, 0.95)
        tested += absorption(one_each(seen), sensitivity=[0.9], specificity=[0.95])
    assert np.mean([a.naive for a in tested]) == pytest.approx(0.135, abs=0.005)
    assert sum(a.p < 0.05 for a in tested) <= 4
    assert max(a.beta.value for a in tested) < 0.01
    assert np.mean([a.alpha for a in tested]) == pytest.approx(0.1, abs=0.006)
    assert sum(a.beta.low <= 0 for a in tested) >= 17


def test_a_small_true_return_is_found() -> None:
    rng = np.random.default_rng(7)
    tested = []
    for _ in range(12):
        seen = judged(rng, play(rng, 100, 0.1, 0.02), 0.9, 0.95)
        tested += absorption(one_each(seen), sensitivity=[0.9], specificity=[0.95])
    assert sum(a.p < 0.05 for a in tested) >= 11
    assert np.mean([a.beta.value for a in tested]) == pytest.approx(0.02, abs=0.004)
    assert sum(a.beta.low <= 0.02 <= a.beta.high for a in tested) >= 9


def test_the_grid_shows_what_hangs_on_the_sensitivity() -> None:
    rng = np.random.default_rng(8)
    seen = one_each(judged(rng, play(rng, 150, 0.1, 0.0), 0.85, 0.95))
    results = absorption(seen, sensitivity=[0.8, 0.85, 0.97], specificity=[0.95, 0.9])
    assert [(a.sensitivity, a.specificity) for a in results] == [
        (0.8, 0.95),
        (0.8, 0.9),
        (0.85, 0.95),
        (0.85, 0.9),
        (0.97, 0.95),
        (0.97, 0.9),
    ]
    at = {(a.sensitivity, a.specificity): a for a in results}
    assert at[0.85, 0.95].p > 0.05
    assert at[0.97, 0.95].p < 0.01, "a judge taken for better than it is finds returns"
    assert least_certain(results) == max(results, key=lambda a: a.p)


def test_a_sure_judge_leaves_the_naive_rates() -> None:
    # A marker is such a judge: of 40 lines at the opposite that others follow, 4 were left.
    scenes = [[[1, 1, 1, 0, 0, 0, 0, 0]]] * 6 + [[[1, 1, 1, 1, 0, 0, 0, 0, 1, 1]]] * 4
    [tested] = absorption(scenes, sensitivity=[1.0], specificity=[1.0])
    assert tested.naive == pytest.approx(4 / (24 + 16)) == fit_chain(scenes).beta.value
    assert tested.beta.value == pytest.approx(0.1, abs=1e-4)
    assert tested.at_risk == pytest.approx(40, abs=0.01)
    assert tested.p < 1e-6
    # -2 log (L(β)/L(.1)) of 4 in 40 is 3.84 at these.
    for end in (tested.beta.low, tested.beta.high):
        gap = 4 * math.log(0.1 / end) + 36 * math.log(0.9 / (1 - end))
        assert 2 * gap == pytest.approx(3.84, abs=0.1)


def test_where_nobody_fell_there_is_nothing_to_leave() -> None:
    [tested] = absorption([[[1.0] * 10]] * 30, sensitivity=[0.9], specificity=[0.99])
    assert math.isnan(tested.p) and math.isnan(tested.beta.value) and tested.at_risk < 1
    assert tested.beta.why == "no line at the opposite that another line follows"


def test_a_judge_that_guesses_tests_nothing() -> None:
    [tested] = absorption([[[1, 0, 1]]], sensitivity=[0.4], specificity=[0.6])
    assert math.isnan(tested.p) and "tells nothing" in tested.beta.why
