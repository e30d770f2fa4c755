"""The tree of branches as a chart: the points of `layout`, with colours, shapes and labels.

The change of a branch, or a score, has a colour, a shape and a label, so that it can be read
without colours. Pure: data in, an ECharts option out. ECharts draws the text and never reads it as
markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from improv.records import MAIN, Json
from improv.study.edit_summary import describe_branch
from ui.multiverse.data import Multiverse
from ui.multiverse.layout import REST, Point, Tree
from ui.shared.chart_colours import Palette
from ui.shared.html import short_line
from ui.shared.spoken_line import SpokenLine

_ROW = 30
"""Height of a row in pixels."""
RIGHT = 290
"""Width in pixels for the label beside the last point of a row."""
_NARROW = 640
"""Width of the chart in pixels below which labels are short."""

HERE = "here"
"""The name of the mark on the current point, which is drawn without a label."""

HOLLOW = "hollow"
"""The shape of a point that has no score."""

_SHAPES = ("circle", "diamond", "rect", "triangle", "roundRect", "arrow")
_GLYPHS = ("●", "◆", "■", "▲", "▢", "➤")
_CROSS = "path://M2 0L8 6L14 0L16 2L10 8L16 14L14 16L8 10L2 16L0 14L6 8L0 2Z"
_SPREAD = 8
"""Segments of a curved line."""


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a glyph, its colour, and its meaning."""

    glyph: str
    colour: str
    words: str


@dataclass(frozen=True)
class Look:
    """How points are coloured: by the change of their branch (`measure` ""), or by a measure's
    mean, on a scale from `low` to `high`."""

    measure: str
    ways: tuple[str, ...]
    low: float
    high: float
    ink: Palette

    def colour_of(self, words: str) -> str:
        return self.ink.voices[self.ways.index(words) % len(self.ink.voices)]

    def legend(self) -> list[Key]:
        if not self.measure:
            known = [Key("●", self.ink.ink, "as it was played")]
            shown = self.ways[: len(_GLYPHS)]
            return known + [
                Key(_GLYPHS[i], self.colour_of(words), words) for i, words in enumerate(shown)
            ]
        low, middle, high = self.low, (self.low + self.high) / 2, self.high
        return [
            Key("●", self.ink.voices[0], f"near {high:.3g}"),
            Key("◆", self.ink.voices[4], f"about {middle:.3g}"),
            Key("✕", self.ink.voices[1], f"near {low:.3g}"),
            Key("○", self.ink.faint, "no score"),
        ]

    def scored(self, value: float | None) -> tuple[str, str]:
        """Return the shape and the colour of a score: a disc for high, a cross for low."""
        if value is None:
            return HOLLOW, self.ink.faint
        width = self.high - self.low
        share = (value - self.low) / width if width > 0 else 1.0
        if share >= 2 / 3:
            return "circle", self.ink.voices[0]
        return ("diamond", self.ink.voices[4]) if share > 1 / 3 else (_CROSS, self.ink.voices[1])


def colouring(multiverse: Multiverse, measure: str, ink: Palette) -> Look:
    """Return the colours of a multiverse. A measure with values between 0 and 1 has that scale."""
    ways = list(
        dict.fromkeys(describe_branch(r) for name, r in multiverse.rows.items() if name != MAIN)
    )
    values = list(multiverse.scores.get(measure, {}).values())
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return Look(measure if values else "", tuple(ways), low, high, ink)


def tree_spec(
    tree: Tree, multiverse: Multiverse, seen: Look, marks: Sequence[tuple[str, str, int]]
) -> Json:
    """Return the chart. `marks` are highlighted points: (name, branch, turn)."""
    ink = seen.ink
    points = [_point(p, multiverse, seen) for p in tree.points]
    small = [p | {"label": p["label"] | {"width": 90}} for p in points]
    option = {
        "animation": False,
        "textStyle": {"fontFamily": ink.serif},
        "grid": {"left": 52, "right": RIGHT, "top": 34, "bottom": 14},
        "xAxis": _turn_axis(tree, ink),
        "yAxis": {
            "type": "value",
            "inverse": True,
            "show": False,
            "min": -0.7,
            "max": tree.rows - 0.3,
        },
        "tooltip": {
            "trigger": "item",
            "formatter": "{b}",
            "confine": True,
            "backgroundColor": ink.paper,
            "borderColor": ink.rule,
            "textStyle": {"color": ink.ink, "fontFamily": ink.serif},
            "extraCssText": "max-width:24rem;white-space:pre-line;overflow-wrap:anywhere",
        },
        "series": _series(
            edges=_edges(tree, multiverse, seen),
            points=points,
            rings=[_ring(tree, *mark, ink) for mark in marks],
            ink=ink,
        ),
    }
    narrow = {
        "grid": {"left": 40, "right": 104, "top": 34, "bottom": 14},
        "series": [{}, {"data": small}, {}],
    }
    wide = {"grid": option["grid"], "series": [{}, {"data": points}, {}]}
    media = [{"query": {"maxWidth": _NARROW}, "option": narrow}, {"option": wide}]
    return {"baseOption": option, "media": media}


