"""The puppet as a judge: it knows the truth of each line and errs at the declared rates. Pure.

The truth is whether the judged line holds a sentence of the opposite state. If two lines are
compared, it is whether exactly one of them does. The puppet reads nothing but the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from improv.study.puppet_spec import Judging

LINE_MARK = "<line>"
"""The mark before each line to judge. It appears in judges' prompts only."""
GIVEN_AWAY = "given away"
_BROKEN_WORDS = ("contradiction", GIVEN_AWAY)
_KEPT_WORDS = ("no contradiction", "kept")

_LINE = re.compile(r"<line>\n(.*?)\n</line>", re.S)
_TRAIT = re.compile(r"^The trait: (.+)$", re.M)
_OPPOSITE = re.compile(r"^Its opposite: (.+)$", re.M)
_EVASIONS = ("Both, in a way.", '{"answer": "perhaps"}', "", '{"verdict": 1}')


def judge_options(schema: Any) -> list[str]:
    """Return the answers that a judge's schema allows; none if it is not a judge's schema."""
    try:
        options = schema["properties"]["answer"]["enum"]
    except (KeyError, TypeError):
        return []
    return [o for o in options if isinstance(o, str)] if isinstance(options, list) else []


def judge_reply(
    prompt: str,
    options: Sequence[str],
    opposite: Sequence[str],
    judging: Judging,
    roll: Callable[[str], float],
) -> str:
    """Return the puppet's reply to a judge's prompt.

    A line is broken if it holds one of the sentences `opposite`: those of the opposite state, or
    the one that gives a secret away. `roll` returns a random number for a question.
    """
    if roll("judge unreadable") < judging.unreadable:
        return _EVASIONS[int(roll("judge evasion") * len(_EVASIONS))]
    lines = _LINE.findall(prompt)
    broken = sum(any(s in line for s in opposite) for line in lines) == 1
    right = roll("judge") < (judging.sensitivity if broken else judging.specificity)
    pair = _words(prompt, options)
    if pair is None:  # the question who said a line, which a puppet cannot answer
        return _answer(options[int(roll("judge guess") * len(options))])
    return _answer(pair[broken == right])


def _words(prompt: str, options: Sequence[str]) -> tuple[str, str] | None:
    """Return the option for a kept line and the option for a broken one, None if there are none."""
    trait, opposite = _TRAIT.search(prompt), _OPPOSITE.search(prompt)
    named = [(trait[1].strip(), opposite[1].strip())] if trait and opposite else []
    for kept, broken in [*named, *zip(_KEPT_WORDS, _BROKEN_WORDS, strict=True)]:
        if kept in options and broken in options:
            return kept, broken
    return None


def _answer(option: str) -> str:
    return orjson.dumps({"answer": option}).decode()
