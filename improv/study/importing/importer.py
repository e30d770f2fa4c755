"""Imports characters and scenes from other programs, and exports a character as a card.

Cards become a new scene or join the cast of an old one; a screenplay becomes a scene. The readers
are in cards and in fountain. This module writes the text of the scene, and checks it as every
scene is checked, before a file is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from improv.errors import Problem, RunError, StudyError
from improv.files import write_file
from improv.records import Json
from improv.study.find import find_source, read_source
from improv.study.importing.cards.card import Card
from improv.study.importing.cards.card_file import CARD_FILE, DEFAULT_USER, KEPT_CARD, kept_card
from improv.study.importing.cards.container import card_into_png, load_card
from improv.study.importing.cards.convert import (
    Account,
    CardEntry,
    card_name,
    card_to_entry,
    entry_to_card,
)
from improv.study.importing.fountain import read_fountain
from improv.study.importing.names import LONGEST_NAME, stage_name
from improv.study.importing.screenplay import Adapted, adapt
from improv.study.loader import load_scene, read_scene
from improv.study.scene import MAX_CAST, Scene
from improv.study.yaml_source import MAX_BYTES, Source, write_yaml

_MOST_OPTIONS = 10


@dataclass(frozen=True)
class Imported:
    """The text of an imported scene, the scene itself, and an account of each card in it."""

    text: str
    scene: Scene
    accounts: list[Account]


def import_cards(files: Sequence[str], user: str = "", file: str = "the scene") -> Imported:
    """Make a scene whose cast is the characters of the cards.

    `user` is the name that replaces {{user}} in the cards, and this character joins the cast. Where
    it is empty, {{user}} is the first other character, or Visitor where there is none. The first
    greeting opens the scene; the other greetings follow it as comments. `file` is the name of the
    scene in messages. Raises StudyError.
    """
    converted, cast = _cast(files, user, [])
    scenarios = list(dict.fromkeys(c.scenario for c in converted if c.scenario))
    names = [entry["name"] for entry in cast]
    premise = scenarios[0] if len(scenarios) == 1 else f"{_listed(names)} meet."
    lines = [(c.entry["name"], line) for c in converted for line in c.greetings]
    sources = ", ".join(Path(f).name for f in files)
    scene: Json = {"title": _listed(names)[:120], "about": f"Made from {sources}"[:500]}
    scene |= {"premise": premise, "cast": cast, "turns": 12}
    text = write_yaml(scene, prose=True)
    if lines:
        text += write_yaml({"opening": [{"who": lines[0][0], "line": lines[0][1]}]}, prose=True)
        text += _options(lines[1:])
    return _checked(text, file, [c.account for c in converted])


def import_into(scene: str, files: Sequence[str], user: str = "") -> Imported:
    """Add the characters of cards at the end of a scene's cast; return the new text.

    All other text of the scene stays as it is, comments too. Raises StudyError, also where the cast
    is not a list with a dash before each entry.
    """
    path = find_source(scene)
    source = read_source(path)
    there = load_scene(path)
    converted, cast = _cast(files, user, [c.name for c in there.cast])
    text = path.read_bytes().decode("utf-8-sig")
    joined = _joined(text, source, cast)
    return _checked(joined, str(path), [c.account for c in converted])


def import_fountain(file: str, number: int = 0) -> tuple[Imported, Adapted]:
    """Make a scene of scene `number` of a Fountain screenplay, counted from 1.

    0 takes the first scene in which somebody speaks. Returns also the adapted screenplay, which
    counts what was left out. Raises StudyError.
    """
    if not Path(file).is_file():
        raise StudyError([Problem(file, 1, 1, "", "there is no such file")])
    try:
        size = Path(file).stat().st_size
        text = "" if size > MAX_BYTES else Path(file).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise StudyError([Problem(file, 1, 1, "", f"not UTF-8 text (byte {e.start})")]) from None
    except OSError as e:
        raise StudyError([Problem(file, 1, 1, "", f"cannot be read: {e.strerror}")]) from None
    if size > MAX_BYTES:
        what = f"{size / 1e6:.1f} MB; a screenplay may have {MAX_BYTES // 1000} kB"
        raise StudyError([Problem(file, 1, 1, "", what)])
    adapted = adapt(read_fountain(text), file, number)
    return _checked(write_yaml(adapted.scene, prose=True), f"the scene from {file}", []), adapted


def save(text: str, file: str, *, new: bool) -> None:
    """Write a scene's file whole or not at all. Raises RunError, also where a `new` file exists."""
    path = Path(file)
    if new and path.exists():
        raise RunError(
            f"{file}: this file exists; choose another name, or add the cards to it with --into"
        )
    write_file(file, text)


def export_card(scene: str, name: str = "", picture: str = "") -> bytes:
    """Return a character of a scene as a card: JSON, or a copy of the PNG `picture` with the card.

    A character that came from a card becomes that card again, with its changes. `name` may be empty
    where only one character can be meant. Raises StudyError.
    """
    source = read_source(scene)
    played = load_scene(scene)
    entry = _entry(source, played, name)
    character = played.character(entry["name"])
    others = [c.name for c in played.cast if c.name != character.name]
    card, user = _origin(source, entry, others[0] if others else DEFAULT_USER)
    held = character.model_dump(mode="json", exclude_defaults=True)
    whole = entry_to_card(held, card, user)
    if picture:
        version = card.version if card is not None else 3
        try:
            drawn = Path(picture).read_bytes()
        except OSError as e:
            raise StudyError(
                [Problem(picture, 1, 1, "", f"cannot be read: {e.strerror}")]
            ) from None
        return card_into_png(drawn, whole, version, picture)
    return (json.dumps(whole, ensure_ascii=False, indent=2) + "\n").encode()


