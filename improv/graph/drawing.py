"""Draws graphs as SVG for print, and converts SVG to PNG. No file is read or written.

The width of an arrow is its frequency, its pale part is guessed, and the
author's acts are dashed and in ink. Each circle has its name, so that nothing depends on colour
alone. Several graphs are side by side on one scale.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from improv.errors import MachineError
from improv.graph.branch_tree import draw_tree, tree_size
from improv.graph.graph import Graph
from improv.graph.layout import AUTHOR_COLOUR, Positions, node_colours, node_positions

_PANEL_WIDTH, _PANEL_HEIGHT = 470, 400
"""Size of a panel, in pixels."""
_AUTHOR_HEIGHT = 62
"""Additional height of a panel with the author, in pixels."""
_RADIUS = 122
"""Radius of a circle of people, in pixels."""
_CENTRE = 206
"""Pixels from a panel's top to the middle of the circle, without the author."""
_HEAD, _FOOT = 46, 30
_MARGIN, _NAMED = 24, 36
"""Pixels beside a tree of branches, and above each panel for its name."""
_PANELS_IN_ROW = 4
"""Maximum panels in a row."""
MAX_PANELS = 48
"""Maximum panels in a picture."""
_THICKEST, _AUTHOR_THICKEST = 10.0, 3.0
_NAME_LENGTH, _SHORT_NAME_LENGTH = 24, 13
"""Maximum characters of a name, and of a name that fits beside its circle."""
_MAX_NUMBERED = 12
"""Maximum arrows with a number: the widest ones."""
_MAX_ARROWS = 80
"""Maximum arrows in a panel of a conversation: the widest ones."""
_MAX_PIXELS = 20_000_000
"""Maximum pixels of a PNG."""
_THIN = 1.4
"""Width of lines that have no weight."""
_CAPTIONS = {
    "branches": "A line is a branch over its turns, from where it left its parent, and what parted "
    "them; open points were drawn again.",
    "exposure": "A line for what somebody was shown, at least once.",
    "flips": "Arrows: the share of a character’s lines in one state that are followed by one in "
    "the other.",
}
"""The legends of pictures of other subjects than conversations."""
_SERIF = (
    "'Iowan Old Style','Palatino Linotype',Palatino,Georgia,'DejaVu Serif','Liberation Serif',serif"
)
AUTHOR_KINDS = ("note", "cue")


@dataclass(frozen=True, slots=True)
class Inks:
    """The colours of a page: text, less important text, and background."""

    ink: str = "#222222"
    soft: str = "#5a5a5a"
    paper: str = "#ffffff"


PAPER = Inks()
ON_PAGE = Inks("var(--ink)", "var(--soft)", "var(--paper)")
"""The viewer's colours, which follow the page's light or dark theme."""


@dataclass(frozen=True, slots=True)
class _Arrow:
    source: str
    target: str
    kind: str
    weight: float
    sure: float
    by: tuple[str, ...]


