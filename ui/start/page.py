"""The Stage door: put a small run together, start it, watch its lines arrive, stop it, go on.

Thin: what can be chosen stands in `start.form`, what is being played in `start.watch`.
"""

from __future__ import annotations

import streamlit as st

from ui.shared import address, page
from ui.start import form, watch


def room() -> None:
    """Draw the room: what is playing, or the choices for what might."""
    _aside()
    run = address.get("run")
    if run and watch.wanted(run):
        watch.watch(run)
    else:
        form.choices()


def _aside() -> None:
    st.sidebar.html(
        '<p class="wordmark">improv</p><p class="asks">What is started here plays by itself, '
        "whatever becomes of this page. Come back to it by its address.</p>"
    )


page.enter("stagedoor", room)
