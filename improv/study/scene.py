"""What a scene is: its world, its cast, its author, the model that plays it. Plain frozen data.

Every class here forbids unknown fields, and the docstring of every field is the sentence that
`improv schema` shows in an editor. loader reads the files; the model of a scene is in model_spec,
its author in author_spec.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from improv.errors import RunError
from improv.study.author_spec import AuthorSpec
from improv.study.base import (
    Name,
    Probability,
    SceneProblems,
    Strict,
    Text,
    WholeFile,
    did_you_mean,
)
from improv.study.model_spec import AnyModel, Model

Order = Literal["round-robin", "shuffled", "addressed", "author-cued", "by-silence"]
Marker = Literal[
    "never_asks",
    "always_asks",
    "one_sentence",
    "at_most_words",
    "at_least_words",
    "says_any",
    "never_says",
    "starts_with",
    "ends_with",
]
MemorySpec = Literal["all", "nothing", "diary", "bible", "another's diary"]
RESERVED = frozenset({"author", "everybody", "nobody", "direction"})
EVERYBODY = "everybody"
MAX_CAST = 12
"""The most characters that a scene may have."""


class Predicate(Strict):
    """Something that a program can verify on a line."""

    marker: Marker
    """What is verified, by its name."""
    value: int | list[str] | None = None
    """A number of words for "at_most_words" and "at_least_words"; a list of phrases for "says_any",
    "never_says", "starts_with" and "ends_with"; nothing for the others."""

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if self.marker in ("at_most_words", "at_least_words"):
            if not isinstance(self.value, int) or self.value < 1:
                raise ValueError(f"'{self.marker}' needs a value: a number of words")
        elif self.marker in ("says_any", "never_says", "starts_with", "ends_with"):
            if not isinstance(self.value, list) or not self.value:
                raise ValueError(f"'{self.marker}' needs a value: a list of phrases")
        elif self.value is not None:
            raise ValueError(f"'{self.marker}' takes no value")
        return self


class Sign(Predicate):
    """A predicate that shows on a line whether a character is at its trait's pole. No model sees
    it."""


class Habit(Predicate):
    """A verbal habit that a program can verify on a line."""

    says: str = Field(min_length=1, max_length=200)
    """The habit in words, as the character's prompt states it."""


class Rule(Predicate):
    """Outside-text: a rule that a program can verify on a line, and how the stage enforces it."""

    says: str = Field(min_length=1, max_length=300)
    """The rule in words."""
    of: str = EVERYBODY
    """The character that the rule binds, or "everybody"."""
    shown: bool = True
    """Whether the rule is shown among the rules of the world, which everybody sees."""
    enforced: Literal["no", "reminder", "filter", "sham"] = "no"
    """"reminder": the author repeats the rule as a note every `every` turns. "filter": a line that
    breaks the rule is drawn again, at most `redraws` times, and withheld if the last one breaks it
    too. "sham": lines are drawn again by chance, whatever they say."""
    every: int = Field(default=3, ge=1)
    """Turns from one reminder to the next; the first comes before turn 1."""
    redraws: int = Field(default=8, ge=1, le=50)
    """The most times that one line is drawn again."""
    sham_rate: Probability = 0.2
    """P(a sham filter draws a line again)."""


class Trait(Strict):
    """A trait with an opposite, so that a character can flip from one to the other."""

    LATER: ClassVar[frozenset[str]] = frozenset({"sign"})

    pole: str = Field(min_length=1, max_length=60)
    """What the character is, in one or two words: "honest"."""
    opposite: str = Field(min_length=1, max_length=60)
    """What the character is after a flip: "deceitful"."""
    kind: Literal["moral", "neutral"]
    """Whether the pair is about good and evil ("moral") or not ("neutral")."""
    sign: Sign | None = None
    """A predicate that a line at the pole satisfies, and a line at the opposite does not."""


def _or_a_card(schema: dict[str, Any]) -> None:
    """Require nothing but `card_file` where there is one: the card gives the other fields."""
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["card_file"]}]


