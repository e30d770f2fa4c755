"""Looks at calls for what did not arrive: a prompt that was cut, a model that was not asked for.

An endpoint says neither. It counts no more tokens for a prompt that has grown, and it names
another model in its reply. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

from improv.models.request import Ask
from improv.records import Call, Json, ReplyFault

_TAG = re.compile(
    r"latest|default|\d{3,8}|preview|exp|free|nitro|floor|beta|instruct|chat|it|hf|gguf|awq|gptq"
    r"|mlx|exl2|q\d|k|m|s|l|xs|fp\d+|bf\d+|f\d+|int\d|\d?bit|iq\d|w\d+a\d+|base|main"
)
"""What a served name may have more than the name that was asked: a date, a tag, a quantisation."""


@lru_cache(maxsize=1024)
def is_same_model(asked: str, served: str) -> bool:
    """Return whether an endpoint that names `served` may well mean the model that was asked."""
    one, other = _words(asked), _words(served)
    if not one or not other:
        return True
    short, long = sorted((one, other), key=len)
    if long[: len(short)] != short:
        return False
    # A date is parted, 2024-08-06; its month and day are no version of the model.
    dated = any(len(word) == 4 and word.isdigit() for word in long[len(short) :])
    return all(_TAG.fullmatch(word) or (dated and word.isdigit()) for word in long[len(short) :])


def _words(name: str) -> list[str]:
    last = name.casefold().replace("\\", "/").rstrip("/").rpartition("/")[2]
    return [word for word in re.split(r"[^a-z0-9]+", last.removesuffix(".gguf")) if word]


def model_fault(ask: Ask, response: Json) -> tuple[ReplyFault, ...]:
    """Return the fault of a reply that says it comes from a model that was not asked for."""
    model, served = ask.model, response.get("model")
    if not isinstance(served, str) or model.model == served or model.embedded or model.in_process:
        return ()
    return () if is_same_model(model.model, served) else (ReplyFault.OTHER_MODEL,)


_SMALLEST_CUT = 250
"""Tokens of the smallest prompt that a server leaves of a longer one: half of a window of 512. A
smaller number that stays the same from the first call of a scene on is no count of anything."""


class PromptGauge:
    """The longest prompt of each thread of a scene, and the tokens that were counted for it."""

    def __init__(self) -> None:
        self._most: dict[tuple[str, bool], tuple[int, int]] = {}
        self._first: int | None = None
        self._counts = False

    def is_cut(self, ask: Ask, call: Call) -> bool:
        """Return whether an endpoint counts no more tokens for a prompt than for a shorter one of
        the same thread, so that it has dropped a part of it."""
        if call.estimated or not call.prompt_tokens or call.error:
            return False
        prompt = ask.prompt
        size = len(prompt.text) + sum(len(m["content"]) for m in prompt.messages)
        tokens, cached = call.prompt_tokens, call.cached_tokens or 0
        # Some endpoints do not count the cached tokens among those of the prompt.
        tokens += cached if cached > tokens else 0
        self._first = tokens if self._first is None else self._first
        self._counts = self._counts or tokens != self._first or tokens >= _SMALLEST_CUT
        # The author writes the bible in another thread than its notes.
        thread = (ask.draw.role, ask.draw.purpose == "bible")
        most_size, most_tokens = self._most.get(thread, (0, 0))
        if size > most_size and tokens <= most_tokens:
            return self._counts
        if size != most_size:
            self._most[thread] = (size, tokens)
        return False
