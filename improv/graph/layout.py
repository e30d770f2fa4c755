"""The positions and colours of a graph's nodes. Equal graphs have equal positions.

A simulation of springs would put the same people at different places in two pictures, which could
then not be compared. Characters are on a circle in the order of the cast list, the author above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from improv.graph.graph import Graph

NODE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6500", "#1F6680")
"""Okabe and Ito's hues, the yellows darkened for paper; casts of more than six repeat them."""
AUTHOR_COLOUR = "#4a4a4a"
AUTHOR_POSITION = (0.0, -1.5)

Positions = dict[str, tuple[float, float]]


def node_positions(graph: Graph) -> Positions:
    """Return each node's (x, y): x to the right and y downwards, characters within [-1, 1]."""
    subject = graph.graph.get("of", "talk")
    if subject == "branches":
        return _tree(graph)
    if subject == "exposure":
        return _columns(graph)
    return _circle(graph)


def node_colours(graph: Graph) -> dict[str, str]:
    """Return each node's colour: characters by their order in the graph, others in ink."""
    people = [n for n, data in graph.nodes(data=True) if data.get("role") == "character"]
    hues = {name: NODE_COLOURS[i % len(NODE_COLOURS)] for i, name in enumerate(people)}
    return {name: hues.get(name, AUTHOR_COLOUR) for name in graph}


def circle_positions(names: Sequence[str]) -> Positions:
    """Return positions on a circle, the first at the upper left. None is at the very top, where the
    author is; two people are side by side.
    """
    positions: Positions = {}
    for i, name in enumerate(names):
        turn = -90.0 - (i + 0.5) * 360.0 / len(names)
        x, y = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        positions[name] = (round(x, 6), round(y, 6)) if len(names) > 1 else (0.0, 0.0)
    return positions


def _circle(graph: Graph) -> Positions:
    people = [n for n, data in graph.nodes(data=True) if data.get("role") != "author"]
    # The casts of several scenes are in circles beside each other.
    scenes = list(dict.fromkeys(str(graph.nodes[n].get("scene", "")) for n in people))
    positions: Positions = {}
    columns = math.ceil(math.sqrt(len(scenes)))
    for i, scene in enumerate(scenes):
        cast = [n for n in people if str(graph.nodes[n].get("scene", "")) == scene]
        across, down = i % columns, i // columns
        for name, (x, y) in circle_positions(cast).items():
            if len(scenes) == 1:
                positions[name] = (x, y)
            else:
                positions[name] = (
                    round((2 * across + 1) / columns - 1 + 0.68 * x / columns, 6),
                    round((2 * down + 1) / columns - 1 + 0.68 * y / columns, 6),
                )
    for name, data in graph.nodes(data=True):
        if data.get("role") == "author":
            positions[name] = AUTHOR_POSITION
    return positions


def _tree(graph: Graph) -> Positions:
    """Return branches below each other, from left to right by the turn at which they begin."""
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
    """Return blocks of prompts on the left, the roles that saw them on the right."""
    positions: Positions = {}
    for side, x in (("block", -1.0), ("role", 1.0)):
        names = [n for n, data in graph.nodes(data=True) if data.get("side") == side]
        rows = max(len(names) - 1, 1)
        for i, name in enumerate(names):
            positions[name] = (x, 2 * i / rows - 1 if len(names) > 1 else 0.0)
    return positions
