"""The Compare room: conditions side by side, and from any number to the scenes behind it.

Thin: what is read stands in `compare.data`, the page in `compare.view`, the scenes
behind a number in `compare.scene_panel`, and one block's scenes in `compare.block`.
"""

from __future__ import annotations

import streamlit as st

from ui.compare import block, scene_panel, turns, view
from ui.compare import data as compare_data
from ui.shared import page, run_data, run_picker
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    found = page.chosen("contrast", "condition", "block")
    if found is not None:
        _run(*found)


def _run(run: run_data.Run, rows: Rows) -> None:
    run_picker.about(run, rows)
    run = compare_data.with_ratings(run)
    with st.spinner(f"Weighing {len(rows):,} scenes"):
        of = compare_data.decided(run)
    soon = len(rows) < compare_data.LARGE
    exposed = None if run.playing else compare_data.exposure(run, begin=soon)
    found = compare_data.material(run, of, exposed)
    checked = exposed is not None
    view.head(run, found, exposed)
    opened = bool(scene_panel.asked(found))
    stage, wing = st.columns([11, 7], gap="large") if opened else (st.container(), None)
    if wing is not None:
        with wing, st.container(key="behind"):
            scene_panel.panel(run, found, checked=checked)
    with stage, st.container(key="compare"):
        view.result(run, found, checked=checked)
        view.conditions(run, of.analysis)
        with st.spinner("Turn by turn"):
            whole = compare_data.whole(run)
        turns.turns(run, whole)
        view.unplanned(run, whole)
        view.fine_print(found)
    block.block(run, found)
    if not checked and not run.playing:
        _wait(run)


def _wait(run: run_data.Run) -> None:
    """Draw the page anew when the ledger has been read."""

    def look() -> None:
        if compare_data.exposure(run, begin=True) is not None:
            st.rerun()

    st.fragment(look, run_every=run_data.REFRESH)()


page.enter("compare", room)
