"""Drift: how consistency changes over the turns of a scene, as a slope and as a curve.

The slope is marginal: how the mean over scenes moves on the logit scale, not how any one scene
does (which would be steeper, the more scenes differ). Turns of a scene are dependent, so errors
come from scenes and never from turns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from improv.analysis.stats.interval import (
    LEVEL,
    MANY_CLUSTERS,
    RESAMPLES,
    Estimate,
    Floats,
    at_edge,
    bootstrap_sums,
)
from improv.records import seed_of

ConsistencyByTurn = Mapping[str, Mapping[int, float | None]]
"""block → turn → consistency in [0, 1]; None, NaN or no entry where it is missing."""

_FEWEST = 3
"""Scenes without which no slope has an error: two parameters are fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Turns as a table: one row for each block, in order of their names, one column for each of
    `turns`; NaN where there is no value. Every row and every column has one."""

    blocks: Sequence[str]
    turns: npt.NDArray[np.int64]
    values: Floats

    @classmethod
    def of(cls, scenes: ConsistencyByTurn | Grid) -> Self:
        """Return `scenes` as a table. Raises ValueError where a value is no share."""
        if isinstance(scenes, Grid):
            blocks, turns, values = list(scenes.blocks), scenes.turns, scenes.values
        else:
            blocks = sorted(scenes)
            turns = np.array(sorted({t for row in scenes.values() for t in row}), dtype=np.int64)
            place = {turn: i for i, turn in enumerate(turns.tolist())}
            values = np.full((len(blocks), len(turns)), math.nan)
            for row, block in zip(values, blocks, strict=True):
                for turn, value in scenes[block].items():
                    row[place[turn]] = math.nan if value is None else value
        there = np.isfinite(values)
        if (wrong := there & ((values < 0) | (values > 1))).any():
            row, column = np.argwhere(wrong)[0].tolist()
            cell = {int(turns[column]): float(values[row, column])}
            raise ValueError(f"{blocks[row]}: consistency at turn → value {cell}, wanted 0 to 1")
        rows, columns = np.any(there, axis=1), np.any(there, axis=0)
        kept = np.where(there, values, math.nan)[np.ix_(rows, columns)]
        return cls(
            [b for b, k in zip(blocks, rows.tolist(), strict=True) if k], turns[columns], kept
        )


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The mean consistency of the scenes at one turn, and how many of them have a value there."""

    turn: int
    mean: Estimate


@dataclass(frozen=True, slots=True)
class _Fit:
    """A slope and its standard error."""

    slope: float
    error: float


def slope(scenes: ConsistencyByTurn | Grid, *, level: float = LEVEL) -> Estimate:
    """Return the slope of consistency per turn on the logit scale, for one condition.

    Generalised estimating equations with a binomial mean and an exchangeable correlation within
    scenes (Liang & Zeger 1986). The error is the sandwich with Mancl and DeRouen's correction
    (2001) for few scenes, and t on scenes − 2 degrees of freedom. NaN, with the reason, where
    there are fewer than three scenes or two turns, where everything or nothing was consistent,
    and where a turn separates the one from the other.
    """
    grid = Grid.of(scenes)
    fit = _fit(grid)
    n = len(grid.blocks)
    if isinstance(fit, str):
        return Estimate.unknown(fit, n=n, unit="scenes", level=level)
    if n < 3 or not fit.error > 0:
        why = "scenes do not differ"
        return Estimate(fit.slope, math.nan, math.nan, level, n, "scenes", why)
    half = float(stats.t.ppf((1 + level) / 2, n - 2)) * fit.error
    return Estimate(fit.slope, fit.slope - half, fit.slope + half, level, n, "scenes")


def mean_curve(
    scenes: ConsistencyByTurn | Grid, *, seed: int, draws: int = RESAMPLES, level: float = LEVEL
) -> list[CurvePoint]:
    """Return the mean over scenes at every turn, with a pointwise band from resampled scenes.

    A turn's mean is of those scenes that have a value there. Where they are all 1, or all 0, the
    band's other end is the Clopper–Pearson bound (interval.at_edge).
    """
    grid = Grid.of(scenes)
    if not grid.turns.size:
        return []
    there = np.isfinite(grid.values)
    sums = np.stack([np.nan_to_num(grid.values), there.astype(float)], axis=2)
    # A band is pointwise, so that turns can be resampled one by one: of many scenes, most are
    # alike at one turn.
    at_once = sums.shape[1] if len(sums) <= MANY_CLUSTERS else 1
    means: list[Estimate] = []
    for first in range(0, sums.shape[1], at_once):
        part = sums[:, first : first + at_once].reshape(len(sums), -1)
        means += bootstrap_sums(
            part,
            lambda s: np.asarray(s[:, ::2] / s[:, 1::2], dtype=np.float64),
            seed=seed_of("curve", seed),
            draws=draws,
            level=level,
        )
    return [
        CurvePoint(turn, at_edge(mean, n))
        for turn, mean, n in zip(
            grid.turns.tolist(), means, there.sum(axis=0).tolist(), strict=True
        )
    ]


_STEPS = 100
"""Iterations of a fit before it is given up."""
_SETTLED = 1e-8
"""The largest score, for each line, at which it has converged."""
_LEAST = 1e-10


