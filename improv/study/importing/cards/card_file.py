"""Puts the characters of cards that a scene names (`card_file: ana.png`) in the place of the names.

What is played, hashed and kept with a run is thus the characters themselves, wherever their files
may be later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from improv.errors import Problem, StudyError
from improv.study.importing.cards.card import Card, read_card
from improv.study.importing.cards.container import load_card
from improv.study.importing.cards.convert import LONGEST_CARD, Account, called_or, cast_card
from improv.study.yaml_source import DataPath

NAMED, KEPT = "card_file", "original"
SOMEBODY = "Visitor"
"""Whom a card meets where nobody else is there."""

_ProblemAt = Callable[[DataPath, str], Problem]


def with_cards(
    data: Any, folder: Path, problem: _ProblemAt, cast: Any = None
) -> tuple[Any, list[Account]]:
    """Return a scene's data, or a patch of one, with the cards that its cast names read into it,
    and an account of each.

    Paths are relative to `folder`. `problem` says where in the scene something is wrong, and
    `cast` is whom a patch is laid over. What an entry gives beside `card_file` goes over the
    card. Cards kept in a scene (`original`) are taken out. Raises StudyError.
    """
    members = data.get("cast") if isinstance(data, dict) else None
    rows: list[tuple[str | int, Any]] = []
    if isinstance(members, list):
        rows = list(enumerate(members))
    elif isinstance(members, dict):
        rows = list(members.items())
    if not any(isinstance(one, dict) and one.keys() & {NAMED, KEPT} for _, one in rows):
        return data, []
    problems: list[Problem] = []
    accounts: list[Account] = []
    made: dict[str | int, Any] = {}
    cards = {key: _card(one, folder, problem, ("cast", key), problems) for key, one in rows}
    given = {key: _called(one, key, cards[key]) for key, one in rows}
    # A patch of one says nothing of the others.
    beneath = cast if isinstance(cast, list) else []
    others = [*given.values(), *(str(c.get("name", "")) for c in beneath if isinstance(c, dict))]
    for key, one in rows:
        card = cards[key]
        made[key] = one
        if isinstance(one, dict):
            made[key] = {k: v for k, v in one.items() if k not in (NAMED, KEPT)}
        if card is None:
            continue
        user = next((n for n in others if n and n != given[key]), SOMEBODY)
        try:
            casting = cast_card(card, user, name=given[key])
        except StudyError as e:
            problems.append(problem(("cast", key, NAMED), str(e.problems[0])))
            continue
        entry = {**casting.entry, **made[key]}
        if casting.length > LONGEST_CARD and "card" not in made[key]:
            what = f"{one[NAMED]}: its text has {casting.length:,} characters, and a character is "
            what += f"told {LONGEST_CARD:,} at most; shorten it with `improv import-card`"
            problems.append(problem(("cast", key, NAMED), what))
        if isinstance(key, str):
            del entry["name"]  # A patch by name has whoever is called that.
        accounts.append(casting.account)
        made[key] = entry
    if problems:
        raise StudyError(problems)
    laid = [made[key] for key, _ in rows] if isinstance(members, list) else made
    return {**data, "cast": laid}, accounts


def kept_card(original: Any, file: str) -> tuple[Card, str]:
    """Read a card that a scene keeps with its character: the card, and whom it met.

    Raises StudyError.
    """
    if not isinstance(original, dict) or not isinstance(original.get("card"), dict):
        what = "not a card that improv kept; it has 'card' and 'user'"
        raise StudyError([Problem(file, 1, 1, KEPT, what)])
    return read_card(json.dumps(original["card"]), file), str(original.get("user") or SOMEBODY)


def _card(
    one: Any, folder: Path, problem: _ProblemAt, place: DataPath, problems: list[Problem]
) -> Card | None:
    path = one.get(NAMED) if isinstance(one, dict) else None
    if path is None or path == "":
        return None
    if not isinstance(path, str) or Path(path).is_absolute() or "\0" in path or len(path) > 1000:
        problems.append(problem((*place, NAMED), "the path of a card, relative to this file"))
        return None
    try:
        return load_card(folder / path, path)
    except StudyError as e:
        problems += [problem((*place, NAMED), str(p)) for p in e.problems]
        return None


def _called(one: Any, key: str | int, card: Card | None) -> str:
    """Return what an entry's character is called, as far as that can be told."""
    if isinstance(key, str):
        return key
    name = one.get("name") if isinstance(one, dict) else None
    if isinstance(name, str) and name:
        return name
    if card is None:
        return ""
    return called_or(card, "")
