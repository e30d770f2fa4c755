"""Power by resampling: how often the planned test would find what a pool of blocks holds.

The pool comes from puppets with a declared truth, or from a pilot; its blocks are drawn again
and again into studies of each size. The test is that of `contrast`, by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from improv.analysis.stats.contrast import Values, complete
from improv.analysis.stats.interval import Estimate, proportion
from improv.analysis.stats.permutation import PERMUTATIONS, sign_flip
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


def contrast_power(
    pool: Values,
    weights: Mapping[str, float],
    sizes: Sequence[int],
    *,
    seed: int,
    repetitions: int = 1000,
    alpha: float = 0.05,
    draws: int = PERMUTATIONS,
) -> list[PowerAtSize]:
    """Return for each size how often the contrast's p is at most `alpha`.

    A study is `size` blocks drawn from the pool's complete blocks with replacement. For the
    first step of Holm's procedure over k contrasts give alpha/k.
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
        p = sign_flip(studies, seed=seed_of("signs", size_seed), draws=draws)
        share = proportion(int(np.sum(p <= alpha)), repetitions, unit="repetitions")
        powers.append(PowerAtSize(size, share, repetitions))
    return powers
