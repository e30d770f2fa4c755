"""The Graph room: who speaks to whom in a scene, under a condition, or between two conditions.

`graph.data` reads, `graph.chart` makes the chart, and `graph.view` draws the page.
"""

from __future__ import annotations

import streamlit as st

from improv.records import MAIN, Json
from ui.graph import view as graph_view
from ui.shared import address, page, run_data, run_picker
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    chosen = page.chosen("trial", "branch", "condition", "against", "edge")
    if chosen is not None:
        _run(*chosen)


def _run(run: run_data.ViewedRun, rows: Rows) -> None:
    row = _branch(run, run_picker.choose_trial(run, rows))
    run_picker.about(run, rows)
    heading = st.container()
    view = graph_view.choose(run, rows, row)
    with heading:
        graph_view.graph_heading(view)
    graph_view.draw_graph(view)


def _branch(run: run_data.ViewedRun, row: Json) -> Json:
    """Return the row of the branch that the address names, else the trial's own."""
    wanted = address.get("branch")
    if not wanted or wanted == MAIN:
        return row
    near = [r for r in run_data.branch_rows(run, row["trial"]) if r["branch"].startswith(wanted)]
    address.put(branch=near[0]["branch"] if len(near) == 1 else "")
    return near[0] if len(near) == 1 else row


page.open_room("graph", room)
