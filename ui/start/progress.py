"""A run as it arrives: which of its trials are over, which are being played, and their lines.

What is finished stands in the tables; what is not is read from the journals, where every reply is
written down before it is used. A line is cleaned as the stage cleans it; who heard it, and which
notes were read, is settled only when the trial is over, and is read then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from improv.records import MAIN, Call, Json
from improv.stage.reply import clean
from improv.storage.runs import open_run
from improv.study.scene import Scene
from improv.study.trial import Trial, plan
from ui.shared import run_data
from ui.shared.spoken_line import SpokenLine


@dataclass(frozen=True)
class Arrived:
    """How a run stands: the finished trials' rows by id, what has come of the others, and which
    of those spoke last ("" for none)."""

    rows: Mapping[str, Json]
    begun: Mapping[str, list[SpokenLine]]
    latest: str

    def lines(self, trial: str) -> int:
        """Return how many lines of an unfinished trial have been improvised."""
        said = self.begun.get(trial, ())
        return sum(s.turn > 0 and s.kind in ("line", "silence") for s in said)


def planned(run: run_data.Run) -> list[Trial]:
    """Return the trials of a run, in the order of play. Raises StudyError, RunError."""
    return _planned(run_data.root(), run.id)[: run.planned]


def arrived(run: run_data.Run, trials: list[Trial]) -> Arrived:
    """Return how a run stands now. Raises RunError where it cannot be read."""
    # Journals go away when a run ends, and may do so between two looks.
    return run_data.patiently(lambda: _arrived(run, trials))


def _arrived(run: run_data.Run, trials: list[Trial]) -> Arrived:
    rows = {str(row["trial"]): row for row in run_data.trials(run)}
    calls: dict[str, list[Call]] = {}
    if run.planned > len(rows):
        for call in open_run(run_data.root(), run.id).journaled().calls():
            if call.draw.branch == MAIN and call.draw.trial not in rows and not call.error:
                calls.setdefault(call.draw.trial, []).append(call)
    scenes = {trial.id: trial.scene for trial in trials}
    known = {trial: found for trial, found in calls.items() if trial in scenes}
    latest = max(known, key=lambda trial: max(c.started for c in known[trial]), default="")
    begun = {trial: so_far(scenes[trial], found) for trial, found in known.items()}
    return Arrived(rows, begun, latest)


def finished(run: run_data.Run, row: Json) -> list[SpokenLine]:
    """Return the transcript of a trial that is over."""
    turns = run_data.play(run, row).transcript.turns
    return [
        SpokenLine(t.turn, t.kind, t.speaker, t.text, t.aside, "edited" in t.cuts)
        for t in turns
        if not t.off_record
    ]


def so_far(scene: Scene, calls: list[Call]) -> list[SpokenLine]:
    """Return what a scene's calls have come to: its opening, the directions of the turns that
    have begun, what the author wrote, and every line as it was cleaned."""
    names = [c.name for c in scene.cast]
    found = [
        SpokenLine(
            0,
            "line" if o.who else "direction",
            o.who or "",
            o.line or o.direction or "",
            o.aside_to is not None,
            False,
        )
        for o in scene.opening
    ]
    turns: dict[int, dict[str, Call]] = {}
    for call in sorted(calls, key=lambda c: (c.draw.turn, c.draw.attempt)):
        # Of a line that was drawn again the last draw is the one that was said.
        turns.setdefault(call.draw.turn, {})[call.draw.purpose] = call
    for turn, known in sorted(turns.items()):
        happens = [e.direction for e in scene.events if e.turn == turn and e.direction]
        found += [SpokenLine(turn, "direction", "", text, False, False) for text in happens]
        if "author" in known:
            found += _note(turn, known["author"].reply)
        if "line" in known:
            who = known["line"].draw.role
            line = clean(known["line"].reply, who, names)
            kind = "line" if line.text else "silence"
            found.append(SpokenLine(turn, kind, who, line.text, line.aside, False))
    return found


def _note(turn: int, reply: str) -> list[SpokenLine]:
    """Return what an author's reply whispers, where it can be read and says anything."""
    try:
        asked = json.loads(reply)
    except (ValueError, RecursionError):
        return []
    note = asked.get("note") if isinstance(asked, dict) else None
    to = asked.get("note_to") if isinstance(asked, dict) else None
    if not isinstance(note, str) or not note.strip() or not isinstance(to, str):
        return []
    return [SpokenLine(turn, "note", to, note, False, False)]


@st.cache_resource(max_entries=4, show_spinner=False)
def _planned(root: str, run: str) -> list[Trial]:
    return plan(open_run(root, run).study())
