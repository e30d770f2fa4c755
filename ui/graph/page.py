"""The Graph room: who speaks to whom, in a scene, under a condition, or under one and not another.

Thin: what is read stands in `graph.data`, the chart in `graph.chart`, and all the rest of
the page in `graph.view`.
"""

from __future__ import annotations

import streamlit as st

from improv.records import MAIN, Json
from ui.graph import view as graph_view
from ui.shared import address, page, run_data, run_picker
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    found = page.chosen("trial", "branch", "condition", "against", "edge")
    if found is not None:
        _run(*found)


def _run(run: run_data.Run, rows: Rows) -> None:
    row = _branch(run, run_picker.choose_trial(run, rows))
    run_picker.about(run, rows)
    heading = st.container()
    view = graph_view.choose(run, rows, row)
    with heading:
        graph_view.head(view)
    graph_view.page(view)


def _branch(run: run_data.Run, row: Json) -> Json:
    """Return the row of the branch that the address names, else the trial's own."""
    wanted = address.get("branch")
    if not wanted or wanted == MAIN:
        return row
    near = [r for r in run_data.branches(run, row["trial"]) if r["branch"].startswith(wanted)]
    address.put(branch=near[0]["branch"] if len(near) == 1 else "")
    return near[0] if len(near) == 1 else row


page.enter("graph", room)
