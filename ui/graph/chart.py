"""The graph of who speaks to whom as a chart: people in a circle, an arrow from each to each.

Pure: graphs in, an ECharts option out. Places come from improv.graph.layout, so that the page, the
report and the files show everybody at the same place. Chart text is drawn, never read as markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from improv.graph.comparison import Comparison
from improv.graph.graph import Graph
from improv.graph.layout import AUTHOR_POSITION, circle_positions
from improv.records import Json
from ui.shared.chart_colours import DARK, LIGHT, Palette
from ui.shared.html import one_line, safe

__all__ = ["DARK", "LIGHT", "Arrow", "Palette", "alt", "differences", "edges", "spec", "table"]

HEIGHT = 460
NARROW = 440
"""Pixels below which there is room for names alone."""
THICKEST, THINNEST = 11.0, 0.9
AUTHORS_THICKEST = 2.5
AUTHORS = ("note", "cue")
MORE, LESS = 0, 1
"""The voices that tell more under the one condition from more under the other."""


@dataclass(frozen=True)
class Arrow:
    """What is drawn between two people: contacts a scene, of which `sure` were no guesses.

    Of a difference `weight` may be negative, and `said` has its interval and p.
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
    """Return the arrows of a kind, and those of the author, the widest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for source, target, data in graph.edges(data=True):
        if data["kind"] == kind or data["kind"] in AUTHORS:
            one = sums.setdefault((source, target), [0.0, 0.0, 0.0])
            one[0] += data["weight"]
            one[1] += 0.0 if data["guess"] else data["weight"]
            one[2] += data["lines"]
    found = [Arrow(*pair, one[0], one[1], int(one[2])) for pair, one in sums.items()]
    return sorted(found, key=lambda a: (_authors(graph, a), -a.weight, a.name))


def differences(found: Comparison) -> list[Arrow]:
    """Return an arrow for each edge that differs, the largest difference first."""
    arrows = []
    for d in found.pairs:
        e = d.estimate
        if math.isnan(e.value) or not e.value:
            continue
        ends = "" if math.isnan(e.low) else f" [{e.low:.2f}, {e.high:.2f}]"
        p = "" if math.isnan(d.p) else f", p = {d.p:.3f}"
        said = f"{d.a:.2f} against {d.b:.2f}: {e.value:+.2f}{ends}{p}"
        arrows.append(Arrow(d.source, d.target, e.value, e.value, 0, said))
    return sorted(arrows, key=lambda a: (-abs(a.weight), a.name))


def spec(graph: Graph, arrows: Sequence[Arrow], chosen: str, ink: Palette, *, apart: bool) -> Json:
    """Return the chart of a graph's people with these arrows; the `chosen` one stands out.

    `apart` says that arrows are differences: solid for more, dashed for less.
    """
    cast = [n for n, d in graph.nodes(data=True) if d["role"] != "author"]
    # Under the other condition somebody else may speak.
    ends = [end for a in arrows for end in (a.source, a.target) if end != "author"]
    cast += [name for name in dict.fromkeys(ends) if name not in cast]
    places = circle_positions(cast)
    hues = {name: ink.voices[i % len(ink.voices)] for i, name in enumerate(cast)}
    lines = {n: int(graph.nodes[n].get("lines", 0)) if n in graph else 0 for n in cast}
    most = max(lines.values(), default=0) or 1
    total = sum(lines.values()) or 1
    nodes: list[Json] = []
    for name in cast:
        x, y = places[name]
        said = f"{one_line(name, 18)}\n{lines[name] / total:.0%} of lines"
        nodes.append(
            {
                "name": name,
                "x": 100 * x,
                "y": 100 * y,
                "symbol": "circle",
                "symbolSize": 20 + 30 * math.sqrt(lines[name] / most),
                "itemStyle": {"color": ink.paper, "borderColor": hues[name], "borderWidth": 3.5},
                "label": _label(said, x, y, ink),
            }
        )
    if any(d["role"] == "author" for _, d in graph.nodes(data=True)) and not apart:
        nodes.append(
            {
                "name": "author",
                "x": 0,
                "y": 100 * AUTHOR_POSITION[1],
                "symbol": "rect",
                "symbolSize": 18,
                "itemStyle": {"color": ink.paper, "borderColor": ink.faint, "borderWidth": 2},
                "label": _label("the author", 1, 0, ink),
            }
        )
    top = 100 * AUTHOR_POSITION[1] - 20 if len(nodes) > len(cast) else -130
    # Corners that nobody sees keep the picture as large as it is, whoever is in it.
    nodes += [
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
    # Where there is little room, names alone.
    few = [
        n | {"label": n["label"] | {"formatter": n["label"].get("formatter", "").split("\n")[0]}}
        for n in nodes
    ]
    media = [
        {"query": {"maxWidth": NARROW}, "option": {"series": [{"data": few}]}},
        {"option": {"series": [{"data": nodes}]}},
    ]
    return {"baseOption": option, "media": media}


def alt(title: str, arrows: Sequence[Arrow]) -> str:
    """Describe the graph to somebody who does not see it."""
    said = [f"{a.source} to {a.target} {a.weight:+.2g}" for a in arrows[:6]]
    most = ", ".join(one.replace("+", "") if "-" not in one else one for one in said)
    more = f" and {len(arrows) - 6} more" if len(arrows) > 6 else ""
    told = f"{most or 'nobody speaks to anybody'}{more}"
    return f"{one_line(title, 120)}: {told}. The table below has the same."


def table(arrows: Sequence[Arrow], *, apart: bool) -> dict[str, list[object]]:
    """Return the arrows as columns."""
    found: dict[str, list[object]] = {
        "from": [one_line(a.source) for a in arrows],
        "to": [one_line(a.target) for a in arrows],
    }
    if apart:
        return found | {"difference": [a.said for a in arrows]}
    return found | {
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
        # Pale, as far as it is guessed.
        opacity = 0.3 + 0.6 * arrow.sure / arrow.weight
    here = arrow.name == chosen
    ends = f"{one_line(arrow.source, 30)} to {one_line(arrow.target, 30)}"
    number = f"{arrow.weight:+.2g}" if apart else f"{arrow.weight:.2g}"
    return {
        "source": arrow.source,
        "target": arrow.target,
        "value": arrow.weight,
        # A template of a tooltip is HTML, and what stands in braces is filled in.
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
