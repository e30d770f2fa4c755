"""Tests whether two networks differ: two conditions, or the same scenes before and after a mark.

The unit is the scene, or the block of scenes that differ only in their condition. If conditions do
not matter, the two networks of a block could have each other's label. So labels are exchanged
block by block, and nothing is assumed about the dependence of lines within a scene.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

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
"""Maximum cells of a matrix of permutations in memory at a time."""
_FLIPS = 10_000_000
"""Maximum blocks times exchanges of labels."""
_SHUFFLED_MARKS = 999
_MAX_MARKED_SCENES = 3000
"""Maximum scenes whose marks are permuted; from more, a sample is drawn."""
_SLACK = 1e-9
"""Relative tolerance by which a permutation counts as equal to the observed value."""


@dataclass(frozen=True, slots=True)
class EdgeVectors:
    """The networks of scenes as rows of numbers: `rows` has shape (scenes, edges).

    An edge is a pair of people, whose codes are in `pairs` (edges, 2). Scenes of another slug have
    NaN for the edge.
    """

    rows: Floats
    pairs: Wide


@dataclass(frozen=True, slots=True)
class EdgeDifference:
    """One edge under two conditions: contacts per scene in each, and the estimated difference.

    `p` is corrected for all edges together, by the largest difference of each permutation
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
    """The comparison of two networks, a less b.

    `p` is that of all edges together. `figures` are the contrasts of the figures, corrected by
    Benjamini and Hochberg. `dropped` names the blocks that only one side has. `why` is the reason
    if there is no p.
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
    """Return the number of contacts of each pair in each scene, summed over `kinds`."""
    talk = talk if guesses else talk.without_guesses()
    edges = find_edges(talk).select(kinds=kinds, first=first, last=last, guesses=guesses)
    people = len(talk.people)
    pair = edges.source.astype(np.int64) * people + edges.target
    distinct, place = np.unique(pair, return_inverse=True)
    pairs = np.column_stack(np.divmod(distinct, people)).astype(np.int64)
    cells = edges.scene.astype(np.int64) * len(distinct) + place
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
    """Compare two conditions, a less b, within blocks: each edge, all edges, and the figures."""
    vectors = edge_vectors(talk, kinds=kinds, first=first, last=last, guesses=guesses)
    compared = compare_vectors(talk, vectors, a, b, seed=seed, draws=draws)
    whole = talk if guesses else talk.without_guesses()
    values = figures(whole, first=first, last=last)
    tests = [_contrast(talk, name, values[name], a, b, seed) for name in FIGURES]
    known = [c for c in tests if not math.isnan(c.estimate.value)]
    corrected = tuple(benjamini_hochberg(known)) if known else ()
    return replace(compared, figures=corrected)


def compare_vectors(
    talk: Conversation,
    vectors: EdgeVectors,
    a: str,
    b: str,
    *,
    seed: int,
    draws: int = PERMUTATIONS,
) -> Comparison:
    """Compare the edge vectors of two conditions, a less b, within blocks."""
    sides = [_by_block(talk, vectors.rows, name) for name in (a, b)]
    both = [block for block in sides[0] if block in sides[1]]
    dropped = tuple(sorted(talk.blocks[i] for i in sides[0].keys() ^ sides[1].keys()))
    if not both or not len(vectors.pairs):
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
    pairs, p = _test_edges(
        talk, vectors.pairs, first, second, seed_of("networks", seed, a, b), draws
    )
    return Comparison(a, b, len(both), "blocks", dropped, p, pairs)


def changes_at_marks(
    talk: Conversation,
    marks: Mapping[str, int],
    *,
    kinds: Collection[str] = ("addresses",),
    guesses: bool = True,
) -> EdgeVectors:
    """Return contacts per line from each scene's mark on, less those before it, as vectors.

    `marks` maps trials to turns. Scenes without a mark, or without lines on both sides of it, have
    NaN in the whole row. To compare these vectors between conditions is a difference of
    differences: a drift over time that all scenes share cancels out.
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
    """Compare the network from each scene's mark on (a) with that before the mark (b).

    Scenes change with time in any case. So the marks are permuted among the scenes of one cast,
    and the change at the true marks is compared with the change at the permuted ones: p is small
    only if something changes at the mark itself. If all marks are at one turn, permuting them
    changes nothing, and p is NaN: compare the arm with an untreated one (`changes_at_marks`).
    """
    talk = sample_scenes(talk.subset(_mark_of_scenes(talk, marks) >= 0), seed, _MAX_MARKED_SCENES)
    table = _Cumulated(talk, kinds, guesses)
    marked = _mark_of_scenes(talk, marks)
    change = table.changed(marked)
    usable: Bools = np.asarray(np.isfinite(change).any(axis=1))
    pairs = tuple(
        EdgeDifference(
            table.names[s],
            table.names[t],
            *table.sides(marked, usable, i),
            mean_estimate(change[:, i]),
            math.nan,
        )
        for i, (s, t) in enumerate(table.pairs.tolist())
    )
    same_turn = all(
        len(np.unique(marked[usable & (talk.slug == slug)])) < 2 for slug in range(len(talk.slugs))
    )
    n = int(usable.sum())
    why = ""
    if n < 2 or not len(pairs):
        why = "fewer than two scenes have a mark with lines on both sides of it"
    elif same_turn:
        why = "all marks are at the same turn, so that time and mark cannot be told apart"
    p = math.nan
    if not why:
        p, corrected = _test_marks(talk, table, marked, usable, seed_of("marks", seed), draws)
        pairs = tuple(
            replace(pair, p=float(p_of_edge))
            for pair, p_of_edge in zip(pairs, corrected, strict=True)
        )
    return Comparison("after", "before", n, "scenes", (), p, pairs, why=why)


