"""Enters a played scene again: (transcript, turn, edit) -> a branch that can be played. Pure.

A branch shares its trial and its parent's first turns, which are never drawn again; the turns after
them are its own. Its id is a hash of the turn at which it parts, its edit and its number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import orjson

from improv.errors import Problem, StudyError
from improv.records import FIRST_REGENERATION, MAIN, Call, Json, Origin, Turn, digest
from improv.study.design import Study
from improv.study.edit import Edit, turns_of
from improv.study.overrides import changed
from improv.study.scene import EVERYBODY, Scene
from improv.study.trial import Trial


@dataclass(frozen=True, slots=True)
class Branch:
    """Where and how a branch parts from its parent. `fork` is the last turn that they share.

    `edit` is an Edit as canonical JSON. `length` is the number of turns that are drawn (None: all
    up to the end). `number` differs between branches that are otherwise equal. A regeneration draws
    one turn, as attempt `number` of its parent's own draw. A probe asks the character `of` the
    question `ask`, and plays no turn. `inherited` has the edits of the ancestors, oldest first, as
    JSON: a list of [first turn, edit].
    """

    trial: str
    parent: str
    fork: int
    origin: Origin
    number: int
    arm: str = ""
    edit: str = "{}"
    length: int | None = None
    of: str = ""
    ask: str = ""
    inherited: str = "[]"

    @property
    def id(self) -> str:
        values = {name: getattr(self, name) for name in _FIELDS}
        return digest(json.dumps(values, sort_keys=True), size=6)

    @property
    def attempt(self) -> int:
        return self.number if self.origin == "regeneration" else 0

    @property
    def change(self) -> Edit:
        return Edit.model_validate_json(self.edit)

    @property
    def changes(self) -> list[tuple[int, Edit]]:
        """All edits that change the trial's scene, as (first turn, edit): the branch's own last."""
        past = [(turn, Edit.model_validate(edit)) for turn, edit in json.loads(self.inherited)]
        return [*past, (self.begins, self.change)]

    @property
    def keeps(self) -> bool:
        """Whether the turn after the fork is the parent's, except for its line."""
        return keeps_turn(self.origin, self.edit)

    @property
    def begins(self) -> int:
        """The first turn that is wholly the branch's own. Its edit holds from there."""
        return self.fork + 1 + self.keeps

    @property
    def legacy(self) -> str:
        """What a branch of this branch has as `inherited`."""
        own = [] if self.edit == "{}" else [[self.begins, json.loads(self.edit)]]
        return json.dumps(json.loads(self.inherited) + own, sort_keys=True, ensure_ascii=False)

    def row(self) -> Json:
        """Return the branch's columns of the table of trials."""
        edit = self.edit if self.edit != "{}" else ""
        if self.origin == "probe":
            edit = json.dumps({"of": self.of, "ask": self.ask}, ensure_ascii=False)
        return {
            "branch": self.id,
            "origin": self.origin,
            "parent": self.parent,
            "fork": self.fork,
            "arm": self.arm,
            "edit": edit,
            "attempt": self.attempt,
        }


_FIELDS = tuple(f.name for f in fields(Branch))


@dataclass(frozen=True)
class Past:
    """What a stage needs to enter a scene again: the parent's turns and its author's replies."""

    branch: Branch
    scenes: tuple[tuple[int, Scene], ...]
    """The scenes that the shared turns were played from, as (first turn, scene)."""
    turns: tuple[Turn, ...]
    """The parent's improvised turns up to the turn after the fork, a part of which a regeneration
    or an edited line keeps; and the parent's envelope, from before the first turn."""
    thoughts: Mapping[int, str] = field(default_factory=dict)
    """Turn → the author's reply before that turn."""

    def of(self, turn: int) -> list[Turn]:
        """Return the rows of one turn."""
        return [t for t in self.turns if t.turn == turn]

    def scene(self, turn: int) -> Scene:
        """Return the scene that a shared turn was played from."""
        return next(scene for first, scene in reversed(self.scenes) if first <= turn)


def past(trial: Trial, branch: Branch, turns: Sequence[Turn], calls: Sequence[Call]) -> Past:
    """Return the part of the parent's transcript and calls with which a branch of `trial` begins.

    Raises StudyError if the parent ended before the fork.
    """
    needed = branch.fork + branch.keeps
    spoken = {t.turn for t in turns if t.kind in ("line", "silence")}
    reached = max(spoken, default=0)
    what = ""
    if reached < needed:
        what = f"the scene has {reached} turns; it cannot be entered at turn {needed}"
    elif branch.keeps and needed not in spoken:
        what = f"nobody speaks at turn {needed}"
    if what:
        raise StudyError([Problem(f"trial {branch.trial}", 1, 1, branch.parent, what)])
    scenes = [(0, trial.scene)]
    for first, edit in branch.changes[:-1]:
        scenes.append((first, changed(scenes[-1][1], edit)))
    thoughts = {c.draw.turn: c.reply for c in calls if c.draw.purpose == "author" and not c.error}
    return Past(
        branch,
        tuple(scenes),
        tuple(t for t in turns if 0 < t.turn <= branch.fork + 1 or t.kind == "envelope"),
        {k: v for k, v in thoughts.items() if k <= needed},
    )


_SAID = ("line", "probe")


