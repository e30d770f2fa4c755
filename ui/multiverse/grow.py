"""The panel that plays new branches: the choices, the command that they make, and a progress bar.

`improv branch` runs as a process of its own. Only models of this machine are offered, so that a
click on the page costs no money.
"""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import streamlit as st

from improv.errors import ImprovError
from improv.records import Json
from improv.storage.runs import open_run
from improv.study.branch import from_json
from improv.study.scene import Scene
from ui.multiverse.data import Multiverse, branch_title
from ui.shared import notices, permission, processes, run_data
from ui.shared.html import clipped, safe, short_line

_MOST = 50
"""Most branches that one click starts."""
_TICK = 1.0
_WATCHED = 500
"""Most trials of a run whose journals are read for the progress of branches."""
RECENT = 900.0
"""Seconds for which the end of a process is news."""

ANEW, AGAIN = "Play on from here", "Draw this line again"
NOTHING, LINE, MOVE = "Nothing: only draw again", "The line said here", "What happens next"
FRAME, MEMORY = "The author’s frame", "What everybody remembers"
AS_PLAYED, EMBEDDED, PUPPET = "As it was played", "SmolLM2 135M (embedded)", "A puppet"
_MODELS = {EMBEDDED: "embedded", PUPPET: "puppet"}


def process_name(run: str) -> str:
    """Return the name of the process that plays branches of a run: one at a time."""
    return f"branch-{run}"


def growing(run: str) -> bool:
    """Whether this room's process is playing branches of a run."""
    now = processes.process_state(run_data.root(), process_name(run))
    return now is not None and now.alive


def grow_panel(
    run: run_data.ViewedRun,
    row: Json,
    multiverse: Multiverse,
    branch: str,
    turn: int,
    scene: Scene | None,
) -> None:
    """Draw the choices for branches from a turn of a branch, or the progress of those being
    played."""
    now = processes.process_state(run_data.root(), process_name(run.id))
    st.html('<h2 class="side-title">Grow from here</h2>')
    if now is not None and now.alive:
        _bar(run, str(now.more.get("trial", "")), now)
        return
    if now is not None and now.more.get("trial") == row["trial"]:
        _told(run, multiverse, now)
    if run.playing:
        st.html('<p class="quiet">A branch can be played after the run has ended.</p>')
        return
    place = f"{run.id}/{row['trial']}" + ("" if branch == "main" else f"~{branch}") + f"@{turn}"
    st.html(
        f'<p class="quiet">{safe(branch_title(multiverse.rows[branch]))}, at '
        f"{f'turn {turn}' if turn else 'the opening'}. Every turn up to it is shared.</p>"
    )
    words = _choices(multiverse, branch, turn, scene)
    if words is None:
        return
    command = ["branch", place, *words, "--runs", run_data.root()]
    shown = shlex.join(["improv", *command])
    st.code(shown, language=None, wrap_lines=True)
    st.button(
        "Grow",
        key="grow",
        type="primary",
        disabled=not permission.allowed(),
        on_click=_start,
        args=(run, row["trial"], command),
    )
    permission.explain()
    if st.session_state.get("grow:refused"):
        st.html(f'<p class="wrong" role="alert">{safe(st.session_state["grow:refused"])}</p>')


def fresh(run: run_data.ViewedRun, trial: str) -> list[str]:
    """Return the branches that this room's last process played, as long as that is news."""
    now = processes.process_state(run_data.root(), process_name(run.id))
    if now is None or now.alive or now.more.get("trial") != trial:
        return []
    return _grown(run, now) if time.time() - (now.ended or 0) < RECENT else []


def _choices(
    multiverse: Multiverse, branch: str, turn: int, scene: Scene | None
) -> list[str] | None:
    """Draw the choices; return the arguments of the command that they make, None where a text is
    missing."""
    said = next(
        (s for s in multiverse.line(branch, first=turn, last=turn) if s.kind == "line"), None
    )
    kinds = [ANEW, AGAIN] if turn and said is not None else [ANEW]
    kind = st.radio("What to play", kinds, key="grow:kind", horizontal=True)
    count = int(st.number_input("How many", 1, _MOST, 3, key="grow:count"))
    words = ["-n", str(count)]
    if kind == AGAIN:
        return [*words, "--regenerate"]
    what = [NOTHING, *([LINE] if said is not None and turn else []), MOVE, FRAME, MEMORY]
    changed = st.selectbox("What to change", what, key="grow:what")
    if changed != NOTHING:
        before = {
            LINE: said.text if said is not None else "",
            FRAME: scene.author.frame if scene is not None else "",
        }.get(changed, "")
        text = st.text_area(
            "Change it to",
            short_line(before, 2000),
            key=f"grow:text:{changed}:{branch}:{turn}",
            max_chars=2000,
            help="A stage direction, or the name of one of the author’s moves."
            if changed == MOVE
            else None,
        )
        if changed in (LINE, MOVE) and not text.strip():
            st.html('<p class="quiet">Write a text first.</p>')
            return None
        words.append(_edit(changed, text))
    own = scene is not None and all(m.embedded or m.in_process for m in _players(scene))
    played = st.selectbox(
        "Played by", [*([AS_PLAYED] if own else []), EMBEDDED, PUPPET], key="grow:model"
    )
    if played != AS_PLAYED:
        words += [f"--edit={path}" for path in _replaced(scene, _MODELS[played])]
    return words


