"""What a scene is: its world, its cast, its author, the model that plays it. Plain frozen data.

Every class here forbids unknown fields, and every field has the sentence that `improv schema`
shows in an editor. loader reads the files; model_spec defines who plays, and author_spec what an
author is.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from improv.study.author_spec import AuthorSpec
from improv.study.base import Name, Probability, SceneProblems, Strict, Text, closest
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
    """The predicate that verifies it."""
    value: int | list[str] | None = None
    """A number of words, or a list of phrases, for the markers that need one."""

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
    """What shows on a line whether a character is at a trait's pole. No model is told of it."""


class Habit(Predicate):
    """A verbal habit that a program can verify on a line."""

    says: str = Field(min_length=1, max_length=200)
    """The habit in words, as the character is told it."""


class Rule(Predicate):
    """Outside-text: a rule that a program can verify on a line, and how the stage enforces it."""

    says: str = Field(min_length=1, max_length=300)
    """The rule in words."""
    of: str = EVERYBODY
    """Whom it binds: a character's name, or everybody."""
    shown: bool = True
    """Whether it stands among the rules of the world, which everybody sees."""
    enforced: Literal["no", "reminder", "filter", "sham"] = "no"
    """"reminder": the author repeats it as a note before every `every` turns. "filter": a line
    that breaks it is drawn again, and withheld after `redraws` of them. "sham": lines are drawn
    again by chance, whatever they say."""
    every: int = Field(default=3, ge=1)
    """Turns from one reminder to the next; the first comes before turn 1."""
    redraws: int = Field(default=8, ge=1, le=50)
    """How often one line is drawn again, at most."""
    sham_rate: Probability = 0.2
    """P(a sham filter has a line drawn again)."""


class Trait(Strict):
    """A trait that has an opposite, so that a character can flip."""

    LATER: ClassVar[frozenset[str]] = frozenset({"sign"})

    pole: str = Field(min_length=1, max_length=60)
    """What the character is, in a word or two: "honest"."""
    opposite: str = Field(min_length=1, max_length=60)
    """What the character would be if it flipped: "deceitful"."""
    kind: Literal["moral", "neutral"]
    """Whether the pair is about good and evil."""
    sign: Sign | None = None
    """A predicate that a line at the pole satisfies, and one at the opposite does not."""


def _or_a_card(schema: dict[str, Any]) -> None:
    """A file may leave to a card what it does not say itself."""
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["card_file"]}]


class CharacterSpec(Strict):
    """Somebody who plays."""

    MENUS: ClassVar[frozenset[str]] = frozenset({"card_file", "original"})

    model_config = ConfigDict(json_schema_extra=_or_a_card)

    name: Name
    """How the others call it. No two names of a scene may be alike."""
    role: str = Field(min_length=1, max_length=200)
    """One line of the cast list, which everybody sees: "keeper of the light, 61"."""
    card: Text = ""
    """What only this character is told of itself."""
    goal: str = Field(default="", max_length=500)
    """What it wants in this scene. It is told, and so is an author that knows the cards."""
    secret: str = Field(default="", max_length=1000)
    """What nobody else knows. The author knows it only where its settings grant secrets."""
    traits: list[Trait] = []
    """What it is, each with what it would be if it flipped."""
    habit: Habit | None = None
    """A verbal habit that shows on every line."""
    samples: list[str] = []
    """Lines in this character's voice."""
    aliases: list[Name] = []
    """Other names it is called by, for finding out who is addressed."""
    offstage: bool = False
    """Not there when the scene begins; an event may let it enter."""
    model: AnyModel | None = None
    """A model of its own, where it should not play with the scene's."""
    card_file: str = ""
    """A character card of another program (JSON, PNG or CHARX), relative to this file. It says
    whatever does not stand here. It is read when the scene is; afterwards this is empty again."""
    original: dict[str, Any] = {}
    """The card that the character was imported from, and whom it met there: `improv export-card`
    writes it back. No model sees it, and no run carries it."""

    @model_validator(mode="after")
    def _card_is_read(self) -> Self:
        if self.card_file:
            raise ValueError("a 'card_file' is read where the file of a scene or study names it")
        return self


