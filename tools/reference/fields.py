"""What people write, in words: the pages of scene files and study files, from the pydantic models.

A page has a section for each class that a file is made of, in the order in which a writer meets
them. Types, limits and defaults come from the class; the sentences are its own docstrings.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tools.reference.examples import EXAMPLES

Kind = type[BaseModel]

SHORTHANDS = {
    "_model": "or the name of one",
    "_fact": "or its sentence alone",
    "_several": "or one mapping alone",
}
"""Validator → what it takes besides: a shorter way to write the same."""
PATTERNS = {
    r"^[^\W\d_](?:[\w .'’-]*[\w.])?$": "a letter first, then letters, digits, spaces and . ' -",
    r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$": "letters, digits, spaces and . _ -",
    r"^[\w .-]+$": "letters, digits, spaces and . _ -",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable",
    r"\{\}": "with {} in it",
}
"""Pattern → what it asks for."""
PLURALS = {"text": "text", "whole number": "whole numbers", "number": "numbers"}


def classes(top: Kind) -> list[Kind]:
    """Return a class and all that its fields are made of, each once, in a writer's order."""
    found: dict[Any, None] = {top: None}

    def visit(annotation: Any, later: set[Any]) -> None:
        if annotation in found or annotation in later:
            return
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found[annotation] = None
            for field in annotation.model_fields.values():
                visit(field.annotation, later)
        for argument in typing.get_args(annotation):
            visit(argument, later)

    # What the top class has itself comes in its own turn, though a part of it may have it too.
    direct = [_kinds(field.annotation) for field in top.model_fields.values()]
    for place, field in enumerate(top.model_fields.values()):
        visit(field.annotation, {kind for kinds in direct[place + 1 :] for kind in kinds})
    return list(found)


def title(kind: Kind) -> str:
    """Return what a class is called on its page: "NoteSample" is "Note sample"."""
    name = kind.__name__.removesuffix("File").removesuffix("Spec")
    return re.sub(r"(?<!^)([A-Z])", r" \1", name).capitalize()


def page(top: Kind, head: str, beside: Iterable[Kind] = (), elsewhere: str = "") -> str:
    """Return the page of a class, with a section for each class that it is made of.

    Classes `beside` have their sections on the page `elsewhere`.
    """
    shared = set(beside)
    own = [kind for kind in classes(top) if kind not in shared]
    places = {kind: f"{elsewhere if kind in shared else ''}#{_anchor(kind)}" for kind in shared}
    places |= {kind: f"#{_anchor(kind)}" for kind in own}
    contents = " · ".join(f"[{title(kind)}]({places[kind]})" for kind in own)
    parts = [head.strip(), contents, *(_section(kind, own, places) for kind in own)]
    return "\n\n".join(parts) + "\n"


def words(annotation: Any, metadata: Iterable[Any], places: dict[Kind, str]) -> str:
    """Return a type in words, with its limits: "number from 0 to 1", "list of text"."""
    limits = list(metadata)
    while typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        for one in more:
            limits += one.metadata if isinstance(one, FieldInfo) else [one]
    told = _plain(annotation, limits, places)
    others = [SHORTHANDS.get(getattr(getattr(m, "func", None), "__name__", ""), "") for m in limits]
    return ", ".join([told, *filter(None, others)])


def _plain(annotation: Any, limits: list[Any], places: dict[Kind, str]) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        several = [a for a in arguments if a is not type(None)]
        return ", or ".join(words(a, limits, places) for a in several)
    if origin is typing.Literal:
        *most, last = (f"`{choice}`" for choice in arguments)
        return f"{', '.join(most)} or {last}" if most else last
    if origin is list:
        many = _range(limits, "items")
        of = _plural(words(arguments[0], [], places))
        return f"list of {of}" + (f" ({many})" if many else "")
    if origin is dict:
        value = arguments[1]
        return "mapping" if value is Any else f"mapping from name to {words(value, [], places)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{title(annotation).lower()}]({places[annotation]})"
    if annotation is bool:
        return "`true` or `false`"
    if annotation is str:
        size = _range(limits, "characters")
        patterns = [PATTERNS[p] for m in limits if (p := getattr(m, "pattern", None))]
        told = f"text of {size}" if size else "text"
        return f"{told} ({', '.join(patterns)})" if patterns else told
    numbers = {int: "whole number", float: "number"}
    told = _span(limits)
    return f"{numbers[annotation]} {told}".strip()


def _plural(told: str) -> str:
    first = re.match(r"\[([\w ]+)\](.*)", told)
    if first:
        return f"[{first[1]}s]{first[2]}" if not first[1].endswith("y") else told
    plural = PLURALS.get(told, told.replace("mapping", "mappings", 1))
    return plural.replace("text of", "texts of", 1)


def _range(limits: list[Any], what: str) -> str:
    """Return how long something may be: "1 to 12 items"."""
    least = next((m.min_length for m in limits if getattr(m, "min_length", None)), None)
    most = next((m.max_length for m in limits if getattr(m, "max_length", None)), None)
    if most is None:
        return f"at least {least} {what}" if least else ""
    return f"{least} to {most:,} {what}" if least else f"at most {most:,} {what}"


def _span(limits: list[Any]) -> str:
    """Return between which ends a number lies: "from 0 to 1", "above 0, at most 5"."""
    ends = {
        key: getattr(m, key) for m in limits for key in ("ge", "gt", "le", "lt") if hasattr(m, key)
    }
    if "ge" in ends and "le" in ends:
        return f"from {ends['ge']} to {ends['le']:,}"
    names = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{names[key]} {value}" for key, value in ends.items())


def _section(kind: Kind, own: list[Kind], places: dict[Kind, str]) -> str:
    about = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    rest = [" ".join(part.split()) for part in (kind.__doc__ or "").split("\n\n")[1:]]
    users = [
        f"`{field.alias or name}` of [{title(user).lower()}]({places[user]})"
        for user in own
        for name, field in user.model_fields.items()
        if user is not kind and kind in _kinds(field.annotation)
    ]
    lines = [f"## {title(kind)}", "", about]
    for part in rest:
        lines += ["", part]
    if users:
        lines += ["", f"Stands as {', '.join(users)}."]
    lines.append("")
    lines += [_field(name, field, places) for name, field in kind.model_fields.items()]
    lines += ["", "```yaml", EXAMPLES[kind.__name__].strip(), "```"]
    return "\n".join(lines)


def _field(name: str, field: FieldInfo, places: dict[Kind, str]) -> str:
    told = words(field.annotation, field.metadata, places)
    meaning = " ".join((field.description or "").split())
    return f"- **`{field.alias or name}`**: {told}; {_default(field)}.  \n  {meaning}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ("", [], {}):
        return "optional"
    if isinstance(default, BaseModel):
        return "optional, with that section's defaults"
    if isinstance(default, dict):
        return f"by default `{', '.join(default)}`"
    if isinstance(default, list):
        return f"by default `[{', '.join(map(str, default))}]`"
    plain = default if isinstance(default, str) else json.dumps(default)
    return f"by default `{plain}`"


def _kinds(annotation: Any) -> set[Any]:
    """Return the classes that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {kind for argument in typing.get_args(annotation) for kind in _kinds(argument)}


def _anchor(kind: Kind) -> str:
    return title(kind).lower().replace(" ", "-")
