"""Character cards of versions 1, 2 and 3: the fields of a card and their checks. Pure.

The reader accepts the deviations that programs in use write; its errors name the broken field.
container reads a card from the bytes of a file.

V1 and V2: https://github.com/malfoyslastname/character-card-spec-v2.
V3: https://github.com/kwaroran/character-card-spec-v3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from improv.errors import Problem, StudyError
from improv.records import Json

MAX_TEXT = 8_000_000
"""Characters of a card's JSON. Pictures in it are base64 and may take megabytes."""
MAX_JSON_DEPTH = 32
"""Levels that a card's JSON may have; a scene's file, which may contain it, may have 40."""

_TEXTS = (
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "nickname",
    "creator",
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "character_version",
)
_LISTS = ("alternate_greetings", "group_only_greetings", "tags")
_V1 = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
_V2 = (
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "alternate_greetings",
    "character_book",
    "tags",
    "creator",
    "character_version",
    "extensions",
)
_V3 = (
    "assets",
    "nickname",
    "creator_notes_multilingual",
    "source",
    "group_only_greetings",
    "creation_date",
    "modification_date",
)


@dataclass(frozen=True)
class LoreEntry:
    """One entry of a card's lorebook."""

    content: str
    keys: tuple[str, ...] = ()
    constant: bool = False


@dataclass(frozen=True)
class Card:
    """A character card of any version.

    `file` is the name of its file in messages. `whole` is its JSON, unchanged, so that the card can
    be written again. `container` is the kind of its file, and `assets` counts the pictures and
    sounds beside it, which are not read. `newer` is its spec if that is newer than V3. `repaired`
    counts the texts in which half a character was replaced.
    """

    file: str
    version: int
    whole: Json
    container: str = "JSON"
    assets: int = 0
    newer: str = ""
    repaired: int = 0

    @property
    def data(self) -> Json:
        """The fields of the character, which V2 and V3 have in `data`."""
        return fields_of(self.whole)

    def text(self, field: str) -> str:
        """Return a field's text, empty where it has none, with \\n at the ends of lines."""
        value = self.data.get(field)
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    def texts(self, field: str) -> list[str]:
        """Return the texts of a field that is a list, with \\n at the ends of lines."""
        return [text.replace("\r\n", "\n") for text in self.data.get(field) or ()]

    @property
    def lore(self) -> list[LoreEntry]:
        """The enabled entries of the lorebook, sorted by `insertion_order`."""
        book = self.data.get("character_book")
        rows = (book or {}).get("entries") or []
        on = [e for e in rows if e.get("enabled", True) and str(e.get("content") or "").strip()]
        on.sort(key=lambda e: _number(e.get("insertion_order")))
        return [
            LoreEntry(e["content"], tuple(map(str, e.get("keys") or ())), e.get("constant") is True)
            for e in on
        ]

    @property
    def unknown(self) -> list[str]:
        """The names of fields that are in no specification, and of all fields in `extensions`."""
        known = {*_V1, *(_V2 if self.version > 1 else ()), *(_V3 if self.version > 2 else ())}
        here = "data." if self.version > 1 else ""
        names = [f"{here}{name}" for name in self.data if name not in known]
        if self.version > 1:
            # SillyTavern writes the fields of version 1 beside `data` too.
            beside = {"spec", "spec_version", "data", *_V1}
            names += [name for name in self.whole if name not in beside]
            extensions = self.data.get("extensions")
            if isinstance(extensions, dict):
                names += [f"data.extensions.{name}" for name in extensions]
        return names


def fields_of(whole: Json) -> Json:
    """Return the part of a card's JSON that has its fields: `data`, or all of it in version 1."""
    data = whole.get("data")
    return data if isinstance(data, dict) and _versioned(whole) else whole


def read_card(text: str, file: str, container: str = "JSON", assets: int = 0) -> Card:
    """Read a card from its JSON. Raises StudyError, which names the file, the place and the field.

    Half characters (lone surrogates, as a cut emoji leaves them) are replaced, since UTF-8 cannot
    encode them.
    """
    repaired = 0
    whole = _parsed(text, file)
    if not isinstance(whole, dict):
        refuse_card(file, f"contains {_kind(whole)}; a character card is an object")
    _check_depth(whole, file)
    if r"\ud" in text.lower():
        whole, repaired = _repaired(whole)
    version, newer = _version(whole, file)
    card = Card(file, version, whole, container, assets, newer, repaired)
    problems = list(_problems(card))
    if problems:
        raise StudyError([Problem(file, 1, 1, path, what) for path, what in problems])
    return card


def refuse_card(file: str, what: str, line: int = 1, column: int = 1) -> NoReturn:
    """Raise a StudyError about one place in a card's file."""
    raise StudyError([Problem(file, line, column, "", what)])


