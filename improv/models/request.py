"""What a model is asked: a prompt, the draw that it is for, and the JSON of the request. Pure.

Where a request goes is in `endpoint`, how it travels in `transport`, and what becomes of the reply
in `client`. Prompts are put together by whoever asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from improv.records import Call, Draw, Json
from improv.study.model_spec import Model

Mode = Literal["chat", "script"]
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a call shows: messages in chat mode, a text in script mode, and the blocks it is of."""

    mode: Mode
    blocks: tuple[str, ...]
    messages: tuple[Message, ...] = ()
    text: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A draw that a scene needs: whose it is, which model makes it, and what that is shown."""

    draw: Draw
    model: Model
    prompt: Prompt
    schema: Json | None = None


Drawer = Callable[[Ask], Awaitable[Call]]
"""Answers a scene's asks: from the journal what was drawn before, from a model what was not."""

EMBEDDED_SAMPLING: Json = {
    "temperature": 0.8,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
}
"""What a small model needs to stay alive in a long scene; a scene's own settings go over it."""

STRUCTURED_SAMPLING: Json = {"temperature": 0.7, "min_p": 0.1}
"""The same for a reply by schema. A penalty on repetition would garble names and JSON's own
punctuation, which every reply repeats."""


def request_body(ask: Ask) -> Json:
    """Return the request's JSON: the prompt, the sampling, the draw's own seed."""
    model, prompt = ask.model, ask.prompt
    body: Json = {"model": model.model}
    if model.embedded:
        body |= EMBEDDED_SAMPLING if ask.schema is None else STRUCTURED_SAMPLING
    if prompt.mode == "chat":
        body["messages"] = prompt.messages
    else:
        body["prompt"] = prompt.text
    body["max_tokens"] = model.max_tokens
    if prompt.stop:
        body["stop"] = prompt.stop
    if model.temperature is not None:
        body["temperature"] = model.temperature
    if model.top_p is not None:
        body["top_p"] = model.top_p
    if model.seeded:
        body["seed"] = ask.draw.seed
    if ask.schema is not None:
        # llama.cpp reads `json_schema` on its completions route, and only there.
        if prompt.mode == "chat":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": ask.schema},
            }
        else:
            body["json_schema"] = ask.schema
    if model.puppet is not None or model.model == "puppet":
        # A puppet's spread over trials, and its counting of draws, hang on who is asking.
        body["user"] = ask.draw.key
    return body | model.extra
