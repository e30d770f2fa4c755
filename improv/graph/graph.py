"""Contacts as a NetworkX graph: directed, weighted, in time, an edge for each kind and evidence.

Everything is summed as columns first; NetworkX sees a few hundred edges, however many turns there
were. All that stands in a graph is a number, a text or a list of tuples, so that files can hold
it; what is unknown is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import networkx as nx
import numpy as np

from improv.graph.arrow_columns import Bools, Ints, Wide
from improv.graph.conversation import AUTHOR_CODE, EVIDENCE, ORDER, Conversation
from improv.graph.edges import ANSWERS, EDGE_KINDS, Edges, find_edges

Graph: TypeAlias = nx.MultiDiGraph
"""A graph of talk. Its nodes are names, with

    role       "character" or "author"
    scene      the slug, where the graph has scenes of several
    scenes     how many scenes it could be in
    lines      lines spoken, words in them, and how many were to nobody in particular
    words
    open

and its edges, whose key is unique in the graph,

    kind       one of edges.EDGE_KINDS
    by         how it is known: one of conversation.EVIDENCE
    guess      whether that is the order of turns alone
    weight     contacts a scene: of the scenes that could have had one
    lines      contacts in all, and the words in their lines
    words
    first      the first turn that had one, and the last
    last
    spells     [(from turn, up to before turn), ...]: when there were any
    turns      [(contacts, turn, turn + 1), ...]
    latency    of answers: after how many lines, on average
    window     of a graph by windows: the window's first turn
