"""The forms of a reply, and why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from improv.models.delivery import is_same_model
from improv.models.response import read_response
from improv.records import Json, ReplyFault

LINE = "The lamp is low."


def reply(content: Any, finish: str = "stop", usage: Json | None = None, **message: Any) -> Json:
    whole = {"role": "assistant", "content": content, **message}
    return {"choices": [{"message": whole, "finish_reason": finish}], "usage": usage or {}}


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": LINE}],
        ["The lamp ", "is low."],
        [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": LINE}],
        [{"type": "text", "text": [{"text": "The lamp "}, {"text": "is low."}]}],
        {"type": "text", "text": LINE},
    ],
)
def test_a_content_of_parts_is_one_text(content: Any) -> None:
    read = read_response(reply(content))
    assert (read.text, read.cuts, read.faults) == (LINE, ("parts",), ())


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (reply("", "length", reasoning_content="The user"), ReplyFault.REASONING),
        (reply(None, "length", reasoning="The user"), ReplyFault.REASONING),
        (reply("<think>The user wants", "length"), ReplyFault.REASONING),
        (reply("[THINK]The user wants"), ReplyFault.REASONING),
        (
            reply("", usage={"completion_tokens_details": {"reasoning_tokens": 80}}),
            ReplyFault.REASONING,
        ),
        (reply("", "length"), ReplyFault.LENGTH),
        (reply(None, refusal="I cannot."), ReplyFault.REFUSAL),
        (reply(None, "tool_calls", tool_calls=[{"function": {}}]), ReplyFault.TOOL_CALL),
        (reply("", "content_filter"), ReplyFault.FILTERED),
        (reply(" \n"), ReplyFault.EMPTY),
        (reply([]), ReplyFault.EMPTY),
    ],
)
def test_why_nothing_came_is_known(response: Json, fault: ReplyFault) -> None:
    assert read_response(response).faults == (fault,)


def test_a_message_may_lack_its_content() -> None:
    response = reply(None, refusal="I cannot.")
    del response["choices"][0]["message"]["content"]
    assert read_response(response).faults == (ReplyFault.REFUSAL,)
    assert read_response(reply(LINE, reasoning_content="Hm.", tool_calls=None)).faults == ()


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4", "gpt-4o", False),
        ("openai/gpt-4o", "gpt-4o", True),
        ("llama3.2", "llama3.2:latest", True),
        ("llama3.2:3b", "llama3.2:1b", False),
        ("qwen2.5", "/models/Qwen2.5-Q4_K_M.gguf", True),
        ("meta/llama-3-8b", "meta-llama-3-70b", False),
        ("deepseek/deepseek-r1:free", "deepseek-r1", True),
        ("claude-3-5-sonnet", "claude-3-5-haiku-20241022", False),
        ("odd", "", True),
    ],
)
def test_another_model_is_told_from_another_name(asked: str, served: str, same: bool) -> None:
    assert is_same_model(asked, served) is same
