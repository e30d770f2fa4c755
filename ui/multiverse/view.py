"""The tree of branches on the page: the chart with its legend and its clicks, and its table."""

from __future__ import annotations

import streamlit as st

from improv.records import Json
from ui.multiverse import chart, layout
from ui.multiverse.data import Multiverse
from ui.shared import address, chart_colours
from ui.shared.html import safe, short_line

SIDES = ("left", "right")
NEW = 12
"""Most new branches that are marked one by one."""
BY_WAY = "How they parted"


def draw(
    row: Json,
    multiverse: Multiverse,
    branch: str,
    turn: int,
    pair: tuple[str, ...],
    fresh: list[str],
) -> None:
    """Draw the tree. The reader is at `turn` of `branch`, or reads a `pair` side by side; the
    `fresh` branches are marked as new."""
    measures = list(multiverse.scores)
    measure = address.get("colour") if address.get("colour") in measures else ""
    opened = address.get("open")
    shown = {branch, *pair, *(fresh if len(fresh) <= NEW else ())}
    drawn = layout.drawn(multiverse.worlds(), shown=shown, opened=opened, near=turn)
    ink = chart_colours.current()
    seen = chart.colouring(multiverse, measure, ink)
    _draw_bar(measures, measure, seen, opened)
    marks = [("new", b, multiverse.begins(b)) for b in fresh if len(fresh) <= NEW]
    if pair:
        after = multiverse.parted(*pair) + 1
        marks += [(s, b, after) for s, b in zip(SIDES, pair, strict=True)]
    else:
        marks.append((chart.HERE, branch, turn))
    st.session_state["tree:points"] = [(p.worlds[0], p.turn, p.folded) for p in drawn.points]
    st.echarts_chart(
        chart.tree_spec(drawn, multiverse, seen, marks),
        height=chart.height(drawn),
        key=f"tree-{row['trial']}",
        renderer="svg",
        on_select=_clicked,
        alt=chart.tree_alt(drawn, multiverse, row["title"] or row["scene"]),
    )
    st.session_state["tree:key"] = f"tree-{row['trial']}"
    if drawn.left:
        st.html(
            f'<p class="quiet">{drawn.left:,} more branches are not drawn: they part at other '
            "turns, or from folded branches. The table lists all.</p>"
        )
    _draw_table(multiverse, measure)


def _draw_bar(measures: list[str], measure: str, look: chart.Look, opened: str) -> None:
    """Draw what is above the tree: the choice of colours, the legend, and a button to fold."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="tree-bar"):
        if measures:
            st.session_state["tree:colour"] = measure
            st.selectbox(
                "Coloured by",
                ["", *measures],
                key="tree:colour",
                on_change=_coloured,
                width=260,
                format_func=lambda m: short_line(m) if m else BY_WAY,
            )
        keys = "".join(
            f'<li><span style="color:{key.colour}" aria-hidden="true">{key.glyph}</span> '
            f"{safe(short_line(key.words, 48))}</li>"
            for key in look.legend()
        )
        st.html(f'<ul class="legend" aria-label="Legend">{keys}</ul>')
        if opened:
            st.button("Fold again", key="tree:fold", on_click=_folded)


def _draw_table(multiverse: Multiverse, measure: str) -> None:
    with st.expander("As a table"):
        table = chart.columns(multiverse, measure, list(multiverse.rows))
        st.session_state["tree:table-rows"] = list(multiverse.rows)
        st.dataframe(
            table,
            key="tree:table",
            hide_index=True,
            on_select=_row_chosen,
            selection_mode="single-row",
        )


def _clicked() -> None:
    """Go to the clicked point. A second click on a point clears ECharts' selection; the last point
    is meant then."""
    state = st.session_state[st.session_state["tree:key"]]
    places = [i for group in state["selection"]["selected"] for i in group["data_indices"]]
    points = st.session_state["tree:points"]
    place = places[0] if places else st.session_state.get("tree:last")
    if not isinstance(place, int) or not 0 <= place < len(points):
        return
    st.session_state["tree:last"] = place
    branch, turn, folded = points[place]
    if folded and folded != layout.REST:
        address.go(open=folded)
    else:
        _go(branch, turn)


def _row_chosen() -> None:
    chosen = st.session_state["tree:table"]["selection"]["rows"]
    names = st.session_state["tree:table-rows"]
    if chosen and 0 <= chosen[0] < len(names):
        _go(names[chosen[0]], None)


def _go(branch: str, turn: int | None) -> None:
    pair = bool(address.get("left") and address.get("right"))
    more = {"right": branch} if pair else {}
    address.go(branch=branch, turn="" if turn is None else str(turn), **more)


def _coloured() -> None:
    address.go(colour=st.session_state["tree:colour"])


def _folded() -> None:
    address.go(open="")
