"""The progress of a run: its finished trials, those being played, and their lines so far.

Finished trials are read from the tables. Unfinished ones are read from the journals, where every
reply is written before it is used. Lines are cleaned as the stage cleans them. Who heard a line,
and whether a note was read, is known only when the trial is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from improv.records import MAIN, Call, Json
from improv.stage.reply import clean
from improv.storage.runs import open_run
from improv.study.scene import Scene
from improv.study.trial import Trial, Trials, find_trials, plan
from ui.shared import run_data
from ui.shared.spoken_line import SpokenLine


@dataclass(frozen=True)
class Arrived:
    """The state of a run: trial → row of the finished trials, trial → lines of the unfinished ones,
    and the unfinished trial with the newest line ("" for none)."""

    rows: Mapping[str, Json]
    begun: Mapping[str, list[SpokenLine]]
    latest: str

    def lines(self, trial: str) -> int:
        """Return the number of improvised lines of an unfinished trial."""
        said = self.begun.get(trial, ())
        return sum(s.turn > 0 and s.kind in ("line", "silence") for s in said)


def planned_trials(run: run_data.ViewedRun) -> Trials:
    """Return the trials of a run, in the order of play. Raises StudyError, RunError."""
    return _planned(run_data.root(), run.id).first(run.planned)


def arrived(run: run_data.ViewedRun, trials: Sequence[Trial]) -> Arrived:
    """Return the state of a run now. Raises RunError where it cannot be read."""
    # The journals are removed when a run ends, possibly while they are read.
    return run_data.patiently(lambda: _arrived(run, trials))


def _arrived(run: run_data.ViewedRun, trials: Sequence[Trial]) -> Arrived:
    rows = {str(row["trial"]): row for row in run_data.trial_rows(run)}
    calls: dict[str, list[Call]] = {}
    if run.planned > len(rows):
        for call in open_run(run_data.root(), run.id).journaled().calls():
            if call.draw.branch == MAIN and call.draw.trial not in rows and not call.error:
                calls.setdefault(call.draw.trial, []).append(call)
    scenes = {id_: trial.scene for id_, trial in find_trials(trials, calls).items()}
    known = {trial: calls_of_trial for trial, calls_of_trial in calls.items() if trial in scenes}
    latest = max(known, key=lambda trial: max(c.started for c in known[trial]), default="")
    begun = {
        trial: so_far(scenes[trial], calls_of_trial) for trial, calls_of_trial in known.items()
    }
    return Arrived(rows, begun, latest)


def finished(run: run_data.ViewedRun, row: Json) -> list[SpokenLine]:
    """Return the transcript of a finished trial."""
    turns = run_data.play(run, row).transcript.turns
    return [
        SpokenLine(t.turn, t.kind, t.speaker, t.text, t.aside, "edited" in t.cuts)
        for t in turns
        if not t.off_record
    ]


def so_far(scene: Scene, calls: list[Call]) -> list[SpokenLine]:
    """Return the transcript so far, from a scene's calls: its opening, the directions of the turns
    that have begun, the author's notes, and every cleaned line."""
    names = [c.name for c in scene.cast]
    lines = [
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
        # Where a line was drawn several times, the last draw is the spoken one.
        turns.setdefault(call.draw.turn, {})[call.draw.purpose] = call
    for turn, known in sorted(turns.items()):
        happens = [e.direction for e in scene.events if e.turn == turn and e.direction]
        lines += [SpokenLine(turn, "direction", "", text, False, False) for text in happens]
        if "author" in known:
            lines += _note(turn, known["author"].reply)
        if "line" in known:
            who = known["line"].draw.role
            line = clean(known["line"].reply, who, names)
            kind = "line" if line.text else "silence"
            lines.append(SpokenLine(turn, kind, who, line.text, line.aside, False))
    return lines


def _note(turn: int, reply: str) -> list[SpokenLine]:
    """Return the note in an author's reply, none where the reply has no readable note."""
    try:
        fields = json.loads(reply)
    except (ValueError, RecursionError):
        return []
    note = fields.get("note") if isinstance(fields, dict) else None
    to = fields.get("note_to") if isinstance(fields, dict) else None
    if not isinstance(note, str) or not note.strip() or not isinstance(to, str):
        return []
    return [SpokenLine(turn, "note", to, note, False, False)]


@st.cache_resource(max_entries=4, show_spinner=False)
def _planned(root: str, run: str) -> Trials:
    return plan(open_run(root, run).study())
