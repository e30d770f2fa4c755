"""Contrasts of conditions: how far apart they are, with what certainty, and in what family.

The unit is the block: a scene with its cast, topic and replicate, played under every condition.
A contrast is a linear combination of a block's values, so that an interaction is one too. The
caller says which contrasts are planned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import ttost_paired

from improv.analysis.stats.interval import LEVEL, Estimate, Floats
from improv.analysis.stats.mean_test import lopsided_p, unseen_chance
from improv.analysis.stats.permutation import PERMUTATIONS, relabel, sign_flip
from improv.records import seed_of

_NONE = (math.nan, math.nan)

Values = Mapping[str, Mapping[str, float | None]]
"""condition → block → its one value; None, NaN or no entry where it is missing."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference between conditions, its test, and the verdict of its family of contrasts.

    `blocks` counts the complete blocks and `dropped` names the others; `sd` is between blocks
    (of scenes within their samples, where unpaired). `adjusted` is p after `correction`, NaN
    until a family was corrected; `rejected` is that family's verdict.
    """

    name: str
    estimate: Estimate
    p: float
    blocks: int
    dropped: tuple[str, ...]
    sd: float
    planned: bool
    adjusted: float = math.nan
    rejected: bool = False
    correction: str = ""
    p_mean: float = math.nan
    """p of the mean alone, whatever the shapes (`mean_test.lopsided_p`); NaN where `p` is that."""
    unseen: float = math.nan
    """The rarest event that could undo the difference, as a share of blocks; NaN for none."""
    unseen_p: float = math.nan
    """The chance that so many blocks miss this event."""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Whether two conditions are the same up to a margin, by two one-sided tests."""

    name: str
    estimate: Estimate
    margin: float
    p: float
    equivalent: bool
    blocks: int
    dropped: tuple[str, ...]


def contrast(
    values: Values,
    weights: Mapping[str, float],
    *,
    name: str,
    seed: int,
    planned: bool,
    draws: int = PERMUTATIONS,
    level: float = LEVEL,
) -> Contrast:
    """Return the mean over complete blocks of Σ weight × value, its interval and p.

    A block that lacks a value under any condition of weight other than 0 is dropped, and named.

    The interval is Student's t over blocks. Differences are nearly symmetric, and with few
    blocks a bootstrap's tails are too short: for shares of ten turns (base .3, logit effect -.6)
    t covers the truth in .95/.95/.96/.95 of samples of 5/10/20/40 blocks, the percentile
    bootstrap in .83/.90/.93/.94 and BCa in .83/.88/.93/.94; for one 0/1 outcome a block t covers
    .87/.94/.97/.96 against .66/.83/.93/.94 (simulated). If all blocks give the same
    difference, t has no spread to use, and the interval is that of `spread_unseen`.

    p is that of the sign-flip permutation test, two-sided (see permutation.sign_flip): exact for
    a difference of two exchangeable conditions, and for other weights if the combination is
    symmetric about 0 under the null.
    """
    table, dropped = complete(values, weights)
    parts = table @ np.array(list(_used(weights).values()))
    p = sign_flip(parts[None, :], seed=seed_of("contrast", seed, name), draws=draws)
    lowest = sum(w for w in weights.values() if w < 0)
    highest = sum(w for w in weights.values() if w > 0)
    bounds = (lowest, highest) if _shares(table) else None
    estimate = _mean(parts, bounds, level)
    # Two conditions of 0 and 1 have one shape if they have one mean.
    shapely = bool(len(parts)) and (len(_used(weights)) > 2 or not np.isin(table, (0, 1)).all())
    unseen = unseen_chance(estimate.value, len(parts), bounds) if bounds and shapely else _NONE
    return Contrast(
        name=name,
        estimate=estimate,
        p=float(p[0]),
        blocks=len(parts),
        dropped=dropped,
        sd=float(np.std(parts, ddof=1)) if len(parts) > 1 else math.nan,
        planned=planned,
        p_mean=float(lopsided_p(parts[None, :])[0]) if shapely else math.nan,
        unseen=unseen[0],
        unseen_p=unseen[1],
    )


