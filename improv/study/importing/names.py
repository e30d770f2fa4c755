"""Makes names for a scene of the names that cards and screenplays use. Pure."""

from __future__ import annotations

import re
import unicodedata

from improv.text import visible

LONGEST_NAME = 40
"""Characters of a name in a scene, at most."""
DEFAULT_ROLE = "one of the cast"
"""The role of an imported character where its card or screenplay gives none."""

_ASIDE = re.compile(r"[(\[{<（【][^()\[\]{}<>（）【】]{0,200}[)\]}>）】]")
_MARKS = " .'’-"


def stage_name(written: str) -> str:
    """Return `written` as a name that a scene accepts.

    Such a name has letters, digits, spaces and the marks . ' - ’ _ ·, begins with a letter and has
    40 characters at most. Text in brackets is dropped first, then emoji and other signs. The result
    is empty where no letter is left.
    """
    # Composed, so that one name always has the same characters.
    text = unicodedata.normalize("NFC", visible(written[:1000]).replace("\n", " "))
    for candidate in (_ASIDE.sub(" ", text), text):
        name = _letters(candidate)
        if name:
            return name
    return ""


def _letters(text: str) -> str:
    kept = "".join(c if c in _MARKS or _spells(c) else " " for c in text)
    name = " ".join(kept.split()).lstrip(f"{_MARKS}_").rstrip(f"{_MARKS[2:]} ")
    if not any(unicodedata.category(c).startswith("L") for c in name):
        return ""
    if unicodedata.category(name[0])[0] != "L":
        name = f"No. {name}" if name[0].isdecimal() else ""
    if len(name) > LONGEST_NAME:
        name = (name[:LONGEST_NAME].rpartition(" ")[0] or name[:LONGEST_NAME]).rstrip(_MARKS)
    return name


def _spells(c: str) -> bool:
    category = unicodedata.category(c)
    return category[0] in "LM" or category == "Nd" or c in "_·"


def ordinary_case(cue: str, prose: str = "") -> str:
    """Return a name in capitals as ordinary text writes it.

    Where `prose` has the name in mixed letters, that spelling is used. Otherwise each part begins
    with a capital (O'BRIEN becomes O'Brien).
    """
    if not cue.isupper():
        return cue
    for match in re.finditer(rf"(?<!\w){re.escape(cue)}(?!\w)", prose, re.IGNORECASE):
        spelling = match[0]
        if not spelling.isupper() and not spelling.islower() and spelling[0].isupper():
            return spelling
    return re.sub(r"(?<![^\W_])[^\W\d_](?:[^\W_]|['’][^\W_]+)*", _capital, cue)


def _capital(word: re.Match[str]) -> str:
    first, mark, rest = re.match(r"([^'’]*)(['’]?)(.*)", word[0]).groups()  # type: ignore[union-attr]
    low = rest.capitalize() if len(first) == 1 else rest.lower()
    return f"{first.capitalize()}{mark}{low}"
