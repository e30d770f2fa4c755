"""Fills the macros of a card's text: names, comments, and chances, which are drawn once. Pure.

A chance (`{{random:…}}`, `{{pick:…}}`, `{{roll:…}}`) is drawn from the card and the place in its
text, so that the same card is always the same character. What only a running chat could tell
(`{{time}}`, `{{lastMessage}}`, …) is left as it stands, and named.
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
"""How deep macros may stand in each other."""


@dataclass
class Filling:
    """Who is meant, and what came of it: chances drawn, and macros left as they stand."""

    char: str
    user: str
    card: str
    """What tells this card from others: the seed of its chances."""
    drawn: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)

    def fill(self, text: str, place: str) -> str:
        """Return `text` with its macros filled; `place` names the field it stands in."""
        names = {"user": self.user, "bot": self.char, "char": self.char}
        text = _TAG.sub(lambda m: names[m[1].lower()], _TRIM.sub("", text))
        for round_ in range(_ROUNDS):
            # The innermost first: what they become may stand in another.
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
    return [one.replace("\\,", ",").strip() for one in re.split(r"(?<!\\),", text)]


def _rolled(roll: re.Match[str], seed: int) -> str:
    dice, sides = int(roll[1] or 1) or 1, max(1, int(roll[2]))
    total = sum(seed_of(seed, die) % sides + 1 for die in range(dice))
    return str(total + int(roll[3] or 0))
