"""Brings characters and scenes in from other programs: cards become a scene that can be played, or
join the cast of one; a screenplay becomes a scene; and a character becomes a card again.

How a card is read stands in cards, and a screenplay in fountain; the text of the scene is made
here, and checked as any scene is before anything is written.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from improv.errors import Problem, RunError, StudyError
from improv.records import Json
from improv.study.find import find_source, read_source
from improv.study.importing.cards.card import Card
from improv.study.importing.cards.card_file import KEPT, NAMED, SOMEBODY, kept_card
from improv.study.importing.cards.container import in_png, load_card
from improv.study.importing.cards.convert import Account, Casting, called, card_of, cast_card
from improv.study.importing.fountain import read_fountain
from improv.study.importing.names import LONGEST_NAME, stage_name
from improv.study.importing.screenplay import Adapted, adapt
from improv.study.loader import load_scene, read_scene
from improv.study.scene import MAX_CAST, Scene
from improv.study.yaml_source import MAX_BYTES, Source, write_yaml

_MOST_OPTIONS = 10


@dataclass(frozen=True)
class Imported:
    """A scene's text, the scene that it is, and what became of what it was made from."""

    text: str
    scene: Scene
    accounts: list[Account]


def import_cards(files: Sequence[str], user: str = "", file: str = "the scene") -> Imported:
    """Make a scene of character cards, whose cast they are.

    `user` is whom the cards call {{user}}, and joins the cast; without it each card meets the
    first of the others, or somebody who is only named. A greeting opens the scene, and the rest
    stand after it as comments. `file` is what messages call the scene. Raises StudyError.
    """
    castings, cast = _cast(files, user, [])
    scenarios = list(dict.fromkeys(c.scenario for c in castings if c.scenario))
    names = [entry["name"] for entry in cast]
    premise = scenarios[0] if len(scenarios) == 1 else f"{_listed(names)} meet."
    lines = [(c.entry["name"], line) for c in castings for line in c.greetings]
    sources = ", ".join(Path(f).name for f in files)
    scene: Json = {"title": _listed(names)[:120], "about": f"Made from {sources}"[:500]}
    scene |= {"premise": premise, "cast": cast, "turns": 12}
    text = write_yaml(scene, prose=True)
    if lines:
        text += write_yaml({"opening": [{"who": lines[0][0], "line": lines[0][1]}]}, prose=True)
        text += _options(lines[1:])
    return _checked(text, file, [c.account for c in castings])


def import_into(scene: str, files: Sequence[str], user: str = "") -> Imported:
    """Return a scene's text with characters of cards at the end of its cast, and all else in it as
    it was written, comments and all. Raises StudyError, also where the cast is not a list with a
    dash before each."""
    path = find_source(scene)
    source = read_source(path)
    there = load_scene(path)
    castings, cast = _cast(files, user, [c.name for c in there.cast])
    text = path.read_bytes().decode("utf-8-sig")
    made = _joined(text, source, cast)
    return _checked(made, str(path), [c.account for c in castings])


def import_fountain(file: str, number: int = 0) -> tuple[Imported, Adapted]:
    """Make a scene of a Fountain screenplay: of its scene `number`, or else of the first in which
    somebody speaks. Returns what was left out as well. Raises StudyError."""
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
    """Write a scene's file whole or not at all; a `new` one replaces none. Raises RunError."""
    path = Path(file)
    if new and path.exists():
        raise RunError(f"{file}: is there already; choose another name, or join it with --into")
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, suffix=".part", delete=False
        ) as part:
            part.write(text)
        if not new:
            Path(part.name).chmod(path.stat().st_mode & 0o777)
        else:
            # A temporary file is its owner's alone.
            mask = os.umask(0)
            os.umask(mask)
            Path(part.name).chmod(0o666 & ~mask)
        Path(part.name).replace(path)
    except OSError as e:
        raise RunError(f"{file}: cannot be written: {e.strerror}") from None


def export_card(scene: str, name: str = "", picture: str = "") -> bytes:
    """Return a character of a scene as a card: JSON, or with `picture` a PNG that has it within.

    A character that came from a card returns as that card. Raises StudyError.
    """
    source = read_source(scene)
    played = load_scene(scene)
    entry = _entry(source, played, name)
    character = played.character(entry["name"])
    others = [c.name for c in played.cast if c.name != character.name]
    card, user = _origin(source, entry, others[0] if others else SOMEBODY)
    held = character.model_dump(mode="json", exclude_defaults=True)
    whole = card_of(held, card, user)
    if picture:
        version = card.version if card is not None else 3
        try:
            drawn = Path(picture).read_bytes()
        except OSError as e:
            raise StudyError(
                [Problem(picture, 1, 1, "", f"cannot be read: {e.strerror}")]
            ) from None
        return in_png(drawn, whole, version, picture)
    return (json.dumps(whole, ensure_ascii=False, indent=2) + "\n").encode()


