"""What an endpoint's refusal means: wait, try again, this prompt only, or no call at all. Pure.

An error is known by its status, or by its code where it comes inside a reply with status 200. Its
words tell a prompt that was refused from a key, and a quota of days from one of minutes. What an
endpoint did lately is in `standing`, and `transport` acts on all three.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
from collections.abc import Mapping
from typing import Any

import orjson

from improv.records import Json

LONGEST_WAIT = 120.0
"""Seconds that a call waits for an endpoint without room, at most. A longer wait stops the run."""
LONGEST_REFUSAL = 75.0
"""Seconds in which an endpoint answers nothing but 429, after which the run is stopped. A limit per
minute is new within a minute, so what lasts longer is a longer limit."""
STOPS = "x-improv-stops"
"""The header that `transport` sets on a 429 that no further call escapes; its value says why."""

_READ = 4000
"""Bytes of an error that are searched for words."""
_WORD_STATUS = (
    (r"insufficient.?quota|rate.?limit|too.?many.?requests|resource.?exhausted|throttl", 429),
    (r"context.?(?:length|window|size)|invalid.?(?:request|argument|prompt)|bad.?request", 400),
    (r"content.?(?:filter|policy|management)|moderat|flagged|safety|prohibited.?content", 400),
    (r"invalid.?(?:api.?)?key|authenticat|unauthori[sz]ed", 401),
    (r"payment|billing|credit", 402),
    (r"permission|forbidden", 403),
    (r"model.?not.?found|not.?found.?error|no such model", 404),
    (r"time.?d?.?out", 504),
    (r"overload|unavailable|capacity|server.?busy", 503),
)
"""What the code of an error, or else its words, say of the status that it would have had."""
_ANY_ERROR = 502
"""The status of an error whose code says nothing: something behind the endpoint failed."""

_PROMPT = re.compile(
    r"flagged|moderat|content.{0,3}(?:polic|filter|management)|safety|violat|violence|harm"
    r"|inappropriate|guardrail|prohibited|sensitive|context.?(?:length|window|size)"
    r"|(?:prompt|input|content|message)s? (?:\w+ ){0,3}(?:blocked|rejected|refused|too long)",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"api.?key|credential|authenticat|unauthori[sz]ed|access.?token|invalid token|country|region"
    r"|territory|subscription|suspended|deactivated",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api.?key.{0,40}(?:not valid|invalid|incorrect|missing|expired|not found)"
    r"|(?:invalid|incorrect|missing|expired).{0,20}api.?key",
    re.IGNORECASE,
)
_DAYS = re.compile(
    r"per.?(?:day|week|month)|daily|weekly|monthly|\b[RT]PD\b|billing|credit|usage.?limit"
    r"|hard.?limit",
    re.IGNORECASE,
)
_MINUTES = re.compile(r"per.?(?:minute|second)|\b[RT]PM\b", re.IGNORECASE)
_CROWD = re.compile(
    r"concurren|parallel|simultan|in.?flight|at (?:once|a time|the same time)|\bbusy\b|\bslots?\b"
    r"|pending.?requests|queue.{0,10}full|already (?:processing|generating|running|in use)",
    re.IGNORECASE,
)


# --- an error inside of a reply


def error_inside(reply: Json) -> int | None:
    """Return the status of the error in a reply that came with status 200, None if it has none."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    errors = [reply.get("error"), first.get("error") if isinstance(first, dict) else None]
    for error in errors:
        if error:
            return _status_of(error)
    if isinstance(first, dict) and first.get("finish_reason") == "error":
        return _ANY_ERROR
    if choices is None and (reply.get("object") == "error" or _complains(reply)):
        return _status_of(reply)
    return None


def lacks_choice(reply: Json) -> bool:
    """Return whether a reply has a place for choices and no choice in it."""
    if "choices" not in reply:
        return False
    choices = reply["choices"]
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return True
    first = choices[0]
    return first.get("message") is None and first.get("text") is None


def _complains(reply: Json) -> bool:
    """Return whether an answer without choices is an error in words of its own."""
    words = any(isinstance(reply.get(name), str) for name in ("message", "msg", "detail"))
    return words and any(name in reply for name in ("code", "status", "success", "detail"))


