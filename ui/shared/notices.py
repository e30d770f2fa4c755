"""What the rooms say when there is nothing to show, or not yet, or not what was asked for."""

from __future__ import annotations

from html import escape

import streamlit as st

from improv.records import Json
from ui.shared import run_data
from ui.shared.html import clipped, one_line, safe


def no_runs() -> None:
    """The runs folder is empty, or is not there."""
    _card(
        "The house is dark",
        f"There are no runs in <code>{safe(run_data.root())}</code> yet. Play something, then "
        "reload this page.",
        ["improv demo", "improv run cold-pass"],
    )


def no_trials(run: run_data.Run) -> None:
    """A run has no finished trial."""
    if run.playing:
        _card("The actors are on", "No scene is finished yet. The first appears here by itself.")
    else:
        _card(
            "Nothing was played to the end",
            "This run holds no finished scene. It can be taken up where it stopped.",
            [f"improv resume {run.id}"],
        )


def being_played(run: run_data.Run, finished: int) -> None:
    """A run is still going: say how far it is, and look again every two seconds."""

    def look() -> None:
        now = run_data.run(run.id)
        count = len(run_data.trials(now))
        share = min(count / run.planned, 1.0) if run.planned else 0.0
        with st.container(key="playing", horizontal=True, vertical_alignment="center"):
            st.progress(share, text=f"Being played: {count} of {run.planned} scenes are finished")
            again = st.button("Look again", key="again")
        if again or count != finished or not now.playing:
            st.rerun()

    st.fragment(look, run_every=run_data.REFRESH)()


def unreadable(error: Exception) -> None:
    """The runs folder, or something in it, cannot be read."""
    _card("This cannot be read", clipped(str(error) or type(error).__name__, 1000))


def problem(text: str) -> None:
    """Something that was asked for cannot be done, in the words of whoever refused it."""
    st.html(f'<div class="notice wrong" role="alert"><pre>{clipped(text, 3000)}</pre></div>')


def no_such_run(wanted: str) -> None:
    _note(f"There is no run “{one_line(wanted, 60)}” here. This is the newest one.")


def no_such_trial(run: run_data.Run, wanted: str) -> None:
    _note(f"This run has no finished trial “{one_line(wanted, 60)}”. This is its first.")


def no_such_branch(wanted: str) -> None:
    _note(f"This trial has no branch “{one_line(wanted, 40)}”. This is its first.")


def no_branch(wanted: str) -> None:
    _note(f"This trial has no branch “{one_line(wanted, 40)}”. This is how it was first played.")


def no_such_turn(wanted: str, last: int) -> None:
    _note(f"There is no turn “{one_line(wanted, 20)}”: the scene has turns 1 to {last}.")


def failed(row: Json) -> None:
    """A trial that could not be played to its end, with its reason."""
    at = f" at turn {row['failure_turn']}" if row["failure_turn"] else ""
    kind = f" ({safe(row['failure_kind'])})" if row["failure_kind"] else ""
    st.html(
        f'<div class="notice wrong" role="note"><p><strong>This scene broke off{at}{kind}.</strong>'
        f"</p><pre>{clipped(row['failure'], 2000)}</pre></div>"
    )


def _note(text: str) -> None:
    st.html(f'<div class="notice" role="status"><p>{safe(text)}</p></div>')


def _card(title: str, body: str, commands: list[str] | None = None) -> None:
    """Draw a card in the middle of an empty room. `body` is HTML."""
    lines = "".join(f"<pre><code>{escape(c)}</code></pre>" for c in commands or [])
    st.html(f'<div class="empty"><h1>{safe(title)}</h1><p>{body}</p>{lines}</div>')
