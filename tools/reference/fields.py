"""Writes the pages of scene files and study files from the pydantic models.

A page has a section for each class of the file, in the order in which a writer meets the classes.
Types, limits and defaults come from the class; the sentences are its docstrings.
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
"""Validator → the shorter form that it also accepts."""
PATTERNS = {
    r"^[^\W\d_](?:[\w .'’-]*[\w.])?$": "a letter first, then letters, digits, spaces and . ' -",
    r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$": "letters, digits, spaces and . _ -",
    r"^[\w .-]+$": "letters, digits, spaces and . _ -",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable",
    r"\{\}": "with {} in it",
}
"""Pattern → what a text must be to match it."""
PLURALS = {"text": "text", "whole number": "whole numbers", "number": "numbers"}


def classes(top: Kind) -> list[Kind]:
    """Return a class and all classes of its fields, each once, in a writer's order."""
    kinds: dict[Any, None] = {top: None}

    def visit(annotation: Any, later: set[Any]) -> None:
        if annotation in kinds or annotation in later:
            return
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            kinds[annotation] = None
            for field in annotation.model_fields.values():
                visit(field.annotation, later)
        for argument in typing.get_args(annotation):
            visit(argument, later)

    # A class of a later field of `top` comes with that field, even if an earlier part uses it too.
    direct = [_kinds(field.annotation) for field in top.model_fields.values()]
    for place, field in enumerate(top.model_fields.values()):
        visit(field.annotation, set().union(*direct[place + 1 :]))
    return list(kinds)


def title(kind: Kind) -> str:
    """Return the title of a class on its page: "NoteSample" is "Note sample"."""
    name = kind.__name__.removesuffix("File").removesuffix("Spec")
    return re.sub(r"(?<!^)([A-Z])", r" \1", name).capitalize()


def page(top: Kind, head: str, beside: Iterable[Kind] = (), elsewhere: str = "") -> str:
    """Return the page of a class, with a section for each class of its fields.

    The classes `beside` have their sections on the page `elsewhere`.
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
        for limit in more:
            limits += limit.metadata if isinstance(limit, FieldInfo) else [limit]
    plain = _plain(annotation, limits, places)
    others = [SHORTHANDS.get(getattr(getattr(m, "func", None), "__name__", ""), "") for m in limits]
    return ", ".join([plain, *filter(None, others)])


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
        items = _plural(words(arguments[0], [], places))
        return f"list of {items}" + (f" ({many})" if many else "")
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
        text = f"text of {size}" if size else "text"
        return f"{text} ({', '.join(patterns)})" if patterns else text
    numbers = {int: "whole number", float: "number"}
    return f"{numbers[annotation]} {_span(limits)}".strip()


def _plural(singular: str) -> str:
    link = re.match(r"\[([\w ]+)\](.*)", singular)
    if link:
        return f"[{link[1]}s]{link[2]}" if not link[1].endswith("y") else singular
    plural = PLURALS.get(singular, singular.replace("mapping", "mappings", 1))
    return plural.replace("text of", "texts of", 1)


def _range(limits: list[Any], what: str) -> str:
    """Return the allowed number of items or characters: "1 to 12 items"."""
    least = next((m.min_length for m in limits if getattr(m, "min_length", None)), None)
    most = next((m.max_length for m in limits if getattr(m, "max_length", None)), None)
    if most is None:
        return f"at least {least} {what}" if least else ""
    return f"{least} to {most:,} {what}" if least else f"at most {most:,} {what}"


def _span(limits: list[Any]) -> str:
    """Return the limits of a number: "from 0 to 1", "above 0, at most 5"."""
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
        lines += ["", f"Used as {', '.join(users)}."]
    lines.append("")
    lines += [_field(name, field, places) for name, field in kind.model_fields.items()]
    lines += ["", "```yaml", EXAMPLES[kind.__name__].strip(), "```"]
    return "\n".join(lines)


def _field(name: str, field: FieldInfo, places: dict[Kind, str]) -> str:
    kind = words(field.annotation, field.metadata, places)
    meaning = " ".join((field.description or "").split())
    return f"- **`{field.alias or name}`**: {kind}; {_default(field)}.  \n  {meaning}"


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
    """Return the classes of fields that a type contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {kind for argument in typing.get_args(annotation) for kind in _kinds(argument)}


def _anchor(kind: Kind) -> str:
    return title(kind).lower().replace(" ", "-")
