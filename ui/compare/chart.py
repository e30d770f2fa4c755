"""The Compare room's charts: intervals in rows, curves with bands. Pure: findings in, Vega-Lite
out.

A click returns the index of a row or a curve, so that no name of a study comes back from the
browser. Curves differ in dash and shape as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from improv.analysis.stats.interval import Estimate
from improv.analysis.trajectories import Curve
from improv.records import Json
from ui.shared.chart_colours import DARK, Palette
from ui.shared.html import short_line

_ROW = 66
"""Height of a row in pixels: its name, its text, and the interval below them."""
AXIS = 44
"""Height of the axis in pixels."""
_HEIGHT = 360
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
DASHES: tuple[tuple[int, ...], ...] = (
    (1, 0),
    (6, 3),
    (2, 2),
    (9, 3, 2, 3),
    (1, 3),
    (12, 3),
    (4, 2, 1, 2),
    (8, 2, 2, 2, 2, 2),
)
MOST_LINES = len(SHAPES)
"""Most curves of one chart that have shapes of their own."""
PICK = "pick"
"""The name of the selection parameter in a chart."""
PICKED = "picked"
"""The name of the layer that takes the click."""


@dataclass(frozen=True)
class IntervalRow:
    """One row of the interval chart. `said` is the text below its name; `full` draws a filled mark,
    which means decided, else a hollow one."""

    name: str
    estimate: Estimate
    said: str
    full: bool = True


def intervals(
    rows: Sequence[IntervalRow], chosen: str, ink: Palette, *, axis: str, zero: bool
) -> Json:
    """Return the chart of estimates with their intervals; `zero` draws a line at 0."""
    drawn = [
        {
            "i": i,
            "name": short_line(row.name, 90),
            "said": short_line(row.said, 110),
            "value": row.estimate.value,
            "low": _or(row.estimate.low, row.estimate.value),
            "high": _or(row.estimate.high, row.estimate.value),
            "full": row.full,
            "chosen": row.name == chosen,
        }
        for i, row in enumerate(rows)
        if not math.isnan(row.estimate.value)
    ]
    y = {"field": "i", "type": "ordinal", "axis": None, "scale": {"padding": 0}}
    x = {"type": "quantitative", "scale": _interval_scale(rows), "axis": _axis(ink, axis)}
    layers: list[Json] = [
        {  # The whole row can be clicked.
            "name": PICKED,
            "mark": {"type": "rect", "cursor": "pointer", "cornerRadius": 4},
            "encoding": {
                "y": y,
                "tooltip": [
                    {"field": "name", "title": "what"},
                    {"field": "said", "title": "found"},
                ],
                "color": {
                    "condition": {"test": "datum.chosen", "value": glow(ink)},
                    "value": "transparent",
                },
            },
        },
        *([_zero_line(x, ink)] if zero else []),
        *_row_texts(y, ink),
        *_interval_marks(x, y, ink),
    ]
    return _framed(drawn, layers, ("i",), ink, _ROW * max(1, len(drawn)) + AXIS)


def _interval_scale(rows: Sequence[IntervalRow]) -> Json:
    """Return a scale that holds 0 and every end of every interval, with a margin."""
    known = [r.estimate for r in rows if not math.isnan(r.estimate.value)]
    ends = [x for e in known for x in (e.low, e.high, e.value) if math.isfinite(x)]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    margin = 0.04 * ((high - low) or 1)
    return {"domain": [low - margin if low < 0 else 0, high + margin], "nice": False}


def _zero_line(x: Json, ink: Palette) -> Json:
    return {
        "data": {"values": [{"value": 0}]},
        "mark": {"type": "rule", "strokeDash": [2, 3], "color": ink.faint},
        "encoding": {"x": {**x, "field": "value"}},
    }


def _row_texts(y: Json, ink: Palette) -> list[Json]:
    """Return the layers of a row's name and of the text below it."""
    text = {
        "type": "text",
        "align": "left",
        "baseline": "middle",
        "dx": 6,
        "limit": {"expr": "width"},
    }
    name = {**text, "dy": -17, "fontSize": 14, "fontWeight": 600, "font": ink.serif}
    said = {**text, "dy": 0, "fontSize": 12}
    start = {"y": y, "x": {"value": 0}}
    return [
        *_outlined(name, {**start, "text": {"field": "name"}}, ink.ink, ink),
        *_outlined(said, {**start, "text": {"field": "said"}}, ink.faint, ink),
    ]


def _interval_marks(x: Json, y: Json, ink: Palette) -> list[Json]:
    """Return the layers of a row's interval, a line, and of its estimate, a point."""
    colour = ink.voices[0]
    return [
        {
            "mark": {"type": "rule", "strokeWidth": 2.2, "yOffset": 19, "color": colour},
            "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {
                "type": "point",
                "size": 80,
                "opacity": 1,
                "yOffset": 19,
                "strokeWidth": 2,
                "color": colour,
            },
            "encoding": {
                "y": y,
                "x": {**x, "field": "value"},
                "fill": {"condition": {"test": "datum.full", "value": colour}, "value": ink.paper},
            },
        },
    ]


def _outlined(mark: Json, encoding: Json, colour: str, ink: Palette) -> list[Json]:
    """Return the layers of a text with an outline in the colour of the page, so that a line behind
    it does not cross the letters."""
    paper = {"stroke": ink.paper, "strokeWidth": 5, "strokeJoin": "round"}
    return [
        {"mark": {**mark, **more}, "encoding": encoding | {"color": {"value": value}}}
        for more, value in ((paper, ink.paper), ({}, colour))
    ]


