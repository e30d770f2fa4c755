"""How a branch parted from its parent, in words. Pure: rows of the table of trials in.

What a row says of its edit is data from a folder that may be anybody's: what cannot be read changes
nothing that could be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from improv.records import MAIN, Json


def describe_branch(row: Json) -> str:
    """Return in a few words how a branch parted from its parent, the same for all of a family."""
    if row["branch"] == MAIN:
        return "as it was played"
    if row["origin"] == "regeneration":
        return "drawn again"
    if row["origin"] == "probe":
        return str(row["arm"] or "a question")
    if row["arm"]:
        return str(row["arm"])
    told = [f"{what}: {text}" for what, text in _told(row)]
    return "; ".join(told) or "played on anew"


def _told(row: Json) -> Iterator[tuple[str, str]]:
    """Yield what an edit changes and to what, in few words."""
    edit = edit_of(row)
    for what in ("line", "move"):
        if isinstance(edit.get(what), str):
            yield what, edit[what]
    for who, text in mapping(edit.get("memory")).items():
        yield f"memory of {who}", str(text) or "nothing"
    for path, value in leaves(patch_of(row)):
        yield describe_path(path), text_of(value)


def edit_of(row: Json) -> Json:
    """Return a branch's edit; one that cannot be read changes nothing that could be told."""
    try:
        found = json.loads(row["edit"] or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def patch_of(row: Json) -> Json:
    return mapping(edit_of(row).get("scene")) if row["origin"] == "branch" else {}


def mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def leaves(patch: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in patch.items():
        if isinstance(value, dict) and value and len(path) < 6:
            yield from leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def describe_path(path: tuple[str, ...]) -> str:
    """Say in words what stands at a path of a scene."""
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
