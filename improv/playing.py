"""Who plays: a language model that is reached by URL, or a puppet with a declared process.

Plain frozen data. What a puppet makes of its process is in puppet; how a model is asked, in model.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from improv.strict import Chance, Strict


class Judging(Strict):
    """How well a puppet judges: the truth is whether a line holds a sentence of `opposite`."""

    sensitivity: Chance = 1.0
    """P(it says so | the line breaks its character)."""
    specificity: Chance = 1.0
    """P(it says no such thing | the line keeps it)."""
    unreadable: Chance = 0.0
    """P(a reply that cannot be read)."""


class Choice(Strict):
    """How a puppet names one of several things: an object that is guessed at, the next act, what
    it says happened. A line that names one says nothing else."""

    options: list[str] = Field(min_length=1, max_length=1000)
    """What may be named."""
    says: str = Field(default="It is {}.", pattern=r"\{\}", max_length=500)
    """The line that names it; {} is where the option stands."""
    when: str = ""
    """Text of the prompt's last part that has it name one: a question, a direction. Nothing
    ("") has it name one only where `always` says so."""
    always: bool = False
    """Whether every line names one."""
    concentration: float | None = Field(default=1.0, gt=0)
    """Of the symmetric Dirichlet distribution that a trial's own distribution over the options
    is drawn from; null for options that are all equally likely in every trial."""
    committed: str = ""
    """Text before an option that is found in the prompt, such as "sealed:", and commits it to
    that option. The last one counts."""
    alias: Chance = 0.0
    """P(a committed reveal names another option)."""
    forget: Chance = 0.0
    """P(a committed reveal is made as if nothing committed it)."""
    held: bool = False
    """Whether it holds to one option for the whole trial, whatever is drawn again: what it
    believes, or the lie that it has chosen."""
    reason: str = ""
    """Text without which in its prompt there is no reason to lie: it then says `truth`."""
    candid: str = ""
    """Text of the prompt's last part that has it say `truth`: an aside to the author, say."""
    truth: str = ""
    """What it names where it does not lie."""

    @model_validator(mode="after")
    def _truth_given(self) -> Self:
        if (self.reason or self.candid) and not self.truth:
            raise ValueError("'reason' and 'candid' need a 'truth' to be told")
        return self


class Leak(Strict):
    """How a puppet gives a secret away: a sentence that it adds to a line."""

    says: str = Field(min_length=1, max_length=500)
    """The sentence that gives it away."""
    chance: Chance = 0.1
    """P(a line gives it away), before effects."""
    effects: dict[str, float] = {}
    """Text that, found in the prompt, adds this much to the logit of the chance."""
    when: str = ""
    """Text of the prompt's last part without which nothing is given away: a question about it."""
    of: str = ""
    """Text of its card that only the keeper of the secret has; without it nothing is known."""


class Fact(Strict):
    """Something stated in a scene, which a puppet remembers only if it finds it in its prompt."""

    says: str = Field(min_length=1, max_length=500)
    """The sentence that states it, as it is found, and as a diary repeats it."""
    question: str = ""
    """Text of a probe that asks for it."""
    answer: str = ""
    """What it answers where it knows; the sentence itself where this is not given."""
    options: list[str] = []
    """What it guesses among, each equally likely, where it does not know."""


def _fact(value: Any) -> Any:
    return {"says": value} if isinstance(value, str) else value


class Puppet(Strict):
    """A fake model's declared process: a two-state chain over a character's own lines.

    Each own line breaks from pole to opposite with probability `alpha` and recovers with `beta`;
    `drift`, `effects` and `spread` move the logit of alpha.
    """

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"judge", "recovers", "choice", "leak", "facts", "forgets"}
    )

    alpha: Chance = 0.1
    """P(pole → opposite) at a character's first line, before effects."""
    beta: Chance = 0.3
    """P(opposite → pole)."""
    drift: float = 0.0
    """Added to logit(alpha) for each line the character has already spoken."""
    effects: dict[str, float] = {}
    """Text that, found in the prompt, adds this much to logit(alpha)."""
    recovers: dict[str, float] = {}
    """Text that, found in the prompt, adds this much to logit(beta): a move's, say."""
    spread: float = Field(default=0.0, ge=0)
    """Standard deviation over trials of a character's own addition to logit(alpha)."""
    pole: list[str] = []
    """Sentences said in the pole state; plain ones are used where none are given."""
    opposite: list[str] = []
    """Sentences said in the opposite state."""
    choice: Choice | None = None
    """What it names where it is asked to, in place of such a sentence."""
    leak: Leak | None = None
    """The secret that it gives away."""
    facts: list[Annotated[Fact, BeforeValidator(_fact)]] = []
    """What it can remember from session to session."""
    forgets: Chance = 0.0
    """P(a fact that it finds in its prompt is left out of a diary or a bible)."""
    judge: Judging | None = None
    """How it judges lines where it is asked to; by chance alone where this is not given."""
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
