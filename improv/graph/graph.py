"""Contacts as a NetworkX graph: directed, weighted, in time, an edge for each kind and evidence.

Contacts are summed as columns first; NetworkX holds a few hundred edges, however many turns there
are. Each attribute is a number, a text or a list of tuples, so that files can hold it; an unknown
value has no attribute.
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
"""A graph of a conversation. Its nodes are names, with

    role       "character" or "author"
    scene      the slug, if the graph has scenes of several slugs
    scenes     how many scenes it could be in
    lines      lines spoken, words in them, and lines to nobody in particular
    words
    open

and its edges, whose key is unique in the graph,

    kind       one of edges.EDGE_KINDS
    by         the evidence for it: one of conversation.EVIDENCE
    guess      whether the order of turns is the only evidence
    weight     contacts per scene, over the scenes in which it was possible
    lines      number of contacts, and the words in their lines
    words
    first      the first turn with a contact, and the last
    last
    spells     [(first turn, turn after the last), ...]: stretches of turns with contacts
    turns      [(contacts, turn, turn + 1), ...]
    latency    of answers: mean distance in lines
    window     in a graph by windows: the window's first turn
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
) -> Graph:
    """Return the graph of a conversation's scenes, from turn `first` to turn `last`.

    `window` cuts time into windows of so many turns, each with its own edges; `each` makes an
    edge of every single contact. `guesses` keeps addressees known by the order of turns alone.
    """
    talk = talk if guesses else talk.without_guesses()
    rows = find_edges(talk).select(kinds=kinds, first=first, last=last, guesses=guesses)
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
    """Return a unique name for each person; people of one name in two scenes get the slug too."""
    names = [person.name for person in talk.people]
    shared = {name for name in names if names.count(name) > 1}
    return [
        f"{person.name} ({person.slug})" if person.name in shared else person.name
        for person in talk.people
    ]


def _possible_scenes(talk: Conversation) -> Ints:
    """Return for each person the number of scenes that it could be in, shape (people,)."""
    possible = np.zeros(len(talk.people), dtype=np.int32)
    counts = np.bincount(talk.slug, minlength=len(talk.slugs))
    for slug in range(len(talk.slugs)):
        possible[int(talk.first[slug]) : int(talk.first[slug + 1])] = counts[slug]
    possible[AUTHOR_CODE] = talk.scenes
    return possible


def _lines_between(talk: Conversation, first: int, last: int | None) -> Bools:
    """Return a mask of the lines spoken in turns from `first` to `last`."""
    lines = talk.lines
    inside: Bools = lines.spoken & (lines.who >= 0) & (lines.turn >= first)
    return inside if last is None else inside & (lines.turn <= last)


def edge_key(source: str, target: str, *parts: str) -> str:
    """Return a key that no other edge of the graph has."""
    return " ".join([f"{source} > {target}:", *parts])


# --- nodes and edges


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
    present = (spoken > 0) | (np.bincount(rows.source, minlength=many) > 0)
    present |= np.bincount(rows.target, minlength=many) > 0
    possible = _possible_scenes(talk)
    for code in np.flatnonzero(present).tolist():
        data: dict[str, Any] = {"role": "author" if code == AUTHOR_CODE else "character"}
        if len(talk.slugs) > 1 and code != AUTHOR_CODE:
            data["scene"] = talk.people[code].slug
        data["scenes"] = int(possible[code])
        if code != AUTHOR_CODE:
            data |= {"lines": int(spoken[code]), "words": int(words[code])}
            data["open"] = int(openly[code])
        graph.add_node(names[code], **data)


def _add_summed_edges(
    graph: Graph, talk: Conversation, names: Sequence[str], rows: Edges, window: int
) -> None:
    spans = np.zeros(len(rows), dtype=np.int64)
    if window:
        # Written lines, of turn 0, have a window of their own.
        spans = np.where(rows.turn > 0, (rows.turn - 1) // window + 1, 0).astype(np.int64)
    groups, place = _grouped(rows, len(names), spans)
    count = np.bincount(place, minlength=len(groups))
    words = np.bincount(place, weights=rows.words, minlength=len(groups))
    latency = np.bincount(place, weights=rows.latency, minlength=len(groups))
    moments, times = _moments(rows, place)
    begins = np.searchsorted(moments[:, 0], np.arange(len(groups) + 1))
    possible = _possible_scenes(talk)
    for i, (span, source, target, kind, by) in enumerate(groups.tolist()):
        here = slice(begins[i], begins[i + 1])
        turns = list(zip(times[here].tolist(), moments[here, 1].tolist(), strict=True))
        scenes = int(possible[target] if source == AUTHOR_CODE else possible[source])
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
    """Return an edge's attributes of time from its (count, turn) in order of turns."""
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
    """Return the distinct (span, source, target, kind, by), and each row's index among them."""
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
    """Return the distinct (group, turn), sorted, and the number of contacts of each."""
    turns = int(rows.turn.max(initial=0)) + 1
    key, count = np.unique(place * turns + rows.turn, return_counts=True)
    return np.column_stack(np.divmod(key, turns)).astype(np.int64), count.astype(np.int64)
