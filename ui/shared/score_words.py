"""What a score says in words: which are breaks, what was read, and the evidence. Pure.

A score of a line is 1 where its character holds, 0 where it breaks, and in between no evidence
either way; measures in numbers of their own (a likelihood, a likeness) break nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from improv.records import Json
from improv.study.measure_spec import MEASURES, NEITHER, Words, find_measure, measure_family
from improv.study.scene import Scene


def broken(score: Json) -> bool:
    """Whether a score of a line says that its character breaks."""
    known = score["value"] is not None and score["turn"] is not None
    return known and score["value"] < NEITHER and can_break(score["measure"])


def can_break(measure: str) -> bool:
    """Whether a score of 0 of this measure is a break of character."""
    words = _words(measure)
    return words is not None and bool(words.breaks)


def breaks(score: Json) -> str:
    """Say what a broken score's character does."""
    words = _words(score["measure"])
    return f"{score['character']} {words.breaks if words is not None else 'breaks'}"


def poles(measure: str) -> tuple[str, str] | None:
    """Return the pole and the opposite that a measure is of, where it is of any."""
    known = find_measure(measure)
    if known is None or not known.poles:
        return None
    pole, slash, opposite = measure.partition(":")[2].partition("/")
    return (pole, opposite) if slash else None


def name(measure: str) -> str:
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


def told(score: Json, scene: Scene | None, habits: Mapping[str, str]) -> str:
    """Return in the scene's own words what was looked for, or nothing."""
    kind, _, rest = score["measure"].partition(":")
    if kind == "habit":
        return habits.get(score["character"], "")
    if kind == "rule" and scene is not None and rest in scene.rules:
        return scene.rules[rest].says
    return ""


def evidence(score: Json) -> list[tuple[str, str]]:
    """Return what a score rests on: ("", the line) or (what, its value) for each thing it names."""
    text = score["evidence"] or ""
    if text.startswith("{"):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return [("", text)]
        return [(key.replace("_", " "), _said(value)) for key, value in found.items()]
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
    """Return measures with those that break first, in the order of the list of measures."""
    rank = {m.name: i for i, m in enumerate(m for m in MEASURES if m.words.breaks)}
    return sorted(set(measures), key=lambda m: (rank.get(measure_family(m), len(rank)), m))


def _words(measure: str) -> Words | None:
    known = find_measure(measure)
    return known.words if known is not None else None


def _meanings(measure: str) -> tuple[str, str] | None:
    """Return what 1 and 0 mean."""
    words = _words(measure)
    return (words.holds, words.fails) if words is not None and words.holds else None