def draw_svg(
    graphs: Sequence[tuple[str, Graph]],
    *,
    title: str = "",
    note: str = "",
    across: int = 0,
    inks: Inks = PAPER,
    plain: bool = False,
) -> str:
    """Return (name, graph) pairs as one SVG element, "" for none.

    `across` is the number of panels in a row. `plain` leaves out title and legend, for a page that
    has them itself.
    """
    shown = list(graphs)[:MAX_PANELS]
    if not shown:
        return ""
    across = across or (2 if len(shown) == 4 else min(_PANELS_IN_ROW, len(shown)))
    rows = math.ceil(len(shown) / across)
    scale = max((_scale(graph) for _, graph in shown), default=1.0)
    above = _AUTHOR_HEIGHT if any(_has_author(graph) for _, graph in shown) else 0
    wide, tall = _PANEL_WIDTH * scale, (_PANEL_HEIGHT - 2 * _RADIUS) + 2 * _RADIUS * scale + above
    trees = [tree_size(graph) for _, graph in shown if graph.graph.get("of") == "branches"]
    if trees:
        wide = max(_PANEL_WIDTH, *(w for w, _ in trees)) + 2 * _MARGIN
        tall = max(t for _, t in trees) + _NAMED
    # Panels without names need no room for them.
    unnamed = 0 if any(name for name, _ in shown) else _NAMED
    tall -= unnamed
    width = across * wide
    legend = [] if plain else _legend(shown, note, width)
    head, foot = (0, 0) if plain else (_HEAD if title else 12, _FOOT + 18 * len(legend))
    height = head + rows * tall + foot
    spoken = [a.weight for _, g in shown for a in _arrows(g) if a.kind not in AUTHOR_KINDS]
    most = max(spoken, default=1.0) or 1.0
    if any(graph.graph.get("of") in ("branches", "exposure") for _, graph in shown):
        most = 0.0  # their edges have no counts
    description = "; ".join(_described(name, graph) for name, graph in shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{"100%" if plain else f"{width:.0f}"}" role="img" '
        f'font-family="{_SERIF}" font-size="13">'
        f"<title>{escape(title or 'Who speaks to whom')}</title><desc>{escape(description)}</desc>",
    ]
    if not plain:
        parts.append(f'<rect width="100%" height="100%" fill="{inks.paper}"/>')
        if title:
            parts.append(_text(title, 24, 30, 19, inks.ink, weight=600, anchor="start"))
    for i, (name, graph) in enumerate(shown):
        x, y = (i % across) * wide, head + (i // across) * tall - unnamed
        middle = (x + wide / 2, y + above + _CENTRE - _RADIUS + _RADIUS * scale)
        parts.append(_panel(name, graph, middle, (x + wide / 2, y + 24), scale, most, inks))
    parts += [
        _text(line, 24, height - foot + 22 + 18 * i, 12, inks.soft, anchor="start")
        for i, line in enumerate(legend)
    ]
    return "".join([*parts, "</svg>"])


def svg_to_png(svg: str, zoom: float = 2.0) -> bytes:
    """Return a picture as PNG with `zoom` pixels for each SVG pixel, fewer if it is very large.

    Raises MachineError if this machine has no font.
    """
    import resvg_py

    def drawn(text: str, by: float) -> bytes:
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=text, zoom=by, serif_family="DejaVu Serif", font_family="DejaVu Serif"
            )
        )

    probe = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{}</svg>'
    word = f'<text x="2" y="30" font-size="30" font-family="{_SERIF}">M</text>'
    if drawn(probe.format(word), 1.0) == drawn(probe.format(""), 1.0):
        raise MachineError(
            "this machine has no font to write names with: install one (apt install "
            "fonts-dejavu-core), or ask for .svg"
        )
    width, height = map(float, svg.partition('viewBox="0 0 ')[2].partition('"')[0].split())
    return drawn(svg, min(zoom, math.sqrt(_MAX_PIXELS / max(width * height, 1.0))))


# --- one panel


def _panel(
    name: str,
    graph: Graph,
    middle: tuple[float, float],
    heading: tuple[float, float],
    scale: float,
    most: float,
    inks: Inks,
) -> str:
    if graph.graph.get("of") == "branches":
        wide, _ = tree_size(graph)
        corner = (heading[0] - max(wide, _PANEL_WIDTH) / 2, heading[1] + 12)
        above = [_text(name, *heading, 14, inks.ink, weight=600)] if name else []
        return "".join([*above, draw_tree(graph, *corner, inks.ink, inks.soft)])
    at = {
        node: (middle[0] + _RADIUS * scale * x, middle[1] + _RADIUS * scale * y)
        for node, (x, y) in node_positions(graph).items()
    }
    hues = {n: inks.soft if hue == AUTHOR_COLOUR else hue for n, hue in node_colours(graph).items()}
    sizes = _sizes(graph)
    parts = [_text(name, *heading, 14, inks.ink, weight=600)] if name else []
    arrows = _arrows(graph)
    lanes: dict[frozenset[str], dict[str, int]] = {}
    for arrow in arrows:
        kinds = lanes.setdefault(frozenset((arrow.source, arrow.target)), {})
        kinds.setdefault(arrow.kind, len(kinds))
    labels: list[str] = []
    # The author's acts are drawn first, and the widest arrow last, on top.
    for arrow in sorted(arrows, key=lambda a: (a.kind not in AUTHOR_KINDS, a.weight)):
        lane = lanes[frozenset((arrow.source, arrow.target))][arrow.kind]
        drawn, label = _arrow(arrow, at, sizes, hues[arrow.source], lane, most, inks)
        parts.append(drawn)
        if most and arrow in arrows[:_MAX_NUMBERED]:
            labels.append(label)
    parts += [_node(node, graph, at, sizes[node], hues[node], middle, inks) for node in graph]
    parts += labels
    if not arrows:
        parts.append(_text("Nobody speaks to anybody.", *middle, 13, inks.soft))
    return "".join(parts)