def _parsed(text: str, file: str) -> Any:
    if len(text) > MAX_TEXT:
        what = f"{len(text) / 1e6:.1f} MB of text; a card may have {MAX_TEXT // 1_000_000} MB"
        refuse_card(file, what)
    if not text.strip():
        refuse_card(file, "is empty; a character card is a JSON object")
    try:
        # Not orjson: it reads an integer above 64 bits as a float.
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as e:
        refuse_card(file, f"not JSON: {e.msg[0].lower()}{e.msg[1:]}", e.lineno, e.colno)
    except RecursionError:
        refuse_card(file, f"nested more than {MAX_JSON_DEPTH} deep")
    except ValueError as e:
        odd = "a whole number of more than 4300 digits" if "int_max_str" in str(e) else e
        refuse_card(file, f"not JSON: {odd}")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number in JSON")


def _check_depth(whole: Any, file: str) -> None:
    level = [whole]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    refuse_card(file, f"nested more than {MAX_JSON_DEPTH} deep")


def _repaired(value: Any) -> tuple[Any, int]:
    """Replace lone surrogates in all texts; return also how many texts had one."""
    if isinstance(value, str):
        fixed = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return fixed, int(fixed != value)
    if isinstance(value, dict):
        pairs = [(_repaired(key), _repaired(item)) for key, item in value.items()]
        return {k: v for (k, _), (v, _) in pairs}, sum(m + n for (_, m), (_, n) in pairs)
    if isinstance(value, list):
        items = [_repaired(item) for item in value]
        return [v for v, _ in items], sum(n for _, n in items)
    return value, 0


def _versioned(whole: Json) -> bool:
    return "spec" in whole or "name" not in whole


def _version(whole: Json, file: str) -> tuple[int, str]:
    """Return the version of a card, and its spec if that is newer than V3."""
    spec, data = whole.get("spec"), whole.get("data")
    if isinstance(spec, str) and spec.startswith("lorebook"):
        refuse_card(file, "a lorebook without a character; a card has a character")
    if "spec" in whole and not isinstance(data, dict):
        refuse_card(
            file, f"spec is {_kind(spec)}, but there is no 'data' object with the character"
        )
    if not isinstance(data, dict) or not _versioned(whole):
        return 1, ""
    if spec in (None, "chara_card_v2"):
        return 2, ""
    newer = str(spec)[:40] if spec != "chara_card_v3" else ""
    stated = whole.get("spec_version")
    if not newer and isinstance(stated, str) and _number(stated) > 3:
        newer = f"chara_card_v3, {stated[:20]}"
    return 3, newer


def _problems(card: Card) -> Iterator[tuple[str, str]]:
    data, here = card.data, "data." if card.version > 1 else ""
    name = data.get("name")
    if name is None:
        hint = "; 'char_name' is of an older format" if "char_name" in data else ""
        yield f"{here}name", f"missing: a character card has at least a name{hint}"
    elif not isinstance(name, str):
        yield f"{here}name", f"must be text, not {_kind(name)}"
    elif not name.strip():
        yield f"{here}name", "empty: a character card has at least a name"
    elif card.version == 1 and not any(isinstance(data.get(f), str) for f in _V1[1:]):
        # JSON files of other kinds have a `name` too.
        yield "", "has none of a card's fields (description, personality, first_mes, …)"
    for field in _TEXTS:
        if data.get(field) is not None and not isinstance(data[field], str):
            yield f"{here}{field}", f"must be text, not {_kind(data[field])}"
    for field in _LISTS:
        yield from _list_problems(data.get(field), f"{here}{field}")
    if not isinstance(data.get("extensions") or {}, dict):
        yield f"{here}extensions", f"must be an object, not {_kind(data['extensions'])}"
    yield from _book_problems(data.get("character_book"), f"{here}character_book")


def _list_problems(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if not isinstance(value, list):
        yield path, f"must be a list of texts, not {_kind(value)}"
        return
    for i, item in enumerate(value):
        if not isinstance(item, str):
            yield f"{path}.{i}", f"must be text, not {_kind(item)}"


def _book_problems(book: Any, path: str) -> Iterator[tuple[str, str]]:
    if book is None:
        return
    entries = book.get("entries") if isinstance(book, dict) else None
    if not isinstance(book, dict) or not isinstance(entries, list | None):
        yield path, "must be an object with a list of 'entries'"
        return
    for i, entry in enumerate(entries or ()):
        if not isinstance(entry, dict):
            yield f"{path}.entries.{i}", f"must be an object, not {_kind(entry)}"
        elif not isinstance(entry.get("content"), str | None):
            yield f"{path}.entries.{i}.content", f"must be text, not {_kind(entry['content'])}"
        elif not isinstance(entry.get("keys"), list | None):
            yield f"{path}.entries.{i}.keys", f"must be a list, not {_kind(entry['keys'])}"


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if number == number else 0.0


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return f"'{value[:40]}'"
        case list():
            return "a list"
        case _:
            return "an object"
