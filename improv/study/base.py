"""The base of all classes that read scene and study files: frozen, and closed to unknown fields.

The docstring of every field is the sentence that `improv schema` shows in an editor.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from improv.study.plain_data import data_problems


class Strict(BaseModel):
    """Base of the classes of a file: frozen, and an unknown field is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that were added after the first runs were played. A later field with its default
    changes nothing, so it is no part of a trial's id, and older ids stay valid."""
    MENUS: ClassVar[frozenset[str]] = frozenset()
    """Fields that never reach the stage, such as lists of choices. They are no part of a trial's
    id."""


Text = Annotated[str, Field(max_length=20_000)]
NAME_PATTERN = r"^[^\W\d_](?:[\w .'’-]*[\w.])?$"
Name = Annotated[str, Field(min_length=1, max_length=40, pattern=NAME_PATTERN)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Unquoted(ValueError):
    """What is wrong with a value that no message may quote, because it may be secret."""


class SceneProblems(ValueError):
    """Fields of a scene that do not fit together: each problem with the path of its field."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(message for _, message in problems))


class WholeFile(Strict):
    """Base of the classes of a whole file. Data from Python is held to what a file can hold."""

    @model_validator(mode="before")
    @classmethod
    def _is_plain_data(cls, data: Any) -> Any:
        if isinstance(data, dict) and (problems := data_problems(data)):
            raise SceneProblems(problems)
        return data


def essential_fields(value: Strict) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value that are part of a trial's id, by name and content."""
    fields = type(value).model_fields
    for name, content in value:
        later = name in value.LATER and content == fields[name].get_default()
        if name not in value.MENUS and not later:
            yield name, content


def essence(value: Any) -> Any:
    """Return data as JSON holds it, without `MENUS`, and without `LATER` fields at their
    default."""
    if isinstance(value, Strict):
        return {name: essence(content) for name, content in essential_fields(value)}
    if isinstance(value, dict):
        return {key: essence(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [essence(content) for content in value]
    return value


def did_you_mean(word: str, known: Iterable[object]) -> str:
    """Return a hint at the known word that is nearest to `word` in any case, or "" without one."""
    folded = {name.casefold(): name for name in sorted(map(str, known), reverse=True)}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f" (did you mean '{folded[near[0]]}'?)" if near else ""
