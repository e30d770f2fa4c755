"""How much the phrasing of a first prompt still matters, turns after it was said.

The intraclass correlation is the share of variance, between scenes of one block, that is due to
which phrasing they began with. It may be negative, and about 0 is what a phrasing that does not
matter gives; nothing is clipped, because a clipped 0 would on average be above it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from improv.analysis.stats.interval import LEVEL, Estimate, Floats
from improv.records import seed_of

PhrasedValues = Mapping[str, Mapping[str, Mapping[int, float | None]]]
"""block → phrasing → turn → value; None, NaN or no entry where it is missing."""

_DRAWS = 1000
_FEWEST = 3
"""Minimum phrasings for an intraclass correlation."""
_CELLS = 2_000_000


@dataclass(frozen=True, slots=True)
class TurnIcc:
    """The intraclass correlation at a turn (the middle of a window of turns), and its p."""

    turn: float
    icc: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class PhrasingIcc:
    """How much phrasing matters at each turn, on the mean of them, and how that changes.

    `mean_p`, and the p of each turn, come from dealing the phrasings anew within blocks and are
    one-sided: they test that phrasing does not matter. `slope_p` is that of the slope's t: dealt
    phrasings matter at no turn, and against those a phrasing that matters at all turns alike
    would look as if it grew or faded (at an ICC of .2 in 45 of 100 studies, simulated).
    """

    turns: tuple[TurnIcc, ...]
    mean: Estimate
    mean_p: float
    slope: Estimate
    slope_p: float
    blocks: int
    phrasings: int


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of squares and their degrees of freedom, each of shape (..., windows)."""

    between: Floats
    within: Floats
    between_df: Floats
    within_df: Floats
    cells: Floats

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.between + other.between,
            self.within + other.within,
            self.between_df + other.between_df,
            self.within_df + other.within_df,
            self.cells + other.cells,
        )


def phrasing_icc(
    values: PhrasedValues,
    *,
    seed: int,
    window: int = 1,
    slugs: Mapping[str, str] | None = None,
    draws: int = _DRAWS,
    level: float = LEVEL,
) -> PhrasingIcc:
    """Return the intraclass correlation of phrasings as a function of turn.

    ICC = (MSP − MSE) / (MSP + (k − 1) MSE), with phrasings as the classes of a random-effects
    analysis of variance and k blocks in each (Shrout & Fleiss 1979). Blocks are taken out first,
    so that it is their ICC(3,1): a one-way analysis of the raw values would put the differences
    between blocks into the error, while the means of phrasings, which share the blocks, are free
    of them, and so be negative where nothing matters. Cells that are missing are allowed for:
    sums of squares are those of phrasings after blocks, and k is Searle's coefficient (1971,
    Henderson's method 3).

    `window` turns are averaged before each analysis. `slugs` maps blocks to the scene whose
    phrasings theirs are; phrasing 3 of one scene is another than phrasing 3 of the next.
    Intervals at a turn are by F (Shrout & Fleiss), approximate for 0/1 values; those of the mean
    and of the slope over turns by a jackknife over phrasings with t on phrasings − 1 degrees of
    freedom, for the mean on the scale of log F, where its spread does not depend on it (Searle,
    Casella & McCulloch 1992). Units are phrasings. NaN, with the reason, for fewer than three.
    """
    blocks, centres = _tables(values, window, slugs or {})
    count = sum(table.shape[1] for table in blocks)
    many = sum(table.shape[0] for table in blocks)
    if count < _FEWEST or not centres:
        nothing = Estimate.unknown(
            f"fewer than {_FEWEST} phrasings", n=count, unit="phrasings", level=level
        )
        return PhrasingIcc((), nothing, math.nan, nothing, math.nan, many, count)
    sums = _analysed(blocks)
    icc = _icc(sums)
    turns = np.array(centres)
    chance = np.random.default_rng(seed_of("phrasing", seed))
    null = _dealt(blocks, draws, chance)
    mean, slope = _mean_and_slope(icc, turns)
    without = _without_one(blocks, turns)
    depth = float(sums.cells.sum() / max(1.0, float(sums.between_df.sum())))
    at_turns = [
        TurnIcc(turn, _by_f(sums, icc, i, count, level), _p(icc[i], null[:, i]))
        for i, turn in enumerate(centres)
    ]
    level_of = _log_f(mean, depth), _jackknife([_log_f(w[:, 0], depth) for w in without])
    low, high, _ = _student(*level_of, count, level)
    *slope_ends, slope_p = _student(slope, _jackknife([w[:, 1] for w in without]), count, level)
    return PhrasingIcc(
        turns=tuple(at_turns),
        mean=_estimate(mean, [_from_log_f(z, depth) for z in (low, high)], level, count),
        mean_p=_p(mean, _mean_and_slope(null, turns)[0]),
        slope=_estimate(slope, slope_ends, level, count),
        slope_p=slope_p,
        blocks=many,
        phrasings=count,
    )


