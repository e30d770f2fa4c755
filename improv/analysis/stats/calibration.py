"""A judge's verdicts on lines of known truth: how often it errs, and rates corrected for that.

Planted lines, one set for each condition, give a `Confusion`; from it come sensitivity and
specificity, a rate corrected for both, and the questions whether this judge may judge at all and
whether it errs alike in all conditions. How raters agree with each other is here too. Prompts and
replies of judges are not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import krippendorff
import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from improv.analysis.stats.interval import (
    LEVEL,
    RESAMPLES,
    Estimate,
    Floats,
    bootstrap_sums,
    percentile_ends,
    proportion,
)
from improv.analysis.stats.rate import rate_draws

_ENOUGH = 0.5
"""What Youden's J must surely pass: below it a correction more than doubles every error."""
_UNREAD = 0.05
"""The largest share of a judge's replies that may be unreadable."""
_TABLES = 9_999
_MANY = 10**9


@dataclass(frozen=True, slots=True)
class Confusion:
    """How planted lines were judged, in counts.

    `hits` and `misses` are lines at the opposite that were called opposite, or were called
    anything else ("neither" too); `clears` and `alarms` are lines at the pole that were called
    anything but the opposite, or opposite. Verdicts that could not be read count apart: an
    unreadable one is never a clear.
    """

    hits: int
    misses: int
    clears: int
    alarms: int
    unread_opposite: int = 0
    unread_pole: int = 0

    @classmethod
    def of(cls, judged: Iterable[tuple[float, float | None]]) -> Confusion:
        """Count pairs of (truth, verdict): 1 pole, 0 opposite; a verdict .5 is "neither", and
        None or NaN unreadable. Raises ValueError for a truth that is neither 0 nor 1."""
        # Rows: truth opposite, truth pole. Columns: called opposite, anything else, unreadable.
        table = np.zeros((2, 3), dtype=int)
        for truth, verdict in judged:
            if truth not in (0, 1):
                raise ValueError(f"truth {truth!r}: a planted line is at the pole (1) or not (0)")
            unread = verdict is None or math.isnan(verdict)
            table[int(truth), 2 if unread else int(verdict != 0)] += 1
        (hits, misses, lost), (alarms, clears, gone) = table.tolist()
        return cls(hits, misses, clears, alarms, lost, gone)

    @property
    def opposite(self) -> int:
        """Lines at the opposite with a verdict that could be read."""
        return self.hits + self.misses

    @property
    def pole(self) -> int:
        """Lines at the pole with a verdict that could be read."""
        return self.clears + self.alarms

    @property
    def unread(self) -> float:
        """The share of verdicts that could not be read; NaN where nothing was planted."""
        lost = self.unread_opposite + self.unread_pole
        planted = self.opposite + self.pole + lost
        return lost / planted if planted else math.nan

    def sensitivity(self, level: float = LEVEL) -> Estimate:
        """P(called opposite | opposite), of verdicts that could be read."""
        return proportion(self.hits, self.opposite, level=level, unit="planted lines")

    def specificity(self, level: float = LEVEL) -> Estimate:
        """P(not called opposite | pole), of verdicts that could be read."""
        return proportion(self.clears, self.pole, level=level, unit="planted lines")

    def youden(self, level: float = LEVEL) -> Estimate:
        """J = Se + Sp − 1 with Newcombe's interval: 0 for a judge that guesses, 1 for a perfect
        one; what a difference between two conditions shrinks by when it is judged."""
        n = self.opposite + self.pole
        if not self.opposite or not self.pole:
            why = "nothing planted at the " + ("pole" if self.opposite else "opposite")
            return Estimate.unknown(why, n=n, unit="planted lines", level=level)
        # J is the difference of two proportions: called opposite, rightly and wrongly.
        low, high = confint_proportions_2indep(
            self.hits,
            self.opposite,
            self.alarms,
            self.pole,
            compare="diff",
            method="newcomb",
            alpha=1 - level,
        )
        value = self.hits / self.opposite + self.clears / self.pole - 1
        return Estimate(value, float(low), float(high), level, n, "planted lines")


@dataclass(frozen=True, slots=True)
class JudgeAbility:
    """Whether a judge can judge, and the reason."""

    able: bool
    reason: str
    youden: Estimate


def can_judge(
    confusion: Confusion, *, enough: float = _ENOUGH, unread: float = _UNREAD, level: float = LEVEL
) -> JudgeAbility:
    """Say whether the lower bound of J passes `enough` and at most `unread` went unread.

    A corrected rate has 1/J times the standard error of the observed one, and where J might be
    near 0 it is a ratio of noise: it is the bound that counts, not the estimate, so that a few
    planted lines which all went well are not enough either.
    """
    youden = confusion.youden(level)
    if math.isnan(youden.value):
        return JudgeAbility(False, youden.why, youden)
    at = f"Se + Sp − 1 is {youden.value:.2f} [{youden.low:.2f}, {youden.high:.2f}]"
    if confusion.unread > unread:
        lost = f"{confusion.unread:.1%} of the verdicts on planted lines could not be read"
        return JudgeAbility(False, f"{lost}, more than {unread:.0%}", youden)
    if not youden.low > enough:
        return JudgeAbility(False, f"{at}; its lower bound must pass {enough:g}", youden)
    return JudgeAbility(True, f"{at}; its lower bound passes {enough:g}", youden)


