"""Reads what an endpoint answered: the text of a reply, and why there is none.

The response is JSON of one of the many forms that servers give a chat or completions reply. What
is inside of the text, improv.wrapping takes off; what was thought, `reasoning` finds. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from improv.errors import ErrorKind, ModelError
from improv.models.error_body import endpoint_words
from improv.models.reasoning import REASONING_PARTS, reasoning_text, reasoning_tokens
from improv.records import Json, ReplyFault
from improv.wrapping import strip_reasoning


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of an endpoint. `faults` say why no text came, and `cuts` how it was unwrapped."""

    text: str
    finish: str
    faults: tuple[ReplyFault, ...] = ()
    cuts: tuple[str, ...] = ()


def read_response(response: Json) -> Reply:
    """Return the reply that a chat or completions response holds. Raises ModelError if it holds no
    choice, or if a choice's text is no text."""
    try:
        choice = response["choices"][0]
        if "message" in choice:
            message = choice["message"]
            content = (
                message["content"] if _KEPT_APART.isdisjoint(message) else message.get("content")
            )
        else:
            message, content = choice, choice["text"]
    except (KeyError, IndexError, TypeError):
        words = endpoint_words(orjson.dumps(response, default=str)) if "error" in response else ""
        what = "the reply has no choices" + (f": {words}" if words else "")
        raise ModelError(what, kind=ErrorKind.UNREADABLE) from None
    finish = str(choice.get("finish_reason") or "")
    if type(content) is str and not _is_silent(content):
        return Reply(content, finish)
    text, cuts = _parts(content)
    faults = (_fault(response, choice, message, text),) if _is_silent(text) else ()
    return Reply(text, finish, faults, cuts)


_KEPT_APART = frozenset(
    {"refusal", "tool_calls", "function_call", "reasoning_content", "reasoning", "thinking"}
)
"""The fields of a message that may stand in place of its content."""


_MAY_BE_SILENT = re.compile(r"[<◁【⟨〈]|[\[({]/")


def _is_silent(text: str) -> bool:
    """Return whether nothing is in a text but reasoning."""
    bare = text.startswith(("analysis", "assistant"))
    if text[:1].isalnum() and not bare and not _MAY_BE_SILENT.search(text):
        return False  # nearly every reply
    return not text or text.isspace() or not strip_reasoning(text).strip()


_TEXTS = ("text", "content", "output_text")


def _parts(content: Any) -> tuple[str, tuple[str, ...]]:
    """Return the text of a content, which may be a list of parts, and the cuts. Parts of reasoning
    are left out. Raises ModelError if it is neither text nor parts."""
    if content is None or isinstance(content, str):
        return content or "", ()
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, str | dict) for part in parts):
        raise ModelError("the reply's text is not text", kind=ErrorKind.UNREADABLE)
    spoken = [p for p in parts if isinstance(p, str) or p.get("type") not in REASONING_PARTS]
    return "".join(map(_text_in, spoken)), ("parts",)


def _text_in(value: Any) -> str:
    """Return the text of a part, whose text may be a list of parts again."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text_in, value))
    if isinstance(value, dict):
        return next((_text_in(value[name]) for name in _TEXTS if value.get(name)), "")
    return ""


def _fault(response: Json, choice: Json, message: Json, text: str) -> ReplyFault:
    """Return why a reply has no text."""
    finish = str(choice.get("finish_reason") or "").casefold()
    if message.get("refusal"):
        return ReplyFault.REFUSAL
    if message.get("tool_calls") or message.get("function_call") or finish == "tool_calls":
        return ReplyFault.TOOL_CALL
    if "filter" in finish or finish in ("safety", "recitation", "prohibited_content"):
        return ReplyFault.FILTERED
    if text.strip() or reasoning_text(response) or reasoning_tokens(response):
        return ReplyFault.REASONING
    return ReplyFault.LENGTH if finish in ("length", "max_tokens") else ReplyFault.EMPTY