class CharacterSpec(Strict):
    """A character of the cast."""

    MENUS: ClassVar[frozenset[str]] = frozenset({"card_file", "original"})

    model_config = ConfigDict(json_schema_extra=_or_a_card)

    name: Name
    """The character's name. All names and aliases of a scene must differ."""
    role: str = Field(min_length=1, max_length=200)
    """The character's line in the cast list, which everybody sees: "keeper of the light, 61"."""
    card: Text = ""
    """What the character knows of itself. The other characters do not see it."""
    goal: str = Field(default="", max_length=500)
    """What the character wants in this scene. The character sees it, and an author that knows the
    cards."""
    secret: str = Field(default="", max_length=1000)
    """What no other character knows. An author sees it only if its `knows` lists secrets."""
    traits: list[Trait] = []
    """What the character is, each trait with its opposite."""
    habit: Habit | None = None
    """A verbal habit that shows on every line."""
    samples: list[str] = []
    """Example lines in the character's voice."""
    aliases: list[Name] = []
    """Other names of the character, by which a line can address it."""
    offstage: bool = False
    """Whether the character is off the stage when the scene begins. An event can let it enter."""
    model: AnyModel | None = None
    """The model that plays the character. By default the scene's."""
    card_file: str = ""
    """A character card of another program (JSON, PNG or CHARX), relative to this file. It gives
    the fields that are left out here. improv reads it with the scene, and then empties this
    field."""
    original: dict[str, Any] = {}
    """The card that the character was imported from, and whom it met there: `improv export-card`
    writes it back. No model sees it, and no run stores it."""

    @model_validator(mode="after")
    def _card_is_read(self) -> Self:
        if self.card_file:
            raise ValueError("only the file of a scene or study can name a 'card_file'")
        return self


