"""The frozen records that the packages exchange. There is no I/O here.

A trial and the replies to its draws determine a scene. So the identity of a draw is the most
important record of this file: seeds, journal look-ups and the keys of tables are made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, TypeVar

from improv.errors import ErrorKind, error_line

K = TypeVar("K", bound=Hashable)

MAIN = "main"
"""The `branch` of a scene that is played from its first turn, not from a fork."""

FIRST_REGENERATION = 1000
"""The `attempt` of the first regeneration of a draw: one made after the scene was played."""

REDRAW_STEP = 1_000_000
"""How far the `attempt` of a regeneration's redraw is from the one before. The numbers never meet:
a scene's attempts are below FIRST_REGENERATION, and no draw has a million regenerations."""

BlockKind = Literal[
    "frame", "world", "cast", "card", "memory", "transcript", "note", "cue", "author", "task"
]
TurnKind = Literal["written", "direction", "line", "silence", "probe", "memory", "envelope"]
Origin = Literal["main", "branch", "regeneration", "probe"]
ActKind = Literal["note", "cue", "move", "end", "nothing", "unread"]
Purpose = Literal["line", "author", "probe", "diary", "bible", "envelope", "judge"]
AddressedBy = Literal["said", "name", "order", "none"]


class ReplyFault(StrEnum):
    """What was wrong with a reply, or with what its model was shown, though the call succeeded."""

    REASONING = "reasoning"
    """Only reasoning came, and no text after it."""
    LENGTH = "length"
    """The tokens were used up before any text came."""
    REFUSAL = "refusal"
    TOOL_CALL = "tool call"
    FILTERED = "filtered"
    """The endpoint's filter held the text back."""
    EMPTY = "empty"
    UNREAD = "unread"
    """The author's reply holds no JSON that can be read."""
    MARKS = "unknown marks"
    """The text has marks of a kind that improv does not know; it may hold reasoning."""
    PROMPT_CUT = "prompt cut"
    """The endpoint counts no more tokens than for a shorter prompt of the same thread."""
    OTHER_MODEL = "another model"
    """The endpoint says that another model answered."""


UNDELIVERED = frozenset(
    {
        ReplyFault.REASONING,
        ReplyFault.LENGTH,
        ReplyFault.REFUSAL,
        ReplyFault.TOOL_CALL,
        ReplyFault.FILTERED,
        ReplyFault.EMPTY,
        ReplyFault.UNREAD,
    }
)
"""The faults of a reply that did not arrive: nothing of it was said on the stage, or done."""

_FAULTS = frozenset(fault.value for fault in ReplyFault)


def known_faults(words: Iterable[str]) -> tuple[ReplyFault, ...]:
    """Return the faults that a record names, without those that this version does not know."""
    return tuple(ReplyFault(word) for word in words if word in _FAULTS)


def digest(text: str, size: int = 10) -> str:
    """Return the BLAKE2b digest of `text` as 2·`size` hex characters."""
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def seed_of(*parts: object) -> int:
    """Return a seed in [0, 2³¹), the hash of `parts`. Every endpoint accepts that range.

    The same parts give the same seed on every machine and in every version.
    """
    joined = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "big") >> 33


