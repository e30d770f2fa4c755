"""The tokens of a call, as the endpoint counts them or as they are estimated. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from improv.models.budget import estimated_tokens
from improv.models.request import Ask
from improv.records import Json

_MAX_COUNT = 2**31 - 1
"""The largest number that an int32 column of a table holds."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call, as the endpoint counts them or as they are estimated."""

    prompt: int | None
    completion: int | None
    cached: int | None
    estimated: bool

    @classmethod
    def of(cls, response: Json, ask: Ask, reply: str) -> Usage:
        """Read the usage of a response. A count that is none, or 0 where there is text, is replaced
        by an estimate; a response that never came has no usage."""
        said = response.get("usage")
        usage = said if isinstance(said, dict) else {}
        prompt = _count(usage.get("prompt_tokens"))
        completion = _count(usage.get("completion_tokens"))
        cached = _cached(usage, response)
        if not response:
            return cls(prompt, completion, cached, False)
        counted = bool(prompt) and (bool(completion) or (completion == 0 and not reply))
        if not prompt:
            texts = [m["content"] for m in ask.prompt.messages] or [ask.prompt.text]
            prompt = min(estimated_tokens(texts), _MAX_COUNT)
        if not completion:
            completion = min(estimated_tokens([reply]), _MAX_COUNT) if reply else 0
        return cls(prompt, completion, cached, not counted)


def _count(value: Any) -> int | None:
    counts = isinstance(value, int) and not isinstance(value, bool)
    return value if counts and 0 <= value <= _MAX_COUNT else None


def _cached(usage: Json, response: Json) -> int | None:
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        return _count(details.get("cached_tokens"))
    timings = response.get("timings")
    return _count(timings.get("cache_n")) if isinstance(timings, dict) else None