class Opening(Strict):
    """A written line or a stage direction with which the scene begins."""

    who: str | None = None
    """The character that says the line."""
    line: str | None = Field(default=None, max_length=2000)
    """What is said."""
    aside_to: str | None = None
    """The only other character that hears the line. By default everybody hears it."""
    direction: str | None = Field(default=None, max_length=2000)
    """A stage direction, instead of a spoken line."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.who is not None and self.line is None and self.direction is None:
            what = "'line' is empty; a line that begins with # stands in quotation marks"
            raise ValueError(what)
        spoken = self.who is not None and self.line is not None
        if spoken == (self.direction is not None):
            raise ValueError("give either 'who' and 'line', or 'direction'")
        if self.direction is not None and (self.who or self.line or self.aside_to):
            raise ValueError("a direction has no speaker")
        return self


class EventSpec(Strict):
    """Something that happens before an improvised turn in every trial (turns count from 1)."""

    LATER: ClassVar[frozenset[str]] = frozenset({"audience", "wake"})

    turn: int = Field(ge=1)
    """The improvised turn before which it happens."""
    wake: bool = False
    """Whether a new session begins. The cast then forgets the scene so far and remembers what the
    scene's `memory` says. This comes before anything else of the event."""
    direction: str = Field(default="", max_length=2000)
    """A stage direction, which everybody on the stage sees."""
    audience: str = Field(default="", max_length=500)
    """What somebody in the audience calls out. Everybody on the stage hears it."""
    enter: list[str] = []
    """Characters that come on the stage."""
    exit: list[str] = []
    """Characters that leave the stage."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.direction or self.audience or self.enter or self.exit or self.wake):
            raise ValueError(
                "an event needs a 'direction', an 'audience', an 'enter', an 'exit' or a 'wake'"
            )
        return self


class Beat(Strict):
    """A step of the story that is known before it is played."""

    turn: int = Field(ge=1)
    """The improvised turn before which it happens."""
    text: str = Field(min_length=1, max_length=500)
    """What happens, in a sentence."""


class Envelope(Strict):
    """A question that a character answers once, before the first turn; the answer is kept."""

    of: str
    """The character that answers."""
    ask: str = Field(min_length=1, max_length=1000)
    """The question. Neither it nor the answer is part of the scene."""
    kept: Literal["none", "own", "outside", "author"] = "own"
    """Who sees the answer later. "own": the character, in its prompt. "outside": no model.
    "author": the live author, in its prompt. "none": the question is not asked."""
    options: list[str] = []
    """The answers that are allowed; by default any. An answer that contains an option counts as
    that option."""


class Scene(WholeFile):
    """A premise, a world, a cast, and how it is played."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"phrasing", "rules", "structure", "beats", "memory", "envelope"}
    )
    MENUS: ClassVar[frozenset[str]] = frozenset({"about", "phrasings"})

    title: str = Field(min_length=1, max_length=120)
    """What the scene is called."""
    form: str = Field(default="a scene", max_length=120)
    """What the title page calls it: "a storm play in one act"."""
    about: str = Field(default="", max_length=500)
    """A description for people who choose a scene. No model sees it."""
    premise: Text
    """How things stand when the scene begins. Everybody sees it."""
    phrasings: list[Text] = Field(default=[], max_length=200)
    """Other wordings of the premise, for studies that ask whether the wording matters."""
    phrasing: int | None = Field(default=None, ge=0, strict=True)
    """The number of the entry of `phrasings` (the first is 0) that replaces the premise when improv
    reads the scene. improv then sets this field to null."""
    place: str = Field(default="", max_length=300)
    """Where it plays. Everybody sees it."""
    time: str = Field(default="", max_length=300)
    """When it plays. Everybody sees it."""
    world: list[str] = []
    """The rules of the world, one a line. Everybody sees them."""
    rules: dict[str, Rule] = {}
    """Name → a rule that can be verified on a line, and may be enforced."""
    structure: Literal["free", "beats", "outline"] = "free"
    """What the cast knows of the story. "free": nothing. "beats": each beat from its turn on.
    "outline": all beats from the start."""
    beats: list[Beat] = Field(default=[], max_length=100)
    """The steps of the story, for the structures "beats" and "outline"."""
    cast: list[CharacterSpec] = Field(min_length=1, max_length=MAX_CAST)
    """The characters."""
    opening: list[Opening] = []
    """Written first lines. They matter more to a small model than any instruction."""
    turns: int = Field(default=12, ge=1, le=2000)
    """The most turns that are improvised."""
    order: Order = "round-robin"
    """Who speaks next, unless the author cues somebody. "round-robin": in the order of the cast.
    "shuffled": everybody once a round, in a random order. "addressed": the character that the last
    line spoke to. "author-cued": the character that was silent longest. "by-silence": drawn by
    chance, with a larger chance for a longer silence."""
    events: list[EventSpec] = []
    """What happens at fixed turns, in every trial."""
    memory: MemorySpec = "all"
    """What a character remembers when an event begins a new session. "all": the whole scene, so
    nobody forgets. "nothing". "diary": the diary that it has written. "bible": what the author has
    written down. "another's diary": the diary of the next character of the cast."""
    envelope: Envelope | None = None
    """A question that a character answers before the first turn, so that it commits to
    something."""
    author: AuthorSpec = AuthorSpec()
    """The author: a text in the prompts, an agent that acts while the scene plays, or both."""
    model: AnyModel = Model()
    """The model that plays everybody who has no model of their own. Its name alone is enough."""

    @model_validator(mode="before")
    @classmethod
    def _lay_phrasing(cls, data: Any) -> Any:
        """Replace the premise by the phrasing that `phrasing` chooses."""
        chosen = data.get("phrasing") if isinstance(data, dict) else None
        if not isinstance(chosen, int) or isinstance(chosen, bool) or chosen < 0:
            return data
        menu = data.get("phrasings")
        if not isinstance(menu, list) or chosen >= len(menu):
            count = len(menu) if isinstance(menu, list) else 0
            what = f"there is no phrasing {chosen}: there are {count}, and the first is 0"
            raise SceneProblems([(("phrasing",), what)])
        return data | {"premise": menu[chosen], "phrasing": None}

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        """Check all names together, so that each error has the path of the place that uses one."""
        problems = list(name_problems(self))
        if problems:
            raise SceneProblems(problems)
        return self

    def character(self, name: str) -> CharacterSpec:
        """Return the character of that name. Raises RunError if the cast has none, as where a table
        of a run does not belong to its study."""
        for character in self.cast:
            if character.name == name:
                return character
        cast = ", ".join(c.name for c in self.cast)
        raise RunError(f"{self.title}: nobody is called {name[:80]!r}; the cast is {cast}")

    def model_of(self, role: str) -> Model:
        """Return the model that plays `role`: a character's name, or "author"."""
        if role == "author":
            return self.author.model or self.model
        return self.character(role).model or self.model


