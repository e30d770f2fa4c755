"""Takes keys out of what endpoints answer, before anything is made of an answer.

An endpoint may quote the key that it was sent, by mistake or on purpose, and hide it: with escape
codes or invisible characters inside, which cleaning takes out later, or in another spelling. A text
is looked at as whoever reads it later may see it: decoded, without marks and tags, and without
anything but letters and digits.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import logging
import os
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from improv.models.agreed import KEY_NAME, Agreed
from improv.text import ESCAPES, visible
from improv.wrapping import strip_reasoning

MARK = "[key]"
_PLACEHOLDER_LENGTH = 5
"""Keys of at most this length count as placeholders: "none", "dummy"."""
_STRONG, _LONG = 16, 24
"""From the first length on, a key with a digit is no words that a line may hold as well, as those
of "not-needed" are; from the second on, no key is."""
_LONGEST = 100_000
"""Characters of a text that are kept. Of a reply fewer are read, and none that is meant is longer:
what is longer is there to take time."""
_MOST = 4 * _LONGEST
"""Characters that are kept of all texts in one answer."""
_ROUNDS = 3
"""How often a text is decoded: what is encoded once may be so again."""
_NESTED = 2
"""How deep in each other asides are taken out."""

_CODED = re.compile(
    r"%[0-9A-Fa-f]{2}|=[0-9A-Fa-f]{2}|=\r?\n|&[#0-9A-Za-z]{1,12};?"
    r"|\\u\{[0-9A-Fa-f]{1,6}\}|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}"
    r"|\\[0-7]{2,3}|\\.|[\U000e0020-\U000e007e\U000e0110-\U000e016e]"
)
_COLOURS = re.compile(r"(?:\x1b\[|\x9b|\^\[\[)[0-?]{0,64}[ -/]{0,8}[@-~]?")
_ESCAPED = re.compile(r"[\x1b\x9b]|\^\[\[")
_ODD = re.compile(r"[^ -~]")
_ASIDES = {
    "<": re.compile(r"<[^<>\0]{0,300}>"),
    "(": re.compile(r"\([^()\0]{0,300}\)"),
    "[": re.compile(r"\[[^\[\]\0]{0,300}\]"),
    "{": re.compile(r"\{[^{}\0]{0,300}\}"),
}
"""What cleaning may take out of the middle of a word, by the mark that it begins with."""
_ALPHABETS = re.compile(r"[\u0370-\u03ff\u0400-\u052f]")
_LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеоросухіјѕԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧοινκ",
    "ABESIJKMHOPCTYXaeopocyxijsdqwhABEZHIKMNOPTYXoivk",
)
_KEPT = (string.ascii_letters + string.digits).encode()
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
_DROPPED = bytes(set(range(256)) - set(_KEPT))
_UNPRINTED = bytes({*range(32), *range(127, 256)})
_ENCODED = re.compile(r"[%\\&=\U000e0020-\U000e007e\U000e0110-\U000e016e]")
_FIRST_TAG = "\U000e0020"
"""The first of the invisible characters that stand for ASCII. Tag characters are 0xE0000 above it;
of variation selectors, 0xE00F0 above it each stands for one byte."""
_MARKED = re.compile(r"[<(\[{]")


def known_keys(agreed: Agreed) -> frozenset[str]:
    """Return every key of this environment that a model may be sent, by the names that keys have
    and by those that were agreed to."""
    return frozenset(
        value.strip()
        for name, value in os.environ.items()
        if KEY_NAME.fullmatch(name) or name in agreed.variables
    )


class Redactor:
    """Replaces keys in texts by "[key]", in whatever spelling they stand there."""

    def __init__(self, keys: Iterable[str]) -> None:
        known = sorted({key for key in keys if len(key) > _PLACEHOLDER_LENGTH}, key=len)
        strong = [key for key in known if _is_strong(key)]
        spellings = dict.fromkeys(spelling for key in strong for spelling in _spellings(key))
        self._spellings = tuple(spellings)
        self._words = tuple(key.encode() for key in reversed(known) if key not in strong)
        self._least = min(map(len, (*spellings, *self._words)), default=0)

    def __call__(self, text: str) -> str:
        """Return a text without keys; the text itself if there is none in it."""
        if not self._least or len(text) < self._least:
            return text
        text = text[:_LONGEST]
        if not self._shows(text):
            return text
        for _ in range(100):
            place = self._place(text)
            if place is None:
                break
            text = f"{text[: place[0]]}{MARK}{text[place[1] :]}"
        # What shows a key, and nobody can say where, is no answer.
        return MARK if self._shows(text) else text

    def in_json(self, value: Any) -> Any:
        """Return data of JSON without keys in its texts and names. It is changed in place."""
        root = [value]
        # Nearly always there is no key in it, which one look at all texts tells. Only tags and
        # escapes could reach from one text into the next.
        whole = " ".join(_texts(root, self._least)) if self._least else ""
        alone = "<" in whole or len(whole) > _LONGEST or _ESCAPED.search(whole)
        if not (alone or self._shows(whole)):
            return value
        left = _MOST
        for node in _nodes(root):
            if isinstance(node, dict):
                for name in [name for name in node if len(name) >= self._least]:
                    node[self(name)] = node.pop(name) if left > 0 else ""
                    left -= len(name)
            for place, held in list(node.items() if isinstance(node, dict) else enumerate(node)):
                if isinstance(held, str) and len(held) >= self._least:
                    node[place] = self(held) if left > 0 else ""
                    left -= len(held)
        return root[0]

    def filter(self, record: logging.LogRecord) -> bool:
        """Take keys out of a record of the log, as a logger's filter."""
        message = record.getMessage()
        cleaned = self(message)
        if cleaned is not message:
            record.msg, record.args = cleaned, ()
        return True

    def _shows(self, text: str) -> bool:
        """Return whether any reading of a text shows a key."""
        texts = [view.text for view in _readings(_Quick(text))]
        if "<" in text:
            # Reasoning is taken out of a reply as well, tags and all that stands between them.
            texts.append(_ASIDES["<"].sub("", strip_reasoning(visible(text))))
        raw = [(t if t.isascii() else _plain(t)).encode("utf-8", "replace") for t in texts]
        letters = b"\0".join([line.translate(_LOWER, _DROPPED) for line in raw])
        # One search for each is faster than a regular expression of all.
        if any(map(letters.__contains__, self._spellings)):
            return True
        if not self._words:
            return False
        printed = b"\0".join([line.translate(None, _UNPRINTED) for line in raw])
        return any(key in printed for key in self._words)

    def _place(self, text: str) -> tuple[int, int] | None:
        """Return where in a text the first key that can be found begins and ends."""
        for view in _readings(_Located(text, range(len(text)), range(1, len(text) + 1))):
            letters = view.only(_KEPT, lower=True)
            for spelling in self._spellings:
                if (at := letters.text.find(spelling.decode())) >= 0:
                    return letters.starts[at], letters.ends[at + len(spelling) - 1]
            printed = view.only(string.printable.encode())
            for key in self._words:
                if (at := printed.text.find(key.decode())) >= 0:
                    return printed.starts[at], printed.ends[at + len(key) - 1]
        return None


