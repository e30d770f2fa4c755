"""Reads a screenplay in Fountain (https://fountain.io/syntax) as a list of its elements. Pure.

The reader is one pass over lines and every pattern is bounded, since screenplays come from
strangers too: parsers that others keep take minutes for some texts of 100 kB. screenplay
makes a scene of the elements; export.document writes a scene as Fountain.
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
"""What improv itself writes between lines, centred, and nobody says."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a screenplay: a speech whole, with what it says and how in its `text`.

    A speech's text has its parentheticals on lines of their own. `extension` is what stands after
    its cue in brackets (V.O., CONT'D), `dual` says that it is spoken together with the speech
    before, `forced` that a sign made it what it is; `line` counts from 1.
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
    """A title page (keys in small letters) and what follows."""

    page: dict[str, str]
    elements: list[Element]
    cut: int = 0
    """Pieces that its writer has cut out, /* like this */."""


_HEADING = re.compile(r"(?:INT|EXT|EST|INT\.?/EXT|EXT\.?/INT|I/E|E/I)[. ]", re.IGNORECASE)
_NUMBER = re.compile(r"[ \t]*#[\w.-]{1,40}#$")
_KEY = re.compile(r"([^\W\d_][\w -]{0,40}):[ \t]*(.*)")
_TRANSITIONS = {"FADE IN:", "FADE OUT.", "FADE OUT:", "FADE TO BLACK.", "CUT TO BLACK."}
_BLANK = re.compile(r" ?")
_EXTENSION = re.compile(r"\(([^()]{0,80})\)")
_EMPHASIS = re.compile(r"\\([\\*_])|(\*{1,3}|_)")


def read_fountain(text: str) -> Screenplay:
    """Read a screenplay. Nothing is no screenplay: what has no other form is action."""
    text = re.sub(r"\r\n?", "\n", text).replace("\t", "    ")
    text, cut = _without_boneyard(text)
    page, lines, first = _title_page(text.split("\n"))
    lines, notes = _without_notes(lines)
    return Screenplay(page, _in_order([*_elements(lines, first), *_placed(notes, first)]), cut)


def plain(text: str) -> str:
    """Return text without the marks of emphasis; an escaped star or underscore is one."""
    if "*" not in text and "_" not in text and "\\" not in text:
        return text
    return "\n".join(_plain_line(line) for line in text.split("\n"))


def _plain_line(text: str) -> str:
    """Drop marks that open beside a word and are closed in the same line."""
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


# -- what is taken out


def _without_boneyard(text: str) -> tuple[str, int]:
    """Cut out /* … */, keeping the count of lines; one that is never closed is text."""
    parts, at, cut = [], 0, 0
    while (start := text.find("/*", at)) >= 0 and (end := text.find("*/", start + 2)) >= 0:
        parts += [text[at:start], "\n" * text.count("\n", start, end)]
        at, cut = end + 2, cut + 1
    return "".join([*parts, text[at:]]), cut


def _without_notes(lines: list[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """Take out [[ … ]], which may go over lines, though not over one that is empty."""
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
    # A line that was all note becomes one that is empty to the eye, or a speech would end there.
    return [new if new.strip() else "  " for new in rest]


def _placed(notes: list[tuple[int, str]], first: int) -> Iterator[Element]:
    for number, text in notes:
        yield Element("note", text, line=first + number)


def _in_order(found: list[Element]) -> list[Element]:
    return sorted(found, key=lambda e: e.line)


def _title_page(lines: list[str]) -> tuple[dict[str, str], list[str], int]:
    """Read the title page, if there is one; return the lines after it, and the first's number."""
    page: dict[str, list[str]] = {}
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    key = ""
    for line in lines[start:end]:
        found = _KEY.match(line)
        if found:
            key = found[1].strip().lower()
            page.setdefault(key, [])
            page[key] += [found[2].strip()] if found[2].strip() else []
        elif key and line[:1] == " ":
            page[key].append(line.strip())
        else:
            page.clear()
            break
    # A transition at the head of a screenplay looks like a key with nothing after it.
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
            body = "\n".join(_unforced(one).rstrip() for one in lines[at:end])
            yield Element("action", body, forced=line.lstrip()[:1] == "!", line=first + at)
        at, after_blank = end, False


def _marked(line: str, number: int) -> Element | None:
    """Read what a sign at the head of a line makes it, wherever the line stands."""
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
    """Read what a line is that has empty lines around it: a heading or a transition."""
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
    """Read a speaker's cue: the name, what is in brackets after it, and whether it is dual."""
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
    extensions = " ".join(f"({one.strip()})" for one in _EXTENSION.findall(bare[len(name) :]))
    return name, extensions, dual


def _speech(cue: tuple[str, str, bool], body: list[str], line: str, number: int) -> Element:
    who, extension, dual = cue
    text = "\n".join(one.strip() for one in body)
    forced = line.lstrip().startswith("@")
    return Element("speech", text, who, extension, dual, forced, number)
