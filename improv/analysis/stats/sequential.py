"""Tests that may be looked at while a study is played: alpha spending for differences of blocks.

A plan that declares its looks may be tested after each of them. α is spent over the looks as Lan
and DeMets (1983) do it, with their function like O'Brien and Fleming's: little is spent early, so
the last look keeps nearly all of the power. The null distribution is that of
`permutation.sign_flip`: if conditions do not matter, each block's difference could as well have had
the other sign. A path is what all looks would have seen under one pattern of signs. The observed
path and the random ones are exchangeable, and the critical values are taken from all of them, so at
most the spent share of α can cross, for any number of blocks and any distribution (no normal
approximation).

Intervals are repeated confidence intervals (Jennison and Turnbull 1989): one of them covers the
truth at every look at once, so also at the look that ends a study. Their critical values are those
of the same spending for a normal mean. An estimate after an early end is, on average, too far from
zero; its interval is still valid.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import signal, stats

from improv.analysis.stats.interval import Estimate, Floats

PATHS = 20_000
"""Paths, the observed one among them. α of less than 1 in so many cannot be spent at a look."""
_SLACK = 1e-6
"""Statistics that differ by less than this share are the same: a tie does not cross."""
_STEPS = 40
"""Halvings of the logarithm of α in the search for a p."""
_SPAN, _POINTS = 5.0, 4001
"""The grid of the normal random walk whose boundary is computed: its half width and its points."""
_LEAST = 1e-12
"""The least α that a look spends in the normal boundary; before, there is none."""


def spent(t: float, alpha: float) -> float:
    """Return how much of a two-sided `alpha` is spent when a share `t` of the study is there."""
    if t <= 0:
        return 0.0
    if t >= 1:
        return alpha
    return float(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / math.sqrt(t)))


def first_look(looks: Sequence[int], planned: int, alpha: float) -> int:
    """Return the first of `looks` (in blocks) at which a contrast could be decided at `alpha`."""
    able = (n for n in looks if spent(n / planned, alpha) * PATHS >= 1 and 2.0 ** (1 - n) <= alpha)
    return next(able, looks[-1])


@dataclass(frozen=True)
class Looks:
    """The statistics of all paths at each look, the observed path first: shape (looks, paths).

    `shares` are the shares of the planned blocks that are there at the looks.
    """

    shares: tuple[float, ...]
    paths: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls,
        differences: Sequence[Floats],
        shares: Sequence[float],
        *,
        seed: int,
        paths: int = PATHS,
    ) -> Looks:
        """Return the paths of `differences`: for each look, a number for each block that is there.

        The numbers of a look may be other ones than those of the look before (ranks, residuals),
        if they do not depend on which of two conditions is which. A block that has no difference
        has a 0.
        """
        chance = np.random.default_rng(seed)
        longest = max((len(d) for d in differences), default=0)
        # Block by block, so that the signs of a block do not depend on how many there are.
        signs = np.empty((longest, paths), dtype=np.float32)
        for block in range(longest):
            signs[block] = chance.integers(0, 2, size=paths, dtype=np.int8)
        signs = 2 * signs - 1
        signs[:, 0] = 1
        sums = np.empty((len(differences), paths), dtype=np.float32)
        before, total = np.empty(0), np.zeros(paths)
        for k, d in enumerate(differences):
            if np.array_equal(d[: len(before)], before):
                total = total + d[len(before) :] @ signs[len(before) : len(d)]
            else:
                total = d @ signs[: len(d)]
            before = d
            sums[k] = np.abs(total)
        return cls(tuple(shares), sums)

    def crossed(self, alpha: float) -> int | None:
        """Return the number of the first look at which the observed path crosses, None if none."""
        alive: npt.NDArray[np.int64] = np.arange(self.paths.shape[1])
        gone, all_paths = 0, len(alive)
        for k, share in enumerate(self.shares):
            may = math.floor(spent(share, alpha) * all_paths * (1 + 1e-12)) - gone
            if may <= 0:
                continue
            seen = self.paths[k, alive]
            if may >= len(seen):
                return k
            limit = np.partition(seen, len(seen) - may - 1)[len(seen) - may - 1]
            out = seen > limit + _SLACK * max(float(limit), 1e-30)
            if out[0]:
                return k
            alive = alive[~out]
            gone = all_paths - len(alive)
        return None

    @property
    def p(self) -> float:
        """The smallest α at which the observed path has crossed by now. It is a p for whoever looks
        as planned and stops when he likes (Liu and Anderson 2008). NaN before the first look."""
        if not self.shares:
            return math.nan
        low, high = math.log(1 / self.paths.shape[1]) - 5.0, 0.0
        if self.crossed(1.0 - 1e-9) is None:
            return 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self.crossed(math.exp(middle)) is None:
                low = middle
            else:
                high = middle
            if high - low < 1e-3:
                break
        return math.exp(high)


@functools.lru_cache(maxsize=256)
def normal_boundary(shares: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Return the critical value of |z| at each look for a normal mean: infinite where a look spends
    too little.

    By recursion over the looks (Armitage, McPherson and Rowe 1969), on a grid.
    """
    grid = np.linspace(-_SPAN, _SPAN, _POINTS)
    step = grid[1] - grid[0]
    density: Floats | None = None
    """The density of the walk at the last look, where it has not crossed."""
    before, used, critical = 0.0, 0.0, []
    for t in shares:
        wanted = spent(t, alpha)
        if wanted - used < _LEAST or t <= before:
            critical.append(math.inf)
            continue
        spread = math.sqrt(t - before)
        if density is None:
            now = stats.norm.pdf(grid, scale=math.sqrt(t))
        else:
            width = min(_POINTS // 2, math.ceil(8 * spread / step))
            kernel = stats.norm.pdf(np.arange(-width, width + 1) * step, scale=spread)
            now = signal.fftconvolve(density, kernel / kernel.sum(), mode="same")
        now = np.maximum(now, 0.0)
        # What is beyond each grid point, on both sides.
        beyond = 2 * np.cumsum(now[::-1])[::-1] * step
        right = grid >= 0
        x, tail = grid[right], beyond[right] - now[right] * step
        limit = float(np.interp(-(wanted - used), -tail, x))
        critical.append(limit / math.sqrt(t))
        density = np.where(np.abs(grid) <= limit, now, 0.0)
        before, used = t, wanted
    return tuple(critical)


def repeated(estimate: Estimate, shares: Sequence[float], *, units: int = 0) -> Estimate:
    """Return an estimate with its repeated confidence interval: the ordinary one, made wider.

    `shares` are those of the looks up to now, this one last. The factor is that of critical values:
    of Student's t over `units` units (of the normal distribution without), at the tail that the
    look leaves. At a look that spends nothing there is no interval.
    """
    if math.isnan(estimate.low) or not shares:
        return estimate
    alpha = 1 - estimate.level
    critical = normal_boundary(tuple(round(s, 9) for s in shares), round(alpha, 9))[-1]
    if math.isinf(critical):
        why = "too early for an interval that holds at every look"
        return replace(estimate, low=math.nan, high=math.nan, why=why)
    tail = float(stats.norm.sf(critical))
    if estimate.why.startswith(("all blocks alike", "one block")):
        factor = math.log(tail) / math.log(alpha / 2)
    elif units > 1:
        factor = float(stats.t.isf(tail, units - 1) / stats.t.isf(alpha / 2, units - 1))
    else:
        factor = critical / float(stats.norm.isf(alpha / 2))
    low = estimate.value - (estimate.value - estimate.low) * factor
    high = estimate.value + (estimate.high - estimate.value) * factor
    return replace(estimate, low=low, high=high)
