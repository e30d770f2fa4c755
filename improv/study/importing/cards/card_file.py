"""Replaces each `card_file: ana.png` in a scene's cast by the character of that card.

So the run plays, hashes and stores the character itself, and needs the card's file no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from improv.errors import Problem, StudyError
from improv.study.importing.cards.card import Card, read_card
from improv.study.importing.cards.container import load_card
from improv.study.importing.cards.convert import LONGEST_CARD, Account, card_name_or, card_to_entry
from improv.study.yaml_source import DataPath

CARD_FILE = "card_file"
"""The field of a cast entry that names the file of a card."""
KEPT_CARD = "original"
"""The field of a cast entry that holds the card from which `import-card` made the entry."""
DEFAULT_USER = "Visitor"
"""The name for {{user}} in a card where the cast has nobody else."""

_ProblemAt = Callable[[DataPath, str], Problem]


def read_cast_cards(
    data: Any, folder: Path, problem: _ProblemAt, cast: Any = None
) -> tuple[Any, list[Account]]:
    """Read the cards that a scene's cast names, or a patch of it; return new data and accounts.

    Paths are relative to `folder`. `problem` makes a Problem of a place in the data and a message.
    `cast` is the cast that a patch changes. Other fields of an entry with `card_file` replace those
    of the card. Cards kept in the scene (`original`) are removed. Raises StudyError.
    """
    members = data.get("cast") if isinstance(data, dict) else None
    rows: list[tuple[str | int, Any]] = []
    if isinstance(members, list):
        rows = list(enumerate(members))
    elif isinstance(members, dict):
        rows = list(members.items())
    fields = {CARD_FILE, KEPT_CARD}
    if not any(isinstance(entry, dict) and entry.keys() & fields for _, entry in rows):
        return data, []
    problems: list[Problem] = []
    accounts: list[Account] = []
    entries: dict[str | int, Any] = {}
    cards = {key: _card(entry, folder, problem, ("cast", key), problems) for key, entry in rows}
    names = {key: _entry_name(entry, key, cards[key]) for key, entry in rows}
    # A patch of one character does not name the others.
    patched = cast if isinstance(cast, list) else []
    others = [*names.values(), *(str(c.get("name", "")) for c in patched if isinstance(c, dict))]
    for key, written in rows:
        card = cards[key]
        entries[key] = written
        if isinstance(written, dict):
            entries[key] = {k: v for k, v in written.items() if k not in fields}
        if card is None:
            continue
        user = next((n for n in others if n and n != names[key]), DEFAULT_USER)
        try:
            card_entry = card_to_entry(card, user, name=names[key])
        except StudyError as e:
            problems.append(problem(("cast", key, CARD_FILE), str(e.problems[0])))
            continue
        entry = {**card_entry.entry, **entries[key]}
        if card_entry.length > LONGEST_CARD and "card" not in entries[key]:
            what = (
                f"{written[CARD_FILE]}: its text has {card_entry.length:,} characters; `card` may "
            )
            what += f"have {LONGEST_CARD:,}; shorten it with `improv import-card`"
            problems.append(problem(("cast", key, CARD_FILE), what))
        if isinstance(key, str):
            del entry["name"]  # A patch by name keeps the name.
        accounts.append(card_entry.account)
        entries[key] = entry
    if problems:
        raise StudyError(problems)
    new_cast = [entries[key] for key, _ in rows] if isinstance(members, list) else entries
    return {**data, "cast": new_cast}, accounts


def kept_card(original: Any, file: str) -> tuple[Card, str]:
    """Read a card that a scene keeps (`original`); return it and the name of its {{user}}.

    Raises StudyError.
    """
    if not isinstance(original, dict) or not isinstance(original.get("card"), dict):
        what = "must be an object with 'card' and 'user', as `improv import-card` writes it"
        raise StudyError([Problem(file, 1, 1, KEPT_CARD, what)])
    return read_card(json.dumps(original["card"]), file), str(original.get("user") or DEFAULT_USER)


def _card(
    entry: Any, folder: Path, problem: _ProblemAt, place: DataPath, problems: list[Problem]
) -> Card | None:
    """Read the card that a cast entry names, if any; add to `problems` what is wrong with it."""
    path = entry.get(CARD_FILE) if isinstance(entry, dict) else None
    if path is None or path == "":
        return None
    if not isinstance(path, str) or Path(path).is_absolute() or "\0" in path or len(path) > 1000:
        problems.append(problem((*place, CARD_FILE), "the path of a card, relative to this file"))
        return None
    try:
        return load_card(folder / path, path)
    except StudyError as e:
        problems += [problem((*place, CARD_FILE), str(p)) for p in e.problems]
        return None


def _entry_name(entry: Any, key: str | int, card: Card | None) -> str:
    """Return the name of a cast entry's character; empty where it cannot be known."""
    if isinstance(key, str):
        return key
    name = entry.get("name") if isinstance(entry, dict) else None
    if isinstance(name, str) and name:
        return name
    if card is None:
        return ""
    return card_name_or(card, "")
