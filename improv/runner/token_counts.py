"""Estimates the number of tokens of prompts and replies, without a tokenizer.

For puppets, tokens are counted as a puppet counts them. For all other models a token is taken to
be CHARACTERS bytes of UTF-8, and a chat message costs four more for its role. On the shipped
scenes the tokenizers of GPT-4, GPT-4o and Qwen have 4.0 bytes a token on prompts, 3.7 on spoken
lines and 3.5 on JSON; SmolLM2's has 3.4. So for English the estimate is right to about a tenth;
for other scripts the true number can be half or double. The estimate leaves out reasoning, retries,
and the schema, which some endpoints bill too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from improv.models.puppet.player import count_tokens
from improv.models.request import Prompt
from improv.study.model_spec import Model, Price

CHARACTERS = 3.8
"""Bytes of UTF-8 (characters, in English) that a token of a real model is taken to have."""


@dataclass(frozen=True, slots=True)
class Billed:
    """What a bill is made out for: a model at an address, with its price there."""

    model: str
    base_url: str | None
    price: Price | None
    puppet: bool
    """Whether it is a puppet, in process or behind a URL. Its tokens are words and marks."""

    @classmethod
    def of(cls, model: Model) -> Billed:
        puppet = model.puppet is not None or model.model == "puppet"
        return cls(model.model, model.base_url, model.price, puppet)


@dataclass(slots=True)
class Use:
    """Calls and tokens so far. They can be fractions, because a played trial has a weight."""

    calls: float = 0.0
    prompt: float = 0.0
    completion: float = 0.0
    cached: float = 0.0

    def add(self, other: Use, weight: float = 1.0) -> None:
        self.calls += weight * other.calls
        self.prompt += weight * other.prompt
        self.completion += weight * other.completion
        self.cached += weight * other.cached

    def dollars(self, price: Price, *, caching: bool) -> float:
        cached = self.cached if caching and price.cached is not None else 0.0
        whole = (self.prompt - cached) * price.prompt + cached * (price.cached or 0.0)
        return (whole + self.completion * price.completion) / 1e6


def most_tokens(model: Model) -> int:
    """Return the maximum tokens of a reply."""
    extra = model.extra
    most = extra.get("max_completion_tokens") or extra.get("max_tokens") or model.max_tokens
    return most if isinstance(most, int) else model.max_tokens


def prompt_text(prompt: Prompt, puppet: bool) -> str:
    """Return a prompt as one text, so that a prefix cache's comparison can be simulated."""
    if prompt.mode == "script":
        return prompt.text
    if puppet:
        return "\n".join(m["content"] for m in prompt.messages)
    # Fifteen bytes are the four tokens or so that mark a message and its role.
    return "".join(f"\n{m['role']:=^13}\n{m['content']}" for m in prompt.messages)


def tokens_in(text: str, puppet: bool) -> float:
    """Return the tokens of a text: a puppet's, which are words and marks, or a model's."""
    return count_tokens(text) if puppet else len(text.encode()) / CHARACTERS


def filler(tokens: int, puppet: bool) -> str:
    """Return a plain line of about `tokens` tokens."""
    tokens = max(tokens, 1)
    if puppet:
        return " ".join((_WORDS * (tokens // len(_WORDS) + 1))[:tokens])
    room = math.floor(tokens * CHARACTERS)
    line = " ".join(_WORDS)
    return ((line + " ") * (room // len(line) + 1))[:room]


_WORDS = ("I", "remember", "everything", "that", "nobody", "mentioned", "yesterday", "and")
"""Long words, so that a filler has fewer tokens of a puppet than of a real model."""


def shared_start(text: str, other: str) -> int:
    """Return how many characters two texts share at their beginning."""
    if text.startswith(other):
        return len(other)
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low