class Opening(Strict):
    """A written line that the scene begins with, or a stage direction."""

    who: str | None = None
    """The character that says it."""
    line: str | None = Field(default=None, max_length=2000)
    """What is said."""
    aside_to: str | None = None
    """The only other character that hears it."""
    direction: str | None = Field(default=None, max_length=2000)
    """A stage direction, instead of a spoken line."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        spoken = self.who is not None and self.line is not None
        if spoken == (self.direction is not None):
            raise ValueError("give either 'who' and 'line', or 'direction'")
        if self.direction is not None and (self.who or self.line or self.aside_to):
            raise ValueError("a direction has no speaker")
        return self


class EventSpec(Strict):
    """Something that happens before an improvised turn, whoever is playing (turns count from 1)."""

    LATER: ClassVar[frozenset[str]] = frozenset({"audience", "wake"})

    turn: int = Field(ge=1)
    """The improvised turn that it comes before."""
    wake: bool = False
    """Whether a new session begins: the cast forgets the scene so far, and remembers what the
    scene's `memory` says, before anything else of the event happens."""
    direction: str = Field(default="", max_length=2000)
    """A stage direction, which everybody on the stage sees."""
    audience: str = Field(default="", max_length=500)
    """What somebody in the audience calls out, for all on the stage to hear."""
    enter: list[str] = []
    """Characters that come on."""
    exit: list[str] = []
    """Characters that go off."""

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
    """The improvised turn that it comes before."""
    text: str = Field(min_length=1, max_length=500)
    """What happens, in a sentence."""


class Envelope(Strict):
    """Something that a character is asked once, before the first turn, and that is kept."""

    of: str
    """Whose answer it is."""
    ask: str = Field(min_length=1, max_length=1000)
    """What is asked, off the record."""
    kept: Literal["none", "own", "outside", "author"] = "own"
    """Where the answer stands: in the character's own prompt, nowhere that a model sees, or in
    the live author's. "none": nothing is asked."""
    options: list[str] = []
    """What may be answered, where not anything may. An answer that holds one of them is that."""


class Scene(Strict):
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
    """For people who choose a scene; no model sees it."""
    premise: Text
    """How things stand when the scene begins. Everybody sees it."""
    phrasings: list[Text] = Field(default=[], max_length=200)
    """Other wordings of the premise, for studies that ask whether the wording matters."""
    phrasing: int | None = Field(default=None, ge=0)
    """Which of `phrasings` (the first is 0) takes the premise's place when the scene is read.
    Afterwards this is null again."""
    place: str = Field(default="", max_length=300)
    """Where it plays. Everybody sees it."""
    time: str = Field(default="", max_length=300)
    """When it plays. Everybody sees it."""
    world: list[str] = []
    """The rules of the world, one a line. Everybody sees them."""
    rules: dict[str, Rule] = {}
    """Name → a rule that can be verified on a line, and may be enforced."""
    structure: Literal["free", "beats", "outline"] = "free"
    """What is known of the story: nothing, each beat when its turn has come, or all of them from
    the start."""
    beats: list[Beat] = Field(default=[], max_length=100)
    """The steps of the story, where its structure has any."""
    cast: list[CharacterSpec] = Field(min_length=1, max_length=MAX_CAST)
    """Who plays."""
    opening: list[Opening] = []
    """Written first lines. They matter more to a small model than any instruction."""
    turns: int = Field(default=12, ge=1, le=2000)
    """How many turns are improvised, at most."""
    order: Order = "round-robin"
    """Who speaks next, unless the author cues somebody: "round-robin" in the order of the cast,
    "shuffled" everybody once a round, "addressed" whoever the last line spoke to, "author-cued"
    the longest silent, "by-silence" drawn by chance, likelier the longer silent."""
    events: list[EventSpec] = []
    """What happens at fixed turns, whoever is playing."""
    memory: MemorySpec = "all"
    """What the cast remembers when an event wakes it to a new session: all of it (then nobody
    forgets), nothing, the diary each has written, what the author has written down, or the diary
    of the next in the cast."""
    envelope: Envelope | None = None
    """What a character commits to before the first turn."""
    author: AuthorSpec = AuthorSpec()
    """Author-level context: a text, an agent that acts while the scene plays, or both."""
    model: AnyModel = Model()
    """The model that plays everybody who has none of its own. A name alone is enough."""

    @model_validator(mode="before")
    @classmethod
    def _lay_phrasing(cls, data: Any) -> Any:
        """Put the phrasing that is asked for in the premise's place."""
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
        """Names are checked where they are used, so that the error can name the place."""
        problems = list(name_problems(self))
        if problems:
            raise SceneProblems(problems)
        return self

    def character(self, name: str) -> CharacterSpec:
        return next(c for c in self.cast if c.name == name)

    def model_of(self, role: str) -> Model:
        """Return the model that plays `role`: a character's name, or "author"."""
        if role == "author":
            return self.author.model or self.model
        return self.character(role).model or self.model


