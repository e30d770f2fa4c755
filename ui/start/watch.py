"""A run that is being played: its progress, the lines of a scene as they arrive, stop and resume.

Every run in the runs folder can be watched here, whether the stage door or a terminal started it.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from improv.errors import ImprovError, RunError
from improv.records import Json
from improv.storage.lock import current_holder
from improv.storage.runs import open_run
from improv.study.trial import Trial
from ui.shared import address, branch_lines, notices, permission, processes, run_data, transcript
from ui.shared.html import clipped, safe, short_line
from ui.start import command as start_command
from ui.start import progress
from ui.start.progress import Arrived

_TICK = 1.0
"""Seconds between two reads of the run."""
NOW = "The scene with the newest line"


def wanted(run: str) -> bool:
    """Whether a run was started in this room, or is being played now."""
    if processes.process_state(run_data.root(), run) is not None:
        return True
    try:
        return _playing(run)
    except ImprovError:
        return False


def watch(name: str) -> None:
    """Draw the progress of a run, and how it ended. Raises RunError, StudyError."""
    now = processes.process_state(run_data.root(), name)
    try:
        run = run_data.find_run(name)
    except RunError:
        _not_there(name, now)
        return
    trials = progress.planned_trials(run)
    titles = list(dict.fromkeys(t.scene.title for t in trials.one_of_each_cell()))
    title = titles[0] if len(titles) == 1 else f"{len(titles)} scenes"
    st.html(
        f'<header class="room-head"><h1>{safe(short_line(title, 120))}</h1>'
        f'<p class="quiet">Run {safe(run.id)} · {safe(short_line(", ".join(run.models)))}</p>'
        "</header>"
    )
    if run.planned > start_command.WATCHED:
        notices.being_played(run, len(run_data.trial_rows(run)))
        return
    alive = _alive(run.id, now)

    def tick() -> None:
        again = run_data.find_run(run.id)
        still = _alive(run.id, processes.process_state(run_data.root(), run.id))
        if alive and not still:
            st.rerun()
        try:
            _stage(again, trials, alive=still)
        except ImprovError as e:
            if not alive:
                raise
            # The tables are being moved; the next tick can read them.
            st.html(f'<p class="quiet">{safe(short_line(str(e), 300))}</p>')

    # A run that has ended is drawn once, without a timer.
    st.fragment(tick, run_every=_TICK if alive else None)()
    if not alive:
        _over(run_data.find_run(run.id), now)


def _alive(run: str, now: processes.Started | None) -> bool:
    try:
        return (now is not None and now.alive) or _playing(run)
    except ImprovError:
        return False


def _not_there(name: str, now: processes.Started | None) -> None:
    """Draw a run without a folder: its process is starting, or has failed."""
    st.html('<header class="room-head"><h1>Stage door</h1></header>')
    if now is not None and now.alive:

        def tick() -> None:
            look = processes.process_state(run_data.root(), name)
            if look is None or not look.alive or _there(name):
                st.rerun()
            st.progress(0.0, text="The actors are on their way: the run is starting")
            _stop_button(name)

        st.fragment(tick, run_every=_TICK)()
        return
    said = now.said.strip() if now is not None else ""
    st.html(
        '<div class="notice wrong" role="alert"><p><strong>The curtain did not rise: the run did '
        "not start.</strong></p>"
        f"<pre>{clipped(said or 'The process ended without a message.', 3000)}</pre></div>"
    )
    st.button("Choose again", key="door:another", type="primary", on_click=_another)


def _there(name: str) -> bool:
    try:
        return run_data.find_run(name).id == name
    except ImprovError:
        return False


def _stage(run: run_data.ViewedRun, trials: Sequence[Trial], *, alive: bool) -> None:
    """Draw the progress of a run, and the lines so far of the chosen scene."""
    arrived = progress.arrived(run, trials)
    failed = sum(r["status"] == "failed" for r in arrived.rows.values())
    # A scene can be over before its rows are in the tables.
    lines = {t.id: t.scene.turns if t.id in arrived.rows else arrived.lines(t.id) for t in trials}
    over, total = sum(lines[t.id] >= t.scene.turns for t in trials), max(len(trials), 1)
    words = f"{over} of {total} scenes are over" if total > 1 else "The scene is over"
    if alive and not arrived.rows and not arrived.begun:
        words = "The actors are on their way: the run is starting"
    elif total == 1 and not over:
        words = f"{lines[trials[0].id]} of {trials[0].scene.turns} lines"
    words += f", {failed} failed" if failed else ""
    share = sum(lines.values()) / (sum(t.scene.turns for t in trials) or 1)
    st.progress(min(share, 1.0), text=words)
    with st.container(horizontal=True, vertical_alignment="bottom", key="door-bar"):
        shown = _choose(trials, arrived)
        if alive:
            _stop_button(run.id)
        row = arrived.rows.get(shown.id)
        if row is not None and st.button("Read it in the Scene room", key="door:scene-room"):
            address.go_to_room("scene", run=run.id, trial=shown.id)
    said = arrived.begun.get(shown.id, [])
    if row is not None:
        said = progress.finished(run, row)
        if row["status"] == "failed":
            notices.failed(row)
    colours = {c.name: i % transcript.VOICE_COLOURS for i, c in enumerate(shown.scene.cast)}
    now = max((s.turn for s in said), default=0)
    text = branch_lines.branch_html(
        said, colours, fork=-1, turn=now if row is None else 0, named="The scene"
    )
    if not said:
        text = '<p class="quiet">No line yet.</p>'
    st.html(
        f'<div class="arriving" tabindex="0" role="region" aria-label="What is said">{text}</div>'
    )


def _choose(trials: Sequence[Trial], arrived: Arrived) -> Trial:
    """Offer the trials; return the chosen one, by default the one with the newest line."""
    by_id = {t.id: (i, t) for i, t in enumerate(trials)}
    ended = [t for t in trials if t.id in arrived.rows]
    now = by_id[arrived.latest][1] if arrived.latest else (ended[-1:] or list(trials))[0]

    def name(trial: str) -> str:
        if trial == NOW:
            return NOW
        place, known = by_id[trial]
        row = arrived.rows.get(trial)
        state = str(row["status"]) if row is not None else "to come"
        if trial in arrived.begun:
            state = "over" if arrived.lines(trial) >= known.scene.turns else "being played"
        return f"{place}  {short_line(known.condition, 40)} · {state}"

    if len(trials) == 1:
        return now
    picked = st.selectbox("Watch", [NOW, *by_id], key="door:trial", format_func=name)
    return by_id[picked][1] if picked in by_id else now


def _over(run: run_data.ViewedRun, now: processes.Started | None) -> None:
    """Draw how a run ended, and the buttons to resume it or to start another."""
    owed = run.planned - len(run_data.trial_rows(run))
    if owed > 0:
        why = str(run.meta.get("stopped") or "")
        said = now.said.strip() if now is not None and not why else ""
        output = f"<pre>{clipped(said, 2000)}</pre>" if said else ""
        st.html(
            f'<div class="notice" role="status"><p><strong>Stopped{": " if why else ""}'
            f"{safe(short_line(why, 300))}.</strong> {owed} of {run.planned} scenes are left to "
            f"play; all finished lines are kept.</p>{output}</div>"
        )
    with st.container(horizontal=True, key="door-next"):
        if owed > 0 and now is not None:
            st.button(
                "Resume",
                key="door:resume",
                type="primary",
                on_click=_resume,
                disabled=not permission.allowed(),
                args=(run.id, now.more if now.ours else {}),
            )
        st.button("Start another", key="door:another", on_click=_another)
    permission.explain()
    if refused := st.session_state.pop("door:refused", ""):
        notices.problem(refused)


def _resume(run: str, more: Json) -> None:
    host = str(more.get("host") or "")
    command = start_command.resumed(run, run_data.root(), host)
    try:
        permit = permission.permit()
        processes.start(permit, run_data.root(), run, processes.improv(*command), {"host": host})
    except ImprovError as e:
        st.session_state["door:refused"] = str(e)


def _stop_button(run: str) -> None:
    st.button(
        "Stop",
        key="door:stop",
        on_click=_interrupt,
        args=(run,),
        disabled=not permission.allowed(),
        help="The lines so far are kept, and the run can be resumed.",
    )


def _interrupt(run: str) -> None:
    if permission.allowed():
        processes.interrupt(permission.permit(), run_data.root(), run)


def _another() -> None:
    address.go(run="", trial="", branch="", turn=0)


def _playing(run: str) -> bool:
    """Whether a process plays the run now. Raises RunError where there is no such run."""
    folder = open_run(run_data.root(), run)
    return (
        folder.id == run
        and folder.meta().get("status") == "playing"
        and (current_holder(folder.local) is not None)
    )
