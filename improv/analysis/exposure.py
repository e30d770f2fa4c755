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
from improv.study.arm_texts import ArmWords, GramOwners, SceneArm, arm_texts, own_quotations
from improv.study.design import Study
from improv.study.edit import Edit
from improv.study.overrides import changed
from improv.study.quotations import (
    MIN_WORDS,
    Gram,
    Grams,
    Quotation,
    halves,
    quotations,
    wholes,
    words,
)
from improv.study.scene import Scene

_AUTHOR = "author"
OTHERS_LEAST = 8
"""Words of a run that identifies an arm by its cards, premise or events. Cards and premises of two
arms are often alike, so that a shorter run is what any character of the scene might say."""
NAMED_LEAKS = 20
"""Maximum leaks that are named; all are counted."""
PLAN = "the study itself"
"""Stands for the trial of a leak that the study's own texts make, in every trial of an arm."""

_MODES: tuple[Mode, ...] = ("chat", "script")
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
        self._written: dict[SceneArm, frozenset[Gram]] = {}
        arm_words = ArmWords(arms)
        self._authors, self._others = arm_words.authors, arm_words.others
        self._whole = {g for g in (*self._authors.arms, *self._others.arms) if len(g) == MIN_WORDS}
        self._halves = {g for g in (*self._authors.arms, *self._others.arms) if len(g) > MIN_WORDS}
        self._edited = _Edited(arms)
        self._by_study = own_quotations(arms)

    @property
    def by_study(self) -> list[Leak]:
        """The leaks that are in the study's own texts; a study that has one is refused now."""
        return [
            Leak(q.condition, PLAN, MAIN, "everybody", q.place, q.owner, str(q), str(q.quotation))
            for q in self._by_study
        ]

    def quotes(self, text: str) -> bool:
        """Whether a text has words that only some arms of a scene have."""
        run = words(text)
        return not (self._whole.isdisjoint(wholes(run)) and self._halves.isdisjoint(halves(run)))

    def leak(self, places: BranchRows, row: Json, role: str, block: Block) -> Leak | None:
        """Return the leak that it is to have shown a block to a role of a trial or branch, or that
        it may be: a leak whose `quoted` may be chance has no owner."""
        arm, id = (row["scene"], row["condition"]), block.id
        if id in self.own.get((*arm, role), ()):
            return None
        owner, quoted = self.whose.get(id, ""), ""
        if not owner:
            shown = self._quoted(places, row, words(block.text))
            if shown is None:
                return None
            owner, quoted = shown
        if id in self._edited.heads(places, row, role):
            return None
        what = " ".join(block.text.split())[:120]
        return Leak(arm[1], row["trial"], row["branch"], role, block.kind, owner, what, quoted)

    def _quoted(self, places: BranchRows, row: Json, run: Sequence[str]) -> tuple[str, str] | None:
        """Return whose words a text quotes, "" if it may be chance, and the words."""
        arm = (row["scene"], row["condition"])
        doubt = None
        for owners, least in ((self._authors, MIN_WORDS), (self._others, OTHERS_LEAST)):
            alien = self._alien(owners, places, row, run)
            if not alien:
                continue
            names = owners.names_unknown_to(arm) if owners is self._authors else ()
            best: Quotation = quotations(run, alien, alien, names, least)[0]
            if best.telling:
                there = [owners.arms[g] for g in {*wholes(best.run), *halves(best.run)} & alien]
                return _named(frozenset.intersection(*there) or there[0]), str(best)
            if owners is self._authors:
                doubt = "", str(best)
        return doubt

    def _alien(
        self, owners: GramOwners, places: BranchRows, row: Json, run: Sequence[str]
    ) -> set[Gram]:
        """Return the runs of words that neither the row's own arm has nor an edit brought in."""
        arm = (row["scene"], row["condition"])
        alien = {
            gram
            for gram in {*wholes(run), *halves(run)}
            if arm not in owners.arms.get(gram, (arm,))
        }
        if alien:
            alien -= self._head_grams(arm)
            for text in self._edited.texts(places, row):
                grams = Grams.of(text)
                alien -= grams.whole | grams.halves
        return alien

    def _head_grams(self, arm: SceneArm) -> frozenset[Gram]:
        """Return the runs of words that improv itself writes into an arm's prompts."""
        if arm not in self._written:
            scene = self._arms.get(arm)
            roles = [*(c.name for c in scene.cast), _AUTHOR] if scene is not None else []
            texts = {b.text for role in roles for b in _head(self._arms[arm], role)}
            grams = [g for text in texts for g in (Grams.of(text).whole, Grams.of(text).halves)]
            self._written[arm] = frozenset[Gram]().union(*grams) & (self._whole | self._halves)
        return self._written[arm]


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
                texts += arm_texts(made).values()
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
