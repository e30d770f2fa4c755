"""The author of a scene as data: what it knows, what it may do, and as which author it is played.

A study's arms are contexts: the whole of what an author is, under one name, laid over the author
when the scene is read. A placebo or a director's notes are contexts like any other.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from improv.study.base import SceneProblems, Strict, Text, closest
from improv.study.model_spec import AnyModel

Power = Literal["note", "cue", "move", "end"]
Knowledge = Literal["transcript", "asides", "cards", "secrets"]

NOT_LAID = frozenset({"matches"})
"""Fields of a context that say something of it, and are nothing of an author's."""


class Context(Strict):
    """What an author is in one arm of a study: all of it, so that nothing of another arm's is
    left. What a context does not say is as it is here, not as the author has it."""

    heading: str = Field(default="About the author", max_length=120)
    """What stands above the frame; the name follows where there is one."""
    name: str = Field(default="", max_length=80)
    """Who is writing, as the title page says it."""
    called: str = Field(default="the author", min_length=1, max_length=40)
    """What it is to the cast: "the author", "the director". Its notes come from whoever this is."""
    frame: Text = ""
    """The text that every character's prompt begins with."""
    brief: Text = ""
    """What the live author is told of its own intentions and manner."""
    matches: str = ""
    """The context whose length in tokens this one has, where it is a placebo for that."""


class Planned(Strict):
    """A move that the study makes, whoever the author is: at a turn, or after a break."""

    move: str = Field(default="", max_length=80)
    """The name of one of the author's moves. Nothing ("") only marks the moment, so that an arm
    where nothing happens has the same time zero."""
    turn: int | None = Field(default=None, ge=1)
    """The turn before which it is made."""
    on_break_of: str = ""
    """A character: the move is made at the turn after its first line that breaks its first trait
    with a sign, or its habit where no trait of it has one."""
    within: int | None = Field(default=None, ge=1)
    """The last turn before which it is still made, where it waits for a break."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.turn is None) == (not self.on_break_of):
            raise ValueError("give either 'turn' or 'on_break_of'")
        if self.within is not None and self.turn is not None:
            raise ValueError("'within' goes with 'on_break_of'")
        return self


class NoteSample(Strict):
    """A note as the author would write it."""

    to: str
    """The character that it is written to."""
    note: str = Field(min_length=1, max_length=240)
    """The note itself."""


class AuthorSpec(Strict):
    """The agent that holds what an author knows: as text in the frame, as a live agent, or both."""

    LATER: ClassVar[frozenset[str]] = frozenset({"context", "heading", "shown", "planned"})
    MENUS: ClassVar[frozenset[str]] = frozenset({"contexts"})

    contexts: dict[str, Context] = {}
    """Name → what the author is in an arm of a study that asks for it."""
    context: str = ""
    """One of `contexts`, laid over the author when the scene is read: all of its fields go over
    those that are given here. Afterwards this is "" again."""
    heading: str = Field(default="About the author", max_length=120)
    """What stands above the frame; the name follows where there is one."""
    name: str = Field(default="", max_length=80)
    """Who is writing, as the title page says it."""
    called: str = Field(default="the author", min_length=1, max_length=40)
    """What it is to the cast: "the author", "the director"."""
    frame: Text = ""
    """Author-level context that every character's prompt begins with."""
    shown: bool = True
    """Whether the frame stands in every character's prompt. False: only a live author reads it."""
    live: bool = False
    """Whether the author acts while the scene plays."""
    brief: Text = ""
    """What the live author is told of its own intentions and manner."""
    bible: Text = ""
    """What the live author knows of the work: facts, arcs, what must not happen."""
    knows: list[Knowledge] = ["transcript", "cards"]
    """What else the live author may see."""
    may: list[Power] = ["note"]
    """What the live author may do."""
    moves: dict[str, str] = {}
    """Name of a move → the stage direction that is played when the author makes it."""
    planned: Planned | None = None
    """A move that is made in any case, whether or not there is a live author."""
    samples: list[NoteSample] = []
    """Notes in this author's manner; a small model imitates them where it obeys nothing."""
    every: int = Field(default=2, ge=1)
    """The live author acts before every so many turns."""
    when: Literal["before", "during"] = "before"
    """"during" lets the author think while a line is spoken; what it does then reaches the turn
    after, which saves its latency."""
    model: AnyModel | None = None
    """A model of its own, where it should not be the scene's."""

    @model_validator(mode="before")
    @classmethod
    def _lay_context(cls, data: Any) -> Any:
        """Lay the context that is asked for over what is given. It is an instruction and no state,
        so that a scene that is read again, or changed, is what it was."""
        if not isinstance(data, dict) or not data.get("context"):
            return data
        menu, name = data.get("contexts") or {}, data["context"]
        if not isinstance(menu, dict) or not isinstance(name, str):
            return data
        if name not in menu:
            near = closest(name, set(map(str, menu)))
            known = f"; there is {', '.join(sorted(map(str, menu)))}" if menu else "; there is none"
            hint = f" (did you mean '{near}'?)" if near else known
            what = f"no context is called '{name}'{hint}"
            raise SceneProblems([(("author", "context"), what)])
        try:
            laid = Context.model_validate(menu[name])
        except ValidationError:
            return data  # what is wrong with it is said where it stands
        return data | {"context": ""} | laid.model_dump(exclude=set(NOT_LAID))

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if "move" in self.may and not self.moves:
            raise ValueError("may make a move, but 'moves' names none")
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name, context in self.contexts.items():
            if context.matches and context.matches not in self.contexts:
                what = f"no context is called '{context.matches}'"
                found.append((("author", "contexts", name, "matches"), what))
        plan = self.planned
        if plan is not None and plan.move and plan.move not in self.moves:
            what = f"no move is called '{plan.move}'"
            found.append((("author", "planned", "move"), what))
        if found:
            raise SceneProblems(found)
        return self
