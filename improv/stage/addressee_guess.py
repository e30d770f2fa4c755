"""Guesses whom a line addresses if it does not say so, from weak signs: a conditional logit.

Each person present is a choice, and so is nobody in particular. The signs are who spoke last and to
whom, a question, a "you", an order, words that come back. `tools/addressees.py` fits the weights on
scenes of public-domain plays. The speaker who follows is no sign here: it is not known while a
scene plays, and figures such as "taken" compare the guess with that speaker. There is no I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from improv.records import Turn

NOBODY = ""
REMEMBERED = 12
"""Lines before this one that count."""

_SPOKEN = ("written", "line", "silence")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_TOPIC = 5
"""Letters of the shortest word that can show what a line is about."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_YOU = _set("you your yours yourself you're you've you'll you'd thou thee thy ye")
_THEY = _set("he she him her his they them their that's")
_POLITE = _set("sir madam ma'am dear darling mister")
_REPLY = _set(
    "yes no yeah aye oh ah but indeed certainly why what well nay true never not because of so "
    "then thank thanks sorry nothing perhaps i and it he she that"
)
_ORDER = _set(
    "tell ask give take get go come let leave stop wait look listen sit stand stay hold keep bring "
    "show help say speak remember forget try turn don't do be never please allow pray"
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """An earlier line: who spoke, whom it addressed ("" for nobody), and its text."""

    speaker: str
    addressed: str
    text: str


@dataclass(frozen=True, slots=True)
class _Line:
    """What of a line and the lines before is a sign, whoever is addressed."""

    speaker: str
    words: list[str]
    text: str
    earlier: Sequence[Spoken]
    last: Spoken | None
    """The latest line of somebody else."""

    @property
    def you(self) -> bool:
        return not _YOU.isdisjoint(self.words)

    @property
    def they(self) -> bool:
        return not self.you and not _THEY.isdisjoint(self.words)


def heard_lately(turns: Sequence[Turn], who: str) -> list[Spoken]:
    """Return the last lines that `who` said or heard, the latest last."""
    lines = [
        Spoken(t.speaker, t.addressed, t.text)
        for t in turns[-3 * REMEMBERED :]
        if t.kind in _SPOKEN and (t.speaker == who or who in t.heard_by)
    ]
    return lines[-REMEMBERED:]


def guess(
    text: str,
    speaker: str,
    others: Sequence[str],
    earlier: Sequence[Spoken],
    mentioned: Sequence[str],
    weights: Mapping[str, float],
) -> str:
    """Return who of `others` is probably addressed, or "" for nobody in particular.

    `earlier` has the lines before, the latest last, and `mentioned` those present whom the line
    names without calling them. `weights` are those of the signs.
    """
    rows = signs(text, speaker, others, earlier, mentioned)
    return max(rows, key=lambda name: weigh(rows[name], weights))


def weigh(row: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the weight of the evidence for one choice."""
    return sum(weights.get(sign, 0.0) * value for sign, value in row.items())


def signs(
    text: str,
    speaker: str,
    others: Sequence[str],
    earlier: Sequence[Spoken],
    mentioned: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Return the signs for each choice: the names of `others`, and "" for nobody."""
    earlier = earlier[-REMEMBERED:]
    last = next((s for s in reversed(earlier) if s.speaker != speaker), None)
    words = [w.lower().replace("’", "'") for w in _WORD.findall(text[:4000])]
    line = _Line(speaker, words, text, earlier, last)
    rows = {name: _person(line, name, name in mentioned) for name in others}
    return rows | {NOBODY: _nobody(line)}


def _nobody(line: _Line) -> dict[str, float]:
    text = line.text.rstrip(" .\"'”’)")
    return {
        "nobody": 1.0,
        "nobody: you": float(line.you),
        "nobody: they": float(line.they),
        "nobody: polite": float(not _POLITE.isdisjoint(line.words)),
        "nobody: exclaims": float(len(line.words) < 6 and text.endswith("!")),
        "nobody: asks": float(text.endswith("?")),
        "nobody: no line before": float(line.last is None),
        "nobody: last was to nobody": float(line.last is not None and not line.last.addressed),
    }


def _person(line: _Line, name: str, mentioned: bool) -> dict[str, float]:
    ago = next((i for i, s in enumerate(reversed(line.earlier)) if s.speaker == name), None)
    own = next((s for s in reversed(line.earlier) if s.speaker == line.speaker), None)
    last = line.last
    row = {
        "mentioned": float(mentioned),
        "spoken to by last": float(last is not None and last.addressed == name),
        "spoke 2 to 4 ago": float(ago is not None and 1 <= ago <= 3),
        "spoke longer ago": float(ago is not None and ago > 3),
        "I spoke to them": float(own is not None and own.addressed == name),
        "they spoke to me": float(
            any((s.speaker, s.addressed) == (name, line.speaker) for s in line.earlier[-4:])
        ),
        "echo": float(min(2, _echo(line, name))),
    }
    if last is None or last.speaker != name:
        return row | {"you, not last": float(line.you)}
    first = line.words[0] if line.words else ""
    to_me, asked = last.addressed == line.speaker, "?" in last.text
    return row | {
        "last": 1.0,
        "last: spoke to me": float(to_me),
        "last: spoke to another": float(bool(last.addressed) and not to_me),
        "last: asked": float(asked),
        "last: asked me": float(asked and to_me),
        "last: you": float(line.you),
        "last: they": float(line.they),
        "last: reply": float(first in _REPLY),
        "last: order": float(first in _ORDER),
        "last: short": float(len(line.words) < 5),
        "last: long": float(len(line.words) > 30),
        "last: self went on": float(line.earlier[-1].speaker == line.speaker),
    }


def _echo(line: _Line, name: str) -> int:
    """Return how many long words of the line were in the latest line of `name`."""
    near = next((s for s in reversed(line.earlier[-6:]) if s.speaker == name), None)
    if near is None:
        return 0
    theirs = {w.lower() for w in _WORD.findall(near.text[:4000]) if len(w) >= _TOPIC}
    return len(theirs & {w for w in line.words if len(w) >= _TOPIC})
