"""Whether two networks differ: conditions against each other, and before against after.

The unit is the scene, or the block of scenes that differ in nothing but their condition. If
conditions do not matter, a block's two networks could as well have had each other's label; so
labels are exchanged block by block, and nothing is assumed of how lines hang together in a scene.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from improv.analysis.stats.contrast import Contrast, benjamini_hochberg, contrast
from improv.analysis.stats.interval import Estimate, Floats
from improv.analysis.stats.permutation import PERMUTATIONS
from improv.graph.arrow_columns import Bools, Ints, Wide
from improv.graph.conversation import Conversation
from improv.graph.edges import find_edges
from improv.graph.graph import node_names
from improv.graph.metrics import FIGURES, figures
from improv.graph.null_model import mean_estimate, sample_scenes
from improv.records import seed_of

_CELLS = 4_000_000
_FLIPS = 10_000_000
"""Blocks times exchanges of labels."""
_SHUFFLED_MARKS = 999
_MAX_MARKED_SCENES = 3000
"""The most scenes whose marks are dealt anew; of more a sample is taken."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class EdgeVectors:
    """The networks of scenes as rows of numbers: `rows` has shape (scenes, edges).

    An edge is a pair of people, whose codes stand in `pairs` (edges, 2); a scene of another slug
    has NaN there.
    """

    rows: Floats
    pairs: Wide


@dataclass(frozen=True, slots=True)
class EdgeDifference:
    """One edge under two conditions: contacts a scene in each, and how far apart they are.

    `p` is corrected for all edges at once, by the largest difference of each permutation
    (Westfall and Young 1993).
    """

    source: str
    target: str
    a: float
    b: float
    estimate: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two networks compared. `p` is that of all edges together, `figures` are the measures'
    contrasts, corrected by Benjamini and Hochberg; `dropped` names what had no partner.

    `why` says why there is no p.
    """

    a: str
    b: str
    units: int
    unit: str
    dropped: tuple[str, ...]
    p: float
    pairs: tuple[EdgeDifference, ...]
    figures: tuple[Contrast, ...] = ()
    why: str = ""


def edge_vectors(
    talk: Conversation,
    *,
    kinds: Collection[str] = ("addresses",),
    first: int = 1,
    last: int | None = None,
    guesses: bool = True,
) -> EdgeVectors:
    """Return how many contacts each pair has in each scene, of the kinds given, summed."""
    talk = talk if guesses else talk.without_guesses()
    found = find_edges(talk).select(kinds=kinds, first=first, last=last, guesses=guesses)
    people = len(talk.people)
    pair = found.source.astype(np.int64) * people + found.target
    distinct, place = np.unique(pair, return_inverse=True)
    pairs = np.column_stack(np.divmod(distinct, people)).astype(np.int64)
    cells = found.scene.astype(np.int64) * len(distinct) + place
    rows = np.bincount(cells, minlength=talk.scenes * len(distinct)).astype(np.float64)
    rows = rows.reshape(talk.scenes, len(distinct))
    rows[talk.slug[:, None] != _slugs(talk)[pairs[:, 1]][None, :]] = np.nan
    return EdgeVectors(rows, pairs)


def compare_conditions(
    talk: Conversation,
    a: str,
    b: str,
    *,
    kinds: Collection[str] = ("addresses",),
    first: int = 1,
    last: int | None = None,
    guesses: bool = True,
    seed: int = 0,
    draws: int = PERMUTATIONS,
) -> Comparison:
    """Compare two conditions, a less b, within blocks: each edge, all together, and the figures."""
    given = edge_vectors(talk, kinds=kinds, first=first, last=last, guesses=guesses)
    found = compare_vectors(talk, given, a, b, seed=seed, draws=draws)
    whole = talk if guesses else talk.without_guesses()
    values = figures(whole, first=first, last=last)
    tests = [_contrast(talk, name, values[name], a, b, seed) for name in FIGURES]
    known = [c for c in tests if not math.isnan(c.estimate.value)]
    corrected = tuple(benjamini_hochberg(known)) if known else ()
    return Comparison(
        a=a,
        b=b,
        units=found.units,
        unit=found.unit,
        dropped=found.dropped,
        p=found.p,
        pairs=found.pairs,
        figures=corrected,
        why=found.why,
    )


def compare_vectors(
    talk: Conversation, given: EdgeVectors, a: str, b: str, *, seed: int, draws: int = PERMUTATIONS
) -> Comparison:
    """Compare the scenes' vectors of two conditions within blocks."""
    sides = [_by_block(talk, given.rows, name) for name in (a, b)]
    both = [block for block in sides[0] if block in sides[1]]
    dropped = tuple(sorted(talk.blocks[i] for i in sides[0].keys() ^ sides[1].keys()))
    if not both or not len(given.pairs):
        why = "no block was played under both, or nobody spoke to anybody"
        return Comparison(
            a=a,
            b=b,
            units=len(both),
            unit="blocks",
            dropped=dropped,
            p=math.nan,
            pairs=(),
            figures=(),
            why=why,
        )
    first, second = (np.array([side[block] for block in both]) for side in sides)
    pairs, p = _test_edges(talk, given.pairs, first, second, seed_of("networks", seed, a, b), draws)
    return Comparison(a, b, len(both), "blocks", dropped, p, pairs)


