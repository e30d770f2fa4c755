"""Replaces the macros in a card's text: names, comments and random choices. Pure.

A random choice (`{{random:…}}`, `{{pick:…}}`, `{{roll:…}}`) is made once, with a seed of the card's
name and the place in its text, so that the same card is always the same character. A macro whose
value only a running chat has (`{{time}}`, `{{lastMessage}}`, …) stays in the text and is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from improv.records import seed_of

_MACRO = re.compile(r"\{\{([^{}]{0,20000})\}\}")
_TAG = re.compile(r"<(user|bot|char)>", re.IGNORECASE)
_TRIM = re.compile(r"\n*\{\{trim\}\}\n*", re.IGNORECASE)
_HIDDEN = re.compile(r"//|comment:|hidden_key:", re.IGNORECASE)
_CHANCE = re.compile(r"(random|pick)\s?::?(.*)", re.IGNORECASE | re.DOTALL)
_ROLL = re.compile(r"roll[\s:]+(?:(\d{0,2})d)?(\d{1,6})([+-]\d{1,6})?", re.IGNORECASE)
_ROUNDS = 8
"""Levels of macros within macros, at most."""


@dataclass
class Filling:
    """Replaces the macros of one card, and collects what it drew and which macros it left.

    `char` and `user` are the names for {{char}} and {{user}}. `drawn` lists the random choices, and
    `left` the macros that stay in the text.
    """

    char: str
    user: str
    card: str
    """The card's name, a seed of its random choices."""
    drawn: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)

    def fill(self, text: str, place: str) -> str:
        """Return `text` with its macros replaced; `place` names its field, for the seed."""
        names = {"user": self.user, "bot": self.char, "char": self.char}
        text = _TAG.sub(lambda m: names[m[1].lower()], _TRIM.sub("", text))
        for round_ in range(_ROUNDS):
            # Innermost first: their values may be part of another macro.
            filled = _MACRO.sub(lambda m, r=round_: self._one(m, place, r), text)  # type: ignore[misc]
            if filled == text:
                break
            text = filled
        self.left.update(f"{{{{{m[1].strip()[:40]}}}}}" for m in _MACRO.finditer(text))
        return text

    def _one(self, macro: re.Match[str], place: str, round_: int) -> str:
        inside = macro[1].strip()
        plain = {
            "user": self.user,
            "char": self.char,
            "bot": self.char,
            "noop": "",
            "newline": "\n",
        }
        if inside.lower() in plain:
            return plain[inside.lower()]
        if _HIDDEN.match(inside):
            return ""
        if inside.lower().startswith("reverse:"):
            return inside[8:].strip()[::-1]
        seed = seed_of("card", self.card, place, round_, macro.start())
        if chance := _CHANCE.fullmatch(inside):
            options = _options(chance[2])
            self.drawn.append(f"{{{{{chance[1].lower()}}}}}")
            return options[seed % len(options)]
        if roll := _ROLL.fullmatch(inside):
            self.drawn.append("{{roll}}")
            return _rolled(roll, seed)
        return macro[0]


def _options(text: str) -> list[str]:
    if "::" in text:
        return text.split("::")
    return [option.replace("\\,", ",").strip() for option in re.split(r"(?<!\\),", text)]


def _rolled(roll: re.Match[str], seed: int) -> str:
    dice, sides = int(roll[1] or 1) or 1, max(1, int(roll[2]))
    total = sum(seed_of(seed, die) % sides + 1 for die in range(dice))
    return str(total + int(roll[3] or 0))
