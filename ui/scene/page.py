"""The Scene room: one trial, or one of its branches, to read turn by turn.

`shared.run_data` reads the tables; `shared.transcript`, `score_strip` and `prompt_panel` draw; the
address holds the reader's position.
"""

from __future__ import annotations

import streamlit as st

from improv.records import Json
from ui.scene import player, prompt_panel, score_strip, stops, toolbar
from ui.shared import address as shared_address
from ui.shared import notices, page, run_data, run_picker, transcript
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    chosen = page.chosen("trial", "turn", "behind", "branch", "marks")
    if chosen is not None:
        run, rows = chosen
        row = run_picker.choose_trial(run, rows)
        run_picker.about(run, rows)
        _scene(run, rows, run_data.play(run, _branch(run, row)))


def _branch(run: run_data.ViewedRun, row: Json) -> Json:
    """Return the row of the branch that the address names, else the trial's own row."""
    wanted = shared_address.get("branch")
    if not wanted:
        return row
    near = [b for b in run_data.branch_rows(run, row["trial"]) if b["branch"].startswith(wanted)]
    if len(near) != 1:
        notices.no_branch(wanted)
        shared_address.put(branch="")
        return row
    shared_address.put(branch=near[0]["branch"])
    return near[0]


def _scene(run: run_data.ViewedRun, rows: Rows, play: run_data.Play) -> None:
    row, turns = play.row, play.transcript.turns
    last = max(play.last, row["failure_turn"] or 0)
    wrong = shared_address.get("turn")
    turn = player.current_turn(last)
    if wrong and wrong != str(turn):
        notices.no_such_turn(wrong, last)
        shared_address.put(turn=str(turn or ""))
    shared_address.put(
        marks=stops.bookmarks_text(stops.bookmarks(shared_address.get("marks"), last))
    )
    colours = transcript.voices(turns, play.scene)
    margin = not shared_address.get("audience")
    opened = bool(shared_address.get("behind"))
    heard = bool(shared_address.get("heard"))

    run_picker.strip(run, rows, play)
    marks = toolbar.tools(run, play, last, margin=margin)
    stage, wing = st.columns([11, 7], gap="large") if opened else (st.container(), None)
    with stage, st.container(key="stage"):
        toolbar.branch_line(run, play)
        st.html(transcript.title_page(row, play.scene, colours))
        if row["status"] == "failed":
            notices.failed(row)
        notices.failed_before(play.failures)
        here = {"run": run.id, "trial": row["trial"], "branch": shared_address.get("branch")}
        definitions = transcript.habits(play.scene) | transcript.rules(play.scene)
        address = shared_address.address(**here)
        st.html(transcript.transcript(turns, row, colours, play.scores, address, definitions))
        if margin:
            toolbar.scores_table(play)
    st.html(transcript.view_style(turn, heard=heard, margin=margin, last=last, marks=marks))
    if wing is not None:
        with wing, st.container(key="behind"):
            prompt_panel.turn_panel(run, play, turn, margin=margin)
    with st.bottom:
        if margin and (drawn := score_strip.tally(turns, play.scores, last, margin=margin)):
            st.html(drawn)
        player.bar(rows, play, last, margin=margin)
    find = (
        shared_address.get("find")
        if stops.hits(turns, shared_address.get("find"), margin=margin)
        else ""
    )
    player.follow(f"{row['trial']}~{row['branch']}", turn, find=find)


page.open_room("scene", room)