def _fit(grid: Grid) -> _Fit | str:
    """Fit one condition, or say why that can't be done."""
    if why := _hopeless(grid):
        return why
    there = np.isfinite(grid.values)
    # Turns from their middle on, and in their own spread, so that no step of the fit is wild.
    turns = grid.turns.astype(np.float64)
    weights = there.sum(axis=0)
    middle = float(turns @ weights / weights.sum())
    spread = math.sqrt(float((turns - middle) ** 2 @ weights / weights.sum()))
    design = np.column_stack([np.ones_like(turns), (turns - middle) / spread])
    with np.errstate(all="ignore"):
        equations = _Equations(np.nan_to_num(grid.values), there.astype(np.float64), design)
        try:
            solved = equations.solve()
            moved = None if isinstance(solved, str) else equations.moved(*solved)
        except np.linalg.LinAlgError:
            return "the fit failed"
    if isinstance(solved, str):
        return solved
    if moved is None or not np.isfinite(moved).all():
        return "the fit's errors cannot be had"
    # The sum of the squares of what each scene moved the slope is the slope's variance.
    error = math.sqrt(float((moved / spread) @ (moved / spread)))
    return _Fit(float(solved[0][1]) / spread, error)


def _hopeless(grid: Grid) -> str:
    if not len(grid.blocks):
        return "no values"
    if len(grid.blocks) < _FEWEST:
        return f"fewer than {_FEWEST} scenes"
    if len(grid.turns) == 1:
        return "one turn only"
    kept = grid.turns[(grid.values > 0).any(axis=0)]
    broken = grid.turns[(grid.values < 1).any(axis=0)]
    if not len(broken):
        return "consistent at every turn"
    if not len(kept):
        return "consistent at no turn"
    # With one variable the estimate is finite unless a turn parts the two (Albert & Anderson).
    if kept.max() <= broken.min() or broken.max() <= kept.min():
        return "a turn separates what was consistent from what was not"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class _Equations:
    """The estimating equations of one condition, all scenes at once.

    statsmodels' GEE has the same, scene by scene: a minute for fifty thousand. `y` and `there` have
    shape (scenes, turns), `design` (turns, 2). With an exchangeable correlation a, R⁻¹ of m lines
    is (I − a/(1 + (m − 1)a)·11')/(1 − a), so that sums over a scene's lines are all that is needed.
    """

    y: Floats
    there: Floats
    design: Floats

    def solve(self) -> tuple[Floats, float] | str:
        """Return the parameters and the correlation, or why there are none."""
        params, alpha = np.zeros(2), 0.0
        lines = float(self.there.sum())
        paired = bool((self.there.sum(axis=1) > 1).any())
        for step in range(_STEPS):
            each, score = self._parts(params, alpha)
            whole = score.sum(axis=0)
            if not np.isfinite(whole).all():
                return "the fit did not converge"
            params = params + np.linalg.solve(each.sum(axis=0), whole)
            settled = float(np.abs(whole).max()) < _SETTLED * lines
            if settled and (not paired or step > 1):
                before, alpha = alpha, self._correlation(params) if paired else 0.0
                if abs(before - alpha) < _SETTLED and np.isfinite(params).all():
                    return params, alpha
            elif paired and step > 2:
                alpha = self._correlation(params)
        return "the fit did not converge"

    def moved(self, params: Floats, alpha: float) -> Floats:
        """Return what each scene moved the second parameter: B⁻¹ Dᵢ' Vᵢ⁻¹ (I − Hᵢ)⁻¹ rᵢ.

        B = Σ Mᵢ with Mᵢ = Dᵢ' Vᵢ⁻¹ Dᵢ, and Hᵢ = Dᵢ B⁻¹ Dᵢ' Vᵢ⁻¹ (Mancl & DeRouen 2001), so that
        Dᵢ' Vᵢ⁻¹ (I − Hᵢ)⁻¹ is (I − Mᵢ B⁻¹)⁻¹ Dᵢ' Vᵢ⁻¹. Their squares sum to the bias-reduced
        sandwich variance of statsmodels, which gives no parts to pair by block.
        """
        each, score = self._parts(params, alpha)
        inverse = np.linalg.inv(each.sum(axis=0))
        left = np.eye(2) - each @ inverse
        return np.asarray(np.linalg.solve(left, score[:, :, None])[:, :, 0] @ inverse[1])

    def _mean(self, params: Floats) -> tuple[Floats, Floats]:
        """Return the mean at each turn and its deviation: shapes (turns,)."""
        mean = np.clip(special.expit(self.design @ params), _LEAST, 1 - _LEAST)
        return mean, np.sqrt(mean * (1 - mean))

    def _parts(self, params: Floats, alpha: float) -> tuple[Floats, Floats]:
        """Return Mᵢ and the score of each scene: shapes (scenes, 2, 2) and (scenes, 2)."""
        mean, deviation = self._mean(params)
        x = self.design * deviation[:, None]
        # Σ xx', Σ x, Σ x·r and Σ r over a scene's lines, r the Pearson residual.
        squares = (self.there @ (x[:, :, None] * x[:, None, :]).reshape(-1, 4)).reshape(-1, 2, 2)
        sums = self.there @ x
        crossed = self.y @ self.design - self.there @ (self.design * mean[:, None])
        residuals = self.y @ (1 / deviation) - self.there @ (mean / deviation)
        shared = alpha / (1 + (self.there.sum(axis=1) - 1) * alpha)
        both = squares - shared[:, None, None] * sums[:, :, None] * sums[:, None, :]
        score = crossed - (shared * residuals)[:, None] * sums
        return both / (1 - alpha), score / (1 - alpha)

    def _correlation(self, params: Floats) -> float:
        """Return the mean product of two residuals of one scene, by their mean square."""
        mean, deviation = self._mean(params)
        r = self.there * (self.y - mean) / deviation
        squares, sizes = (r * r).sum(axis=1), self.there.sum(axis=1)
        scale = float(squares.sum()) / (float(sizes.sum()) - 2)
        pairs = float((sizes * (sizes - 1)).sum()) / 2
        return float((r.sum(axis=1) ** 2 - squares).sum()) / 2 / scale / (pairs - 2)
