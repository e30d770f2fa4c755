"""The null model: everybody speaks when they did, and the lines exchange their addressees.

Who speaks at a turn is fixed by a scene's order of speaking, not by what was said, so it is kept.
Pairs of lines of a scene exchange their addressees, unless somebody would speak to themselves:
everybody addresses others, and is addressed, as often as before (after Maslov and Sneppen 2002,
Science 296:910-913). Two kinds of lines keep their addressee, since the order fixes
it: those whose addressee is a guess from the order of turns, and, in a scene where the character
that was spoken to speaks next, those whose addressee did. Written lines and the author's acts keep
their places. So a figure that differs from the null model does so by who speaks to whom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from improv.analysis.stats.interval import LEVEL, Estimate, Floats
from improv.graph.arrow_columns import Bools, Wide
from improv.graph.conversation import ORDER, Conversation
from improv.graph.metrics import UNSHUFFLED_FIGURES, figures
from improv.records import seed_of

NULL_DRAWS = 200
"""Number of null models drawn for a figure."""
MAX_SHUFFLED_SCENES = 1500
"""Maximum scenes that are shuffled; from more, a sample is drawn and compared with itself."""
_LINE_DRAWS = 3_000_000
"""Maximum lines times draws: with many scenes, fewer null models are as precise."""
_FEWEST_DRAWS = 20
LINES_AT_ONCE = 60_000
"""Lines that are shuffled at once. Null models of few scenes are drawn many together, since numpy's
cost per call is the same for small arrays."""
_EXCHANGE_ROUNDS = 6
"""How often each line may exchange its addressee."""


@dataclass(frozen=True, slots=True)
class NullComparison:
    """A figure beside the null model.

    `value` is the figure's mean over scenes, with Student's interval. `null` is the mean of the
    null model, and 95% of its draws are between `low` and `high`. `p` is two-sided: twice the
    share of draws beyond the figure on the side with fewer draws, and never 0. All are NaN if the
    figure is unknown. A figure that the null model cannot change is `fixed` and has p = 1.
    """

    value: Estimate
    null: float
    low: float
    high: float
    p: float
    draws: int
    fixed: bool = False


def shuffle(talk: Conversation, seed: int) -> Conversation:
    """Return a conversation of the same scenes, lines and speakers with exchanged addressees."""
    return _shuffle_copies(talk, [np.random.default_rng(seed)])


def _shuffle_copies(talk: Conversation, chances: Sequence[np.random.Generator]) -> Conversation:
    """Return one conversation that holds a shuffled copy of all scenes for each generator, in the
    order of `chances`."""
    talk = talk.repeated(len(chances))
    lines = talk.lines
    who, to, by = lines.who, lines.to.copy(), lines.by.copy()
    free = np.flatnonzero((lines.turn > 0) & lines.spoken & ~_fixed_by_order(talk))
    scene: Wide = lines.scene[free].astype(np.int64)
    for _ in range(_EXCHANGE_ROUNDS):
        one, other = _pairs(free, scene, _random(chances, len(free)))
        swap = (who[one] != to[other]) & (who[other] != to[one])
        one, other = one[swap], other[swap]
        for column in (to, by):
            column[one], column[other] = column[other], column[one]
    return replace(talk, lines=replace(lines, to=to, by=by))


def _fixed_by_order(talk: Conversation) -> Bools:
    """Return which lines have the addressee that the order of speaking gives them."""
    lines = talk.lines
    speaks_next = np.zeros(len(lines), dtype=np.bool_)
    same_scene = lines.scene[1:] == lines.scene[:-1]
    speaks_next[:-1] = same_scene & (lines.to[:-1] >= 0) & (lines.who[1:] == lines.to[:-1])
    by_rule: Bools = talk.addressee_is_next[lines.scene] & speaks_next
    fixed: Bools = (lines.by == ORDER) | by_rule
    return fixed


def _random(chances: Sequence[np.random.Generator], size: int) -> Floats:
    """Return `size` numbers from 0 to 1, an equal share from each generator."""
    return np.concatenate([chance.random(size // len(chances)) for chance in chances])


def sample_scenes(talk: Conversation, seed: int, most: int = MAX_SHUFFLED_SCENES) -> Conversation:
    """Return at most `most` scenes of a conversation, drawn at random."""
    if talk.scenes <= most:
        return talk
    chance = np.random.default_rng(seed_of("scenes", seed))
    keep = np.zeros(talk.scenes, dtype=np.bool_)
    keep[chance.choice(talk.scenes, most, replace=False)] = True
    return talk.subset(keep)


def number_of_draws(talk: Conversation, draws: int = NULL_DRAWS) -> int:
    """Return the number of null models to draw for a conversation of this size."""
    return max(min(draws, _LINE_DRAWS // max(len(talk.lines), 1)), min(_FEWEST_DRAWS, draws))


def compare_with_null(
    talk: Conversation,
    *,
    seed: int,
    first: int = 1,
    last: int | None = None,
    draws: int = NULL_DRAWS,
    most: int = MAX_SHUFFLED_SCENES,
) -> dict[str, NullComparison]:
    """Return every figure of a conversation beside the null model.

    If there are more than `most` scenes, a sample of them is shuffled.
    """
    seen = figures(talk, first=first, last=last)
    some = sample_scenes(talk, seed, most)
    draws = number_of_draws(some, draws)
    sampled = seen if some is talk else figures(some, first=first, last=last)
    null: dict[str, list[Floats]] = {name: [] for name in seen}
    chances = [np.random.default_rng(seed_of("null", seed, i)) for i in range(draws)]
    batch = max(1, LINES_AT_ONCE // max(len(some.lines), 1))
    for begin in range(0, draws, batch):
        part = chances[begin : begin + batch]
        drawn = figures(_shuffle_copies(some, part), first=first, last=last)
        for name, values in drawn.items():
            null[name].append(_means(values.reshape(len(part), -1)))
    return {
        name: _compare_figure(
            values,
            float(_means(sampled[name])),
            np.concatenate(null[name]),
            name in UNSHUFFLED_FIGURES,
        )
        for name, values in seen.items()
    }


def mean_estimate(values: Floats, unit: str = "scenes") -> Estimate:
    """Return the mean of the finite values, with Student's interval."""
    known = values[np.isfinite(values)]
    n = len(known)
    if not n:
        return Estimate.unknown("no scene has it", unit=unit)
    value = float(known.mean())
    if n < 2 or np.ptp(known) <= 1e-12:
        why = "one scene" if n < 2 else "all alike"
        return Estimate(value, math.nan, math.nan, LEVEL, n, unit, why)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * known.std(ddof=1) / math.sqrt(n))
    return Estimate(value, value - half, value + half, LEVEL, n, unit)


