"""The player: the bar at the foot of the page with its keys, jumps, and Play.

Play shows the scene up to the current turn, and stays on each line for the time that it takes to
read the line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from improv.records import Turn
from ui.scene import stops
from ui.shared import address, run_data
from ui.shared.lazy_rows import Rows

PAUSE = 1.0
"""Seconds that Play stays on a turn without text."""
PER_CHARACTER = 0.045
"""Additional seconds for each character of the line: about 250 words a minute."""
_LONGEST = 8.0
SO_FAR, ALL = "So far", "All"

_PROMPTER = (Path(__file__).parent / "player.js").read_text(encoding="utf-8")


def bar(rows: Rows, play: run_data.Play, last: int, *, margin: bool) -> None:
    """Draw the bar: previous, play, next, jumps, the slider, and the switch between the scene so
    far and the whole scene. `rows` are the run's trials."""
    now = current_turn(last)
    playing = bool(st.session_state.get("playing")) and now < last
    heard = bool(address.get("heard"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="player"):
        st.button(
            "Previous",
            key="previous",
            shortcut="Left",
            disabled=now <= 0,
            on_click=_step,
            args=(-1, last),
        )
        if playing:
            st.button("Pause", key="pause", shortcut="P", type="primary", on_click=_pause)
        else:
            st.button(
                "Play", key="play", shortcut="P", type="primary", on_click=_play, args=(last,)
            )
        st.button(
            "Next",
            key="next",
            shortcut="Right",
            disabled=now >= last,
            on_click=_step,
            args=(1, last),
        )
        _jumps(rows, play, last, margin=margin)
        if last:
            st.session_state["slider"] = now
            st.slider(
                "Turn",
                0,
                last,
                key="slider",
                on_change=_slid,
                format="turn %d",
                label_visibility="collapsed",
            )
        st.session_state["shown"] = SO_FAR if heard else ALL
        st.segmented_control(
            "How much is shown",
            [SO_FAR, ALL],
            key="shown",
            on_change=_shown,
            required=True,
            label_visibility="collapsed",
        )
    if playing:
        _run_on(play.transcript.turns, now, last)
    else:
        st.session_state["playing"] = False


def _jumps(rows: Rows, play: run_data.Play, last: int, *, margin: bool) -> None:
    """Draw a button for each kind of jump that has a target. After the last target it starts
    over."""
    row, turns = play.row, play.transcript.turns
    if margin:
        kinds = {
            "Break": ("B", stops.break_turns(play.scores), "the next line with a break"),
            "Move": ("M", stops.moves(turns), "the author’s next note, cue or move"),
        }
        for name, (key, places, what) in kinds.items():
            if places:
                st.button(
                    name,
                    key=f"jump-{name.lower()}",
                    shortcut=key,
                    type="tertiary",
                    help=f"To {what}; {_count(places)} in this scene",
                    on_click=_jump,
                    args=(places, last),
                )
    places, others = stops.failures(turns, row), rows.places(status="failed")
    elsewhere = others[others != rows.where(row["trial"])]
    if places or len(elsewhere):
        counts = f"{_count(places)} in this scene, {len(others):,} scenes of this run failed"
        st.button(
            "Failure",
            key="jump-failure",
            shortcut="F",
            type="tertiary",
            help=f"To the next failure, here or in a later scene; {counts}",
            on_click=_fail,
            args=(places, last, rows, row["trial"]),
        )


def _count(places: Sequence[int]) -> str:
    return f"{len(places):,}" if places else "none"


def _jump(places: Sequence[int], last: int) -> None:
    st.session_state["playing"] = False
    at = stops.after(places, current_turn(last))
    if at is not None:
        address.go(turn=at)


def _fail(places: Sequence[int], last: int, rows: Rows, trial: str) -> None:
    """Go to the next failure of this scene, else to the next failed scene, else to the first
    one."""
    st.session_state["playing"] = False
    now = current_turn(last)
    here = rows.where(trial)
    failed = [at for at in rows.places(status="failed").tolist() if at != here]
    later = [at for at in failed if here is None or at > here]
    ahead = [at for at in places if at > now]
    if ahead or not failed:
        _jump(ahead or places, last)
    else:
        row = rows[(later or failed)[0]]
        address.go(
            trial=row["trial"], turn=row["failure_turn"] or 0, branch="", marks="", heard=False
        )


def follow(name: str, turn: int, *, find: str) -> None:
    """Mount the script that makes turns and marks clickable, scrolls to the turn that is read and
    lights the text `find`. `name` identifies the transcript."""
    held = {n: address.get(n) for n in ("heard", "behind")}
    _prompter()(
        key="prompter",
        data={"trial": name, "turn": turn, "find": find} | held,
        on_chosen_change=_chosen,
        on_jumped_change=_jumped,
    )


def current_turn(last: int) -> int:
    """Return the current turn of the address, at most `last`; 0 is the opening."""
    wanted = address.get("turn")
    return min(int(wanted[:9]), last) if wanted.isascii() and wanted.isdecimal() else 0


def reading_time(turns: tuple[Turn, ...], number: int) -> float:
    """Return the seconds that Play stays on a turn."""
    said = sum(len(t.text) for t in turns if t.turn == number) if number else 0
    return min(PAUSE + PER_CHARACTER * said, _LONGEST)


def _prompter() -> Any:
    # Registered at each mount: a second server in one process (a test's) has a registry of its own.
    return st.components.v2.component("improv_prompter", js=_PROMPTER, isolate_styles=False)


def _step(by: int, last: int) -> None:
    st.session_state["playing"] = False
    address.go(turn=max(0, min(current_turn(last) + by, last)))


def _slid() -> None:
    st.session_state["playing"] = False
    address.go(turn=st.session_state["slider"])


def _shown() -> None:
    address.go(heard=st.session_state["shown"] == SO_FAR)


def _chosen() -> None:
    number = getattr(st.session_state["prompter"], "chosen", None)
    if isinstance(number, int | float):
        st.session_state["playing"] = False
        address.go(turn=int(number), behind=True)


def _jumped() -> None:
    number = getattr(st.session_state["prompter"], "jumped", None)
    if isinstance(number, int | float):
        st.session_state["playing"] = False
        address.go(turn=int(number))


def _play(last: int) -> None:
    now = current_turn(last)
    st.session_state["playing"] = True
    st.session_state["due"] = 0.0
    address.go(heard=True, turn=0 if now >= last else now)


def _pause() -> None:
    st.session_state["playing"] = False


def _run_on(turns: tuple[Turn, ...], now: int, last: int) -> None:
    """Go to the next turn when the reading time of this one is over."""
    seconds = reading_time(turns, now)
    if st.session_state.get("due:turn") != now or not st.session_state["due"]:
        st.session_state["due:turn"] = now
        st.session_state["due"] = time.monotonic() + seconds

    def tick() -> None:
        if st.session_state.get("playing") and time.monotonic() >= st.session_state["due"] - 0.05:
            address.go(turn=now + 1)
            if now + 1 >= last:
                st.session_state["playing"] = False
            st.rerun()

    st.fragment(tick, run_every=seconds)()
