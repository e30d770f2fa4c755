"""The author of a scene as data: what it knows, what it may do, and who it is in each arm.

The arms of a study about authors are contexts. A context has a name and says all that an author is;
it is laid over the author when the scene is read. A placebo or a director's notes are contexts too.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from improv.study.base import SceneProblems, Strict, Text, did_you_mean
from improv.study.model_spec import AnyModel

Power = Literal["note", "cue", "move", "end"]
Knowledge = Literal["transcript", "asides", "cards", "secrets"]

NOT_LAID = frozenset({"matches"})
"""Fields that describe a context and are not laid over the author."""


class Context(Strict):
    """What an author is in one arm of a study. A context replaces all of these fields of the
    author, so that no other arm's text is left: a field that it leaves out gets its default from
    this list."""

    heading: str = Field(default="About the author", max_length=120)
    """The heading of the frame; the author's name follows it, if there is one."""
    name: str = Field(default="", max_length=80)
    """The author's name, as the title page shows it."""
    called: str = Field(default="the author", min_length=1, max_length=40)
    """What the cast calls the author: "the author", "the director". Notes come from
    this name."""
    frame: Text = ""
    """The text with which every character's prompt begins."""
    brief: Text = ""
    """The live author's instructions: its intentions and its manner."""
    matches: str = ""
    """For a placebo: the name of the context that has the same length in tokens."""


class Planned(Strict):
    """A move that the study makes, with any author and with none: at a turn, or after a break."""

    move: str = Field(default="", max_length=80)
    """The name of one of the author's moves. "" marks the turn but plays nothing, so that an arm
    without a move has the same time zero."""
    turn: int | None = Field(default=None, ge=1)
    """The turn before which the move is played."""
    on_break_of: str = ""
    """The name of a character. The move is played after its first line that breaks its first
    trait with a sign, or its habit if none of its traits has a sign."""
    within: int | None = Field(default=None, ge=1)
    """With `on_break_of`: the last turn before which the move is still played."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.turn is None) == (not self.on_break_of):
            raise ValueError("give either 'turn' or 'on_break_of'")
        if self.within is not None and self.turn is not None:
            raise ValueError("'within' goes with 'on_break_of'")
        return self


class NoteSample(Strict):
    """An example of a note by the author."""

    to: str
    """The character that gets the note."""
    note: str = Field(min_length=1, max_length=240)
    """The text of the note."""


class AuthorSpec(Strict):
    """The author of the characters: a text in their prompts (the frame), a live agent, or both."""

    LATER: ClassVar[frozenset[str]] = frozenset({"context", "heading", "shown", "planned"})
    MENUS: ClassVar[frozenset[str]] = frozenset({"contexts"})

    contexts: dict[str, Context] = {}
    """Name → what the author is in the arm of a study that chooses this context."""
    context: str = ""
    """The name of one of `contexts`. Its fields replace those of the author when improv reads the
    scene. improv then sets this field to ""."""
    heading: str = Field(default="About the author", max_length=120)
    """The heading of the frame; the author's name follows it, if there is one."""
    name: str = Field(default="", max_length=80)
    """The author's name, as the title page shows it."""
    called: str = Field(default="the author", min_length=1, max_length=40)
    """What the cast calls the author: "the author", "the director"."""
    frame: Text = ""
    """Author-level context, with which every character's prompt begins."""
    shown: bool = True
    """Whether the frame is in every character's prompt. If false, only a live author reads it."""
    live: bool = False
    """Whether the author acts while the scene plays."""
    brief: Text = ""
    """The live author's instructions: its intentions and its manner."""
    bible: Text = ""
    """What the live author knows of the work: facts, arcs, what must not happen."""
    knows: list[Knowledge] = ["transcript", "cards"]
    """What the live author sees: the transcript, asides, the characters' cards, their secrets."""
    may: list[Power] = ["note"]
    """What the live author may do: write notes, cue the next speaker, play a move, end the
    scene."""
    moves: dict[str, str] = {}
    """Name of a move → the stage direction that the move plays."""
    planned: Planned | None = None
    """A move that is played in any case, with or without a live author."""
    samples: list[NoteSample] = []
    """Example notes in this author's manner. A small model that obeys no instruction still imitates
    them."""
    every: int = Field(default=2, ge=1)
    """The number of turns from one action of the live author to the next."""
    when: Literal["before", "during"] = "before"
    """When the live author is asked. "before": before a turn, which waits for it. "during": while a
    line is drawn, so that nobody waits; its action then reaches the next turn."""
    model: AnyModel | None = None
    """The model of the live author. By default the scene's."""

    @model_validator(mode="before")
    @classmethod
    def _lay_context(cls, data: Any) -> Any:
        """Lay the chosen context over the author. `context` is an instruction, not a state: it is
        "" afterwards, so a scene that is written and read again does not change."""
        if not isinstance(data, dict) or not data.get("context"):
            return data
        menu, name = data.get("contexts") or {}, data["context"]
        if not isinstance(menu, dict) or not isinstance(name, str):
            return data
        if name not in menu:
            known = f"; there is {', '.join(sorted(map(str, menu)))}" if menu else "; there is none"
            hint = did_you_mean(name, menu) or known
            what = f"no context is called '{name}'{hint}"
            raise SceneProblems([(("author", "context"), what)])
        try:
            laid = Context.model_validate(menu[name])
        except ValidationError:
            return data  # The validation of `contexts` reports what is wrong with it.
        return data | {"context": ""} | laid.model_dump(exclude=set(NOT_LAID))

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if "move" in self.may and not self.moves:
            raise ValueError("may make a move, but 'moves' names none")
        problems: list[tuple[tuple[str | int, ...], str]] = []
        for name, context in self.contexts.items():
            if context.matches and context.matches not in self.contexts:
                what = f"no context is called '{context.matches}'"
                problems.append((("author", "contexts", name, "matches"), what))
        plan = self.planned
        if plan is not None and plan.move and plan.move not in self.moves:
            what = f"no move is called '{plan.move}'"
            problems.append((("author", "planned", "move"), what))
        if problems:
            raise SceneProblems(problems)
        return self