def _nodes(root: Any) -> Iterator[Any]:
    """Yield every list and dictionary in data of JSON, which may be nested deeply."""
    nodes = [root]
    for node in nodes:
        yield node
        nodes += [n for n in _held(node) if isinstance(n, dict | list)]


def _held(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


def _texts(root: Any, least: int) -> Iterator[str]:
    """Yield the texts and names in data of JSON that are long enough to hold a key."""
    for node in _nodes(root):
        if isinstance(node, dict):
            yield from (name for name in node if len(name) >= least)
        for held in _held(node):
            if isinstance(held, str) and len(held) >= least:
                yield held


def _is_strong(key: str) -> bool:
    """Return whether a key cannot be words of a line by chance."""
    letters = [c for c in key if c.isalnum()]
    return len(letters) >= _STRONG and (any(c.isdigit() for c in key) or len(letters) >= _LONG)


def _spellings(key: str) -> Iterator[bytes]:
    """Yield the spellings of a key, each as its small letters and digits only."""
    raw = key.encode()
    codes = [ord(c) for c in key]
    spelled = [
        raw,
        raw[::-1],
        codecs.encode(key, "rot13").encode(),
        binascii.hexlify(raw),
        "".join(f"0x{c:02x}" for c in codes).encode(),
        "".join(f"u{c:04x}" for c in codes).encode(),
        "".join(map(str, codes)).encode(),
        "".join(f"{c:08b}" for c in codes).encode(),
        *_aligned(base64.b32encode, raw, 5),
        *_aligned(base64.b32hexencode, raw, 5),
        *_aligned(base64.a85encode, raw, 4),
        *_aligned(base64.b85encode, raw, 4),
        *_base64(raw),
        *(letters.translate(_UUENCODED) for letters in _base64(raw)),
        *_base64(raw[::-1]),
        *_base64(base64.b64encode(raw).rstrip(b"=")),
    ]
    for spelling in spelled:
        yield spelling.translate(_LOWER, _DROPPED)


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield what base64 makes of bytes, wherever in a longer text they stand."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + raw)
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        yield whole[first:last]


def _aligned(encode: Callable[[bytes], bytes], raw: bytes, size: int) -> Iterator[bytes]:
    """Yield what an encoding of groups of bytes makes of them, wherever in a longer text they
    stand: of the whole groups only."""
    for first in range(size):
        count = (len(raw) - first) // size
        yield encode(raw[first : first + count * size])


_BASE64 = (string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/").encode()
_UUENCODED = bytes.maketrans(_BASE64, b"`" + bytes(range(33, 96)))


def _plain(text: str) -> str:
    """Return a text in the letters that it looks like, without accents."""
    if _ALPHABETS.search(text):
        text = text.translate(_LOOKALIKES)
    return unicodedata.normalize("NFKD", text)


class _View(Protocol):
    """A reading of a text."""

    @property
    def text(self) -> str: ...

    def replaced(self, pattern: re.Pattern[str], make: Callable[[str], str]) -> Self: ...


@dataclass(frozen=True, slots=True)
class _Quick:
    """A reading of which only the text matters."""

    text: str

    def replaced(self, pattern: re.Pattern[str], make: Callable[[str], str]) -> _Quick:
        return _Quick(pattern.sub(lambda match: make(match[0]), self.text))


AnyView = TypeVar("AnyView", bound=_View)


def _readings(view: AnyView) -> Iterator[AnyView]:
    """Yield a text as it stands, decoded, and each of these without what cleaning may take out."""
    for _ in range(_ROUNDS + 1):
        yield view
        for shown in _shown(view):
            if shown is not view:
                yield shown
            if _MARKED.search(shown.text):
                yield from _without_asides(shown)
        if not _ENCODED.search(view.text):
            return
        decoded = view.replaced(_CODED, _decoded)
        if decoded.text == view.text:
            return
        view = decoded


def _shown(view: AnyView) -> Iterator[AnyView]:
    """Yield a reading as a terminal shows it, with and without what stands in its escapes."""
    if _ESCAPED.search(view.text):
        yield view.replaced(ESCAPES, _nothing).replaced(_ODD, _printed)
        yield view.replaced(_COLOURS, _nothing).replaced(_ODD, _printed)
    else:
        yield view if view.text.isprintable() else view.replaced(_ODD, _printed)


def _printed(character: str) -> str:
    return character if character.isprintable() else ""


def _without_asides(view: AnyView) -> Iterator[AnyView]:
    """Yield a reading without each kind of aside, and without several kinds of them."""
    views = [view]
    for mark, pattern in _ASIDES.items():
        if mark not in view.text:
            continue
        for each in list(views):
            for _ in range(_NESTED):
                fewer = each.replaced(pattern, _nothing)
                if fewer.text == each.text:
                    break
                views.append(fewer)
                each = fewer
    yield from views[1:]


def _nothing(_: str) -> str:
    return ""


def _decoded(coded: str) -> str:
    """Return the character that an escape of a URL, of HTML, of JSON or of mail stands for, or an
    invisible tag character or variation selector."""
    if coded >= _FIRST_TAG:
        return chr(ord(coded) - (0xE0000 if coded <= "\U000e007e" else 0xE00F0))
    if coded[0] == "&":
        return html.unescape(coded)
    if coded[0] in "%=":
        return chr(int(coded[1:], 16)) if len(coded) == 3 and coded[1] != "\r" else ""
    code = coded[2:].strip("{}")
    if coded[1] in "uUx" and code:
        number = int(code, 16)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""
    if coded[1].isdigit() and len(coded) > 2:
        return chr(int(coded[1:], 8))
    return "" if coded[1] in "nrtbfvae0" else coded[1]


@dataclass(frozen=True, slots=True)
class _Located:
    """A reading of a text, and where in the text each of its characters begins and ends."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def replaced(self, pattern: re.Pattern[str], make: Callable[[str], str]) -> _Located:
        """Return the reading with each match replaced by what `make` makes of it."""
        text, starts, ends, at = "", list[int](), list[int](), 0
        for match in pattern.finditer(self.text):
            made = make(match[0])
            text += self.text[at : match.start()] + made
            starts += self.starts[at : match.start()]
            starts += [self.starts[match.start()]] * len(made)
            ends += self.ends[at : match.start()]
            ends += [self.ends[match.end() - 1]] * len(made)
            at = match.end()
        text += self.text[at:]
        return _Located(text, [*starts, *self.starts[at:]], [*ends, *self.ends[at:]])

    def only(self, kept: bytes, *, lower: bool = False) -> _Located:
        """Return the reading in plain letters, and of these only the kept ones."""
        plain = self if self.text.isascii() else self.replaced(_ANY, _plain)
        places = [i for i, c in enumerate(plain.text) if c.isascii() and ord(c) in kept]
        text = "".join(plain.text[i] for i in places)
        starts, ends = ([side[i] for i in places] for side in (plain.starts, plain.ends))
        return _Located(text.lower() if lower else text, starts, ends)


_ANY = re.compile(r".", re.DOTALL)
