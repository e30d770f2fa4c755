"""What a study or a person may ask of a scene that was played: to enter it again, and how changed.

Plain frozen data. What becomes of it, branches of trials, is next door, in branch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from improv.study.base import Strict, Text
from improv.study.scene import EVERYBODY as EVERYBODY

Turns = list[int] | Literal["every"]
Patch = dict[str, Any]
"""Part of a scene's data, which is laid over all of it: mappings merge, the rest replaces."""


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("needs words")
    return text


_Words = Annotated[str, Field(max_length=2000), AfterValidator(_words)]


class Edit(Strict):
    """What is different from a turn on. An empty edit only draws anew."""

    scene: Patch = {}
    """A patch of the scene: the author, a card, the model, the world. The cast and the written
    opening stay as they are."""
    line: _Words | None = None
    """What was said at the branching turn, instead of what was; its speaker stays."""
    move: _Words | None = None
    """A move: the name of one of the author's, or a stage direction, played at the next turn."""
    memory: dict[str, Text] = {}
    """Character (or "everybody") → what it remembers instead of the scene so far; empty text
    for nothing at all."""

    @property
    def empty(self) -> bool:
        return self == Edit()


class Branching(Strict):
    """Branches that a study grows from each of its trials: paired counterfactuals.

    Each trial is frozen after each of the turns `at`; each arm continues it `draws` times.
    """

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$")
    """What the branches are called."""
    at: Turns
    """The last shared turns (0 is the written opening), or "every"."""
    arms: dict[str, Edit] = {"as it was": Edit()}
    """Name → what is changed. Compare arms with one that changes nothing."""
    draws: int = Field(default=1, ge=1, le=10_000)
    """Continuations of each arm."""
    turns: int | None = Field(default=None, ge=1, le=2000)
    """How many turns are drawn after it; to the scene's end where it is not given."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        _check_turns(self.at, 0)
        if not self.arms:
            raise ValueError("branches need at least one arm; `{as it was: {}}` changes nothing")
        return self


class Regeneration(Strict):
    """Single turns of each trial that are drawn again, to see what else they might have been."""

    at: Turns
    """The turns drawn anew (from 1), or "every"."""
    draws: int = Field(default=1, ge=1, le=10_000)
    """How often each of the turns is drawn again."""

    @model_validator(mode="after")
    def _turns(self) -> Self:
        _check_turns(self.at, 1)
        return self


class Probe(Strict):
    """A fixed question put to a character off the record: a fork that no transcript shows."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$")
    """What the probe is called."""
    of: str = EVERYBODY
    """Whom it is put to."""
    ask: str = Field(min_length=1, max_length=2000)
    """The question."""
    expect: list[str] = []
    """Words of which a right answer holds one, where there is a right answer."""
    at: Turns
    """After which turns it is put, or "every"."""
    draws: int = Field(default=1, ge=1, le=1000)
    """How often the question is put, each time as if for the first time."""

    @model_validator(mode="after")
    def _turns(self) -> Self:
        _check_turns(self.at, 0)
        return self


def _check_turns(at: Turns, least: int) -> None:
    if at != "every" and (not at or any(t < least for t in at)):
        raise ValueError(f"'at' needs turns, each {least} or later, or 'every'")