def _edit(changed: str, text: str) -> str:
    match changed:
        case "The line said here":
            return f"--edit=line={text}"
        case "What happens next":
            return f"--edit=move={text}"
        case "What everybody remembers":
            return f"--edit=memory.everybody={text}"
    # In quotation marks the value is a string in every case.
    return f"--edit=author.frame={json.dumps(text, ensure_ascii=False)}"


def _players(scene: Scene) -> list[Any]:
    return [scene.model_of(role) for role in ("author", *(c.name for c in scene.cast))]


def _replaced(scene: Scene | None, model: str) -> list[str]:
    """Return the edits under which one model plays every role, also roles with a model of their
    own."""
    words = [f"model={model}"]
    if scene is not None:
        words += ["author.model=null"] if scene.author.model is not None else []
        words += [f"cast.{c.name}.model=null" for c in scene.cast if c.model is not None]
    return words


def _start(run: run_data.ViewedRun, trial: str, command: list[str]) -> None:
    more = {"trial": trial, "asked": len(run.meta.get("branches") or [])}
    st.session_state["grow:refused"] = ""
    st.session_state["grow:seen"] = 0.0
    try:
        permit = permission.permit()
        name = process_name(run.id)
        processes.start(permit, run_data.root(), name, processes.improv(*command), more)
    except ImprovError as e:
        st.session_state["grow:refused"] = str(e)


def _stop(run: str) -> None:
    if permission.allowed():
        processes.interrupt(permission.permit(), run_data.root(), process_name(run))


def _bar(run: run_data.ViewedRun, trial: str, begun: processes.Started) -> None:
    """Draw the progress bar, again every second until the process ends."""

    def tick() -> None:
        now = processes.process_state(run_data.root(), process_name(run.id))
        if now is None or not now.alive:
            st.rerun()
        share, words = _progress(run.id, trial, begun)
        st.progress(share, text=words)
        st.button(
            "Stop",
            key="grow:stop",
            disabled=not permission.allowed(),
            on_click=_stop,
            args=(run.id,),
        )

    st.fragment(tick, run_every=_TICK)()


def _progress(run: str, trial: str, begun: processes.Started) -> tuple[float, str]:
    """Return the share of the new branches' lines that is drawn, and a text for the bar."""
    known = run_data.find_run(run)
    branches = from_json((known.meta.get("branches") or [])[_number(begun.more, "asked") :])
    if not branches or not known.playing:
        return 0.0, "The actors are on their way: the branches are starting"
    row = run_data.find_trial(known, trial)
    scene = run_data.play(known, row).scene
    end = scene.turns if scene is not None else int(row["turns"])
    owed = sum(1 if b.origin == "regeneration" else max(1, end - b.fork) for b in branches)
    many = f"{len(branches)} branches" if len(branches) > 1 else "A branch"
    words = f"{many} {'are' if len(branches) > 1 else 'is'} being played"
    if known.planned > _WATCHED:
        return 0.0, words
    drawn = {
        (call.draw.branch, call.draw.turn, call.draw.attempt)
        for call in open_run(run_data.root(), run).journaled().calls()
        if call.started >= begun.at and call.draw.trial == trial and call.draw.purpose == "line"
    }
    return min(len(drawn) / owed, 1.0), f"{words}: {min(len(drawn), owed)} of {owed} lines"


def _grown(run: run_data.ViewedRun, now: processes.Started) -> list[str]:
    return [b.id for b in from_json((run.meta.get("branches") or [])[_number(now.more, "asked") :])]


def _told(run: run_data.ViewedRun, multiverse: Multiverse, now: processes.Started) -> None:
    """Draw how the last process ended, as long as that is news."""
    if time.time() - (now.ended or 0) > RECENT:
        return
    new = [b for b in _grown(run, now) if b in multiverse.rows]
    if new:
        many = f"{len(new)} branches have" if len(new) > 1 else "A branch has"
        st.html(
            f'<div class="notice" role="status"><p>{many} grown. New branches are marked in the '
            "tree.</p></div>"
        )
        broken = [b for b in new if multiverse.rows[b]["status"] == "failed"]
        for b in broken[:1]:
            notices.failed(multiverse.rows[b])
        return
    output = now.said.strip() or "The process ended without a message."
    st.html(
        '<div class="notice wrong" role="alert"><p><strong>No branch has grown.</strong></p>'
        f"<pre>{clipped(output, 2400)}</pre></div>"
    )
    if now.ours and "--anyway" in now.said and "--anyway" not in now.command:
        words = now.command[len(processes.improv()) :]
        st.button(
            "Grow them anyway",
            key="grow:anyway",
            disabled=not permission.allowed(),
            on_click=_start,
            args=(run, str(now.more.get("trial", "")), [*words, "--anyway"]),
        )


def _number(more: Json, name: str) -> int:
    value = more.get(name)
    return value if isinstance(value, int) and value >= 0 else 0
