"""What a program can verify on a line, with no model: habits, signs and rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from improv.study.scene import Predicate

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?…。！？]+(?=\s|$|[\"”»')])")
_STAGED = re.compile(r"\([^()]*\)")
_DATA = re.compile(r"[\[{]\s*[{\[]*\s*[\"']")
LOOP = 12
"""Words from which on a line can be told to go in circles."""


def satisfies(predicate: Predicate, line: str) -> bool:
    """Whether `line` is as the predicate says. Stage business in parentheses is not speech."""
    spoken = _STAGED.sub(" ", line).strip()
    number = predicate.value if isinstance(predicate.value, int) else 0
    phrases = predicate.value if isinstance(predicate.value, list) else []
    words = _words(spoken)
    match predicate.marker:
        case "never_asks":
            return "?" not in spoken and "？" not in spoken
        case "always_asks":
            return "?" in spoken or "？" in spoken
        case "one_sentence":
            return len(_SENTENCE_END.findall(spoken)) <= 1
        case "at_most_words":
            return len(words) <= number
        case "at_least_words":
            return len(words) >= number
        case "says_any":
            return any(_within(_words(p), words) for p in phrases)
        case "never_says":
            return not any(_within(_words(p), words) for p in phrases)
        case "starts_with":
            return any(words[: len(_words(p))] == _words(p) for p in phrases)
        case "ends_with":
            return any(words[len(words) - len(_words(p)) :] == _words(p) for p in phrases)


def is_unreadable(line: str) -> bool:
    """Whether a line has nothing in it that could keep a predicate or break it.

    Stage business alone says nothing; JSON is a reply to somebody else; and a line of twelve words
    or more that says each of them six times and more goes in circles. A model that writes such
    things is broken, and would otherwise look as consistent as can be.
    """
    spoken = _STAGED.sub(" ", line).strip()
    words = _words(spoken)
    circles = len(words) >= LOOP and len(words) >= 6 * len(set(words))
    return not words or circles or _DATA.match(spoken) is not None


def _words(text: str) -> list[str]:
    return [w.replace("’", "'") for w in _WORD.findall(text.casefold())]


def _within(phrase: list[str], words: list[str]) -> bool:
    size = len(phrase)
    return any(words[i : i + size] == phrase for i in range(len(words) - size + 1))


def first_named(options: Sequence[str], text: str) -> str:
    """Return which of `options` a text names first, the longest where several begin there; the
    text itself where there are no options, or it names none of them."""
    words = _words(text)
    places = [
        (i, -len(phrase), k)
        for k, phrase in enumerate(map(_words, options))
        for i in range(len(words) - len(phrase) + 1)
        if phrase and words[i : i + len(phrase)] == phrase
    ]
    return options[min(places)[2]] if places else text
