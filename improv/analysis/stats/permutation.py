"""Permutation tests, for one table of differences or for many at once.

Contrasts and their power call the same function, so that the power is that of the test itself.
The callers choose the differences that are tested.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy import fft, stats

from improv.analysis.stats.interval import Floats

PERMUTATIONS = 5000
"""Random permutations where not all of them are counted."""
_MANY_BLOCKS = 1000
"""Blocks from which on those that differ by as much have their signs drawn together."""
_CELLS = 4_000_000
"""How many numbers one table in memory may have; larger work is done in pieces."""
_FINEST = 240
"""The finest fraction that counted outcomes may come in: shares of so many turns."""
_WAVES = 1_000_000
_SLACK = 1e-9
"""Sums that differ by less than this share are the same: a tie counts against a difference."""


def sign_flip(rows: Floats, *, seed: int, draws: int = PERMUTATIONS) -> Floats:
    """Return the two-sided p of each row's mean against zero, shape (rows,).

    `rows` has shape (rows, blocks): a difference for every block, none missing. If conditions
    do not matter, a block's difference could as well have had the other sign (Fisher 1935). All
    signs are counted where that can be done: for differences that are multiples of one fraction
    (0 or 1, or shares of the same few turns), by their characteristic function Π cos(k θ), and
    for so few blocks that there are at most `draws` patterns. Otherwise `draws` random patterns
    are drawn, the same for all rows, and p = (1 + as far out) / (1 + draws) (Phipson & Smyth
    2010), which is never 0. With no blocks p is NaN, and 1 where all differences are 0.
    """
    if rows.shape[1] == 0:
        return np.full(len(rows), math.nan)
    rows = rows[:, rows.any(axis=0)]  # a difference of 0 has no sign
    blocks = rows.shape[1]
    if blocks == 0:
        return np.ones(len(rows))
    steps = _steps(rows)
    if steps is not None and (exact := _by_waves(steps)) is not None:
        return exact
    if 2 ** (blocks - 1) <= draws:
        halves = itertools.product((1.0, -1.0), repeat=blocks - 1)
        # Half of the patterns are the other half's mirror images, and as far out.
        every = np.array([(1.0, *half) for half in halves])
        return _share_as_far_out(every, rows)
    chance = np.random.default_rng(seed)
    if blocks > _MANY_BLOCKS:
        return (1 + draws * _of_like(rows, chance, draws)) / (1 + draws)
    heads = chance.integers(0, 2, size=(draws, blocks), dtype=np.int8)
    signs: Floats = 2.0 * heads.astype(np.float64) - 1.0
    return (1 + draws * _share_as_far_out(signs, rows)) / (1 + draws)


def relabel(a: Floats, b: Floats, *, seed: int, draws: int = PERMUTATIONS) -> float:
    """Return the two-sided p that the means of two samples differ, by exchanging their labels.

    Counted outcomes of 0 and 1 have the hypergeometric distribution, and all the ways of few
    others are tried; else `draws` random ones, as in `sign_flip`. NaN where a sample is empty.
    """
    if not len(a) or not len(b):
        return math.nan
    whole = np.concatenate([a, b])
    if np.isin(whole, (0.0, 1.0)).all():
        ones = int(whole.sum())
        first = np.arange(max(0, ones - len(b)), min(ones, len(a)) + 1)
        chances = stats.hypergeom.pmf(first, len(whole), ones, len(a))
        off = np.abs(first / len(a) - (ones - first) / len(b))
        seen = abs(a.mean() - b.mean())
        return float(min(1.0, chances[off >= seen - _SLACK].sum()))
    # The mean of the first sample says all: that of the second follows from it.
    seen = abs(a.mean() - whole.mean()) - _SLACK * float(np.abs(whole).max())
    if math.comb(len(whole), len(a)) <= draws:
        sums = np.array([sum(some) for some in itertools.combinations(whole, len(a))])
        return float(np.mean(np.abs(sums / len(a) - whole.mean()) >= seen))
    chance = np.random.default_rng(seed)
    beyond = 0
    for some in _pieces(draws, len(whole)):
        mixed = chance.permuted(np.tile(whole, (some, 1)), axis=1)
        means = mixed[:, : len(a)].mean(axis=1)
        beyond += int(np.sum(np.abs(means - whole.mean()) >= seen))
    return (1 + beyond) / (1 + draws)


def _of_like(rows: Floats, chance: np.random.Generator, draws: int) -> Floats:
    """Return the share of random signs that bring a row's sum as far out.

    Among many blocks many differ by as much: how many of k such have one sign is binomial.
    """
    shares = np.empty(len(rows))
    for i, row in enumerate(rows):
        sizes, alike = np.unique(np.abs(row).round(12), return_counts=True)
        seen = abs(float(row.sum())) - _SLACK * float(np.abs(row).sum())
        beyond = 0
        for some in _pieces(draws, len(sizes)):
            sums = (2 * chance.binomial(alike, 0.5, size=(some, len(sizes))) - alike) @ sizes
            beyond += int(np.sum(np.abs(sums) >= seen))
        shares[i] = beyond / draws
    return shares


def _share_as_far_out(signs: Floats, rows: Floats) -> Floats:
    slack = _SLACK * np.abs(rows).sum(axis=1)
    seen = np.abs(rows.sum(axis=1)) - slack
    shares = np.empty(len(rows))
    start = 0
    for some in _pieces(len(rows), len(signs)):
        here = slice(start, start + some)
        shares[here] = np.mean(np.abs(signs @ rows[here].T) >= seen[here], axis=0)
        start += some
    return shares


def _steps(rows: Floats) -> npt.NDArray[np.int64] | None:
    """Return the rows as whole numbers of one fraction, or None where there is none."""
    sizes = np.unique(np.abs(rows).round(10))
    if len(sizes) > _FINEST * 4:
        return None
    whole = 1
    for size in sizes:
        near = Fraction(float(size)).limit_denominator(_FINEST)
        if abs(float(near) - size) > _SLACK:
            return None
        whole = math.lcm(whole, near.denominator)
        if whole > _FINEST:
            return None
    return np.rint(rows * whole).astype(np.int64)


def _by_waves(steps: npt.NDArray[np.int64]) -> Floats | None:
    """Return each row's exact p, or None where random signs are cheaper."""
    sizes, where = np.unique(np.abs(steps), return_inverse=True)
    reach = int(np.abs(steps).sum(axis=1).max())
    around = fft.next_fast_len(2 * reach + 2, real=True)
    if len(sizes) * around > _WAVES:
        return None
    many = len(steps)
    cells = where.reshape(steps.shape) + len(sizes) * np.arange(many)[:, None]
    counts = np.bincount(cells.ravel(), minlength=many * len(sizes)).reshape(many, -1)
    angles = 2 * np.pi / around * np.arange(around // 2 + 1)
    waves = np.cos(np.outer(sizes, angles))
    logs, below = np.log(np.maximum(np.abs(waves), 1e-300)), (waves < 0).astype(np.float64)
    p_values = np.empty(many)
    start = 0
    for some in _pieces(many, around):
        here = slice(start, start + some)
        count = counts[here].astype(np.float64)
        product = np.exp(count @ logs) * (1 - 2 * ((count @ below) % 2))
        chances = fft.irfft(product, n=around, axis=1)[:, : reach + 1]
        beyond = 2 * np.cumsum(chances[:, ::-1], axis=1)[:, ::-1]
        seen = np.abs(steps[here].sum(axis=1))
        p = np.where(seen == 0, 1.0, beyond[np.arange(some), seen])
        least = 2.0 ** (1 - (steps[here] != 0).sum(axis=1))  # what rounding may have lost
        p_values[here] = np.clip(p, np.minimum(least, 1.0), 1.0)
        start += some
    return p_values


def _pieces(many: int, each: int) -> list[int]:
    """Return how many to take at a time so that no table is too large; they sum to `many`."""
    size = max(1, _CELLS // max(1, each))
    return [min(size, many - start) for start in range(0, many, size)]