def unpaired(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    *,
    name: str,
    seed: int,
    planned: bool,
    draws: int = PERMUTATIONS,
    level: float = LEVEL,
) -> Contrast:
    """Return mean(a) − mean(b) over scenes, for outcomes that only some scenes have.

    `a` and `b` map scenes to values. The interval is Newcombe's (1998, method 10) where all
    outcomes are 0 or 1, else Welch's t. p is that of exchanging labels over scenes, which tests
    that the two samples come from one distribution, not only that their means agree.
    """
    (first, gone), (second, lost) = _present(a), _present(b)
    n = len(first) + len(second)
    outcome = np.concatenate([first, second])
    value = first.mean() - second.mean() if len(first) and len(second) else math.nan
    unseen, p_mean = _NONE, math.nan
    if not len(first) or not len(second):
        estimate = Estimate.unknown("a sample is empty", n=n, unit="scenes", level=level)
    elif np.isin(outcome, (0.0, 1.0)).all():
        low, high = confint_proportions_2indep(
            first.sum(),
            len(first),
            second.sum(),
            len(second),
            method="newcomb",
            compare="diff",
            alpha=1 - level,
        )
        estimate = Estimate(float(value), float(low), float(high), level, n, "scenes")
    else:
        estimate = _welch(first, second, level)
        p_mean = _welch_p(first, second)
        if _shares(outcome[:, None]):
            fewest = min(len(first), len(second))
            unseen = unseen_chance(estimate.value, fewest, (-1.0, 1.0))
    spread = sum(float(np.sum((x - x.mean()) ** 2)) for x in (first, second) if len(x))
    return Contrast(
        name=name,
        estimate=estimate,
        p=relabel(first, second, seed=seed_of("unpaired", seed, name), draws=draws),
        blocks=n,
        dropped=gone + lost,
        sd=math.sqrt(spread / (n - 2)) if n > 2 else math.nan,
        planned=planned,
        p_mean=p_mean,
        unseen=unseen[0],
        unseen_p=unseen[1],
    )


def equivalence(
    values: Values, a: str, b: str, *, margin: float, alpha: float = 0.05, name: str = ""
) -> Equivalence:
    """Return whether a − b lies within ±margin, by two one-sided t tests (Schuirmann 1987).

    The interval has level 1 − 2·alpha, and lies within the margin just where p < alpha. Blocks
    that all give the same difference are no proof of sameness: if values are shares, p is then
    the chance of that many like blocks if the mean stood at the margin (see `spread_unseen`).
    """
    table, dropped = complete(values, {a: 1.0, b: -1.0})
    parts = table[:, 0] - table[:, 1]
    bounds = (-1.0, 1.0) if _shares(table) else None
    estimate = _mean(parts, bounds, 1 - 2 * alpha)
    p = math.nan
    if len(parts) > 1 and not _alike(parts):
        p = float(ttost_paired(table[:, 0], table[:, 1], -margin, margin)[0])
    elif len(parts) and bounds:
        # The rarest other difference that would carry the mean to the margin.
        off = abs(float(parts[0]))
        unseen = min(1.0, max(0.0, (margin - off) / (1 + off)))
        p = (1 - unseen) ** len(parts)
    return Equivalence(name or f"{a} ≡ {b}", estimate, margin, p, p < alpha, len(parts), dropped)


def holm(contrasts: Sequence[Contrast], alpha: float = 0.05) -> list[Contrast]:
    """Return the contrasts with Holm's adjusted p and verdicts, in their order.

    The chance of any false rejection in the family is at most `alpha`. A contrast without a p
    is not rejected, and counts in the family all the same: it was planned.
    """
    return _corrected(contrasts, alpha, "holm")


def benjamini_hochberg(contrasts: Sequence[Contrast], alpha: float = 0.05) -> list[Contrast]:
    """Return the contrasts with Benjamini and Hochberg's adjusted p and verdicts, in their order.

    Of those rejected a share of at most `alpha` is expected to be false (for independent or
    positively dependent tests). A contrast without a p counts in the family as in `holm`.
    """
    return _corrected(contrasts, alpha, "bh")


