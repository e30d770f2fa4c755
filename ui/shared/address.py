"""The reader's position, kept in the page's address, so that every room, run, trial and turn has a
link.

The session and the address hold the same values. After a click the session is newer, and the
address is written from it. After Back, or a link, the address is newer, and the session is read
from it. The session keeps the values of a room when the reader goes to another room; a run and a
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
"""Name of each room in the address → its title."""
LOBBY = "runs"
FOLDERS = {"stagedoor": "start"}
"""Name of a room in the address → its folder, where the two differ."""

_SHARED = ("run", "trial", "branch")
PARTS = {
    "runs": ("seek", "page"),
    "scene": (*_SHARED, "turn", "heard", "audience", "behind", "find", "marks"),
    "multiverse": (*_SHARED, "turn", "left", "right", "open", "colour"),
    "graph": (*_SHARED, "condition", "against", "kind", "sure", "from", "to", "edge"),
    "compare": ("run", "contrast", "condition", "of", "turn", "sheet", "block"),
    "rate": ("run", "measure"),
    "stagedoor": ("run", "scene"),
}
"""The names that the address of each room can hold; a missing name means the empty string."""


def page_file(room: str) -> str:
    """Return the file of a room's page, relative to `app.py`."""
    return f"{FOLDERS.get(room, room)}/page.py"


def get(name: str) -> str:
    """Return the value that the session holds for a name of the address, "" for none."""
    return str(_held().get(name, ""))


def go(**changes: str | int | bool) -> None:
    """Change the reader's position, in a callback. `settle` writes the address afterwards."""
    held = _held()
    for name, value in changes.items():
        held[name] = "" if value is False or value == 0 else "1" if value is True else str(value)
    st.session_state["link:moved"] = True


def put(**values: str) -> None:
    """Set values while the page is drawn, such as the run where the address names none."""
    _held().update(values)


def arrive(room: str) -> None:
    """Read the address into the session where it is newer; call before the room reads the session.

    After a callback has changed the position, the address from the browser may be one step old,
    because the browser sent it before it received the last answer. The bar of rooms leads to an
    address without values: then the position of the previous room holds in the new room.
    """
    moved = st.session_state.pop("link:moved", False)
    st.session_state["link:asked"] = ""
    entered = st.session_state.get("link:room") != room
    st.session_state["link:room"] = room
    now = {name: st.query_params.get(name, "") for name in PARTS[room]}
    if entered and not any(now.values()):
        return
    if entered or (not moved and now != st.session_state.get("link:written")):
        _held().update(now)
        st.session_state["link:asked"] = repr((room, now))


def settle() -> None:
    """Write the address from the session where they differ; call when the room is drawn.

    An incomplete link is completed once only. A reader who comes to the incomplete address again
    has pressed Back. If it were completed again, the browser would go one step forward each time,
    and Back could never pass this address.
    """
    names = PARTS[st.session_state["link:room"]]
    held = {name: get(name) for name in names}
    now = {name: st.query_params.get(name, "") for name in names}
    incoming = st.session_state.get("link:asked", "")
    completed: dict[str, dict[str, str]] = st.session_state.setdefault("link:completed", {})
    if incoming and now != held and completed.get(incoming) == held:
        st.session_state["link:written"] = now
        return
    if now != held:
        st.query_params.from_dict({name: value for name, value in held.items() if value})
        if incoming:
            completed[incoming] = held
    st.session_state["link:written"] = held


def go_to_room(room: str, **parts: str) -> NoReturn:
    """Open another room at the position `parts`. Must not be called in a callback."""
    st.switch_page(page_file(room), query_params={k: v for k, v in parts.items() if v})


def address(room: str = "", **parts: str) -> str:
    """Return the address of a room, for a link in HTML that the browser opens as a new page.
    Without `room` it is the address of the current room."""
    query = urlencode({name: value for name, value in parts.items() if value})
    path = "" if not room else "./" if room == LOBBY else room
    return f"{path}?{query}" if query else path


def _held() -> dict[str, str]:
    held: dict[str, str] = st.session_state.setdefault("link:held", {})
    return held
