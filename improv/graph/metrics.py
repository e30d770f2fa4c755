"""The figures of a conversation: one number per scene for each. Pure numpy, all scenes at once.

No figure depends on the meaning of words. Each is compared with a null model (null_model), since a
scene of few lines is never quite even or random, and often has a clique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from improv.analysis.stats.interval import Floats
from improv.graph.arrow_columns import Bools, Ints, Wide
from improv.graph.conversation import CUE, Conversation, ConversationLines
from improv.graph.edges import find_answers

FIGURES = {
    "balance": "how evenly lines are shared: entropy of who speaks, as a share of the largest",
    "surprise": "entropy of who speaks next, given who speaks, in bits (0: a fixed round)",
    "floor": "how long one speaker keeps the floor: lines in a row, on average",
    "reciprocity": "share of the addressing that is returned (Squartini and others 2013)",
    "answered": "share of lines to somebody that this one answers",
    "latency": "lines from being spoken to until answering, on average (1 is the next)",
    "taken": "share of turns at which the addressee speaks next",
    "usurped": "share of turns at which somebody else speaks instead",
    "claimed": "share of turns at which somebody new speaks after a line to nobody",
    "transitivity": "share of chains a to b to c in which a speaks to c too",
    "modularity": "how far the cast divides into groups that speak among themselves",
    "centrality": "highest PageRank, less an even share",
    "author": "what the author does (notes, cues, moves), per line",
    "overruled": "share of lines to somebody after which the author cues another",
}
"""The figures by name, each with its meaning. "taken", "usurped" and "claimed" are shares of all
changes of speaker, after Gibson's participation shifts (2003, Social Forces 81:1335-1380)."""

UNSHUFFLED_FIGURES = frozenset({"balance", "surprise", "floor", "author"})
"""Figures that depend only on who speaks when, which the null model keeps."""

_DAMPING = 0.85
_MATRIX_CELLS = 20_000_000
"""Maximum cells of matrices in memory at a time."""
_LARGEST_DIVIDED_CAST = 7
"""The largest cast for which all divisions into groups are tried."""


def figures(talk: Conversation, *, first: int = 1, last: int | None = None) -> dict[str, Floats]:
    """Return each figure of FIGURES by scene, shape (scenes,), NaN for a scene without it.

    Only lines in turns from `first` to `last` count; the lines that they answer may be earlier.
    """
    values = {name: np.full(talk.scenes, np.nan) for name in FIGURES}
    inside = talk.lines.turn >= first
    if last is not None:
        inside &= talk.lines.turn <= last
    order = _Order(talk, inside)
    for name in ("floor", "surprise", "answered", "latency", "taken", "usurped", "claimed"):
        values[name] = getattr(order, name)()
    values["author"], values["overruled"] = order.author()
    for scenes, spoken, to in _matrices(talk, inside):
        values["balance"][scenes] = _balance(spoken)
        for name, figure in _OF_MATRIX.items():
            values[name][scenes] = figure(to)
    return values