def changes_at_marks(
    talk: Conversation,
    marks: Mapping[str, int],
    *,
    kinds: Collection[str] = ("addresses",),
    guesses: bool = True,
) -> EdgeVectors:
    """Return, for each scene with a mark, contacts a line from its mark on less those before.

    `marks` maps trials to turns. Scenes without a mark, or with no line on either side of it, are
    NaN throughout. As vectors they can be compared between conditions: a difference of
    differences, which what happens to all scenes with time does not touch.
    """
    marked = _mark_of_scenes(talk, marks)
    some = talk.subset(marked >= 0)
    table = _Cumulated(some, kinds, guesses)
    rows = np.full((talk.scenes, len(table.pairs)), np.nan)
    rows[marked >= 0] = table.changed(_mark_of_scenes(some, marks))
    return EdgeVectors(rows, table.pairs)


def before_after(
    talk: Conversation,
    marks: Mapping[str, int],
    *,
    kinds: Collection[str] = ("addresses",),
    guesses: bool = True,
    seed: int = 0,
    draws: int = _SHUFFLED_MARKS,
) -> Comparison:
    """Compare the network from each scene's mark on (a) with that before (b).

    Scenes change with time anyhow. So the marks are dealt anew among the scenes of one cast, and
    the change at the true marks is set beside those at false ones: p is small only where
    something changes at the mark itself. Where all marks stand at one turn there is nothing to
    deal, and p is NaN: compare the arm with one to which nothing was done (`changes`).
    """
    talk = sample_scenes(talk.subset(_mark_of_scenes(talk, marks) >= 0), seed, _MAX_MARKED_SCENES)
    table = _Cumulated(talk, kinds, guesses)
    marked = _mark_of_scenes(talk, marks)
    true = table.changed(marked)
    there: Bools = np.asarray(np.isfinite(true).any(axis=1))
    pairs = tuple(
        EdgeDifference(
            table.names[s],
            table.names[t],
            *table.sides(marked, there, i),
            mean_estimate(true[:, i]),
            math.nan,
        )
        for i, (s, t) in enumerate(table.pairs.tolist())
    )
    n = int(there.sum())
    why = ""
    alike = all(
        len(np.unique(marked[there & (talk.slug == slug)])) < 2 for slug in range(len(talk.slugs))
    )
    if n < 2 or not len(table.pairs):
        why = "fewer than two scenes have a mark with lines on both sides of it"
    elif alike:
        why = "all marks stand at the same turn, so that time and mark cannot be told apart"
    if why:
        return Comparison(
            a="after",
            b="before",
            units=n,
            unit="scenes",
            dropped=(),
            p=math.nan,
            pairs=pairs,
            figures=(),
            why=why,
        )
    seen = _strengths(true)
    chance = np.random.default_rng(seed_of("marks", seed))
    beyond_all, beyond = 0.0, np.zeros(len(pairs))
    for _ in range(draws):
        dealt = marked.copy()
        for slug in range(len(talk.slugs)):
            own = np.flatnonzero(there & (talk.slug == slug))
            dealt[own] = chance.permutation(marked[own])
        null = _strengths(table.changed(dealt))
        beyond_all += float(np.sum(null**2) >= np.sum(seen**2) * (1 - _SLACK))
        beyond += np.max(np.abs(null)) >= np.abs(seen) * (1 - _SLACK)
    p = (1 + beyond_all) / (1 + draws)
    corrected = (1 + beyond) / (1 + draws)
    pairs = tuple(
        EdgeDifference(d.source, d.target, d.a, d.b, d.estimate, float(one))
        for d, one in zip(pairs, corrected, strict=True)
    )
    return Comparison("after", "before", n, "scenes", (), p, pairs)


