"""Grows branches from a turn of a trial: what to change, the command that it stands for, and a bar
while `improv branch` works as a process of its own.

Only models of this machine are offered here: a click on a page spends nobody's money.
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
from ui.multiverse.data import Multiverse, title
from ui.shared import notices, processes, run_data
from ui.shared.html import clipped, one_line, safe

MOST = 50
"""Branches that one click grows."""
TICK = 1.0
WATCHED = 500
"""Trials of a run up to which its journals are read while branches grow."""
RECENT = 900.0
"""Seconds for which it is told how a process ended."""

ANEW, AGAIN = "Play on from here", "Draw this line again"
NOTHING, LINE, MOVE = "Nothing, only draw anew", "The line said here", "What happens next"
FRAME, MEMORY = "What everybody is told of the author", "What everybody remembers"
AS_PLAYED, EMBEDDED, PUPPET = "As it was played", "SmolLM2 135M (embedded)", "A puppet"
_MODELS = {EMBEDDED: "embedded", PUPPET: "puppet"}


def name(run: str) -> str:
    """Return under which name branches of a run are grown: one process at a time."""
    return f"branch-{run}"


def growing(run: str) -> bool:
    """Whether branches of a run are being grown from this room."""
    now = processes.look(run_data.root(), name(run))
    return now is not None and now.alive


def panel(
    run: run_data.Run, row: Json, found: Multiverse, branch: str, turn: int, scene: Scene | None
) -> None:
    """Draw the panel that grows branches from a turn of a branch, or what is growing."""
    now = processes.look(run_data.root(), name(run.id))
    st.html('<h2 class="side-title">Grow from here</h2>')
    if now is not None and now.alive:
        _bar(run, str(now.more.get("trial", "")), now)
        return
    if now is not None and now.more.get("trial") == row["trial"]:
        _told(run, found, now)
    if run.playing:
        st.html('<p class="quiet">While the run is being played, no branch can be grown.</p>')
        return
    place = f"{run.id}/{row['trial']}" + ("" if branch == "main" else f"~{branch}") + f"@{turn}"
    st.html(
        f'<p class="quiet">{safe(title(found.rows[branch]))}, at '
        f"{f'turn {turn}' if turn else 'the opening'}. All up to it is shared.</p>"
    )
    words = _choices(found, branch, turn, scene)
    if words is None:
        return
    command = ["branch", place, *words, "--runs", run_data.root()]
    shown = shlex.join(["improv", *command])
    st.code(shown, language=None, wrap_lines=True)
    st.button(
        "Grow", key="grow", type="primary", on_click=_start, args=(run, row["trial"], command)
    )
    if st.session_state.get("grow:refused"):
        st.html(f'<p class="wrong" role="alert">{safe(st.session_state["grow:refused"])}</p>')


def fresh(run: run_data.Run, trial: str) -> list[str]:
    """Return the branches that were grown here last, as long as that is news."""
    now = processes.look(run_data.root(), name(run.id))
    if now is None or now.alive or now.more.get("trial") != trial:
        return []
    return _grown(run, now) if time.time() - (now.ended or 0) < RECENT else []


def _choices(found: Multiverse, branch: str, turn: int, scene: Scene | None) -> list[str] | None:
    """Draw the choices; return the words of the command that they make, None where one is
    missing."""
    said = next((s for s in found.line(branch, first=turn, last=turn) if s.kind == "line"), None)
    kinds = [ANEW, AGAIN] if turn and said is not None else [ANEW]
    kind = st.radio("What is grown", kinds, key="grow:kind", horizontal=True)
    count = int(st.number_input("How many", 1, MOST, 3, key="grow:count"))
    words = ["-n", str(count)]
    if kind == AGAIN:
        return [*words, "--regenerate"]
    what = [NOTHING, *([LINE] if said is not None and turn else []), MOVE, FRAME, MEMORY]
    changed = st.selectbox("What is changed", what, key="grow:what")
    if changed != NOTHING:
        before = {
            LINE: said.text if said is not None else "",
            FRAME: scene.author.frame if scene is not None else "",
        }.get(changed, "")
        text = st.text_area(
            "To what",
            one_line(before, 2000),
            key=f"grow:text:{changed}:{branch}:{turn}",
            max_chars=2000,
            help="A stage direction, or the name of one of the author’s moves."
            if changed == MOVE
            else None,
        )
        if changed in (LINE, MOVE) and not text.strip():
            st.html('<p class="quiet">It needs words.</p>')
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
    # In quotation marks it is text, whatever it looks like.
    return f"--edit=author.frame={json.dumps(text, ensure_ascii=False)}"


def _players(scene: Scene) -> list[Any]:
    return [scene.model_of(role) for role in ("author", *(c.name for c in scene.cast))]


def _replaced(scene: Scene | None, model: str) -> list[str]:
    """Return the edits that give a scene one model, whoever had one of their own."""
    words = [f"model={model}"]
    if scene is not None:
        words += ["author.model=null"] if scene.author.model is not None else []
        words += [f"cast.{c.name}.model=null" for c in scene.cast if c.model is not None]
    return words


def _start(run: run_data.Run, trial: str, command: list[str]) -> None:
    more = {"trial": trial, "asked": len(run.meta.get("branches") or [])}
    st.session_state["grow:refused"] = ""
    st.session_state["grow:seen"] = 0.0
    try:
        processes.start(run_data.root(), name(run.id), processes.improv(*command), more)
    except ImprovError as e:
        st.session_state["grow:refused"] = str(e)


def _stop(run: str) -> None:
    processes.interrupt(run_data.root(), name(run))


def _bar(run: run_data.Run, trial: str, begun: processes.Started) -> None:
    """Draw the bar, and look again every second until the process is over."""

    def tick() -> None:
        now = processes.look(run_data.root(), name(run.id))
        if now is None or not now.alive:
            st.rerun()
        share, words = _progress(run.id, trial, begun)
        st.progress(share, text=words)
        st.button("Stop", key="grow:stop", on_click=_stop, args=(run.id,))

    st.fragment(tick, run_every=TICK)()


def _progress(run: str, trial: str, begun: processes.Started) -> tuple[float, str]:
    """Return which share of the lines of the new branches is drawn, and say so."""
    known = run_data.run(run)
    asked = from_json((known.meta.get("branches") or [])[_number(begun.more, "asked") :])
    if not asked or not known.playing:
        return 0.0, "The actors are on their way"
    row = run_data.find(known, trial)
    scene = run_data.play(known, row).scene
    end = scene.turns if scene is not None else int(row["turns"])
    owed = sum(1 if b.origin == "regeneration" else max(1, end - b.fork) for b in asked)
    many = f"{len(asked)} branches" if len(asked) > 1 else "A branch"
    words = f"{many} {'are' if len(asked) > 1 else 'is'} being played"
    if known.planned > WATCHED:
        return 0.0, words
    drawn = {
        (call.draw.branch, call.draw.turn, call.draw.attempt)
        for call in open_run(run_data.root(), run).journaled().calls()
        if call.started >= begun.at and call.draw.trial == trial and call.draw.purpose == "line"
    }
    return min(len(drawn) / owed, 1.0), f"{words}: {min(len(drawn), owed)} of {owed} lines"


def _grown(run: run_data.Run, now: processes.Started) -> list[str]:
    return [b.id for b in from_json((run.meta.get("branches") or [])[_number(now.more, "asked") :])]


def _told(run: run_data.Run, found: Multiverse, now: processes.Started) -> None:
    """Say how the last growing ended, as long as that is news."""
    if time.time() - (now.ended or 0) > RECENT:
        return
    new = [b for b in _grown(run, now) if b in found.rows]
    if new:
        many = f"{len(new)} branches have" if len(new) > 1 else "A branch has"
        st.html(
            f'<div class="notice" role="status"><p>{many} grown. What is new is marked in the tree.'
            "</p></div>"
        )
        broken = [b for b in new if found.rows[b]["status"] == "failed"]
        for b in broken[:1]:
            notices.failed(found.rows[b])
        return
    st.html(
        '<div class="notice wrong" role="alert"><p><strong>Nothing has grown.</strong></p>'
        f"<pre>{clipped(now.said.strip() or 'The process ended without a word.', 2400)}</pre></div>"
    )
    if "--anyway" in now.said and "--anyway" not in now.command:
        st.button(
            "Grow them all the same",
            key="grow:anyway",
            on_click=_start,
            args=(run, str(now.more.get("trial", "")), [*now.command[3:], "--anyway"]),
        )


def _number(more: Json, name: str) -> int:
    found = more.get(name)
    return found if isinstance(found, int) and found >= 0 else 0
