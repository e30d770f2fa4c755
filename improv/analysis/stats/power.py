"""Power by resampling: how often the planned test would find what a pool of blocks holds.

The pool comes from puppets with a declared truth, or from a pilot; its blocks are drawn again
and again into studies of each size. The test is that of `contrast`, by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

from improv.analysis.stats.contrast import Values, complete
from improv.analysis.stats.interval import Estimate, Floats, proportion
from improv.analysis.stats.permutation import PERMUTATIONS, sign_flip
from improv.analysis.stats.sequential import normal_boundary
from improv.records import seed_of


@dataclass(frozen=True, slots=True)
class PowerAtSize:
    """The share of simulated studies of `n` blocks that reject, with its Monte-Carlo interval.

    The interval (Wilson's) says how well the share is known from so many repetitions. That the
    pool is itself a sample is not in it.
    """

    n: int
    power: Estimate
    repetitions: int
    played: float = math.nan
    """The mean number of blocks at the look that decides, or of all; NaN for a plan without
    looks."""


def contrast_power(
    pool: Values,
    weights: Mapping[str, float],
    sizes: Sequence[int],
    *,
    seed: int,
    repetitions: int = 1000,
    alpha: float = 0.05,
    draws: int = PERMUTATIONS,
    every: int = 0,
) -> list[PowerAtSize]:
    """Return for each size how often the contrast's p is at most `alpha`.

    With `every`, there is a look after so many blocks, with alpha spending; then the test is
    Student's t at each look, with the boundary for a normal mean, which is close to the test of
    `sequential.Looks` and a thousand times as fast. A study is `size` blocks drawn from the pool's
    complete blocks with replacement. For the first step of Holm's procedure over k contrasts give
    alpha/k.
    """
    table, _ = complete(pool, weights)
    weight = np.array([w for w in weights.values() if w])
    powers = []
    for size in sizes:
        if not len(table) or size < 1 or repetitions < 1:
            why = "no complete block in the pool" if not len(table) else "nothing to repeat"
            powers.append(PowerAtSize(size, Estimate.unknown(why, unit="repetitions"), repetitions))
            continue
        size_seed = seed_of("power", seed, size)
        picks = np.random.default_rng(size_seed).integers(0, len(table), size=(repetitions, size))
        studies = (table @ weight)[picks]
        if every:
            looks = [*range(every, size, every), size]
            ended = _ends(studies, looks, alpha)
            share = proportion(int((ended > 0).sum()), repetitions, unit="repetitions")
            played = float(np.where(ended > 0, ended, size).mean())
            powers.append(PowerAtSize(size, share, repetitions, played))
            continue
        p = sign_flip(studies, seed=seed_of("signs", size_seed), draws=draws)
        share = proportion(int(np.sum(p <= alpha)), repetitions, unit="repetitions")
        powers.append(PowerAtSize(size, share, repetitions))
    return powers


def _ends(studies: Floats, looks: Sequence[int], alpha: float) -> npt.NDArray[np.int64]:
    """Return for each study the blocks of the look that decides it, 0 if none does."""
    size = studies.shape[1]
    critical = normal_boundary(tuple(round(n / size, 9) for n in looks), round(alpha, 9))
    sums, squares = np.cumsum(studies, axis=1), np.cumsum(studies**2, axis=1)
    ended = np.zeros(len(studies), dtype=np.int64)
    for n, limit in zip(looks, critical, strict=True):
        if n < 2 or math.isinf(limit):
            continue
        mean = sums[:, n - 1] / n
        spread = np.sqrt(np.maximum(squares[:, n - 1] / n - mean**2, 0.0) * n / (n - 1))
        alike = spread <= 1e-9
        t = np.abs(mean) / np.where(alike, 1.0, spread) * math.sqrt(n)
        p = 2 * scipy_stats.t.sf(t, n - 1)
        # Differences that are all alike: the chance that all signs agree.
        p = np.where(alike, np.where(np.abs(mean) > 0, 2.0 ** (1 - n), 1.0), p)
        out = (ended == 0) & (p <= 2 * scipy_stats.norm.sf(limit))
        ended[out] = n
    return ended