def keeps_turn(origin: str, edit: str) -> bool:
    """Whether a branch of that origin and edit keeps the turn after its fork, except for the
    line."""
    return origin == "regeneration" or (origin == "branch" and "line" in orjson.loads(edit or "{}"))


def shared(calls: Sequence[Call], fork: int, *, kept: bool) -> list[Call]:
    """Return the calls of a parent that a branch shares: those up to the fork. If the turn after
    the fork is `kept` except for its line, the author's and the diaries' calls of that turn too."""
    return [c for c in calls if c.draw.turn <= (fork if c.draw.purpose in _SAID else fork + kept)]


def branched(trial: Trial, branch: Branch) -> Trial:
    """Return the trial as a branch plays it: with the edited scene and the same id.

    Raises StudyError if the edit does not fit the scene.
    """
    return replace(trial, scene=edited(trial.scene, branch))


def edited(scene: Scene, branch: Branch) -> Scene:
    """Return the scene with a branch's edits laid over it, its ancestors' first.

    Raises StudyError if an edit does not fit the scene, or if the branch has nothing to play.
    """
    for _, edit in branch.changes:
        scene = changed(scene, edit)
    names = [c.name for c in scene.cast]
    if branch.of and branch.of not in names:
        _refuse("of", f"nobody is called '{branch.of}'; the cast is {', '.join(names)}")
    if branch.origin == "branch" and last_branch_turn(scene, branch) < branch.begins:
        _refuse("turns", f"nothing is left to play after turn {branch.begins - 1}")
    return scene


def last_branch_turn(scene: Scene, branch: Branch) -> int:
    """Return the last turn of a branch. The scene's own `turns` stay as they are, because the
    author's prompt has them: with a smaller number it would be another scene."""
    if branch.origin == "probe":
        return branch.fork
    if branch.origin == "regeneration":
        return branch.fork + 1
    end = scene.turns
    return end if branch.length is None else min(branch.begins - 1 + branch.length, end)


def grow(
    trial: str, parent: str, turn: int, edit: Edit, *, draws: int, first: int = 0, **more: object
) -> list[Branch]:
    """Return branches that share a parent's turns up to `turn` and draw their own turns after it.

    If the edit changes the line of that turn, the turn itself is the branches' own. That turn is
    `parent`'s own turn. `first` is the number of the first branch. `more` are further fields of a
    Branch, such as `inherited`.
    """
    fork = turn - (edit.line is not None)
    if fork < 0:
        _refuse("line", "the written opening cannot be edited; branch at a turn from 1 on")
    text = edit_json(edit)
    return [
        Branch(trial, parent, fork, "branch", first + k, edit=text, **more)  # type: ignore[arg-type]
        for k in range(draws)
    ]


def regenerate(
    trial: str, parent: str, turn: int, *, draws: int, first: int = 0, inherited: str = "[]"
) -> list[Branch]:
    """Return further draws of one of `parent`'s own turns; `first` of them were made before."""
    if turn < 1:
        _refuse("turn", "only improvised turns, from 1 on, can be regenerated")
    return [
        Branch(
            trial,
            parent,
            turn - 1,
            "regeneration",
            FIRST_REGENERATION + first + k,
            inherited=inherited,
        )
        for k in range(draws)
    ]


def planned_branches(study: Study, trial: Trial) -> list[Branch]:
    """Return the branches, regenerations and probes that the study plans for a trial, each once."""
    branches = (
        replace(branch, number=branch.number + k)
        for branch, draws in planned_draws(study, trial)
        for k in range(draws)
    )
    return list(dict.fromkeys(branches))


def planned_draws(study: Study, trial: Trial) -> Iterator[tuple[Branch, int]]:
    """Yield the first of those planned branches that differ only in their draw, and how many of
    them an entry of the study asks for."""
    turns = trial.scene.turns
    for wish in study.branches:
        # No arm can change the written opening, and arms are compared turn by turn.
        first = int(any(edit.line is not None for edit in wish.arms.values()))
        for at in turns_of(wish.at, first, turns - 1):
            for arm, edit in wish.arms.items():
                name = f"{wish.name}: {arm}"
                (branch,) = grow(trial.id, MAIN, at, edit, draws=1, arm=name, length=wish.turns)
                yield branch, wish.draws
    for again in study.regenerations:
        for at in turns_of(again.at, 1, turns):
            (branch,) = regenerate(trial.id, MAIN, at, draws=1)
            yield branch, again.draws
    for probe in study.probes:
        names = [c.name for c in trial.scene.cast] if probe.of == EVERYBODY else [probe.of]
        for at in turns_of(probe.at, 0, turns):
            for name in names:
                branch = Branch(
                    trial.id, MAIN, at, "probe", 0, arm=probe.name, of=name, ask=probe.ask
                )
                yield branch, probe.draws


def edit_json(edit: Edit) -> str:
    """Return an edit as canonical JSON: equal edits give equal text."""
    return json.dumps(edit.model_dump(exclude_defaults=True), sort_keys=True, ensure_ascii=False)


def from_json(rows: Iterable[Json]) -> list[Branch]:
    """Read the branches that a run folder stores."""
    return [Branch(**row) for row in rows]


def _refuse(path: str, what: str) -> None:
    raise StudyError([Problem("edit", 1, 1, path, what)])
