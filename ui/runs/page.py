"""The Runs room, the lobby: a table of the folder's runs, with links to their rooms.

`runs.data` reads the figures of a run, and `runs.table` makes the table.
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

_PAGE = 20
"""Runs on a page of the table."""
_FEW = 6
"""Most runs for which no search field is drawn."""
IDLE = 15.0
"""Seconds between two reads of the runs folder while no run is being played."""


def room() -> None:
    """Draw the room, or a notice where there is no run."""
    runs = run_data.all_runs()
    if runs:
        _lobby(runs)
    else:
        notices.no_runs()


def _lobby(runs: list[run_data.ViewedRun]) -> None:
    playing = sum(run.playing for run in runs)
    summary = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in <code>{safe(run_data.root())}</code>"
    summary += f", {playing} being played" if playing else ""
    door = navigation.link("stagedoor", "play another at the Stage door")
    with st.container(horizontal=True, vertical_alignment="bottom", key="lobby"):
        st.html(
            '<header class="room-head"><p class="wordmark">improv</p><h1>Runs</h1>'
            f'<p class="quiet">{summary}; {door}.</p></header>'
        )
        if len(runs) > _FEW:
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
    matching = runs_data.named(runs, address.get("seek"))
    if not matching:
        st.html('<p class="quiet" role="status">No run matches.</p>')
        return
    pages = -(-len(matching) // _PAGE)
    page = _page(pages)
    st.fragment(_table, run_every=run_data.REFRESH if playing else IDLE)(page)
    if pages > 1:
        st.session_state["page"] = page
        st.pagination(pages, key="page", on_change=_turned)


def _table(page: int) -> None:
    """Draw a page of the table. The runs are read again, because some may be in progress."""
    try:
        runs = runs_data.named(run_data.all_runs(), address.get("seek"))[(page - 1) * _PAGE : page * _PAGE]
    except ImprovError as e:
        notices.unreadable(e)
        return
    st.html(table.runs_table([(run, _standing(run)) for run in runs]))


def _standing(run: run_data.ViewedRun) -> runs_data.Standing | str:
    """Return the figures of a run, or a sentence about what cannot be read."""
    try:
        return run.problem or runs_data.standing(run)
    except ImprovError as e:
        return str(e)


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


shared_page.open_room("runs", room)
