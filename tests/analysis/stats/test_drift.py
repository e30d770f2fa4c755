"""Drift: planted slopes against the marginal truth, and curves with their bands."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE

from improv.analysis.stats.drift import mean_curve, slope

Floats = npt.NDArray[np.float64]
T = 12
START, SPREAD, DRIFT = 2.0, 1.0, -0.12


def marginal(start: float, spread: float, drift: float) -> float:
    """The slope of the mean over scenes: the logistic curve nearest to it."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    turns = np.arange(1, T + 1)
    odds = start + spread * nodes[:, None] + drift * turns
    mean = (expit(odds) * (weights / weights.sum())[:, None]).sum(axis=0)
    design, coefficients = np.column_stack([np.ones(T), turns]), np.zeros(2)
    for _ in range(30):
        fit = expit(design @ coefficients)
        weighted = design * (fit * (1 - fit))[:, None]
        coefficients += np.linalg.solve(weighted.T @ design, design.T @ (mean - fit))
    return float(coefficients[1])


def scenes(
    chance: np.random.Generator, own: Floats, drift: float = DRIFT
) -> dict[str, dict[int, float | None]]:
    turns = np.arange(1, T + 1)
    kept = chance.random((len(own), T)) < expit(START + own[:, None] + drift * turns)
    return {
        f"b{i}": {t: float(k) for t, k in zip(turns.tolist(), row, strict=True)}
        for i, row in enumerate(kept)
    }


def test_planted_drift_is_found_without_bias_against_the_marginal_truth() -> None:
    # Check 5. Scenes differ, so the marginal slope is flatter than that of any scene.
    truth = marginal(START, SPREAD, DRIFT)
    assert truth == pytest.approx(-0.1019, abs=1e-4)
    chance = np.random.default_rng(1)
    fits = [slope(scenes(chance, chance.normal(0, SPREAD, 30))) for _ in range(80)]
    values = np.array([f.value for f in fits])
    assert values.mean() == pytest.approx(truth, abs=3 * values.std() / math.sqrt(80))
    assert abs(values.mean() - DRIFT) > 2.5 * values.std() / math.sqrt(80)
    assert np.mean([f.low <= truth <= f.high for f in fits]) > 0.87


def test_the_error_is_the_bias_reduced_sandwich_of_statsmodels() -> None:
    chance = np.random.default_rng(4)
    scenes_by_block = scenes(chance, chance.normal(0, 1, 15))
    scenes_by_block["b3"] = {
        t: v for t, v in scenes_by_block["b3"].items() if t < 5
    }  # scenes need not be as long
    scenes_by_block["b4"][7] = None
    y = [v for row in scenes_by_block.values() for v in row.values() if v is not None]
    t = [t for row in scenes_by_block.values() for t, v in row.items() if v is not None]
    groups = [b for b, row in scenes_by_block.items() for v in row.values() if v is not None]
    design = np.column_stack([np.ones(len(t)), t])
    model = GEE(np.array(y), design, groups, family=Binomial(), cov_struct=Exchangeable())
    fit = model.fit(cov_type="bias_reduced")
    estimate = slope(scenes_by_block)
    assert estimate.value == pytest.approx(fit.params[1], abs=1e-5)
    error = (estimate.high - estimate.low) / 2 / 2.160369  # t of 13 degrees of freedom
    assert error == pytest.approx(fit.bse[1], rel=1e-3)


def rows(*values: list[float | None]) -> dict[str, dict[int, float | None]]:
    return {f"b{i}": dict(enumerate(row, start=1)) for i, row in enumerate(values)}


@pytest.mark.parametrize(
    ("scene_values", "why"),
    [
        ({}, "no values"),
        (rows([None, math.nan], []), "no values"),
        (rows([1, 0, 1]), "fewer than 3 scenes"),
        (rows([1], [0], [1], [0]), "one turn only"),
        (rows([1, 1], [1, 1], [1, 1]), "consistent at every turn"),
        (rows([0, 0], [0, 0], [0, 0]), "consistent at no turn"),
        (rows([1, 1, 0], [1, 1, 0], [1, 1, 0]), "a turn separates"),
        (rows([0, 1, 1], [0, 0, 1], [0, 1, 1]), "a turn separates"),
    ],
)
def test_where_there_is_no_slope_there_is_a_reason(
    scene_values: dict[str, dict[int, float | None]], why: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = slope(scene_values)
        assert math.isnan(fit.value) and math.isnan(fit.low) and why in fit.why


def test_almost_separated_scenes_neither_crash_nor_warn() -> None:
    chance = np.random.default_rng(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):
            n, turns = int(chance.integers(3, 7)), int(chance.integers(2, 7))
            keep = chance.choice([0.03, 0.5, 0.97])
            scene_values = rows(*(chance.random((n, turns)) < keep).astype(float).tolist())
            fit = slope(scene_values)
            assert math.isfinite(fit.value) or fit.why
            assert math.isfinite(fit.low) or fit.why


def test_a_value_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="b1: consistency at turn"):
        slope(rows([1, 0], [7, 0], [0, 1]))


def test_a_curve_is_the_mean_over_scenes_with_a_band() -> None:
    scene_values = rows([1, 1, 0.5], [1, 0, None], [1, 0, 0], [1, 1])
    curve = mean_curve(scene_values, seed=1)
    assert [p.turn for p in curve] == [1, 2, 3]
    assert [p.mean.value for p in curve] == [1.0, 0.5, 0.25]
    assert curve[0].mean.low == pytest.approx(0.025 ** (1 / 4)) and curve[0].mean.high == 1.0
    assert 0 <= curve[1].mean.low < 0.5 < curve[1].mean.high <= 1
    assert curve == mean_curve(scene_values, seed=1) and mean_curve({}, seed=1) == []


def test_the_band_of_a_curve_covers_the_planted_mean() -> None:
    chance, hits = np.random.default_rng(6), []
    turns = np.arange(1, T + 1)
    truth = expit(START + chance.normal(0, SPREAD, 200_000)[:, None] + DRIFT * turns).mean(axis=0)
    for seed in range(60):
        curve = mean_curve(scenes(chance, chance.normal(0, SPREAD, 40)), seed=seed, draws=400)
        hits.append([p.mean.low <= m <= p.mean.high for p, m in zip(curve, truth, strict=True)])
    assert np.mean(hits) > 0.91
