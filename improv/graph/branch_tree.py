"""A multiverse as a picture: a line over the turns for each branch, which leaves its parent's line.

The input is a graph of branches, the output a part of an SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from improv.graph.graph import Graph
from improv.graph.layout import NODE_COLOURS
from improv.records import MAIN

_PITCH, _TALLEST = 26.0, 1400.0
"""Pixels between two lines, and the maximum height of all: with more lines they are closer."""
_LABELLED = 9.0
"""Minimum pixels between two lines for their names to be shown."""
_STEP, _WIDEST = 52.0, 620.0
"""Pixels of a turn, and the maximum width of all turns."""
_LEFT, _ABOVE, _BEND = 46.0, 30.0, 0.55
"""Room before the first turn and above the first line, and how far into a turn a fork bends."""
_LABEL_LENGTH, _LETTER = 44, 6.4
"""Maximum characters of a branch's name, and the pixels of a character."""
_REGENERATION = "regeneration"

_At = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class BranchLine:
    """A branch: the last turn shared with its parent, its last turn, its row, its parent's row."""

    node: str
    fork: int
    last: int
    row: int
    above: int | None


def branch_lines(graph: Graph) -> list[BranchLine]:
    """Return each branch with its row. Branches are below their parent, the latest fork nearest
    to it, so that no fork crosses another branch's line."""
    parents = {child: parent for parent, child in graph.edges()}
    children: dict[str, list[str]] = {}
    for node in graph:
        children.setdefault(parents.get(node, ""), []).append(node)
    lines: list[BranchLine] = []
    rows: dict[str, int] = {}
    waiting = sorted(children.get("", []), reverse=True)
    while waiting:
        node = waiting.pop()
        data = graph.nodes[node]
        rows[node] = len(lines)
        above = rows.get(parents.get(node, ""))
        lines.append(BranchLine(node, int(data["fork"]), int(data["last"]), rows[node], above))
        # The last of the list is next, so the list begins with the earliest fork.
        waiting += sorted(children.get(node, []), key=lambda n: (graph.nodes[n]["fork"], n))
    return lines


def tree_size(graph: Graph) -> tuple[float, float]:
    """Return (width, height) of the branches with their names, in pixels."""
    step, pitch = _grid(graph)
    several = _several(graph)
    ends = [0.0]
    for _, data in graph.nodes(data=True):
        end = max(data["last"], data["fork"] + 1) * step
        ends.append(end + 10 + _LETTER * len(_name(data, several)))
    return _LEFT + max(ends), _ABOVE + pitch * max(len(graph), 1)


def draw_tree(graph: Graph, left: float, top: float, ink: str, soft: str) -> str:
    """Draw branches with the upper left corner at (`left`, `top`). Branches with equal changes have
    the same colour."""
    drawn = branch_lines(graph)
    turns = max((line.last for line in drawn), default=0)
    step, pitch = _grid(graph)
    several = _several(graph)
    changes = dict.fromkeys(d["parted"] for n, d in graph.nodes(data=True) if graph.in_degree(n))
    hues = {change: NODE_COLOURS[i % len(NODE_COLOURS)] for i, change in enumerate(changes)}

    def x(turn: float) -> float:
        return left + _LEFT + step * turn

    def y(row: float) -> float:
        return top + _ABOVE + pitch * row

    every = max(1, -(-turns // 16))
    parts = [_text("turn", left + 2, top + 8, 11, soft, anchor="start")]
    for turn in range(0, turns + 1, every):
        down = y(len(drawn) - 1) + pitch / 2
        parts.append(
            f'<path d="M{x(turn):.1f},{top + 14:.1f}V{down:.1f}" stroke="{soft}" '
            'stroke-width=".5" stroke-opacity=".35"/>'
        )
        parts.append(_text(str(turn), x(turn), top + 8, 11, soft))
    # The latest fork is drawn first: earlier forks pass over the beginnings of later ones.
    for line in reversed(drawn):
        hue = ink if line.above is None else hues[graph.nodes[line.node]["parted"]]
        parts.append(
            _line(line=line, graph=graph, x=x, y=y, pitch=pitch, hue=hue, ink=ink, several=several)
        )
    return "".join(parts)


def _grid(graph: Graph) -> tuple[float, float]:
    """Return the pixels of a turn, and those between two lines."""
    turns = max((int(data["last"]) for _, data in graph.nodes(data=True)), default=0)
    return min(_STEP, _WIDEST / max(turns, 1)), min(_PITCH, _TALLEST / max(len(graph), 1))


def _several(graph: Graph) -> bool:
    return len({data["trial"] for _, data in graph.nodes(data=True)}) > 1


def _name(data: Mapping[str, Any], several: bool) -> str:
    """Return the name at a line's end: the branch's change, or its trial if there are several."""
    root = several and data["branch"] == MAIN
    name = str(data["trial"][:6] if root else data["parted"])
    return name if len(name) <= _LABEL_LENGTH else f"{name[: _LABEL_LENGTH - 1]}…"


def _line(
    line: BranchLine, graph: Graph, x: _At, y: _At, pitch: float, hue: str, ink: str, several: bool
) -> str:
    data, here = graph.nodes[line.node], y(line.row)
    again = data["origin"] == _REGENERATION
    begin = line.fork + 1 if line.above is not None else 0
    path = f"M{x(begin):.1f},{here:.1f}"
    if line.above is not None:
        start, bend = x(line.fork), x(line.fork + _BEND)
        path = f"M{start:.1f},{y(line.above):.1f}C{bend:.1f},{y(line.above):.1f} "
        path += f"{start:.1f},{here:.1f} {x(begin):.1f},{here:.1f}"
    width = 2.2 if line.above is None else 1.4
    parts = [
        f'<path d="{path}H{x(max(line.last, begin)):.1f}" fill="none" stroke="{hue}" '
        f'stroke-width="{width:g}"/>'
    ]
    size = min(3.6, pitch / 3)
    for turn in range(begin, line.last + 1):
        at = f'cx="{x(turn):.1f}" cy="{here:.1f}"'
        # A regenerated turn is an open point, since a colour alone cannot show it to all readers.
        filled = 'fill="none"' if again else f'fill="{hue}"'
        parts.append(f'<circle {at} r="{size:.1f}" {filled} stroke="{hue}" stroke-width="1.2"/>')
    if pitch >= _LABELLED:
        end = x(max(line.last, begin)) + 10
        name = _name(data, several)
        parts.append(_text(name, end, here + 4, min(12, pitch - 1), ink, anchor="start"))
    return "".join(parts)


def _text(text: str, x: float, y: float, size: float, fill: str, *, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'style="font-size:{size:g}px;fill:{fill}">{escape(text)}</text>'
    )
