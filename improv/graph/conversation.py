"""The turns of a run as columns of numbers: who spoke when, to whom, and what the author did.

Everything in this folder begins here. Turns come in as an Arrow table and leave as arrays, sorted
by scene and place, so that a million of them cost seconds; nothing here knows of NetworkX.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from improv.graph.arrow_columns import (
    Bools,
    Ints,
    Wide,
    encode,
    scene_keys,
    to_bools,
    to_indices,
    to_ints,
    word_counts,
)
from improv.graph.persons import Cast, Person, PersonCodes, find_mentions

SAID, NAME, ORDER, NOBODY = range(4)
EVIDENCE = ("said", "name", "order", "none")
"""How it is known whom a line speaks to; its places are the codes above. By turn order is a
guess, the others stand in the line."""

NOTE, CUE, MOVE = range(3)
ACT_KINDS = ("note", "cue", "move")

AUTHOR_CODE = 0
"""The code of the author among the people; no character may be called so."""

TURN_COLUMNS = [
    "trial",
    "branch",
    "turn",
    "seq",
    "kind",
    "speaker",
    "text",
    "addressed",
    "by",
    "acts",
]
"""What is read of a run's turns."""
SPEAKER_COLUMNS = ["trial", "branch", "kind", "speaker"]
"""What tells who speaks in them."""
TRIAL_COLUMNS = ["trial", "branch", "scene", "condition", "block"]
"""What is read of its trials."""

_LINES = ("written", "line", "silence")


