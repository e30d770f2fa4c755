"""The Graph room's page: what is shown, the chart and its clicks, the lines of an edge, tables."""

from __future__ import annotations

import math
from functools import partial

import streamlit as st

from improv.errors import MachineError
from improv.graph.comparison import Comparison
from improv.graph.drawing import svg_to_png
from improv.graph.figure import MeasuredGraph, draw_graphs
from improv.graph.file_formats import FORMATS, as_bytes
from improv.graph.graph import Graph
from improv.graph.metrics import FIGURES
from improv.graph.null_model import NullComparison
from improv.records import MAIN, Json, digest
from ui.graph import chart
from ui.graph import data as graph_data
from ui.graph.chart import Arrow
from ui.graph.data import View
from ui.shared import address, chart_colours, navigation, run_data
from ui.shared.html import clipped, safe, short_line
from ui.shared.lazy_rows import Rows

ARROW_KINDS = {"addresses": "speaks to", "answers": "answers", "mentions": "speaks of"}
"""Kind of arrows → its name on the page."""
SCENE = ""
_SHOWN = 500
"""Characters of a line in the list."""
_CALLED = {"gexf": "GEXF, for Gephi", "graphml": "GraphML", "csv": "CSV, an edge a row"}
_MIMES = {"svg": "image/svg+xml", "png": "image/png", "csv": "text/csv", "json": "application/json"}


def choose(run: run_data.ViewedRun, rows: Rows, row: Json) -> View:
    """Offer what the graph shows; return the choice, which the address keeps."""
    conditions = rows.distinct("condition")
    condition = address.get("condition") if address.get("condition") in conditions else SCENE
    others = [c for c in conditions if c != condition]
    against = address.get("against") if condition and address.get("against") in others else ""
    kind = address.get("kind") if address.get("kind") in ARROW_KINDS else "addresses"
    address.put(condition=condition, against=against, kind="" if kind == "addresses" else kind)
    with st.container(horizontal=True, vertical_alignment="bottom", key="net-bar"):
        st.session_state["net:condition"] = condition
        st.selectbox(
            "Graph of",
            [SCENE, *conditions],
            key="net:condition",
            on_change=_condition,
            width=300,
            format_func=lambda c: f"Average of {short_line(c, 60)}" if c else "This scene",
        )
        if condition and others:
            st.session_state["net:against"] = against
            st.selectbox(
                "Minus",
                ["", *others],
                key="net:against",
                on_change=_against,
                width=300,
                format_func=lambda c: short_line(c, 60) if c else "Nothing",
            )
        st.session_state["net:kind"] = kind
        st.segmented_control(
            "Arrows show who",
            list(ARROW_KINDS),
            key="net:kind",
            required=True,
            on_change=_kind,
            format_func=ARROW_KINDS.__getitem__,
        )
        st.session_state["net:guesses"] = not address.get("sure")
        st.toggle(
            "With guesses",
            key="net:guesses",
            on_change=_guesses,
            help="A line may be an aside to one character, or name its addressee. For any other "
            "line the addressee is guessed from who spoke and from the words.",
        )
    first, last = _turns(run, row, condition)
    return View(
        run=run,
        row=row,
        condition=condition,
        against=against,
        first=first,
        last=last,
        guesses=not address.get("sure"),
        kind=kind,
    )


def draw_graph(view: View) -> None:
    """Draw the graph, its lines, its downloads and its tables."""
    graph = graph_data.graph(view)
    comparison = graph_data.difference(view) if view.against else None
    arrows = chart.differences(comparison) if comparison else chart.edges(graph, view.kind)
    names = [a.name for a in arrows]
    wanted = address.get("edge") if address.get("edge") in names else ""
    address.put(edge=wanted)
    chosen = wanted or next(iter(names), "")
    ink = chart_colours.current()
    left, right = st.columns([11, 8], gap="large")
    with left, st.container(key="net"):
        st.session_state["net:edges"] = names
        st.session_state["net:chart-key"] = key = f"net-{digest(repr((view.key, view.against)))}"
        if arrows:
            st.echarts_chart(
                chart.arrows_spec(graph, arrows, chosen, ink, apart=comparison is not None),
                height=chart.HEIGHT,
                key=key,
                renderer="svg",
                on_select=_clicked,
                alt=chart.arrows_alt(_title(view), arrows),
            )
        else:
            st.html('<p class="together">Nobody speaks to anybody here.</p>')
        st.html(f'<p class="quiet">{_legend(view, comparison)}</p>')
        with st.container(horizontal=True, vertical_alignment="center", key="net-foot"):
            with st.popover("Download", key="net-downloads"):
                _downloads(view, graph)
    with right, st.container(key="net-lines"):
        _lines(view, arrows, chosen)
    with st.expander("As a table"):
        st.dataframe(chart.arrow_columns(arrows, apart=comparison is not None), hide_index=True)
    if comparison is not None:
        _compared(comparison)
    else:
        _people(view)
        _figures(view)