"""


def build_network(
    talk: Conversation,
    *,
    name: str = "",
    kinds: Collection[str] = EDGE_KINDS,
    first: int = 1,
    last: int | None = None,
    guesses: bool = True,
    window: int = 0,
    each: bool = False,
    found: Edges | None = None,
) -> Graph:
    """Return the graph of a talk's scenes, between two turns.

    `window` cuts time into windows of so many turns, with edges of their own; `each` makes an
    edge of every single contact. `found` are the talk's contacts, where they are known already.
    """
    talk = talk if guesses else talk.without_guesses()
    rows = found if found is not None and guesses else find_edges(talk)
    rows = rows.select(kinds=kinds, first=first, last=last, guesses=guesses)
    names = node_names(talk)
    graph = Graph(
        name=name,
        of="talk",
        scenes=talk.scenes,
        first=first,
        last=talk.last if last is None else last,
        kinds=[kind for kind in EDGE_KINDS if kind in kinds],
        guesses=guesses,
    )
    _add_nodes(graph, talk, names, rows, first, last)
    if each:
        _add_single_edges(graph, names, rows)
    else:
        _add_summed_edges(graph, talk, names, rows, window)
    return graph


def node_names(talk: Conversation) -> list[str]:
    """Return a name for each person that is nobody else's: with the scene's, where two scenes
    have somebody of one name."""
    names = [person.name for person in talk.people]
    twice = {name for name in names if names.count(name) > 1}
    return [
        f"{person.name} ({person.slug})" if person.name in twice else person.name
        for person in talk.people
    ]


def _possible_scenes(talk: Conversation) -> Ints:
    """Return for each person the number of scenes that it could be in."""
    found = np.zeros(len(talk.people), dtype=np.int32)
    counts = np.bincount(talk.slug, minlength=len(talk.slugs))
    for slug in range(len(talk.slugs)):
        found[int(talk.first[slug]) : int(talk.first[slug + 1])] = counts[slug]
    found[AUTHOR_CODE] = talk.scenes
    return found


def _lines_between(talk: Conversation, first: int, last: int | None) -> Bools:
    """Return which lines were spoken in turns from `first` to `last`."""
    lines = talk.lines
    inside: Bools = lines.spoken & (lines.who >= 0) & (lines.turn >= first)
    return inside if last is None else inside & (lines.turn <= last)


def edge_key(source: str, target: str, *parts: str) -> str:
    """Return a key that no other edge of the graph has."""
    return " ".join([f"{source} > {target}:", *parts])


# --- making it


def _add_nodes(
    graph: Graph,
    talk: Conversation,
    names: Sequence[str],
    rows: Edges,
    first: int,
    last: int | None,
) -> None:
    many = len(names)
    inside = _lines_between(talk, first, last)
    who = talk.lines.who[inside]
    spoken = np.bincount(who, minlength=many)
    words = np.bincount(who, weights=talk.lines.words[inside], minlength=many)
    openly = np.bincount(who[talk.lines.to[inside] < 0], minlength=many)
    there = (spoken > 0) | (np.bincount(rows.source, minlength=many) > 0)
    there |= np.bincount(rows.target, minlength=many) > 0
    could = _possible_scenes(talk)
    for code in np.flatnonzero(there).tolist():
        data: dict[str, Any] = {"role": "author" if code == AUTHOR_CODE else "character"}
        if len(talk.slugs) > 1 and code != AUTHOR_CODE:
            data["scene"] = talk.people[code].slug
        data["scenes"] = int(could[code])
        if code != AUTHOR_CODE:
            data |= {"lines": int(spoken[code]), "words": int(words[code])}
            data["open"] = int(openly[code])
        graph.add_node(names[code], **data)


def _add_summed_edges(
    graph: Graph, talk: Conversation, names: Sequence[str], rows: Edges, window: int
) -> None:
    spans = np.zeros(len(rows), dtype=np.int64)
    if window:
        # What was written beforehand, in turn 0, stands in no window but its own.
        spans = np.where(rows.turn > 0, (rows.turn - 1) // window + 1, 0).astype(np.int64)
    groups, place = _grouped(rows, len(names), spans)
    count = np.bincount(place, minlength=len(groups))
    words = np.bincount(place, weights=rows.words, minlength=len(groups))
    latency = np.bincount(place, weights=rows.latency, minlength=len(groups))
    moments, times = _moments(rows, place)
    begins = np.searchsorted(moments[:, 0], np.arange(len(groups) + 1))
    could = _possible_scenes(talk)
    for i, (span, source, target, kind, by) in enumerate(groups.tolist()):
        here = slice(begins[i], begins[i + 1])
        turns = list(zip(times[here].tolist(), moments[here, 1].tolist(), strict=True))
        scenes = int(could[target] if source == AUTHOR_CODE else could[source])
        data = {
            **_evidence(kind, by),
            "weight": int(count[i]) / max(scenes, 1),
            "lines": int(count[i]),
            "words": int(words[i]),
            **_spans(turns),
        }
        if kind == ANSWERS:
            data["latency"] = float(latency[i] / count[i])
        parts = [EDGE_KINDS[kind], EVIDENCE[by]]
        if window:
            data["window"] = (span - 1) * window + 1 if span else 0
            parts.append(str(data["window"]))
        key = edge_key(names[source], names[target], *parts)
        graph.add_edge(names[source], names[target], key=key, **data)


def _add_single_edges(graph: Graph, names: Sequence[str], rows: Edges) -> None:
    order = np.lexsort((rows.kind, rows.line, rows.turn, rows.scene))
    columns = ("scene", "turn", "source", "target", "kind", "by", "words", "latency")
    table = np.column_stack([getattr(rows, name)[order] for name in columns]).tolist()
    for number, (scene, turn, source, target, kind, by, words, latency) in enumerate(table):
        data = {
            **_evidence(kind, by),
            "weight": 1.0,
            "lines": 1,
            "words": words,
            **_spans([(1, turn)]),
            "number": scene,
        }
        if kind == ANSWERS:
            data["latency"] = float(latency)
        key = edge_key(names[source], names[target], EDGE_KINDS[kind], str(number))
        graph.add_edge(names[source], names[target], key=key, **data)


def _evidence(kind: int, by: int) -> dict[str, Any]:
    return {"kind": EDGE_KINDS[kind], "by": EVIDENCE[by], "guess": by == ORDER}


def _spans(turns: list[tuple[int, int]]) -> dict[str, Any]:
    """Return when an edge is there, from its (count, turn) in order of turns."""
    spells: list[tuple[int, int]] = []
    for _, turn in turns:
        if spells and spells[-1][1] == turn:
            spells[-1] = (spells[-1][0], turn + 1)
        else:
            spells.append((turn, turn + 1))
    return {
        "first": turns[0][1],
        "last": turns[-1][1],
        "spells": spells,
        "turns": [(n, turn, turn + 1) for n, turn in turns],
    }


def _grouped(rows: Edges, people: int, spans: Wide) -> tuple[Wide, Wide]:
    """Return the distinct (span, source, target, kind, by), and each row's place among them."""
    sizes = (people, people, len(EDGE_KINDS), len(EVIDENCE))
    key = spans
    for column, size in zip((rows.source, rows.target, rows.kind, rows.by), sizes, strict=True):
        key = key * size + column
    distinct, place = np.unique(key, return_inverse=True)
    parts = []
    for size in reversed(sizes):
        distinct, part = np.divmod(distinct, size)
        parts.append(part)
    return np.column_stack([distinct, *reversed(parts)]).astype(np.int64), place.astype(np.int64)


def _moments(rows: Edges, place: Wide) -> tuple[Wide, Wide]:
    """Return the distinct (group, turn), sorted, and how many contacts each has."""
    turns = int(rows.turn.max(initial=0)) + 1
    key, count = np.unique(place * turns + rows.turn, return_counts=True)
    return np.column_stack(np.divmod(key, turns)).astype(np.int64), count.astype(np.int64)
