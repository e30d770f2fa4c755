"""The Rate room: a person judges lines as a model would be asked to, blind to every condition.

Thin: who is asked what stands in improv.scoring.human_ratings, the page in `rate.questions`.
"""

from __future__ import annotations

import streamlit as st

from ui.rate import questions
from ui.shared import page


def room() -> None:
    """Draw the room."""
    found = page.chosen()
    if found is None:
        return
    run, _ = found
    if run.playing:
        st.html('<p class="together">Lines can be rated when the last scene is finished.</p>')
    else:
        with st.container(key="rate"):
            questions.page(run)


page.enter("rate", room)