# --- what is chosen


def _turns(run: run_data.ViewedRun, row: Json, condition: str) -> tuple[int, int]:
    """Offer a range of turns, in which 0 is the written opening; return it."""
    end = graph_data.last_turn(run, row)
    first, last = (_number(address.get(n), d, end) for n, d in (("from", 1), ("to", end)))
    if first > last:
        first, last = 1, end
    address.put(
        **{"from": "" if first == 1 else str(first), "to": "" if last == end else str(last)}
    )
    if end > 1:
        st.session_state["net:turns"] = (first, last)
        st.slider(
            "Turns",
            0,
            end,
            key="net:turns",
            on_change=_slid,
            args=(end,),
            format="turn %d",
            help="Turn 0 is the opening that was written with the scene.",
        )
    return first, last


def _number(text: str, default: int, most: int) -> int:
    return min(int(text[:9]), most) if text.isascii() and text.isdecimal() else min(default, most)


def _condition() -> None:
    address.go(condition=st.session_state["net:condition"], against="", edge="")


def _against() -> None:
    address.go(against=st.session_state["net:against"], edge="")


def _kind() -> None:
    kind = st.session_state["net:kind"]
    address.go(kind="" if kind == "addresses" else kind, edge="")


def _guesses() -> None:
    address.go(sure=not st.session_state["net:guesses"])


def _slid(end: int) -> None:
    first, last = st.session_state["net:turns"]
    address.go(
        **{
            "from": "0" if first == 0 else "" if first == 1 else first,
            "to": "" if last == end else str(last),
        }
    )


def _clicked() -> None:
    """Choose the arrow that was clicked. A second click clears ECharts' selection, and the arrow
    stays chosen."""
    state = st.session_state[st.session_state["net:chart-key"]]
    places = [
        i
        for group in state["selection"]["selected"]
        if group.get("data_type") == "edge"
        for i in group["data_indices"]
    ]
    names = st.session_state["net:edges"]
    if places and isinstance(places[0], int) and 0 <= places[0] < len(names):
        address.go(edge=names[places[0]])


def _picked() -> None:
    address.go(edge=st.session_state["net:edge"])


# --- words


def _title(view: View) -> str:
    scene = view.row["title"] or view.row["scene"]
    if view.against:
        return f"{scene}: {view.condition} less {view.against}"
    return f"{scene}: {view.condition}" if view.condition else f"{scene} · {view.row['condition']}"


def graph_heading(view: View) -> None:
    """Draw the room's heading."""
    row = view.row
    title = safe(short_line(row["title"] or row["scene"], 120))
    if view.against:
        subtitle = f"{short_line(view.condition, 80)} less {short_line(view.against, 80)}"
    elif view.condition:
        subtitle = f"the average of {short_line(view.condition, 80)}"
    else:
        subtitle = short_line(row["condition"], 80)
        subtitle += f" · branch {row['branch'][:6]}" if row["branch"] != MAIN else ""
    st.html(
        f'<header class="room-head"><h1>{title}</h1>'
        f'<p class="quiet">Who speaks to whom · {safe(subtitle)}</p></header>'
    )


def _legend(view: View, comparison: Comparison | None) -> str:
    if comparison is not None:
        sides = f"solid for more under {view.condition}, dashed for more under {view.against}"
        test = "not tested" if math.isnan(comparison.p) else f"p = {comparison.p:.3f}"
        why = f" ({comparison.why})" if comparison.why else ""
        return safe(
            f"Contacts per scene: {short_line(sides, 240)}. Permutation test of the whole networks "
            f"within blocks, over {comparison.units} {comparison.unit}: {test}{why}."
        )
    scenes = graph_data.talk(view).scenes
    over = f"lines per scene, over {scenes:,} scenes" if view.condition else "lines in this scene"
    return safe(
        f"The width of an arrow is its number of {over}. The paler it is, the more of its "
        "addressees are guessed. Dashed arrows are the author’s notes and cues."
    )


def _lines(view: View, arrows: list[Arrow], chosen: str) -> None:
    """Draw the list of edges, and the lines of the chosen edge."""
    if not arrows:
        return
    words = {a.name: f"{short_line(a.source, 40)} to {short_line(a.target, 40)}" for a in arrows}
    st.session_state["net:edge"] = chosen
    st.selectbox(
        "Lines from one to another",
        list(words),
        key="net:edge",
        on_change=_picked,
        format_func=lambda name: words.get(name, name),
        help="Choose here, or click an arrow.",
    )
    source, _, target = chosen.partition(">")
    lines, many = graph_data.heard(view, source, target)
    said = next((a.said for a in arrows if a.name == chosen), "")
    if said:
        st.html(
            f'<p class="quiet">{safe(said)}; the lines below are from {safe(view.condition)}.</p>'
        )
    rows = []
    for line in lines:
        place = f"{line.block}, turn {line.turn}" if view.condition else f"turn {line.turn}"
        branch = "" if view.row["branch"] == MAIN or view.condition else view.row["branch"]
        link = navigation.link(
            "scene",
            place,
            name=f"Read {place}",
            run=view.run.id,
            trial=line.trial,
            turn=str(line.turn or ""),
            branch=branch,
        )
        text = clipped(line.text, _SHOWN) or "<em>nothing</em>"
        by = f' <span class="cap">{safe(line.by)}</span>' if line.by else ""
        rows.append(f"<li><p>{text}{by}</p><p class='cap'>{link}</p></li>")
    more = f'<p class="quiet">{many - len(lines):,} more.</p>' if many > len(lines) else ""
    st.html(f'<ol class="net-said" tabindex="0" aria-label="Lines">{"".join(rows)}</ol>{more}')