class _Order:
    """The figures of the order of lines."""

    def __init__(self, talk: Conversation, inside: Bools) -> None:
        self.talk = talk
        lines = talk.lines
        self.inside = inside & lines.spoken & (lines.who >= 0)
        self.before = np.arange(len(lines)) - 1
        before = self.before
        # A silence has no words, and nobody's turn is taken from it.
        self.pairs = self.inside & (lines.place > 0) & lines.spoken[before]
        self.same = self.pairs & (lines.who == lines.who[before])
        self.changes = self.pairs & ~self.same
        self.line, self.answered_line, _ = find_answers(lines)

    def floor(self) -> Floats:
        # A spell begins if the line before has another speaker, or is too early to count.
        begins = self.inside & ~(self.same & self.inside[self.before])
        return _ratio(self._count(self.inside), self._count(begins))

    def surprise(self) -> Floats:
        """Plug-in conditional entropy H(next | now) of the speakers, in bits."""
        lines, scenes = self.talk.lines, self.talk.scenes
        rows = np.flatnonzero(self.pairs)
        people = len(self.talk.people) + 1
        now = lines.scene[rows].astype(np.int64) * people + lines.who[rows - 1]
        both = now * people + lines.who[rows]
        bits = _plogp(both, lines.scene[rows], scenes) - _plogp(now, lines.scene[rows], scenes)
        return _ratio(-bits, self._count(self.pairs))

    def answered(self) -> Floats:
        lines = self.talk.lines
        addressed = self.inside & (lines.to >= 0)
        gets = np.zeros(len(lines), dtype=np.bool_)
        by_it = lines.who[self.line] == lines.to[self.answered_line]
        gets[self.answered_line[by_it]] = True
        # No line can answer the last line of a scene.
        addressed[_lasts(lines)] = False
        return _ratio(self._count(addressed & gets), self._count(addressed))

    def latency(self) -> Floats:
        lines = self.talk.lines
        rows = self.line[self.inside[self.line]]
        late = lines.place[rows] - lines.place[self.answered_line[self.inside[self.line]]]
        scene = lines.scene[rows]
        sums = np.bincount(scene, weights=late, minlength=self.talk.scenes)
        return _ratio(sums, np.bincount(scene, minlength=self.talk.scenes))

    def taken(self) -> Floats:
        return self._share(lambda to, who: to == who)

    def usurped(self) -> Floats:
        return self._share(lambda to, who: (to >= 0) & (to != who))

    def claimed(self) -> Floats:
        return self._share(lambda to, who: to < 0)

    def author(self) -> tuple[Floats, Floats]:
        """Return acts per line, and the share of lines whose addressee a cue overrules."""
        acts, lines, scenes = self.talk.acts, self.talk.lines, self.talk.scenes
        close = (acts.line >= 0) & self.inside[acts.line]
        per_line = _ratio(
            np.bincount(acts.scene[close], minlength=scenes), self._count(self.inside)
        )
        addressed = self.pairs & (lines.to[self.before] >= 0)
        cues = acts.line[close & (acts.kind == CUE)]
        cued = np.zeros(len(lines), dtype=np.bool_)
        cued[cues] = True
        overruled = addressed & cued & (lines.to[self.before] != lines.who)
        return per_line, _ratio(self._count(overruled), self._count(addressed))

    def _share(self, holds: Callable[[Ints, Ints], Bools]) -> Floats:
        lines = self.talk.lines
        good = self.changes & holds(lines.to[self.before], lines.who)
        return _ratio(self._count(good), self._count(self.changes))

    def _count(self, mask: Bools) -> Wide:
        return np.bincount(self.talk.lines.scene[mask], minlength=self.talk.scenes)


def _lasts(lines: ConversationLines) -> Wide:
    """Return the row of each scene's last line."""
    ends = np.ones(len(lines), dtype=np.bool_)
    ends[:-1] = lines.scene[1:] != lines.scene[:-1]
    return np.flatnonzero(ends)


def _ratio(over: npt.ArrayLike, under: npt.ArrayLike) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.true_divide(over, under), dtype=np.float64) + np.where(
            np.asarray(under) > 0, 0.0, np.nan
        )


def _plogp(keys: Wide, scene: Ints, scenes: int) -> Floats:
    """Return Σ n log₂ n over the distinct keys of each scene."""
    _, at, count = np.unique(keys, return_index=True, return_counts=True)
    sums = np.bincount(scene[at], weights=count * np.log2(count), minlength=scenes)
    return np.asarray(sums, dtype=np.float64)


# --- figures of the matrix of speakers and addressees


def matrices(talk: Conversation, inside: Bools, scenes: Bools) -> tuple[Floats, Floats]:
    """Return lines by speaker (scenes, cast) and by speaker and addressee (scenes, cast, cast).

    `inside` is a mask of lines; `scenes` is a mask of scenes, all of one slug.
    """
    slug = int(talk.slug[scenes][0])
    size, first = len(talk.cast(slug)), int(talk.first[slug])
    at = np.cumsum(scenes) - 1
    lines = talk.lines
    rows = np.flatnonzero(inside & lines.spoken & (lines.who >= 0) & scenes[lines.scene])
    here, who, to = at[lines.scene[rows]], lines.who[rows] - first, lines.to[rows] - first
    many = int(scenes.sum())
    spoken = np.bincount(here * size + who, minlength=many * size).reshape(many, size)
    known = lines.to[rows] >= 0
    cell = (here[known] * size + who[known]) * size + to[known]
    weight = np.bincount(cell, minlength=many * size * size).reshape(many, size, size)
    return spoken.astype(np.float64), weight.astype(np.float64)


