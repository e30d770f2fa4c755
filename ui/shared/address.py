"""Where the reader stands, kept in the address: any room, run, trial and turn is a link.

The address and the session are one thing seen twice. After a click the session is right and the
address follows; after Back, or a link, the address is right and the session follows. What one room
holds is kept when the reader goes to another, so that it is there when they come back; a run and a
trial are the same in all rooms.
"""

from __future__ import annotations

from typing import NoReturn
from urllib.parse import urlencode

import streamlit as st

ROOMS = {
    "runs": "Runs",
    "scene": "Scene",
    "multiverse": "Multiverse",
    "graph": "Graph",
    "compare": "Compare",
    "rate": "Rate",
    "stagedoor": "Stage door",
}
"""The rooms: the name that the address has for each, and its title."""
LOBBY = "runs"
FOLDERS = {"stagedoor": "start"}
"""Folders of rooms whose address has another name."""

SHARED = ("run", "trial", "branch")
NAMES = {
    "runs": ("seek", "page"),
    "scene": (*SHARED, "turn", "heard", "audience", "behind", "find", "marks"),
    "multiverse": (*SHARED, "turn", "left", "right", "open", "colour"),
    "graph": (*SHARED, "condition", "against", "kind", "sure", "from", "to", "edge"),
    "compare": ("run", "contrast", "condition", "of", "turn", "sheet", "block"),
    "rate": ("run", "measure"),
    "stagedoor": ("run", "scene"),
}
"""What the address of each room holds; a name that is not there is empty."""


def page_file(room: str) -> str:
    """Return the file of a room's page, relative to the viewer's own."""
    return f"{FOLDERS.get(room, room)}/page.py"


def get(name: str) -> str:
    """Return what the session holds under a name of the address."""
    return str(_held().get(name, ""))


def go(**changes: str | int | bool) -> None:
    """Change where the reader stands, for a callback: the address follows at the end of the run."""
    held = _held()
    for name, value in changes.items():
        held[name] = "" if value is False or value == 0 else "1" if value is True else str(value)
    st.session_state["link:moved"] = True


def put(**values: str) -> None:
    """Put down what was found to be so while drawing, such as the run where none was named."""
    _held().update(values)


def arrive(room: str) -> None:
    """Take over the address where it is newer than the session; call before anything is read.

    While a callback has moved the reader, the browser's address may be a step behind: it was sent
    before the last answer reached it. An empty address is what the bar of rooms leads to, and says
    nothing: the reader stands in the new room where they stood in the old.
    """
    moved = st.session_state.pop("link:moved", False)
    st.session_state["link:asked"] = ""
    entered = st.session_state.get("link:room") != room
    st.session_state["link:room"] = room
    now = {name: st.query_params.get(name, "") for name in NAMES[room]}
    if entered and not any(now.values()):
        return
    if entered or (not moved and now != st.session_state.get("link:written")):
        _held().update(now)
        st.session_state["link:asked"] = repr((room, now))


def settle() -> None:
    """Write the address anew where it differs; call when what is shown is known.

    A link that says too little is completed once. Whoever comes back to it is on the way back:
    to complete it again would be a step forward, from which there is no way back at all.
    """
    names = NAMES[st.session_state["link:room"]]
    held = {name: get(name) for name in names}
    now = {name: st.query_params.get(name, "") for name in names}
    asked = st.session_state.get("link:asked", "")
    completed: dict[str, dict[str, str]] = st.session_state.setdefault("link:completed", {})
    if asked and now != held and completed.get(asked) == held:
        st.session_state["link:written"] = now
        return
    if now != held:
        st.query_params.from_dict({name: value for name, value in held.items() if value})
        if asked:
            completed[asked] = held
    st.session_state["link:written"] = held


def enter(room: str, **parts: str) -> NoReturn:
    """Take the reader to another room, and to what `parts` say in it. Not from a callback."""
    st.switch_page(page_file(room), query_params={k: v for k, v in parts.items() if v})


def address(room: str = "", **parts: str) -> str:
    """Return the address of a room, of the one we are in if none is named: for a link in HTML,
    which is opened as a new page."""
    query = urlencode({name: value for name, value in parts.items() if value})
    path = "" if not room else "./" if room == LOBBY else room
    return f"{path}?{query}" if query else path


def _held() -> dict[str, str]:
    held: dict[str, str] = st.session_state.setdefault("link:held", {})
    return held
