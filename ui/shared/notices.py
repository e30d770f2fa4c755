"""Notices of the rooms: nothing to show, not finished yet, not found, failed, not readable."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from improv.records import Json
from ui.shared import run_data
from ui.shared.html import clipped, safe, short_line


def no_runs() -> None:
    """Say that the runs folder is empty or missing."""
    _card(
        "The house is dark",
        f"There are no runs in <code>{safe(run_data.root())}</code> yet. Play one of these, "
        "then reload this page.",
        ["improv demo", "improv run cold-pass"],
    )


def no_trials(run: run_data.ViewedRun) -> None:
    """Say that a run has no finished trial."""
    if run.playing:
        _card(
            "The actors are on",
            "No scene is finished yet. The first one appears here without a reload.",
        )
    else:
        _card(
            "No scene is finished",
            "This run stopped before its first scene was finished. This command continues it:",
            [f"improv resume {run.id}"],
        )


def being_played(run: run_data.ViewedRun, finished: int) -> None:
    """Show how many scenes of a run are finished, and read the run again every two seconds."""

    def look() -> None:
        now = run_data.find_run(run.id)
        count = len(run_data.trial_rows(now))
        share = min(count / run.planned, 1.0) if run.planned else 0.0
        with st.container(key="playing", horizontal=True, vertical_alignment="center"):
            st.progress(share, text=f"Being played: {count} of {run.planned} scenes are finished")
            again = st.button("Look again", key="again")
        if again or count != finished or not now.playing:
            st.rerun()

    st.fragment(look, run_every=run_data.REFRESH)()


def unreadable(error: Exception) -> None:
    """Say that the runs folder, or a file in it, cannot be read."""
    _card("This cannot be read", clipped(str(error) or type(error).__name__, 1000))


def problem(text: str) -> None:
    """Show the message of an error that stops what the reader asked for."""
    st.html(f'<div class="notice wrong" role="alert"><pre>{clipped(text, 3000)}</pre></div>')


def no_such_run(wanted: str) -> None:
    _note(f"There is no run “{short_line(wanted, 60)}” here. The newest run is shown.")


def no_such_trial(run: run_data.ViewedRun, wanted: str) -> None:
    _note(f"This run has no finished trial “{short_line(wanted, 60)}”. Its first is shown.")


def no_such_branch(wanted: str) -> None:
    _note(f"This trial has no branch “{short_line(wanted, 40)}”. Its first is shown.")


def no_branch(wanted: str) -> None:
    _note(f"This trial has no branch “{short_line(wanted, 40)}”. The trial itself is shown.")


def no_such_turn(wanted: str, last: int) -> None:
    _note(f"There is no turn “{short_line(wanted, 20)}”: the scene has turns 1 to {last}.")


def failed(row: Json) -> None:
    """Say that a trial failed, at which turn and why."""
    at = f" at turn {row['failure_turn']}" if row["failure_turn"] else ""
    kind = f" ({safe(row['failure_kind'])})" if row["failure_kind"] else ""
    st.html(
        f'<div class="notice wrong" role="note"><p><strong>This scene broke off{at}{kind}.</strong>'
        f"</p><pre>{clipped(row['failure'], 2000)}</pre></div>"
    )


def failed_before(failures: Sequence[Json]) -> None:
    """Say that a trial had failed before it was played again, how often and why."""
    if failures:
        told = "; ".join(
            f"{row['failure_kind'] or 'unknown'}"
            + (f" at turn {row['failure_turn']}" if row["failure_turn"] else "")
            + f": {short_line(row['failure'], 200)}"
            for row in failures
        )
        often = "once" if len(failures) == 1 else f"{len(failures)} times"
        _note(f"This scene had failed {often} before it was played again from there ({told}).")


def _note(text: str) -> None:
    st.html(f'<div class="notice" role="status"><p>{safe(text)}</p></div>')


def _card(title: str, body: str, commands: list[str] | None = None) -> None:
    """Draw a card in the middle of an empty room. `body` is HTML."""
    lines = "".join(f"<pre><code>{escape(c)}</code></pre>" for c in commands or [])
    st.html(f'<div class="empty"><h1>{safe(title)}</h1><p>{body}</p>{lines}</div>')
