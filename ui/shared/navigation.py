"""Shows the way from room to room: links that are opened here and now, or in a tab of their own.

A link of the page would load it anew; these are followed by the server, and stay links for
whoever opens them elsewhere or copies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from ui.shared import address
from ui.shared.html import safe

_SCRIPT = (Path(__file__).parent / "navigation.js").read_text(encoding="utf-8")


def lead() -> None:
    """Follow the link that was clicked, if one was; call once in a room, before it reads."""
    going = st.session_state.pop("usher:going", None)
    if isinstance(going, Mapping) and going.get("room") in address.ROOMS:
        room, parts = str(going["room"]), going.get("parts")
        asked = parts if isinstance(parts, Mapping) else {}
        address.enter(room, **{n: str(asked[n]) for n in address.NAMES[room] if n in asked})
    # Registered at each mount: a second server in one process (a test's) has a registry of its own.
    st.components.v2.component("improv_usher", js=_SCRIPT, isolate_styles=False)(
        key="usher", on_entered_change=_entered
    )


def way(room: str, text: str, *, name: str = "", kind: str = "", **parts: str) -> str:
    """Return a link to a room as HTML. `name` says more than `text` to those who hear it, and
    `kind` is its class."""
    told = f' aria-label="{safe(name)}"' if name else ""
    style = f' class="{kind}"' if kind else ""
    where = safe(address.address(room, **parts))
    return f'<a{style} href="{where}" target="_self" data-room="{room}"{told}>{safe(text)}</a>'


def _entered() -> None:
    st.session_state["usher:going"] = getattr(st.session_state["usher"], "entered", None)
