"""The Graph room: who speaks to whom, in a scene, under a condition, or under one and not another.

Thin: what is read stands in `parts.net_data`, the chart in `parts.net_chart`, and all the rest of
the page in `parts.net_view`.
"""

from __future__ import annotations

import streamlit as st

from improv.records import MAIN, Json
from ui.parts import data, entrance, library, link, net_view
from ui.parts.rows import Rows


def room() -> None:
    """Draw the room."""
    found = entrance.chosen("trial", "branch", "condition", "against", "edge")
    if found is not None:
        _run(*found)


def _run(run: data.Run, rows: Rows) -> None:
    row = _branch(run, library.choose_trial(run, rows))
    library.about(run, rows)
    heading = st.container()
    view = net_view.choose(run, rows, row)
    with heading:
        net_view.head(view)
    net_view.page(view)


def _branch(run: data.Run, row: Json) -> Json:
    """Return the row of the branch that the address names, else the trial's own."""
    wanted = link.get("branch")
    if not wanted or wanted == MAIN:
        return row
    near = [r for r in data.branches(run, row["trial"]) if r["branch"].startswith(wanted)]
    link.put(branch=near[0]["branch"] if len(near) == 1 else "")
    return near[0] if len(near) == 1 else row


entrance.enter("graph", room)
