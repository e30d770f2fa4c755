"""The Rate room: a person answers the questions of a model judge, blind to every condition.

improv.scoring.human_ratings chooses the items, and `rate.questions` draws the page.
"""

from __future__ import annotations

import streamlit as st

from ui.rate import questions
from ui.shared import page


def room() -> None:
    """Draw the room."""
    chosen = page.chosen()
    if chosen is None:
        return
    run, _ = chosen
    if run.playing:
        st.html('<p class="together">Lines can be rated after the last scene is finished.</p>')
    else:
        with st.container(key="rate"):
            questions.draw_questions(run)


page.open_room("rate", room)
