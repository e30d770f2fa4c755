"""The Scene room: choose a run and a trial, or one of its branches, and read it turn by turn.

Thin: what is read comes from `parts.data`, what is drawn from `parts.script`, `parts.tally` and
`parts.behind`, and where the reader stands from the address.
"""

from __future__ import annotations

import streamlit as st

from improv.records import Json
from ui.parts import (
    behind,
    data,
    entrance,
    library,
    link,
    notices,
    player,
    script,
    stops,
    tally,
    tools,
)
from ui.parts.rows import Rows


def room() -> None:
    """Draw the room."""
    found = entrance.chosen("trial", "turn", "behind", "branch", "marks")
    if found is not None:
        run, rows = found
        row = library.choose_trial(run, rows)
        library.about(run, rows)
        _scene(run, rows, data.play(run, _branch(run, row)))


def _branch(run: data.Run, row: Json) -> Json:
    """Return the row of the branch that the address names, else of the trial itself."""
    wanted = link.get("branch")
    if not wanted:
        return row
    near = [b for b in data.branches(run, row["trial"]) if b["branch"].startswith(wanted)]
    if len(near) != 1:
        notices.no_branch(wanted)
        link.put(branch="")
        return row
    link.put(branch=near[0]["branch"])
    return near[0]


def _scene(run: data.Run, rows: Rows, play: data.Play) -> None:
    row, turns = play.row, play.transcript.turns
    last = max(play.last, row["failure_turn"] or 0)
    wrong = link.get("turn")
    turn = player.turn_of(last)
    if wrong and wrong != str(turn):
        notices.no_such_turn(wrong, last)
        link.put(turn=str(turn or ""))
    link.put(marks=stops.written(stops.marks(link.get("marks"), last)))
    colours = script.voices(turns, play.scene)
    margin = not link.get("audience")
    opened = bool(link.get("behind"))
    heard = bool(link.get("heard"))

    library.strip(run, rows, play)
    marks = tools.row(run, play, last, margin=margin)
    stage, wing = st.columns([11, 7], gap="large") if opened else (st.container(), None)
    with stage, st.container(key="stage"):
        tools.branch_line(run, play)
        st.html(script.title_page(row, play.scene, colours))
        if row["status"] == "failed":
            notices.failed(row)
        here = {"run": run.id, "trial": row["trial"], "branch": link.get("branch")}
        told = script.habits(play.scene) | script.rules(play.scene)
        address = link.address(**here)
        st.html(script.transcript(turns, row, colours, play.scores, address, told))
        if margin:
            tools.table(play)
    st.html(script.view_style(turn, heard=heard, margin=margin, last=last, marks=marks))
    if wing is not None:
        with wing, st.container(key="behind"):
            behind.panel(run, play, turn, margin=margin)
    with st.bottom:
        if margin and (drawn := tally.tally(turns, play.scores, last, margin=margin)):
            st.html(drawn)
        player.bar(rows, play, last, margin=margin)
    found = link.get("find") if stops.hits(turns, link.get("find"), margin=margin) else ""
    player.follow(f"{row['trial']}~{row['branch']}", turn, found=found)


entrance.enter("scene", room)
