"""What a scene is: its world, its cast, its author, the model that plays it. Plain frozen data.

Every class here forbids unknown fields, and every field has the sentence that `improv schema`
shows in an editor. Reading files is next door, in study.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Order = Literal["round-robin", "shuffled", "addressed", "author-cued", "by-silence"]
Marker = Literal[
    "never_asks", "always_asks", "one_sentence", "at_most_words", "at_least_words",
    "says_any", "never_says", "starts_with", "ends_with",
]  # fmt: skip
Power = Literal["note", "cue", "move", "end"]
Knowledge = Literal["transcript", "asides", "cards", "secrets"]
RESERVED = frozenset({"author", "everybody", "nobody", "direction"})


class Strict(BaseModel):
    """Frozen, and closed to fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Text = Annotated[str, Field(max_length=20_000)]
Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\W\d_](?:[\w .'’-]*[\w.])?$")]
Chance = Annotated[float, Field(ge=0, le=1)]


class Puppet(Strict):
    """A fake model's declared process: a two-state chain over a character's own lines.

    Each own line breaks from pole to opposite with probability `alpha` and recovers with `beta`;
    `drift`, `effects` and `spread` move the logit of alpha.
    """

    alpha: Chance = 0.1
    """P(pole → opposite) at a character's first line, before effects."""
    beta: Chance = 0.3
    """P(opposite → pole)."""
    drift: float = 0.0
    """Added to logit(alpha) for each line the character has already spoken."""
    effects: dict[str, float] = {}
    """Text that, found in the prompt, adds this much to logit(alpha)."""
    spread: float = Field(default=0.0, ge=0)
    """Standard deviation over trials of a character's own addition to logit(alpha)."""
    pole: list[str] = []
    """Sentences said in the pole state; plain ones are used where none are given."""
    opposite: list[str] = []
    """Sentences said in the opposite state."""
    latency: float = Field(default=0.0, ge=0, le=600)
    """Seconds before each reply."""
    mute: Chance = 0.0
    """P(an empty reply)."""
    garble: Chance = 0.0
    """P(a reply of the kind small models write: cues, markup, other characters' lines)."""
    errors: dict[str, Chance] = {}
    """HTTP status (or "hang", "drop", "html", "broken") → probability; the server only."""


class Price(Strict):
    """Dollars per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    """For prompt tokens the endpoint had cached; the prompt price where it is not given."""


class Model(Strict):
    """A language model, reached by URL: which one, where, and how it is sampled."""

    model: str = Field(default="embedded", min_length=1, max_length=200)
    """"embedded" (SmolLM2-135M, in this machine), "puppet", the path of a GGUF, or a name that
    the endpoint knows."""
    base_url: str | None = Field(default=None, pattern=r"^https?://[^\s/@]+(/[^\s]*)?$")
    """An OpenAI-compatible address; OPENAI_BASE_URL or OpenAI itself where it is not given."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the key. The key itself is never written anywhere."""
    mode: Literal["chat", "script"] | None = None
    """"chat" for instructed models, "script" for base models and small ones, whose scene is then
    a document. Embedded models and GGUF files play in script mode unless told otherwise."""
    temperature: float | None = Field(default=None, ge=0, le=5)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int = Field(default=80, ge=1, le=4000)
    """At most this many tokens a line."""
    seeded: bool = True
    """Send each draw's seed along; some endpoints refuse the field."""
    timeout: float = Field(default=120.0, gt=0, le=3600)
    """Seconds until an attempt counts as lost."""
    retries: int = Field(default=6, ge=0, le=100)
    """How often a call is tried again that was refused, failed or lost."""
    extra: dict[str, Any] = {}
    """Further fields of the request body, such as min_p or dry_multiplier."""
    price: Price | None = None
    puppet: Puppet | None = None
    """The puppet's process, where `model` is "puppet" or a puppet's server."""

    @property
    def embedded(self) -> bool:
        """Whether this machine serves the model itself."""
        return self.base_url is None and (self.model == "embedded" or self.model.endswith(".gguf"))

    @property
    def in_process(self) -> bool:
        """Whether the model is a puppet that plays without a server."""
        return self.base_url is None and self.model == "puppet"

    @property
    def plays_in(self) -> Literal["chat", "script"]:
        return self.mode or ("script" if self.embedded else "chat")


def _model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


AnyModel = Annotated[Model, BeforeValidator(_model)]


class Trait(Strict):
    """A trait that has an opposite, so that a character can flip."""

    pole: str = Field(min_length=1, max_length=60)
    """What the character is, in a word or two: "honest"."""
    opposite: str = Field(min_length=1, max_length=60)
    """What the character would be if it flipped: "deceitful"."""
    kind: Literal["moral", "neutral"]
    """Whether the pair is about good and evil."""


class Habit(Strict):
    """A verbal habit that a program can verify on a line."""

    says: str = Field(min_length=1, max_length=200)
    """The habit in words, as the character is told it."""
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


class Character(Strict):
    """Somebody who plays."""

    name: Name
    role: str = Field(min_length=1, max_length=200)
    """One line of the cast list, which everybody sees: "keeper of the light, 61"."""
    card: Text = ""
    """What only this character is told of itself."""
    goal: str = Field(default="", max_length=500)
    secret: str = Field(default="", max_length=1000)
    """What nobody else knows. The author knows it only where its settings grant secrets."""
    traits: list[Trait] = []
    habit: Habit | None = None
    samples: list[str] = []
    """Lines in this character's voice."""
    aliases: list[Name] = []
    """Other names it is called by, for finding out who is addressed."""
    offstage: bool = False
    """Not there when the scene begins; an event may let it enter."""
    model: AnyModel | None = None
    """A model of its own, where it should not play with the scene's."""


class Opening(Strict):
    """A written line that the scene begins with, or a stage direction."""

    who: str | None = None
    line: str | None = Field(default=None, max_length=2000)
    aside_to: str | None = None
    """The only other character that hears it."""
    direction: str | None = Field(default=None, max_length=2000)

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        spoken = self.who is not None and self.line is not None
        if spoken == (self.direction is not None):
            raise ValueError("give either 'who' and 'line', or 'direction'")
        if self.direction is not None and (self.who or self.line or self.aside_to):
            raise ValueError("a direction has no speaker")
        return self


class Event(Strict):
    """Something that happens before an improvised turn, whoever is playing (turns count from 1)."""

    turn: int = Field(ge=1)
    direction: str = Field(default="", max_length=2000)
    enter: list[str] = []
    exit: list[str] = []

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.direction or self.enter or self.exit):
            raise ValueError("an event needs a 'direction', an 'enter' or an 'exit'")
        return self


class NoteSample(Strict):
    """A note as the author would write it."""

    to: str
    note: str = Field(min_length=1, max_length=240)


class Author(Strict):
    """The agent that holds what an author knows: as text in the frame, as a live agent, or both."""

    name: str = Field(default="", max_length=80)
    """Who is writing, as the title page says it."""
    called: str = Field(default="the author", min_length=1, max_length=40)
    """What it is to the cast: "the author", "the director"."""
    frame: Text = ""
    """Author-level context that every character's prompt begins with."""
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
    samples: list[NoteSample] = []
    """Notes in this author's manner; a small model imitates them where it obeys nothing."""
    every: int = Field(default=2, ge=1)
    """The live author acts before every so many turns."""
    when: Literal["before", "during"] = "before"
    """"during" lets the author think while a line is spoken; what it does then reaches the turn
    after, which saves its latency."""
    model: AnyModel | None = None
    """A model of its own, where it should not be the scene's."""

    @model_validator(mode="after")
    def _moves_exist(self) -> Self:
        if "move" in self.may and not self.moves:
            raise ValueError("may make a move, but 'moves' names none")
        return self


class Scene(Strict):
    """A premise, a world, a cast, and how it is played."""

    title: str = Field(min_length=1, max_length=120)
    form: str = Field(default="a scene", max_length=120)
    """What the title page calls it: "a storm play in one act"."""
    about: str = Field(default="", max_length=500)
    """For people who choose a scene; no model sees it."""
    premise: Text
    """How things stand when the scene begins. Everybody sees it."""
    place: str = Field(default="", max_length=300)
    time: str = Field(default="", max_length=300)
    world: list[str] = []
    """The rules of the world, one a line. Everybody sees them."""
    cast: list[Character] = Field(min_length=1, max_length=12)
    opening: list[Opening] = []
    """Written first lines. They matter more to a small model than any instruction."""
    turns: int = Field(default=12, ge=1, le=2000)
    """How many turns are improvised, at most."""
    order: Order = "round-robin"
    events: list[Event] = []
    author: Author = Author()
    model: AnyModel = Model()

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        """Names are checked where they are used, so that the error can name the place."""
        problems = list(name_problems(self))
        if problems:
            raise SceneProblems(problems)
        return self

    def character(self, name: str) -> Character:
        return next(c for c in self.cast if c.name == name)

    def model_of(self, role: str) -> Model:
        """Return the model that plays `role`: a character's name, or "author"."""
        if role == "author":
            return self.author.model or self.model
        return self.character(role).model or self.model


class SceneProblems(ValueError):
    """Names in a scene that do not agree, each with the path of the one at fault."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(what for _, what in problems))


def name_problems(scene: Scene) -> list[tuple[tuple[str | int, ...], str]]:
    """Find names used twice, reserved, or used for nobody."""
    found: list[tuple[tuple[str | int, ...], str]] = []
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
    names = {c.name for c in scene.cast}

    def known(path: tuple[str | int, ...], name: str) -> None:
        if name not in names:
            close = _closest(name, names)
            hint = (
                f" (did you mean '{close}'?)"
                if close
                else f"; the cast is {', '.join(sorted(names))}"
            )
            found.append((path, f"nobody is called '{name}'{hint}"))

    for i, o in enumerate(scene.opening):
        if o.who is not None:
            known(("opening", i, "who"), o.who)
        if o.aside_to is not None:
            known(("opening", i, "aside_to"), o.aside_to)
    for i, e in enumerate(scene.events):
        for field, members in (("enter", e.enter), ("exit", e.exit)):
            for k, name in enumerate(members):
                known(("events", i, field, k), name)
    for i, sample in enumerate(scene.author.samples):
        known(("author", "samples", i, "to"), sample.to)
    if all(c.offstage for c in scene.cast):
        found.append((("cast",), "everybody is offstage; somebody must begin"))
    return found


def _closest(name: str, names: set[str]) -> str | None:
    folded = {n.casefold(): n for n in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None
