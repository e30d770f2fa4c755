"""Verifies predicates on a line without a model: habits, signs and rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from improv.study.scene import Predicate

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?…。！？]+(?=\s|$|[\"”»')])")
_STAGED = re.compile(r"\([^()]*\)")
_DATA = re.compile(r"[\[{]\s*[{\[]*\s*[\"']")
LOOP = 12
"""The fewest words of a line that can count as a loop."""


def satisfies(predicate: Predicate, line: str) -> bool:
    """Whether `line` satisfies the predicate. Directions in parentheses do not count as speech."""
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
    """Whether a line has nothing that could satisfy or break a predicate.

    These are a line of directions alone, JSON, and a loop: a line of at least twelve words that
    repeats each of them six times on average. A model that writes such lines is broken, and would
    look perfectly consistent if they counted.
    """
    spoken = _STAGED.sub(" ", line).strip()
    words = _words(spoken)
    loop = len(words) >= LOOP and len(words) >= 6 * len(set(words))
    return not words or loop or _DATA.match(spoken) is not None


def _words(text: str) -> list[str]:
    return [w.replace("’", "'") for w in _WORD.findall(text.casefold())]


def _within(phrase: list[str], words: list[str]) -> bool:
    size = len(phrase)
    return any(words[i : i + size] == phrase for i in range(len(words) - size + 1))


def first_named(options: Sequence[str], text: str) -> str:
    """Return the option that a text names first, the longest if several begin at that word.

    Returns the text itself if it names no option, or if there are no options.
    """
    words = _words(text)
    places = [
        (i, -len(phrase), k)
        for k, phrase in enumerate(map(_words, options))
        for i in range(len(words) - len(phrase) + 1)
        if phrase and words[i : i + len(phrase)] == phrase
    ]
    return options[min(places)[2]] if places else text
