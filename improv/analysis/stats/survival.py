"""Time to the first break: how long scenes last unbroken, and what shortens that.

Time is counted in turns, so that ties are normal and hazards discrete. A scene that never broke
is censored at its end: it lasted at least so long. The caller decides what counts as a break, and
compares `restricted_times` within blocks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats
from statsmodels.genmod import families
from statsmodels.genmod.generalized_linear_model import GLM

from improv.analysis.stats.interval import (
    LEVEL,
    Estimate,
    Floats,
    proportion,
)


@dataclass(frozen=True, slots=True)
class Spell:
    """How long one scene lasted: until the turn of its first break, or its last turn.

    With `event` false it never broke, and was seen unbroken at `turn` as well.
    """

    condition: str
    block: str
    turn: int
    event: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The share of scenes unbroken after `turn`; of `at_risk` before it `events` broke at it."""

    turn: int
    at_risk: int
    events: int
    survival: Estimate


@dataclass(frozen=True, slots=True)
class Hazard:
    """How a condition changes the risk of breaking at a turn: a log hazard ratio, and its p."""

    condition: str
    ratio: Estimate
    p: float


def restricted_times(
    spells: Sequence[Spell], a: str, b: str, *, horizon: int | None = None
) -> tuple[dict[str, dict[str, float]], int]:
    """Return condition → block → how many turns its scene lasted, up to a horizon, and the horizon.

    The mean of a condition is its restricted mean survival time, the area under the Kaplan–Meier
    curve up to the horizon (Royston & Parmar 2013); it needs no proportional hazards. A scene that
    was not followed to its end or to the horizon has its pseudo-value: n times the restricted mean
    of all scenes minus n − 1 times that of the others (Andersen, Hansen & Klein 2004, Lifetime Data
    Anal 10:335-350). Where every scene was followed, that is its own time. So blocks keep their
    pairs, and a contrast of these numbers tests the difference that it prints.

    The horizon is at most, and by default, the last turn to which both curves are known; it is 0,
    and no block has a number, where a condition has no scene or nobody was followed to turn 1.
    """
    arms = {name: [s for s in spells if s.condition == name] for name in (a, b)}
    if not all(arms.values()):
        return {a: {}, b: {}}, 0
    known = [_followed(own) for own in arms.values()]
    wanted = max(s.turn for s in spells) if horizon is None else horizon
    end = int(max(0, min(wanted, *known)))
    return {name: _pseudo_values(own, end) if end else {} for name, own in arms.items()}, end


def _pseudo_values(spells: Sequence[Spell], end: int) -> dict[str, float]:
    """Return block → mean pseudo-value of its scenes, for the restricted mean up to `end`."""
    turn = np.array([s.turn for s in spells])
    event = np.array([s.event for s in spells])
    n, turns = len(spells), np.arange(end)
    broke = np.bincount(turn[event], minlength=end)[:end].astype(np.float64)
    at_risk = (turn[:, None] >= turns).sum(axis=0).astype(np.float64)
    area = _area(at_risk, broke)
    # Scenes of one turn and one end are alike, and there are few such kinds.
    kinds, which = np.unique(np.stack([turn, event], axis=1), axis=0, return_inverse=True)
    values = np.empty(len(kinds))
    for i, (last, ended) in enumerate(kinds.tolist()):
        others = _area(at_risk - (turns <= last), broke - ((turns == last) & bool(ended)))
        values[i] = n * area - (n - 1) * others if n > 1 else area
    blocks: dict[str, list[float]] = {}
    for spell, kind in zip(spells, which.ravel().tolist(), strict=True):
        blocks.setdefault(spell.block, []).append(float(values[kind]))
    return {block: sum(own) / len(own) for block, own in blocks.items()}


def _area(at_risk: Floats, broke: Floats) -> float:
    # Where nobody is left the curve stays where it was.
    return float(np.cumprod(1 - broke / np.maximum(at_risk, 1)).sum())