@dataclass(frozen=True, slots=True)
class ConversationLines:
    """The lines of all scenes, one a row, sorted by scene and by their `place` in it from 0.

    `turn` is 0 for what was written with the scene. `who` and `to` are codes of people, `to` -1
    for nobody in particular; `by` is a code of EVIDENCE. `spoken` is false for a silence, which
    has a place in the order and says nothing.
    """

    scene: Ints
    place: Ints
    turn: Ints
    seq: Ints
    who: Ints
    to: Ints
    by: Ints
    words: Ints
    spoken: Bools

    def __len__(self) -> int:
        return len(self.who)

    def take(self, rows: npt.NDArray[Any]) -> ConversationLines:
        return ConversationLines(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class AuthorActs:
    """What the author did: `kind` is a code of ACTS, `to` a person (-1 for a move, which is for
    all), `turn` when, and `line` the row of the line that came next (-1 for none in its scene)."""

    scene: Ints
    turn: Ints
    kind: Ints
    to: Ints
    line: Ints

    def take(self, rows: npt.NDArray[Any]) -> AuthorActs:
        return AuthorActs(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Who said what to whom in a number of scenes, without the words.

    A scene is one trial (or branch), in the order given. `slug`, `condition` and `block` are the
    scenes' codes in `slugs`, `conditions` and `blocks`. `people` has the author first and then
    each slug's cast, whose codes begin at `first[slug]`. `mentions` has a row for each line and
    person (shape (n, 2)) whom it names without speaking to them.
    """

    trials: tuple[str, ...]
    slug: Ints
    slugs: tuple[str, ...]
    condition: Ints
    conditions: tuple[str, ...]
    block: Ints
    blocks: tuple[str, ...]
    people: tuple[Person, ...]
    first: Ints
    lines: ConversationLines
    acts: AuthorActs
    mentions: Ints

    @property
    def scenes(self) -> int:
        return len(self.trials)

    @property
    def last(self) -> int:
        """The last turn that any scene has."""
        return int(self.lines.turn.max(initial=0))

    def cast(self, slug: int) -> range:
        """Return the codes of a slug's characters."""
        return range(int(self.first[slug]), int(self.first[slug + 1]))

    def without_guesses(self) -> Conversation:
        """Return the talk without guesses: nobody is spoken to by the order of turns alone."""
        lines = self.lines
        guessed = lines.by == ORDER
        to = np.where(guessed, np.int32(-1), lines.to)
        by = np.where(guessed, np.int32(NOBODY), lines.by)
        return replace(self, lines=replace(lines, to=to, by=by))

    def subset(self, scenes: Bools) -> Conversation:
        """Return the talk of some scenes, given as a mask of shape (scenes,)."""
        at = np.cumsum(scenes, dtype=np.int32) - 1
        rows = scenes[self.lines.scene]
        row_at = np.cumsum(rows, dtype=np.int32) - 1
        lines = self.lines.take(rows)
        acts = self.acts.take(scenes[self.acts.scene])
        mentions = self.mentions[rows[self.mentions[:, 0]]]
        return replace(
            self,
            trials=tuple(np.array(self.trials, dtype=object)[scenes]),
            slug=self.slug[scenes],
            condition=self.condition[scenes],
            block=self.block[scenes],
            lines=replace(lines, scene=at[lines.scene]),
            acts=replace(
                acts,
                scene=at[acts.scene],
                line=np.where(acts.line >= 0, row_at[acts.line], np.int32(-1)),
            ),
            mentions=np.column_stack([row_at[mentions[:, 0]], mentions[:, 1]]),
        )

    def repeated(self, many: int) -> Conversation:
        """Return the talk `many` times over: all scenes, all scenes again, and so on."""
        if many == 1:
            return self

        def again(codes: Ints, step: int) -> Ints:
            """Repeat codes, those that mean something `step` further on each time."""
            more = np.repeat(np.arange(many, dtype=codes.dtype) * step, len(codes))
            found = np.tile(codes, many)
            return np.where(found >= 0, found + more, found)

        lines = self.lines.take(np.tile(np.arange(len(self.lines)), many))
        acts = self.acts.take(np.tile(np.arange(len(self.acts.scene)), many))
        named, who = self.mentions.T
        return replace(
            self,
            trials=self.trials * many,
            slug=np.tile(self.slug, many),
            condition=np.tile(self.condition, many),
            block=np.tile(self.block, many),
            lines=replace(lines, scene=again(self.lines.scene, self.scenes)),
            acts=replace(
                acts,
                scene=again(self.acts.scene, self.scenes),
                line=again(self.acts.line, len(self.lines)),
            ),
            mentions=np.column_stack([again(named, len(self.lines)), np.tile(who, many)]),
        )

    def select(self, *, condition: str = "", trial: str = "") -> Conversation:
        """Return the talk of one condition, or of one scene by its trial's id."""
        keep = np.ones(self.scenes, dtype=np.bool_)
        if condition:
            code = self.conditions.index(condition) if condition in self.conditions else -1
            keep &= self.condition == code
        if trial:
            keep &= np.array(self.trials, dtype=object) == trial
        return self.subset(keep)


def read_conversation(turns: pa.Table, trials: pa.Table, casts: Mapping[str, Cast]) -> Conversation:
    """Read turns into columns.

    `turns` has COLUMNS and `trials` has PLACES; a scene is a row of `trials`, and turns of others
    are passed over. `casts` maps slugs to casts; who speaks without standing in one comes after
    it. Off-record turns and directions are no lines, but what the author did before them counts.
    """
    keys = scene_keys(trials)
    slugs, slug = encode(trials["scene"])
    conditions, condition = encode(trials["condition"])
    blocks, block = encode(trials["block"])
    scene = to_indices(pc.index_in(scene_keys(turns), value_set=pc.unique(keys)))
    there = scene >= 0
    turns, scene = turns.filter(pa.array(there)), scene[there]
    number, seq = (to_ints(turns[name]) for name in ("turn", "seq"))
    order = np.lexsort((seq, number, scene))
    if not bool(np.all(order[1:] > order[:-1])):
        turns, scene, number, seq = turns.take(order), scene[order], number[order], seq[order]
    kind = turns["kind"]
    is_line = to_bools(pc.is_in(kind, value_set=pa.array(_LINES)))
    named = PersonCodes(turns, casts, slugs, slug, scene, is_line)
    acts = _acts(turns, scene, number, is_line, slug, named)
    spoken = turns.filter(pa.array(is_line))
    at = scene[is_line]
    begins = np.searchsorted(at, np.arange(len(trials)))
    to = named.codes(spoken["addressed"], slug[at])
    by = to_indices(pc.index_in(spoken["by"], value_set=pa.array(EVIDENCE)))
    lines = ConversationLines(
        scene=at,
        place=(np.arange(len(at)) - begins[at]).astype(np.int32),
        turn=number[is_line],
        seq=seq[is_line],
        who=named.codes(spoken["speaker"], slug[at]),
        to=to,
        by=np.where((to < 0) | (by < 0), NOBODY, by).astype(np.int32),
        words=word_counts(spoken["text"]),
        spoken=to_bools(pc.not_equal(spoken["kind"], "silence")),
    )
    return Conversation(
        trials=tuple(trials["trial"].to_pylist()),
        slug=slug,
        slugs=slugs,
        condition=condition,
        conditions=conditions,
        block=block,
        blocks=blocks,
        people=named.people,
        first=named.first,
        lines=lines,
        acts=acts,
        mentions=find_mentions(
            spoken["text"],
            slug[lines.scene],
            np.column_stack((lines.who, lines.to)),
            slugs,
            casts,
            named,
        ),
    )


def complete_casts(
    turns: Iterable[pa.Table], trials: pa.Table, casts: Mapping[str, Cast]
) -> dict[str, Cast]:
    """Return the casts, each with the speakers of its scenes that it lacks.

    With them a part of the turns has the same people as the whole. `turns` come in pieces with
    TURN_COLUMNS, `trials` have TRIAL_COLUMNS.
    """
    slug_of = dict(zip(scene_keys(trials).to_pylist(), trials["scene"].to_pylist(), strict=True))
    found = {slug: list(cast) for slug, cast in casts.items()}
    speaks: dict[str, set[str]] = {}
    for piece in turns:
        lines = piece.filter(pc.is_in(piece["kind"], value_set=pa.array(_LINES)))
        pairs = lines.group_by(["trial", "branch", "speaker"]).aggregate([])
        speakers = pairs["speaker"].to_pylist()
        for scene, who in zip(scene_keys(pairs).to_pylist(), speakers, strict=True):
            if scene in slug_of and who:
                speaks.setdefault(slug_of[scene], set()).add(who)
    for slug, names in speaks.items():
        cast = found.setdefault(slug, [])
        cast += [(who, ()) for who in sorted(names - {name for name, _ in cast})]
    return dict(found)


# --- columns


def _acts(
    turns: pa.Table, scene: Ints, number: Ints, is_line: Bools, slug: Ints, named: PersonCodes
) -> AuthorActs:
    column = turns["acts"]
    some = np.flatnonzero(np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy()))
    lists = column.take(pa.array(some)).combine_chunks()
    rows = some[pc.list_parent_indices(lists).to_numpy()]
    flat = pc.list_flatten(lists)
    kind = to_indices(pc.index_in(pc.struct_field(flat, "kind"), value_set=pa.array(ACT_KINDS)))
    known = kind >= 0
    rows, kind = rows[known], kind[known]
    to = named.codes(
        pa.chunked_array([pc.struct_field(flat, "to").filter(pa.array(known))], pa.string()),
        slug[scene[rows]],
    )
    # A move's `to` is the move's own name.
    to = np.where(kind == MOVE, np.int32(-1), to)
    after: Wide = (np.cumsum(is_line, dtype=np.int64) - is_line)[rows]
    owner = np.append(scene[is_line], -1)
    line = np.where(owner[after] == scene[rows], after, -1).astype(np.int32)
    good = (kind == MOVE) | (to >= 0)
    return AuthorActs(scene[rows], number[rows], kind, to, line).take(good)