def rogan_gladen(
    called: Sequence[int],
    read: Sequence[int],
    confusion: Confusion,
    *,
    seed: int,
    draws: int = RESAMPLES,
    level: float = LEVEL,
    unit: str = "scenes",
) -> Estimate:
    """Correct the pooled rate of scenes: `called` opposite of `read` lines, one of each a scene.

    p = (p_obs + Sp − 1)/(Se + Sp − 1), clipped to [0, 1] (Rogan & Gladen 1978, Am J Epidemiol
    107:71-76). The interval carries three uncertainties: the observed rate is drawn from its
    studentised interval over whole scenes (`rate.rate_draws`), since lines of a scene are not
    independent; Se and Sp are each drawn from Beta(x + ½, n − x + ½). The halves (Jeffreys) keep
    a judge that erred on none of its planted lines from counting as one that never errs. Where no
    line (or every line) was called opposite, the rate is drawn as if each scene were one line.

    NaN with `why` where there is nothing to correct, or Se + Sp ≤ 1; the ends are NaN where the
    whole interval lies outside [0, 1], since the judge then erred otherwise here than on the
    planted lines.
    """
    table = np.stack([np.asarray(called, dtype=float), np.asarray(read, dtype=float)], axis=1)
    table = table[table[:, 1] > 0]
    n = len(table)
    if why := _cannot(confusion, n):
        return Estimate.unknown(why, n=n, unit=unit, level=level)
    whole = table.sum(axis=0)
    rate = float(whole[0] / whole[1])
    rng = np.random.default_rng([seed, 1])
    observed = rate_draws(table, draws, rng)
    corrected = _corrected(rate, observed, n, confusion, rng, level)
    return replace(corrected, unit=unit)


def _cannot(confusion: Confusion, n: int) -> str:
    youden = confusion.youden()
    if not n:
        return "nothing was judged"
    if math.isnan(youden.value):
        return youden.why
    if youden.value <= 0:
        return f"Se + Sp is {1 + youden.value:.2f}, not above 1: this judge cannot judge"
    return ""


def _corrected(
    rate: float,
    observed: Floats,
    n: int,
    confusion: Confusion,
    rng: np.random.Generator,
    level: float,
) -> Estimate:
    """Correct `rate` and the draws of it, which come from `n` resampled clusters."""
    draws = len(observed)
    se = rng.beta(confusion.hits + 0.5, confusion.misses + 0.5, size=draws)
    sp = rng.beta(confusion.clears + 0.5, confusion.alarms + 0.5, size=draws)
    judging = se + sp > 1
    # A judge that in this draw cannot judge leaves the rate undefined.
    values = np.full(draws, math.nan)
    values[judging] = (observed + sp - 1)[judging] / (se + sp - 1)[judging]
    # The draws have the tails of t already: nothing is left to expand.
    low, high = percentile_ends(values, n if n < 2 else _MANY, level)
    y = confusion.youden(level)
    false_alarms = confusion.alarms / confusion.pole
    value = min(max((rate - false_alarms) / y.value, 0.0), 1.0)
    why = ""
    if math.isnan(low):
        why = "no interval from one scene" if n == 1 else "Se + Sp may well be below 1"
    elif high < 0 or low > 1:
        # Clipped, it would be a point: the surest of intervals where the least is sure.
        much = "less" if high < 0 else "more"
        why = (
            f"called opposite {much} than this judge's errors allow: its calibration is not of here"
        )
        low = high = math.nan
    low, high = (min(max(end, 0.0), 1.0) if not why else math.nan for end in (low, high))
    return Estimate(value, low, high, level, n, "", why)


@dataclass(frozen=True, slots=True)
class ErrorDifference:
    """Whether a judge errs alike in all conditions: p by kind of error, Holm over both.

    `differs` names what does ("sensitivity", "specificity"). A difference makes an effect out of
    nothing: Sp .95 against .92 gives 31% false positives, so that conditions must then be
    corrected one by one. A p is NaN where fewer than two conditions have planted lines.
    """

    p_sensitivity: float
    p_specificity: float
    differs: tuple[str, ...]
    level: float