# --- blocks


def _slugs(talk: Conversation) -> Ints:
    """Return the slug of each person, -1 for the author."""
    return (np.searchsorted(talk.first, np.arange(len(talk.people)), side="right") - 1).astype(
        np.int32
    )


def _by_block(talk: Conversation, rows: Floats, condition: str) -> dict[int, Floats]:
    """Return block → the mean of its scenes' rows under a condition."""
    code = talk.conditions.index(condition) if condition in talk.conditions else -1
    scenes = np.flatnonzero((talk.condition == code) & np.isfinite(rows).any(axis=1))
    if not len(scenes):
        return {}
    blocks, place, count = np.unique(talk.block[scenes], return_inverse=True, return_counts=True)
    sums = np.zeros((len(blocks), rows.shape[1]))
    np.add.at(sums, place, rows[scenes])
    return dict(zip(blocks.tolist(), sums / count[:, None], strict=True))


def _contrast(talk: Conversation, name: str, values: Floats, a: str, b: str, seed: int) -> Contrast:
    columns = {
        condition: {
            talk.blocks[block]: float(row[0])
            for block, row in _by_block(talk, values[:, None], condition).items()
        }
        for condition in (a, b)
    }
    weights = {a: 1.0, b: -1.0}
    draws = _draws(len(columns[a]), PERMUTATIONS)
    return contrast(columns, weights, name=name, seed=seed, planned=False, draws=draws)


