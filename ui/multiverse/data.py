"""What the Multiverse room reads: a trial's branches, their turns and scores, and the changes of
each branch against its parent, in words.

All rows of a trial are read together and cached until the run changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from improv.records import MAIN, Json
from improv.storage.runs import open_run
from improv.study.edit_summary import (
    describe_branch,
    describe_path,
    edit_of,
    leaves,
    mapping,
    patch_of,
    text_of,
)
from improv.study.overrides import merge
from improv.study.scene import Scene
from ui.multiverse.layout import World, ancestors
from ui.shared import run_data
from ui.shared.spoken_line import SpokenLine

EVER = 1_000_000_000
_SPOKEN = ("line", "silence", "probe")


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of a branch from its parent: its name, and the text before and after."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Multiverse:
    """A trial and its branches: their rows by id, the trial's own first, and their own turns.

    `scores` has, by measure, the mean value of each branch and turn that has one (turn None for
    one of the whole scene).
    """

    rows: dict[str, Json]
    own: dict[str, tuple[SpokenLine, ...]]
    scores: dict[str, dict[tuple[str, int | None], float]]

    @property
    def first(self) -> str | None:
        """The first of the branches, None where nothing has grown."""
        return next((name for name in self.rows if name != MAIN), None)

    def worlds(self) -> list[World]:
        """Return the branches for the layout of the tree; turn 0 is the written opening."""
        return [
            World(name, row["parent"], row["fork"], describe_branch(row), self._course(name))
            for name, row in self.rows.items()
        ]

    def owned(self, branch: str) -> list[tuple[str, int, int]]:
        """Return the owners of a branch's turns: (branch, first turn, last turn), in order."""
        spans, last = [], EVER
        for name in ancestors(self._bare(), branch):
            fork = self.rows[name]["fork"] if name != MAIN else -1
            if fork < last:
                spans.append((name, fork + 1, last))
                last = fork
        return spans[::-1]

    def line(self, branch: str, *, first: int = 0, last: int = EVER) -> list[SpokenLine]:
        """Return the turns of a branch from `first` to `last`, shared turns included."""
        return [
            said
            for name, begins, ends in self.owned(branch)
            for said in self.own.get(name, ())
            if max(first, begins) <= said.turn <= min(last, ends)
        ]

    def parted(self, left: str, right: str) -> int:
        """Return the last turn that two branches share."""
        for (left_branch, first, left_end), (right_branch, _, right_end) in zip(
            self.owned(left), self.owned(right), strict=False
        ):
            if left_branch != right_branch:
                return first - 1
            if left_end != right_end:
                return min(left_end, right_end)
        return EVER

    def lineage(self, branch: str, after: int) -> list[str]:
        """Return the branches, oldest first, whose own turns a branch has later than `after`."""
        return [name for name, _, last in self.owned(branch) if last > after and name != MAIN]

    def last(self, branch: str) -> int:
        """Return the last turn of a branch."""
        return max((s.turn for s in self.line(branch)), default=0)

    def begins(self, branch: str) -> int:
        """Return the first turn that is a branch's own."""
        own = self.own.get(branch) or ()
        return own[0].turn if own else int(self.rows[branch]["fork"]) + 1

    def value(self, measure: str, branches: Sequence[str], turn: int) -> float | None:
        """Return the mean score of a turn over branches, None where no branch has a score."""
        scored = self.scores.get(measure, {})
        values = [
            scored[key]
            for branch in branches
            for key in ((branch, turn), (branch, None))
            if key in scored
        ]
        return sum(values) / len(values) if values else None

    def _bare(self) -> list[World]:
        return [World(name, row["parent"], row["fork"], "", ()) for name, row in self.rows.items()]

    def _course(self, branch: str) -> tuple[tuple[int, str], ...]:
        turns: dict[int, list[str]] = {0: []} if branch == MAIN else {}
        for said in self.own.get(branch, ()):
            if said.turn == 0 or said.kind in _SPOKEN:
                turns.setdefault(said.turn, []).append(f"{said.speaker}: {said.text}")
        return tuple((turn, "\n".join(words)) for turn, words in sorted(turns.items()))


def multiverse(run: run_data.ViewedRun, trial: str) -> Multiverse:
    """Return a trial with all its branches. Raises RunError where it cannot be read."""
    return run_data.patiently(lambda: _multiverse(run_data.root(), run.id, run.stamp, trial))


def grown(run: run_data.ViewedRun) -> dict[str, int]:
    """Return trial → number of its branches, for the trials with branches."""
    return run_data.patiently(lambda: _grown(run_data.root(), run.id, run.stamp))


