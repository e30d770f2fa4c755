"""The edges of a conversation, as columns: who speaks to whom, and when.

Each edge says how it is known, so that guesses can be left out. The module graph adds up the
edges of scenes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from improv.graph.arrow_columns import Ints, Wide
from improv.graph.conversation import (
    AUTHOR_CODE,
    CUE,
    NOBODY,
    NOTE,
    ORDER,
    SAID,
    Conversation,
    ConversationLines,
)

EDGE_KINDS = ("addresses", "answers", "mentions", "note", "cue")
"""The kinds of edges, by code. The first three are between characters, the others the author's."""
ADDRESSES, ANSWERS, MENTIONS, NOTES, CUES = range(5)


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of a conversation, one contact per row: `source` addresses, answers, mentions,
    notes or cues `target` at `turn` of `scene`.

    `kind` is a code of EDGE_KINDS, and `by` a code of conversation.EVIDENCE (the author's acts
    are certain). `line` is the row of the line with the contact, -1 for the author's acts.
    `latency` is, for an answer, its distance in lines from the line that it answers (1 is the
    next line), else 0.
    """

    scene: Ints
    turn: Ints
    source: Ints
    target: Ints
    kind: Ints
    by: Ints
    words: Ints
    latency: Ints
    line: Ints

    def __len__(self) -> int:
        return len(self.scene)

    def take(self, rows: npt.NDArray[np.bool_] | Wide) -> Edges:
        return Edges(*(getattr(self, name)[rows] for name in self.__slots__))

    def select(
        self,
        *,
        kinds: Collection[str] = EDGE_KINDS,
        first: int = 0,
        last: int | None = None,
        guesses: bool = True,
    ) -> Edges:
        """Return the contacts of some kinds in turns from `first` to `last`, those included."""
        keep = np.isin(self.kind, [EDGE_KINDS.index(kind) for kind in kinds])
        keep &= self.turn >= first
        if last is not None:
            keep &= self.turn <= last
        if not guesses:
            keep &= self.by != ORDER
        return self.take(keep)


def find_edges(talk: Conversation) -> Edges:
    """Return every contact of a conversation, in no particular order."""
    lines = talk.lines
    spoken = np.flatnonzero(lines.spoken & (lines.to >= 0) & (lines.who >= 0))
    line, before, how = find_answers(lines)
    about = talk.mentions
    named = about[(lines.who[about[:, 0]] >= 0) & lines.spoken[about[:, 0]]]
    acts = talk.acts.take((talk.acts.kind == NOTE) | (talk.acts.kind == CUE))
    parts = [
        _from_lines(lines, spoken, lines.to[spoken], ADDRESSES, lines.by[spoken]),
        _from_lines(
            lines, line, lines.who[before], ANSWERS, how, lines.place[line] - lines.place[before]
        ),
        _from_lines(lines, named[:, 0], named[:, 1], MENTIONS, np.full(len(named), 1, np.int32)),
    ]
    zeros = np.zeros(len(acts.scene), dtype=np.int32)
    author = Edges(
        scene=acts.scene,
        turn=acts.turn,
        source=zeros + AUTHOR_CODE,
        target=acts.to,
        kind=np.where(acts.kind == NOTE, NOTES, CUES).astype(np.int32),
        by=zeros + SAID,
        words=zeros,
        latency=zeros,
        line=zeros - 1,
    )
    return _concatenated([*parts, author])


def find_answers(lines: ConversationLines) -> tuple[Wide, Wide, Ints]:
    """Return (answering line, answered line, evidence), each of shape (answers,); lines are rows.

    A line answers the latest line to its speaker since the speaker spoke last. If there is none,
    it answers the line right before it, if somebody else spoke that line to nobody in particular.
    A line whose explicit addressee (by name or "(to Bo)") is somebody else answers that person if
    they spoke right before, else nobody. The evidence is the better one of the two lines.
    """
    many = len(lines)
    if not many:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32)
    people = int(max(lines.who.max(), lines.to.max())) + 2
    spoke = np.flatnonzero(lines.spoken & (lines.who >= 0))
    called = np.flatnonzero(lines.spoken & (lines.to >= 0))
    # The events of each person of each scene, in order: the person spoke or was spoken to.
    person = np.concatenate([lines.who[spoke], lines.to[called]]).astype(np.int64)
    at = np.concatenate([spoke, called])
    owner = lines.scene[at].astype(np.int64) * people + person
    order = np.argsort(owner * many + at)
    at, owner = at[order], owner[order]
    speaks = order < len(spoke)
    follows = np.zeros(len(order), dtype=np.bool_)
    follows[1:] = speaks[1:] & ~speaks[:-1] & (owner[1:] == owner[:-1])
    answered = np.full(many, -1, dtype=np.int64)
    answered[at[follows]] = at[np.flatnonzero(follows) - 1]

    explicit = (lines.to >= 0) & (lines.by < ORDER)
    away = (answered >= 0) & explicit & (lines.to != lines.who[answered])
    answered[away] = -1
    before = np.arange(many) - 1
    near = (answered < 0) & lines.spoken & (lines.place > 0)
    near &= lines.spoken[before] & (lines.who[before] != lines.who) & (lines.who[before] >= 0)
    back = lines.to == lines.who[before]
    near &= (explicit & back) | (~explicit & (lines.to[before] < 0) & (back | (lines.to < 0)))
    answered[near] = before[near]

    line = np.flatnonzero(answered >= 0)
    to = answered[line]
    own = np.where(lines.to[line] == lines.who[to], lines.by[line], NOBODY)
    theirs = np.where(lines.to[to] == lines.who[line], lines.by[to], NOBODY)
    return line, to, np.minimum(np.minimum(own, theirs), ORDER).astype(np.int32)


def windows(last: int, size: int) -> list[tuple[int, int]]:
    """Return (first turn, last turn) of each window of `size` improvised turns."""
    return [(start, min(start + size - 1, last)) for start in range(1, last + 1, size)]


def _from_lines(
    lines: ConversationLines,
    rows: Wide | Ints,
    to: Ints,
    kind: int,
    by: Ints,
    latency: Ints | None = None,
) -> Edges:
    zeros = np.zeros(len(rows), dtype=np.int32)
    return Edges(
        scene=lines.scene[rows],
        turn=lines.turn[rows],
        source=lines.who[rows],
        target=to,
        kind=zeros + np.int32(kind),
        by=by,
        words=lines.words[rows],
        latency=zeros if latency is None else latency,
        line=rows.astype(np.int32),
    )


def _concatenated(parts: list[Edges]) -> Edges:
    names = Edges.__slots__
    return Edges(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