def _tables(
    values: PhrasedValues, window: int, slugs: Mapping[str, str]
) -> tuple[list[Floats], list[float]]:
    """Return for each slug a table (blocks, phrasings, windows), and the windows' mean turns."""
    cells = [
        (slugs.get(block, ""), block, name, turn, float(value))
        for block, named in sorted(values.items())
        for name, row in sorted(named.items())
        for turn, value in sorted(row.items())
        if value is not None and math.isfinite(value)
    ]
    turns = sorted({turn for *_, turn, _ in cells})
    windows = [turns[i : i + window] for i in range(0, len(turns), window)]
    column = {turn: i for i, some in enumerate(windows) for turn in some}
    tables = []
    for slug in sorted({slug for slug, *_ in cells}):
        mine = [cell[1:] for cell in cells if cell[0] == slug]
        rows = _places(block for block, *_ in mine)
        classes = _places(name for _, name, *_ in mine)
        if len(classes) < 2:
            continue  # nothing to compare
        sums = np.zeros((2, len(rows), len(classes), len(windows)))
        for block, name, turn, value in mine:
            sums[:, rows[block], classes[name], column[turn]] += (value, 1)
        with np.errstate(invalid="ignore"):
            tables.append(np.asarray(sums[0] / sums[1], dtype=np.float64))
    return tables, [float(np.mean(some)) for some in windows]


