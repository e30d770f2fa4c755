"""A graph with its name and its figures, and how several of them become one picture. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from improv.graph.drawing import AUTHOR_KINDS, MAX_PANELS, PAPER, Inks, draw_svg
from improv.graph.graph import Graph
from improv.graph.null_model import NullComparison

DRAWN_KINDS = ("addresses", *AUTHOR_KINDS)
"""The kinds of edges in a picture where none are asked for: answers go the same ways back."""


@dataclass(frozen=True, slots=True)
class MeasuredGraph:
    """One graph, with the name of what it is of: a condition, a scene, a stretch of turns. `row`
    says in which row of a picture it stands, and `figures` what it measures."""

    name: str
    graph: Graph
    figures: dict[str, NullComparison]
    row: str = ""


def draw_graphs(
    found: Sequence[MeasuredGraph],
    *,
    title: str = "",
    kinds: Sequence[str] = (),
    across: int = 0,
    inks: Inks = PAPER,
    plain: bool = False,
) -> str:
    """Return graphs as one SVG picture, with edges of `kinds`, so many beside each other.

    Casts of several scenes have panels of their own.
    """
    panels = [(made.name, _with_kinds(made.graph, kinds or DRAWN_KINDS)) for made in found]
    split = [part for name, graph in panels for part in _scenes(name, graph)]
    rows = len(panels) if len(split) > len(panels) else len({made.row for made in found})
    if not across and rows > 1 and len(split) % rows == 0:
        across = len(split) // rows
    note = f"The first {MAX_PANELS} of {len(split)}. " if len(split) > MAX_PANELS else ""
    if all(graph.graph.get("of", "talk") == "talk" for _, graph in panels):
        counts = {int(made.graph.graph.get("scenes", 0)) for made in found} or {0}
        each = " in each" if len(counts) == 1 else " at most in each"
        note += f"{max(counts):,} scene{'s' if max(counts) != 1 else ''}"
        note += f"{each if len(panels) > 1 else ''}."
    return draw_svg(split, title=title, note=note, across=across, inks=inks, plain=plain)


def largest_cast(found: Sequence[MeasuredGraph]) -> tuple[str, list[MeasuredGraph]]:
    """Return the scene with the largest cast, and the graphs of it alone; "" for graphs of one
    scene, which they stay."""
    casts: dict[str, set[str]] = {}
    for made in found:
        for node, data in made.graph.nodes(data=True):
            if "scene" in data:
                casts.setdefault(str(data["scene"]), set()).add(node)
    if len(casts) < 2:
        return "", list(found)
    most = max(casts, key=lambda scene: len(casts[scene]))
    parts = [
        replace(made, graph=part)
        for made in found
        for scene, part in _split(made.graph)
        if scene == most
    ]
    return most, parts


def distinguishing_names(names: Sequence[str]) -> list[str]:
    """Leave out of the names of conditions the levels that all of them share."""
    parts = [name.split(" · ") for name in names]
    if len(names) < 2 or len({len(p) for p in parts}) > 1:
        return list(names)
    keep = [i for i, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
    return [" · ".join(p[i] for i in keep) or name for p, name in zip(parts, names, strict=True)]


def _with_kinds(graph: Graph, kinds: Sequence[str]) -> Graph:
    """Return a graph of talk with edges of some kinds, and nobody who does nothing else."""
    if graph.graph.get("of", "talk") != "talk":
        return graph
    found = Graph(**graph.graph)
    found.add_nodes_from(graph.nodes(data=True))
    found.add_edges_from(e for e in graph.edges(keys=True, data=True) if e[3]["kind"] in kinds)
    found.remove_nodes_from(
        [n for n, d in graph.nodes(data=True) if not found.degree(n) and not d.get("lines")]
    )
    return found


def _scenes(name: str, graph: Graph) -> Iterator[tuple[str, Graph]]:
    """Yield a graph by its scenes: several casts in one circle say nothing."""
    parts = list(_split(graph))
    if len(parts) < 2:
        yield name, graph
        return
    for scene, part in parts:
        yield " · ".join(text for text in (name, scene) if text), part


def _split(graph: Graph) -> Iterator[tuple[str, Graph]]:
    for scene in dict.fromkeys(d["scene"] for _, d in graph.nodes(data=True) if "scene" in d):
        # Not by NetworkX's subgraph, which has the nodes in another order each time.
        part = Graph(**graph.graph)
        part.add_nodes_from(n for n in graph.nodes(data=True) if n[1].get("scene", scene) == scene)
        part.add_edges_from(
            e for e in graph.edges(keys=True, data=True) if e[0] in part and e[1] in part
        )
        alone = [n for n, d in part.nodes(data=True) if d["role"] == "author"]
        part.remove_nodes_from([n for n in alone if not part.degree(n)])
        yield str(scene), part
