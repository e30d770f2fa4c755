"""The transcripts of a run: the turns and calls of each trial and branch, read from the tables.

A branch has only its own rows. The turns and calls that it shares are read from its parents.
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
    """A trial or branch as it was played: its trial, its row, its scene, all its turns."""

    trial: Trial
    row: Json
    scene: Scene
    transcript: Transcript

    @property
    def origin(self) -> str:
        return str(self.row["origin"])


@dataclass(frozen=True)
class Transcripts:
    """The transcripts in the tables of one run."""

    tables: RunTables

    def trial(self, name: str) -> Json:
        """Return the row of a trial by id, by number in the plan, or by a unique beginning of the
        id; with `~BRANCH` after it, the row of that branch.

        Raises RunError if there is none or several.
        """
        name, _, branch = name.partition("~")
        rows = self.tables.read("trials").to_pylist()
        exact = [r for r in rows if r["trial"] == name]
        numbered = [r for r in rows if name == str(r["index"])]
        matches = exact or numbered or [r for r in rows if r["trial"].startswith(name)]
        if branch:
            matches = [r for r in matches if r["branch"].startswith(branch)]
            name = f"{name}~{branch}"
        else:
            matches = [r for r in matches if r["branch"] == MAIN] or matches
        if len(matches) != 1:
            what = "branch" if branch else "trial"
            plural = "branches" if branch else "trials"
            why = f"means several {plural}" if matches else f"is not a finished {what}"
            run = self.tables.files.id
            raise RunError(f"{name}: {why} of {run}; `improv show {run}` lists them")
        row: Json = matches[0]
        return row

    def branches(self, trial: str) -> list[Json]:
        """Return the rows of a trial and its branches, the trial's own first."""
        rows = self.tables.read("trials", trial=trial).to_pylist()
        return sorted(rows, key=lambda r: (r["branch"] != MAIN, r["fork"], r["branch"]))

    def read(self, trial: str, branch: str = MAIN) -> Transcript:
        """Return the turns of a trial or branch in order, with those of its parents. Raises
        RunError if there is no such branch."""
        rows = self.tables.read("turns", trial=trial)
        turns: list[Turn] = []
        for owner, first, last in self._owned(trial, branch):
            own = pc.field("branch") == owner
            part = rows.filter(own & (pc.field("turn") >= first) & (pc.field("turn") <= last))
            turns += map(turn_from_row, part.to_pylist())
        return Transcript(trial, branch, tuple(turns))

    def calls(self, trial: str, branch: str = MAIN) -> list[Call]:
        """Return the calls of a trial or branch in order, with those that it shares with its
        parents. Raises RunError if there is no such branch."""
        rows = self._line(trial, branch)
        by_branch: dict[str, list[Call]] = {}
        for row in self.tables.read("calls", trial=trial).to_pylist():
            call = call_from_row(row)
            by_branch.setdefault(call.draw.branch, []).append(call)
        calls = by_branch.get(MAIN, [])
        for row in rows:
            own = by_branch.get(row["branch"], [])
            if row["origin"] == "regeneration":
                # A regeneration draws a turn of its parent again, so its calls count as the
                # parent's.
                own = [replace(c, draw=replace(c.draw, branch=row["parent"])) for c in own]
            kept = keeps_turn(row["origin"], row["edit"])
            calls = [*shared(calls, row["fork"], kept=kept), *own]
        return calls

    def owner(self, trial: str, branch: str, turn: int) -> str:
        """Return the branch that owns a turn of `branch`: itself or a parent. Raises RunError."""
        return next(o for o, first, last in self._owned(trial, branch) if first <= turn <= last)

    def all_calls(self) -> Iterator[Call]:
        """Yield all calls in the run's tables."""
        for batch in self.tables.read("calls").to_batches():
            yield from map(call_from_row, batch.to_pylist())

    def played(self, study: Study, requested: Sequence[Branch]) -> list[Played]:
        """Return all finished trials and branches of the run, in the order of the plan.

        `requested` are the branches that users requested, besides those of the study's plan. Raises
        RunError for a branch whose parent is not there.
        """
        turns: dict[tuple[str, str], list[Turn]] = {}
        for row in self.tables.read("turns").to_pylist():
            turns.setdefault((row["trial"], row["branch"]), []).append(turn_from_row(row))
        rows = {(r["trial"], r["branch"]): r for r in self.tables.read("trials").to_pylist()}
        for (trial, branch), row in rows.items():
            if branch != MAIN and (trial, row["parent"]) not in rows:
                files = self.tables.files
                raise RunError(
                    f"{files.path}/trials.parquet: branch {branch} of trial {trial} has the parent "
                    f"{row['parent']!r}, which the table does not have; `improv resume {files.id}` "
                    "plays a parent that was lost; if the row is wrong, copy the table again"
                )
        trials = plan(study).find_all((row["trial"], row["index"]) for row in rows.values())
        branches: dict[str, dict[str, Branch]] = {}
        played = []
        for (trial, branch), row in rows.items():
            if trial not in trials:
                continue
            if trial not in branches:
                planned = planned_branches(study, trials[trial])
                own = [b for b in requested if b.trial == trial]
                branches[trial] = {b.id: b for b in [*planned, *own]}
            scene = trials[trial].scene
            if branch in branches[trial]:
                scene = edited(scene, branches[trial][branch])
            transcript = Transcript(trial, branch, tuple(_all_turns(rows, turns, trial, branch)))
            played.append(Played(trials[trial], row, scene, transcript))
        return played

    def _owned(self, trial: str, branch: str) -> list[tuple[str, int, int]]:
        """Return which branch owns which turns of a branch: (owner, first turn, last turn)."""
        owned: list[tuple[str, int, int]] = []
        last = _NO_LAST_TURN
        for row in reversed(self._line(trial, branch)):
            if row["fork"] < last:
                owned.append((row["branch"], row["fork"] + 1, last))
                last = row["fork"]
        return [*reversed([*owned, (MAIN, 0, last)])]

    def _line(self, trial: str, branch: str) -> list[Json]:
        """Return the rows of a branch and its ancestors, the oldest first, without the main one.
        Raises RunError if there is no such branch."""
        line: list[Json] = []
        by_id = {r["branch"]: r for r in self.branches(trial)} if branch != MAIN else {}
        while branch != MAIN:
            if branch not in by_id:
                raise RunError(f"{self.tables.files.id}: trial {trial} has no branch {branch}")
            line.append(by_id.pop(branch))
            branch = line[-1]["parent"]
        return line[::-1]


def _all_turns(
    rows: Mapping[tuple[str, str], Json],
    turns: Mapping[tuple[str, str], Sequence[Turn]],
    trial: str,
    branch: str,
) -> list[Turn]:
    """Return the turns of a branch, first those that it shares with its parents."""
    own = list(turns.get((trial, branch), ()))
    if branch == MAIN:
        return own
    row = rows[trial, branch]
    parent = _all_turns(rows, turns, trial, row["parent"])
    return [*(t for t in parent if t.turn <= row["fork"]), *own]


_NO_LAST_TURN = 1_000_000_000
"""A number above every turn."""