# -- casting


def _cast(files: Sequence[str], user: str, there: list[str]) -> tuple[list[Casting], list[Json]]:
    """Cast cards beside those who are `there`; return also the entries that join the cast."""
    user = user.strip()
    joins = bool(user) and user not in there
    if len(files) + len(there) + joins > MAX_CAST:
        rest = f", and {len(there) + joins} are there beside them" if len(there) + joins else ""
        what = f"{len(files)} cards{rest}; a cast has {MAX_CAST} at most"
        raise StudyError([Problem(files[0], 1, 1, "", what)])
    cards, problems = [], []
    for file in files:
        try:
            card = load_card(file)
            called(card)
            cards.append(card)
        except StudyError as e:
            problems += e.problems
    if user and stage_name(user) != user:
        problems.append(Problem("--user", 1, 1, "", f"'{user}' cannot be called on a stage"))
    if problems:
        raise StudyError(problems)
    names: list[str] = []
    for card in cards:
        names.append(_free(called(card), [*names, *there, user]))
    met = {n: user or next((o for o in [*there, *names] if o != n), SOMEBODY) for n in names}
    paired = list(zip(cards, names, strict=True))
    castings = [cast_card(card, met[name], name=name) for card, name in paired]
    if not there and len({c.scenario for c in castings if c.scenario}) == 1:
        # How things stand is the scene's to say, and everybody's to know.
        castings = [cast_card(c, met[name], name=name, scenario=False) for c, name in paired]
    entries = [
        {**casting.entry, KEPT: {"card": card.whole, "user": met[name]}}
        for casting, (card, name) in zip(castings, paired, strict=True)
    ]
    somebody = user or (SOMEBODY if len(names) + len(there) == 1 else "")
    if somebody and somebody not in there:
        entries.append({"name": somebody, "role": f"who meets {_listed(names)}"[:200]})
    return castings, entries


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that nobody has yet: Ana, or else Ana 2, Ana 3, …"""
    folded = {t.casefold() for t in taken}
    for number in range(1, 100):
        tail = f" {number}" if number > 1 else ""
        made = f"{name[: LONGEST_NAME - len(tail)].rstrip()}{tail}"
        if made.casefold() not in folded:
            return made
    return name


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# -- text


def _options(lines: Sequence[tuple[str, str]]) -> str:
    """Write greetings that are not used as comments, to be taken in the first one's place."""
    if not lines:
        return ""
    shown = [{"who": who, "line": line} for who, line in lines[:_MOST_OPTIONS]]
    more = len(lines) - len(shown)
    told = f"# {more} more are in the cards.\n" if more else ""
    body = "".join(f"#  {line}\n" for line in write_yaml(shown).splitlines())
    return f"# It may begin otherwise:\n{body}{told}"


def _joined(text: str, source: Source, entries: list[Json]) -> str:
    """Put entries at the end of the cast in a scene's text."""
    lines = text.splitlines(keepends=True)
    first = source.places.get(("cast", 0), (1, 1))
    dash = lines[first[0] - 1][: first[1] - 1].rstrip()
    if not dash.endswith("-") or dash.strip() != "-":
        what = "only a cast with a dash before each can be joined; print the cards without --into"
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
        what = f"with its cards the scene has {len(text.encode()) / 1e6:.1f} MB, and a scene may "
        what += f"have {MAX_BYTES // 1000} kB; name the cards in a scene instead: {NAMED}: FILE"
        raise StudyError([Problem(file, 1, 1, "", what)])
    return Imported(text, read_scene(text, file), accounts)


# -- the way out


def _entry(source: Source, played: Scene, name: str) -> Json:
    """Find whom is meant: the one that is named, or the only one with a card."""
    rows = source.data["cast"]
    pairs = [(c.name, row) for c, row in zip(played.cast, rows, strict=True)]
    carded = [pair for pair in pairs if pair[1].keys() & {NAMED, KEPT}]
    meant = [p for p in pairs if p[0].casefold() == name.casefold()] if name else carded or pairs
    if len(meant) != 1:
        problem = f"nobody is called '{name}'" if name else "say whose card is wanted"
        what = f"{problem}; the cast is {', '.join(c.name for c in played.cast)}"
        raise StudyError([source.problem(("cast",), what)])
    return {**meant[0][1], "name": meant[0][0]}


def _origin(source: Source, entry: Json, user: str) -> tuple[Card | None, str]:
    if entry.get(NAMED):
        return load_card(Path(source.file).parent / entry[NAMED], entry[NAMED]), user
    if entry.get(KEPT):
        return kept_card(entry[KEPT], source.file)
    return None, user