def hazard_ratios(spells: Sequence[Spell], reference: str, *, level: float = LEVEL) -> list[Hazard]:
    """Return each other condition's log hazard ratio against `reference`, in order of names.

    A binomial GLM of "breaks at this turn" on a dummy for every turn and one for every condition
    with the complementary log-log link: proportional hazards in grouped time, whose coefficients
    are those of a continuous Cox model (Prentice & Gloeckler 1978), so that ties need no
    treatment. Errors are clustered by block, with t on blocks − 1 degrees of freedom.

    Turns at which none or all of those at risk broke say nothing of conditions and are left out.
    Where an effect has no finite estimate (a condition never breaks, or only ever in turns of its
    own) it is NaN, with the reason.
    """
    others = sorted({s.condition for s in spells} - {reference})
    blocks, counts = _counted(spells, (reference, *others))
    total = counts.sum(axis=0)
    n, why = len(blocks), ""
    if n < 3:
        why = "fewer than three blocks"
    elif not total[0, 0].any():
        why = f"no scene of {reference}"
    known = [] if why else [i for i in range(1, len(total)) if _finite(total[[0, i]])]
    fitted = _fit(counts[:, [0, *known]]) if known else []
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) if n > 1 else math.nan
    hazards = []
    for i, condition in enumerate(others, start=1):
        value, error = fitted[known.index(i)] if i in known and fitted else (math.nan, math.nan)
        if 0 < error < math.inf:
            ends = value - half * error, value + half * error
            p = 2 * float(stats.t.sf(abs(value) / error, n - 1))
            hazards.append(Hazard(condition, Estimate(value, *ends, level, n, "blocks"), p))
            continue
        reason = why or "no finite estimate: it never breaks, or only where the other cannot"
        reason = "the fit did not converge" if i in known else reason
        unknown = Estimate.unknown(reason, n=n, unit="blocks", level=level)
        hazards.append(Hazard(condition, unknown, math.nan))
    return hazards


def _counted(spells: Iterable[Spell], conditions: Sequence[str]) -> tuple[list[str], Floats]:
    """Return the blocks and, for each, how many scenes were at risk at each turn, and broke at it.

    Shape (blocks, conditions, 2, turns from 0).
    """
    mine = [s for s in spells if s.condition in conditions]
    blocks = sorted({s.block for s in mine})
    rows = {block: i for i, block in enumerate(blocks)}
    columns = {condition: i for i, condition in enumerate(conditions)}
    last = max((s.turn for s in mine), default=0)
    counts = np.zeros((len(blocks), len(conditions), 2, last + 1))
    for s in mine:
        cell = counts[rows[s.block], columns[s.condition]]
        cell[0, : s.turn + 1] += 1
        cell[1, s.turn] += s.event
    return blocks, counts


def _followed(spells: Sequence[Spell]) -> float:
    """Return the last turn to which their curve is known: for ever, where all have broken."""
    last = max(s.turn for s in spells)
    return math.inf if all(s.event for s in spells if s.turn == last) else last


def survival_curve(
    turns: npt.NDArray[np.int64], broke: npt.NDArray[np.bool_], *, level: float = LEVEL
) -> list[Step]:
    """Return a Kaplan–Meier curve, a step for every turn from 0 to the last, of the turn to which
    each scene was seen and whether it broke there.

    Intervals are pointwise, log-log with Greenwood's variance (Kalbfleisch & Prentice 1980).
    While nothing has broken that variance is 0, and the Clopper–Pearson bound for "none of those
    still at risk" is given; where everything has, the upper end stays what it was.
    """
    n, last = len(turns), int(turns.max())
    ended = np.bincount(turns, minlength=last + 1)
    broken = np.bincount(turns[broke], minlength=last + 1)
    at_risk = n - np.concatenate([[0], np.cumsum(ended)[:-1]])
    z = float(stats.norm.ppf((1 + level) / 2))
    share, variance, high, steps = 1.0, 0.0, 1.0, []
    for turn, (risk, events) in enumerate(zip(at_risk.tolist(), broken.tolist(), strict=True)):
        share *= 1 - events / risk
        if events < risk:
            variance += events / (risk * (risk - events))
        if share == 1.0:
            low, high = proportion(risk, risk, level=level).low, 1.0
        elif share == 0.0:
            bound = proportion(0, events, level=level).high
            low, high = 0.0, high if high < 1 else bound
        else:
            spread = z * math.sqrt(variance) / math.log(share)  # negative: log(share) is
            low, high = share ** math.exp(-spread), share ** math.exp(spread)
        steps.append(Step(turn, risk, events, Estimate(share, low, high, level, n, "scenes")))
    return steps


