"""What kind each optional field of a card has, and what is read of a value of another kind.

Programs write numbers, texts, lists and empty values where the specifications have something else.
No scene needs these fields, so none of them makes a card unreadable: what can be read is read, the
rest counts as absent, and each gets a note. The card's own JSON stays as it is. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from improv.records import Json

NEEDED = ("name", "description")
"""The fields that a scene needs; card refuses a card in which they are of another kind."""
V1_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
V2_FIELDS = (
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
V3_FIELDS = (
    "assets",
    "nickname",
    "creator_notes_multilingual",
    "source",
    "group_only_greetings",
    "creation_date",
    "modification_date",
)
_MOST_NOTES = 12
"""Notes about odd values of one card; of the others only the number is said."""


@dataclass
class _Reading:
    """Reads values of any kind as what a field should have, and notes each that is odd."""

    notes: list[str] = field(default_factory=list)

    def text(self, value: Any, path: str) -> str | None:
        """A text; a number is its digits, and a list of texts its lines."""
        match value:
            case None | str():
                return value
            case int() | float() if not isinstance(value, bool):
                self._odd(path, value, "a text")
                return str(value)
            case list() if value and all(isinstance(item, str) for item in value):
                self._odd(path, value, "a text; its items are read as lines")
                return "\n".join(value)
        self._absent(path, value, "a text")
        return None

    def texts(self, value: Any, path: str) -> list[str] | None:
        """A list of texts; one text is a list of itself."""
        match value:
            case None:
                return None
            case list():
                rows = [self._item(item, f"{path}.{i}") for i, item in enumerate(value)]
                return [row for row in rows if row is not None]
            case str() if not value.strip():
                self._empty(path, value, "a list of texts")
                return None
            case str() if any(c.isalpha() for c in value):
                self._odd(path, value, "a list of texts; it is read as one of them")
                return [value]
            case dict() if value and all(isinstance(item, str) for item in value.values()):
                self._odd(path, value, "a list of texts; its values are read")
                return list(value.values())
        self._absent(path, value, "a list of texts")
        return None

    def keywords(self, value: Any, path: str) -> list[str] | None:
        """A list of texts; a text is keywords with commas between them."""
        if isinstance(value, str) and value.strip():
            self._odd(path, value, "a list of texts; it is read as keywords with commas")
            return [word.strip() for word in value.split(",") if word.strip()]
        return self.texts(value, path)

    def number(self, value: Any, path: str) -> float | None:
        """A number; a text may have its digits."""
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return None if value is None or not math.isfinite(number_of(value)) else value
        if isinstance(value, str) and number_of(value, math.nan) == number_of(value, math.nan):
            self._odd(path, value, "a number")
            return number_of(value)
        self._absent(path, value, "a number")
        return None

    def flag(self, value: Any, path: str) -> bool | None:
        """True or false; 0 and 1 and these words are too."""
        if value is None or isinstance(value, bool):
            return value
        said = str(value).strip().casefold() if isinstance(value, str | int) else ""
        if said in _FLAGS:
            self._odd(path, value, "true or false")
            return _FLAGS[said]
        self._absent(path, value, "true or false")
        return None

    def mapping(self, value: Any, path: str) -> Json | None:
        if value is None or isinstance(value, dict):
            return value
        self._absent(path, value, "an object")
        return None

    def objects(self, value: Any, path: str) -> list[Json] | None:
        if value is None:
            return None
        if not isinstance(value, list):
            self._absent(path, value, "a list of objects")
            return None
        rows = [self.mapping(item, f"{path}.{i}") for i, item in enumerate(value)]
        return [row for row in rows if row is not None]

    def book(self, value: Any, path: str) -> Json | None:
        """A lorebook, also a list of entries, and entries as SillyTavern's own files name them."""
        if value is None:
            return None
        if not isinstance(value, dict | list) or not value:
            self._empty(path, value, "an object with a list of 'entries'")
            return None
        entries = value if isinstance(value, list) else value.get("entries")
        if isinstance(value, list) or not isinstance(entries, list | None):
            where = path if isinstance(value, list) else f"{path}.entries"
            self._odd(
                where, entries, "a list" if where != path else "an object with a list of 'entries'"
            )
        rows = [
            {
                name: read(self, entry[key], f"{path}.entries.{place}.{key}")
                for key, (name, read) in _ENTRY.items()
                if key in entry
            }
            for place, entry in self._entries(entries, path)
        ]
        return {"entries": [row | _switch(row) for row in rows]}

    def _entries(self, entries: Any, path: str) -> Iterator[tuple[object, Json]]:
        pairs: Iterator[tuple[object, Any]] = iter(())
        if isinstance(entries, list):
            pairs = iter(enumerate(entries))
        elif isinstance(entries, dict):
            pairs = iter(entries.items())
        for place, entry in pairs:
            if isinstance(entry, dict):
                yield place, entry
            else:
                self._absent(f"{path}.entries.{place}", entry, "an object")

    def _item(self, item: Any, path: str) -> str | None:
        if item is None:
            self._absent(path, item, "a text")
        return self.text(item, path)

    def _odd(self, path: str, value: Any, wanted: str) -> None:
        self.notes.append(f"{path} is {kind_of(value)}, not {wanted}")

    def _absent(self, path: str, value: Any, wanted: str) -> None:
        self.notes.append(f"{path} is {kind_of(value)}, not {wanted}; it is left out")

    def _empty(self, path: str, value: Any, wanted: str) -> None:
        """The same for an empty value, with which nothing is lost."""
        if value in ("", [], {}):
            self._odd(path, value, wanted)
        else:
            self._absent(path, value, wanted)


