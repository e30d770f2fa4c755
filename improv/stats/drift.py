"""Drift: how consistency changes over the turns of a scene, as a slope and as a curve.

The slope is marginal: how the mean over scenes moves on the logit scale, not how any one scene
does (which would be steeper, the more scenes differ). Turns of a scene hang together, so errors
come from scenes and never from turns.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE

from improv.record import seed_of
from improv.stats.interval import DRAWS, LEVEL, Estimate, at_edge, bootstrap_sums

Floats = npt.NDArray[np.float64]
Turns = Mapping[str, Mapping[int, float | None]]
"""block → turn → consistency in [0, 1]; None, NaN or no entry where it is missing."""

FEWEST = 3
"""Scenes without which no slope has an error: two parameters are fitted."""


@dataclass(frozen=True, slots=True)
class Point:
    """The mean consistency of the scenes at one turn, and how many of them have a value there."""

    turn: int
    mean: Estimate


@dataclass(frozen=True, slots=True)
class _Fit:
    """A slope, and how much each block moved it: the sum of their squares is its variance."""

    slope: float
    moved: dict[str, float]


def slope(scenes: Turns, *, level: float = LEVEL) -> Estimate:
    """Return the slope of consistency per turn on the logit scale, for one condition.

    Generalised estimating equations with a binomial mean and an exchangeable correlation within
    scenes (Liang & Zeger 1986). The error is the sandwich with Mancl and DeRouen's correction
    (2001) for few scenes, and t on scenes − 2 degrees of freedom. NaN, with the reason, where
    there are fewer than three scenes or two turns, where everything or nothing was consistent,
    and where a turn separates the one from the other.
    """
    fit = _fit(scenes)
    n = len(_rows(scenes))
    if isinstance(fit, str):
        return Estimate.unknown(fit, n=n, unit="scenes", level=level)
    return _student(fit.slope, fit.moved, n - 2, n, "scenes", level)


def slopes(values: Mapping[str, Turns], *, level: float = LEVEL) -> dict[str, Estimate]:
    """Return `slope` for every condition of `values`."""
    return {condition: slope(scenes, level=level) for condition, scenes in values.items()}


def slope_difference(a: Turns, b: Turns, *, level: float = LEVEL) -> Estimate:
    """Return the slope of `a` minus that of `b`, per turn on the logit scale.

    Each is fitted by itself. Blocks that both have are paired: what a block moved the one slope
    is set against what it moved the other, so that what its two scenes share does not count.
    """
    fits = [_fit(a), _fit(b)]
    blocks = sorted({*_rows(a), *_rows(b)})
    for fit in fits:
        if isinstance(fit, str):
            return Estimate.unknown(fit, n=len(blocks), unit="blocks", level=level)
    first, second = (fit for fit in fits if isinstance(fit, _Fit))
    moved = {k: first.moved.get(k, 0.0) - second.moved.get(k, 0.0) for k in blocks}
    freedom = min(len(first.moved), len(second.moved)) - 2
    return _student(first.slope - second.slope, moved, freedom, len(blocks), "blocks", level)


def curve(scenes: Turns, *, seed: int, draws: int = DRAWS, level: float = LEVEL) -> list[Point]:
    """Return the mean over scenes at every turn, with a pointwise band from resampled scenes.

    A turn's mean is of those scenes that have a value there. Where they are all 1, or all 0, the
    band's other end is the Clopper–Pearson bound (interval.at_edge).
    """
    rows = _rows(scenes)
    turns = sorted({turn for row in rows.values() for turn in row})
    if not turns:
        return []
    place = {turn: i for i, turn in enumerate(turns)}
    sums = np.zeros((len(rows), 2 * len(turns)))
    for cluster, row in zip(sums, rows.values(), strict=True):
        for turn, value in row.items():
            cluster[place[turn]] = value
            cluster[len(turns) + place[turn]] = 1
    found = bootstrap_sums(
        sums, lambda s: np.asarray(s[:, : len(turns)] / s[:, len(turns) :], dtype=np.float64),
        seed=seed_of("curve", seed), draws=draws, level=level,
    )  # fmt: skip
    counts = sums[:, len(turns) :].sum(axis=0).astype(int)
    return [
        Point(turn, at_edge(mean, int(n)))
        for turn, mean, n in zip(turns, found, counts, strict=True)
    ]


def _rows(scenes: Turns) -> dict[str, dict[int, float]]:
    """Return the scenes that have any value, in order of their names, without what is missing."""
    found = {}
    for block in sorted(scenes):
        row = {t: float(v) for t, v in sorted(scenes[block].items()) if v is not None}
        row = {t: v for t, v in row.items() if math.isfinite(v)}
        if wrong := {t: v for t, v in row.items() if not 0 <= v <= 1}:
            raise ValueError(f"{block}: consistency at turn → value {wrong}, wanted 0 to 1")
        if row:
            found[block] = row
    return found


def _fit(scenes: Turns) -> _Fit | str:
    """Fit one condition, or say why that can't be done."""
    rows = _rows(scenes)
    y = np.array([v for row in rows.values() for v in row.values()])
    turn = np.array([t for row in rows.values() for t in row], dtype=np.float64)
    if why := _hopeless(y, turn, len(rows)):
        return why
    groups = np.repeat(np.arange(len(rows)), [len(row) for row in rows.values()])
    # Turns from their middle on, and in their own spread, so that no step of the fit is wild.
    spread = float(turn.std())
    design = np.column_stack([np.ones_like(turn), (turn - turn.mean()) / spread])
    working = Exchangeable()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the verdict is `converged`, and a reason is given
        try:
            fit = GEE(
                y, design, groups=groups, family=Binomial(), cov_struct=working,
                update_dep=len(rows) < len(y),  # without pairs there is no correlation
            ).fit(maxiter=100)  # fmt: skip
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError):
            return "the fit failed"
    if fit is None or not fit.converged or not np.isfinite(fit.params).all():
        return "the fit did not converge"
    moved = _moved(y, design, groups, np.asarray(fit.params), float(working.dep_params))
    if moved is None:
        return "the fit's errors cannot be had"
    by_block = dict(zip(rows, (moved / spread).tolist(), strict=True))
    return _Fit(float(fit.params[1]) / spread, by_block)