def _arrow(
    arrow: _Arrow,
    at: Positions,
    sizes: dict[str, float],
    hue: str,
    lane: int,
    most: float,
    inks: Inks,
) -> tuple[str, str]:
    """Return an arrow as SVG, and its number, which is drawn after all arrows."""
    start, end = at[arrow.source], at[arrow.target]
    thickest = _AUTHOR_THICKEST if arrow.kind in AUTHOR_KINDS else _THICKEST
    width = 0.8 + (thickest - 0.8) * min(arrow.weight / most, 1.0) if most else _THIN
    if arrow.source == arrow.target:
        return _loop(arrow, start, sizes[arrow.source], hue, width, inks)
    away = math.dist(start, end) or 1.0
    along = ((end[0] - start[0]) / away, (end[1] - start[1]) / away)
    bend = (
        away * (0.13 + 0.1 * lane) if arrow.kind not in AUTHOR_KINDS else away * 0.05 * (lane + 1)
    )
    bow = (
        (start[0] + end[0]) / 2 + bend * along[1],
        (start[1] + end[1]) / 2 - bend * along[0],
    )
    tip = _toward(end, bow, sizes[arrow.target] + 4)
    neck = _toward(end, bow, sizes[arrow.target] + 4 + 5 + width)
    begin = _toward(start, bow, sizes[arrow.source] + 2)
    path = f"M{begin[0]:.1f} {begin[1]:.1f}Q{bow[0]:.1f} {bow[1]:.1f} {neck[0]:.1f} {neck[1]:.1f}"
    dash = ' stroke-dasharray="5 4"' if arrow.kind in AUTHOR_KINDS else ""
    dash = ' stroke-dasharray="2 3"' if arrow.kind == "mentions" else dash
    strokes = [
        f'<path d="{path}" fill="none" stroke="{hue}" stroke-width="{thick:.2f}" '
        f'stroke-opacity="{opacity}"{dash}/>'
        for thick, opacity in ((width, 0.38), (width * arrow.sure / (arrow.weight or 1), 0.9))
        if thick > 0.05
    ]
    half = 3.5 + width / 2
    side = _unit(bow, end)
    head = (
        f"M{tip[0]:.1f} {tip[1]:.1f}"
        f"L{neck[0] - half * side[1]:.1f} {neck[1] + half * side[0]:.1f}"
        f"L{neck[0] + half * side[1]:.1f} {neck[1] - half * side[0]:.1f}Z"
    )
    strokes.append(f'<path d="{head}" fill="{hue}"/>')
    # The number is nearer to the source, where the two arrows of a pair are furthest apart.
    x, y = (0.3025 * a + 0.495 * b + 0.2025 * c for a, b, c in zip(begin, bow, neck, strict=True))
    return "".join(strokes), _number(arrow, x, y, inks)


def _loop(
    arrow: _Arrow, at: tuple[float, float], size: float, hue: str, width: float, inks: Inks
) -> tuple[str, str]:
    """Return an arrow from a node to itself (a state that stays), and its number."""
    x, y = at
    high = y - size - 38
    path = f"M{x - 9:.1f} {y - size:.1f}C{x - 34:.1f} {high:.1f} {x + 34:.1f} {high:.1f} "
    path += f"{x + 9:.1f} {y - size - 3:.1f}"
    drawn = f'<path d="{path}" fill="none" stroke="{hue}" stroke-width="{width:.2f}" '
    return drawn + 'stroke-opacity=".6"/>', _number(arrow, x, high + 4, inks)


def _number(arrow: _Arrow, x: float, y: float, inks: Inks) -> str:
    text = f"{arrow.weight:.2g}" if arrow.weight < 10 else f"{arrow.weight:.0f}"
    return _text(text, x, y + 4, 11, inks.soft, halo=inks.paper)


def _node(
    node: str,
    graph: Graph,
    at: Positions,
    size: float,
    hue: str,
    middle: tuple[float, float],
    inks: Inks,
) -> str:
    data = graph.nodes[node]
    x, y = at[node]
    if data.get("role") == "author":
        shape = (
            f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size:.1f}" '
            f'height="{2 * size:.1f}" fill="{inks.paper}" stroke="{hue}" stroke-width="2"/>'
        )
        return shape + _text("the author", x + size + 7, y + 5, 14, inks.ink, anchor="start")
    shape = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{inks.paper}" stroke="{hue}" '
        'stroke-width="3.5"/>'
    )
    label = str(data.get("label", node))
    room = _NAME_LENGTH if "lines" in data else 2 * _NAME_LENGTH
    name = label if len(label) <= room else label[: room - 1] + "…"
    total = sum(d.get("lines", 0) for _, d in graph.nodes(data=True)) or 1
    share = f"{data['lines'] / total:.0%} of lines" if "lines" in data else ""
    left, top, anchor = x, y + size + 17, "middle"
    aside = graph.graph.get("of", "talk") == "exposure"
    if aside or (abs(x - middle[0]) > _RADIUS / 3 and len(name) <= _SHORT_NAME_LENGTH):
        # The name is outside the circle, where there are no arrows.
        side = 1 if x > middle[0] else -1
        left, top = x + side * (size + 8), y + (-2 if share else 4)
        anchor = "start" if side > 0 else "end"
    elif graph.graph.get("of", "talk") == "talk" and y < middle[1] - 12:
        top = y - size - (22 if share else 9)
    parts = [
        shape,
        _text(name, left, top, 14, inks.ink, weight=600, anchor=anchor, halo=inks.paper),
    ]
    if share:
        parts.append(_text(share, left, top + 15, 11, inks.soft, anchor=anchor, halo=inks.paper))
    return "".join(parts)