def _turn_axis(tree: Tree, ink: Palette) -> Json:
    last = max((p.turn for p in tree.points), default=0)
    return {
        "type": "value",
        "min": 0,
        "max": max(last, 1),
        "position": "top",
        "interval": max(1, round(last / 16)),
        "name": "turn",
        "nameLocation": "start",
        "nameGap": 14,
        "nameTextStyle": {"color": ink.faint, "verticalAlign": "bottom", "padding": [0, 0, 9, 0]},
        "axisLine": {"show": False},
        "axisTick": {"show": False},
        "axisLabel": {"color": ink.faint},
        "splitLine": {"lineStyle": {"color": ink.rule, "opacity": 0.55}},
    }


def _series(
    *, edges: list[Json], points: list[Json], rings: list[Json], ink: Palette
) -> list[Json]:
    """Return the chart's three layers: the lines, the points, and the rings around marked ones."""
    return [
        {
            "type": "lines",
            "coordinateSystem": "cartesian2d",
            "polyline": True,
            "silent": True,
            "z": 1,
            "data": edges,
        },
        {
            "type": "scatter",
            "z": 3,
            "clip": False,
            "selectedMode": "single",
            "cursor": "pointer",
            "select": {"itemStyle": {"borderColor": ink.paper}},
            "labelLayout": {"hideOverlap": False},
            "data": points,
        },
        {
            "type": "scatter",
            "z": 2,
            "clip": False,
            "silent": True,
            "tooltip": {"show": False},
            "data": rings,
        },
    ]


def height(tree: Tree) -> int:
    return max(150, tree.rows * _ROW + 70)


def tree_alt(tree: Tree, multiverse: Multiverse, title: str) -> str:
    """Return a description of the tree for screen readers."""
    count = len(multiverse.rows) - 1
    forks = sorted({r["fork"] for name, r in multiverse.rows.items() if name != MAIN})
    where = ", ".join(map(str, forks[:12])) + (" and later" if len(forks) > 12 else "")
    return (
        f"The tree of {short_line(title)}: {count} {'branch' if count == 1 else 'branches'} of a "
        f"scene of {max((p.turn for p in tree.points), default=0)} turns, parting after turn "
        f"{where or 'none'}. The table below has the same."
    )


def said_at(multiverse: Multiverse, branch: str, turn: int) -> SpokenLine | None:
    """Return the spoken row of a branch's own turn, else its last row."""
    rows = [s for s in multiverse.own.get(branch, ()) if s.turn == turn]
    spoken = [s for s in rows if s.kind in ("line", "silence", "probe")]
    return spoken[0] if spoken else rows[-1] if rows else None


def bundle(point: Point) -> str:
    """Return the content of a bundle in words."""
    count = len(point.worlds)
    if not point.lines:
        return f"{count} never begun"
    kinds = "one line" if point.lines == 1 else f"{point.lines} different lines"
    return f"{count} more, {kinds}" if point.folded == REST else f"{count} draws, {kinds}"


def _point(point: Point, multiverse: Multiverse, seen: Look) -> Json:
    ink = seen.ink
    here = said_at(multiverse, point.worlds[0], point.turn)
    row = multiverse.rows[point.worlds[0]]
    trunk = MAIN in point.worlds
    words = "" if here is None else _sentence(here)
    if seen.measure:
        value = seen_value(multiverse, seen, point)
        shape, colour = seen.scored(value)
        words += "" if value is None else f"\n{seen.measure}: {value:.2f}"
    elif trunk:
        shape, colour = "circle", ink.ink
    else:
        shape = _SHAPES[seen.ways.index(describe_branch(row)) % len(_SHAPES)]
        colour = seen.colour_of(describe_branch(row))
    times = f"{len(point.worlds)} say this. " if len(point.worlds) > 1 and not trunk else ""
    if point.folded:
        times, words = (
            f"{bundle(point)}, {describe_branch(row)}. Click to unfold.\nFor example: ",
            words,
        )
        if point.folded == REST:
            times = f"{bundle(point)}, {describe_branch(row)}. The table has them all.\n"
    failed = row["status"] == "failed" and point.last and not point.folded
    size = (9 if trunk else 10) + (min(12, 2 * len(point.worlds)) if not trunk else 0)
    if point.folded:
        size = 22
    return {
        "value": [point.turn, point.row],
        "name": f"Turn {point.turn}. {times}{short_line(words, 300)}"
        + (" The scene breaks off here." if failed else ""),
        "symbol": "circle" if point.turn == 0 or shape == HOLLOW else shape,
        "symbolSize": 7 if point.turn == 0 else size,
        "itemStyle": _filled(colour, ink, hollow=shape == HOLLOW),
        "label": _label(point, multiverse, here, ink, failed=failed),
    }


def _filled(colour: str, ink: Palette, *, hollow: bool) -> Json:
    inner, rim = (ink.paper, colour) if hollow else (colour, ink.paper)
    return {"color": inner, "borderColor": rim, "borderWidth": 2 if hollow else 1.5, "opacity": 1}