def _hopeless(y: Floats, turn: Floats, scenes: int) -> str:
    if not scenes:
        return "no values"
    if scenes < FEWEST:
        return f"fewer than {FEWEST} scenes"
    if np.ptp(turn) == 0:
        return "one turn only"
    kept, broken = turn[y > 0], turn[y < 1]
    if not len(broken):
        return "consistent at every turn"
    if not len(kept):
        return "consistent at no turn"
    # With one variable the estimate is finite unless a turn parts the two (Albert & Anderson).
    if kept.max() <= broken.min() or broken.max() <= kept.min():
        return "a turn separates what was consistent from what was not"
    return ""


def _moved(
    y: Floats, design: Floats, groups: npt.NDArray[np.int64], params: Floats, alpha: float
) -> Floats | None:
    """Return what each scene moved the second parameter: B⁻¹ Dᵢ' Vᵢ⁻¹ (I − Hᵢ)⁻¹ rᵢ.

    B = Σ Dᵢ' Vᵢ⁻¹ Dᵢ and Hᵢ = Dᵢ B⁻¹ Dᵢ' Vᵢ⁻¹ (Mancl & DeRouen 2001). Their squares sum to the
    bias-reduced sandwich variance of statsmodels, which gives no parts to pair by block.
    """
    mean = special.expit(design @ params)
    deviation = np.sqrt(mean * (1 - mean))
    parts = []
    for group in range(int(groups[-1]) + 1):
        here = groups == group
        size = int(here.sum())
        correlation = np.full((size, size), alpha) + (1 - alpha) * np.eye(size)
        d = design[here] * (deviation[here] ** 2)[:, None]
        v = correlation * np.outer(deviation[here], deviation[here])
        try:
            weighted = np.linalg.solve(v, d)
        except np.linalg.LinAlgError:
            return None
        parts.append((d, weighted, y[here] - mean[here]))
    try:
        inverse = np.linalg.inv(sum(d.T @ w for d, w, _ in parts))
        moved = [
            inverse[1] @ w.T @ np.linalg.solve(np.eye(len(r)) - d @ inverse @ w.T, r)
            for d, w, r in parts
        ]
    except np.linalg.LinAlgError:
        return None
    found = np.array(moved, dtype=np.float64)
    return found if np.isfinite(found).all() else None


def _student(
    value: float, moved: Mapping[str, float], freedom: int, n: int, unit: str, level: float
) -> Estimate:
    error = math.sqrt(sum(m * m for m in moved.values()))
    if freedom < 1 or not error > 0:
        return Estimate(value, math.nan, math.nan, level, n, unit, "scenes do not differ")
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Estimate(value, value - half, value + half, level, n, unit)
