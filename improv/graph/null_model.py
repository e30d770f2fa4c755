"""The null model: the same people say as much as they do, in an order that means nothing.

Within each scene the improvised lines are shuffled whole, so that everybody speaks as often as
before. Then pairs of lines exchange whom they speak to wherever nobody would speak to himself, so
that everybody speaks to somebody, and is spoken to, as often as before (after Maslov and Sneppen
2002, Science 296:910-913). What is written, and when the author acts, stays where it is. Who was on
the stage when is not minded: a late entrance makes a scene look less random than it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from improv.analysis.stats.interval import LEVEL, Estimate, Floats
from improv.graph.arrow_columns import Wide
from improv.graph.conversation import Conversation
from improv.graph.metrics import UNSHUFFLED_FIGURES, figures
from improv.records import seed_of

NULL_DRAWS = 200
"""Null models drawn beside a figure."""
MAX_SHUFFLED_SCENES = 1500
"""The most scenes that are shuffled; of more a sample is taken, and compared with itself."""
_LINE_DRAWS = 3_000_000
"""Lines times draws: of many scenes fewer null models say as much."""
_FEWEST_DRAWS = 20
LINES_AT_ONCE = 60_000
"""Lines that are shuffled at once: null models of few scenes are drawn many together, since numpy
asks as much for each small array as for a larger one."""
_EXCHANGE_ROUNDS = 6
"""How often every line may exchange whom it speaks to."""


@dataclass(frozen=True, slots=True)
class NullComparison:
    """A figure with what the null model makes of it.

    `value` is its mean over scenes, with Student's interval; `null` the null model's mean, `low`
    and `high` where 95% of its draws lie, and `p` twice the share of draws beyond the figure,
    on the side where they are fewer, which is never 0. All NaN where the figure is unknown; a
    figure that no shuffling changes has p 1 and is `fixed`.
    """

    value: Estimate
    null: float
    low: float
    high: float
    p: float
    draws: int
    fixed: bool = False


def shuffle(talk: Conversation, seed: int) -> Conversation:
    """Return a talk of the same scenes, lines and speakers in an order that means nothing."""
    return _shuffle_copies(talk, [np.random.default_rng(seed)])


def _shuffle_copies(talk: Conversation, chances: Sequence[np.random.Generator]) -> Conversation:
    """Return the talk as many times over as there are sources of chance, in one: its scenes as the
    first shuffles them, then as the second, and so on."""
    talk = talk.repeated(len(chances))
    lines = talk.lines
    rows = np.flatnonzero(lines.turn > 0)
    scene = lines.scene[rows]
    # Scenes follow one another in rows, so that one sort shuffles each within itself.
    new = rows[np.argsort(scene + _random(chances, len(rows)))]
    who, to, by, words, spoken = (
        getattr(lines, name).copy() for name in ("who", "to", "by", "words", "spoken")
    )
    for column in (who, to, by, words, spoken):
        column[rows] = column[new]
    said = rows[spoken[rows]]
    for _ in range(_EXCHANGE_ROUNDS):
        one, other = _pairs(said, lines.scene[said], _random(chances, len(said)))
        swap = (who[one] != to[other]) & (who[other] != to[one])
        one, other = one[swap], other[swap]
        for column in (to, by):
            column[one], column[other] = column[other], column[one]
    place = np.arange(len(lines))
    place[new] = rows
    mentions = talk.mentions.copy()
    mentions[:, 0] = place[mentions[:, 0]]
    moved = replace(lines, who=who, to=to, by=by, words=words, spoken=spoken)
    return replace(talk, lines=moved, mentions=mentions)


def _random(chances: Sequence[np.random.Generator], size: int) -> Floats:
    """Return numbers from 0 to 1, of each source of chance as many as of the others."""
    return np.concatenate([chance.random(size // len(chances)) for chance in chances])


def sample_scenes(talk: Conversation, seed: int, most: int = MAX_SHUFFLED_SCENES) -> Conversation:
    """Return at most so many scenes of a talk, drawn by chance."""
    if talk.scenes <= most:
        return talk
    chance = np.random.default_rng(seed_of("scenes", seed))
    keep = np.zeros(talk.scenes, dtype=np.bool_)
    keep[chance.choice(talk.scenes, most, replace=False)] = True
    return talk.subset(keep)


def number_of_draws(talk: Conversation, draws: int = NULL_DRAWS) -> int:
    """Return how many null models to draw of a talk of this size."""
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
    """Return every figure of a talk's scenes, each with its null model beside it.

    Of more than `most` scenes a sample is shuffled.
    """
    seen = figures(talk, first=first, last=last)
    some = sample_scenes(talk, seed, most)
    draws = number_of_draws(some, draws)
    there = seen if some is talk else figures(some, first=first, last=last)
    null: dict[str, list[Floats]] = {name: [] for name in seen}
    chances = [np.random.default_rng(seed_of("null", seed, i)) for i in range(draws)]
    lot = max(1, LINES_AT_ONCE // max(len(some.lines), 1))
    for begin in range(0, draws, lot):
        part = chances[begin : begin + lot]
        drawn = figures(_shuffle_copies(some, part), first=first, last=last)
        for name, values in drawn.items():
            null[name].append(_means(values.reshape(len(part), -1)))
    return {
        name: _compare_figure(
            values,
            float(_means(there[name])),
            np.concatenate(null[name]),
            name in UNSHUFFLED_FIGURES,
        )
        for name, values in seen.items()
    }


def mean_estimate(values: Floats, unit: str = "scenes") -> Estimate:
    """Return the mean of the values that are known, with Student's interval over them."""
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
    """Set the null means of the scenes that were shuffled beside a figure: `seen` is its mean over
    those scenes, and what lies between it and the null holds for all scenes."""
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
    """Return the mean of what is known along the last axis, NaN where nothing is."""
    known = np.isfinite(values)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    count = known.sum(axis=-1)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _pairs(rows: Wide, scene: Wide, random: Floats) -> tuple[Wide, Wide]:
    """Pair rows of the same scene by chance, each in one pair at most."""
    order = rows[np.argsort(scene + random)]
    if not len(order):
        return order, order
    begins = np.flatnonzero(np.append(True, scene[1:] != scene[:-1]))
    rank = np.arange(len(rows)) - np.repeat(begins, np.diff(np.append(begins, len(rows))))
    even = np.flatnonzero((rank[:-1] % 2 == 0) & (scene[1:] == scene[:-1]))
    return order[even], order[even + 1]