_Problems = list[tuple[tuple[str | int, ...], str]]
"""Messages, each with the path of its field."""


def name_problems(scene: Scene) -> _Problems:
    """Find names that are used twice, reserved, or in nobody's use, and settings that do not
    fit."""
    return [*_clashes(scene), *_strangers(scene), *_misfits(scene)]


def _clashes(scene: Scene) -> _Problems:
    """Find names that are used twice, or are words of the stage."""
    problems: _Problems = []
    seen: dict[str, str] = {}
    for i, c in enumerate(scene.cast):
        for path, name in [(("cast", i, "name"), c.name)] + [
            (("cast", i, "aliases", k), a) for k, a in enumerate(c.aliases)
        ]:
            folded = re.sub(r"\W+", "", name).casefold()
            if folded in RESERVED:
                problems.append((path, f"'{name}' is a word of the stage; choose another name"))
            elif folded in seen:
                problems.append(
                    (path, f"'{name}' is also a name of {seen[folded]}; names must differ")
                )
            else:
                seen[folded] = c.name
    return problems


def _strangers(scene: Scene) -> _Problems:
    """Find names that no character of the cast has."""
    used: list[tuple[tuple[str | int, ...], str | None]] = []
    for i, o in enumerate(scene.opening):
        used += [(("opening", i, "who"), o.who), (("opening", i, "aside_to"), o.aside_to)]
    for i, e in enumerate(scene.events):
        for field, members in (("enter", e.enter), ("exit", e.exit)):
            used += [(("events", i, field, k), name) for k, name in enumerate(members)]
    for i, sample in enumerate(scene.author.samples):
        used.append((("author", "samples", i, "to"), sample.to))
    for key, rule in scene.rules.items():
        used.append((("rules", key, "of"), None if rule.of == EVERYBODY else rule.of))
    if scene.author.planned is not None:
        breaker = scene.author.planned.on_break_of
        used.append((("author", "planned", "on_break_of"), breaker or None))
    if scene.envelope is not None:
        used.append((("envelope", "of"), scene.envelope.of))
    names = {c.name for c in scene.cast}
    problems: _Problems = []
    for path, name in used:
        if name is not None and name not in names:
            hint = did_you_mean(name, names) or f"; the cast is {', '.join(sorted(names))}"
            problems.append((path, f"nobody is called '{name}'{hint}"))
    return problems


def _misfits(scene: Scene) -> _Problems:
    """Find settings that need something that the scene does not have."""
    problems: _Problems = []
    plan, envelope = scene.author.planned, scene.envelope
    for i, c in enumerate(scene.cast):
        if plan is not None and plan.on_break_of == c.name and breakable(c) is None:
            what = f"{c.name} has neither a trait with a sign nor a habit that could break"
            problems.append((("cast", i), what))
    if envelope is not None and envelope.kept == "author" and not scene.author.live:
        what = "the scene has no live author to see the answer; set author.live to true"
        problems.append((("envelope", "kept"), what))
    if scene.structure != "free" and not scene.beats:
        problems.append((("structure",), f"'{scene.structure}' needs 'beats'"))
    wakes = [e.turn for e in scene.events if e.wake]
    for i, e in enumerate(scene.events):
        if e.wake and wakes.count(e.turn) > 1:
            problems.append((("events", i, "wake"), "a turn can begin one session only"))
    if all(c.offstage for c in scene.cast):
        problems.append((("cast",), "everybody is offstage; somebody must begin"))
    return problems


def breakable(character: CharacterSpec) -> Predicate | None:
    """Return the predicate that shows whether a character breaks: the sign of its first trait with
    a sign, else its habit, else None."""
    return next((t.sign for t in character.traits if t.sign is not None), character.habit)
