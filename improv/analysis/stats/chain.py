"""Two states per trait: how often a character falls into its opposite, and how often it returns.

Each scene brings sequences, one for each character and trait, of what its lines showed: 1 the
pole, 0 the opposite, and anything else (.5, None, NaN) no evidence. Both transitions next to
a line without evidence are dropped; they are never bridged, since what the line was is unknown.
`fit_transitions` reads rates straight from the labels; for a judge that errs, use `absorption`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from improv.analysis.stats.interval import (
    LEVEL,
    Estimate,
    Floats,
    at_edge,
)
from improv.analysis.stats.rate import cluster_rate, logit_interval, ratio_of

OwnLines = Sequence[float | None]
Scenes = Sequence[Sequence[OwnLines]]
"""For each scene its sequences; for each sequence a value per own line, in the order of play."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Transitions from one own line to the next; 0 is the pole and 1 the opposite.

    The values have it the other way round (1 is the pole): here `n01` is pole to opposite.
    """

    n00: int = 0
    n01: int = 0
    n10: int = 0
    n11: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.n00 + other.n00, self.n01 + other.n01, self.n10 + other.n10, self.n11 + other.n11
        )

    @property
    def alpha(self) -> float:
        """n01/n0·, the share of lines at the pole that the opposite follows; NaN without any."""
        return _ratio(self.n01, self.n00 + self.n01)

    @property
    def beta(self) -> float:
        """n10/n1·, the share of lines at the opposite that the pole follows; NaN without any."""
        return _ratio(self.n10, self.n10 + self.n11)


@dataclass(frozen=True, slots=True)
class Chain:
    """A two-state chain pooled over scenes, with intervals whose units are whole scenes.

    `alpha` is P(pole → opposite), `beta` P(opposite → pole), `opposite_share` the stationary
    π = α/(α+β) (where a long scene would settle, which is not the share of lines in short ones)
    and `spell` the mean spell in the opposite, 1/β own lines. Where scenes differ, α and β are
    ratios of expected counts: scenes that stay longer in a state weigh more on leaving it.
    `n` of each estimate counts the scenes that had a transition out of the state in question.
    """

    alpha: Estimate
    beta: Estimate
    opposite_share: Estimate
    spell: Estimate
    counts: Counts
    scenes: int


def states(sequence: OwnLines) -> npt.NDArray[np.int8]:
    """Return 0 for the pole, 1 for the opposite and −1 for no evidence; shape (lines,)."""
    # A tenth of the time of a comprehension, and None becomes NaN by itself.
    return states_of(np.array(sequence, dtype=float))


def states_of(values: Floats) -> npt.NDArray[np.int8]:
    """Do what `states` does, of an array with NaN for what is missing."""
    return np.where(values == 1, 0, np.where(values == 0, 1, -1)).astype(np.int8)


def count_transitions(sequence: OwnLines) -> Counts:
    """Count the transitions of one sequence; those next to a line without evidence are dropped."""
    codes = states(sequence)
    pairs = 2 * codes[:-1] + codes[1:]
    known = (codes[:-1] >= 0) & (codes[1:] >= 0)
    n00, n01, n10, n11 = np.bincount(pairs[known], minlength=4).tolist()
    return Counts(n00, n01, n10, n11)


def scene_transitions(
    values: Floats, sequence: npt.NDArray[np.int64], scene: npt.NDArray[np.int64], scenes: int
) -> Floats:
    """Count n00, n01, n10, n11 of each of so many scenes: shape (scenes, 4).

    `values` are those of all lines in the order of play within each sequence, one sequence after
    the other; `sequence` and `scene` say whose each is.
    """
    codes = states_of(values)
    known = (codes[:-1] >= 0) & (codes[1:] >= 0) & (sequence[:-1] == sequence[1:])
    pairs = 2 * codes[:-1].astype(np.int64) + codes[1:] + 4 * scene[:-1]
    counts = np.bincount(pairs[known], minlength=4 * scenes)
    return np.asarray(counts.reshape(scenes, 4), dtype=np.float64)


def fit_transitions(table: Floats, *, level: float = LEVEL, unit: str = "scenes") -> Chain:
    """Estimate the chain of all scenes from their transitions: shape (scenes, 4).

    Transitions are pooled, and scenes are the clusters of the intervals (`rate.cluster_rate`). A
    share that is 0 or 1 in every scene has the bound of Clopper and Pearson with scenes as units.
    `spell` is infinite where nobody returned.
    """
    whole = Counts(*table.sum(axis=0).astype(int).tolist())
    falls = np.column_stack([table[:, 1], table[:, 0] + table[:, 1]])
    returns = np.column_stack([table[:, 2], table[:, 2] + table[:, 3]])
    alpha = cluster_rate(falls, trials=True, level=level, unit=unit)
    beta = cluster_rate(returns, trials=True, level=level, unit=unit)
    share = _opposite_share(falls, returns, level, unit)
    if not whole.n00 + whole.n01:
        alpha = replace(alpha, why="no transition from the pole was seen")
    if not whole.n10 + whole.n11:
        beta = replace(beta, why="no transition from the opposite was seen")
        share = replace(share, why=beta.why)
    return Chain(alpha, beta, share, _turned_over(beta), whole, len(table))


def _opposite_share(falls: Floats, returns: Floats, level: float, unit: str) -> Estimate:
    """Return π = α/(α+β), whose logit is ln α − ln β, by the delta method over scenes."""
    alpha, beta = ratio_of(falls), ratio_of(returns)
    n = min(alpha.clusters, beta.clusters)
    value = alpha.value / (alpha.value + beta.value) if alpha.value + beta.value else math.nan
    if math.isnan(value):
        why = "cannot be computed from these data"
        return Estimate.unknown(why, n=n, unit=unit, level=level)
    if value in (0.0, 1.0):
        return at_edge(Estimate(value, value, value, level, n, unit))
    if n < 2:
        return Estimate(
            value, math.nan, math.nan, level, n, unit, f"no interval from so few {unit}"
        )
    moved = alpha.influence / alpha.value - beta.influence / beta.value
    alone = (1 - alpha.value) / falls[:, 0].sum() + (1 - beta.value) / returns[:, 0].sum()
    variance = max(float((moved**2).sum()) * n / (n - 1), float(alone))
    return Estimate(value, *logit_interval(value, variance, n - 1, level), level, n, unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absorption:
    """Whether the opposite can be left at all, read through a judge of known errors.

    `alpha`, `beta` and `initial` (the share of first lines at the opposite) are the maximum
    likelihood of a hidden chain; `beta` has a profile-likelihood interval, so that "not rejected"
    comes with how much return is still possible. `statistic` is the likelihood ratio of β = 0
    and `p` its upper tail under ½χ²₀ + ½χ²₁; `loglik` and `loglik_absorbing` are those of the two
    models, in nats. `naive` is n10/n1· of the labels as they stand. `at_risk` is the expected
    number of lines at the opposite that another line follows: below one there is nothing to
    leave, and `beta` and `p` are NaN with `beta.why`.
    """

    sensitivity: float
    specificity: float
    initial: float
    alpha: float
    beta: Estimate
    statistic: float
    p: float
    loglik: float
    loglik_absorbing: float
    naive: float
    at_risk: float


def absorption(
    scenes: Scenes,
    *,
    sensitivity: Sequence[float],
    specificity: Sequence[float],
    level: float = LEVEL,
) -> list[Absorption]:
    """Test β = 0 by a hidden Markov chain whose emissions are fixed at the judge's Se and Sp.

    A judge that errs makes returns out of nothing: with Se .9 and Sp .95 a chain that never leaves
    the opposite shows a naive β̂ of .13. Here the opposite is called so with probability Se and the
    pole with Sp, and (initial, α, β) maximise the likelihood of all sequences; β = 0 lies on the
    boundary, hence the mixture of χ² (Self & Liang 1987, JASA 82:605-610). Lines without evidence
    have emission 1: the hidden chain goes on beneath them, as `count_transitions` cannot.

    One result for each pair of `sensitivity` × `specificity`, since Se is never known exactly:
    report all of them, and the conclusion that holds at the `worst`. The grid must go down to the
    lower bound of the calibrated Se: misses that it takes for returns are what the test is about,
    and with Se .95 for a true .9 it rejects a true β = 0 in 28% of studies (100 scenes of 20 lines;
    with .9, or .85, in at most 1%), although scenes may differ in α. So must that of Sp: with both
    from 60 planted lines of each truth a grid of Se alone rejects a true β = 0 in about 8% of
    studies, and with the lower bound of Sp in it in none of 60. Sequences are taken to be
    independent and alike, and `beta.n` counts them; where a scene brings several (characters,
    traits), p and the interval are too sure of themselves by as much as these move together.
    """
    each = [states(s) for scene in scenes for s in scene]
    each = [s for s in each if (s >= 0).any()]
    naive = sum((count_transitions(s) for scene in scenes for s in scene), Counts()).beta
    return [_absorption(each, se, sp, naive, level) for se in sensitivity for sp in specificity]


def least_certain(results: Sequence[Absorption]) -> Absorption | None:
    """Return the result with the largest p of a grid of judges: the most cautious one.

    None where no result has a p.
    """
    return max((a for a in results if not math.isnan(a.p)), key=lambda a: a.p, default=None)


def _turned_over(beta: Estimate) -> Estimate:
    """Return 1/β: its interval is that of β turned over."""
    value, low, high = (math.inf if x == 0 else 1 / x for x in (beta.value, beta.high, beta.low))
    return replace(beta, value=value, low=low, high=high)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


_BOUND = 16.0
"""Logits go no further: 10⁻⁷ is as good as 0 for any number of lines that was ever judged."""
_SURE = 1e-9
"""Minimum error of a judge; with error 0 a single odd label would be impossible."""
_STARTS = (0.02, 0.15, 0.5)
"""Where the search for β begins. α and the initial share are found from wherever it is."""


def _absorption(
    each: list[npt.NDArray[np.int8]], se: float, sp: float, naive: float, level: float
) -> Absorption:
    n = len(each)

    def unknown(why: str, at_risk: float = math.nan) -> Absorption:
        beta = Estimate.unknown(why, n=n, unit="sequences", level=level)
        nan = math.nan
        return Absorption(
            sensitivity=se,
            specificity=sp,
            initial=nan,
            alpha=nan,
            beta=beta,
            statistic=nan,
            p=nan,
            loglik=nan,
            loglik_absorbing=nan,
            naive=naive,
            at_risk=at_risk,
        )

    if not each:
        return unknown("no line with evidence")
    if not 0 <= se <= 1 or not 0 <= sp <= 1 or se + sp <= 1:
        return unknown(f"a judge of sensitivity {se:g} and specificity {sp:g} tells nothing")
    hidden = _Hidden.of(each, se, sp)
    null = max((hidden.climb((-2, a), 0.0) for a in (-3.0, -1.0)), key=lambda f: f.loglik)
    free = [hidden.climb((*null.logits, special.logit(b))) for b in _STARTS]
    # The null model is the edge of the free one, so that it may be the best of it.
    best = max([*free, null], key=lambda f: f.loglik)
    initial, alpha = (float(p) for p in special.expit(best.logits[:2]))
    *_, at_risk = hidden.score(initial, alpha, best.beta)
    if at_risk < 1:
        return unknown("no line at the opposite that another line follows", at_risk)
    statistic = 2 * (best.loglik - null.loglik)
    p = float(special.chdtrc(1, statistic)) / 2 if statistic > 0 else 1.0
    low, high = hidden.profile(best, statistic, level)
    beta = Estimate(best.beta, low, high, level, n, "sequences")
    return Absorption(
        sensitivity=se,
        specificity=sp,
        initial=initial,
        alpha=alpha,
        beta=beta,
        statistic=statistic,
        p=p,
        loglik=best.loglik,
        loglik_absorbing=null.loglik,
        naive=naive,
        at_risk=at_risk,
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    logits: tuple[float, ...]
    """Of the initial share and of α."""
    beta: float
    loglik: float


@dataclass(frozen=True, slots=True)
class _Hidden:
    """The emissions of all distinct sequences, padded: shapes (lines, sequences)."""

    pole: Floats
    opposite: Floats
    weights: Floats
    """How many sequences are like this one: shape (sequences,)."""
    followed: Floats
    """The weight where another line follows, 0 where none does: shape (lines − 1, sequences)."""

    @classmethod
    def of(cls, each: list[npt.NDArray[np.int8]], se: float, sp: float) -> _Hidden:
        se, sp = (min(max(x, _SURE), 1 - _SURE) for x in (se, sp))
        longest = max(map(len, each))
        # −1 is no evidence and −2 no line; neither has anything to say of the state.
        rows = np.full((len(each), longest), -2, dtype=np.int8)
        for row, codes in zip(rows, each, strict=True):
            row[: len(codes)] = codes
        rows, times = np.unique(rows, axis=0, return_counts=True)
        seen = np.ascontiguousarray(rows.T)
        labels = [seen == 0, seen == 1]
        return cls(
            np.select(labels, [sp, 1 - sp], 1.0),
            np.select(labels, [1 - se, se], 1.0),
            times.astype(float),
            (seen[1:] > -2) * times.astype(float),
        )

    def score(
        self, initial: float, alpha: float, beta: float
    ) -> tuple[float, tuple[float, float, float], float]:
        """Return the log likelihood, its slope by the logits of the three parameters, and E[n1·].

        One pass forward and one back; the slope is the expected score of the complete data
        (Fisher's identity): for α, E[n01] − α·E[n0·], and so on.
        """
        lines = len(self.pole)
        ahead = np.empty_like(self.pole)  # P(opposite | labels up to and with this line)
        norm = np.empty_like(self.pole)
        before: float | Floats = initial
        for t in range(lines):
            at_opposite = before * self.opposite[t]
            norm[t] = at_opposite + (1 - before) * self.pole[t]
            ahead[t] = at_opposite / norm[t]
            before = alpha + (1 - alpha - beta) * ahead[t]
        loglik = float(np.log(norm).sum(axis=0) @ self.weights)
        later0 = later1 = np.ones_like(self.weights)
        n01 = n0 = n10 = n1 = 0.0
        for t in range(lines - 2, -1, -1):
            e0 = self.pole[t + 1] * later0 / norm[t + 1]
            e1 = self.opposite[t + 1] * later1 / norm[t + 1]
            later0 = e0 + alpha * (e1 - e0)
            later1 = e1 + beta * (e0 - e1)
            down = self.followed[t] * ahead[t]
            up = self.followed[t] - down
            n01 += alpha * float(up @ e1)
            n0 += float(up @ later0)
            n10 += beta * float(down @ e0)
            n1 += float(down @ later1)
        first = float(self.weights @ (ahead[0] * later1)) - initial * float(self.weights.sum())
        return loglik, (first, n01 - alpha * n0, n10 - beta * n1), n1

    def climb(self, start: Sequence[float], beta: float | None = None) -> _Fit:
        """Find the maximum from `start`, logits of (initial, α) and of β unless it is given."""

        def down(logits: Floats) -> tuple[float, Floats]:
            initial, alpha, *last = (float(p) for p in special.expit(logits))
            loglik, slope, _ = self.score(initial, alpha, last[0] if last else beta or 0.0)
            return -loglik / n, -np.array(slope[: len(logits)]) / n

        # A mean over sequences keeps first steps short of the bounds, and from there a logit has
        # no slope to come back by. L-BFGS-B finds the same top, but spends ten times as long in
        # BLAS threads that wait for each other.
        n = float(self.weights.sum())
        inside = np.clip(start, -_BOUND / 2, _BOUND / 2)
        bounds = [(-_BOUND, _BOUND)] * len(inside)
        optimum = optimize.minimize(
            down, inside, jac=True, method="SLSQP", bounds=bounds, options={"ftol": 1e-10}
        )
        logits = tuple(float(x) for x in optimum.x)
        last = float(special.expit(logits[2])) if beta is None else beta
        return _Fit(logits[:2], last, -float(optimum.fun) * n)

    def profile(self, best: _Fit, statistic: float, level: float) -> tuple[float, float]:
        """Return the β at which twice the log likelihood has fallen by the quantile of χ²₁."""
        most = float(special.chdtri(1, 1 - level))
        middle = float(np.clip(special.logit(best.beta), -_BOUND, _BOUND))

        def end(direction: int) -> float:
            near = best

            def above(logit: float) -> float:
                nonlocal near
                near = self.climb(near.logits, float(special.expit(logit)))
                return 2 * (best.loglik - near.loglik) - most

            inner, outer, step = middle, float(np.clip(middle + direction, -_BOUND, _BOUND)), 2
            while above(outer) < 0:
                if abs(outer) == _BOUND:
                    return (direction + 1) / 2
                step *= 2
                inner, outer = outer, float(np.clip(outer + direction * step, -_BOUND, _BOUND))
            root = optimize.brentq(above, *sorted((inner, outer)), xtol=1e-2, rtol=1e-3)
            return float(special.expit(root))

        return (end(-1) if statistic > most else 0.0), end(1)