@dataclass(frozen=True, slots=True)
class Draw:
    """The identity of one sample from a model. Two draws are the same if all six fields are equal.

    `turn` is the turn that is prepared (1 is the first improvised one). `role` is the character's
    name, or "author". `attempt` counts further samples of the same draw: a scene begins at 0 and
    counts up when a filter rejects a line; regenerations, which are made later, begin at
    FIRST_REGENERATION, and their own redraws follow in steps of REDRAW_STEP.
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
        """Return the identity of this draw after it was drawn again `times` times."""
        if not times:
            return self
        step = 1 if self.attempt < FIRST_REGENERATION else REDRAW_STEP
        return replace(self, attempt=self.attempt + times * step)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a prompt, stored once by its content. A call lists the ids of its blocks."""

    id: str
    kind: BlockKind
    text: str

    @classmethod
    def of(cls, kind: BlockKind, text: str) -> Block:
        return cls(digest(f"{kind}\x1f{text}"), kind, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to a model, as the journal has it: the draw, the prompt, the reply and its cost.

    `started` is Unix time in seconds. `latency` is in seconds from sending to the whole reply, with
    retries and the pauses between them; it does not include `waited`, the seconds before the rate
    limiter let the call go. `retried` holds one reason for each retry. The endpoint counts the
    tokens of prompt and reply; if it gives no count that can be true, they are `estimated`. A count
    that nobody gives is None. `error` is the message of a call that
    failed and `error_kind` its kind; both are empty for a call that succeeded. `served` is the
    model that the endpoint names in its reply, with its fingerprint. `reasoning` is what the model
    thought before it replied, where the endpoint says it; its tokens are part of the completion's.
    `faults` are what is wrong with a call that succeeded, and `cuts` the steps in which its reply
    was unwrapped and read; the cuts of a line are its turn's.
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
    estimated: bool = False
    reasoning: str = ""
    reasoning_tokens: int | None = None
    faults: tuple[ReplyFault, ...] = ()
    cuts: tuple[str, ...] = ()

    @property
    def error_line(self) -> str:
        return error_line(self.error_kind, self.error)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How many replies were asked for, by purpose, and what was wrong with how many of them, by
    purpose and fault. Replies to failed calls are in neither."""

    asked: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def __add__(self, other: Delivery) -> Delivery:
        return Delivery(_sum(self.asked, other.asked), _sum(self.faults, other.faults))

    def undelivered(self, purpose: str) -> int:
        """Return how many replies of a purpose did not arrive."""
        return sum(n for (of, fault), n in self.faults.items() if of == purpose and fault in _GONE)

    def is_short(self, purpose: str) -> bool:
        """Return whether more replies of a purpose are missing than a run may lose."""
        return self.undelivered(purpose) > MOST_UNDELIVERED * self.asked.get(purpose, 0)


MOST_UNDELIVERED = 0.05
"""The share of an arm's lines, or of its author's replies, that may be missing."""
_GONE = frozenset(fault.value for fault in UNDELIVERED)


def _sum(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in (*one, *other)}


@dataclass(frozen=True, slots=True)
class Act:
    """Something the author did before a turn.

    `to` is a character's name for a note or a cue, and the name of the move for a move. `text` is
    what the author wrote, or the raw reply if it could not be read (`kind` "unread").
    """

    kind: ActKind
    to: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a scene: what the author did before it, who spoke, the text, and who heard it.

    The written turns of the opening all have `turn` 0 and count up in `seq`. Improvised turns count
    from 1 and have `seq` 0; a direction before one has a `seq` of its own. `raw` is the model's
    reply before cleaning, and `cuts` names the cleaning rules that changed it. `addressed` is the
    character whom the line addresses ("" if nobody in particular), and `by` is the evidence: the
    line says so ("said"), it names the character ("name"), or it is a guess ("order").

    Three kinds are off the record, which means that they are no lines of the scene. A `probe` is
    an answer to a question. An `envelope` (turn 0) is what a character committed to. A `memory` is
    what a character or the author wrote down at the end of a session, for those in `heard_by`.
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
    by: AddressedBy = "none"
    aside: bool = False
    heard_by: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()

    @property
    def off_record(self) -> bool:
        """Whether the turn is a probe, a memory or an envelope, and so no line of the scene."""
        return self.kind in ("probe", "memory", "envelope")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The turns of one branch of one trial in their order, with the opening."""

    trial: str
    branch: str
    turns: tuple[Turn, ...]

    def lines(self, speaker: str | None = None) -> list[Turn]:
        """Return the improvised lines and silences, of all speakers or of `speaker` alone."""
        return [
            turn
            for turn in self.turns
            if turn.kind in ("line", "silence") and (speaker is None or turn.speaker == speaker)
        ]


@dataclass(frozen=True, slots=True)
class Score:
    """One number that a measure computed from a transcript, with its evidence.

    `value` is None if the measure could not score the line. Such a score is missing; it does not
    count as consistent. `turn` is None for a score of the whole scene.
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
    """Why a trial could not be played to its end, and the turn at which it failed."""

    kind: ErrorKind
    turn: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """What a host reports about a trial or a branch: counts and a failure.

    It has no text, because it goes through Ray for each of thousands of trials.
    """

    trial: str
    branch: str
    condition: str
    turns: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    failure: Failure | None
    origin: Origin = "main"
    estimated: int = 0
    """How many of the calls have tokens that are estimated."""
    delivery: Delivery = field(default_factory=lambda: Delivery())


Json = dict[str, Any]


@dataclass
class Stop:
    """The first reason that stopped a session. It is true once there is one."""

    reason: str = ""
    kind: ErrorKind = ErrorKind.NONE
    at_once: bool = False
    """Whether the user interrupted twice, so that all work that can be done later waits."""

    def __bool__(self) -> bool:
        return bool(self.kind)

    def record(self, reason: str, kind: ErrorKind) -> None:
        """Keep a reason and its kind, unless another one was recorded before."""
        if not self.kind:
            self.reason, self.kind = reason, kind
