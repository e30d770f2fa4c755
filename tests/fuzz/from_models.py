"""Strategies for the data of a pydantic model, as people write it: what its fields allow."""

from __future__ import annotations

import functools
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAMES = ["Ana", "Bo", "Cy", "Robert", "everybody", "author", "Ines Okafor"]
_TEXTS = st.sampled_from(["Ana waits.", "a note", "x", "Ana, IT BOILS?", *NAMES]) | st.text(
    max_size=20
)


@functools.cache
def data_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for a mapping with the required fields of a model, and some others."""
    required, optional = {}, {}
    for name, info in model.model_fields.items():
        made = _later(field, model, name)
        (required if info.is_required() else optional)[name] = made
    few = st.lists(st.sampled_from(sorted(optional)), max_size=4, unique=True) if optional else None
    if few is None:
        return st.fixed_dictionaries(required)
    return few.flatmap(
        lambda names: st.fixed_dictionaries(required | {name: optional[name] for name in names})
    )


@functools.cache
def field(model: type[BaseModel], name: str) -> st.SearchStrategy[Any]:
    """Return a strategy for the value of one field."""
    info = model.model_fields[name]
    return _values(info.annotation, tuple(info.metadata))


def _values(kind: Any, limits: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        base, *more = get_args(kind)
        flat = [m for one in more for m in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return _values(base, (*limits, *flat))
    if origin in (Union, types.UnionType):
        return st.one_of([_values(one, limits) for one in get_args(kind)])
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin in (list, tuple, frozenset):
        return st.lists(_values(get_args(kind)[0]), min_size=_least(limits), max_size=3)
    if origin is dict:
        of_key, of_value = get_args(kind)
        return st.dictionaries(_values(of_key), _values(of_value), max_size=3)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _later(data_of, kind)
    if kind in (int, float):
        return _number(kind, limits)
    if kind is str:
        return _text(limits)
    if kind is bool:
        return st.booleans()
    if kind in (None, type(None)):
        return st.none()
    if kind is Any or isinstance(kind, typing.TypeVar):
        return st.sampled_from([None, 1, "x", [], {}, {"a": [1]}])
    return st.from_type(kind)


def _later(make: Any, *arguments: Any) -> st.SearchStrategy[Any]:
    """Return a strategy that is made when it is needed, since models name each other."""
    return st.deferred(lambda: make(*arguments))


def _number(kind: type, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    least = next((m.ge for m in limits if isinstance(m, at.Ge)), None)
    most = next((m.le for m in limits if isinstance(m, at.Le)), None)
    if kind is int:
        low = least if least is not None else -3
        return st.integers(low, min(low + 12, most if most is not None else low + 12))
    return st.floats(
        least if least is not None else 0.01,
        most if most is not None else (least or 0) + 5,
        allow_nan=False,
    )


def _text(limits: tuple[Any, ...]) -> st.SearchStrategy[str]:
    pattern = next((p for m in limits if (p := getattr(m, "pattern", None))), None)
    if isinstance(pattern, str):
        return st.sampled_from(NAMES[:4]) | st.from_regex(pattern, fullmatch=True)
    return _TEXTS.filter(lambda t: len(t) >= _least(limits))


def _least(limits: tuple[Any, ...]) -> int:
    return next((m.min_length for m in limits if isinstance(m, at.MinLen)), 0)
