"""A model as people write it: which one, where it is reached, how it is sampled, what it costs.

Plain frozen data. A model may be a puppet, whose process stands in puppet_spec; how a model is
asked stands in client.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from improv.study.base import Strict
from improv.study.puppet_spec import Puppet


class Price(Strict):
    """Dollars per million tokens."""

    prompt: float = Field(ge=0)
    """For tokens of prompts."""
    completion: float = Field(ge=0)
    """For tokens of replies."""
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
    """How freely tokens are drawn; the endpoint's own where it is not given. 0 always takes the
    likeliest."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """The share of probability that tokens are drawn from; the endpoint's own where it is not
    given."""
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
    """What calls cost, where `improv` is to know it. A cost without a price is unknown, never 0."""
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
