"""A graph with its name and figures, and several graphs in one picture. No file is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from improv.graph.drawing import AUTHOR_KINDS, MAX_PANELS, PAPER, Inks, draw_svg
from improv.graph.graph import Graph
from improv.graph.null_model import NullComparison

DRAWN_KINDS = ("addresses", *AUTHOR_KINDS)
"""The kinds of edges in a picture by default. Answers are not: they mirror the addresses."""


@dataclass(frozen=True, slots=True)
class MeasuredGraph:
    """One graph, named after its condition, scene or turns. `row` names its row in a picture, and
    `figures` holds its measures beside the null model."""

    name: str
    graph: Graph
    figures: dict[str, NullComparison]
    row: str = ""


def draw_graphs(
    graphs: Sequence[MeasuredGraph],
    *,
    title: str = "",
    kinds: Sequence[str] = (),
    across: int = 0,
    inks: Inks = PAPER,
    plain: bool = False,
) -> str:
    """Return graphs as one SVG picture with edges of `kinds`, `across` graphs in a row.

    If a graph holds the casts of several scenes, each cast has its own panel.
    """
    panels = [
        (measured.name, _with_kinds(measured.graph, kinds or DRAWN_KINDS)) for measured in graphs
    ]
    split = [part for name, graph in panels for part in _scenes(name, graph)]
    rows = len(panels) if len(split) > len(panels) else len({measured.row for measured in graphs})
    if not across and rows > 1 and len(split) % rows == 0:
        across = len(split) // rows
    note = f"The first {MAX_PANELS} of {len(split)}. " if len(split) > MAX_PANELS else ""
    if all(graph.graph.get("of", "talk") == "talk" for _, graph in panels):
        counts = {int(measured.graph.graph.get("scenes", 0)) for measured in graphs} or {0}
        each = " in each" if len(counts) == 1 else " at most in each"
        note += f"{max(counts):,} scene{'s' if max(counts) != 1 else ''}"
        note += f"{each if len(panels) > 1 else ''}."
    return draw_svg(split, title=title, note=note, across=across, inks=inks, plain=plain)


def largest_cast(graphs: Sequence[MeasuredGraph]) -> tuple[str, list[MeasuredGraph]]:
    """Return the slug with the largest cast, and the graphs of this scene alone; "" and all graphs
    if there is one scene only."""
    casts: dict[str, set[str]] = {}
    for measured in graphs:
        for node, data in measured.graph.nodes(data=True):
            if "scene" in data:
                casts.setdefault(str(data["scene"]), set()).add(node)
    if len(casts) < 2:
        return "", list(graphs)
    largest = max(casts, key=lambda scene: len(casts[scene]))
    parts = [
        replace(measured, graph=part)
        for measured in graphs
        for scene, part in _split(measured.graph)
        if scene == largest
    ]
    return largest, parts


def distinguishing_names(names: Sequence[str]) -> list[str]:
    """Return the names of conditions without the levels that all of them share."""
    parts = [name.split(" · ") for name in names]
    if len(names) < 2 or len({len(p) for p in parts}) > 1:
        return list(names)
    keep = [i for i, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
    return [" · ".join(p[i] for i in keep) or name for p, name in zip(parts, names, strict=True)]


def _with_kinds(graph: Graph, kinds: Sequence[str]) -> Graph:
    """Return a graph of a conversation with edges of `kinds` only, and without nodes that neither
    speak nor have such an edge."""
    if graph.graph.get("of", "talk") != "talk":
        return graph
    part = Graph(**graph.graph)
    part.add_nodes_from(graph.nodes(data=True))
    part.add_edges_from(e for e in graph.edges(keys=True, data=True) if e[3]["kind"] in kinds)
    part.remove_nodes_from(
        [n for n, d in graph.nodes(data=True) if not part.degree(n) and not d.get("lines")]
    )
    return part


def _scenes(name: str, graph: Graph) -> Iterator[tuple[str, Graph]]:
    """Yield (name, graph) for each scene: several casts in one circle cannot be read."""
    parts = list(_split(graph))
    if len(parts) < 2:
        yield name, graph
        return
    for scene, part in parts:
        yield " · ".join(text for text in (name, scene) if text), part


def _split(graph: Graph) -> Iterator[tuple[str, Graph]]:
    for scene in dict.fromkeys(d["scene"] for _, d in graph.nodes(data=True) if "scene" in d):
        # NetworkX's subgraph would have the nodes in another order each time.
        part = Graph(**graph.graph)
        part.add_nodes_from(n for n in graph.nodes(data=True) if n[1].get("scene", scene) == scene)
        part.add_edges_from(
            e for e in graph.edges(keys=True, data=True) if e[0] in part and e[1] in part
        )
        alone = [n for n, d in part.nodes(data=True) if d["role"] == "author"]
        part.remove_nodes_from([n for n in alone if not part.degree(n)])
        yield str(scene), part
