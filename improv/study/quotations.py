"""Finds words that one text quotes from another, though they were changed a little. Pure.

Two texts are compared as words: without case, punctuation, marks on letters, and whatever the form
of quotes, dashes and line breaks. A quotation is a run of words that both texts have, in which one
word may be exchanged, left out or put in. A paraphrase, a translation and a shorter run cannot be
found in this way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

MIN_WORDS = 4
"""Words of the shortest run that is noticed."""
MIN_LETTERS = 18
"""Letters of a run that nobody says by chance. 190,000 words of seven plays before 1915 share 80
runs of four words with the author's texts, cards, goals and secrets of the shipped studies; the
longest of them, "the windows are open", has 17 letters."""
HALF = 3
"""Words on each side of a word that was exchanged, left out or put in."""

Gram = tuple[str, ...]

_WORD = re.compile(r"[^\W_]+")
# Scripts without spaces between words: each letter stands for a word, and counts twice.
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
)
_INSIDE_WORDS = re.compile(r"['’‘ʼ`´\u00ad\u200b-\u200d\u2060]")
# A capital inside a sentence: after a space, and not after what ends a sentence or opens speech.
_NAME = re.compile(r"(?<=[^\W_])[,;]?\s([^\W\d_a-zß-ÿ][^\W\d_]{2,})")
_MOST_NAMES = 0.2
"""Share of capitals inside sentences from which they are no sign of a name, as in German."""


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: of "Don’t stop!" these are dont, stop."""
    if not text.isascii():
        text = _UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))
        spelt = unicodedata.normalize("NFKD", _INSIDE_WORDS.sub("", text))
        return _WORD.findall("".join(c for c in spelt if not unicodedata.combining(c)).casefold())
    return _WORD.findall(_INSIDE_WORDS.sub("", text).casefold())


def letters(run: Iterable[str]) -> int:
    """Return the letters of a run; a letter of a script without spaces counts twice."""
    return sum(2 if _UNSPACED.match(word) else len(word) for word in run)


@dataclass(frozen=True, slots=True)
class Grams:
    """The runs of a text by which another text can quote it.

    `whole` has each run of `MIN_WORDS` words. `halves` has each pair of runs of `HALF` words with
    at most one word between them. `names` are words that begin with a capital inside a sentence.
    """

    whole: frozenset[Gram]
    halves: frozenset[Gram]
    names: frozenset[str]

    @classmethod
    @lru_cache(maxsize=8192)
    def of(cls, text: str) -> Grams:
        run = words(text)
        capitals = [name for match in _NAME.findall(text) for name in words(match)]
        if len(capitals) > _MOST_NAMES * len(run):
            capitals = []
        return cls(frozenset(wholes(run)), frozenset(halves(run)), frozenset(capitals))


def wholes(run: Sequence[str]) -> Iterator[Gram]:
    """Return each run of `MIN_WORDS` words."""
    return zip(run, run[1:], run[2:], run[3:], strict=False)


def halves(run: Sequence[str]) -> Iterator[Gram]:
    """Yield each pair of half runs: next to each other, and with one word between them."""
    a, b, c, d, e, f, g = (run[i:] for i in range(2 * HALF + 1))
    yield from zip(a, b, c, d, e, f, strict=False)
    yield from zip(a, b, c, e, f, g, strict=False)


@dataclass(frozen=True, slots=True)
class Quotation:
    """A run of words that a text shares with another one.

    `telling` is false if the run may be chance: it is short and has no name that only the other
    text knows.
    """

    run: tuple[str, ...]
    telling: bool

    def __str__(self) -> str:
        shown = " ".join(self.run)
        return shown if len(shown) <= 120 else f"{shown[:117]}…"


def quotations(
    run: Sequence[str],
    whole: Collection[Gram],
    half: Collection[Gram],
    names: Collection[str] = (),
    least: int = MIN_WORDS,
) -> list[Quotation]:
    """Return what a text, given as its words, shares with the runs of another: the telling first,
    then the longest. A run of fewer than `least` words is never telling."""
    covered = [False] * len(run)
    for i, gram in enumerate(wholes(run)):
        if gram in whole:
            covered[i : i + MIN_WORDS] = [True] * MIN_WORDS
    if half:
        for i in range(len(run) - 2 * HALF + 1):
            for j in (i + HALF, i + HALF + 1):
                if (*run[i : i + HALF], *run[j : j + HALF]) in half and len(run) >= j + HALF:
                    covered[i : j + HALF] = [True] * (j + HALF - i)
    shared = []
    for start, end in _spans(covered):
        piece = tuple(run[start:end])
        long = letters(piece) >= MIN_LETTERS or not set(names).isdisjoint(piece)
        shared.append(Quotation(piece, long and len(piece) >= least))
    return sorted(shared, key=lambda q: (not q.telling, -len(q.run)))


def _spans(covered: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each stretch that is covered."""
    start = -1
    for i, on in enumerate([*covered, False]):
        if on and start < 0:
            start = i
        elif not on and start >= 0:
            yield start, i
            start = -1
