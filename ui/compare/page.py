"""The Compare room: conditions side by side, and the scenes behind each number.

`compare.data` reads, `compare.view` and `compare.turns` draw the results, `compare.scene_panel`
lists the scenes behind a number, and `compare.block` shows the scenes of one block.
"""

from __future__ import annotations

import streamlit as st

from ui.compare import block, scene_panel, turns, view
from ui.compare import data as compare_data
from ui.shared import page, run_data, run_picker
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    chosen = page.chosen("contrast", "condition", "block")
    if chosen is not None:
        _run(*chosen)


def _run(run: run_data.ViewedRun, rows: Rows) -> None:
    run_picker.about(run, rows)
    run = compare_data.with_ratings(run)
    with st.spinner(f"Analysing {len(rows):,} scenes"):
        findings = compare_data.decided(run)
    soon = len(rows) < compare_data.LARGE
    exposed = None if run.playing else compare_data.run_exposure(run, begin=soon)
    material = compare_data.material(run, findings, exposed)
    checked = exposed is not None
    view.compare_heading(run, material, exposed)
    opened = bool(scene_panel.chosen_name(material))
    stage, wing = st.columns([11, 7], gap="large") if opened else (st.container(), None)
    if wing is not None:
        with wing, st.container(key="behind"):
            scene_panel.scenes_panel(run, material)
    with stage, st.container(key="compare"):
        view.planned_result(run, material)
        view.conditions(run, findings.analysis)
        with st.spinner("Analysing turn by turn"):
            whole = compare_data.whole(run)
        turns.turns(run, whole)
        view.unplanned(run, whole)
        view.fine_print(material)
    block.block(run, material)
    if not checked and not run.playing:
        _wait(run)


def _wait(run: run_data.ViewedRun) -> None:
    """Draw the page again when the exposure ledger has been read."""

    def look() -> None:
        if compare_data.run_exposure(run, begin=True) is not None:
            st.rerun()

    st.fragment(look, run_every=run_data.REFRESH)()


page.open_room("compare", room)
