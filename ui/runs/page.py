"""The Runs room, the lobby: every run of the folder, how it stands, and the way into it.

Thin: what is read comes from `runs.data`, the table from `runs.table`.
"""

from __future__ import annotations

import streamlit as st

from improv.errors import ImprovError
from ui.shared import run_data
from ui.shared import page as shared_page
from ui.shared import address
from ui.runs import table
from ui.runs import data as runs_data
from ui.shared import notices
from ui.shared import navigation
from ui.shared.html import safe

PAGE = 20
"""Runs on a page of the table."""
FEW = 6
"""Runs up to which nobody needs to search."""
IDLE = 15.0
"""Seconds after which the lobby looks for new runs while nothing is being played."""


def room() -> None:
    """Draw the room, or say why there is nothing to draw."""
    runs = run_data.runs()
    if runs:
        _lobby(runs)
    else:
        notices.no_runs()


def _lobby(runs: list[run_data.Run]) -> None:
    playing = sum(run.playing for run in runs)
    told = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in <code>{safe(run_data.root())}</code>"
    told += f", {playing} being played" if playing else ""
    door = navigation.way("stagedoor", "play another at the Stage door")
    with st.container(horizontal=True, vertical_alignment="bottom", key="lobby"):
        st.html(
            '<header class="room-head"><p class="wordmark">improv</p><h1>Runs</h1>'
            f'<p class="quiet">{told}; {door}.</p></header>'
        )
        if len(runs) > FEW:
            st.session_state["seek"] = address.get("seek")
            st.text_input(
                "Find a run",
                key="seek",
                placeholder="Find a run: study, scene, model, status",
                label_visibility="collapsed",
                on_change=_sought,
                width=320,
                max_chars=200,
            )
    found = runs_data.named(runs, address.get("seek"))
    if not found:
        st.html('<p class="quiet" role="status">No run is like that.</p>')
        return
    pages = -(-len(found) // PAGE)
    page = _page(pages)
    st.fragment(_table, run_every=run_data.REFRESH if playing else IDLE)(page)
    if pages > 1:
        st.session_state["page"] = page
        st.pagination(pages, key="page", on_change=_turned)


def _table(page: int) -> None:
    """Draw a page of the table; the runs are read anew, for some of them may be going on."""
    try:
        runs = runs_data.named(run_data.runs(), address.get("seek"))[(page - 1) * PAGE : page * PAGE]
    except ImprovError as e:
        notices.unreadable(e)
        return
    st.html(table.table([(run, _standing(run)) for run in runs]))


def _standing(run: run_data.Run) -> runs_data.Standing | None:
    try:
        return runs_data.standing(run)
    except ImprovError:
        return None


def _page(pages: int) -> int:
    wanted = address.get("page")
    number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 6 else 1
    number = min(max(number, 1), pages)
    address.put(page=str(number) if number > 1 else "")
    return number


def _sought() -> None:
    address.go(seek=str(st.session_state["seek"]).strip(), page="")


def _turned() -> None:
    address.go(page=st.session_state["page"] if st.session_state["page"] > 1 else 0)


shared_page.enter("runs", room)
