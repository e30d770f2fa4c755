"""Links from room to room that keep the page loaded.

An ordinary link loads the page again. A plain click on one of these links goes to the server, which
draws the other room. For a new tab, or to be copied, they are ordinary links.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from ui.shared import address
from ui.shared.html import safe

_SCRIPT = (Path(__file__).parent / "navigation.js").read_text(encoding="utf-8")


def follow_links() -> None:
    """Open the room of the link that was clicked, if any; call once, before the room is drawn."""
    going = st.session_state.pop("usher:going", None)
    if isinstance(going, Mapping) and going.get("room") in address.ROOMS:
        room, parts = str(going["room"]), going.get("parts")
        wanted = parts if isinstance(parts, Mapping) else {}
        address.go_to_room(room, **{n: str(wanted[n]) for n in address.PARTS[room] if n in wanted})
    # Registered at each mount: a second server in one process (a test's) has a registry of its own.
    st.components.v2.component("improv_usher", js=_SCRIPT, isolate_styles=False)(
        key="usher", on_entered_change=_entered
    )


def link(room: str, text: str, *, name: str = "", kind: str = "", **parts: str) -> str:
    """Return a link to a room as HTML. `name` is its label for screen readers where `text` is too
    short for them, `kind` is its CSS class, and `parts` are the values of its address."""
    aria_label = f' aria-label="{safe(name)}"' if name else ""
    style = f' class="{kind}"' if kind else ""
    where = safe(address.address(room, **parts))
    return (
        f'<a{style} href="{where}" target="_self" data-room="{room}"{aria_label}>{safe(text)}</a>'
    )


def _entered() -> None:
    st.session_state["usher:going"] = getattr(st.session_state["usher"], "entered", None)
