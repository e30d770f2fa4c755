"""Turns pydantic's errors into problems for people, each with the place of the value.

An unknown word that is similar to a known one gets a hint. yaml_source knows the lines and columns.
"""

from __future__ import annotations

import types
import typing
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from improv.errors import Problem
from improv.study.base import NAME_PATTERN, SceneProblems, Unquoted, did_you_mean
from improv.study.yaml_source import DataPath, Source


class Fault(NamedTuple):
    """One thing wrong with data: its path, a message, and whether the key is wrong, not the
    value."""

    place: DataPath
    what: str
    at_key: bool


def faults(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Return everything that `model` refuses in its data, with messages for people."""
    errors = error.errors(include_url=False)
    return [fault for detail in errors for fault in _faults_of(detail, model)]


def problems_in(source: Source, error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Return the faults of a whole file's data as problems with file, line and column."""
    return [
        source.problem(place, what, at_key=at_key) for place, what, at_key in faults(error, model)
    ]


def _faults_of(error: Any, model: type[BaseModel]) -> list[Fault]:
    inner = (error.get("ctx") or {}).get("error")
    if isinstance(inner, SceneProblems):
        return [Fault(place, what, at_key=False) for place, what in inner.problems]
    # Inside a union, a factor's patch or a validator, pydantic adds steps that are in no file.
    place = tuple(
        step
        for step in error["loc"]
        if not (isinstance(step, str) and step.startswith("function-"))
    )
    message = error["msg"].removeprefix("Value error, ")
    what = f"{message[0].lower()}{message[1:]}"
    if error["type"] == "extra_forbidden":
        return [Fault(place, _no_field(error, model, place), at_key=True)]
    if error["type"] == "missing":
        what = "this field is required"
    elif error["type"] == "string_pattern_mismatch":
        what = _not_of_the_form(_shown(error["input"]), error["ctx"]["pattern"])
    elif (simple := _another_kind(error, model, place)) is not None:
        what = simple
    elif not isinstance(inner, Unquoted) and not isinstance(error["input"], dict | list):
        what = f"{what}, not {_shown(error['input'])}"
    return [Fault(place, what, at_key=False)]


def _no_field(error: Any, model: type[BaseModel], place: DataPath) -> str:
    fields = _fields_at(model, place[:-1])
    # People write a character's name, or a speaker's, where its fields have to be.
    for field, then in (("name", "then its other fields"), ("who", "then 'line: ...'")):
        if field in fields and str(place[-1])[:1].isupper():
            return f"not a field; write '- {field}: {place[-1]}', {then}"
    return f"not a field{did_you_mean(str(place[-1]), fields)}"


def _not_of_the_form(shown: str, pattern: str) -> str:
    if pattern == NAME_PATTERN:
        signs = "spaces and . - _ ' ’"
        return f"{shown} is no name: it begins with a letter, and has letters, digits, {signs}"
    return f"{shown} does not have the form {pattern}"


_NUMBERS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def _another_kind(error: Any, model: type[BaseModel], place: DataPath) -> str | None:
    """What is wrong where a value is of another kind than its field, in plain words."""
    value = error["input"]
    match error["type"]:
        case "string_type":
            return f"must be a text, not {_as_a_text(value)}"
        case "list_type":
            entry = _fields_at(model, place)
            example = (
                "- name: Odile" if "name" in entry else f"- {entry[0]}: ..." if entry else "- "
            )
            return f"must be a list, each entry on a line that begins with '{example}'{_but(value)}"
        case "model_type" | "dict_type" | "model_attributes_type":
            entry = _fields_at(model, place)
            if isinstance(value, str) and value and "name" in entry:
                shown = _shown(value).strip("'")
                return f"must have fields; write '- name: {shown}', then its other fields"
            first = f"'{entry[0]}: ...'" if entry else "'name: value'"
            return f"must have fields, such as {first}{_but(value)}"
        case kind if kind in _NUMBERS:
            return f"must be {_NUMBERS[kind]}{_but(value)}"
    return None


def _as_a_text(value: Any) -> str:
    match value:
        case None:
            return "nothing; a text that begins with # stands in quotation marks"
        case bool() | int() | float():
            written = str(value).lower() if isinstance(value, bool) else str(value)
            return f'{_shown(value)}; put it in quotation marks: "{written[:60]}"'
        case list():
            return "a list; a text that begins with [ or - stands in quotation marks"
    return "fields; a text that holds ': ' or begins with { stands in quotation marks"


def _but(value: Any) -> str:
    """Return ", not ..." with what a value is; a whole list or mapping is not shown."""
    if isinstance(value, dict):
        first = next(iter(value), "")
        return f", not fields ('{str(first)[:40]}: ...')"
    if isinstance(value, list):
        return ", not a list"
    return f", not {_shown(value)}" if value is not None else ", not nothing"


def _fields_at(model: Any, place: DataPath) -> list[str]:
    """Return the field names of the class that `place` inside `model` has."""
    kind: Any = model
    for step in place:
        field = _fields_of(kind).get(str(step))
        kind = _class_in(field.annotation if field is not None else kind)
    return list(_fields_of(_class_in(kind)))


def _fields_of(kind: object) -> dict[str, FieldInfo]:
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _class_in(annotation: Any) -> Any:
    """Find the model class inside an annotation such as `list[Annotated[Model, ...]] | None`."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    args = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or args:
        for arg in args:
            inner = _class_in(arg)
            if _fields_of(inner):
                return inner
    return annotation


def _shown(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else f"'{value}'"
    text = text.lower() if isinstance(value, bool) else text
    return text if len(text) <= 60 else text[:57] + "…"
