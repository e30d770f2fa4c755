"""The graph of who speaks to whom as a chart: people in a circle, an arrow from each to each.

Pure: graphs in, an ECharts option out. Positions come from improv.graph.layout, so that the page,
the report and the files show each character at the same position. ECharts draws the text of the
chart and never reads it as markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from improv.graph.comparison import Comparison
from improv.graph.graph import Graph
from improv.graph.layout import AUTHOR_POSITION, circle_positions
from improv.records import Json
from ui.shared.chart_colours import Palette
from ui.shared.html import safe, short_line

HEIGHT = 460
_NARROW = 440
"""Width in pixels below which only names are drawn."""
THICKEST, THINNEST = 11.0, 0.9
AUTHORS_THICKEST = 2.5
_AUTHORS = ("note", "cue")
MORE, LESS = 0, 1
"""Indices of the colours for a positive and for a negative difference."""


@dataclass(frozen=True)
class Arrow:
    """An arrow between two people. `weight` is contacts per scene, of which `sure` are not guessed.

    For a difference of conditions `weight` may be negative, and `said` has its interval and p.
    """

    source: str
    target: str
    weight: float
    sure: float
    lines: int
    said: str = ""

    @property
    def name(self) -> str:
        return f"{self.source}>{self.target}"


def edges(graph: Graph, kind: str) -> list[Arrow]:
    """Return the arrows of a kind, and those of the author, the largest weight first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for source, target, data in graph.edges(data=True):
        if data["kind"] == kind or data["kind"] in _AUTHORS:
            total = sums.setdefault((source, target), [0.0, 0.0, 0.0])
            total[0] += data["weight"]
            total[1] += 0.0 if data["guess"] else data["weight"]
            total[2] += data["lines"]
    arrows = [Arrow(*pair, total[0], total[1], int(total[2])) for pair, total in sums.items()]
    return sorted(arrows, key=lambda a: (_authors(graph, a), -a.weight, a.name))


def differences(comparison: Comparison) -> list[Arrow]:
    """Return an arrow for each edge with a difference, the largest difference first."""
    arrows = []
    for d in comparison.pairs:
        e = d.estimate
        if math.isnan(e.value) or not e.value:
            continue
        ends = "" if math.isnan(e.low) else f" [{e.low:.2f}, {e.high:.2f}]"
        p = "" if math.isnan(d.p) else f", p = {d.p:.3f}"
        said = f"{d.a:.2f} against {d.b:.2f}: {e.value:+.2f}{ends}{p}"
        arrows.append(Arrow(d.source, d.target, e.value, e.value, 0, said))
    return sorted(arrows, key=lambda a: (-abs(a.weight), a.name))


def arrows_spec(
    graph: Graph, arrows: Sequence[Arrow], chosen: str, ink: Palette, *, apart: bool
) -> Json:
    """Return the chart of a graph's people with these arrows; the `chosen` arrow is highlighted.

    `apart` says that arrows are differences: solid for positive, dashed for negative.
    """
    cast = [n for n, d in graph.nodes(data=True) if d["role"] != "author"]
    # Other characters may speak under the other condition.
    ends = [end for a in arrows for end in (a.source, a.target) if end != "author"]
    cast += [name for name in dict.fromkeys(ends) if name not in cast]
    hues = {name: ink.voices[i % len(ink.voices)] for i, name in enumerate(cast)}
    nodes = _cast_nodes(graph, cast, hues, ink)
    top: float = -130
    if not apart and any(d["role"] == "author" for _, d in graph.nodes(data=True)):
        nodes.append(_author_node(ink))
        top = 100 * AUTHOR_POSITION[1] - 20
    nodes += _corners(top)
    widest = max((abs(a.weight) for a in arrows if a.source != "author"), default=1.0) or 1.0
    option = {
        "animation": False,
        "textStyle": {"fontFamily": ink.serif},
        "tooltip": {
            "trigger": "item",
            "formatter": "{b}",
            "confine": True,
            "backgroundColor": ink.paper,
            "borderColor": ink.rule,
            "textStyle": {"color": ink.ink, "fontFamily": ink.serif},
        },
        "series": [
            {
                "type": "graph",
                "layout": "none",
                "selectedMode": "single",
                "cursor": "pointer",
                "left": 8,
                "right": 8,
                "top": 8,
                "bottom": 8,
                "roam": False,
                "preserveAspect": "contain",
                "nodeScaleRatio": 0,
                "edgeSymbol": ["none", "arrow"],
                "data": nodes,
                "edges": [_edge(a, hues, widest, chosen, ink, apart) for a in arrows],
                "emphasis": {"focus": "none"},
                "select": {"lineStyle": {"color": ink.accent}, "itemStyle": {}},
            }
        ],
    }
    return {"baseOption": option, "media": _media(nodes)}


def _cast_nodes(
    graph: Graph, cast: Sequence[str], hues: dict[str, str], ink: Palette
) -> list[Json]:
    """Return a circle for each character. Its area grows with the character's lines."""
    places = circle_positions(cast)
    lines = {n: int(graph.nodes[n].get("lines", 0)) if n in graph else 0 for n in cast}
    most = max(lines.values(), default=0) or 1
    total = sum(lines.values()) or 1
    nodes: list[Json] = []
    for name in cast:
        x, y = places[name]
        text = f"{short_line(name, 18)}\n{lines[name] / total:.0%} of lines"
        nodes.append(
            {
                "name": name,
                "x": 100 * x,
                "y": 100 * y,
                "symbol": "circle",
                "symbolSize": 20 + 30 * math.sqrt(lines[name] / most),
                "itemStyle": {"color": ink.paper, "borderColor": hues[name], "borderWidth": 3.5},
                "label": _label(text, x, y, ink),
            }
        )
    return nodes


