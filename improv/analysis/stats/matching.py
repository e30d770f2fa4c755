"""Comparisons at equal length: what is left of a difference in shares if lines are as long in all
cells, and if every word has the same chance. Pure numbers.

A longer line has more words that can break a sign. A contrast of arms whose lines differ in length
is therefore estimated twice more.

`equal_length` weights lines so that those that keep the sign are equally long in all cells
(overlap weights: Li, Morgan & Zaslavsky 2018; Li & Li 2019 for several cells). The weights come
from the kept lines alone. If length alone makes breaks, so that at each length a line breaks as
often in every arm, kept lines have the same ratio of densities as all lines, and the difference
that is left is 0. If it is the break that makes a line long (a rant), kept lines are equally long
in all arms, the weights are all alike, and the effect stays. To regress on the length of all lines
takes such an effect away: where broken lines have 25 words and kept lines 7, nothing is left.

`beyond_exposure` takes from each score the chance of its event in a line of so many words, if every
word had the same chance: 1 − exp(−λ words), with one λ for a sign over all cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from improv.analysis.stats.interval import Floats

Codes = npt.NDArray[np.int64]
_RIDGE = 1.0
"""Weight of the squared slopes beside the log-likelihood, in lines: keeps the slopes finite where
no lines of two arms are equally long."""
_STEP = 0.05
"""Width of a bin of standardised log lengths."""


@dataclass(frozen=True)
class Lines:
    """Readable lines: whether each broke its sign, its words, and the codes of its sign, cell and
    block. Every block has lines in every cell."""

    broken: Floats
    words: Floats
    sign: Codes
    cell: Codes
    block: Codes

    @property
    def cells(self) -> int:
        return int(self.cell.max(initial=-1)) + 1

    @property
    def signs(self) -> int:
        return int(self.sign.max(initial=-1)) + 1

    @property
    def blocks(self) -> int:
        return int(self.block.max(initial=-1)) + 1


def comparable(lines: Lines) -> Lines:
    """Return the lines with none longer than the longest kept line of its sign, nor shorter than
    the shortest. What a break adds beyond them is made by the break, and nothing that is kept says
    how often lines of that length break."""
    kept = lines.broken < 0.5
    longest, shortest = np.full(lines.signs, -np.inf), np.full(lines.signs, np.inf)
    np.maximum.at(longest, lines.sign[kept], lines.words[kept])
    np.minimum.at(shortest, lines.sign[kept], lines.words[kept])
    known = np.isfinite(longest)[lines.sign]
    bounded = np.clip(lines.words, shortest[lines.sign], np.maximum(longest, 0)[lines.sign])
    return replace(lines, words=np.where(known, bounded, lines.words))


def equal_length(lines: Lines, weights: Floats) -> Floats:
    """Return one number for each block, whose mean is Σ weight × share of the cells' lines at equal
    length: the influence of each block on that sum, so that the t interval of their mean is that of
    clustered lines. Empty where no sign has lines in all cells."""
    by_line = overlap_weights(lines)
    shape = (lines.cells, lines.signs)
    place = lines.cell * lines.signs + lines.sign
    total = np.bincount(place, by_line, minlength=shape[0] * shape[1])
    broken = np.bincount(place, by_line * lines.broken, minlength=len(total))
    whole: npt.NDArray[np.bool_] = np.all(total.reshape(shape) > 0, axis=0)
    if not whole.any():
        return np.empty(0)
    share = np.divide(broken, total, out=np.zeros_like(total), where=total > 0)
    by_sign = np.where(whole, total.reshape(shape).sum(axis=0), 0.0)
    by_sign /= by_sign.sum()
    value = float(weights @ (share.reshape(shape) @ by_sign))
    scale = by_sign[lines.sign] / np.maximum(total[place], 1e-300)
    off = lines.broken - share[place]
    each = np.where(whole[lines.sign], weights[lines.cell] * scale * by_line * off, 0.0)
    influence = np.bincount(lines.block, each, minlength=lines.blocks)
    return np.asarray(value + lines.blocks * influence, dtype=np.float64)


def overlap_weights(lines: Lines) -> Floats:
    """Return the weight of each line, at most 1: high where lines of that length are as frequent in
    all cells, 0 where one cell has none."""
    length = _standardised(lines)
    bins = np.round(length / _STEP).astype(np.int64)
    kept = lines.broken < 0.5
    if not kept.any() or np.ptp(bins) == 0:
        return np.ones(len(length))
    lowest = int(bins.min())
    levels = np.arange(lowest, int(bins.max()) + 1) * _STEP
    places = (bins - lowest) * lines.cells + lines.cell
    counts = np.bincount(places[kept], minlength=len(levels) * lines.cells)
    terms = np.column_stack([np.ones_like(levels), levels, levels**2])
    chances = _chances(counts.reshape(len(levels), lines.cells).astype(float), terms)
    inverse = 1 / np.clip(chances, 1e-12, None)
    tilted = inverse / inverse.sum(axis=1, keepdims=True)
    return np.asarray(tilted[bins - lowest, lines.cell], dtype=np.float64)


def beyond_exposure(lines: Lines, event: Floats, exposed: npt.NDArray[np.bool_]) -> Floats:
    """Return for each line whether it broke, less what its length alone would lead one to expect.

    `event` says of each line whether its sign's phrase is there (which breaks the sign, or keeps
    it). Where `exposed` is False, a word more is no chance more, and the score is left as it is.
    """
    left = lines.broken.copy()
    for sign in np.unique(lines.sign[exposed]):
        own = exposed & (lines.sign == sign)
        chance = _chance_by_words(event[own], lines.words[own])
        # The phrase breaks the sign, or keeps it: what is expected is turned the same way.
        breaks = np.corrcoef(event[own], lines.broken[own])[0, 1] if np.ptp(event[own]) else 1.0
        left[own] -= chance if breaks > 0 else 1 - chance
    return left


def _chance_by_words(event: Floats, words: Floats) -> Floats:
    """Return 1 − exp(−λ words), with the λ that gives as many events as there are."""
    seen = float(event.sum())
    if seen == 0 or seen == len(event):
        return np.full(len(event), seen / max(len(event), 1))

    def excess(log_rate: float) -> float:
        return float(-np.expm1(-np.exp(log_rate) * words).sum()) - seen

    rate = np.exp(optimize.brentq(excess, -30.0, 30.0))
    return np.asarray(-np.expm1(-rate * words), dtype=np.float64)


def _standardised(lines: Lines) -> Floats:
    """Return log words, less their mean and over their deviation among the kept lines of a sign."""
    logs = np.log(np.maximum(lines.words, 1.0))
    kept = (lines.broken < 0.5).astype(float)
    counts = np.maximum(np.bincount(lines.sign, kept, minlength=lines.signs), 1.0)
    mean = np.bincount(lines.sign, kept * logs, minlength=lines.signs) / counts
    off = logs - mean[lines.sign]
    spread = np.sqrt(np.bincount(lines.sign, kept * off**2, minlength=lines.signs) / counts)
    return np.clip(off / np.maximum(spread, 0.05)[lines.sign], -6.0, 6.0)


def _chances(counts: Floats, terms: Floats) -> Floats:
    """Fit a multinomial logistic model of the cell on the length; return its chances by level."""
    cells, size = counts.shape[1], terms.shape[1]
    rows = counts.sum(axis=1, keepdims=True)
    lines = counts.sum()

    def loss(flat: Floats) -> tuple[float, Floats]:
        slopes = flat.reshape(size, cells)
        logs = special.log_softmax(terms @ slopes, axis=1)
        gradient = terms.T @ (rows * np.exp(logs) - counts)
        free = slopes.copy()
        free[0] = 0.0
        gradient += _RIDGE * free
        value = -float((counts * logs).sum()) + 0.5 * _RIDGE * float((free**2).sum())
        return value / lines, gradient.ravel() / lines

    start = np.zeros((size, cells))
    fitted = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B")
    return np.asarray(special.softmax(terms @ fitted.x.reshape(size, cells), axis=1))
