"""The exposure ledger: from the blocks of each call, a proof that no arm saw another arm's text.

Every call lists the blocks of its prompt. The scene alone determines what a role may see before
the scene begins (its head), so the id of a block shows whether it belongs to another arm or to
another role's head. Blocks that were made during play (lines, notes, memories) are searched for
sentences that only another arm's author has. Pure: records and rows in, a verdict out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from improv.errors import StudyError
from improv.models.request import Mode
from improv.records import MAIN, Block, BlockKind, Json
from improv.stage import prompts as stage_prompts
from improv.study.design import Study
from improv.study.edit import Edit
from improv.study.overrides import changed
from improv.study.scene import Scene

_AUTHOR = "author"
TELLING = 30
"""Minimum characters of a sentence that identifies an arm; shorter ones anybody might say."""
NAMED_LEAKS = 20
"""Maximum leaks that are named; all are counted."""

_MODES: tuple[Mode, ...] = ("chat", "script")
_SENTENCE = re.compile(r"[^.!?…]+[.!?…]*")
SceneArm = tuple[str, str]
"""A scene's slug and a condition."""
BranchRows = Mapping[tuple[str, str], Json]
"""(trial, branch) → its row."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A block that a role saw although it belongs to `owner`, another arm or another role."""

    condition: str
    trial: str
    branch: str
    role: str
    kind: str
    owner: str
    text: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """The result of the check: how much was checked, which arm saw what, and what leaked.

    `prompts` counts the roles of scenes and branches, each with all that it was ever shown.
    `seen` maps (condition, kind of block) to the distinct blocks of that kind that it was shown.
    `unknown` counts blocks that are listed by a call and are not in the table of blocks.
    """

    prompts: int
    blocks: int
    seen: Mapping[tuple[str, str], int]
    leaks: tuple[Leak, ...]
    leaked: int
    unknown: int

    @property
    def clean(self) -> bool:
        return not self.leaked and not self.unknown


class ExposureRules:
    """What each arm of a study may be shown.

    `own` maps (scene, condition, role) to the ids of its head, and `whose` each id of any head to
    who has it. A block that is neither in `whose` nor `quoted` can be no leak.
    """

    def __init__(self, study: Study) -> None:
        arms = {(slug, condition.name): scene for slug, condition, scene in study.cells}
        self.own, self.whose = _heads(arms)
        self._words = _sentences(arms)
        self._edited = _Edited(arms)

    @property
    def sentences(self) -> list[str]:
        """The sentences that only some arms of a scene hold."""
        return list(self._words)

    def quoted(self, blocks: Iterable[Block]) -> dict[str, list[str]]:
        """Return the ids of those blocks that hold such a sentence, with all that they hold."""
        held = {}
        for block in blocks:
            text = _flat(block.text)
            if len(text) >= TELLING and (sentences := [s for s in self._words if s in text]):
                held[block.id] = sentences
        return held

    def leak(
        self, places: BranchRows, row: Json, role: str, block: Block, quoted: Sequence[str]
    ) -> Leak | None:
        """Return the leak that it is to have shown a block to a role of a trial or branch."""
        arm, id = (row["scene"], row["condition"]), block.id
        if id in self.own.get((*arm, role), ()):
            return None
        owner = ""
        if id in self.whose:
            owner = self.whose[id]
        elif alien := self._edited.alien(places, row, quoted, self._words):
            owner = _named(set.intersection(*(self._words[s] for s in alien)))
        if not owner or id in self._edited.heads(places, row, role):
            return None
        what = _flat(block.text)[:120]
        return Leak(arm[1], row["trial"], row["branch"], role, block.kind, owner, what)


def shown_kinds(exposure: Exposure) -> list[str]:
    """Return the kinds of block that anybody was shown, those that tell arms apart first."""
    order: list[BlockKind] = ["frame", "author", "note", "memory", "card", "world", "cast"]
    there = Counter(kind for _, kind in exposure.seen)
    return [*(k for k in order if k in there), *sorted(set(there) - set(order))]