def _test_marks(
    talk: Conversation, table: _Cumulated, marked: Ints, usable: Bools, seed: int, draws: int
) -> tuple[float, Floats]:
    """Permute the marks of `usable` scenes within each slug. Return p of all edges together, and p
    of each edge (edges,), corrected for all."""
    seen = _strengths(table.changed(marked))
    chance = np.random.default_rng(seed)
    beyond_all, beyond = 0.0, np.zeros(len(seen))
    for _ in range(draws):
        permuted = marked.copy()
        for slug in range(len(talk.slugs)):
            own = np.flatnonzero(usable & (talk.slug == slug))
            permuted[own] = chance.permutation(marked[own])
        null = _strengths(table.changed(permuted))
        beyond_all += float(np.sum(null**2) >= np.sum(seen**2) * (1 - _SLACK))
        beyond += np.max(np.abs(null)) >= np.abs(seen) * (1 - _SLACK)
    return (1 + beyond_all) / (1 + draws), (1 + beyond) / (1 + draws)


# --- blocks


def _slugs(talk: Conversation) -> Ints:
    """Return the slug code of each person, -1 for the author."""
    return (np.searchsorted(talk.first, np.arange(len(talk.people)), side="right") - 1).astype(
        np.int32
    )


def _by_block(talk: Conversation, rows: Floats, condition: str) -> dict[int, Floats]:
    """Return block code → the mean row of its scenes under a condition."""
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

    An edge's strength is Σ d / √(Σ d²); changing signs leaves the denominator as it is. The
    statistic of all edges is the sum of the squared strengths. NaN (another cast's edge) is
    ignored.
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
    differences = tuple(
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
    return differences, (p if total > 0 else 1.0)


def _draws(blocks: int, draws: int) -> int:
    """Return the number of exchanges of labels: with very many blocks about a thousand suffice."""
    return max(min(draws, _FLIPS // max(blocks, 1)), min(999, draws))


def _signs(blocks: int, seed: int, draws: int) -> Floats:
    """Return exchanges of labels as signs, (draws, blocks): all of them if they are few, else a
    random sample."""
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
    """Contacts of each pair before each turn, so that any mark can be tried quickly."""

    def __init__(self, talk: Conversation, kinds: Collection[str], guesses: bool) -> None:
        talk = talk if guesses else talk.without_guesses()
        edges = find_edges(talk).select(kinds=kinds, first=1, guesses=guesses)
        people, turns = len(talk.people), talk.last + 2
        pair = edges.source.astype(np.int64) * people + edges.target
        distinct, place = np.unique(pair, return_inverse=True)
        self.pairs: Wide = np.column_stack(np.divmod(distinct, people)).astype(np.int64)
        self.names = node_names(talk)
        self.other = talk.slug[:, None] != _slugs(talk)[self.pairs[:, 1]][None, :]
        cell = (edges.scene.astype(np.int64) * turns + edges.turn) * len(distinct) + place
        counts = np.bincount(cell, minlength=talk.scenes * turns * len(distinct))
        table = counts.reshape(talk.scenes, turns, len(distinct)).astype(np.float32)
        # Column t holds the contacts before turn t.
        self.upto = np.cumsum(table, axis=1) - table
        lines = talk.lines
        said = lines.spoken & (lines.turn > 0)
        at = lines.scene[said].astype(np.int64) * turns + lines.turn[said]
        spoken = np.bincount(at, minlength=talk.scenes * turns).reshape(talk.scenes, turns)
        self.lines = np.cumsum(spoken, axis=1) - spoken

    def rates(self, marks: Ints) -> tuple[Floats, Floats]:
        """Return contacts per line from each scene's mark on, and before: (scenes, edges) each."""
        scenes = np.arange(len(marks))
        mark = np.clip(marks, 0, self.lines.shape[1] - 1)
        before, all_of = self.upto[scenes, mark], self.upto[:, -1]
        lines, all_lines = self.lines[scenes, mark], self.lines[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            early = before / lines[:, None]
            late = (all_of - before) / (all_lines - lines)[:, None]
        undefined = self.other | (marks < 0)[:, None]
        undefined |= (lines == 0)[:, None] | (lines == all_lines)[:, None]
        return np.where(undefined, np.nan, late), np.where(undefined, np.nan, early)

    def changed(self, marks: Ints) -> Floats:
        late, early = self.rates(marks)
        return late - early

    def sides(self, marks: Ints, there: Bools, edge: int) -> tuple[float, float]:
        late, early = self.rates(marks)
        return _known_mean(late[there, edge]), _known_mean(early[there, edge])


def _mark_of_scenes(talk: Conversation, marks: Mapping[str, int]) -> Ints:
    return np.array([marks.get(trial, -1) for trial in talk.trials], dtype=np.int32)


def _strengths(apart: Floats) -> Floats:
    """Return each edge's mean change over its standard error: (scenes, edges) to (edges,)."""
    n = np.isfinite(apart).sum(axis=0)
    flat = np.nan_to_num(apart)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = flat.sum(axis=0) / n
        spread = np.sqrt(np.maximum((flat**2).sum(axis=0) / n - mean**2, 1e-12) / n)
        return np.asarray(np.nan_to_num(mean / spread), dtype=np.float64)
