"""The manners of models: what the words of a refusal say, and the change of the request. Pure.

Endpoints differ in what they take. A reasoning model wants another field for its limit of tokens
and its own temperature; a chat template wants no system message; a strict server knows no seed.
Each such manner is a row of `MANNERS`: the words of its refusal, and what improv sends instead. A
refused request is changed by the one row that its refusal speaks of, and sent again; changes are
applied in the order of the table, whatever the order in which they were learned. What was learned
is kept for the endpoint and the model (`manners_keeper`) and written into run.json.

A call is known by its draw and by the blocks of its prompt, which are what an agent was shown. A
manner changes neither: it changes how these blocks are put into a request. So a journal fits a
session that has learned more or less than the one before, a replay needs no manners at all, and no
call is made twice. The parameters of a call name the manners that changed its request (`adapted`),
from which an export writes the messages as they were sent.

A field that the user wrote under `extra` is never left out: there a refusal is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from improv.models.given_text import WAY_WORDS, Way
from improv.records import Json

_LONGEST = 4000
"""Characters of a refusal that are read."""
BEGINS = "(The scene begins.)"
"""What a user says first where an agent's own line opens the thread."""
ADAPTED = "adapted"
"""The key in the parameters of a call for the manners that changed its request."""
ALTERNATING = "alternating roles"
ROOM = "room for reasoning"
DEFAULT_ROOM = 4000
"""Tokens for the reasoning of a model that was seen to reason, if its `reasoning_tokens` are not
set. Reasoning about one line takes hundreds of tokens, and seldom more than 3000."""
_MOST = "at most "


@dataclass(frozen=True, slots=True)
class Lesson:
    """A manner that was learned, and the endpoint's words from which it was learned."""

    manner: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """One thing that an endpoint does not take.

    `fields` are those of the request that the manner is about, `refused` the words of a refusal
    that mean it, and `change` returns the request without them, or the same request if it has
    nothing to change. `does` says what improv does, after "improv".
    """

    name: str
    fields: tuple[str, ...]
    refused: re.Pattern[str]
    change: Callable[[Json], Json]
    does: str


def _without(*names: str) -> Callable[[Json], Json]:
    def change(body: Json) -> Json:
        return {name: value for name, value in body.items() if name not in names}

    return change


def _renamed(body: Json) -> Json:
    """Send the limit under its newer name, unless `extra` has that one already."""
    if "max_tokens" not in body:
        return body
    limit = {"max_completion_tokens": body["max_tokens"]}
    return limit | {name: value for name, value in body.items() if name != "max_tokens"}


def _head_first(body: Json) -> Json:
    """Put the system message before the first message of the user's, which may be missing."""
    messages = body.get("messages") or ()
    heads = [m["content"] for m in messages if m["role"] == "system"]
    if not heads:
        return body
    rest = [m for m in messages if m["role"] != "system"]
    if rest and rest[0]["role"] == "user":
        heads.append(rest.pop(0)["content"])
    first = {"role": "user", "content": "\n\n".join(heads)}
    return body | {"messages": (first, *rest)}


