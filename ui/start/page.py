"""The Stage door: compose a small run, start it, watch its lines arrive, stop it, resume it.

`start.form` draws the choices, and `start.watch` draws a run that is being played.
"""

from __future__ import annotations

import streamlit as st

from ui.shared import address, page
from ui.start import form, watch


def room() -> None:
    """Draw the run that the address names, or the choices for a new run."""
    _aside()
    run = address.get("run")
    if run and watch.wanted(run):
        watch.watch(run)
    else:
        form.choices()


def _aside() -> None:
    st.sidebar.html(
        '<p class="wordmark">improv</p><p class="asks">A run that you start here goes on when you '
        "close this page. The address of the page leads back to it.</p>"
    )


page.open_room("stagedoor", room)
