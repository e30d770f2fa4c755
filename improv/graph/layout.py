"""Where the nodes of a graph are drawn, and in which colours: the same graph, the same place.

Nothing is left to a simulation of springs, which would put the same people elsewhere in each of
two pictures that are to be compared. The stage's people stand in a circle in the order of the cast
list, and the author above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from improv.graph.graph import Graph

NODE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6500", "#1F6680")
"""Okabe and Ito's hues, its yellows darkened to be read on paper; a larger cast shares them."""
AUTHOR_COLOUR = "#4a4a4a"
"""The author's."""
AUTHOR_POSITION = (0.0, -1.5)

Positions = dict[str, tuple[float, float]]


def node_positions(graph: Graph) -> Positions:
    """Return each node's (x, y): x to the right and y downwards, people within [-1, 1]."""
    of = graph.graph.get("of", "talk")
    if of == "branches":
        return _tree(graph)
    if of == "exposure":
        return _columns(graph)
    return _circle(graph)


def node_colours(graph: Graph) -> dict[str, str]:
    """Return each node's colour: people by their place in the graph, all else in ink."""
    people = [n for n, data in graph.nodes(data=True) if data.get("role") == "character"]
    hues = {name: NODE_COLOURS[i % len(NODE_COLOURS)] for i, name in enumerate(people)}
    return {name: hues.get(name, AUTHOR_COLOUR) for name in graph}


def circle_positions(names: Sequence[str]) -> Positions:
    """Return places on a circle, the first at its left upper side, with room for the author above.

    Two stand side by side; there is never one at the very top.
    """
    found: Positions = {}
    for i, name in enumerate(names):
        turn = -90.0 - (i + 0.5) * 360.0 / len(names)
        x, y = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        found[name] = (round(x, 6), round(y, 6)) if len(names) > 1 else (0.0, 0.0)
    return found


def _circle(graph: Graph) -> Positions:
    people = [n for n, data in graph.nodes(data=True) if data.get("role") != "author"]
    # Casts of several scenes stand beside each other.
    scenes = list(dict.fromkeys(str(graph.nodes[n].get("scene", "")) for n in people))
    found: Positions = {}
    wide = math.ceil(math.sqrt(len(scenes)))
    for i, scene in enumerate(scenes):
        cast = [n for n in people if str(graph.nodes[n].get("scene", "")) == scene]
        across, down = i % wide, i // wide
        for name, (x, y) in circle_positions(cast).items():
            if len(scenes) == 1:
                found[name] = (x, y)
            else:
                found[name] = (
                    round((2 * across + 1) / wide - 1 + 0.68 * x / wide, 6),
                    round((2 * down + 1) / wide - 1 + 0.68 * y / wide, 6),
                )
    for name, data in graph.nodes(data=True):
        if data.get("role") == "author":
            found[name] = AUTHOR_POSITION
    return found


def _tree(graph: Graph) -> Positions:
    """Branches below each other, from left to right by the turn at which they begin."""
    order: list[str] = []

    def visit(node: str) -> None:
        order.append(node)
        for child in sorted(graph.successors(node), key=lambda n: (graph.nodes[n]["fork"], n)):
            visit(child)

    for root in [n for n in graph if not graph.in_degree(n)]:
        visit(root)
    last = max((int(data.get("fork", 0)) for _, data in graph.nodes(data=True)), default=0) or 1
    rows = max(len(order) - 1, 1)
    return {
        name: (2 * int(graph.nodes[name].get("fork", 0)) / last - 1, 2 * i / rows - 1)
        for i, name in enumerate(order)
    }


def _columns(graph: Graph) -> Positions:
    """What was shown on the left, to whom on the right."""
    found: Positions = {}
    for side, x in (("block", -1.0), ("role", 1.0)):
        names = [n for n, data in graph.nodes(data=True) if data.get("side") == side]
        rows = max(len(names) - 1, 1)
        for i, name in enumerate(names):
            found[name] = (x, 2 * i / rows - 1 if len(names) > 1 else 0.0)
    return found