def alternate(messages: Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """Return messages in which, after the system's, user and assistant take turns, the user first.

    Messages of one role in a row become one.
    """
    whole: list[dict[str, str]] = []
    for message in messages:
        before = whole[-1]["role"] if whole else ""
        if before == message["role"]:
            joined = f"{whole[-1]['content']}\n{message['content']}"
            whole[-1] = {"role": before, "content": joined}
            continue
        if message["role"] == "assistant" and before in ("", "system"):
            whole.append({"role": "user", "content": BEGINS})
        whole.append(message)
    return tuple(whole)


def alternates(messages: Sequence[dict[str, str]]) -> bool:
    """Return whether user and assistant take turns already, the user first."""
    # One pass over a long thread, in every call.
    wanted = "user"
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "system" and not number:
            continue
        if role != wanted:
            return False
        wanted = "assistant" if role == "user" else "user"
    return True


def _alternated(body: Json) -> Json:
    messages = body.get("messages")
    if messages is None or alternates(messages):
        return body
    return body | {"messages": alternate(messages)}


def _any_object(body: Json) -> Json:
    form = body.get("response_format")
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return body
    return body | {"response_format": {"type": "json_object"}}


def _open_schema(body: Json) -> Json:
    form = body.get("response_format")
    if not isinstance(form, dict) or "json_schema" not in form:
        return body
    named = form["json_schema"]
    schema = {k: v for k, v in named["schema"].items() if k != "additionalProperties"}
    if schema == named["schema"]:
        return body
    loose = {"name": named["name"], "schema": schema}
    return body | {"response_format": {"type": "json_schema", "json_schema": loose}}


_SHARED = frozenset(
    {"type", "properties", "required", "additionalProperties", "enum", "items", "anyOf"}
    | {"description", "$ref", "$defs"}
)
"""The keywords of JSON Schema that every strict mode takes. Others are checked when a reply is
read."""


def shared_schema(schema: Json) -> Json:
    """Return a schema with the keywords that all strict modes share."""
    kept: Json = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: shared_schema(inner) for name, inner in value.items()}
        elif key in _SHARED:
            kept[key] = shared_schema(value) if isinstance(value, dict) else value
    return kept


_NOT = (
    r"(?:unsupported|unavailable|not (?:be )?(?:\w+ )?(?:support|permit|allow|accept|recogni"
    r"|implement|valid|available|enabled|known)|doesn'?t (?:support|accept|allow)|does not"
    r"|do not|no longer|unknown|unrecogni|unexpected|unable|invalid|extra|forbidden|deprecated"
    r"|must|only|fail|cannot|can ?not|can't|fixed|remove|ignored|illegal|incompatible|wrong|refus"
    r"|not\b|\bno\b)"
)


def _named(*names: str) -> re.Pattern[str]:
    """Match a refusal that names one of these fields, as a field: not as part of another name."""
    either = "|".join(map(re.escape, names))
    return re.compile(rf"(?<![\w-])(?:{either})(?![\w-])", re.IGNORECASE)


