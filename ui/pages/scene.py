"""The Scene room: choose a run and a trial, and read it turn by turn.

Thin: what is read comes from `parts.data`, what is drawn from `parts.script` and `parts.behind`,
and where the reader stands from the address.
"""

from __future__ import annotations

import streamlit as st

from improv.errors import ImprovError
from improv.record import Json
from ui.parts import behind, data, library, link, notices, player, script


def room() -> None:
    """Draw the room, or say why there is nothing to draw."""
    link.arrive("scene")
    try:
        runs = data.runs()
        if not runs:
            notices.no_runs()
            return
        run = library.choose_run(runs)
        rows = data.trials(run)
        if run.playing:
            notices.being_played(run, len(rows))
        if not rows:
            notices.no_trials(run)
            link.put(trial="", turn="", behind="")
            link.settle()
            return
        row = library.choose_trial(run, rows)
        library.about(run, rows)
        play = data.play(run, row)
    except ImprovError as e:
        notices.unreadable(e)
        link.settle()
        return
    _scene(run, rows, play)
    link.settle()


def _scene(run: data.Run, rows: list[Json], play: data.Play) -> None:
    row, turns = play.row, play.transcript.turns
    last = max(play.last, row["failure_turn"] or 0)
    wrong = link.get("turn")
    turn = player.turn_of(last)
    if wrong and wrong != str(turn):
        notices.no_such_turn(wrong, last)
        link.put(turn=str(turn or ""))
    colours = script.voices(turns, play.scene)
    margin = not link.get("audience")
    opened = bool(link.get("behind"))
    heard = bool(link.get("heard"))

    library.strip(run, rows, play)
    stage, wing = st.columns([11, 7], gap="large") if opened else (st.container(), None)
    with stage, st.container(key="stage"):
        st.html(script.title_page(row, play.scene, colours))
        if row["status"] == "failed":
            notices.failed(row)
        address = link.address(run=run.id, trial=row["trial"])
        told = script.habits(play.scene)
        st.html(script.transcript(turns, row, colours, play.scores, address, told))
    st.html(script.view_style(turn, heard=heard, margin=margin))
    if wing is not None:
        with wing, st.container(key="behind"):
            behind.panel(run, play, turn, margin=margin)
    with st.bottom:
        player.bar(play, last)
    player.follow(row["trial"], turn)


room()
