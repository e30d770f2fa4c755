"""A model as people write it: its name, its address, how it is sampled, what it costs.

Plain frozen data. A model may be a puppet, whose process is in puppet_spec. improv.models calls
models.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from improv.study.address import read_address
from improv.study.base import Strict, Unquoted
from improv.study.puppet_spec import Puppet


class Price(Strict):
    """Dollars per million tokens."""

    prompt: float = Field(ge=0)
    """For tokens of prompts."""
    completion: float = Field(ge=0)
    """For tokens of replies."""
    cached: float | None = Field(default=None, ge=0)
    """For prompt tokens that the endpoint had cached. By default the price of prompts."""


def read_price(text: str) -> Price:
    """Read a price as it is written on a command: IN,OUT or IN,OUT,CACHED. Raises ValueError."""
    try:
        numbers = [float(part.strip().removeprefix("$")) for part in text.split(",")]
        names = ("prompt", "completion", "cached")
        if not 2 <= len(numbers) <= 3 or not all(math.isfinite(n) for n in numbers):
            raise ValueError
        return Price.model_validate(dict(zip(names, numbers, strict=False)))
    except ValueError:
        raise ValueError(
            f"{text!r} is no price; write dollars per million tokens of prompts and of replies, "
            "such as 2.5,10"
        ) from None


def _address(text: str) -> str:
    """Return an address in its one spelling."""
    try:
        return str(read_address(text))
    except ValueError as e:
        # What is wrong with it may be a password.
        raise Unquoted(f"the address {e}") from None


AnyAddress = Annotated[
    str,
    AfterValidator(_address),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^https?://[^\s/@?#]+(/[^\s?#]*)?(\?api-version=[A-Za-z0-9.-]+)?$",
        }
    ),
]


_FIXED = {
    "what is asked": "messages prompt prompts prompt_embeds prompt_token_ids input inputs input_ids"
    " instructions system suffix conversation context documents images raw template chat_template"
    " previous_response_id",
    "which model answers": "model models fallbacks mock_response custom_llm_provider",
    "how the reply comes back": "stream stream_options background webhook callbacks store",
    "how often it is asked": "n best_of",
    "who asks, and with which key": "user api_key api_base api_version base_url headers"
    " extra_headers extra_query extra_body",
    "what else a server does": "tools tool_choice tool_resources parallel_tool_calls functions"
    " function_call mcp_servers plugins web_search_options",
}
FIXED_FIELDS = {name: what for what, names in _FIXED.items() for name in names.split()}
"""Fields of a request that `extra` may not set, each with what it would decide."""
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


def _further(fields: dict[str, Any]) -> dict[str, Any]:
    """Check the names of `extra`. Some servers do not tell capitals from small letters."""
    for name in fields:
        if decides := FIXED_FIELDS.get(name.lower()):
            raise ValueError(
                f"'{name}' is not for 'extra' to set, because it decides {decides}; 'extra' only "
                "says how a reply is sampled and computed, such as min_p or reasoning_effort"
            )
        if not _FIELD.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a field such as min_p")
    return fields


class Model(Strict):
    """A language model: its name, the address of its endpoint, and how it is sampled."""

    LATER: ClassVar[frozenset[str]] = frozenset({"reasoning_tokens"})

    model: str = Field(default="embedded", min_length=1, max_length=200)
    """"embedded" (SmolLM2-135M, on this machine), "puppet", the path of a GGUF file, or a name
    that the endpoint knows."""
    base_url: AnyAddress | None = None
    """The address of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1. By default
    the value of OPENAI_BASE_URL, or else OpenAI itself. An address on another machine has to be
    agreed to when the study is played (`--trust`)."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that holds the key. improv never writes the key itself. A name that
    does not end with _API_KEY has to be agreed to when the study is played (`--trust env:NAME`)."""
    mode: Literal["chat", "script"] | None = None
    """"chat" for instructed models; "script" for base models and small ones, which continue the
    scene as a document. By default "script" for embedded models and GGUF files, else "chat"."""
    temperature: float | None = Field(default=None, ge=0, le=5)
    """How freely tokens are drawn; 0 always takes the likeliest token. By default the endpoint's
    own value."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """The share of probability that tokens are drawn from. By default the endpoint's own value."""
    max_tokens: int = Field(default=80, ge=1, le=4000)
    """At most this many tokens a line."""
    reasoning_tokens: int | None = Field(default=None, ge=0, le=200_000)
    """Room for the reasoning of a chat model, in tokens before those of the line. By default a
    model that is seen to reason gets 4000, and others get none."""
    seeded: bool = True
    """Whether each request has the draw's seed. Some endpoints refuse that field."""
    timeout: float = Field(default=120.0, gt=0, le=3600)
    """Seconds until an attempt counts as lost."""
    retries: int = Field(default=6, ge=0, le=100)
    """How often a call is tried again after it was refused, failed or lost."""
    extra: Annotated[dict[str, Any], AfterValidator(_further)] = {}
    """Further fields of the request body, such as min_p or dry_multiplier: how a reply is sampled,
    not what is asked or of whom."""
    price: Price | None = None
    """What calls cost. Without a price the cost of calls is unknown, not 0."""
    puppet: Puppet | None = None
    """The puppet's process, if `model` is "puppet" or the endpoint is a puppet's server."""

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
        """The mode that the model plays in: `mode`, or its default."""
        return self.mode or ("script" if self.embedded else "chat")


def _model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


AnyModel = Annotated[Model, BeforeValidator(_model)]
