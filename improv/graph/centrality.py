"""The centrality of each person: strengths, PageRank, betweenness, and their null models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import networkx as nx
import numpy as np

from improv.analysis.stats.interval import Floats
from improv.graph.arrow_columns import Bools
from improv.graph.conversation import NOTE, Conversation
from improv.graph.edges import find_answers
from improv.graph.graph import node_names
from improv.graph.metrics import matrices, pagerank
from improv.graph.null_model import NULL_DRAWS, number_of_draws, sample_scenes, shuffle
from improv.records import seed_of

_LARGEST_NULL_CAST = 40
"""Larger casts get no null model of betweenness: it would take minutes."""


@dataclass(frozen=True, slots=True)
class Centrality:
    """One person of the network.

    `out` and `into` are lines per scene that the person addresses to others, and that others
    address to the person. `floor` is the mean number of lines in a row, `latency` the mean number
    of lines until the person answers, `notes` the author's notes to the person per scene. The
    nulls are (low, mean, high) with 95% of the draws between low and high, NaN without draws.
    """

    name: str
    scene: str
    lines: float
    share: float
    words: float
    out: float
    into: float
    pagerank: float
    pagerank_null: tuple[float, float, float]
    betweenness: float
    betweenness_null: tuple[float, float, float]
    floor: float
    latency: float
    notes: float


def measure_centrality(
    talk: Conversation,
    *,
    seed: int,
    first: int = 1,
    last: int | None = None,
    draws: int = NULL_DRAWS,
) -> list[Centrality]:
    """Return the centrality of everybody in a conversation, in the order of the cast lists."""
    names = node_names(talk)
    people: list[Centrality] = []
    nulls = _nulls(talk, first, last, seed, draws)
    for slug, (ranks, betweens) in nulls.items():
        scenes = talk.subset(talk.slug == slug)
        people += _cast(scenes, slug, names, ranks, betweens, first, last)
    return [person for person in people if person.lines or person.into or person.notes]


def betweenness(to: Floats) -> Floats:
    """Return the betweenness of each person, (cast, cast) to (cast,), by NetworkX: the share of
    pairs of others. A tie of weight w has length 1/w."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(to)))
    for source, target in np.argwhere(to > 0).tolist():
        graph.add_edge(source, target, far=1.0 / float(to[source, target]))
    between = nx.betweenness_centrality(graph, weight="far", normalized=True)
    return np.array([between[i] for i in range(len(to))], dtype=np.float64)


def _cast(
    talk: Conversation,
    slug: int,
    names: list[str],
    ranks: Floats,
    betweens: Floats,
    first: int,
    last: int | None,
) -> list[Centrality]:
    inside = _inside(talk, first, last)
    spoken, to = _network(talk, slug, inside)
    rank, between = pagerank(to[None])[0], betweenness(to)
    cast = np.array(talk.cast(slug))
    lines, acts, many = talk.lines, talk.acts, len(talk.people)
    said = inside & lines.spoken & (lines.who >= 0)
    words = np.bincount(lines.who[said], weights=lines.words[said], minlength=many)[cast]
    before = np.arange(len(lines)) - 1
    same = said & (lines.place > 0) & lines.spoken[before] & (lines.who == lines.who[before])
    begins = np.bincount(lines.who[said & ~(same & said[before])], minlength=many)[cast]
    line, answered, _ = find_answers(lines)
    line, answered = line[inside[line]], answered[inside[line]]
    late = np.bincount(
        lines.who[line], weights=lines.place[line] - lines.place[answered], minlength=many
    )[cast]
    count = np.bincount(lines.who[line], minlength=many)[cast]
    noted = (acts.kind == NOTE) & (acts.turn >= first)
    if last is not None:
        noted &= acts.turn <= last
    notes = np.bincount(acts.to[noted], minlength=many)[cast] / talk.scenes
    total = spoken.sum()
    return [
        Centrality(
            name=names[code],
            scene=talk.slugs[slug],
            lines=float(spoken[i]),
            share=_ratio(spoken[i], total),
            words=float(words[i] / talk.scenes),
            out=float(to[i].sum()),
            into=float(to[:, i].sum()),
            pagerank=float(rank[i]),
            pagerank_null=_interval(ranks[:, i]),
            betweenness=float(between[i]),
            betweenness_null=_interval(betweens[:, i]),
            floor=_ratio(spoken[i] * talk.scenes, begins[i]),
            latency=_ratio(late[i], count[i]),
            notes=float(notes[i]),
        )
        for i, code in enumerate(cast.tolist())
    ]


def _nulls(
    talk: Conversation, first: int, last: int | None, seed: int, draws: int
) -> dict[int, tuple[Floats, Floats]]:
    """Return slug → PageRank and betweenness of its cast in the null model, (draws, cast) each."""
    some = sample_scenes(talk, seed)
    inside = _inside(some, first, last)
    slugs = [slug for slug in range(len(talk.slugs)) if (some.slug == slug).any()]
    ranks: dict[int, list[Floats]] = {slug: [] for slug in slugs}
    betweens: dict[int, list[Floats]] = {slug: [] for slug in slugs}
    for i in range(number_of_draws(some, draws)):
        drawn = shuffle(some, seed_of("standing", seed, i))
        for slug in slugs:
            _, to = _network(drawn, slug, inside)
            ranks[slug].append(pagerank(to[None])[0])
            if len(to) <= _LARGEST_NULL_CAST:
                betweens[slug].append(betweenness(to))
    sizes = {slug: len(talk.cast(slug)) for slug in slugs}
    return {
        slug: (
            np.array(ranks[slug]).reshape(-1, sizes[slug]),
            np.array(betweens[slug]).reshape(-1, sizes[slug]),
        )
        for slug in slugs
    }


def _network(talk: Conversation, slug: int, inside: Bools) -> tuple[Floats, Floats]:
    """Return lines per scene by speaker (cast,) and by speaker and addressee (cast, cast)."""
    mask = talk.slug == slug
    spoken, to = matrices(talk, inside, mask)
    return spoken.mean(axis=0), to.mean(axis=0)


def _inside(talk: Conversation, first: int, last: int | None) -> Bools:
    inside: Bools = talk.lines.turn >= first
    return inside if last is None else inside & (talk.lines.turn <= last)


def _interval(values: Floats) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan, math.nan
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(known.mean()), float(high)


def _ratio(over: float, under: float) -> float:
    return float(over / under) if under else math.nan
