"""What a run has played, to be read again: each trial and branch with its scene and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from improv.branch import Branch, edited, from_json, planned
from improv.record import MAIN, Json, Transcript, Turn
from improv.scene import Scene
from improv.store import RunFolder
from improv.tables import turn_of
from improv.trial import Trial, plan


@dataclass(frozen=True)
class Played:
    """A trial or branch as it was played: its row, its scene, all of its turns."""

    trial: Trial
    row: Json
    scene: Scene
    transcript: Transcript

    @property
    def origin(self) -> str:
        return str(self.row["origin"])


def played(folder: RunFolder, meta: Json | None = None) -> list[Played]:
    """Return all that a run has played, trials and branches, in the order of the plan."""
    meta = folder.meta() if meta is None else meta
    study = folder.study()
    trials = {t.id: t for t in plan(study)}
    asked = from_json(meta.get("branches", []))
    turns: dict[tuple[str, str], list[Turn]] = {}
    for row in folder.table("turns").to_pylist():
        turns.setdefault((row["trial"], row["branch"]), []).append(turn_of(row))
    rows = {(r["trial"], r["branch"]): r for r in folder.table("trials").to_pylist()}
    wishes: dict[str, dict[str, Branch]] = {}
    found = []
    for (trial, branch), row in rows.items():
        if trial not in trials:
            continue
        if trial not in wishes:
            own = [b for b in asked if b.trial == trial]
            wishes[trial] = {b.id: b for b in [*planned(study, trials[trial]), *own]}
        scene = trials[trial].scene
        if branch in wishes[trial]:
            scene = edited(scene, wishes[trial][branch])
        whole = Transcript(trial, branch, tuple(_whole(rows, turns, trial, branch)))
        found.append(Played(trials[trial], row, scene, whole))
    return found


def _whole(
    rows: Mapping[tuple[str, str], Json],
    turns: Mapping[tuple[str, str], Sequence[Turn]],
    trial: str,
    branch: str,
) -> list[Turn]:
    """Return a branch's turns, those it shares with its parents first."""
    own = list(turns.get((trial, branch), ()))
    row = rows.get((trial, branch))
    if branch == MAIN or row is None:
        return own
    parent = _whole(rows, turns, trial, row["parent"])
    return [*(t for t in parent if t.turn <= row["fork"]), *own]
