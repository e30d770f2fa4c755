"""What a run has played, read as transcripts: each trial and branch with its turns and calls.

A branch's rows are its own; what it shares is read from its parents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from improv.errors import RunError
from improv.records import MAIN, Call, Json, Transcript, Turn
from improv.storage.run_tables import RunTables
from improv.storage.schemas import call_from_row, turn_from_row
from improv.study.branch import Branch, edited, keeps_turn, planned_branches, shared
from improv.study.design import Study
from improv.study.scene import Scene
from improv.study.trial import Trial, plan


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


@dataclass(frozen=True)
class Transcripts:
    """The transcripts in one run's tables."""

    tables: RunTables

    def trial(self, name: str) -> Json:
        """Return the row of a trial by id, its number in the plan, or a unique beginning of the
        id; with `~BRANCH` after it, the row of that branch.

        Raises RunError where there is none or several.
        """
        name, _, branch = name.partition("~")
        rows = self.tables.read("trials").to_pylist()
        exact = [r for r in rows if r["trial"] == name]
        numbered = [r for r in rows if name == str(r["index"])]
        near = exact or numbered or [r for r in rows if r["trial"].startswith(name)]
        if branch:
            near = [r for r in near if r["branch"].startswith(branch)]
            name = f"{name}~{branch}"
        else:
            near = [r for r in near if r["branch"] == MAIN] or near
        if len(near) != 1:
            what = "branch" if branch else "trial"
            plural = "branches" if branch else "trials"
            why = f"means several {plural}" if near else f"is not a finished {what}"
            run = self.tables.files.id
            raise RunError(f"{name}: {why} of {run}; `improv show {run}` lists them")
        row: Json = near[0]
        return row

    def branches(self, trial: str) -> list[Json]:
        """Return the rows of a trial and its branches, the trial's own first."""
        rows = self.tables.read("trials", trial=trial).to_pylist()
        return sorted(rows, key=lambda r: (r["branch"] != MAIN, r["fork"], r["branch"]))

    def read(self, trial: str, branch: str = MAIN) -> Transcript:
        """Return the turns of a trial or branch in order, the shared ones its parents' own."""
        rows = self.tables.read("turns", trial=trial)
        whole: list[Turn] = []
        for owner, first, last in self._owned(trial, branch):
            own = pc.field("branch") == owner
            found = rows.filter(own & (pc.field("turn") >= first) & (pc.field("turn") <= last))
            whole += map(turn_from_row, found.to_pylist())
        return Transcript(trial, branch, tuple(whole))

    def calls(self, trial: str, branch: str = MAIN) -> list[Call]:
        """Return the calls that made a trial or branch, the shared ones included, in order."""
        rows = self._line(trial, branch)
        by: dict[str, list[Call]] = {}
        for row in self.tables.read("calls", trial=trial).to_pylist():
            call = call_from_row(row)
            by.setdefault(call.draw.branch, []).append(call)
        found = by.get(MAIN, [])
        for row in rows:
            own = by.get(row["branch"], [])
            if row["origin"] == "regeneration":
                # One more draw of its parent's.
                own = [replace(c, draw=replace(c.draw, branch=row["parent"])) for c in own]
            kept = keeps_turn(row["origin"], row["edit"])
            found = [*shared(found, row["fork"], kept=kept), *own]
        return found

    def owner(self, trial: str, branch: str, turn: int) -> str:
        """Return the branch whose own a turn of a branch is. Raises RunError."""
        return next(o for o, first, last in self._owned(trial, branch) if first <= turn <= last)

    def all_calls(self) -> Iterator[Call]:
        """Yield every call of the run that is in its tables."""
        for batch in self.tables.read("calls").to_batches():
            yield from map(call_from_row, batch.to_pylist())

    def played(self, study: Study, asked: Sequence[Branch]) -> list[Played]:
        """Return all that a run has played, trials and branches, in the order of the plan.

        `asked` are the branches that somebody asked for, beside those of the study's plan.
        """
        trials = {t.id: t for t in plan(study)}
        turns: dict[tuple[str, str], list[Turn]] = {}
        for row in self.tables.read("turns").to_pylist():
            turns.setdefault((row["trial"], row["branch"]), []).append(turn_from_row(row))
        rows = {(r["trial"], r["branch"]): r for r in self.tables.read("trials").to_pylist()}
        wishes: dict[str, dict[str, Branch]] = {}
        found = []
        for (trial, branch), row in rows.items():
            if trial not in trials:
                continue
            if trial not in wishes:
                own = [b for b in asked if b.trial == trial]
                wishes[trial] = {b.id: b for b in [*planned_branches(study, trials[trial]), *own]}
            scene = trials[trial].scene
            if branch in wishes[trial]:
                scene = edited(scene, wishes[trial][branch])
            whole = Transcript(trial, branch, tuple(_whole(rows, turns, trial, branch)))
            found.append(Played(trials[trial], row, scene, whole))
        return found

    def _owned(self, trial: str, branch: str) -> list[tuple[str, int, int]]:
        """Return who owns which turns of a branch: (branch, first turn, last turn)."""
        found: list[tuple[str, int, int]] = []
        last = _EVER
        for row in reversed(self._line(trial, branch)):
            if row["fork"] < last:
                found.append((row["branch"], row["fork"] + 1, last))
                last = row["fork"]
        return [*reversed([*found, (MAIN, 0, last)])]

    def _line(self, trial: str, branch: str) -> list[Json]:
        """Return the rows of a branch and its ancestors, the oldest first, without the main one."""
        found: list[Json] = []
        by_id = {r["branch"]: r for r in self.branches(trial)} if branch != MAIN else {}
        while branch != MAIN:
            if branch not in by_id:
                raise RunError(f"{self.tables.files.id}: trial {trial} has no branch {branch}")
            found.append(by_id.pop(branch))
            branch = found[-1]["parent"]
        return found[::-1]


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


_EVER = 1_000_000_000