def _text(
    text: str,
    x: float,
    y: float,
    size: float,
    fill: str,
    *,
    weight: int = 400,
    anchor: str = "middle",
    halo: str = "",
) -> str:
    around = "stroke-width:3.5;stroke-linejoin:round;paint-order:stroke;" if halo else ""
    around += f"stroke:{halo};" if halo else ""
    # A style, not attributes: a page's own rules for text would override attributes.
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="font-size:{size:g}px;'
        f'font-weight:{weight};{around}fill:{fill}">{escape(text)}</text>'
    )


def _legend(shown: Sequence[tuple[str, Graph]], note: str, width: float) -> list[str]:
    """Return the lines of text that explain the signs in the picture."""
    caption = _CAPTIONS.get(str(shown[0][1].graph.get("of", "talk")), "")
    if not caption:
        arrows = [a for _, graph in shown for a in _arrows(graph)]
        several = any(graph.graph.get("scenes", 1) > 1 for _, graph in shown)
        signs = ["Arrows: lines spoken to somebody" + (", a scene" if several else "")]
        if any(a.sure < a.weight for a in arrows):
            signs.append("pale: guessed")
        if any(a.kind in AUTHOR_KINDS for a in arrows):
            signs.append("dashed: the author’s notes and cues")
        if any(a.kind == "mentions" for a in arrows):
            signs.append("dotted: is spoken of")
        caption = "; ".join(signs) + "."
    room = max(30, int((width - 48) / 6.7))
    return [line for text in (caption, note) if text for line in textwrap.wrap(text, room)]


# --- arrows and sizes


def _arrows(graph: Graph) -> list[_Arrow]:
    """Sum the edges of each pair and kind into one arrow, the heaviest first."""
    contacts: dict[tuple[str, str, str], list[tuple[float, bool, str]]] = {}
    for source, target, data in graph.edges(data=True):
        contact = (float(data.get("weight", 1.0)), bool(data.get("guess")), str(data.get("by", "")))
        contacts.setdefault((source, target, str(data.get("kind", ""))), []).append(contact)
    most = _MAX_ARROWS if graph.graph.get("of", "talk") == "talk" else None
    arrows = [
        _Arrow(
            *key,
            sum(w for w, _, _ in parts),
            sum(w for w, guess, _ in parts if not guess),
            tuple(by for _, _, by in parts),
        )
        for key, parts in contacts.items()
    ]
    return sorted(arrows, key=lambda a: (-a.weight, a.source, a.target, a.kind))[:most]


def _sizes(graph: Graph) -> dict[str, float]:
    """Return each circle's radius: its area grows with its share of lines."""
    lines = {node: float(data.get("lines", 0)) for node, data in graph.nodes(data=True)}
    most = max(lines.values(), default=0.0) or 1.0
    few = len(graph) <= 12
    return {
        node: (6.0 if not few else 8.0 + 14.0 * math.sqrt(n / most)) if n else 9.0
        for node, n in lines.items()
    }


def _has_author(graph: Graph) -> bool:
    return any(d.get("role") == "author" for _, d in graph.nodes(data=True)) and (
        graph.graph.get("of", "talk") == "talk"
    )


def _scale(graph: Graph) -> float:
    """Return the factor by which a panel must be larger than one circle of people."""
    scenes = {str(d["scene"]) for _, d in graph.nodes(data=True) if "scene" in d}
    if graph.graph.get("of", "talk") in ("talk", "flips"):
        return max(1.0, 0.95 * math.ceil(math.sqrt(max(len(scenes), 1))), len(graph) / 14)
    return max(1.0, len(graph) / 10)


def _described(name: str, graph: Graph) -> str:
    """Return what a panel shows in words, for readers who cannot see it."""
    most = [f"{a.source} to {a.target} {a.weight:.2g}" for a in _arrows(graph)[:6]]
    listed = ", ".join(most) or "nobody speaks to anybody"
    return f"{name}: {listed}" if name else listed


def _toward(end: tuple[float, float], other: tuple[float, float], by: float) -> tuple[float, float]:
    side = _unit(end, other)
    return end[0] + by * side[0], end[1] + by * side[1]


def _unit(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    away = math.dist(one, other) or 1.0
    return (other[0] - one[0]) / away, (other[1] - one[1]) / away