def _author_node(ink: Palette) -> Json:
    return {
        "name": "author",
        "x": 0,
        "y": 100 * AUTHOR_POSITION[1],
        "symbol": "rect",
        "symbolSize": 18,
        "itemStyle": {"color": ink.paper, "borderColor": ink.faint, "borderWidth": 2},
        "label": _label("the author", 1, 0, ink),
    }


def _corners(top: float) -> list[Json]:
    """Return two invisible corners. They keep the scale of the picture the same for every cast."""
    return [
        {
            "name": f" corner {i}",
            "x": x,
            "y": y,
            "symbolSize": 0,
            "label": {"show": False},
            "tooltip": {"show": False},
            "silent": True,
        }
        for i, (x, y) in enumerate([(-190, top), (190, 130)])
    ]


def _media(nodes: Sequence[Json]) -> list[Json]:
    """Return the labels by the width of the page: on a narrow page, only names."""
    few = [
        n | {"label": n["label"] | {"formatter": n["label"].get("formatter", "").split("\n")[0]}}
        for n in nodes
    ]
    return [
        {"query": {"maxWidth": _NARROW}, "option": {"series": [{"data": few}]}},
        {"option": {"series": [{"data": nodes}]}},
    ]


def arrows_alt(title: str, arrows: Sequence[Arrow]) -> str:
    """Return a description of the graph for screen readers."""
    said = [f"{a.source} to {a.target} {a.weight:+.2g}" for a in arrows[:6]]
    most = ", ".join(text.replace("+", "") if "-" not in text else text for text in said)
    more = f" and {len(arrows) - 6} more" if len(arrows) > 6 else ""
    summary = f"{most or 'nobody speaks to anybody'}{more}"
    return f"{short_line(title, 120)}: {summary}. The table below has the same."


def arrow_columns(arrows: Sequence[Arrow], *, apart: bool) -> dict[str, list[object]]:
    """Return the arrows as columns."""
    columns: dict[str, list[object]] = {
        "from": [short_line(a.source) for a in arrows],
        "to": [short_line(a.target) for a in arrows],
    }
    if apart:
        return columns | {"difference": [a.said for a in arrows]}
    return columns | {
        "a scene": [round(a.weight, 3) for a in arrows],
        "not guessed": [round(a.sure / a.weight, 3) if a.weight else 0.0 for a in arrows],
        "in all": [a.lines for a in arrows],
    }


def _authors(graph: Graph, arrow: Arrow) -> bool:
    return bool(graph.nodes[arrow.source].get("role") == "author")


def _edge(
    arrow: Arrow, hues: dict[str, str], widest: float, chosen: str, ink: Palette, apart: bool
) -> Json:
    author = arrow.source == "author"
    share = min(abs(arrow.weight) / widest, 1.0)
    width = THINNEST + ((AUTHORS_THICKEST if author else THICKEST) - THINNEST) * share
    colour = ink.faint if author else hues.get(arrow.source, ink.ink)
    kind = "dashed" if author or (apart and arrow.weight < 0) else "solid"
    opacity = 0.85
    if apart:
        colour = ink.voices[LESS if arrow.weight < 0 else MORE]
    elif not author and arrow.weight:
        # The larger the guessed share, the paler the arrow.
        opacity = 0.3 + 0.6 * arrow.sure / arrow.weight
    here = arrow.name == chosen
    ends = f"{short_line(arrow.source, 30)} to {short_line(arrow.target, 30)}"
    number = f"{arrow.weight:+.2g}" if apart else f"{arrow.weight:.2g}"
    return {
        "source": arrow.source,
        "target": arrow.target,
        "value": arrow.weight,
        # The formatter of a tooltip is HTML, in which ECharts fills in {…}.
        "tooltip": {"formatter": _braceless(safe(f"{ends}: {arrow.said or f'{number} a scene'}"))},
        "symbolSize": [0, 7 + width],
        "lineStyle": {
            "width": width + (2 if here else 0),
            "color": ink.accent if here else colour,
            "opacity": 1.0 if here else opacity,
            "type": kind,
            "curveness": 0.06 if author else 0.17,
        },
        "label": {
            "show": share > 0.3 or here,
            "formatter": number.replace("-", "−"),
            "fontSize": 11,
            "color": ink.ink,
            "opacity": 1,
            "textBorderColor": ink.paper,
            "textBorderWidth": 3,
        },
    }


def _label(text: str, x: float, y: float, ink: Palette) -> Json:
    where = "right" if x > 0.3 else "left" if x < -0.3 else "bottom" if y > 0 else "top"
    return {
        "show": True,
        "position": where,
        "formatter": _braceless(text),
        "distance": 7,
        "color": ink.ink,
        "fontSize": 13,
        "fontFamily": ink.serif,
        "lineHeight": 17,
        "textBorderColor": ink.paper,
        "textBorderWidth": 3,
    }


def _braceless(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")
