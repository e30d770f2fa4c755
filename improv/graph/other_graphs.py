"""Graphs of other subjects: branches, prompts and who was shown them, flips between states.

They have weights and times like the graphs of conversations, and are written and drawn in the same
way.
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
"""Maximum characters of a block's text in its label."""
_HELD, _BROKEN = 1.0, 0.0
"""The scores of a line at a trait's pole and at its opposite; a score between them is neither."""


def branch_graph(trials: Sequence[Mapping[str, Any]], name: str = "") -> Graph:
    """Return the multiverse: each trial and branch is a node, with an edge from its parent.

    `trials` are rows of the run's table with trial, branch, parent, fork, origin, arm, edit, status
    and turns. A branch's node has the last turn that it shares with its parent (`fork`), its last
    turn, and its change in words (`parted`).
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
    """Return the exposure graph: an edge from each block of prompts to each role that saw it.

    `calls` has role and blocks (lists of ids), `blocks` has id, kind and text. With `whole` every
    block is a node; otherwise each kind of blocks is a node, and an edge holds the number of
    blocks that the role saw, and the number of calls.
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
        node = texts[block] if whole else kind
        nodes.setdefault(
            node, {"kind": kind, "label": _excerpt(f"{kind}: {text}") if whole else kind}
        )
        edges.setdefault((node, names[role]), []).append(n)
    for node, data in sorted(nodes.items(), key=lambda item: (item[1]["kind"], item[0])):
        graph.add_node(node, role="block", side="block", **data)
    for role in sorted(set(names)):
        is_author = role == "author"
        graph.add_node(role, role="author" if is_author else "character", side="role")
    for (node, role), counts in edges.items():
        graph.add_edge(
            node,
            role,
            key=edge_key(node, role, "shown"),
            kind="shown",
            weight=float(len(counts)),
            blocks=len(counts),
            calls=sum(counts),
        )
    return graph


def flip_graph(scores: pa.Table, name: str = "") -> Graph:
    """Return the states of traits, with an edge for each transition between a character's lines.

    `scores` has trial, branch, turn, character, measure and value, of measures "…:pole/opposite";
    only main branches count. An edge has the number of its transitions; its weight is the share of
    all lines in the first state that are followed by the second. Transitions from or to an
    unreadable line are unknown and do not count.
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
    transitions, count = np.unique(places, axis=0, return_counts=True)
    total: dict[tuple[int, int, int], int] = {}
    for (person, trait, before, _), n in zip(transitions.tolist(), count.tolist(), strict=True):
        total[person, trait, before] = total.get((person, trait, before), 0) + n
    for (person, trait, before, after), n in zip(transitions.tolist(), count.tolist(), strict=True):
        ends = []
        for state_code in (before, after):
            label = _state(measures[trait], state_code)
            node = f"{people[person]} ({measures[trait]}): {label}"
            graph.add_node(
                node,
                role="state",
                character=people[person],
                measure=measures[trait],
                scene=f"{people[person]} ({measures[trait]})",
                label=label,
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
