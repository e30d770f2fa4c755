"""What all data that people write is made of: classes that are frozen, and closed to fields that
they do not know.

Every field has the sentence that `improv schema` shows in an editor.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Frozen, and closed to fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after the first runs were played: one that says what was so before it
    came changes nothing, and so is no part of what a trial's id is made of."""
    MENUS: ClassVar[frozenset[str]] = frozenset()
    """Fields that only hold what may be chosen from, and never reach the stage themselves."""


Text = Annotated[str, Field(max_length=20_000)]
Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\W\d_](?:[\w .'’-]*[\w.])?$")]
Probability = Annotated[float, Field(ge=0, le=1)]


class SceneProblems(ValueError):
    """What in a scene does not agree, each with the path of the one at fault."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(what for _, what in problems))


def essence(value: Any) -> Any:
    """Return data as JSON holds it, without menus and without later fields left as they were."""
    if isinstance(value, Strict):
        fields = type(value).model_fields
        return {
            name: essence(held)
            for name, held in value
            if name not in value.MENUS
            and not (name in value.LATER and held == fields[name].get_default())
        }
    if isinstance(value, dict):
        return {key: essence(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [essence(held) for held in value]
    return value


def closest(name: str, names: set[str]) -> str | None:
    """Return which of `names` somebody who wrote `name` may have meant."""
    folded = {n.casefold(): n for n in sorted(names)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None
