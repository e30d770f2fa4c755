"""A puppet as people write it: a fake model's declared process, by which it plays and judges.

Plain frozen data. What a puppet makes of its process stands in puppet.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from improv.study.base import Probability, Strict


class Judging(Strict):
    """How well a puppet judges: the truth is whether a line holds a sentence of `opposite`."""

    sensitivity: Probability = 1.0
    """P(it says so | the line breaks its character)."""
    specificity: Probability = 1.0
    """P(it says no such thing | the line keeps it)."""
    unreadable: Probability = 0.0
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
    alias: Probability = 0.0
    """P(a committed reveal names another option)."""
    forget: Probability = 0.0
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


class LeakSpec(Strict):
    """How a puppet gives a secret away: a sentence that it adds to a line."""

    says: str = Field(min_length=1, max_length=500)
    """The sentence that gives it away."""
    chance: Probability = 0.1
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

    alpha: Probability = 0.1
    """P(pole → opposite) at a character's first line, before effects."""
    beta: Probability = 0.3
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
    leak: LeakSpec | None = None
    """The secret that it gives away."""
    facts: list[Annotated[Fact, BeforeValidator(_fact)]] = []
    """What it can remember from session to session."""
    forgets: Probability = 0.0
    """P(a fact that it finds in its prompt is left out of a diary or a bible)."""
    judge: Judging | None = None
    """How it judges lines where it is asked to; by chance alone where this is not given."""
    latency: float = Field(default=0.0, ge=0, le=600)
    """Seconds before each reply."""
    mute: Probability = 0.0
    """P(an empty reply)."""
    garble: Probability = 0.0
    """P(a reply of the kind small models write: cues, markup, other characters' lines)."""
    errors: dict[str, Probability] = {}
    """HTTP status (or "hang", "drop", "html", "broken") → probability; the server only."""
