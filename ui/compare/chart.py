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
    known = [r.estimate for r in rows if not math.isnan(r.estimate.value)]
    ends = [x for e in known for x in (e.low, e.high, e.value) if math.isfinite(x)]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    margin = 0.04 * ((high - low) or 1)
    scale = {"domain": [low - margin if low < 0 else 0, high + margin], "nice": False}
    y = {"field": "i", "type": "ordinal", "axis": None, "scale": {"padding": 0}}
    x = {"type": "quantitative", "scale": scale, "axis": _axis(ink, axis)}
    colour, text = (
        ink.voices[0],
        {
            "type": "text",
            "align": "left",
            "baseline": "middle",
            "dx": 6,
            "limit": {"expr": "width"},
        },
    )
    tip = [{"field": "name", "title": "what"}, {"field": "said", "title": "found"}]
    layers: list[Json] = [
        {  # The whole row can be clicked.
            "name": PICKED,
            "mark": {"type": "rect", "cursor": "pointer", "cornerRadius": 4},
            "encoding": {
                "y": y,
                "tooltip": tip,
                "color": {
                    "condition": {"test": "datum.chosen", "value": glow(ink)},
                    "value": "transparent",
                },
            },
        },
        *_told(
            {**text, "dy": -17, "fontSize": 14, "fontWeight": 600, "font": ink.serif},
            {"y": y, "x": {"value": 0}, "text": {"field": "name"}},
            ink.ink,
            ink,
        ),
        *_told(
            {**text, "dy": 0, "fontSize": 12},
            {"y": y, "x": {"value": 0}, "text": {"field": "said"}},
            ink.faint,
            ink,
        ),
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
    if zero:
        mark = {"type": "rule", "strokeDash": [2, 3], "color": ink.faint}
        layers.insert(
            1,
            {
                "data": {"values": [{"value": 0}]},
                "mark": mark,
                "encoding": {"x": {**x, "field": "value"}},
            },
        )
    return _framed(drawn, layers, ("i",), ink, _ROW * max(1, len(drawn)) + AXIS)


def _told(mark: Json, encoding: Json, colour: str, ink: Palette) -> list[Json]:
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
    names = [short_line(name, 70) for _, name, _ in drawn]
    legend = {
        "title": None,
        "orient": "bottom",
        "columns": {"expr": "width < 480 ? 1 : 2"},
        "labelLimit": 330,
        "symbolSize": 90,
        "labelFontSize": 12,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
    }

    def by(how: Sequence[object]) -> Json:
        return {
            "field": "name",
            "type": "nominal",
            "legend": legend,
            "scale": {"domain": names, "range": list(how[: len(names)])},
        }

    colour = by([*ink.voices, ink.ink, ink.faint])
    ends = [
        min((p["turn"] for p in points), default=0),
        max((p["turn"] for p in points), default=1),
    ]
    turn = {
        "field": "turn",
        "type": "quantitative",
        "axis": _axis(ink, "turn", whole=True),
        "scale": {"domain": ends, "nice": False},
    }
    level = {
        "field": "value",
        "type": "quantitative",
        "axis": _axis(ink, y),
        "scale": {"domain": [0, 1]},
    }
    how = "step-after" if steps else "linear"
    place = {"x": turn, "y": level}
    tip = [
        {"field": "name", "title": "condition"},
        {"field": "turn"},
        {"field": "said", "title": y},
    ]
    layers: list[Json] = [
        {
            "mark": {"type": "area", "opacity": 0.3 / (1 + len(drawn)), "interpolate": how},
            "encoding": {
                "x": turn,
                "y": {**level, "field": "low"},
                "y2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.9, "interpolate": how},
            "encoding": {**place, "color": colour, "strokeDash": by([list(d) for d in DASHES])},
        },
        {
            "mark": {"type": "point", "size": 34, "filled": True, "opacity": 1},
            "encoding": {**place, "color": colour, "shape": by(SHAPES)},
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
    return _framed(points, layers, ("i", "turn"), ink, _HEIGHT)


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