def _matrices(talk: Conversation, inside: Bools) -> Iterator[tuple[Wide, Floats, Floats]]:
    for slug in range(len(talk.slugs)):
        size = max(1, len(talk.cast(slug)))
        all_of = np.flatnonzero(talk.slug == slug)
        groups = divisions(size).shape[0] if size <= _LARGEST_DIVIDED_CAST else 1
        step = max(1, _MATRIX_CELLS // max(size * size, groups))
        for start in range(0, len(all_of), step):
            part = all_of[start : start + step]
            mask = np.zeros(talk.scenes, dtype=np.bool_)
            mask[part] = True
            yield part, *matrices(talk, inside, mask)


def _balance(spoken: Floats) -> Floats:
    size = spoken.shape[1]
    if size < 2:
        return np.full(len(spoken), np.nan)
    share = _ratio(spoken, spoken.sum(axis=1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(share > 0, share * np.log(share), 0.0)
    entropy = -parts.sum(axis=1) / np.log(size) + 0.0
    return np.where(spoken.sum(axis=1) > 0, entropy, np.nan)


def reciprocity(to: Floats) -> Floats:
    """Return Σ min(w_ij, w_ji) / Σ w_ij of each matrix: (scenes, cast, cast) to (scenes,)."""
    both = np.minimum(to, to.transpose(0, 2, 1)).sum(axis=(1, 2))
    return _ratio(both, to.sum(axis=(1, 2)))


def transitivity(to: Floats) -> Floats:
    """Return the share of chains a→b→c of three people for which there is a→c."""
    there = (to > 0).astype(np.float64)
    chains = there @ there
    size = to.shape[1]
    chains[:, np.arange(size), np.arange(size)] = 0.0
    return _ratio((chains * there).sum(axis=(1, 2)), chains.sum(axis=(1, 2)))


def modularity(to: Floats) -> Floats:
    """Return the largest directed modularity (Leicht and Newman 2008) of any division of the cast.

    All divisions of up to seven people are tried; a larger cast is divided into two groups by the
    leading eigenvector of its symmetric modularity matrix.
    """
    size = to.shape[1]
    if size < 3:
        return np.full(len(to), np.nan)
    total = to.sum(axis=(1, 2))
    out, into = to.sum(axis=2), to.sum(axis=1)
    share = to - _ratio(out[:, :, None] * into[:, None, :], total[:, None, None])
    share = np.nan_to_num(share)
    if size <= _LARGEST_DIVIDED_CAST:
        together = divisions(size).reshape(-1, size * size)
        best = (share.reshape(len(to), -1) @ together.T).max(axis=1)
    else:
        _, vectors = np.linalg.eigh(share + share.transpose(0, 2, 1))
        side = np.where(vectors[:, :, -1] >= 0, 1.0, -1.0)
        same = (side[:, :, None] * side[:, None, :] + 1) / 2
        best = np.maximum((share * same).sum(axis=(1, 2)), 0.0)
    return _ratio(best, total)


@lru_cache(maxsize=16)
def divisions(size: int) -> Floats:
    """Return all divisions of `size` people into groups, shape (divisions, size, size): 1 for two
    people in the same group."""
    groupings = [[0]]
    for _ in range(1, size):
        groupings = [[*d, group] for d in groupings for group in range(max(d) + 2)]
    groups = np.array(groupings)
    return np.asarray(groups[:, :, None] == groups[:, None, :], dtype=np.float64)


def pagerank(to: Floats) -> Floats:
    """Return the weighted PageRank of each person, (scenes, cast, cast) to (scenes, cast).

    Somebody who speaks to nobody counts as speaking to all equally, as in NetworkX.
    """
    many, size, _ = to.shape
    if not size:
        return np.zeros((many, 0))
    out = to.sum(axis=2, keepdims=True)
    step = np.where(out > 0, to / np.where(out > 0, out, 1.0), 1.0 / size)
    # The stationary distribution of the walk: rank = (1 - d) / size + d · rank @ step.
    still = np.eye(size) - _DAMPING * step.transpose(0, 2, 1)
    rank = np.linalg.solve(still, np.full((many, size, 1), (1 - _DAMPING) / size))
    return np.where(to.sum(axis=(1, 2))[:, None] > 0, rank[:, :, 0], np.nan)


def _centrality(to: Floats) -> Floats:
    size = to.shape[1]
    if not size:
        return np.full(len(to), np.nan)
    return np.asarray(pagerank(to).max(axis=1) - 1.0 / size, dtype=np.float64)


_OF_MATRIX: dict[str, Callable[[Floats], Floats]] = {
    "reciprocity": reciprocity,
    "transitivity": transitivity,
    "modularity": modularity,
    "centrality": _centrality,
}
