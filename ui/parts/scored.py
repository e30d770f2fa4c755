"""What a score says in words: which are breaks, what was read, and the evidence. Pure.

A score of a line is 1 where its character holds, 0 where it breaks, and in between no evidence
either way; measures in numbers of their own (a likelihood, a likeness) break nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from improv.record import Json
from improv.scene import Scene

BREAKING = ("habit", "sign", "rule", "state", "p2l", "secret")
"""Families of measures whose 0 is a break, in the order in which they are shown."""
NEITHER = 0.5

_WORDS = {
    "habit": ("kept", "broken"),
    "rule": ("kept", "broken"),
    "p2l": ("no contradiction", "contradiction"),
    "secret": ("kept", "given away"),
    "attribution": ("told who speaks", "mistaken for somebody else"),
    "probe": ("right", "wrong"),
}
_BREAKS = {
    "habit": "breaks a habit",
    "sign": "breaks a trait",
    "rule": "breaks a rule",
    "state": "breaks a trait",
    "p2l": "contradicts the persona",
    "secret": "gives a secret away",
}
_NAMES = {
    "p2l": "the persona, by a judge",
    "l2l": "lines that contradict each other",
    "secret": "the secret",
    "secret:turn": "the turn at which the secret was given away",
    "attribution": "who speaks, by a judge who is not told",
    "likelihood": "likelier than from its opposite (nats)",
    "stylometry": "like its own early lines",
    "dispersion": "two draws of this turn agree",
}


def family(measure: str) -> str:
    return measure.partition(":")[0].partition(".")[0]


def broken(score: Json) -> bool:
    """Whether a score of a line says that its character breaks."""
    known = score["value"] is not None and score["turn"] is not None
    return known and score["value"] < NEITHER and family(score["measure"]) in BREAKING


def breaks(score: Json) -> str:
    """Say what a broken score's character does."""
    return f"{score['character']} {_BREAKS[family(score['measure'])]}"


def poles(measure: str) -> tuple[str, str] | None:
    """Return the pole and the opposite that a measure is of, where it is of any."""
    if family(measure) not in ("sign", "state"):
        return None
    pole, slash, opposite = measure.partition(":")[2].partition("/")
    return (pole, opposite) if slash else None


def name(measure: str) -> str:
    """Return a measure's name in words: "habit: never asks", "sign: kind or mean"."""
    if measure in _NAMES:
        return _NAMES[measure]
    pair = poles(measure)
    kind = "trait, by a judge" if family(measure) == "state" else family(measure)
    rest = f"{pair[0]} or {pair[1]}" if pair else measure.partition(":")[2].replace("_", " ")
    return f"{kind}: {rest}" if rest else kind.replace("_", " ")


def verdict(score: Json) -> tuple[str, str]:
    """Return a score's mark and its value in words."""
    value, kind = score["value"], family(score["measure"])
    if value is None:
        return "–", "missing"
    words = poles(score["measure"]) or _WORDS.get(kind)
    if words is None or score["measure"] == "secret:turn" or value not in (0, NEITHER, 1):
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
    """Return measures with those that break first, in their order."""
    rank = {kind: i for i, kind in enumerate(BREAKING)}
    return sorted(set(measures), key=lambda m: (rank.get(family(m), len(rank)), m))
