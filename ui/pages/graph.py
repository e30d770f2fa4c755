"""The Graph room: who speaks to whom, in a scene, under a condition, or under one and not another.

Thin: what is read stands in `parts.net_data`, the chart in `parts.net_chart`, and all the rest of
the page in `parts.net_view`.
"""

from __future__ import annotations

import streamlit as st

from improv.errors import ImprovError
from improv.record import MAIN, Json
from ui.parts import data, library, link, net_view, notices, usher


def room() -> None:
    """Draw the room, or say why there is nothing to draw."""
    link.arrive("graph")
    usher.lead()
    try:
        runs = data.runs()
        if not runs:
            notices.no_runs()
        else:
            _run(library.choose_run(runs))
    except ImprovError as e:
        notices.unreadable(e)
    link.settle()


def _run(run: data.Run) -> None:
    rows = data.trials(run)
    if run.playing:
        notices.being_played(run, len(rows))
    if not rows:
        notices.no_trials(run)
        link.put(trial="", branch="", condition="", against="", edge="")
        return
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


room()