def complete(values: Values, weights: Mapping[str, float]) -> tuple[Floats, tuple[str, ...]]:
    """Return a table of the complete blocks, and the names of the others.

    The table has shape (blocks, conditions of weight other than 0 in their order); blocks are
    sorted by name, so that no result depends on the order in which trials ended.
    """
    columns = [values.get(condition, {}) for condition in _used(weights)]
    names = sorted({block for column in columns for block in column})
    # In an array of floats None is NaN.
    rows = [[column.get(block) for block in names] for column in columns]
    table = np.array(rows, dtype=np.float64).reshape(len(columns), len(names)).T
    whole = np.isfinite(table).all(axis=1, keepdims=True).ravel()
    return table[whole], tuple(n for n, kept in zip(names, whole, strict=True) if not kept)


def spread_unseen(
    value: float, n: int, bounds: tuple[float, float] | None, level: float
) -> tuple[float, float]:
    """Return an interval for a mean where all n units gave the same value.

    n like units leave room for a share u = 1 − ((1 − level)/2)^(1/n) of others (Clopper and
    Pearson at 0 of n), and those might stand at either bound. NaN where values have no bounds.
    """
    if bounds is None or not n:
        return math.nan, math.nan
    unseen = 1 - ((1 - level) / 2) ** (1 / n)
    return value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value)


def _mean(parts: Floats, bounds: tuple[float, float] | None, level: float) -> Estimate:
    n = len(parts)
    if not n:
        return Estimate.unknown("no complete block", unit="blocks", level=level)
    value = float(parts.mean())
    if _alike(parts):
        low, high = spread_unseen(value, n, bounds, level)
        why = "all blocks alike" if n > 1 else "one block"
        return Estimate(value, low, high, level, n, "blocks", why)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * parts.std(ddof=1) / math.sqrt(n))
    return Estimate(value, value - half, value + half, level, n, "blocks")


def _welch(a: Floats, b: Floats, level: float) -> Estimate:
    n = len(a) + len(b)
    value = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2 or (_alike(a) and _alike(b)):
        why = "too few scenes, or all alike"
        return Estimate(value, math.nan, math.nan, level, n, "scenes", why)
    parts = [x.var(ddof=1) / len(x) for x in (a, b)]
    freedom = sum(parts) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(parts, (a, b), strict=True))
    half = float(stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(sum(parts)))
    return Estimate(value, value - half, value + half, level, n, "scenes")


def _welch_p(a: Floats, b: Floats) -> float:
    """Return the p of Welch's t, NaN where there is no spread."""
    if len(a) < 2 or len(b) < 2 or _alike(a) or _alike(b):
        return math.nan
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def _corrected(contrasts: Sequence[Contrast], alpha: float, how: str) -> list[Contrast]:
    p = np.array([c.p for c in contrasts])
    # By hand: statsmodels' multipletests collects garbage at each call, 50 ms for three numbers.
    adjusted = _ADJUST[how](np.nan_to_num(p, nan=1.0))
    return [
        dataclasses.replace(
            c,
            adjusted=math.nan if math.isnan(c.p) else float(after),
            rejected=bool(after <= alpha) and not math.isnan(c.p),
            correction=how,
        )
        for c, after in zip(contrasts, adjusted, strict=True)
    ]


def _step_down(p: Floats) -> Floats:
    """Return Holm's (1979) adjusted p: the k-th smallest of m times m − k + 1, never falling."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def _step_up(p: Floats) -> Floats:
    return np.asarray(stats.false_discovery_control(p, method="bh"), dtype=np.float64)


_ADJUST = {"holm": _step_down, "bh": _step_up}


def _used(weights: Mapping[str, float]) -> dict[str, float]:
    return {condition: w for condition, w in weights.items() if w}


def _present(values: Mapping[str, float | None]) -> tuple[Floats, tuple[str, ...]]:
    names = sorted(values)
    numbers = np.array([_number(values[name]) for name in names], dtype=np.float64)
    known = np.isfinite(numbers)
    return numbers[known], tuple(n for n, kept in zip(names, known, strict=True) if not kept)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _alike(parts: Floats) -> bool:
    """Whether all differences are the same, up to what subtracting them has rounded."""
    return bool(np.ptp(parts) <= 1e-12 * max(1.0, float(np.abs(parts).max())))


def _shares(table: Floats) -> bool:
    return bool(table.size) and bool(((table >= 0) & (table <= 1)).all())
