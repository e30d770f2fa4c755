"""The request to a model: a prompt, the draw that it is for, and the JSON body. Pure.

`endpoint` knows where a request goes, `transport` sends it, and `client` reads the reply. The
callers, in stage and in scoring, write the prompts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from improv.models.manners import DEFAULT_ROOM, shared_schema
from improv.records import Call, Draw, Json
from improv.study.model_spec import Model

Mode = Literal["chat", "script"]
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: messages in chat mode, one text in script mode, and the ids of its blocks."""

    mode: Mode
    blocks: tuple[str, ...]
    messages: tuple[Message, ...] = ()
    text: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for one draw: its identity, the model, the prompt, and the schema of the reply.

    With a `given` text, nothing is drawn: the reply is the log-probability of this text after the
    prompt, which is a script. `slot` is the place in the memory of llama.cpp where the beginning of
    the prompt may already be, so that it is not read again.
    """

    draw: Draw
    model: Model
    prompt: Prompt
    schema: Json | None = None
    given: str | None = None
    slot: int | None = None


Drawer = Callable[[Ask], Awaitable[Call]]
"""Answers an ask of a scene, with the call in the journal or with a new call to a model."""

EMBEDDED_SAMPLING: Json = {
    "temperature": 0.8,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
}
"""Sampling that keeps a small model from repeating itself in a long scene. The settings of a scene
override it."""

STRUCTURED_SAMPLING: Json = {"temperature": 0.7, "min_p": 0.1}
"""Sampling for a reply that follows a schema. It has no repetition penalty, which would garble
names and JSON punctuation, because every reply repeats them."""


def request_body(ask: Ask, *, reasons: bool = False) -> Json:
    """Return the JSON body of the request: the prompt, the sampling, and the seed of the draw.

    `reasons` says that the model was seen to reason, which takes tokens before the line. A field
    that `extra` sets to null is left out.
    """
    model, prompt = ask.model, ask.prompt
    body: Json = {"model": model.model}
    if model.embedded:
        body |= EMBEDDED_SAMPLING if ask.schema is None else STRUCTURED_SAMPLING
    if prompt.mode == "chat":
        body["messages"] = prompt.messages
    else:
        body["prompt"] = prompt.text
    body["max_tokens"] = model.max_tokens + _room(ask, reasons)
    if prompt.stop:
        body["stop"] = prompt.stop
    if model.temperature is not None:
        body["temperature"] = model.temperature
    if model.top_p is not None:
        body["top_p"] = model.top_p
    if model.seeded:
        body["seed"] = ask.draw.seed
    if ask.schema is not None:
        # The embedded model knows every keyword, and needs the limits of lengths to end in time.
        schema = ask.schema if model.embedded else shared_schema(ask.schema)
        # llama.cpp reads `json_schema` on its completions route, and only there.
        if prompt.mode == "chat":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": schema},
            }
        else:
            body["json_schema"] = schema
    if model.puppet is not None or model.model == "puppet":
        # A puppet's spread over trials, and its count of draws, depend on the key of the draw.
        body["user"] = ask.draw.key
    # The prompt and the model are never `extra`'s, even where nobody has looked at its names.
    fixed = {name: body[name] for name in ("model", "messages", "prompt") if name in body}
    body |= model.extra
    return {name: value for name, value in body.items() if value is not None} | fixed


def _room(ask: Ask, reasons: bool) -> int:
    """Return the tokens for reasoning before a reply. Models reason in chat only."""
    if ask.prompt.mode != "chat":
        return 0
    set_room = ask.model.reasoning_tokens
    return set_room if set_room is not None else DEFAULT_ROOM if reasons else 0
