"""The Runs room, the lobby: every run of the folder, how it stands, and the way into it.

Thin: what is read comes from `parts.lobby_data`, the table from `parts.lobby`.
"""

from __future__ import annotations

import streamlit as st

from improv.errors import ImprovError
from ui.parts import data, entrance, link, lobby, lobby_data, notices, usher
from ui.parts.text import safe

PAGE = 20
"""Runs on a page of the table."""
FEW = 6
"""Runs up to which nobody needs to search."""
IDLE = 15.0
"""Seconds after which the lobby looks for new runs while nothing is being played."""


def room() -> None:
    """Draw the room, or say why there is nothing to draw."""
    runs = data.runs()
    if runs:
        _lobby(runs)
    else:
        notices.no_runs()


def _lobby(runs: list[data.Run]) -> None:
    playing = sum(run.playing for run in runs)
    told = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in <code>{safe(data.root())}</code>"
    told += f", {playing} being played" if playing else ""
    door = usher.way("stagedoor", "play another at the Stage door")
    with st.container(horizontal=True, vertical_alignment="bottom", key="lobby"):
        st.html(
            '<header class="room-head"><p class="wordmark">improv</p><h1>Runs</h1>'
            f'<p class="quiet">{told}; {door}.</p></header>'
        )
        if len(runs) > FEW:
            st.session_state["seek"] = link.get("seek")
            st.text_input(
                "Find a run",
                key="seek",
                placeholder="Find a run: study, scene, model, status",
                label_visibility="collapsed",
                on_change=_sought,
                width=320,
                max_chars=200,
            )
    found = lobby_data.named(runs, link.get("seek"))
    if not found:
        st.html('<p class="quiet" role="status">No run is like that.</p>')
        return
    pages = -(-len(found) // PAGE)
    page = _page(pages)
    st.fragment(_table, run_every=data.REFRESH if playing else IDLE)(page)
    if pages > 1:
        st.session_state["page"] = page
        st.pagination(pages, key="page", on_change=_turned)


def _table(page: int) -> None:
    """Draw a page of the table; the runs are read anew, for some of them may be going on."""
    try:
        runs = lobby_data.named(data.runs(), link.get("seek"))[(page - 1) * PAGE : page * PAGE]
    except ImprovError as e:
        notices.unreadable(e)
        return
    st.html(lobby.table([(run, _standing(run)) for run in runs]))


def _standing(run: data.Run) -> lobby_data.Standing | None:
    try:
        return lobby_data.standing(run)
    except ImprovError:
        return None


def _page(pages: int) -> int:
    wanted = link.get("page")
    number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 6 else 1
    number = min(max(number, 1), pages)
    link.put(page=str(number) if number > 1 else "")
    return number


def _sought() -> None:
    link.go(seek=str(st.session_state["seek"]).strip(), page="")


def _turned() -> None:
    link.go(page=st.session_state["page"] if st.session_state["page"] > 1 else 0)


entrance.enter("runs", room)