# -- the cast


def _cast(files: Sequence[str], user: str, there: list[str]) -> tuple[list[CardEntry], list[Json]]:
    """Cast the cards in a scene whose cast so far is `there`; return also the new cast entries."""
    user = user.strip()
    joins = bool(user) and user not in there
    size = len(files) + len(there) + joins
    if size > MAX_CAST:
        what = f"with these cards the cast has {size} characters; it may have {MAX_CAST}"
        raise StudyError([Problem(files[0], 1, 1, "", what)])
    cards, problems = [], []
    for file in files:
        try:
            card = load_card(file)
            card_name(card)
            cards.append(card)
        except StudyError as e:
            problems += e.problems
    if user and stage_name(user) != user:
        problems.append(Problem("--user", 1, 1, "", f"a scene cannot use the name '{user}'"))
    if problems:
        raise StudyError(problems)
    names: list[str] = []
    for card in cards:
        names.append(_free(card_name(card), [*names, *there, user]))
    users = {n: user or next((o for o in [*there, *names] if o != n), DEFAULT_USER) for n in names}
    paired = list(zip(cards, names, strict=True))
    converted = [card_to_entry(card, users[name], name=name) for card, name in paired]
    if not there and len({c.scenario for c in converted if c.scenario}) == 1:
        # The scenario becomes the premise, which the whole cast knows.
        converted = [card_to_entry(c, users[name], name=name, scenario=False) for c, name in paired]
    entries = [
        {**card_entry.entry, KEPT_CARD: {"card": card.whole, "user": users[name]}}
        for card_entry, (card, name) in zip(converted, paired, strict=True)
    ]
    somebody = user or (DEFAULT_USER if len(names) + len(there) == 1 else "")
    if somebody and somebody not in there:
        entries.append({"name": somebody, "role": f"who meets {_listed(names)}"[:200]})
    return converted, entries


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that is not taken: Ana, or else Ana 2, Ana 3, …"""
    folded = {t.casefold() for t in taken}
    for number in range(1, 100):
        tail = f" {number}" if number > 1 else ""
        numbered = f"{name[: LONGEST_NAME - len(tail)].rstrip()}{tail}"
        if numbered.casefold() not in folded:
            return numbered
    return name


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# -- the text of a scene


def _options(lines: Sequence[tuple[str, str]]) -> str:
    """Return the other greetings as comments, from which a person may choose another opening."""
    if not lines:
        return ""
    shown = [{"who": who, "line": line} for who, line in lines[:_MOST_OPTIONS]]
    more = len(lines) - len(shown)
    rest = f"# The cards have {more} more.\n" if more else ""
    body = "".join(f"#  {line}\n" for line in write_yaml(shown).splitlines())
    return f"# Other greetings of the cards:\n{body}{rest}"


def _joined(text: str, source: Source, entries: list[Json]) -> str:
    """Put entries at the end of the cast in a scene's text."""
    lines = text.splitlines(keepends=True)
    first = source.places.get(("cast", 0), (1, 1))
    dash = lines[first[0] - 1][: first[1] - 1].rstrip()
    if not dash.endswith("-") or dash.strip() != "-":
        what = "cards can only join a cast with a dash before each entry; run it without --into"
        raise StudyError([source.problem(("cast",), what)])
    indent = " " * (len(dash) - 1)
    begun = source.keys[("cast",)][0]
    later = [line for path, (line, _) in source.keys.items() if len(path) == 1 and line > begun]
    at = min(later, default=len(lines) + 1) - 1
    while at > first[0] and (not lines[at - 1].strip() or lines[at - 1].startswith(("#", "..."))):
        at -= 1
    body = "".join(
        f"{indent}{line}\n" if line else "\n"
        for line in write_yaml(entries, prose=True).splitlines()
    )
    before = "".join(lines[:at])
    return f"{before}{'' if before.endswith(chr(10)) else chr(10)}{body}{''.join(lines[at:])}"


def _checked(text: str, file: str, accounts: list[Account]) -> Imported:
    if len(text.encode()) > MAX_BYTES:
        what = f"with its cards the scene has {len(text.encode()) / 1e6:.1f} MB; a scene may have "
        what += f"{MAX_BYTES // 1000} kB; write `{CARD_FILE}: FILE` in the cast instead"
        raise StudyError([Problem(file, 1, 1, "", what)])
    return Imported(text, read_scene(text, file), accounts)


# -- export


def _entry(source: Source, played: Scene, name: str) -> Json:
    """Return the cast entry of the character `name`, or of the only one that has a card."""
    rows = source.data["cast"]
    pairs = [(c.name, row) for c, row in zip(played.cast, rows, strict=True)]
    from_cards = [pair for pair in pairs if pair[1].keys() & {CARD_FILE, KEPT_CARD}]
    named = [pair for pair in pairs if pair[0].casefold() == name.casefold()]
    candidates = named if name else from_cards or pairs
    if len(candidates) != 1:
        problem = f"nobody is called '{name}'" if name else "several characters; name one of them"
        what = f"{problem}; the cast is {', '.join(c.name for c in played.cast)}"
        raise StudyError([source.problem(("cast",), what)])
    return {**candidates[0][1], "name": candidates[0][0]}


def _origin(source: Source, entry: Json, user: str) -> tuple[Card | None, str]:
    """Return the card that a cast entry came from, if any, and the name of its {{user}}."""
    if entry.get(CARD_FILE):
        return load_card(Path(source.file).parent / entry[CARD_FILE], entry[CARD_FILE]), user
    if entry.get(KEPT_CARD):
        return kept_card(entry[KEPT_CARD], source.file)
    return None, user
