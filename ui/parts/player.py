"""Moves through a scene: the bar at the foot of the page, its keys, and Play.

Play gives each line the time it takes to read aloud in one's head, and shows the scene as the
audience has heard it so far.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import streamlit as st

from improv.record import Turn
from ui.parts import data, link

PAUSE = 1.0
"""Seconds that Play gives any turn."""
PER_CHARACTER = 0.045
"""Seconds more for each character of the line: about 250 words a minute."""
LONGEST = 8.0
SO_FAR, ALL = "So far", "All"

_PROMPTER = (Path(__file__).parent / "prompter.js").read_text(encoding="utf-8")


def bar(play: data.Play, last: int) -> None:
    """Draw the bar: previous, play, next, the slider, and how much of the scene is shown."""
    now = turn_of(last)
    playing = bool(st.session_state.get("playing")) and now < last
    heard = bool(link.get("heard"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="player"):
        st.button(
            "Previous", key="previous", shortcut="Left", disabled=now <= 0,
            on_click=_step, args=(-1, last),
        )  # fmt: skip
        if playing:
            st.button("Pause", key="pause", shortcut="P", type="primary", on_click=_pause)
        else:
            st.button(
                "Play", key="play", shortcut="P", type="primary", on_click=_play, args=(last,)
            )
        st.button(
            "Next", key="next", shortcut="Right", disabled=now >= last,
            on_click=_step, args=(1, last),
        )  # fmt: skip
        if last:
            st.session_state["slider"] = now
            st.slider(
                "Turn", 0, last, key="slider", on_change=_slid,
                format="turn %d", label_visibility="collapsed",
            )  # fmt: skip
        st.session_state["shown"] = SO_FAR if heard else ALL
        st.segmented_control(
            "How much is shown", [SO_FAR, ALL], key="shown", on_change=_shown,
            required=True, label_visibility="collapsed",
        )  # fmt: skip
    if playing:
        _run_on(play.transcript.turns, now, last)
    else:
        st.session_state["playing"] = False


def follow(trial: str, turn: int) -> None:
    """Mount the script that makes turns clickable and scrolls to the one that is looked at."""
    _prompter()(
        key="prompter",
        data={"trial": trial, "turn": turn} | {n: link.get(n) for n in ("heard", "behind")},
        on_chosen_change=_chosen,
    )


def turn_of(last: int) -> int:
    """Return the turn that is looked at, within what the scene has; 0 is its opening."""
    wanted = link.get("turn")
    return min(int(wanted[:9]), last) if wanted.isascii() and wanted.isdecimal() else 0


def reading_time(turns: tuple[Turn, ...], number: int) -> float:
    """Return the seconds that Play stays on a turn."""
    said = sum(len(t.text) for t in turns if t.turn == number) if number else 0
    return min(PAUSE + PER_CHARACTER * said, LONGEST)


def _prompter() -> Any:
    # Registered at each mount: a second server in one process (a test's) has a registry of its own.
    return st.components.v2.component("improv_prompter", js=_PROMPTER, isolate_styles=False)


def _step(by: int, last: int) -> None:
    st.session_state["playing"] = False
    link.go(turn=max(0, min(turn_of(last) + by, last)))


def _slid() -> None:
    st.session_state["playing"] = False
    link.go(turn=st.session_state["slider"])


def _shown() -> None:
    link.go(heard=st.session_state["shown"] == SO_FAR)


def _chosen() -> None:
    number = getattr(st.session_state["prompter"], "chosen", None)
    if isinstance(number, int | float):
        st.session_state["playing"] = False
        link.go(turn=int(number), behind=True)


def _play(last: int) -> None:
    now = turn_of(last)
    st.session_state["playing"] = True
    st.session_state["due"] = 0.0
    link.go(heard=True, turn=0 if now >= last else now)


def _pause() -> None:
    st.session_state["playing"] = False


def _run_on(turns: tuple[Turn, ...], now: int, last: int) -> None:
    """Turn the page when the line has been read."""
    seconds = reading_time(turns, now)
    if st.session_state.get("due:turn") != now or not st.session_state["due"]:
        st.session_state["due:turn"] = now
        st.session_state["due"] = time.monotonic() + seconds

    def tick() -> None:
        if st.session_state.get("playing") and time.monotonic() >= st.session_state["due"] - 0.05:
            link.go(turn=now + 1)
            if now + 1 >= last:
                st.session_state["playing"] = False
            st.rerun()

    st.fragment(tick, run_every=seconds)()
