"""An interval for the mean of numbers in [0, 1] that holds for few of them, and for none above 0.

A bound for a rate over lines that come in scenes has scenes as its units: lines of one scene break
together. Where no line broke, nothing can be resampled, and the interval is that of Clopper and
Pearson for "no scene".
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from statsmodels.stats.proportion import proportion_confint

from improv.analysis.stats.interval import LEVEL, Estimate, proportion

_DRAWS = 100_000


def bounded_mean(
    values: npt.ArrayLike, *, level: float = LEVEL, unit: str = "scenes", draws: int = _DRAWS
) -> Estimate:
    """Return the mean of independent numbers in [0, 1] with its two-sided interval.

    Gaffke's bound (2005; Learned-Miller & Thomas 2020, arXiv:1905.06208): the upper end is the
    (1 + level)/2 quantile of Σ D_i x_i + D_(n+1), D uniform on the simplex, and the lower one its
    mirror image. It assumes no shape of distribution, and is the Clopper–Pearson interval where
    all numbers are 0 or 1. Raises ValueError for a number outside [0, 1].
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if not n:
        return Estimate.unknown("nothing was counted", unit=unit, level=level)
    if x[0] < 0 or x[-1] > 1:
        raise ValueError(f"a number between 0 and 1 is wanted, not {x[0]} to {x[-1]}")
    value = float(x.mean())
    if np.isin(x, (0.0, 1.0)).all():
        return _clopper_pearson(int(x.sum()), n, level, unit)
    tail = (1 - level) / 2
    # Equal numbers share one gamma variable, so that thousands of scenes cost no more than few.
    kinds, counts = np.unique(x, return_counts=True)
    chance = np.random.default_rng(0)
    weights = [chance.standard_gamma(count, size=draws) for count in counts]
    rest = chance.standard_exponential(size=draws)
    sums = np.sum(weights, axis=0) + rest
    parts = np.tensordot(kinds, np.array(weights), axes=1)
    high = float(np.quantile((parts + rest) / sums, 1 - tail))
    low = float(np.quantile(parts / sums, tail))
    return Estimate(value, low, high, level, n, unit)


def _clopper_pearson(successes: int, n: int, level: float, unit: str) -> Estimate:
    if successes in (0, n):
        return proportion(successes, n, level=level, unit=unit)
    low, high = proportion_confint(successes, n, alpha=1 - level, method="beta")
    return Estimate(successes / n, float(low), float(high), level, n, unit)


def fewest_for_bound(at_most: float, level: float = LEVEL) -> int:
    """Return the fewest units with which an upper bound can be at most `at_most`: none broke."""
    return math.ceil(math.log((1 - level) / 2) / math.log1p(-at_most))