def curves(
    drawn: Sequence[tuple[int, str, Curve]],
    chosen: tuple[int, int] | None,
    ink: Palette,
    *,
    y: str,
    steps: bool,
) -> Json:
    """Return the chart of curves over turns with their bands. `drawn` has for each curve its index
    among all curves, its name and the curve; `chosen` is the index and turn of the open point."""
    points: list[Json] = [
        {
            "i": i,
            "name": short_line(name, 70),
            "turn": turn,
            "value": value,
            "low": _or(low, value),
            "high": _or(high, value),
            "said": f"{value:.3f} [{low:.3f}, {high:.3f}]" if low == low else f"{value:.3f}",
            "chosen": chosen == (i, int(turn)),
        }
        for i, name, curve in drawn
        for turn, value, low, high in curve.points
        if value == value
    ]
    first = min((p["turn"] for p in points), default=0)
    last = max((p["turn"] for p in points), default=1)
    turn = {
        "field": "turn",
        "type": "quantitative",
        "axis": _axis(ink, "turn", whole=True),
        "scale": {"domain": [first, last], "nice": False},
    }
    level = {
        "field": "value",
        "type": "quantitative",
        "axis": _axis(ink, y),
        "scale": {"domain": [0, 1]},
    }
    names = [short_line(name, 70) for _, name, _ in drawn]
    interpolate = "step-after" if steps else "linear"
    layers = [
        *_curve_lines(names, turn, level, ink, interpolate),
        *_curve_points(names, {"x": turn, "y": level}, ink, y),
    ]
    return _framed(points, layers, ("i", "turn"), ink, _HEIGHT)


def _curve_lines(
    names: Sequence[str], turn: Json, level: Json, ink: Palette, interpolate: str
) -> list[Json]:
    """Return the layers of the curves' bands and lines."""
    colour = _by_name(names, _curve_colours(ink))
    return [
        {
            "mark": {
                "type": "area",
                "opacity": 0.3 / (1 + len(names)),
                "interpolate": interpolate,
            },
            "encoding": {
                "x": turn,
                "y": {**level, "field": "low"},
                "y2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.9, "interpolate": interpolate},
            "encoding": {
                "x": turn,
                "y": level,
                "color": colour,
                "strokeDash": _by_name(names, [list(d) for d in DASHES]),
            },
        },
    ]


def _curve_points(names: Sequence[str], place: Json, ink: Palette, measure: str) -> list[Json]:
    """Return the layers of the curves' points: their shapes, the open one, and the clicks."""
    colour, shape = _by_name(names, _curve_colours(ink)), _by_name(names, SHAPES)
    tip = [
        {"field": "name", "title": "condition"},
        {"field": "turn"},
        {"field": "said", "title": measure},
    ]
    return [
        {
            "mark": {"type": "point", "size": 34, "filled": True, "opacity": 1},
            "encoding": {**place, "color": colour, "shape": shape},
        },
        {
            "mark": {"type": "point", "size": 260, "strokeWidth": 2.4},
            "encoding": {
                **place,
                "color": {"value": ink.accent},
                "opacity": {"condition": {"test": "datum.chosen", "value": 1}, "value": 0},
            },
        },
        {  # The area that can be clicked is larger than the point.
            "name": PICKED,
            "mark": {
                "type": "point",
                "size": 320,
                "filled": True,
                "opacity": 0,
                "cursor": "pointer",
            },
            "encoding": {**place, "detail": {"field": "name"}, "tooltip": tip},
        },
    ]


def _curve_colours(ink: Palette) -> list[str]:
    return [*ink.voices, ink.ink, ink.faint]


def _by_name(names: Sequence[str], looks: Sequence[object]) -> Json:
    """Return the encoding that gives each curve, by its name, one of `looks`, with a legend."""
    return {
        "field": "name",
        "type": "nominal",
        "legend": {
            "title": None,
            "orient": "bottom",
            "columns": {"expr": "width < 480 ? 1 : 2"},
            "labelLimit": 330,
            "symbolSize": 90,
            "labelFontSize": 12,
            "symbolStrokeWidth": 2,
            "symbolOpacity": 1,
        },
        "scale": {"domain": list(names), "range": list(looks[: len(names)])},
    }


def glow(ink: Palette) -> str:
    """Return the background colour of a chosen row."""
    return "#2e2718" if ink is DARK else "#f6e9d2"


def _axis(ink: Palette, title: str, *, whole: bool = False) -> Json:
    axis: Json = {
        "title": title,
        "labelColor": ink.faint,
        "titleColor": ink.faint,
        "gridColor": ink.rule,
        "domainColor": ink.rule,
        "tickColor": ink.rule,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridOpacity": 0.6,
        "tickCount": 6,
        "grid": not whole,
    }
    return axis | ({"format": "d", "tickMinStep": 1} if whole else {})


def _framed(
    rows: list[Json], layers: list[Json], fields: Sequence[str], ink: Palette, height: int
) -> Json:
    select = {"type": "point", "on": "click", "fields": list(fields)}
    return {
        "params": [{"name": PICK, "select": select, "views": [PICKED]}],
        "data": {"values": rows},
        "layer": layers,
        "height": height,
        "width": "container",
        "background": "transparent",
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {
            "view": {"stroke": None},
            "legend": {"labelColor": ink.ink},
            "font": "'Source Sans', 'Segoe UI', 'DejaVu Sans', sans-serif",
        },
    }


def _or(value: float, other: float) -> float:
    return value if math.isfinite(value) else other
