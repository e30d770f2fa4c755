"""The turns of a run as columns of numbers: who spoke when, to whom, and what the author did.

All other modules of this package start from these columns. Turns are read from an Arrow table into
arrays sorted by scene and place, so that a million turns take seconds. NetworkX is not used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

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
from improv.graph.persons import CastNames, Person, PersonCodes, find_mentions

SAID, NAME, ORDER, NOBODY = range(4)
EVIDENCE = ("said", "name", "order", "none")
"""The evidence for a line's addressee, indexed by the codes above. "order", the order of turns, is
a guess; "said" and "name" are in the line itself."""

NOTE, CUE, MOVE = range(3)
ACT_KINDS = ("note", "cue", "move")

AUTHOR_CODE = 0
"""The code of the author among the people; no character may have the name "author"."""

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
"""The columns of the turns table that `read_conversation` needs."""
SPEAKER_COLUMNS = ["trial", "branch", "kind", "speaker"]
"""The columns of the turns table that `complete_casts` needs."""
TRIAL_COLUMNS = ["trial", "branch", "scene", "condition", "block"]
"""The columns of the trials table that both need."""

_LINES = ("written", "line", "silence")


@dataclass(frozen=True, slots=True)
class ConversationLines:
    """The lines of all scenes, one per row, sorted by scene and by their `place` in it from 0.

    `turn` is 0 for lines written with the scene. `who` and `to` are codes of people; `to` is -1
    for a line to nobody in particular. `by` is a code of EVIDENCE. `spoken` is false for a
    silence, which has a place in the order but no words.
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
    """The author's acts: `kind` is a code of ACT_KINDS, `to` a person (-1 for a move, which is for
    all), `turn` the turn, and `line` the row of the next line of the scene (-1 for none)."""

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

    A scene is one trial or branch, in the order of the table of trials. `slug`, `condition` and
    `block` are the scenes' codes in `slugs`, `conditions` and `blocks`. `people` is the author and
    then each slug's cast, whose codes begin at `first[slug]`. `mentions` (n, 2) has a row (line,
    person) for each person whom a line names without speaking to them.
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
    by_address: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """Scenes in which the character that was spoken to speaks next; empty if in none."""

    @property
    def addressee_is_next(self) -> Bools:
        """`by_address` of every scene."""
        return self.by_address if len(self.by_address) else np.zeros(self.scenes, dtype=np.bool_)

    @property
    def scenes(self) -> int:
        return len(self.trials)

    @property
    def last(self) -> int:
        """The last turn of the longest scene."""
        return int(self.lines.turn.max(initial=0))

    def cast(self, slug: int) -> range:
        """Return the codes of a slug's characters."""
        return range(int(self.first[slug]), int(self.first[slug + 1]))

    def without_guesses(self) -> Conversation:
        """Return the conversation without addressees known by the order of turns alone."""
        lines = self.lines
        guessed = lines.by == ORDER
        to = np.where(guessed, np.int32(-1), lines.to)
        by = np.where(guessed, np.int32(NOBODY), lines.by)
        return replace(self, lines=replace(lines, to=to, by=by))

    def subset(self, scenes: Bools) -> Conversation:
        """Return the conversation of the scenes in a mask of shape (scenes,)."""
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
            by_address=self.by_address[scenes] if len(self.by_address) else self.by_address,
        )

    def repeated(self, many: int) -> Conversation:
        """Return the conversation with all its scenes repeated `many` times."""
        if many == 1:
            return self

        def again(codes: Ints, step: int) -> Ints:
            """Repeat codes; each copy adds `step` to those that are not negative."""
            more = np.repeat(np.arange(many, dtype=codes.dtype) * step, len(codes))
            tiled = np.tile(codes, many)
            return np.where(tiled >= 0, tiled + more, tiled)

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
            by_address=np.tile(self.by_address, many),
        )

    def select(self, *, condition: str = "", trial: str = "") -> Conversation:
        """Return the conversation of one condition, or of one scene by its trial's id."""
        keep = np.ones(self.scenes, dtype=np.bool_)
        if condition:
            code = self.conditions.index(condition) if condition in self.conditions else -1
            keep &= self.condition == code
        if trial:
            keep &= np.array(self.trials, dtype=object) == trial
        return self.subset(keep)


CastsOf: TypeAlias = Mapping[str, CastNames]
"""The slug of a scene → its cast."""


def read_conversation(turns: pa.Table, trials: pa.Table, casts: CastsOf) -> Conversation:
    """Read turns into columns.

    `turns` has TURN_COLUMNS and `trials` has TRIAL_COLUMNS. Each row of `trials` is a scene; turns
    of other trials are skipped. `casts` maps slugs to casts; speakers who are not in the cast are
    added after it. Off-record turns and directions are no lines, but the author's acts before
    them count.
    """
    keys = scene_keys(trials)
    slugs, slug = encode(trials["scene"])
    conditions, condition = encode(trials["condition"])
    blocks, block = encode(trials["block"])
    scene = to_indices(pc.index_in(scene_keys(turns), value_set=pc.unique(keys)))
    known = scene >= 0
    turns, scene = turns.filter(pa.array(known)), scene[known]
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
    turns: Iterable[pa.Table], trials: pa.Table, casts: CastsOf
) -> dict[str, CastNames]:
    """Return the casts with all other speakers added, so that a part of the turns has the same
    people as the whole. `turns` yields tables with SPEAKER_COLUMNS, `trials` has TRIAL_COLUMNS."""
    slug_of = dict(zip(scene_keys(trials).to_pylist(), trials["scene"].to_pylist(), strict=True))
    completed = {slug: list(cast) for slug, cast in casts.items()}
    speaks: dict[str, set[str]] = {}
    for piece in turns:
        lines = piece.filter(pc.is_in(piece["kind"], value_set=pa.array(_LINES)))
        pairs = lines.group_by(["trial", "branch", "speaker"]).aggregate([])
        speakers = pairs["speaker"].to_pylist()
        for scene, who in zip(scene_keys(pairs).to_pylist(), speakers, strict=True):
            if scene in slug_of and who:
                speaks.setdefault(slug_of[scene], set()).add(who)
    for slug, names in speaks.items():
        cast = completed.setdefault(slug, [])
        cast += [(who, ()) for who in sorted(names - {name for name, _ in cast})]
    return dict(completed)


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
    # A move's `to` is the name of the move, not of a person.
    to = np.where(kind == MOVE, np.int32(-1), to)
    after: Wide = (np.cumsum(is_line, dtype=np.int64) - is_line)[rows]
    owner = np.append(scene[is_line], -1)
    line = np.where(owner[after] == scene[rows], after, -1).astype(np.int32)
    good = (kind == MOVE) | (to >= 0)
    return AuthorActs(scene[rows], number[rows], kind, to, line).take(good)