_Problems = list[tuple[tuple[str | int, ...], str]]
"""What is wrong, each with the path of the place."""


def name_problems(scene: Scene) -> _Problems:
    """Find names used twice, reserved, or used for nobody, and what else does not fit together."""
    return [*_clashes(scene), *_strangers(scene), *_misfits(scene)]


def _clashes(scene: Scene) -> _Problems:
    """Find names that are used twice, or are words of the stage."""
    found: _Problems = []
    seen: dict[str, str] = {}
    for i, c in enumerate(scene.cast):
        for path, name in [(("cast", i, "name"), c.name)] + [
            (("cast", i, "aliases", k), a) for k, a in enumerate(c.aliases)
        ]:
            folded = re.sub(r"\W+", "", name).casefold()
            if folded in RESERVED:
                found.append((path, f"'{name}' is a word of the stage; choose another name"))
            elif folded in seen:
                found.append(
                    (path, f"'{name}' is also a name of {seen[folded]}; names must differ")
                )
            else:
                seen[folded] = c.name
    return found


def _strangers(scene: Scene) -> _Problems:
    """Find names that are used for nobody in the cast."""
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
        of = scene.author.planned.on_break_of
        used.append((("author", "planned", "on_break_of"), of or None))
    if scene.envelope is not None:
        used.append((("envelope", "of"), scene.envelope.of))
    names = {c.name for c in scene.cast}
    found: _Problems = []
    for path, name in used:
        if name is not None and name not in names:
            close = closest(name, names)
            hint = (
                f" (did you mean '{close}'?)"
                if close
                else f"; the cast is {', '.join(sorted(names))}"
            )
            found.append((path, f"nobody is called '{name}'{hint}"))
    return found


def _misfits(scene: Scene) -> _Problems:
    """Find settings that ask for what the scene does not have."""
    found: _Problems = []
    plan, envelope = scene.author.planned, scene.envelope
    for i, c in enumerate(scene.cast):
        if plan is not None and plan.on_break_of == c.name and breakable(c) is None:
            what = f"{c.name} has neither a trait with a sign nor a habit that could break"
            found.append((("cast", i), what))
    if envelope is not None and envelope.kept == "author" and not scene.author.live:
        found.append((("envelope", "kept"), "there is no live author who could keep it"))
    if scene.structure != "free" and not scene.beats:
        found.append((("structure",), f"'{scene.structure}' needs 'beats'"))
    wakes = [e.turn for e in scene.events if e.wake]
    for i, e in enumerate(scene.events):
        if e.wake and wakes.count(e.turn) > 1:
            found.append((("events", i, "wake"), "a turn can begin one session only"))
    if all(c.offstage for c in scene.cast):
        found.append((("cast",), "everybody is offstage; somebody must begin"))
    return found


def breakable(character: CharacterSpec) -> Predicate | None:
    """Return what shows that a character breaks: the sign of its first trait that has one, else
    its habit."""
    return next((t.sign for t in character.traits if t.sign is not None), character.habit)
