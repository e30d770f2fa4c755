"""What a study or a person can do with a played scene: edits, branches, regenerations and probes.

Plain frozen data, as people write it. The module branch makes branches of trials from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from improv.study.base import Strict, Text, WholeFile
from improv.study.scene import EVERYBODY as EVERYBODY

Turns = list[int] | Literal["every"]
Patch = dict[str, Any]
"""A part of a scene's data that is laid over the scene: mappings merge, any other value
replaces."""


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("needs words")
    return text


_Words = Annotated[str, Field(max_length=2000), AfterValidator(_words)]


class Edit(WholeFile):
    """What a branch changes. An empty edit changes nothing: the turns are only drawn again."""

    scene: Patch = {}
    """A patch of the scene: the author, a card, the model, the world. It cannot change who is in
    the cast, nor the written opening."""
    line: _Words | None = None
    """The line that replaces the line of the branching turn. Its speaker stays the same."""
    move: _Words | None = None
    """The name of one of the author's moves, or a stage direction. It is played at the next
    turn."""
    memory: dict[str, Text] = {}
    """Character (or "everybody") → what it remembers instead of the scene so far. "" means
    nothing."""

    @property
    def empty(self) -> bool:
        """Whether the edit changes nothing."""
        return self == Edit()


class Branching(Strict):
    """Branches that a study grows from each of its trials: paired counterfactuals.

    Each trial is frozen after each of the turns `at`; each arm continues it `draws` times.
    """

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$")
    """The name of these branches in tables and reports."""
    at: Turns
    """The turns after which the branches part, or "every". 0 is the written opening."""
    arms: dict[str, Edit] = {"as it was": Edit()}
    """Name of an arm → its edit. Have one arm that changes nothing, to compare the others with."""
    draws: int = Field(default=1, ge=1, le=10_000)
    """The number of continuations of each arm."""
    turns: int | None = Field(default=None, ge=1, le=2000)
    """How many turns a branch draws. By default all up to the end of the scene."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        _check_turns(self.at, 0)
        if not self.arms:
            raise ValueError("branches need at least one arm; `{as it was: {}}` changes nothing")
        return self


class Regeneration(Strict):
    """Single turns of each trial that are drawn again, to see how else they could have gone."""

    at: Turns
    """The turns that are drawn again (from 1), or "every"."""
    draws: int = Field(default=1, ge=1, le=10_000)
    """How often each of the turns is drawn again."""

    @model_validator(mode="after")
    def _turns(self) -> Self:
        _check_turns(self.at, 1)
        return self


class Probe(Strict):
    """A fixed question to a character, off the record: no transcript shows it, and no later turn
    sees it."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$")
    """The name of the probe in tables and reports."""
    of: str = EVERYBODY
    """The character that answers, or "everybody"."""
    ask: str = Field(min_length=1, max_length=2000)
    """The question."""
    expect: list[str] = []
    """Words or phrases: an answer is right if it contains one of them. Leave it out if no answer
    is right or wrong."""
    at: Turns
    """The turns after which the question is asked, or "every"."""
    draws: int = Field(default=1, ge=1, le=1000)
    """How often the question is asked. No answer knows of the others."""

    @model_validator(mode="after")
    def _turns(self) -> Self:
        _check_turns(self.at, 0)
        return self


def turns_of(at: Turns, first: int, last: int) -> Sequence[int]:
    """Return the turns that `at` means in a scene whose last such turn is `last`, each once."""
    if at == "every":
        return range(first, last + 1)
    return list(dict.fromkeys(turn for turn in at if turn <= last))


def _check_turns(at: Turns, least: int) -> None:
    if at != "every" and (not at or any(t < least for t in at)):
        raise ValueError(f"'at' needs turns, each {least} or later, or 'every'")
