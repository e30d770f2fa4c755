"""The puppet as a judge: it knows the truth of each line, and errs as often as is declared. Pure.

The truth is whether a line that is to be judged holds a sentence of the opposite state; of two
lines that are compared, whether one does and the other does not. Nothing but the prompt is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from improv.study.puppet_spec import Judging

LINE_MARK = "<line>"
"""What stands before each line that a judge is to judge, and in no other prompt."""
GIVEN_AWAY = "given away"
_BROKEN_WORDS = ("contradiction", GIVEN_AWAY)
_KEPT_WORDS = ("no contradiction", "kept")

_LINE = re.compile(r"<line>\n(.*?)\n</line>", re.S)
_TRAIT = re.compile(r"^The trait: (.+)$", re.M)
_OPPOSITE = re.compile(r"^Its opposite: (.+)$", re.M)
_EVASIONS = ("Both, in a way.", '{"answer": "perhaps"}', "", '{"verdict": 1}')


def judge_options(schema: Any) -> list[str]:
    """Return the answers that a judge's schema allows, none where it is no judge's."""
    try:
        found = schema["properties"]["answer"]["enum"]
    except (KeyError, TypeError):
        return []
    return [o for o in found if isinstance(o, str)] if isinstance(found, list) else []


def judge_reply(
    prompt: str,
    options: Sequence[str],
    opposite: Sequence[str],
    judging: Judging,
    roll: Callable[[str], float],
) -> str:
    """Return what the puppet answers a judge's prompt.

    A line that holds one of `opposite` is broken: a sentence of the opposite state, or what gives
    a secret away. `roll` gives the puppet its luck.
    """
    if roll("judge unreadable") < judging.unreadable:
        return _EVASIONS[int(roll("judge evasion") * len(_EVASIONS))]
    lines = _LINE.findall(prompt)
    broken = sum(any(s in line for s in opposite) for line in lines) == 1
    right = roll("judge") < (judging.sensitivity if broken else judging.specificity)
    pair = _words(prompt, options)
    if pair is None:  # who said it: nothing that a puppet knows
        return _answer(options[int(roll("judge guess") * len(options))])
    return _answer(pair[broken == right])


def _words(prompt: str, options: Sequence[str]) -> tuple[str, str] | None:
    """Return the options for kept and for broken."""
    trait, opposite = _TRAIT.search(prompt), _OPPOSITE.search(prompt)
    named = [(trait[1].strip(), opposite[1].strip())] if trait and opposite else []
    for kept, broken in [*named, *zip(_KEPT_WORDS, _BROKEN_WORDS, strict=True)]:
        if kept in options and broken in options:
            return kept, broken
    return None


def _answer(option: str) -> str:
    return orjson.dumps({"answer": option}).decode()