def _compare_figure(values: Floats, seen: float, null: Floats, fixed: bool) -> NullComparison:
    """Compare a figure with its null model. `values` are those of all scenes; `seen` is the mean of
    the scenes that were shuffled, and `null` (draws,) holds their null means. The difference
    between `seen` and the null model is taken to hold for all scenes."""
    value = mean_estimate(values)
    null = null[np.isfinite(null)]
    if math.isnan(value.value) or math.isnan(seen) or not len(null):
        return NullComparison(value, math.nan, math.nan, math.nan, math.nan, len(null), fixed)
    if fixed:
        return NullComparison(value, value.value, value.value, value.value, 1.0, len(null), True)
    middle = float(null.mean())
    around = null - middle
    tail = min(int(np.sum(null <= seen + 1e-12)), int(np.sum(null >= seen - 1e-12)))
    p = min(1.0, 2 * (1 + tail) / (1 + len(null)))
    middle += value.value - seen
    low, high = (middle + float(q) for q in np.quantile(around, (0.025, 0.975)))
    return NullComparison(value, middle, low, high, p, len(null))


def _means(values: Floats) -> Floats:
    """Return the mean of the finite values along the last axis, NaN if there are none."""
    known = np.isfinite(values)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    count = known.sum(axis=-1)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _pairs(rows: Wide, scene: Wide, random: Floats) -> tuple[Wide, Wide]:
    """Return random pairs of rows of the same scene; each row is in one pair at most."""
    order = rows[np.argsort(scene + random)]
    if not len(order):
        return order, order
    begins = np.flatnonzero(np.append(True, scene[1:] != scene[:-1]))
    rank = np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))
    even = np.flatnonzero((rank[:-1] % 2 == 0) & (scene[1:] == scene[:-1]))
    return order[even], order[even + 1]
