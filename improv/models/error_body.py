"""Reads what an endpoint says of an error, in whatever form: the endpoint's own words, on a line.

Servers write `{"error": {"message": …}}`, `{"error": …}`, `{"detail": …}`, problem documents,
plain text or a page of HTML. What to do about it is guessed from the words and the address. Pure.
"""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlsplit

from improv.models.reply_json import parse_json
from improv.text import one_line

MOST_WORDS = 300
"""Characters of an endpoint's words that a message quotes."""
_NAMES = (
    *("message", "error_description", "detail", "details", "error", "errors", "msg", "reason"),
    *("error_message", "title", "description", "raw"),
)
_DEEPEST = 5
_HTML = re.compile(r"\s{0,99}(?:<!doctype|<\?xml|<html|<head|<body|<title|<h1|<center)", re.I)
_TITLE = re.compile(r"<(title|h1|h2)[^>]{0,200}>(.{1,400}?)</\1>", re.DOTALL | re.I)
_UNSEEN = re.compile(r"<(script|style|head)\b.{0,8000}?</\1>|<!--.{0,2000}?-->", re.DOTALL | re.I)
_TAG = re.compile(r"<[^<>]{0,500}>")


def endpoint_words(content: bytes) -> str:
    """Return what the body of an error says, on one line of at most MOST_WORDS characters; "" if it
    says nothing."""
    try:
        words = _words(parse_json(content), 0)
    except ValueError:
        words = _plain(content[:20_000].decode("utf-8", "replace"))
    words = one_line(words)
    return words if len(words) <= MOST_WORDS else words[: MOST_WORDS - 1] + "…"


def is_page(content: bytes) -> bool:
    """Return whether a body is a page for people: HTML, which no model's server answers."""
    return _HTML.match(content[:400].decode("utf-8", "replace")) is not None


def _words(value: Any, depth: int) -> str:
    """Return the words in a JSON value: those of its first field that is named like words."""
    if value is None or isinstance(value, bool) or depth > _DEEPEST:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_words(each, depth + 1) for each in value[:5])))
    if not isinstance(value, dict):
        return str(value)
    place = value.get("loc")
    where = ".".join(map(str, place)) + ": " if isinstance(place, list) and place else ""
    for name in _NAMES:
        if words := _words(value.get(name), depth + 1):
            # OpenRouter: {"message": "Provider returned error", "metadata": {"raw": …}}
            meta = value.get("metadata")
            raw = _raw(meta.get("raw")) if isinstance(meta, dict) else ""
            return f"{where}{words}" + (f": {raw}" if raw and raw not in words else "")
    if depth:
        return ""
    return ", ".join(f"{k} {v}" for k, v in value.items() if isinstance(v, str | int) and v != "")


def _raw(value: Any) -> str:
    if not isinstance(value, str):
        return _words(value, 1)
    try:
        return _words(parse_json(value.encode()), 1) or value
    except ValueError:
        return value


def _plain(text: str) -> str:
    if _HTML.match(text):
        titles = list(dict.fromkeys(one_line(_TAG.sub(" ", m[2])) for m in _TITLE.finditer(text)))
        if titles:
            return html.unescape(" · ".join(titles[:2]))
        return html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
    return text


_NO_PATH = re.compile(
    r"(?:404 )?(?:(?:the )?(?:requested )?(?:page|url|resource|path|route|endpoint) )?"
    r"(?:was |could )?not (?:be )?found(?: on (?:this|the) server)?\.?|cannot post\b.*"
    r"|.*\b(?:invalid url|unknown (?:url|path|endpoint|route)|unexpected endpoint|no route"
    r"|method not allowed|unsupported method|no such (?:route|path|endpoint))\b.*",
    re.IGNORECASE | re.DOTALL,
)
_PULL = re.compile(r"\bpull(?:ing)?\b|\bollama\b", re.IGNORECASE)
_OLLAMA_PORT = 11434


def lacks_path(status: int, content: bytes) -> bool:
    """Return whether an error says that nothing is at the path that was asked, whatever the
    model: it is no JSON, or says so in general words."""
    if status in (405, 501):
        return True
    words = endpoint_words(content)
    return not words or is_page(content) or _NO_PATH.fullmatch(words) is not None


def path_remedy(url: str, path: str) -> str:
    """Return what to do where nothing answers `path` below the address `url`."""
    what = f"nothing answers {path} there"
    parts = urlsplit(url)
    for end in ("/chat/completions", "/completions", "/responses", "/models", "/messages"):
        if parts.path.endswith(end):
            return f"{what}; leave {end} out of the address, because improv adds it"
    if re.search(r"/v\d", parts.path) is None:
        return f"{what}; does the address lack /v1? try {url.rstrip('/')}/v1"
    return f"{what}; is it the address of an OpenAI-compatible endpoint?"


def model_remedy(url: str, model: str, words: str) -> str:
    """Return what to do where an endpoint does not serve `model`."""
    if _PULL.search(words) or urlsplit(url).port == _OLLAMA_PORT:
        return f"try: ollama pull {model}"
    return f"is '{model}' served there?"