def branch_title(row: Json) -> str:
    """Return the kind of a branch and its fork in words."""
    fork = row["fork"]
    if row["branch"] == MAIN:
        return "The scene as it was played"
    if row["origin"] == "regeneration":
        return f"Turn {fork + 1}, drawn again"
    if row["origin"] == "probe":
        return f"Asked off the record after turn {fork}"
    after = f"after turn {fork}" if fork else "after the opening"
    if not row["edit"]:
        return f"Played on anew {after}"
    return f"Changed, and played on, {after}"


def branch_name(row: Json) -> str:
    """Return a name that distinguishes a branch from its siblings."""
    if row["branch"] == MAIN:
        return "As it was played"
    how = "" if row["origin"] in ("regeneration", "probe") else f" · {describe_branch(row)}"
    return f"{branch_title(row)} · {row['branch'][:6]}{how}"


def changes(multiverse: Multiverse, branch: str, scene: Scene | None) -> list[Change]:
    """Return the differences of a branch from its parent."""
    row = multiverse.rows[branch]
    if row["origin"] == "probe":
        probe = edit_of(row)
        return [Change(f"Asked of {probe.get('of', '')}", "", str(probe.get("ask", "")))]
    past = scene.model_dump(mode="json") if scene is not None else {}
    for older in reversed(ancestors(multiverse._bare(), branch)[1:]):
        past = merge(past, patch_of(multiverse.rows[older]))
    edit, changed = edit_of(row), []
    if isinstance(edit.get("line"), str):
        at = row["fork"] + 1
        was = [
            s.text for s in multiverse.line(row["parent"], first=at, last=at) if s.kind == "line"
        ]
        changed.append(Change(f"The line of turn {at}", " ".join(was), edit["line"]))
    if isinstance(edit.get("move"), str):
        moves = (past.get("author") or {}).get("moves") or {}
        text = str(moves.get(edit["move"], edit["move"]))
        changed.append(Change(f"What happens before turn {row['fork'] + 1}", "", text))
    for who, text in mapping(edit.get("memory")).items():
        changed.append(Change(f"What {who} remembers", "the scene so far", str(text) or "nothing"))
    for path, value in leaves(patch_of(row)):
        changed.append(Change(describe_path(path), text_of(_at(past, path)), text_of(value)))
    return changed


def _at(scene: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path of a scene; a step into the cast is a character's name."""
    for step in path:
        if isinstance(scene, list):
            scene = next((c for c in scene if isinstance(c, dict) and c.get("name") == step), None)
        else:
            scene = scene.get(step) if isinstance(scene, dict) else None
    return scene


@st.cache_resource(max_entries=6, show_spinner=False)
def _multiverse(root: str, run: str, stamp: str, trial: str) -> Multiverse:
    return read(root, run, trial)


def read(root: str, run: str, trial: str) -> Multiverse:
    """Read a trial with all its branches, uncached. Raises RunError, OSError, ValueError."""
    folder = open_run(root, run)
    # While a run is compacted, a row can be both in the shards and in the table.
    rows = {row["branch"]: row for row in folder.transcripts.branches(trial)}
    columns = ["branch", "turn", "seq", "kind", "speaker", "text", "aside", "cuts"]
    own: dict[str, dict[tuple[int, int], SpokenLine]] = {}
    for row in folder.tables.read("turns", trial=trial, columns=columns).to_pylist():
        edited = "edited" in (row["cuts"] or ())
        own.setdefault(row["branch"], {})[row["turn"], row["seq"]] = SpokenLine(
            row["turn"], row["kind"], row["speaker"], row["text"], bool(row["aside"]), edited
        )
    scores: dict[str, dict[tuple[str, int | None], list[float]]] = {}
    columns = ["branch", "turn", "measure", "value"]
    for row in folder.tables.read("scores", trial=trial, columns=columns).to_pylist():
        if row["value"] is not None:
            key = (row["branch"], row["turn"])
            scores.setdefault(row["measure"], {}).setdefault(key, []).append(row["value"])
    return Multiverse(
        rows,
        {name: tuple(said for _, said in sorted(turns.items())) for name, turns in own.items()},
        {
            measure: {key: sum(v) / len(v) for key, v in values.items()}
            for measure, values in sorted(scores.items())
        },
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _grown(root: str, run: str, stamp: str) -> dict[str, int]:
    table = open_run(root, run).tables.read("trials", columns=["trial", "branch"]).to_pandas()
    counts = table[table["branch"] != MAIN].groupby("trial")["branch"].nunique()
    return {str(trial): int(count) for trial, count in counts.items()}