def _status_of(error: Any) -> int:
    codes = [error]
    if isinstance(error, dict):
        codes = [error.get(name) for name in ("code", "status", "status_code", "type")]
        codes.append(error.get("message") or error.get("msg") or error.get("detail"))
    for code in codes:
        with contextlib.suppress(TypeError, ValueError):
            if 400 <= int(code) < 600:
                return int(code)
    words = " ".join(str(code) for code in codes if code is not None)[:_READ]
    for pattern, status in _WORD_STATUS:
        if re.search(pattern, words, re.IGNORECASE):
            return status
    return _ANY_ERROR


# --- whom a refusal concerns


def _words(content: bytes) -> str:
    return content[:_READ].decode("utf-8", "replace")


def concerns_crowd(status: int, content: bytes) -> bool:
    """Return whether an endpoint refused a request because it does no more at once."""
    return status in (409, 423, 429, 503) and _CROWD.search(_words(content)) is not None


def concerns_prompt(content: bytes) -> bool:
    """Return whether the words of an error are about the prompt of the call."""
    return _PROMPT.search(_words(content)) is not None


def concerns_key(content: bytes) -> bool:
    """Return whether the words of an error are about the key or the account."""
    return _KEY.search(_words(content)) is not None


def names_bad_key(content: bytes) -> bool:
    """Return whether an error says that the key is wrong, whatever its status."""
    return _BAD_KEY.search(_words(content)) is not None


def concerns_days(content: bytes) -> bool:
    """Return whether the words of an error are about an allowance that no minute renews."""
    words = _words(content)
    return _DAYS.search(words) is not None and _MINUTES.search(words) is None


# --- how long to wait


_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(
    rf"{_NUMBER} ?(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)(?![a-z])",
    re.IGNORECASE,
)
_ASKS = re.compile(
    rf"(?:try again|retry|wait|available|resets?)[^0-9.]{{0,40}}?"
    rf"((?:{_NUMBER} ?[a-z]+[, ]{{0,2}}(?:and )?){{1,4}})",
    re.IGNORECASE,
)
_DELAY = re.compile(rf'"retryDelay"\s*:\s*"{_NUMBER}s"')


def asked_wait(headers: Mapping[str, str], content: bytes, now: float) -> float | None:
    """Return the seconds for which a refusal asks to wait, in a header or in words, None if it asks
    for none. `now` is in seconds since the epoch."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            seconds = float(headers.get(name, "")) * unit
            if seconds == seconds:  # not NaN
                return max(seconds, 0.0)
    with contextlib.suppress(ValueError, TypeError):
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(date.timestamp() - now, 0.0)
    words = _words(content)
    if delay := _DELAY.search(words):
        return float(delay[1])
    if asks := _ASKS.search(words):
        spans = [(float(n), _UNITS[_unit(u)]) for n, u in _SPAN.findall(asks[1])]
        return sum(n * unit for n, unit in spans) if spans else None
    return None


def _unit(word: str) -> str:
    word = word.casefold()
    return "ms" if word in ("ms", "millisecond", "milliseconds") else word[0]


def why_stop(asked: float | None, content: bytes, refused_for: float) -> str:
    """Return why no further call escapes a 429, "" if one may.

    `refused_for` are the seconds in which the endpoint has answered nothing else.
    """
    if asked is not None and asked > LONGEST_WAIT:
        return f"it asks for a wait of {spoken_span(asked)}"
    if concerns_days(content) and (asked is None or refused_for > asked + 1):
        return "the allowance is spent"
    if refused_for > LONGEST_REFUSAL + (asked or 0.0):
        return f"it has answered nothing else for {spoken_span(refused_for)}"
    return ""


def spoken_span(seconds: float) -> str:
    """Return a number of seconds in words: "8 min 38 s"."""
    whole = round(min(seconds, 1e9))
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"))
    words = [f"{n} {unit}" for n, unit in (*parts, (whole % 60, "s")) if n]
    return " ".join(words[:2]) or "0 s"


def error_bytes(reply: Json) -> bytes:
    """Return a reply with an error inside as the body of a response with an error status."""
    if not reply.get("error"):
        choices = reply.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        inner = first.get("error") if isinstance(first, dict) else None
        broke = "the reply broke off (finish_reason: error)"
        if choices is not None:
            reply = {"error": inner or {"message": broke}}
    return orjson.dumps(reply)
