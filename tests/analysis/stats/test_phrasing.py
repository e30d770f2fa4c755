"""Phrasings: planted intraclass correlations, the null of copies, and a table by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from improv.analysis.stats.phrasing import PhrasingIcc, phrasing_icc

Floats = npt.NDArray[np.float64]
ByTurn = dict[str, dict[str, dict[int, float | None]]]
TURNS = 6


def by_turn(y: Floats) -> ByTurn:
    """A table (blocks, phrasings, turns) as it comes from a run; NaN is missing."""
    return {
        f"b{b}": {
            f"p{p}": {t: float(v) for t, v in enumerate(row, start=1)}
            for p, row in enumerate(block)
        }
        for b, block in enumerate(y)
    }


def planted(
    chance: np.random.Generator, icc: Floats | float, blocks: int = 20, phrasings: int = 12
) -> Floats:
    """Scenes in which phrasings have the share `icc` of the variance within blocks."""
    share = np.broadcast_to(icc, TURNS)
    said = chance.normal(size=(1, phrasings, 1)) * np.sqrt(share)
    scene = 0.6 * chance.normal(size=(blocks, phrasings, 1))
    rest = scene + 0.8 * chance.normal(size=(blocks, phrasings, TURNS))
    return np.asarray(chance.normal(0, 2, size=(blocks, 1, 1)) + said + rest * np.sqrt(1 - share))


def studied(many: int, icc: Floats | float, seed: int) -> list[PhrasingIcc]:
    chance = np.random.default_rng(seed)
    return [phrasing_icc(by_turn(planted(chance, icc)), seed=s, draws=199) for s in range(many)]


def test_the_table_of_shrout_and_fleiss() -> None:
    # Their six targets (here: phrasings) and four judges (here: blocks): ICC(3,1) is .71, by
    # their formula F = 11.02, and its interval .34 to .95 by theirs.
    targets = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]],
        dtype=float,
    )
    icc = phrasing_icc(by_turn(targets.T[:, :, None]), seed=1)
    (only,) = icc.turns
    assert only.icc.value == pytest.approx(0.7148, abs=1e-4)
    assert (only.icc.low, only.icc.high) == pytest.approx((0.342, 0.946), abs=1e-3)
    assert (icc.blocks, icc.phrasings, only.icc.n) == (4, 6, 6)
    assert icc.mean.value == pytest.approx(0.7148, abs=1e-4) and only.p < 0.01
    assert math.isnan(icc.slope.value) and icc.slope.why  # one turn has no slope


def test_copies_of_one_phrasing_give_about_nothing_and_are_not_clipped() -> None:
    results = studied(60, 0.0, 1)
    means = np.array([f.mean.value for f in results])
    assert abs(means.mean()) < 3 * means.std() / math.sqrt(60) and means.std() < 0.03
    assert 0.2 < np.mean(means < 0) < 0.8
    assert np.mean([f.mean_p <= 0.05 for f in results]) <= 0.14
    assert np.mean([t.p <= 0.05 for f in results for t in f.turns]) < 0.1
    assert np.mean([f.slope_p <= 0.05 for f in results]) <= 0.14


def test_a_planted_correlation_is_found() -> None:
    results = studied(60, 0.3, 2)
    means = np.array([f.mean.value for f in results])
    assert means.mean() == pytest.approx(0.3, abs=0.05)  # a ratio: a little below, for 12
    assert np.mean([f.mean.low <= 0.3 <= f.mean.high for f in results]) > 0.85
    assert np.mean([f.turns[0].icc.low <= 0.3 <= f.turns[0].icc.high for f in results]) > 0.85
    assert all(f.mean_p < 0.05 for f in results)


def test_what_matters_at_all_turns_alike_has_no_slope() -> None:
    results = studied(60, 0.3, 3)
    slopes = np.array([f.slope.value for f in results])
    assert abs(slopes.mean()) < 3.2 * slopes.std() / math.sqrt(60)
    assert np.mean([f.slope_p <= 0.05 for f in results]) <= 0.15


def test_what_is_forgotten_has_a_falling_slope() -> None:
    icc = np.linspace(0.5, 0.0, TURNS)
    results = studied(30, icc, 4)
    assert np.mean([f.slope.value for f in results]) == pytest.approx(-0.1, abs=0.02)
    assert np.mean([f.slope.high < 0 and f.slope_p < 0.05 for f in results]) > 0.8
    assert [t.turn for t in results[0].turns] == [1, 2, 3, 4, 5, 6]


def test_missing_lines_are_allowed_for() -> None:
    chance = np.random.default_rng(5)
    results = []
    for seed in range(25):
        y = planted(chance, 0.3)
        y[chance.random(y.shape) < 0.1] = np.nan
        results.append(phrasing_icc(by_turn(y), seed=seed, draws=49))
    assert np.mean([f.mean.value for f in results]) == pytest.approx(0.3, abs=0.07)
    assert all(f.mean_p <= 0.04 for f in results)


def test_one_missing_cell_changes_hardly_anything() -> None:
    y = planted(np.random.default_rng(6), 0.3)
    whole = phrasing_icc(by_turn(y), seed=1, draws=9)
    y[3, 4, 2] = np.nan
    less = phrasing_icc(by_turn(y), seed=1, draws=9)
    assert less.turns[0].icc.value == pytest.approx(whole.turns[0].icc.value, abs=1e-12)
    assert less.turns[2].icc.value != whole.turns[2].icc.value
    assert less.turns[2].icc.value == pytest.approx(whole.turns[2].icc.value, abs=0.02)


def test_turns_can_be_taken_together() -> None:
    chance = np.random.default_rng(7)
    y = planted(chance, 0.2)
    icc = phrasing_icc(by_turn(y), seed=1, window=3, draws=99)
    assert [t.turn for t in icc.turns] == [2, 5]
    by_hand = phrasing_icc(by_turn(y[:, :, :3].mean(axis=2, keepdims=True)), seed=1, draws=99)
    assert icc.turns[0].icc.value == pytest.approx(by_hand.turns[0].icc.value)


def test_phrasings_of_two_scenes_are_not_the_same_phrasings() -> None:
    # Phrasing 3 lifts the one scene and lowers the other: together they would cancel out.
    chance = np.random.default_rng(8)
    y = planted(chance, 0.0, blocks=24)
    said = chance.normal(size=(1, 12, 1))
    y[:12] += said
    y[12:] -= said
    slugs = {f"b{b}": "ferry" if b < 12 else "bridge" for b in range(24)}
    apart = phrasing_icc(by_turn(y), seed=1, slugs=slugs, draws=99)
    mixed = phrasing_icc(by_turn(y), seed=1, draws=99)
    assert apart.mean.value > 0.2 and apart.phrasings == 24
    assert abs(mixed.mean.value) < 0.1


@pytest.mark.parametrize(
    "table", [{}, {"b1": {}}, {"b1": {"p1": {1: None}}}, {"b1": {"p1": {1: 0.5}, "p2": {1: 0.1}}}]
)
def test_too_little_gives_a_reason(table: ByTurn) -> None:
    icc = phrasing_icc(table, seed=1, draws=9)
    assert math.isnan(icc.mean.value) and "phrasings" in icc.mean.why
    assert math.isnan(icc.mean_p) and math.isnan(icc.slope_p)


def test_values_that_do_not_differ_have_no_correlation() -> None:
    icc = phrasing_icc(by_turn(np.ones((5, 4, 3))), seed=1, draws=9)
    assert all(math.isnan(t.icc.value) and math.isnan(t.p) and t.icc.why for t in icc.turns)
    assert math.isnan(icc.mean.value) and math.isnan(icc.mean_p)
    one = phrasing_icc(by_turn(np.random.default_rng(1).random((1, 5, 2))), seed=1, draws=9)
    assert math.isnan(one.mean.value)  # one block has no error


def test_phrasings_without_error_are_all_there_is() -> None:
    y = np.broadcast_to(np.arange(4.0)[None, :, None], (5, 4, 3))
    icc = phrasing_icc(by_turn(y), seed=1, draws=9)
    assert icc.mean.value == 1.0 and icc.turns[0].icc.value == 1.0


def test_the_same_seed_gives_the_same_answer() -> None:
    table = by_turn(planted(np.random.default_rng(9), 0.02))
    assert phrasing_icc(table, seed=1, draws=99) == phrasing_icc(table, seed=1, draws=99)
