"""The exposure ledger: from the blocks of each call, whether an arm saw another arm's text.

Every call lists the blocks of its prompt. The scene alone determines what a role may see before
the scene begins (its head), so the id of a block shows whether it belongs to another arm or to
another role's head. All other blocks (lines, notes, memories, events) are compared word by word
with the texts that only another arm has. Pure: records and rows in, a verdict out.
"""

from __future__ import annotations

from collections import Counter
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
NAMED_LEAKS = 20
"""Maximum leaks that are named; all are counted."""
PLAN = "the study itself"
"""Stands for the trial of a leak that the study's own texts make, in every trial of an arm."""

_MODES: tuple[Mode, ...] = ("chat", "script")
SceneArm = tuple[str, str]
"""A scene's slug and a condition."""
BranchRows = Mapping[tuple[str, str], Json]
"""(trial, branch) → its row."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A block that a role saw although it belongs to `owner`, another arm or another role.

    `quoted` has the words of another arm that it quotes, "" if the whole block is the other's.
    """

    condition: str
    trial: str
    branch: str
    role: str
    kind: str
    owner: str
    text: str
    quoted: str = ""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The result of the check: how much was checked, which arm saw what, and what leaked.

    `prompts` counts the roles of scenes and branches, each with all that it was ever shown.
    `seen` maps (condition, kind of block) to the distinct blocks of that kind that it was shown.
    `unknown` counts blocks that are listed by a call and are not in the table of blocks. `chance`
    counts blocks with a run of words that another arm's author has too, but too short to tell;
    `doubts` names some of them, each run of words once an arm.
    """

    prompts: int
    blocks: int
    seen: Mapping[tuple[str, str], int]
    leaks: tuple[Leak, ...]
    leaked: int
    unknown: int
    doubts: tuple[Leak, ...] = ()
    chance: int = 0
    looked_for: str = ""
    """What counts as words of another arm, in words."""

    @property
    def clean(self) -> bool:
        return not self.leaked and not self.unknown


class ExposureRules:
    """What each arm of a study may be shown.

    `own` maps (scene, condition, role) to the ids of its head, and `whose` each id of any head to
    who has it. A block that is neither in `whose` nor `quotes` can be no leak.
    """

    def __init__(self, study: Study) -> None:
        arms = {(slug, condition.name): scene for slug, condition, scene in study.cells}
        self.own, self.whose = _heads(arms)
        self._arms = arms
        self._words = study.arm_words()
        self.rule = study.quotation_rule
        self._edited = _Edited(arms)
        self.by_study = [
            Leak(q.condition, PLAN, MAIN, "everybody", q.place, q.owner, str(q), str(q.quotation))
            for q in self._words.own_quotations()
        ]
        """The leaks that are in the study's own texts; a study that has one is refused now."""

    def quotes(self, text: str) -> bool:
        """Whether a text has words that only some arms of a scene have."""
        return self._words.quotes(text)

    def leak(self, places: BranchRows, row: Json, role: str, block: Block) -> Leak | None:
        """Return the leak that it is to have shown a block to a role of a trial or branch, or that
        it may be: a leak whose `quoted` may be chance has no owner."""
        arm, id = (row["scene"], row["condition"]), block.id
        if id in self.own.get((*arm, role), ()):
            return None
        owner, words = self.whose.get(id, ""), ""
        if not owner:
            quoted = self._words.quoted(
                arm, block.text, lambda: [*self._heads(arm), *self._edited.texts(places, row)]
            )
            if quoted is None:
                return None
            owner = _named(quoted[0]) if quoted[1].telling else ""
            words = str(quoted[1])
        if id in self._edited.heads(places, row, role):
            return None
        what = " ".join(block.text.split())[:120]
        return Leak(arm[1], row["trial"], row["branch"], role, block.kind, owner, what, words)

    def _heads(self, arm: SceneArm) -> set[str]:
        """Return all that improv itself writes into the prompts of an arm."""
        scene = self._arms.get(arm)
        if scene is None:
            return set()
        roles = [*(c.name for c in scene.cast), _AUTHOR]
        return {b.text for role in roles for b in _head(scene, role)}


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

    def texts(self, places: BranchRows, row: Json) -> list[str]:
        """Return every text that the edits of a branch and of its parents bring in."""
        return [text for edit in self._edits(places, row) for text in self._changed(*edit)[1]]

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
                texts += [b.text for c in made.cast for b in _head(made, c.name)]
                texts += [b.text for b in _head(made, _AUTHOR)]
            except (StudyError, ValueError):
                pass  # an edit that fits no scene any more allows nothing but its own words
            self._made[arm, edit] = made, tuple(texts)
        return self._made[arm, edit]


def _texts(value: object) -> Iterator[str]:
    """Yield every text inside an edit."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


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


def _named(arms: Iterable[SceneArm]) -> str:
    names: Sequence[str] = sorted({condition for _, condition in arms})
    return " or ".join(names) or "arms that exclude each other"
