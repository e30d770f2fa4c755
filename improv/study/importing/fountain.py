"""Reads a screenplay in Fountain (https://fountain.io/syntax) as a list of its elements. Pure.

A screenplay may come from a stranger, so the reader makes one pass over the lines and bounds every
pattern; other parsers take minutes for some texts of 100 kB. screenplay makes a scene of the
elements; export.document writes a scene as Fountain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ElementKind = Literal[
    "heading",
    "action",
    "speech",
    "lyric",
    "transition",
    "centred",
    "section",
    "synopsis",
    "note",
    "break",
]

SEAM = "from here on, improvised"
END = "end of the scene"
BROKEN_OFF = "the scene breaks off here"
CENTRED = frozenset({SEAM, END, BROKEN_OFF})
"""Centred text that improv itself writes between the lines; it is no speech and no direction."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a screenplay; a whole speech is one element.

    The `text` of a speech holds its dialogue and its parentheticals, each on its own line. `who` is
    the name in its cue and `extension` the text in brackets after the name (V.O., CONT'D). `dual`
    is true where it is spoken together with the speech before it. `forced` is true where a sign
    such as @ or ! sets the kind. `line` counts from 1.
    """

    kind: ElementKind
    text: str
    who: str = ""
    extension: str = ""
    dual: bool = False
    forced: bool = False
    line: int = 1


@dataclass(frozen=True, slots=True)
class Screenplay:
    """The title page, with its keys in small letters, and the elements after it."""

    page: dict[str, str]
    elements: list[Element]
    cut: int = 0
    """How many pieces the writer cut out, /* like this */."""


_HEADING = re.compile(r"(?:INT|EXT|EST|INT\.?/EXT|EXT\.?/INT|I/E|E/I)[. ]", re.IGNORECASE)
_NUMBER = re.compile(r"[ \t]*#[\w.-]{1,40}#$")
_KEY = re.compile(r"([^\W\d_][\w -]{0,40}):[ \t]*(.*)")
_TRANSITIONS = {"FADE IN:", "FADE OUT.", "FADE OUT:", "FADE TO BLACK.", "CUT TO BLACK."}
_BLANK = re.compile(r" ?")
_EXTENSION = re.compile(r"\(([^()]{0,80})\)")
_EMPHASIS = re.compile(r"\\([\\*_])|(\*{1,3}|_)")


def read_fountain(text: str) -> Screenplay:
    """Read a screenplay. Any text can be read: what has no other form is action."""
    text = re.sub(r"\r\n?", "\n", text).replace("\t", "    ")
    text, cut = _without_boneyard(text)
    page, lines, first = _title_page(text.split("\n"))
    lines, notes = _without_notes(lines)
    elements = [*_elements(lines, first), *_note_elements(notes, first)]
    return Screenplay(page, sorted(elements, key=lambda e: e.line), cut)


def plain(text: str) -> str:
    """Return the text without marks of emphasis; an escaped mark becomes the mark itself."""
    if "*" not in text and "_" not in text and "\\" not in text:
        return text
    return "\n".join(_plain_line(line) for line in text.split("\n"))


def _plain_line(text: str) -> str:
    """Drop the marks that open before a word and close after a word in the same line."""
    tokens: list[str] = []
    opened: dict[str, int] = {}
    at = 0
    for mark in _EMPHASIS.finditer(text):
        tokens.append(text[at : mark.start()])
        at = mark.end()
        if mark[1]:
            tokens.append(mark[1])
            continue
        tokens.append(mark[2])
        before, after = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
        inside = mark[2] == "_" and before.isalnum() and after.isalnum()
        if mark[2] in opened and before.strip() and not inside:
            tokens[opened.pop(mark[2])] = tokens[-1] = ""
        elif after.strip() and not inside:
            opened[mark[2]] = len(tokens) - 1
    return "".join([*tokens, text[at:]])


# -- boneyard, notes, title page


def _without_boneyard(text: str) -> tuple[str, int]:
    """Cut out each /* … */ but keep its line breaks. One that is never closed stays as text.

    Return the text and the number of pieces that were cut.
    """
    parts, at, cut = [], 0, 0
    while (start := text.find("/*", at)) >= 0 and (end := text.find("*/", start + 2)) >= 0:
        parts += [text[at:start], "\n" * text.count("\n", start, end)]
        at, cut = end + 2, cut + 1
    return "".join([*parts, text[at:]]), cut


def _without_notes(lines: list[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """Take out each [[ … ]], which may span lines but no empty line; return lines and notes."""
    kept: list[str] = []
    notes: list[tuple[int, str]] = []
    block: list[str] = []
    for number, line in enumerate([*lines, ""]):
        if line.strip() or (block and line == "  "):
            block.append(line)
            continue
        kept += _noteless(block, number - len(block), notes)
        block = []
        kept.append(line)
    return kept[:-1], notes


def _noteless(block: list[str], first: int, notes: list[tuple[int, str]]) -> list[str]:
    text = "\n".join(block)
    if "[[" not in text:
        return block
    parts: list[str] = []
    at = 0
    while (start := text.find("[[", at)) >= 0 and (end := text.find("]]", start + 2)) >= 0:
        inside, before = text[start + 2 : end], text[at:start]
        first += before.count("\n")
        notes.append((first, " ".join(inside.split())))
        first += inside.count("\n")
        seam = before[-1:] == " " and text[end + 2 : end + 3] == " "
        parts += [before[:-1] if seam else before, "\n" * inside.count("\n")]
        at = end + 2
    rest = "".join([*parts, text[at:]]).split("\n")
    # A line that held only a note becomes two spaces: an empty line would end a speech there.
    return [new if new.strip() else "  " for new in rest]


def _note_elements(notes: list[tuple[int, str]], first: int) -> Iterator[Element]:
    for number, text in notes:
        yield Element("note", text, line=first + number)


def _title_page(lines: list[str]) -> tuple[dict[str, str], list[str], int]:
    """Read the title page, if there is one.

    Return the page, the lines after it and the number of the first of these lines.
    """
    page: dict[str, list[str]] = {}
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    key = ""
    for line in lines[start:end]:
        pair = _KEY.match(line)
        if pair:
            key = pair[1].strip().lower()
            page.setdefault(key, [])
            page[key] += [pair[2].strip()] if pair[2].strip() else []
        elif key and line[:1] == " ":
            page[key].append(line.strip())
        else:
            page.clear()
            break
    # A transition in the first line looks like a key without a value.
    if not any(page.values()):
        return {}, lines, 1
    return {k: "\n".join(v) for k, v in page.items()}, lines[end:], end + 1


# -- elements


def _elements(lines: list[str], first: int) -> Iterator[Element]:
    at, after_blank = 0, True
    while at < len(lines):
        line = lines[at]
        if _BLANK.fullmatch(line) or not line.strip():
            at, after_blank = at + 1, True
            continue
        end = at + 1
        if after_blank and (cue := _cue(line, lines[at + 1 : at + 2])):
            while end < len(lines) and not _BLANK.fullmatch(lines[end]):
                end += 1
            yield _speech(cue, lines[at + 1 : end], line, first + at)
        elif (marked := _marked(line.strip(), first + at)) is not None:
            yield marked
        elif after_blank and (alone := _alone(line, lines[at + 1 : at + 2], first + at)):
            yield alone
        else:
            while (
                end < len(lines) and lines[end].strip() and _marked(lines[end].strip(), 0) is None
            ):
                end += 1
            body = "\n".join(_unforced(part).rstrip() for part in lines[at:end])
            yield Element("action", body, forced=line.lstrip()[:1] == "!", line=first + at)
        at, after_blank = end, False


def _marked(line: str, number: int) -> Element | None:
    """Read a line whose first character sets its kind, or return None."""
    if re.fullmatch(r"={3,}", line):
        return Element("break", "", line=number)
    head, rest = line[:1], line[1:].strip()
    if head == "#":
        return Element("section", line.lstrip("#").strip(), forced=True, line=number)
    if head == "=":
        return Element("synopsis", rest, line=number)
    if head == "~":
        return Element("lyric", rest, line=number)
    if head == ">":
        centred = line.endswith("<") and len(line) > 1
        text = rest[:-1].strip() if centred else rest
        return Element("centred" if centred else "transition", text, forced=True, line=number)
    return None


def _alone(line: str, after: list[str], number: int) -> Element | None:
    """Read a heading or a transition, which needs empty lines around it, or return None."""
    bare = line.strip()
    if bare[:1] == "." and bare[1:2] not in ("", "."):
        return Element("heading", _NUMBER.sub("", bare[1:].strip()), forced=True, line=number)
    if after and after[0].strip():
        return None
    if _HEADING.match(bare):
        return Element("heading", _NUMBER.sub("", bare), line=number)
    if bare == bare.upper() and (bare.endswith("TO:") or bare in _TRANSITIONS):
        return Element("transition", bare, line=number)
    return None


def _unforced(line: str) -> str:
    head = line.lstrip()
    return head[1:] if head.startswith("!") else line


def _cue(line: str, after: list[str]) -> tuple[str, str, bool] | None:
    """Read a cue: the speaker's name, the extensions, and whether the speech is dual."""
    bare = line.strip()
    forced = bare.startswith("@") and len(bare) > 1
    if not after or _BLANK.fullmatch(after[0]) or bare[:1] in "!.>#=~":
        return None
    dual = bare.endswith("^")
    bare = bare.rstrip("^ ").removeprefix("@") if dual else bare.removeprefix("@" if forced else "")
    name, bracket, _ = bare.partition("(")
    name = " ".join(name.split())
    if not name or (bracket and not bare.endswith(")")):
        return None
    if not forced and not (name == name.upper() and name != name.lower()):
        return None
    if not forced and (_HEADING.match(bare) or line.endswith("  ")):
        return None
    extensions = " ".join(f"({inside.strip()})" for inside in _EXTENSION.findall(bare[len(name) :]))
    return name, extensions, dual


def _speech(cue: tuple[str, str, bool], body: list[str], line: str, number: int) -> Element:
    who, extension, dual = cue
    text = "\n".join(spoken.strip() for spoken in body)
    forced = line.lstrip().startswith("@")
    return Element("speech", text, who, extension, dual, forced, number)