def _places(names: Iterable[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(dict.fromkeys(names))}


def _analysed(tables: Sequence[Floats]) -> _Sums:
    """Return the sums of squares over slugs; tables have shape (..., blocks, classes, windows)."""
    first, *rest = (_one(table) for table in tables)
    for more in rest:
        first = first + more
    return first


def _one(y: Floats) -> _Sums:
    there = ~np.isnan(y)
    size = there.sum(axis=-2, keepdims=True)
    mean = np.where(there, y, 0).sum(axis=-2, keepdims=True) / np.maximum(size, 1)
    centred = np.where(there, y - mean, 0.0)
    total = (centred**2).sum(axis=(-3, -2))
    effect = centred.sum(axis=-3)  # (..., classes, windows)
    blocks, classes = y.shape[-3], y.shape[-2]
    if there.all():
        between = (effect**2).sum(axis=-2) / blocks
        flat = np.ones_like(between)
        return _Sums(
            between,
            total - between,
            flat * (classes - 1),
            flat * (blocks - 1) * (classes - 1),
            flat * blocks * (classes - 1),
        )
    seen = there.astype(np.float64)
    shared = np.einsum("...bpw,...bqw->...wpq", seen / np.maximum(size, 1), seen)
    counts = np.moveaxis(seen.sum(axis=-3), -1, -2)
    matrix = counts[..., None] * np.eye(classes) - shared
    roots, axes = np.linalg.eigh(matrix)
    along = np.einsum("...wpr,...pw->...wr", axes, effect) ** 2
    real = roots > 1e-9
    between = np.where(real, along / np.where(real, roots, 1.0), 0.0).sum(axis=-1)
    between_df = real.sum(axis=-1).astype(np.float64)
    used = (size > 0).sum(axis=(-3, -2))
    within_df = seen.sum(axis=(-3, -2)) - used - between_df
    return _Sums(
        between, total - between, between_df, within_df, np.trace(matrix, axis1=-2, axis2=-1)
    )


def _icc(sums: _Sums) -> Floats:
    with np.errstate(all="ignore"):
        among = sums.between / sums.between_df
        error = np.maximum(sums.within, 0.0) / sums.within_df
        error = np.where(error < 1e-12 * among, 0.0, error)  # what subtracting has left over
        depth = sums.cells / sums.between_df
        share = (among - error) / (among + (depth - 1) * error)
    known = np.isfinite(share) & (sums.within_df > 0) & (sums.between_df > 0)
    return np.where(known & (among > 1e-24), share, np.nan)


def _by_f(sums: _Sums, icc: Floats, i: int, count: int, level: float) -> Estimate:
    value = float(icc[i])
    if math.isnan(value):
        why = "values do not differ, or are too few"
        return Estimate.unknown(why, n=count, unit="phrasings", level=level)
    df = float(sums.between_df[i]), float(sums.within_df[i])
    depth = float(sums.cells[i]) / df[0]
    if value >= 1:
        return Estimate(value, math.nan, math.nan, level, count, "phrasings", "no error")
    # F from the ICC, whose formula it is solved for.
    ratio = (1 + (depth - 1) * value) / (1 - value)
    ends = [ratio / float(stats.f.ppf(tail, *df)) for tail in ((1 + level) / 2, (1 - level) / 2)]
    low, high = ((f - 1) / (f + depth - 1) for f in ends)
    return Estimate(value, low, high, level, count, "phrasings")


def _mean_and_slope(icc: Floats, turns: Floats) -> tuple[Floats, Floats]:
    """Return the mean over turns and the least-squares slope, of the turns that have an ICC."""
    known = np.isfinite(icc)
    n = known.sum(axis=-1)
    with np.errstate(all="ignore"):
        mean = np.where(known, icc, 0).sum(axis=-1) / n
        middle = np.where(known, turns, 0).sum(axis=-1) / n
        off = np.where(known, turns - middle[..., None], 0)
        slope = (off * np.where(known, icc, 0)).sum(axis=-1) / (off**2).sum(axis=-1)
    return mean, slope


def _dealt(tables: Sequence[Floats], draws: int, chance: np.random.Generator) -> Floats:
    """Return the ICCs with phrasings dealt anew within every block, shape (draws, windows)."""
    size = max(1, _CELLS // sum(table.size for table in tables))
    iccs = []
    for start in range(0, draws, size):
        part = min(size, draws - start)
        dealt = []
        for table in tables:
            # A scene goes whole, with all its turns and with what it lacks.
            order = np.argsort(chance.random((part, *table.shape[:2])), axis=-1)
            dealt.append(np.take_along_axis(table[None], order[..., None], axis=2))
        iccs.append(_icc(_analysed(dealt)))
    return np.concatenate(iccs)


def _without_one(tables: Sequence[Floats], turns: Floats) -> list[Floats]:
    """Return mean and slope without each phrasing, shape (phrasings, 2) for every slug."""
    left_out = []
    for i, table in enumerate(tables):
        rows = []
        for gone in range(table.shape[1]):
            less = [*tables]
            less[i] = np.delete(table, gone, axis=1)
            rows.append(_mean_and_slope(_icc(_analysed(less)), turns))
        left_out.append(np.array(rows, dtype=np.float64))
    return left_out


def _jackknife(without: Sequence[Floats]) -> float:
    """Return the standard error from the values without each unit, by slug."""
    with np.errstate(all="ignore"):
        return math.sqrt(sum((len(some) - 1) * float(np.var(some)) for some in without))


def _student(value: Floats, error: float, n: int, level: float) -> tuple[float, float, float]:
    """Return low, high and two-sided p against 0."""
    if not math.isfinite(error) or error == 0:
        return math.nan, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(float(value)) / error, n - 1))
    return float(value) - half, float(value) + half, p


def _log_f(icc: Floats, depth: float) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(np.log((1 + (depth - 1) * icc) / (1 - icc)), dtype=np.float64)


def _from_log_f(z: float, depth: float) -> float:
    """Return (F − 1)/(F + depth − 1)."""
    f = math.exp(min(z, 700.0))
    return (f - 1) / (f + depth - 1)


def _estimate(statistic: Floats, ends: Sequence[float], level: float, count: int) -> Estimate:
    value, (low, high), why = float(statistic), ends, ""
    if math.isnan(value):
        why = "no ICC at enough turns"
        low = high = math.nan
    elif math.isnan(low):
        why = "no interval from so few phrasings"
    return Estimate(value, low, high, level, count, "phrasings", why)


def _p(seen: float | Floats, null: Floats) -> float:
    if not np.isfinite(seen):
        return math.nan
    null = null[np.isfinite(null)]
    return float((1 + np.sum(null >= float(seen) - 1e-12)) / (1 + len(null)))