class _Edited:
    """What edited branches may be shown beside their trial's own: worked out where it matters."""

    def __init__(self, arms: Mapping[SceneArm, Scene]) -> None:
        self._arms = arms
        self._heads: dict[tuple[SceneArm, str, str], set[str]] = {}
        self._made: dict[tuple[SceneArm, str], tuple[Scene | None, tuple[str, ...]]] = {}

    def heads(self, places: BranchRows, row: Json, role: str) -> set[str]:
        """Return the ids that a role's head has by the edits of a branch and of its parents."""
        ids: set[str] = set()
        for arm, edit in self._edits(places, row):
            key = (arm, edit, role)
            if key not in self._heads:
                scene, _ = self._changed(arm, edit)
                self._heads[key] = {b.id for b in _head(scene, role)} if scene else set()
            ids |= self._heads[key]
        return ids

    def alien(
        self,
        places: BranchRows,
        row: Json,
        there: Iterable[str],
        words: Mapping[str, set[SceneArm]],
    ) -> list[str]:
        """Return those sentences that neither the row's own arm holds nor an edit brought in."""
        arm = (row["scene"], row["condition"])
        foreign = [s for s in there if arm not in words[s]]
        if foreign:
            texts = [t for edit in self._edits(places, row) for t in self._changed(*edit)[1]]
            foreign = [s for s in foreign if not any(s in text for text in texts)]
        return foreign

    def _edits(self, places: BranchRows, row: Json | None) -> Iterator[tuple[SceneArm, str]]:
        while row is not None and row["branch"] != MAIN:
            arm = (row["scene"], row["condition"])
            if row["origin"] == "branch" and row["edit"] and arm in self._arms:
                yield arm, row["edit"]
            row = places.get((row["trial"], row["parent"]))

    def _changed(self, arm: SceneArm, edit: str) -> tuple[Scene | None, tuple[str, ...]]:
        """Return the scene as it is edited, and every text that the edit brings into it."""
        if (arm, edit) not in self._made:
            made, texts = None, []
            try:
                read = Edit.model_validate_json(edit)
                texts = list(_texts(read.model_dump(mode="json")))
                made = changed(self._arms[arm], read)
                texts += map(_flat, _told(made))
            except (StudyError, ValueError):
                pass  # an edit that fits no scene any more allows nothing but its own words
            self._made[arm, edit] = made, tuple(texts)
        return self._made[arm, edit]


def _texts(value: object) -> Iterator[str]:
    """Yield every text inside an edit."""
    if isinstance(value, str):
        yield _flat(value)
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _told(scene: Scene) -> list[str]:
    """Return the texts that tell the arms of a study apart."""
    author = scene.author
    return [author.frame, author.brief, author.bible, *(c.secret for c in scene.cast)]


def _head(scene: Scene, role: str) -> list[Block]:
    """Return every block that a role may be shown before a scene, in either mode."""
    if role == _AUTHOR:
        return [*stage_prompts.author_head(scene), *stage_prompts.keeper_head(scene)]
    who = next((c for c in scene.cast if c.name == role), None)
    if who is None:
        return []
    return [b for mode in _MODES for b in stage_prompts.character_head(scene, who, mode)]


def _heads(
    arms: Mapping[SceneArm, Scene],
) -> tuple[dict[tuple[str, str, str], frozenset[str]], dict[str, str]]:
    """Return which ids each role of each arm may be shown, and whose each id is."""
    own: dict[tuple[str, str, str], frozenset[str]] = {}
    whose: dict[str, str] = {}
    for (slug, condition), scene in arms.items():
        for role in [*(c.name for c in scene.cast), _AUTHOR]:
            ids = frozenset(b.id for b in _head(scene, role))
            own[slug, condition, role] = ids
            for id in ids:
                whose.setdefault(id, f"{role} of {slug}, {condition}")
    return own, whose


def _sentences(arms: Mapping[SceneArm, Scene]) -> dict[str, set[SceneArm]]:
    """Return the sentences that only some arms of a scene hold, with the arms that hold them."""
    holders: dict[str, set[SceneArm]] = defaultdict(set)
    for arm, scene in arms.items():
        for text in _told(scene):
            for sentence in _SENTENCE.findall(_flat(text)):
                if len(sentence.strip()) >= TELLING:
                    holders[sentence.strip()].add(arm)
    every = Counter(slug for slug, _ in arms)

    def tells(held: set[SceneArm]) -> bool:
        return any(n < every[slug] for slug, n in Counter(slug for slug, _ in held).items())

    return {sentence: held for sentence, held in holders.items() if tells(held)}


def _flat(text: str) -> str:
    return " ".join(text.split())


def _named(arms: Iterable[SceneArm]) -> str:
    names: Sequence[str] = sorted({condition for _, condition in arms})
    return " or ".join(names) or "arms that exclude each other"
