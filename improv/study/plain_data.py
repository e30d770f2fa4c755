"""What plain data may be made of before it becomes a scene, a study or an edit.

Data comes from YAML files, from JSON cards, and from Python. It has to survive the way into a run's
files, a request and back: so there is no half of a surrogate pair in a text, no number that JSON
cannot hold, and no depth that a parser cannot follow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 40
"""Lists and mappings that may stand inside each other."""
_HALF = re.compile("[\ud800-\udfff]")
MAX_BITS = 1300
"""A card may hold an integer of any size; Python writes and reads those below 4,300 digits."""

Place = tuple[str | int, ...]


def value_problem(value: Any) -> str:
    """Return what is wrong with a single value, "" where nothing is."""
    if isinstance(value, str):
        if half := _HALF.search(value):
            code = f"\\u{ord(half[0]):04x}"
            return (
                f"character {half.start() + 1} is {code}, half of a surrogate pair, which is no "
                "text; write the whole character, such as an emoji, itself"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            return f"{value} is no number that can be kept; write a finite one"
    elif isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"a number of {value.bit_length()} bits; at most {MAX_BITS} are read"
    return ""


def data_problems(data: Any) -> list[tuple[Place, str]]:
    """Return each value or key in plain data that cannot be kept, with its place."""
    return list(_problems(data, (), 0))


def _problems(data: Any, place: Place, depth: int) -> Iterator[tuple[Place, str]]:
    if depth > MAX_DEPTH:
        yield place, f"nested more than {MAX_DEPTH} deep"
    elif isinstance(data, dict):
        for key, value in data.items():
            if problem := value_problem(key):
                yield place, f"a key: {problem}"
            else:
                step = key if isinstance(key, str | int) else str(key)
                yield from _problems(value, (*place, step), depth + 1)
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            yield from _problems(value, (*place, i), depth + 1)
    elif problem := value_problem(data):
        yield place, problem


def deeper_than(value: Any, most: int = MAX_DEPTH) -> bool:
    """Return whether lists and objects in `value` are nested deeper than `most`."""
    layer = [value]
    for _ in range(most + 1):
        inner: list[Any] = []
        for part in layer:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
        layer = [part for part in inner if isinstance(part, dict | list)]
        if not layer:
            return False
    return True
