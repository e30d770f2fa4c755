"""Other things that are graphs: branches, who was shown what, and flips between states.

They are Graphs like those of conversations, with weights and times, and are written and drawn the
same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from improv.graph.graph import Graph, edge_key
from improv.records import MAIN
from improv.study.edit_summary import describe_branch

_EXCERPT_LENGTH = 60
"""Characters of a block that name it."""
_HELD, _BROKEN = 1.0, 0.0
"""What a line's score is at a trait's pole and at its opposite; between them it is neither."""


def branch_graph(trials: Sequence[Mapping[str, Any]], name: str = "") -> Graph:
    """Return the multiverse: each trial and branch, with an edge from the one that it left.

    `trials` are rows of the run's table with trial, branch, parent, fork, origin, arm, edit, status
    and turns. A branch's node has the turn after which it is on its own (`fork`), its last one, and
    in words what parted it from its parent (`parted`).
    """
    graph = Graph(name=name, of="branches")
    several = len({row["trial"] for row in trials}) > 1

    def node(row: Mapping[str, Any], branch: str) -> str:
        return f"{row['trial']}~{branch}" if several else branch

    there = {node(row, row["branch"]) for row in trials}
    for row in sorted(trials, key=lambda r: (r["trial"], r["branch"] != MAIN, r["branch"])):
        graph.add_node(
            node(row, row["branch"]),
            role="branch",
            trial=row["trial"],
            branch=row["branch"],
            origin=row["origin"],
            arm=row["arm"] or "",
            status=row["status"],
            fork=int(row["fork"] or 0),
            last=int(row["turns"] or 0),
            parted=describe_branch(dict(row)),
            label=row["arm"] or row["branch"][:6],
        )
    for row in trials:
        parent = node(row, row["parent"] or MAIN)
        if row["branch"] == MAIN or parent not in there:
            continue
        fork, last = int(row["fork"] or 0), int(row["turns"] or 0)
        child = node(row, row["branch"])
        graph.add_edge(
            parent,
            child,
            key=edge_key(parent, child, row["origin"]),
            kind=row["origin"],
            weight=1.0,
            lines=max(last - fork, 0),
            first=fork + 1,
            last=max(last, fork + 1),
            spells=[(fork + 1, max(last, fork + 1) + 1)],
        )
    return graph


def exposure_graph(
    calls: pa.Table, blocks: pa.Table, name: str = "", *, whole: bool = False
) -> Graph:
    """Return who was shown what: an edge from a block of prompts to each role that saw it.

    `calls` has role and blocks (lists of ids), `blocks` has id, kind and text. `whole` keeps every
    block, for a scene; otherwise blocks of one kind are one node, and an edge says how many of
    them the role was shown, and in how many calls.
    """
    graph = Graph(name=name, of="exposure")
    known = {row["id"]: (row["kind"], row["text"]) for row in blocks.to_pylist()}
    if not calls.num_rows:
        return graph
    lists = calls["blocks"].combine_chunks()
    owners = pc.list_parent_indices(lists).to_numpy()
    ids = pc.list_flatten(lists).dictionary_encode()
    roles = calls["role"].combine_chunks().dictionary_encode()
    texts, names = ids.dictionary.to_pylist(), roles.dictionary.to_pylist()
    pairs = roles.indices.to_numpy()[owners].astype(np.int64) * len(texts)
    distinct, count = np.unique(pairs + ids.indices.to_numpy(), return_counts=True)
    edges: dict[tuple[str, str], list[int]] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for pair, n in zip(distinct.tolist(), count.tolist(), strict=True):
        role, block = divmod(pair, len(texts))
        kind, text = known.get(texts[block], ("unknown", ""))
        what = texts[block] if whole else kind
        nodes.setdefault(
            what, {"kind": kind, "label": _excerpt(f"{kind}: {text}") if whole else kind}
        )
        edges.setdefault((what, names[role]), []).append(n)
    for what, data in sorted(nodes.items(), key=lambda item: (item[1]["kind"], item[0])):
        graph.add_node(what, role="block", side="block", **data)
    for role in sorted(set(names)):
        is_author = role == "author"
        graph.add_node(role, role="author" if is_author else "character", side="role")
    for (what, role), counts in edges.items():
        graph.add_edge(
            what,
            role,
            key=edge_key(what, role, "shown"),
            kind="shown",
            weight=float(len(counts)),
            blocks=len(counts),
            calls=sum(counts),
        )
    return graph


def flip_graph(scores: pa.Table, name: str = "") -> Graph:
    """Return the states of traits, with an edge for each way that a character went between lines.

    `scores` has trial, branch, turn, character, measure and value, of measures "…:pole/opposite";
    only main branches count. An edge has how often it was gone, and as weight the share of all
    lines in its first state that were followed by its second. Where a line could not be read the
    way over it is unknown, and counts for nothing.
    """
    graph = Graph(name=name, of="flips")
    poles = pc.match_substring(scores["measure"], "/")
    whole = pc.and_(poles, pc.and_(pc.is_valid(scores["turn"]), pc.equal(scores["branch"], MAIN)))
    rows = scores.filter(pc.fill_null(whole, False))
    if not rows.num_rows:
        return graph
    trial, who, measure = (
        rows[n].combine_chunks().dictionary_encode() for n in ("trial", "character", "measure")
    )
    codes = [column.indices.to_numpy() for column in (trial, who, measure)]
    turn = rows["turn"].to_numpy()
    value = rows["value"].to_numpy()
    order = np.lexsort((turn, codes[2], codes[1], codes[0]))
    codes, value = [c[order] for c in codes], value[order]
    state = np.where(value == _HELD, 0, np.where(value == _BROKEN, 1, 2))
    same = np.ones(len(order) - 1, dtype=np.bool_)
    for column in codes:
        same &= column[1:] == column[:-1]
    same &= ~np.isnan(value[1:]) & ~np.isnan(value[:-1])
    people, measures = who.dictionary.to_pylist(), measure.dictionary.to_pylist()
    places = np.column_stack([codes[1][:-1], codes[2][:-1], state[:-1], state[1:]])[same]
    ways, count = np.unique(places, axis=0, return_counts=True)
    total: dict[tuple[int, int, int], int] = {}
    for (person, trait, before, _), n in zip(ways.tolist(), count.tolist(), strict=True):
        total[person, trait, before] = total.get((person, trait, before), 0) + n
    for (person, trait, before, after), n in zip(ways.tolist(), count.tolist(), strict=True):
        ends = []
        for one in (before, after):
            said = _state(measures[trait], one)
            node = f"{people[person]} ({measures[trait]}): {said}"
            graph.add_node(
                node,
                role="state",
                character=people[person],
                measure=measures[trait],
                scene=f"{people[person]} ({measures[trait]})",
                label=said,
            )
            ends.append(node)
        graph.add_edge(
            *ends,
            key=edge_key(*ends, "flips"),
            kind="stays" if before == after else "flips",
            weight=n / total[person, trait, before],
            lines=n,
        )
    return graph


def _state(measure: str, state: int) -> str:
    pole, _, opposite = measure.partition(":")[2].partition("/")
    return (pole, opposite, "neither")[state]


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXCERPT_LENGTH else flat[: _EXCERPT_LENGTH - 1] + "…"
