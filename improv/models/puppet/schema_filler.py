"""A puppet's dice, and values that fill a JSON schema at random. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from improv.records import Json, seed_of

_T = TypeVar("_T")

_DEEP = 6

NOTES = (
    "Slow down here.",
    "Remember who you were at the start.",
    "Let the other one win this exchange.",
    "You want something from them; ask for it.",
    "Say less than you know.",
    "The storm is closer than it sounds.",
    "Keep your promise, even if it costs you.",
    "Notice what is on the table.",
    "Do not explain yourself again.",
    "Come back to the thing you said in the first line.",
)


class Dice:
    """Random numbers hashed from a key and a question, so that a new question changes no other."""

    def __init__(self, *key: object) -> None:
        self.key = "\x1f".join(map(str, key))

    def roll(self, question: object) -> float:
        """Return a uniform number, strictly between 0 and 1."""
        return (seed_of(self.key, question) + 0.5) / 2**31

    def pick(self, question: object, options: Sequence[_T]) -> _T:
        return options[int(self.roll(question) * len(options))]


def fill_schema(schema: Any, dice: Dice, path: str = "$", root: Any = None, depth: int = 0) -> Any:
    """Return a value that a JSON schema allows, chosen by hash. `pattern` and `format` are ignored.

    Strings are author's notes. A boolean of an author's schema mostly asks whether something should
    end, so one in eight is true; with one in two, no scene would last.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return dice.pick(path, NOTES)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return dice.pick(path, schema["enum"])
    for word in ("$ref", "allOf", "anyOf", "oneOf"):
        if word in schema:
            chosen = _choose(word, schema[word], dice, path, root, depth)
            rest = {k: v for k, v in schema.items() if k != word}
            return fill_schema(rest | chosen, dice, path, root, depth + (word == "$ref"))
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = dice.pick(f"{path}:", kind)
    if kind == "object":
        fields, required = schema.get("properties", {}), schema.get("required", ())
        return {
            name: fill_schema(fields.get(name, {}), dice, f"{path}.{name}", root, depth + 1)
            for name in {**fields, **dict.fromkeys(required)}
            if name in required or (depth < _DEEP and dice.roll(f"{path}.{name}?") < 0.5)
        }
    if kind == "array":
        return _items(schema, dice, path, root, depth)
    if kind in ("integer", "number"):
        return _number(schema, dice, path, step=1 if kind == "integer" else 0.01)
    if kind == "boolean":
        return dice.roll(path) < 0.125
    return None if kind == "null" else _note(schema, dice, path)


def _choose(word: str, options: Any, dice: Dice, path: str, root: Any, depth: int) -> Json:
    """Return the schema behind a $ref, or the one chosen or merged from several schemas."""
    chosen: Json = {}
    if word == "$ref":
        chosen = root
        for step in filter(None, options.lstrip("#").split("/")):
            chosen = chosen[step]
    elif word == "allOf":
        for each in options:
            chosen = chosen | each
    elif depth > _DEEP:  # the plainest option ends a schema that refers to itself
        chosen = min(options, key=lambda o: "$ref" in o or "properties" in o)
    else:
        chosen = dice.pick(f"{path}|", options)
    return chosen


def _items(schema: Json, dice: Dice, path: str, root: Any, depth: int) -> list[Any]:
    least = schema.get("minItems", 0)
    most = max(least, schema.get("maxItems", least + 2)) if depth < _DEEP else least
    size = dice.pick(f"{path}#", range(least, most + 1))
    items: list[Any] = []
    for k in range(10 * size):  # more than `size` only if items must differ
        item = fill_schema(schema.get("items", {}), dice, f"{path}[{k}]", root, depth + 1)
        if len(items) < size and not (schema.get("uniqueItems") and item in items):
            items.append(item)
    return items


def _number(schema: Json, dice: Dice, path: str, step: float) -> float:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low = schema.get("minimum", None if above is None else above + step)
    high = schema.get("maximum", None if below is None else below - step)
    if low is None:
        low = 0 if high is None or high >= 0 else high - 10 * step
    if high is None:
        high = low + 10 * step
    steps = dice.pick(path, range(math.ceil(low / step), math.floor(high / step) + 1))
    return steps if step == 1 else round(steps * step, 2)


def _note(schema: Json, dice: Dice, path: str) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1_000_000)
    fitting = [note for note in NOTES if least <= len(note) <= most]
    if fitting:
        return dice.pick(path, fitting)
    text = dice.pick(path, NOTES)
    return str((text * (1 + least // len(text)))[: min(most, max(least, len(text)))])
