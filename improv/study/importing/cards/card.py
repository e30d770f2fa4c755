"""Character cards of versions 1, 2 and 3: what a card has, and what makes it unreadable. Pure.

Only its JSON, its name and its description can: field_kinds reads what the other fields have.
container reads a card from the bytes of a file.

V1 and V2: https://github.com/malfoyslastname/character-card-spec-v2.
V3: https://github.com/kwaroran/character-card-spec-v3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from improv.errors import Problem, StudyError
from improv.records import Json
from improv.study.importing.cards.field_kinds import (
    V1_FIELDS,
    V2_FIELDS,
    V3_FIELDS,
    kind_of,
    number_of,
    read_fields,
)

MAX_TEXT = 8_000_000
"""Characters of a card's JSON. Pictures in it are base64 and may take megabytes."""
MAX_JSON_DEPTH = 32
"""Levels that a card's JSON may have; a scene's file, which may contain it, may have 40."""


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
    counts the texts in which half a character was replaced. `odd` are notes on values that are not
    of the kind that the specification has.
    """

    file: str
    version: int
    whole: Json
    container: str = "JSON"
    assets: int = 0
    newer: str = ""
    repaired: int = 0
    fields: Json = field(default_factory=dict)
    odd: tuple[str, ...] = ()

    @property
    def data(self) -> Json:
        """The fields of the character as they are written; V2 and V3 have them in `data`."""
        return fields_of(self.whole)

    def text(self, field: str) -> str:
        """Return a field's text, empty where it has none, with \\n at the ends of lines."""
        return (self.fields.get(field) or "").replace("\r\n", "\n")

    def texts(self, field: str) -> list[str]:
        """Return the texts of a field that is a list, with \\n at the ends of lines."""
        return [text.replace("\r\n", "\n") for text in self.fields.get(field) or ()]

    @property
    def lore(self) -> list[LoreEntry]:
        """The enabled entries of the lorebook, sorted by `insertion_order`."""
        rows = (self.fields.get("character_book") or {}).get("entries") or []
        on = [e for e in rows if e["enabled"] and str(e.get("content") or "").strip()]
        on.sort(key=lambda e: number_of(e.get("insertion_order")))
        return [
            LoreEntry(e["content"], tuple(e.get("keys") or ()), e.get("constant") is True)
            for e in on
        ]

    @property
    def unknown(self) -> list[str]:
        """The names of fields that are in no specification, and of all fields in `extensions`."""
        known = {
            *V1_FIELDS,
            *(V2_FIELDS if self.version > 1 else ()),
            *(V3_FIELDS if self.version > 2 else ()),
        }
        here = "data." if self.version > 1 else ""
        names = [f"{here}{name}" for name in self.data if name not in known]
        if self.version > 1:
            # SillyTavern writes the fields of version 1 beside `data` too.
            beside = {"spec", "spec_version", "data", *V1_FIELDS}
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
    constants: set[str] = set()
    whole = _parsed(text, file, constants)
    if not isinstance(whole, dict):
        refuse_card(file, f"contains {kind_of(whole)}; a character card is an object")
    _check_depth(whole, file)
    if r"\ud" in text.lower():
        whole, repaired = _repaired(whole)
    version, newer, odd = _version(whole, file)
    fields, notes = read_fields(fields_of(whole), "data." if version > 1 else "", version)
    odd += [*notes, *(f"{word} is no number in JSON; it is read as null" for word in constants)]
    card = Card(
        file, version, whole, container, assets, newer, repaired, fields=fields, odd=tuple(odd)
    )
    problems = list(_problems(card))
    if problems:
        raise StudyError([Problem(file, 1, 1, path, what) for path, what in problems])
    return card


def refuse_card(file: str, what: str, line: int = 1, column: int = 1) -> NoReturn:
    """Raise a StudyError about one place in a card's file."""
    raise StudyError([Problem(file, line, column, "", what)])


def _parsed(text: str, file: str, constants: set[str]) -> Any:
    """Parse the JSON; `constants` gets the words (NaN) that programs write and JSON has not."""
    if len(text) > MAX_TEXT:
        what = f"{len(text) / 1e6:.1f} MB of text; a card may have {MAX_TEXT // 1_000_000} MB"
        refuse_card(file, what)
    if not text.strip():
        refuse_card(file, "is empty; a character card is a JSON object")
    try:
        # Not orjson: it reads an integer above 64 bits as a float.
        return json.loads(text, parse_constant=constants.add)
    except json.JSONDecodeError as e:
        refuse_card(file, f"not JSON: {e.msg[0].lower()}{e.msg[1:]}", e.lineno, e.colno)
    except RecursionError:
        refuse_card(file, f"nested more than {MAX_JSON_DEPTH} deep")
    except ValueError as e:
        long = "a whole number of more than 4300 digits"
        refuse_card(file, f"not JSON: {long if 'int_max_str' in str(e) else e}")


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


def _version(whole: Json, file: str) -> tuple[int, str, list[str]]:
    """Return the version of a card, its spec if that is newer than V3, and what is odd about it."""
    spec, data, stated = whole.get("spec"), whole.get("data"), whole.get("spec_version")
    if isinstance(spec, str) and spec.startswith("lorebook"):
        refuse_card(file, "a lorebook without a character; a card has a character")
    if "spec" in whole and not isinstance(data, dict):
        what = f"spec is {kind_of(spec)}, but there is no 'data' object with the character"
        if not isinstance(whole.get("name"), str) or not _has_a_field(whole):
            refuse_card(file, what)
        return 1, "", [f"{what}; the fields beside spec are read"]
    if not isinstance(data, dict) or not _versioned(whole):
        return 1, "", []
    if spec in (None, "chara_card_v2"):
        return 2, "", []
    if not isinstance(spec, str) or not spec.strip():
        return (3 if number_of(stated) >= 3 else 2), "", [f"spec is {kind_of(spec)}, not a text"]
    newer = spec[:40] if spec != "chara_card_v3" else ""
    if not newer and number_of(stated) > 3:
        newer = f"chara_card_v3, {str(stated)[:20]}"
    return 3, newer, []


def _has_a_field(data: Json) -> bool:
    return any(data.get(name) is not None for name in V1_FIELDS[1:])


def _problems(card: Card) -> Iterator[tuple[str, str]]:
    data, here = card.data, "data." if card.version > 1 else ""
    name = data.get("name")
    if name is None:
        hint = "; 'char_name' is of an older format" if "char_name" in data else ""
        yield f"{here}name", f"missing: a character card has at least a name{hint}"
    elif not isinstance(name, str):
        yield f"{here}name", f"must be text, not {kind_of(name)}"
    elif not name.strip():
        yield f"{here}name", "empty: a character card has at least a name"
    elif card.version == 1 and not _has_a_field(data):
        # JSON files of other kinds have a `name` too.
        yield "", "has none of a card's fields (description, personality, first_mes, …)"
    if not isinstance(data.get("description"), str | None):
        yield f"{here}description", f"must be text, not {kind_of(data['description'])}"
