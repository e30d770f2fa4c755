"""What a model thought before it answered: the text and the tokens of it in a response. Pure.

Servers part reasoning from the reply in fields of several names, or leave it in the reply between
marks. The reply itself is read in `response`. Reasoning is recorded with a call, and is in nobody's
prompt.
"""

from __future__ import annotations

from typing import Any

from improv.records import Json
from improv.wrapping import strip_reasoning

_FIELDS = ("reasoning_content", "reasoning", "thinking")
_DETAILS = ("reasoning_details", "thinking_blocks")
_PART_TEXT = ("thinking", "reasoning", "text", "summary", "content")
REASONING_PARTS = (
    "thinking",
    "reasoning",
    "reasoning.text",
    "reasoning.summary",
    "redacted_thinking",
)
"""The types of the parts of a content that are reasoning."""
_LONGEST = 400_000
"""Characters of reasoning that are kept."""


def reasoning_text(response: Json) -> str:
    """Return what a response says of the model's reasoning, "" if nothing.

    The first of the fields that has a text counts; then parts of the content that are reasoning.
    """
    message = _message(response)
    for name in _FIELDS:
        if text := _text_of(message.get(name)):
            return text[:_LONGEST]
    for name in _DETAILS:
        if text := _text_of(message.get(name)):
            return text[:_LONGEST]
    content = message.get("content")
    if isinstance(content, list):
        parts = [p for p in content if isinstance(p, dict) and p.get("type") in REASONING_PARTS]
        return _text_of(parts)[:_LONGEST]
    return ""


def reasoning_tokens(response: Json) -> int | None:
    """Return how many of the reply's tokens were reasoning, None if the endpoint does not say."""
    usage = response.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    for place in ("completion_tokens_details", "output_tokens_details"):
        details = usage.get(place)
        count = details.get("reasoning_tokens") if isinstance(details, dict) else None
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**31:
            return count
    count = usage.get("reasoning_tokens")
    counts = isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**31
    return count if counts else None


def cut_by_reasoning(response: Json) -> bool:
    """Return whether reasoning used up the tokens of a chat reply, so that it has no end or no
    words at all. Nothing else makes a reply without words that ends at its limit."""
    message = _message(response)
    if not message or response["choices"][0].get("finish_reason") not in _AT_THE_LIMIT:
        return False
    content = message.get("content")
    reply = content.strip() if isinstance(content, str) else ""
    words = strip_reasoning(reply).strip()
    thought = reasoning_text(response) or reasoning_tokens(response) or words != reply
    return bool(thought) or not (words or content)


_AT_THE_LIMIT = ("length", "max_tokens")


def _message(response: Json) -> Json:
    try:
        message = response["choices"][0]["message"]
    except (KeyError, IndexError, TypeError):
        return {}
    return message if isinstance(message, dict) else {}


def _text_of(value: Any, depth: int = 0) -> str:
    """Return the text of a field that may be a text, a part with a text, or a list of parts."""
    if isinstance(value, str):
        return value.strip()
    if depth > 4:
        return ""
    if isinstance(value, dict):
        return next((t for k in _PART_TEXT if (t := _text_of(value.get(k), depth + 1))), "")
    if isinstance(value, list):
        return "\n".join(t for part in value if (t := _text_of(part, depth + 1)))
    return ""
