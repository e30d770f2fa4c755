"""Requests as the client sends them, and what the tests of puppets read from the replies."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import openai

from improv.models.puppet.player import (
    OPPOSITE,
    POLE,
    answer,
)
from improv.models.puppet.server import PuppetServer
from improv.records import Draw
from improv.study.puppet_spec import Puppet

HEAD = (
    "THE LAMP\na storm play\n\nThe cast\nMARA, keeper\nBO, guest\n\n* * *\nMARA: Close the door.\n"
)
SCHEMA = {
    "type": "object",
    "properties": {
        "note_to": {"type": "string", "enum": ["Mara", "Bo", "nobody"]},
        "note": {"type": "string", "maxLength": 30},
        "end": {"type": "boolean"},
    },
    "required": ["note_to", "note", "end"],
    "additionalProperties": False,
}


def script(
    text: str = HEAD + "BO:", turn: int = 1, trial: str = "t", **more: Any
) -> dict[str, Any]:
    draw = Draw(trial, "main", turn, "Bo", "line")
    body = {"model": "puppet", "prompt": text, "seed": draw.seed, "user": draw.key}
    return body | {"stop": ["\n"], "max_tokens": 80} | more


def chat(turn: int = 1, **more: Any) -> dict[str, Any]:
    draw = Draw("t", "main", turn, "Bo", "line")
    messages = [
        {"role": "system", "content": "You are BO, a guest. Secret: he broke the lamp."},
        {"role": "user", "content": "MARA: Close the door.\n(Bo, your line.)"},
    ]
    body = {"model": "puppet", "messages": messages, "seed": draw.seed, "user": draw.key}
    return body | {"max_tokens": 80} | more


def line_of(reply: dict[str, Any]) -> str:
    choice = reply["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"]).strip()


def is_opposite(line: str) -> bool:
    return any(s in line for s in OPPOSITE)


def states(spec: Puppet, trial: str, lines: int, head: str = HEAD) -> list[bool]:
    """Play Bo's lines against a Mara who says nothing new; return the states he was in."""
    opposite = []
    for turn in range(1, lines + 1):
        line = line_of(answer(script(head + "BO:", turn, trial), spec))
        assert is_opposite(line) != any(s in line for s in POLE), f"neither or both: {line!r}"
        opposite.append(is_opposite(line))
        head += f"BO: {line}\nMARA: Go on.\n"
    return opposite


def near(share: float, truth: float, n: int) -> bool:
    return abs(share - truth) < 3 * math.sqrt(truth * (1 - truth) / n)


def ask(server: PuppetServer, body: dict[str, Any], **options: Any) -> Any:
    """Send one request through the real client, and return the call."""
    return asyncio.run(with_client(server, lambda c: send(c, body), **options))


async def with_client(
    server: PuppetServer, use: Callable[[openai.AsyncOpenAI], Awaitable[Any]], **options: Any
) -> Any:
    options = {"max_retries": 0, "timeout": 10} | options
    http = openai.DefaultAioHttpClient(limits=httpx2.Limits(max_connections=1000))
    async with openai.AsyncOpenAI(
        base_url=server.url, api_key="none", http_client=http, **options
    ) as client:
        return await use(client)


async def send(client: openai.AsyncOpenAI, body: dict[str, Any]) -> Any:
    route = client.chat.completions if "messages" in body else client.completions
    return await route.create(**body)
