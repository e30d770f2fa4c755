"""The frozen records that pass between the rooms of the house. No I/O, no behaviour but identity.

A scene is a function of its trial and its draws, so the identity of a draw is the heart of
this file: seeds, journal look-ups and table keys all come from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

from improv.errors import ErrorKind, error_line

MAIN = "main"
"""The branch of a trial that shares its turns with no other."""

REGENERATED = 1000
"""The first attempt of a draw that is a regeneration, asked for after the scene was played."""

REDRAWN = 1_000_000
"""What the attempts of a regeneration's own redraws count up by, so that they are nobody else's:
the scene's are below REGENERATED, and regenerations of one draw never come to a million."""

BlockKind = Literal[
    "frame", "world", "cast", "card", "memory", "transcript", "note", "cue", "author", "task"
]
TurnKind = Literal["written", "direction", "line", "silence", "probe", "memory", "envelope"]
Origin = Literal["main", "branch", "regeneration", "probe"]
ActKind = Literal["note", "cue", "move", "end", "nothing", "unread"]
Purpose = Literal["line", "author", "probe", "diary", "bible", "envelope", "judge"]
Hearing = Literal["said", "name", "order", "none"]


def digest(text: str, size: int = 10) -> str:
    """Return the BLAKE2b digest of `text` as 2·`size` hex characters."""
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def seed_of(*parts: object) -> int:
    """Hash `parts` to a seed in [0, 2³¹): the range every endpoint takes, and stable for ever."""
    joined = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big") >> 33


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample from a model, by identity: two draws are the same if and only if these six agree.

    `turn` is the turn being prepared (1 is the first improvised one), `role` the character's
    name, or "author" for the author, and `attempt` counts further samples of the same draw: from
    0 those that the scene itself makes (a filter may have a line drawn again: 1, 2, ...), from
    REGENERATED those that somebody asked for later, whose own redraws follow in steps of REDRAWN.
    """

    trial: str
    branch: str
    turn: int
    role: str
    purpose: Purpose
    attempt: int = 0

    @property
    def key(self) -> str:
        return f"{self.trial}/{self.branch}/{self.turn}/{self.purpose}/{self.attempt}/{self.role}"

    @property
    def seed(self) -> int:
        return seed_of("draw", self.key)

    def redrawn(self, times: int) -> Draw:
        """Return the identity of the same draw, drawn again so many times."""
        if not times:
            return self
        step = 1 if self.attempt < REGENERATED else REDRAWN
        return replace(self, attempt=self.attempt + times * step)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of prompt, stored once by content: what a call showed is a list of block ids."""

    id: str
    kind: BlockKind
    text: str

    @classmethod
    def of(cls, kind: BlockKind, text: str) -> Block:
        return cls(digest(f"{kind}\x1f{text}"), kind, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to a model as it was journaled: what was asked, what came back, what it cost.

    Latency is in seconds from sending to the whole reply, with retries and their pauses, but
    without the seconds `waited` for leave to send. `retried` says why, once for each retry. Token
    counts are the endpoint's own, and None where it gives none. `error` says what went wrong and
    `error_kind` the same in a word; both are empty for a call that succeeded. `served` is the
    model that the endpoint says it was, with its fingerprint.
    """

    draw: Draw
    model: str
    endpoint: str
    mode: str
    params: str
    blocks: tuple[str, ...]
    reply: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    started: float
    latency: float
    retries: int
    error_kind: ErrorKind = ErrorKind.NONE
    error: str = ""
    waited: float = 0.0
    retried: tuple[str, ...] = ()
    served: str = ""

    @property
    def error_line(self) -> str:
        return error_line(self.error_kind, self.error)


@dataclass(frozen=True, slots=True)
class Act:
    """Something the author did before a turn. `to` names a character for a note or a cue and the
    move for a move; `text` is what was written; an unread reply keeps its raw text there."""

    kind: ActKind
    to: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a scene: what the author did before it, who spoke, what was said, who heard.

    Written opening turns all carry `turn` 0 and count up in `seq`; improvised turns count from 1
    with `seq` 0, and a direction that precedes one has its own `seq`. `raw` is the model's reply
    before cleaning and `cuts` names the cleaning rules that applied. `addressed` is who the line
    speaks to ("" for nobody in particular) and `by` how that is known: said outright, by name,
    or by turn order. What is off the record is no line of the scene: a `probe` is an answer to a
    question, an `envelope` (turn 0) what a character committed to, and a `memory` what somebody
    (a character, or "author") wrote down before a session's end, for those in `heard_by`.
    """

    trial: str
    branch: str
    turn: int
    seq: int
    kind: TurnKind
    speaker: str
    text: str
    raw: str = ""
    cuts: tuple[str, ...] = ()
    addressed: str = ""
    by: Hearing = "none"
    aside: bool = False
    heard_by: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()

    @property
    def off_record(self) -> bool:
        """Whether it is nothing that was said on the stage."""
        return self.kind in ("probe", "memory", "envelope")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The turns of one trial in order, opening included."""

    trial: str
    branch: str
    turns: tuple[Turn, ...]

    def lines(self, speaker: str | None = None) -> list[Turn]:
        """Return the improvised lines, silences included; only `speaker`'s if one is named."""
        return [
            t
            for t in self.turns
            if t.kind in ("line", "silence") and (speaker is None or t.speaker == speaker)
        ]


@dataclass(frozen=True, slots=True)
class Score:
    """One number that a measure read from a transcript, with its evidence.

    `value` is None where the measure could not read the line: missing, which is never the same
    as consistent. `turn` is None for a score of the whole scene.
    """

    trial: str
    branch: str
    turn: int | None
    character: str
    measure: str
    version: str
    value: float | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial could not be played to its end."""

    kind: ErrorKind
    turn: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a host reports of a trial: small enough to cross Ray a thousand times."""

    trial: str
    branch: str
    condition: str
    turns: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    failure: Failure | None
    origin: Origin = "main"


Json = dict[str, Any]


@dataclass
class Stop:
    """What stopped a session, the first reason that there was."""

    why: str = ""
    kind: ErrorKind = ErrorKind.NONE

    def __bool__(self) -> bool:
        return bool(self.kind)

    def because(self, why: str, kind: ErrorKind) -> None:
        if not self.kind:
            self.why, self.kind = why, kind