_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_Read = Callable[[_Reading, Any, str], Any]
_TEXTS: tuple[str, ...] = (
    *V1_FIELDS[2:],
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "creator",
    "character_version",
    "nickname",
)
_FIELDS: dict[str, _Read] = {
    **dict.fromkeys(_TEXTS, _Reading.text),
    "alternate_greetings": _Reading.texts,
    "group_only_greetings": _Reading.texts,
    "source": _Reading.texts,
    "tags": _Reading.keywords,
    "extensions": _Reading.mapping,
    "creator_notes_multilingual": _Reading.mapping,
    "assets": _Reading.objects,
    "creation_date": _Reading.number,
    "modification_date": _Reading.number,
    "character_book": _Reading.book,
}
_ENTRY: dict[str, tuple[str, _Read]] = {
    "content": ("content", _Reading.text),
    "key": ("keys", _Reading.keywords),
    "keys": ("keys", _Reading.keywords),
    "disable": ("disable", _Reading.flag),
    "enabled": ("enabled", _Reading.flag),
    "constant": ("constant", _Reading.flag),
    "order": ("insertion_order", _Reading.number),
    "insertion_order": ("insertion_order", _Reading.number),
}
"""The fields of a lorebook's entry that are read, with those of SillyTavern's world files, which
some cards have: a name in a card's lorebook for each."""


def read_fields(data: Json, here: str, version: int) -> tuple[Json, tuple[str, ...]]:
    """Return the fields of a card, each of the kind that its specification says, and notes on what
    was of another kind. `here` comes before a field's name in a note."""
    reading = _Reading()
    known = {*V1_FIELDS, *(V2_FIELDS if version > 1 else ()), *(V3_FIELDS if version > 2 else ())}
    fields = dict(data)
    for name, read in _FIELDS.items():
        if name in data:
            before = len(reading.notes)
            fields[name] = read(reading, data[name], f"{here}{name}")
            if name not in known:
                # A field of a later version says nothing here: it is listed as not used.
                del reading.notes[before:]
    notes, more = reading.notes[:_MOST_NOTES], len(reading.notes) - _MOST_NOTES
    if more > 0:
        notes.append(f"{more} more fields are not of the kind that they should be")
    return fields, tuple(notes)


def written_entries(data: Json) -> list[Json]:
    """Return the entries of a card's lorebook as the card has them, whatever holds them."""
    book = data.get("character_book")
    entries = book.get("entries") if isinstance(book, dict) else book
    if isinstance(entries, dict):
        entries = list(entries.values())
    return (
        [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )


def turn_off(entry: Json) -> None:
    """Turn off an entry of a card's lorebook, as the card has it."""
    if "disable" in entry:
        entry["disable"] = True
    else:
        entry["enabled"] = False


def _switch(entry: Json) -> Json:
    enabled = entry.get("enabled")
    return {"enabled": not entry.get("disable") if enabled is None else enabled}


def number_of(value: Any, otherwise: float = 0.0) -> float:
    """Return a value as a number, or `otherwise` where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return number if number == number else otherwise


def kind_of(value: Any) -> str:
    """Return what a value is, in a word or two."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return f"'{value[:40]}'" if value else "an empty text"
        case list():
            return "a list" if value else "an empty list"
        case _:
            return "an object"
