"""The names of a cast as people write them: in full, a first or last name alone, an alias.

The cleaning of replies asks whose cue a name is, the search for an addressee whom it calls, and
the author's reader whom a note is for. A short form is somebody's only if nobody else could be
meant. Text only, no I/O.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

Cast = tuple[tuple[str, tuple[str, ...]], ...]
"""Each name of a cast with its aliases."""

MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u0610-\u061a\u064b-\u065f"
    "\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0900-\u0903\u093a-\u094f\u0951-\u0957"
    "\u0962\u0963\u0981-\u0983\u09bc-\u09cd\u09d7\u0a01-\u0a03\u0a3c-\u0a51\u0a70\u0a71\u0a81-\u0a83"
    "\u0abc-\u0acd\u0b01-\u0b03\u0b3c-\u0b57\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3c-\u0c56\u0c81-\u0c83"
    "\u0cbc-\u0cd6\u0d00-\u0d03\u0d3b-\u0d4d\u0d82\u0d83\u0dca-\u0ddf\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u0f71-\u0f84\u102b-\u103e\u17b4-\u17d3\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u200c\u200d\u20d0-\u20ff\u302a-\u302f\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f"
)
r"""The characters, for a class of a pattern, that belong to the letter before them. `\w` does not
match them: without them a Devanagari, Thai or Arabic name would end at its first vowel."""

LETTER = rf"\w{MARKS}"
"""The characters, for a class of a pattern, that a word is made of in any script."""

UNSPACED = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
"""The characters, for a class of a pattern, of scripts that write words without spaces between, or
join particles to a name."""

_ARTICLES = """
    the a an mr mrs ms mx dr st sr jr old young little big great good poor first second third other
    another one two de la le les el los las il lo der die das den don van von al bin ibn da di du of
    and
"""
_NO_NAMES = frozenset(_ARTICLES.split())
"""First words that are no name, without their dots."""
_AROUND = "\"'“”‘’«»()[],"


def short_forms(name: str) -> list[str]:
    """Return what a name is shortened to: without its first word, its last word, and its first
    word that is no article and no title."""
    words = [word for word in (w.strip(_AROUND) for w in name.split()) if word]
    if len(words) < 2:
        return []
    forms = [" ".join(name.split()[1:]), words[-1]]
    first = next((w for w in words if w.strip(".").casefold() not in _NO_NAMES), words[-1])
    forms.append(first)
    known = (f for f in forms if len(f) > 1 and f.strip(".").casefold() not in _NO_NAMES)
    return [*dict.fromkeys(known)]


@lru_cache(maxsize=1024)
def owners(cast: Cast) -> dict[str, str]:
    """Return every form of a name, folded → whose it is. A name or an alias goes before a short
    form, and a short form that several could be called is nobody's."""
    whole: dict[str, str] = {}
    for name, _ in cast:
        whole.setdefault(fold(name), name)
    for name, aliases in cast:
        for alias in aliases:
            whole.setdefault(fold(alias), name)
    claims = Counter(form for name, _ in cast for form in _words_of(name))
    forms = dict(whole)
    for name, _ in cast:
        for form in map(fold, short_forms(name)):
            if form not in whole and claims[form] < 2:
                forms.setdefault(form, name)
    return forms


def _words_of(name: str) -> set[str]:
    """Return the words, and the short forms, by which a name could be meant."""
    return {fold(w.strip(_AROUND)) for w in name.split()} | set(map(fold, short_forms(name)))


def fold(text: str) -> str:
    """Return a text in the one form in which names are compared: composed, and without case."""
    return unicodedata.normalize("NFC", text).casefold()


def spellings(forms: Iterable[str]) -> Sequence[str]:
    """Return forms as texts may spell them: also in capitals, composed and decomposed. The longest
    come first, as the alternatives of a pattern must."""
    written = {spelt for form in forms for spelt in (form, form.upper())}
    both = {unicodedata.normalize(way, f) for f in written for way in ("NFC", "NFD")}
    return sorted(written | both, key=lambda form: (-len(form), form))
