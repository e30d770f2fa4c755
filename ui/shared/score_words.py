"""Scores in words: which scores are breaks, a score's value, and its evidence. Pure.

A score of a line is 1 where the character is kept, 0 where it breaks, and 0.5 where the line is no
evidence for either. Measures on scales of their own (a likelihood, a similarity) have no breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from improv.records import Json
from improv.study.measure_spec import MEASURES, NEITHER, Words, find_measure, measure_family
from improv.study.scene import Scene


def broken(score: Json) -> bool:
    """Whether a score says that the character of the line breaks."""
    known = score["value"] is not None and score["turn"] is not None
    return known and score["value"] < NEITHER and can_break(score["measure"])


def can_break(measure: str) -> bool:
    """Whether a score of 0 of this measure is a break of character."""
    words = _words(measure)
    return words is not None and bool(words.breaks)


def break_words(score: Json) -> str:
    """Return the break of a score as a sentence: the character, and what it does."""
    words = _words(score["measure"])
    return f"{score['character']} {words.breaks if words is not None else 'breaks'}"


def poles(measure: str) -> tuple[str, str] | None:
    """Return the pole and the opposite of a measure, None for a measure without poles."""
    known = find_measure(measure)
    if known is None or not known.poles:
        return None
    pole, slash, opposite = measure.partition(":")[2].partition("/")
    return (pole, opposite) if slash else None


def measure_name(measure: str) -> str:
    """Return a measure's name in words: "habit: never asks", "sign: kind or mean"."""
    known = find_measure(measure)
    title = known.words.title if known is not None else measure_family(measure).replace("_", " ")
    if known is not None and known.name == measure:
        return title
    pair = poles(measure)
    rest = f"{pair[0]} or {pair[1]}" if pair else measure.partition(":")[2].replace("_", " ")
    return f"{title}: {rest}" if rest else title


def verdict(score: Json) -> tuple[str, str]:
    """Return a score's mark and its value in words."""
    value = score["value"]
    if value is None:
        return "–", "missing"
    words = poles(score["measure"]) or _meanings(score["measure"])
    if words is None or value not in (0, NEITHER, 1):
        return "·", f"{value:.4g}"
    if value == NEITHER:
        return "·", "neither"
    return ("✓", words[0]) if value else ("✗", words[1])


def definition(score: Json, scene: Scene | None, habits: Mapping[str, str]) -> str:
    """Return the habit or the rule that was scored in the scene's words, "" for other measures."""
    kind, _, rest = score["measure"].partition(":")
    if kind == "habit":
        return habits.get(score["character"], "")
    if kind == "rule" and scene is not None and rest in scene.rules:
        return scene.rules[rest].says
    return ""


def evidence(score: Json) -> list[tuple[str, str]]:
    """Return the evidence of a score: ("", the line), or (name, value) for each field."""
    text = score["evidence"] or ""
    if text.startswith("{"):
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError:
            return [("", text)]
        return [(key.replace("_", " "), _said(value)) for key, value in fields.items()]
    return [("", text)]


def _said(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() if all(isinstance(v, str) for v in value):
            return ", ".join(value) or "none"
        case _:
            return orjson.dumps(value).decode()


def ordered(measures: Iterable[str]) -> list[str]:
    """Return the measures, those with breaks first, in the order of MEASURES."""
    rank = {m.name: i for i, m in enumerate(m for m in MEASURES if m.words.breaks)}
    return sorted(set(measures), key=lambda m: (rank.get(measure_family(m), len(rank)), m))


def _words(measure: str) -> Words | None:
    known = find_measure(measure)
    return known.words if known is not None else None


def _meanings(measure: str) -> tuple[str, str] | None:
    """Return the words for 1 and for 0."""
    words = _words(measure)
    return (words.holds, words.fails) if words is not None and words.holds else None