def _say(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


MANNERS: tuple[Manner, ...] = (
    Manner(
        "no system role",
        ("messages",),
        # Some templates count the system's message as a turn, and speak of turns alone.
        _say(
            rf"\bsystem\b.{{0,80}}{_NOT}|{_NOT}.{{0,80}}\bsystem\b|developer instruction"
            r"|\broles?\b.{0,80}\buser\b|\buser\b.{0,60}\broles?\b|alternat"
            r"|(?:first|start|begin)[^.]{0,60}\buser\b"
        ),
        _head_first,
        "puts what the system message says before the first message of the user",
    ),
    Manner(
        ALTERNATING,
        ("messages",),
        _say(r"alternat|consecutive|same role"),
        _alternated,
        "sends messages whose roles take turns, the user's first",
    ),
    Manner(
        "max_completion_tokens",
        ("max_tokens",),
        _named("max_tokens", "max_new_tokens"),
        _renamed,
        "sends max_completion_tokens in place of max_tokens",
    ),
    Manner(
        "no limit of tokens",
        ("max_tokens", "max_completion_tokens"),
        _named("max_tokens", "max_completion_tokens"),
        _without("max_tokens", "max_completion_tokens"),
        "sends no limit of tokens; a line is cut here",
    ),
    Manner(
        "no top_p", ("top_p",), _named("top_p"), _without("top_p"), "leaves top_p to the endpoint"
    ),
    Manner(
        "no temperature",
        ("temperature",),
        _named("temperature"),
        _without("temperature"),
        "leaves the temperature to the endpoint",
    ),
    Manner("no seed", ("seed",), _named("seed"), _without("seed"), "sends no seed"),
    Manner(
        "no stop",
        ("stop",),
        _named("stop", "stop sequences", "stop_sequences"),
        _without("stop"),
        "sends no stop strings, and cuts the reply at the first one here",
    ),
    Manner(
        "open schema",
        ("response_format",),
        _named("additionalProperties", "additional_properties", "strict"),
        _open_schema,
        "sends a schema that does not forbid further fields",
    ),
    Manner(
        "any JSON object",
        ("response_format",),
        _say(r"response[_ ]?format|json_?schema|structured.outputs?|schema|guided|grammar"),
        _any_object,
        "asks for any JSON object, without a schema",
    ),
    Manner(
        "no schema",
        ("response_format", "json_schema"),
        _say(
            r"response[_ ]?format|json_?(?:schema|object|mode)|structured.outputs?|schema|grammar"
        ),
        _without("response_format", "json_schema"),
        "asks for JSON in words alone",
    ),
)
"""Every manner, in the order in which the changes are applied. Of two rows about the same field,
the first is tried first."""

_BY_NAME = {manner.name: manner for manner in MANNERS}
_REFUSES = re.compile(_NOT, re.IGNORECASE)
_LISTED = re.compile(
    r"(?<!un)\b(?:supported|allowed|valid|permitted|accepted|known) "
    r"(?:parameters|params|fields|values|arguments|properties|keys)\b.*",
    re.IGNORECASE | re.DOTALL,
)
"""A list of what is taken, which names fields that are not refused."""
_SMALLER = re.compile(
    r"(?:at most|less than or equal to|maximum (?:value )?(?:is|of|for [\w` ]+ is)|up to|<=|≤"
    r"|maximum (?:output|completion) tokens[^0-9]{0,30})[ `'\"]*([0-9][0-9,]{1,8})",
    re.IGNORECASE,
)
_CAP = re.compile(
    r"max_(?:completion_)?tokens\W{1,4}(?:must|should) be (?:at most|less than or equal|<=|≤)",
    re.IGNORECASE,
)
"""A limit of the reply's tokens, whatever else is said of the context."""


def describe(name: str) -> str:
    """Return what improv does for a manner, as a clause without a subject."""
    if name == ROOM:
        return "gives room for reasoning before each line (reasoning_tokens)"
    if name.startswith(_MOST):
        return f"asks for {name}"
    if name in WAY_WORDS:
        return f"scores a given text {WAY_WORDS[Way(name)]}"
    return _BY_NAME[name].does if name in _BY_NAME else name


def known(name: str) -> bool:
    """Return whether this version knows a manner of that name."""
    return name in (ROOM, *WAY_WORDS) or name in _BY_NAME or _limit_of(name) is not None


def adapt(body: Json, learned: Iterable[str]) -> tuple[Json, tuple[str, ...]]:
    """Return a request as the manners of these names want it, and the names of those that changed
    it. Roles take turns in every request, learned or not, because it costs no call."""
    names = {*learned, ALTERNATING}
    changed = []
    for name in sorted(names):
        if (most := _limit_of(name)) is not None:
            smaller = with_limit(body, most)
            changed += [] if smaller == body else [name]
            body = smaller
    for manner in MANNERS:
        if manner.name in names and (other := manner.change(body)) is not body and other != body:
            body = other
            changed.append(manner.name)
    return body, tuple(changed)


def in_manner(
    messages: Sequence[dict[str, str]], names: Sequence[str]
) -> tuple[dict[str, str], ...]:
    """Return messages as a request had them that these manners had changed."""
    body: Json = {"messages": tuple(messages)}
    for manner in MANNERS:
        if manner.name in names and "messages" in manner.fields:
            body = manner.change(body)
    changed: tuple[dict[str, str], ...] = body["messages"]
    return changed


def lesson(refusal: str, body: Json, own: Iterable[str] = ()) -> Lesson | None:
    """Return the manner that a refusal of `body` speaks of, None if it speaks of none.

    `body` is the request as it was sent; `own` are the fields that the user wrote under `extra`.
    Several rows may match. The one whose words come first counts, and of the rows about the same
    words the first that changes the request.
    """
    words = _LISTED.sub("", refusal)[:_LONGEST]
    because = " ".join(words.split())[:200]
    fields = set(body) - set(own)
    if _CONTEXT.search(words) and not _CAP.search(words):
        return None
    if (most := _smaller_limit(words, body)) is not None and fields & _LIMITS:
        return Lesson(f"{_MOST}{most} tokens", because)
    if not _REFUSES.search(words):
        return None
    best: tuple[int, Manner] | None = None
    for manner in MANNERS:
        match = manner.refused.search(words)
        if match is None or fields.isdisjoint(manner.fields) or manner.change(body) == body:
            continue
        if best is None or match.start() < best[0]:
            best = (match.start(), manner)
    return None if best is None else Lesson(best[1].name, because)


_LIMITS = {"max_tokens", "max_completion_tokens"}


def _limit_of(name: str) -> int | None:
    number = name.removeprefix(_MOST).removesuffix(" tokens")
    return int(number) if name.startswith(_MOST) and number.isdecimal() else None


def with_limit(body: Json, most: int) -> Json:
    """Return a request for at most so many tokens."""
    return body | {name: min(body[name], most) for name in _LIMITS if name in body}


def _smaller_limit(words: str, body: Json) -> int | None:
    """Return the most tokens that a reply may have, if the request asked for more."""
    asked = [body[name] for name in _LIMITS if isinstance(body.get(name), int)]
    if not asked or not re.search(r"max_(?:completion_)?tokens|completion tokens", words):
        return None
    mosts = [_number(digits) for digits in _SMALLER.findall(words)]
    mosts = [most for most in mosts if 0 < most < max(asked)]
    return max(mosts, default=None)


_CONTEXT = re.compile(r"context.{0,30}(?:length|window|size|limit)|context_length", re.IGNORECASE)
_WHOLE = re.compile(
    r"(?:context[^0-9]{0,40}|maximum[^0-9]{0,40})([0-9][0-9,]{2,8})(?: tokens)?", re.IGNORECASE
)
_PROMPT = re.compile(
    r"([0-9][0-9,]*) (?:(?:input|prompt) tokens|(?:tokens )?(?:in|from|of) (?:the |your )?"
    r"(?:input|messages|prompt))",
    re.IGNORECASE,
)


def fitting_limit(refusal: str, body: Json, least: int) -> int | None:
    """Return the limit of tokens with which this prompt fits the context, if room for reasoning
    made the request too long: a refusal says the size of context and prompt. None if not."""
    asked = max((body[n] for n in _LIMITS if isinstance(body.get(n), int)), default=0)
    whole, prompt = _WHOLE.search(refusal), _PROMPT.search(refusal)
    if asked <= least or whole is None or prompt is None or not _CONTEXT.search(refusal):
        return None
    left = _number(whole[1]) - _number(prompt[1])
    return left if least <= left < asked else None


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))


_FORM = re.compile(
    rb"jinja|chat.?template|roles must alternate|system role|unsupported (?:parameter|value)",
    re.IGNORECASE,
)


def refuses_form(content: bytes) -> bool:
    """Return whether an error of the server's own is about the form of the request. It would be
    refused again in the same form, so it is not worth a retry."""
    return _FORM.search(content[:_LONGEST]) is not None


_ECHOES = ("input", "ctx", "messages", "prompt", "request", "body", "url", "traceback")
"""Keys of an error under which a server repeats what it was sent."""


def refusal_words(error: Any) -> str:
    """Return all that an error body says, on one line: its texts, without what it only repeats.

    `error` is the body as parsed JSON, or as text.
    """
    texts: list[str] = []
    pending = [(0, error)]
    while pending and len(texts) < 100:
        depth, part = pending.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and depth < 8:
            inner = [v for k, v in part.items() if k not in _ECHOES]
            pending += [(depth + 1, v) for v in reversed(inner)]
        elif isinstance(part, list) and depth < 8:
            pending += [(depth + 1, v) for v in reversed(part)]
    return " ".join(" ".join(texts).split())[:_LONGEST]