def _test_edges(
    talk: Conversation, pairs: Wide, first: Floats, second: Floats, seed: int, draws: int
) -> tuple[tuple[EdgeDifference, ...], float]:
    """Test differences of shape (blocks, edges): each edge, corrected for all, and all together.

    An edge's strength is Σ d / √(Σ d²), which changing signs leaves below. That of all together
    is the sum of their squares. NaN (another cast's edge) counts for nothing.
    """
    apart = first - second
    flat = np.nan_to_num(apart)
    size = np.sqrt((flat**2).sum(axis=0))
    scaled = flat / np.where(size > 0, size, 1.0)
    seen = scaled.sum(axis=0)
    largest, total = np.abs(seen), float(np.sum(seen**2))
    signs = _signs(len(flat), seed, _draws(len(flat), draws))
    exact = 2 ** (len(flat) - 1) == len(signs)
    beyond_all, beyond = 0.0, np.zeros(len(pairs))
    step = max(1, _CELLS // max(1, len(pairs), len(flat)))
    for start in range(0, len(signs), step):
        null = signs[start : start + step] @ scaled
        beyond_all += float(np.sum((null**2).sum(axis=1) >= total * (1 - _SLACK)))
        furthest = np.abs(null).max(axis=1)
        beyond += (furthest[:, None] >= largest * (1 - _SLACK)).sum(axis=0)
    more = 0 if exact else 1
    p = (more + beyond_all) / (more + len(signs))
    corrected = (more + beyond) / (more + len(signs))
    names = node_names(talk)
    found = tuple(
        EdgeDifference(
            names[source],
            names[target],
            _known_mean(first[:, i]),
            _known_mean(second[:, i]),
            mean_estimate(apart[:, i], "blocks"),
            float(corrected[i]) if size[i] > 0 else 1.0,
        )
        for i, (source, target) in enumerate(pairs.tolist())
    )
    return found, (p if total > 0 else 1.0)


def _draws(blocks: int, draws: int) -> int:
    """Return how often to exchange labels: of very many blocks a thousand times say as much."""
    return max(min(draws, _FLIPS // max(blocks, 1)), min(999, draws))


def _signs(blocks: int, seed: int, draws: int) -> Floats:
    """Return ways to exchange labels: all of them where they are few, else some by chance."""
    if blocks < 60 and 2 ** (blocks - 1) < draws:
        halves = itertools.product((1.0, -1.0), repeat=blocks - 1)
        return np.array([(1.0, *half) for half in halves])
    heads = np.random.default_rng(seed).integers(0, 2, size=(draws, blocks), dtype=np.int8)
    return np.asarray(2.0 * heads - 1.0, dtype=np.float64)


def _known_mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


# --- before and after


class _Cumulated:
    """Contacts of each pair up to each turn, so that any mark can be tried at once."""

    def __init__(self, talk: Conversation, kinds: Collection[str], guesses: bool) -> None:
        talk = talk if guesses else talk.without_guesses()
        found = find_edges(talk).select(kinds=kinds, first=1, guesses=guesses)
        people, turns = len(talk.people), talk.last + 2
        pair = found.source.astype(np.int64) * people + found.target
        distinct, place = np.unique(pair, return_inverse=True)
        self.pairs: Wide = np.column_stack(np.divmod(distinct, people)).astype(np.int64)
        self.names = node_names(talk)
        self.other = talk.slug[:, None] != _slugs(talk)[self.pairs[:, 1]][None, :]
        cell = (found.scene.astype(np.int64) * turns + found.turn) * len(distinct) + place
        counts = np.bincount(cell, minlength=talk.scenes * turns * len(distinct))
        table = counts.reshape(talk.scenes, turns, len(distinct)).astype(np.float32)
        # Column t holds what came before turn t.
        self.upto = np.cumsum(table, axis=1) - table
        lines = talk.lines
        said = lines.spoken & (lines.turn > 0)
        at = lines.scene[said].astype(np.int64) * turns + lines.turn[said]
        spoken = np.bincount(at, minlength=talk.scenes * turns).reshape(talk.scenes, turns)
        self.lines = np.cumsum(spoken, axis=1) - spoken

    def rates(self, marks: Ints) -> tuple[Floats, Floats]:
        """Return contacts a line from each scene's mark on, and before: (scenes, edges) each."""
        scenes = np.arange(len(marks))
        mark = np.clip(marks, 0, self.lines.shape[1] - 1)
        before, all_of = self.upto[scenes, mark], self.upto[:, -1]
        lines, all_lines = self.lines[scenes, mark], self.lines[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            early = before / lines[:, None]
            late = (all_of - before) / (all_lines - lines)[:, None]
        bad = self.other | (marks < 0)[:, None]
        bad |= (lines == 0)[:, None] | (lines == all_lines)[:, None]
        return np.where(bad, np.nan, late), np.where(bad, np.nan, early)

    def changed(self, marks: Ints) -> Floats:
        late, early = self.rates(marks)
        return late - early

    def sides(self, marks: Ints, there: Bools, edge: int) -> tuple[float, float]:
        late, early = self.rates(marks)
        return _known_mean(late[there, edge]), _known_mean(early[there, edge])


def _mark_of_scenes(talk: Conversation, marks: Mapping[str, int]) -> Ints:
    return np.array([marks.get(trial, -1) for trial in talk.trials], dtype=np.int32)


def _strengths(apart: Floats) -> Floats:
    """Return each edge's mean change over its error: (scenes, edges) to (edges,)."""
    n = np.isfinite(apart).sum(axis=0)
    flat = np.nan_to_num(apart)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = flat.sum(axis=0) / n
        spread = np.sqrt(np.maximum((flat**2).sum(axis=0) / n - mean**2, 1e-12) / n)
        return np.asarray(np.nan_to_num(mean / spread), dtype=np.float64)
