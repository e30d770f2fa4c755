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
from improv.study.base import SceneProblems, Unquoted, did_you_mean
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
        hint = did_you_mean(str(place[-1]), _fields_at(model, place[:-1]))
        return [Fault(place, f"not a field{hint}", at_key=True)]
    if error["type"] == "missing":
        what = "this field is required"
    elif error["type"] == "string_pattern_mismatch":
        what = f"{_shown(error['input'])} does not have the form {error['ctx']['pattern']}"
    elif not isinstance(inner, Unquoted) and not isinstance(error["input"], dict | list):
        what = f"{what}, not {_shown(error['input'])}"
    return [Fault(place, what, at_key=False)]


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
    return text if len(text) <= 60 else text[:57] + "…"
