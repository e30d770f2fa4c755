"""Describes in a few words what a branch changes. Pure: the input is rows of the table of trials.

A row may come from anybody's run folder. An edit that cannot be read is treated as an empty edit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from improv.records import MAIN, Json


def describe_branch(row: Json) -> str:
    """Return in a few words what a branch changes. Branches with the same edit have the same
    text."""
    if row["branch"] == MAIN:
        return "as it was played"
    if row["origin"] == "regeneration":
        return "drawn again"
    if row["origin"] == "probe":
        return str(row["arm"] or "a question")
    if row["arm"]:
        return str(row["arm"])
    changes = [f"{what}: {text}" for what, text in _changes(row)]
    return "; ".join(changes) or "played on anew"


def _changes(row: Json) -> Iterator[tuple[str, str]]:
    """Yield what an edit changes, and its new value, in few words."""
    edit = edit_of(row)
    for what in ("line", "move"):
        if isinstance(edit.get(what), str):
            yield what, edit[what]
    for who, text in mapping(edit.get("memory")).items():
        yield f"memory of {who}", str(text) or "nothing"
    for path, value in leaves(patch_of(row)):
        yield describe_path(path), text_of(value)


def edit_of(row: Json) -> Json:
    """Return a branch's edit, or an empty one if it cannot be read."""
    try:
        edit = json.loads(row["edit"] or "{}")
    except (ValueError, RecursionError):
        return {}
    return edit if isinstance(edit, dict) else {}


def patch_of(row: Json) -> Json:
    """Return the patch of the scene in a branch's edit."""
    return mapping(edit_of(row).get("scene")) if row["origin"] == "branch" else {}


def mapping(value: Any) -> Json:
    """Return a value if it is a mapping, or else an empty one."""
    return value if isinstance(value, dict) else {}


def leaves(patch: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and value of each entry that is no mapping, down to a depth of seven."""
    for key, value in patch.items():
        if isinstance(value, dict) and value and len(path) < 6:
            yield from leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def text_of(value: Any) -> str:
    """Return a value of a patch as text for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def describe_path(path: tuple[str, ...]) -> str:
    """Return in words which part of a scene a path names."""
    match path:
        case ("cast", who, *rest):
            return f"{who}’s {' '.join(rest) or 'part'}"
        case ("author", "live"):
            return "A live author"
        case ("author", *rest) if rest:
            return f"The author’s {' '.join(rest)}"
        case ("model", *rest):
            return " ".join(["The model", *rest]) if rest != ["model"] else "The model"
    return f"The scene’s {' '.join(path)}"
