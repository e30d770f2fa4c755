"""The Compare room: conditions side by side, and from any number to the scenes behind it.

Thin: what is read stands in `parts.compare_data`, the page in `parts.compare_view`, the scenes
behind a number in `parts.behind_number`, and one block's scenes in `parts.abreast`.
"""

from __future__ import annotations

import streamlit as st

from ui.parts import (
    abreast,
    behind_number,
    compare_data,
    compare_turns,
    compare_view,
    data,
    entrance,
    library,
)
from ui.parts.rows import Rows


def room() -> None:
    """Draw the room."""
    found = entrance.chosen("contrast", "condition", "block")
    if found is not None:
        _run(*found)


def _run(run: data.Run, rows: Rows) -> None:
    library.about(run, rows)
    run = compare_data.with_ratings(run)
    with st.spinner(f"Weighing {len(rows):,} scenes"):
        of = compare_data.decided(run)
    soon = len(rows) < compare_data.LARGE
    exposed = None if run.playing else compare_data.exposure(run, begin=soon)
    found = compare_data.material(run, of, exposed)
    checked = exposed is not None
    compare_view.head(run, found, exposed)
    opened = bool(behind_number.asked(found))
    stage, wing = st.columns([11, 7], gap="large") if opened else (st.container(), None)
    if wing is not None:
        with wing, st.container(key="behind"):
            behind_number.panel(run, found, checked=checked)
    with stage, st.container(key="compare"):
        compare_view.result(run, found, checked=checked)
        compare_view.conditions(run, of.analysis)
        with st.spinner("Turn by turn"):
            whole = compare_data.whole(run)
        compare_turns.turns(run, whole)
        compare_view.unplanned(run, whole)
        compare_view.fine_print(found)
    abreast.block(run, found)
    if not checked and not run.playing:
        _wait(run)


def _wait(run: data.Run) -> None:
    """Draw the page anew when the ledger has been read."""

    def look() -> None:
        if compare_data.exposure(run, begin=True) is not None:
            st.rerun()

    st.fragment(look, run_every=data.REFRESH)()


entrance.enter("compare", room)
