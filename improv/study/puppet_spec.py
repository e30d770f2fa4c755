"""A puppet as people write it: a fake model, and the declared process by which it plays and judges.

Plain frozen data. improv.models.puppet plays it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from improv.study.base import Probability, Strict


class Judging(Strict):
    """How well a puppet judges: the truth is whether a line holds a sentence of `opposite`."""

    sensitivity: Probability = 1.0
    """P(the puppet finds a break | the line breaks its character)."""
    specificity: Probability = 1.0
    """P(the puppet finds no break | the line does not break its character)."""
    unreadable: Probability = 0.0
    """P(the reply cannot be read as a verdict)."""


class Choice(Strict):
    """How a puppet names one of several options: an object to be guessed, the next act, what
    happened. A line that names an option says nothing else."""

    options: list[str] = Field(min_length=1, max_length=1000)
    """The options that the puppet may name."""
    says: str = Field(default="It is {}.", pattern=r"\{\}", max_length=500)
    """The line that names an option; the option replaces {}."""
    when: str = ""
    """The puppet names an option if this text is in the last part of its prompt: a question, a
    direction. With "" it names one only if `always` is true."""
    always: bool = False
    """Whether every line names an option."""
    concentration: float | None = Field(default=1.0, gt=0)
    """Concentration of the symmetric Dirichlet distribution from which each trial draws its own
    distribution over the options. null: all options are equally likely in every trial."""
    committed: str = ""
    """Text such as "sealed:". If it is in the prompt before an option, the puppet is committed to
    that option; the last such option counts."""
    alias: Probability = 0.0
    """P(the line names another option than the one that the puppet is committed to)."""
    forget: Probability = 0.0
    """P(the line names an option as if the puppet was committed to none)."""
    held: bool = False
    """Whether the puppet keeps to one option for the whole trial, also in turns that are drawn
    again: what it believes, or the lie that it has chosen."""
    reason: str = ""
    """The reason to lie: if this text is not in its prompt, the puppet names `truth`."""
    candid: str = ""
    """The puppet names `truth` if this text is in the last part of its prompt: for example an
    aside to the author."""
    truth: str = ""
    """The option that the puppet names if it does not lie."""

    @model_validator(mode="after")
    def _truth_given(self) -> Self:
        if (self.reason or self.candid) and not self.truth:
            raise ValueError(
                "'reason' and 'candid' need a 'truth': what the puppet names if it does not lie"
            )
        return self


class LeakSpec(Strict):
    """How a puppet gives a secret away: a sentence that it adds to a line."""

    says: str = Field(min_length=1, max_length=500)
    """The sentence that gives the secret away."""
    chance: Probability = 0.1
    """P(a line gives the secret away), before effects."""
    effects: dict[str, float] = {}
    """Text → what it adds to logit(chance) if it is in the prompt."""
    when: str = ""
    """The puppet gives nothing away unless this text is in the last part of its prompt: for
    example a question about the secret."""
    of: str = ""
    """Text of the card of the character that knows the secret. A puppet without this text in its
    prompt does not know the secret."""


class Fact(Strict):
    """A fact of a scene. A puppet knows it only if it is in the puppet's prompt."""

    says: str = Field(min_length=1, max_length=500)
    """The sentence that states the fact, in a prompt as in a diary."""
    question: str = ""
    """Text of a probe that asks for the fact."""
    answer: str = ""
    """What the puppet answers if it knows the fact. By default the sentence `says`."""
    options: list[str] = []
    """What the puppet guesses from if it does not know the fact, each equally likely."""


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

    alpha: Probability = 0.1
    """P(pole → opposite) at a character's first line, before effects."""
    beta: Probability = 0.3
    """P(opposite → pole)."""
    drift: float = 0.0
    """Added to logit(alpha) for each line the character has already spoken."""
    effects: dict[str, float] = {}
    """Text → what it adds to logit(alpha) if it is in the prompt."""
    recovers: dict[str, float] = {}
    """Text (for example a move's) → what it adds to logit(beta) if it is in the prompt."""
    spread: float = Field(default=0.0, ge=0)
    """Standard deviation over trials of what a character itself adds to logit(alpha)."""
    pole: list[str] = []
    """Sentences that the puppet says in the pole state. By default plain sentences."""
    opposite: list[str] = []
    """Sentences that the puppet says in the opposite state."""
    choice: Choice | None = None
    """How the puppet names one of several options instead of saying such a sentence."""
    leak: LeakSpec | None = None
    """The secret that the puppet gives away."""
    facts: list[Annotated[Fact, BeforeValidator(_fact)]] = []
    """What the puppet can remember from session to session."""
    forgets: Probability = 0.0
    """P(the puppet leaves a fact that is in its prompt out of a diary or a bible)."""
    judge: Judging | None = None
    """How the puppet judges lines, if it is a judge. By default it judges by chance alone."""
    latency: float = Field(default=0.0, ge=0, le=600)
    """Seconds before each reply."""
    mute: Probability = 0.0
    """P(the reply is empty)."""
    garble: Probability = 0.0
    """P(the reply has what small models write: cues, markup, other characters' lines)."""
    errors: dict[str, Probability] = {}
    """HTTP status (or "hang", "drop", "html", "broken") → its probability. For a puppet's server
    only."""