def _cells(total: Floats) -> tuple[Floats, Floats, Floats]:
    """Return at risk, broken and the design (a dummy a turn and a condition but the first).

    `total` has shape (conditions, 2, turns). A cell is a condition at a turn; turns at which none
    or all broke are left out, and what is left is in the order of `_used`.
    """
    used = _used(total)
    conditions, _, turns = total.shape
    condition, turn = np.divmod(np.arange(conditions * turns)[used], turns)
    dummies = [turn == t for t in np.unique(turn)] + [condition == c for c in range(1, conditions)]
    risk, broken = total[:, 0].ravel()[used], total[:, 1].ravel()[used]
    return risk, broken, np.column_stack(dummies).astype(np.float64)


def _used(total: Floats) -> npt.NDArray[np.bool_]:
    risk, broken = total.sum(axis=0)
    mixed = (broken > 0) & (broken < risk)
    return np.asarray((total[:, 0] > 0) & mixed).ravel()


def _finite(total: Floats) -> bool:
    """Whether the effect of the second of two conditions has a finite estimate.

    It has none just where some direction of the parameters separates breaks from the rest
    (Albert & Anderson 1984) and moves the effect; a linear program looks for one (Konis 2007).
    """
    if not _used(total).any():
        return False
    risk, broken, design = _cells(total)
    if not 0 < design[:, -1].mean() < 1:
        return False
    apart = np.vstack([design[broken > 0], -design[broken < risk]])
    for sign in (1.0, -1.0):
        cost = np.zeros(design.shape[1])
        cost[-1] = sign
        best = optimize.linprog(
            cost, A_ub=-apart, b_ub=np.zeros(len(apart)), bounds=(-1, 1), method="highs"
        )
        if best.status != 0 or best.fun < -1e-7:
            return False
    return True


def _fit(counts: Floats) -> list[tuple[float, float]]:
    """Return each condition's coefficient and its error, or nothing where the fit fails.

    The fit is of cells, which is that of scenes and turns; the error is the sandwich over blocks,
    Σ over cells of X (D − N μ) μ'/(μ (1 − μ)) for each, with the usual correction for few.
    """
    total = counts.sum(axis=0)
    risk, broken, design = _cells(total)
    link = families.links.CLogLog()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the verdict is `converged`, and a reason is given
        y = np.column_stack([broken, risk - broken])
        fit = GLM(y, design, family=families.Binomial(link=link)).fit()
    if not fit.converged:
        return []
    mean = np.asarray(fit.mu)
    steep = 1 / link.deriv(mean)
    weight = steep / (mean * (1 - mean))
    used = _used(total)
    at_risk, breaks = (counts[:, :, k].reshape(len(counts), -1)[:, used] for k in (0, 1))
    scores = ((breaks - at_risk * mean) * weight) @ design
    bread = np.linalg.pinv((design * (risk * weight * steep)[:, None]).T @ design)
    blocks, rows, columns = len(counts), risk.sum(), design.shape[1]
    few = blocks / (blocks - 1) * (rows - 1) / max(1.0, rows - columns)
    errors = np.sqrt(few * np.diag(bread @ scores.T @ scores @ bread))
    first = columns - (counts.shape[1] - 1)
    return [(float(fit.params[i]), float(errors[i])) for i in range(first, columns)]