def seen_value(multiverse: Multiverse, seen: Look, point: Point) -> float | None:
    return multiverse.value(seen.measure, point.worlds, point.turn)


def _sentence(said: SpokenLine) -> str:
    if said.kind == "silence":
        return f"{said.speaker} says nothing"
    return f"{said.speaker}: {said.text}" if said.speaker else said.text


def _label(
    point: Point, multiverse: Multiverse, here: SpokenLine | None, ink: Palette, *, failed: bool
) -> Json:
    """Return the label of a point: the size of a bundle, and at the end of a branch its change or
    its first line."""
    many = len(point.worlds) > 1 and MAIN not in point.worlds
    text = ""
    if point.folded:
        text = bundle(point)
    elif point.last:
        row = multiverse.rows[point.worlds[0]]
        text = _ending(row, multiverse, point)
        text += " ✕" if failed else ""
    if many and not point.folded:
        text = f"×{len(point.worlds)} {text}" if point.last else f"×{len(point.worlds)}"
    beside = point.last or bool(point.folded)
    return {
        "show": bool(text),
        "position": "right" if beside else "top",
        "distance": 7,
        "formatter": text.replace("{", "(").replace("}", ")"),
        "color": ink.ink,
        "fontSize": 13 if beside else 11,
        "fontStyle": "italic" if point.folded else "normal",
        "width": RIGHT - 18,
        "overflow": "truncate" if beside else "none",
        "textBorderColor": ink.paper,
        "textBorderWidth": 3,
    }


def _ending(row: Json, multiverse: Multiverse, point: Point) -> str:
    if row["branch"] == MAIN:
        return "as it was played"
    if row["edit"] or row["arm"]:
        return short_line(describe_branch(row), 60)
    first = said_at(multiverse, row["branch"], multiverse.begins(row["branch"]))
    if first is None:
        return short_line(describe_branch(row), 60)
    return "says nothing" if first.kind == "silence" else short_line(first.text, 60)


def _edges(tree: Tree, multiverse: Multiverse, seen: Look) -> list[Json]:
    edges = []
    for point in tree.points:
        if point.before < 0:
            continue
        parent = tree.points[point.before]
        trunk = MAIN in point.worlds
        row = multiverse.rows[point.worlds[0]]
        colour = seen.ink.ink if trunk else seen.ink.faint
        if not trunk and not seen.measure:
            colour = seen.colour_of(describe_branch(row))
        width = 2.2 if trunk else min(1.4 + 0.35 * (len(point.worlds) - 1), 6.0)
        edges.append(
            {
                "coords": _bent(parent, point),
                "lineStyle": {
                    "color": colour,
                    "width": width,
                    "opacity": 1.0 if trunk else 0.75,
                    "type": "dashed" if point.folded else "solid",
                    "curveness": 0,
                },
            }
        )
    return edges


def _bent(parent: Point, point: Point) -> list[list[float]]:
    """Return the line from a point to the next one. A change of the row happens within the first
    turn, in a curve that is level at both ends."""
    start, end = (parent.turn, parent.row), (point.turn, point.row)
    if start[1] == end[1]:
        return [[*start], [*end]]
    bend = []
    for k in range(_SPREAD + 1):
        t = k / _SPREAD
        bend.append([start[0] + t, start[1] + (end[1] - start[1]) * t * t * (3 - 2 * t)])
    return bend if end[0] <= start[0] + 1 else [*bend, [*end]]


def _ring(tree: Tree, name: str, branch: str, turn: int, ink: Palette) -> Json:
    point = tree.of(branch, turn)
    return {
        "value": [point.turn, point.row] if point is not None else [None, None],
        "symbol": "circle",
        "symbolSize": 30 if point is not None and point.folded else 26,
        "itemStyle": {"color": "transparent", "borderColor": ink.accent, "borderWidth": 2},
        "label": {
            "show": name != HERE,
            "position": "right",
            "offset": [-6, -11],
            "formatter": name,
            "color": ink.accent,
            "fontSize": 12,
            "fontStyle": "italic",
            "textBorderColor": ink.paper,
            "textBorderWidth": 3,
        },
    }


def columns(multiverse: Multiverse, measure: str, names: Sequence[str]) -> list[Json]:
    """Return the rows of the table with the values of the chart."""
    scored: dict[str, list[float]] = {}
    for (branch, _), value in multiverse.scores.get(measure, {}).items():
        scored.setdefault(branch, []).append(value)
    rows = []
    for name in names:
        row, mean = multiverse.rows[name], scored.get(name, [])
        first = said_at(multiverse, name, multiverse.begins(name))
        rows.append(
            {
                "branch": name,
                "parent": row["parent"],
                "last shared turn": row["fork"] if name != MAIN else None,
                "change": short_line(describe_branch(row), 200),
                "first own line": short_line(_sentence(first), 300) if first else "",
                "own turns": len({s.turn for s in multiverse.own.get(name, ()) if s.turn}),
                "status": row["status"],
                **({measure: sum(mean) / len(mean) if mean else None} if measure else {}),
            }
        )
    return rows
