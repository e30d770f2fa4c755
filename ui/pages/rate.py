"""The Rate room: a person judges lines as a model would be asked to, blind to every condition.

Thin: who is asked what stands in improv.rating, the page in `parts.rater`.
"""

from __future__ import annotations

import streamlit as st

from improv.errors import ImprovError
from ui.parts import data, library, link, notices, rater, usher


def room() -> None:
    """Draw the room, or say why there is nothing to draw."""
    link.arrive("rate")
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
        st.html('<p class="together">Lines can be rated when the last scene is finished.</p>')
    elif not rows:
        notices.no_trials(run)
    else:
        with st.container(key="rate"):
            rater.page(run)


room()