def _downloads(view: View, graph: Graph) -> None:
    name = "-".join(
        text for text in (view.run.id, view.condition or str(view.row["index"])) if text
    )
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:80]
    made = MeasuredGraph(_title(view), graph, {})
    for form in FORMATS:
        st.download_button(
            _CALLED.get(form, form.upper()),
            partial(_written, made, form, view.kinds),
            f"{name}.{form}",
            _MIMES.get(form, "application/octet-stream"),
            key=f"net-as-{form}",
            on_click="ignore",
            width="stretch",
        )


def _written(made: MeasuredGraph, form: str, kinds: tuple[str, ...]) -> bytes:
    if form not in ("svg", "png"):
        return as_bytes(made.graph, form)
    svg = draw_graphs([made], kinds=kinds)
    if form == "svg":
        return svg.encode()
    try:
        return svg_to_png(svg)
    except MachineError as e:
        return str(e).encode()


# --- tables


def _people(view: View) -> None:
    """Draw the table of centralities."""
    standings = graph_data.people(view)
    if not standings:
        return
    st.html("<h2 class='side-title'>Centrality of each character</h2>")
    st.dataframe(
        {
            "who": [short_line(s.name) for s in standings],
            "lines": [_round(s.lines) for s in standings],
            "share of lines": [_round(s.share) for s in standings],
            "words": [_round(s.words) for s in standings],
            "speaks to (out)": [_round(s.out) for s in standings],
            "is spoken to (in)": [_round(s.into) for s in standings],
            "PageRank": [_round(s.pagerank) for s in standings],
            "PageRank if shuffled": [_null(s.pagerank_null) for s in standings],
            "betweenness": [_round(s.betweenness) for s in standings],
            "betweenness if shuffled": [_null(s.betweenness_null) for s in standings],
            "lines in a row": [_round(s.floor) for s in standings],
            "answers after": [_round(s.latency) for s in standings],
            "notes from the author": [_round(s.notes) for s in standings],
        },
        hide_index=True,
    )


def _figures(view: View) -> None:
    with st.expander("Network measures, beside a null model with shuffled lines"):
        figures = graph_data.figured(view)
        known = {n: b for n, b in figures.items() if not math.isnan(b.value.value)}
        st.dataframe(
            {
                "figure": list(known),
                "here": [_interval(b) for b in known.values()],
                "if shuffled": [_beside(b) for b in known.values()],
                "p": [
                    None if b.fixed or math.isnan(b.p) else round(b.p, 3) for b in known.values()
                ],
                "what it is": [FIGURES[n] for n in known],
            },
            hide_index=True,
        )
        st.html(
            '<p class="quiet">In the null model each character speaks when it did here, and is '
            "spoken to as often, by others; brackets hold 95% of its draws. These measures are "
            "exploratory and decide nothing.</p>"
        )


def _compared(comparison: Comparison) -> None:
    """Draw the table of differences of the network measures."""
    st.html("<h2 class='side-title'>Differences of the network measures</h2>")
    rows = [c for c in comparison.figures if not math.isnan(c.estimate.value)]
    st.dataframe(
        {
            "figure": [c.name for c in rows],
            "difference": [round(c.estimate.value, 3) for c in rows],
            "from": [_round(c.estimate.low) for c in rows],
            "to": [_round(c.estimate.high) for c in rows],
            "p": [_round(c.p) for c in rows],
            "p (Benjamini–Hochberg)": [_round(c.adjusted) for c in rows],
            "blocks": [c.blocks for c in rows],
            "what it is": [FIGURES[c.name] for c in rows],
        },
        hide_index=True,
    )
    st.html('<p class="quiet">These comparisons were not planned: they are exploratory.</p>')


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def _null(ends: tuple[float, float, float]) -> str:
    low, middle, high = ends
    return "" if math.isnan(middle) else f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _interval(figure: NullComparison) -> str:
    e = figure.value
    ends = "" if math.isnan(e.low) else f" [{e.low:.2f}, {e.high:.2f}]"
    return f"{e.value:.2f}{ends}"


def _beside(figure: NullComparison) -> str:
    if figure.fixed:
        return "the same"
    return (
        ""
        if math.isnan(figure.null)
        else f"{figure.null:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
    )