def compare_errors(
    confusions: Mapping[str, Confusion], *, seed: int, level: float = 0.05
) -> ErrorDifference:
    """Test that Se, and that Sp, is the same in every condition: exact, p adjusted by Holm.

    Two conditions: Fisher's test. More: Pearson's χ² against its exact distribution given the
    margins, by 9,999 random tables from `seed` (p is never below 1/10,000). No difference
    found is no proof that there is none: Sp .95 against .92 is found in 5, 25, 74 and 94% of
    studies of 100, 500, 1,000 and 2,000 lines planted at the pole in each of two conditions.
    """
    each = list(confusions.values())
    tables = {
        "sensitivity": [(c.hits, c.misses) for c in each if c.opposite],
        "specificity": [(c.clears, c.alarms) for c in each if c.pole],
    }
    raw = {name: _same(table, seed) for name, table in tables.items() if len(table) > 1}
    if not raw:
        return ErrorDifference(math.nan, math.nan, (), level)
    # Holm, by hand: statsmodels' multipletests collects garbage for 70 ms at each call.
    p: dict[str, float] = {}
    for left, name in zip(range(len(raw), 0, -1), sorted(raw, key=lambda k: raw[k]), strict=True):
        p[name] = min(1.0, max(left * raw[name], *p.values(), 0.0))
    unequal = tuple(name for name in raw if p[name] <= level)
    return ErrorDifference(
        p.get("sensitivity", math.nan), p.get("specificity", math.nan), unequal, level
    )


def _same(table: Sequence[tuple[int, int]], seed: int) -> float:
    """Return the p of one share for all rows of (right, wrong)."""
    if len(table) == 2:
        return float(stats.fisher_exact(table).pvalue)
    counts = np.array(table)
    rows = counts.sum(axis=1)
    right = int(counts[:, 0].sum())
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(rows, right, size=_TABLES)
    expected = rows * right / rows.sum()

    def distance(counts: npt.NDArray[np.int64]) -> Floats:
        # Given the margins, Pearson's χ² is a multiple of this.
        apart: Floats = ((counts - expected) ** 2 / rows).sum(axis=-1)
        return apart

    as_far = distance(drawn) >= distance(counts[:, 0]) * (1 - 1e-9)
    return float((1 + np.count_nonzero(as_far)) / (1 + _TABLES))


def agreement(
    ratings: Sequence[Sequence[Hashable | None]],
    *,
    seed: int,
    scenes: Sequence[Hashable] | None = None,
    draws: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Return Krippendorff's α (nominal) of raters who rated the same items, None where missing.

    `ratings` holds a sequence of equal length for each rater; `scenes`, if given, names the scene
    of each item, and whole scenes are resampled instead of items. Items with fewer than two
    ratings count for nothing. α is 1 for agreement throughout, 0 for chance; it is undefined, not
    1, where all ratings are the same value, since chance would then agree as well.
    """
    unit = "items" if scenes is None else "scenes"
    lengths = {len(r) for r in ratings} | ({len(scenes)} if scenes is not None else set())
    if len(lengths) > 1:
        raise ValueError(f"ratings of different lengths: {sorted(lengths)}")
    items = list(zip(*ratings, strict=True))
    # In order of appearance: values of unlike types have no other.
    values = dict.fromkeys(v for v in itertools.chain(*items) if _given(v))
    domain = {v: i for i, v in enumerate(values)}
    counts = np.zeros((len(items), len(domain)))
    for row, item in zip(counts, items, strict=True):
        for value in item:
            if _given(value):
                row[domain[value]] += 1
    kept = counts.sum(axis=1) > 1
    named = list(range(len(items)) if scenes is None else scenes)
    labels = [s for s, keep in zip(named, kept, strict=True) if keep]
    counts = counts[kept]
    n = len(set(labels))
    if not n:
        return Estimate.unknown("no item with two ratings", unit=unit, level=level)
    if np.count_nonzero(counts.sum(axis=0)) < 2:
        return Estimate.unknown("all ratings are the same value", n=n, unit=unit, level=level)
    value = float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    order = {s: i for i, s in enumerate(dict.fromkeys(labels))}
    sums = np.zeros((n, 1 + len(domain)))
    np.add.at(sums, [order[s] for s in labels], _disagreement(counts))
    [resampled] = bootstrap_sums(
        sums, _krippendorff, seed=seed, draws=draws, level=level, unit=unit
    )
    return Estimate(value, resampled.low, resampled.high, level, n, unit, resampled.why)


def _disagreement(counts: Floats) -> Floats:
    """Return, for each item, its observed disagreement and its ratings by value.

    Both sum over items: Krippendorff's coincidences o_vw are Σ n_v·n_w/(m − 1), v ≠ w.
    """
    m = counts.sum(axis=1)
    apart = (m**2 - (counts**2).sum(axis=1)) / (m - 1)
    return np.column_stack([apart, counts])


def _krippendorff(totals: Floats) -> Floats:
    apart, by_value = totals[:, 0], totals[:, 1:]
    n = by_value.sum(axis=1)
    by_chance = (n**2 - (by_value**2).sum(axis=1)) / (n - 1)
    alpha: Floats = 1 - apart / by_chance
    return alpha


def _given(value: Hashable | None) -> bool:
    return value is not None and value == value  # NaN is not itself
