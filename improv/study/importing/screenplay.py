"""Adapts a screenplay for an improv stage. Pure.

One scene of the screenplay becomes the written opening: its dialogue becomes lines, its action
becomes stage directions. What its speakers say in the other scenes becomes their sample lines. What
addresses a reader or a camera (notes, sections, transitions, cut pieces) is left out and counted.

Fountain → scene → Fountain keeps every speech and every direction in order. These things change:
emphasis is dropped; a speech becomes one line that contains its parentheticals, the first of them
(V.O.) and the like; (CONT'D) is dropped; names in capitals become ordinary names; dual dialogue
becomes two lines, one after the other; lyrics and centred text become action; scene numbers are
dropped; where there is no synopsis, a sentence that lists the speakers is the premise. A second
round trip changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from improv.errors import Problem, StudyError
from improv.records import Json
from improv.study.importing.fountain import CENTRED, Element, Screenplay, plain
from improv.study.importing.names import DEFAULT_ROLE, ordinary_case, stage_name
from improv.study.scene import MAX_CAST
from improv.text import visible

_LONGEST_LINE = 2000
"""Characters of a line or a direction in an opening, at most."""
LONGEST_SAMPLE, MOST_SAMPLES = 300, 12

_CONTINUED = re.compile(r"\(CONT(?:['’]?D|INUED)\.?\)\s*", re.IGNORECASE)
_ASIDE = re.compile(r"\(aside(?:, to ([^()]{1,40}))?\)\s*", re.IGNORECASE)
_SILENT = "(says nothing)"
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")


@dataclass
class Adapted:
    """A screenplay as the data of a scene's file, and counts of the elements left out."""

    scene: Json
    left: dict[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """The numbers and headings of the other scenes in which somebody speaks."""


def adapt(play: Screenplay, file: str, number: int = 0) -> Adapted:
    """Return scene `number` of a screenplay, counted from 1; 0 is the first one with a speech.

    `file` is the name of the screenplay in messages. Raises StudyError where nobody speaks, where
    there is no such scene, or where more than 12 people speak in it.
    """
    scenes = _scenes(play.elements)
    speaking = [i for i, part in enumerate(scenes) if _speakers(part)]
    if not speaking:
        raise StudyError([Problem(file, 1, 1, "", "nobody speaks in this screenplay")])
    if not 0 <= number <= len(scenes):
        what = f"there is no scene {number}: the screenplay has {len(scenes)}; people speak in "
        what += ", ".join(str(i + 1) for i in speaking[:20])
        raise StudyError([Problem(file, 1, 1, "", what)])
    chosen = number - 1 if number else speaking[0]
    part = scenes[chosen]
    first = part[0].line if part else 1
    cues = _speakers(part)
    if not cues:
        raise StudyError([Problem(file, first, 1, "", f"nobody speaks in scene {number}")])
    names, problems = _names(cues, play.elements, file)
    if len(set(names.values())) > MAX_CAST:
        what = f"{len(set(names.values()))} people speak in this scene; a cast has {MAX_CAST}"
        problems.append(Problem(file, first, 1, "", what))
    if problems:
        raise StudyError(problems)
    left = _left(play, part)
    opening = [row for e in part for row in _opening_rows(e, names)]
    heading = next((visible(plain(e.text)) for e in part if e.kind == "heading"), "")
    rest = [e for i, other in enumerate(scenes) if i != chosen for e in other]
    scene = _page(play.page) | {
        "premise": _premise(part, scenes[0] if chosen else [], heading, names),
        "place": heading[:300],
        "cast": list(_cast(names, rest)),
        "opening": opening,
        "turns": 12,
    }
    return Adapted({k: v for k, v in scene.items() if v != ""}, left, _headings(scenes, chosen))


# -- the parts of a screenplay


def _scenes(elements: list[Element]) -> list[list[Element]]:
    """Split a screenplay at its headings; the text before the first is in the first scene."""
    parts: list[list[Element]] = [[]]
    for element in elements:
        if element.kind == "heading" and any(e.kind == "heading" for e in parts[-1]):
            # A section and its synopsis are written before the heading of their scene.
            moved: list[Element] = []
            while parts[-1] and parts[-1][-1].kind in ("section", "synopsis"):
                moved.insert(0, parts[-1].pop())
            parts.append(moved)
        parts[-1].append(element)
    return parts


def _speakers(part: list[Element]) -> list[str]:
    return list(dict.fromkeys(e.who for e in part if e.kind == "speech"))


def _headings(scenes: list[list[Element]], chosen: int) -> list[str]:
    """Return the other scenes in which somebody speaks, each as its number and heading."""
    headings = []
    for i, part in enumerate(scenes):
        head = next((visible(plain(e.text))[:60] for e in part if e.kind == "heading"), "")
        if i != chosen and _speakers(part):
            headings.append(f"{i + 1} {head}".strip())
    return headings


def _names(
    cues: list[str], elements: list[Element], file: str
) -> tuple[dict[str, str], list[Problem]]:
    """Return the name in the scene for each cue, and what is wrong with a cue."""
    prose = "\n".join(plain(e.text) for e in elements if e.kind in ("action", "speech"))
    names: dict[str, str] = {}
    problems = []
    folded: dict[str, str] = {}
    for cue in cues:
        name = stage_name(ordinary_case(visible(plain(cue)), prose))
        if not name:
            line = next(e.line for e in elements if e.who == cue)
            what = f"'{cue[:40]}' has no letter, so a scene cannot use it as a name"
            problems.append(Problem(file, line, 1, "", what))
        names[cue] = folded.setdefault(re.sub(r"\W+", "", name).casefold(), name)
    return names, problems


def _left(play: Screenplay, part: list[Element]) -> dict[str, int]:
    """Count the elements of a scene that are left out."""
    kinds = {
        "note": "notes",
        "section": "sections",
        "transition": "transitions",
        "break": "page breaks",
    }
    left = {what: sum(e.kind == kind for e in part) for kind, what in kinds.items()}
    left["cut pieces"] = play.cut
    return {what: count for what, count in left.items() if count}


def _page(page: dict[str, str]) -> Json:
    """Return the fields of a scene that the title page fills."""
    clean = {key: visible(plain(value)).replace("\n", ", ") for key, value in page.items()}
    credit = clean.get("credit", "")
    by = credit.casefold().removesuffix(":").endswith("by")
    author = clean.get("author") or clean.get("authors") or ""
    notes = clean.get("notes", "")
    about = [f"{credit if by else 'By'} {author}" if author else ""]
    about += [notes.removeprefix("About: ") if notes.startswith("About: ") else notes]
    about += [f"{k.capitalize()}: {clean[k]}" for k in ("source", "copyright") if clean.get(k)]
    return {
        "title": (clean.get("title") or "A screenplay")[:120],
        "form": "" if by else credit[:120],
        "about": "; ".join(filter(None, about))[:500],
    }


def _premise(
    part: list[Element], before: list[Element], heading: str, names: dict[str, str]
) -> str:
    """Return the premise: the text of the synopses, or else a sentence that lists the cast."""
    synopses = [e for e in part if e.kind == "synopsis"] or [
        e for e in before if e.kind == "synopsis"
    ]
    synopsis = " ".join(visible(plain(e.text)) for e in synopses).strip()
    who = list(dict.fromkeys(names.values()))
    listed = " and ".join(filter(None, (", ".join(who[:-1]), who[-1])))
    there = f"{listed} {'are' if len(who) > 1 else 'is'} there."
    return (synopsis or f"{heading + ': ' if heading else ''}{there}")[:20_000]


def _cast(names: dict[str, str], rest: list[Element]) -> Iterator[Json]:
    """Yield the entries of the cast, with sample lines from the other scenes."""
    for name in dict.fromkeys(names.values()):
        own = {cue for cue, called in names.items() if called == name}
        said = [_line(e) for e in rest if e.kind == "speech" and e.who in own]
        samples = list(dict.fromkeys(s for s in said if 0 < len(s) <= LONGEST_SAMPLE))
        yield {"name": name, "role": DEFAULT_ROLE} | (
            {"samples": samples[:MOST_SAMPLES]} if samples else {}
        )


# -- the elements of a scene


def _opening_rows(element: Element, names: dict[str, str]) -> Iterator[Json]:
    """Yield the lines or directions that an element becomes in a scene's opening."""
    if element.kind == "speech":
        line, to = _line(element), None
        if aside := _ASIDE.match(line):
            line = line[aside.end() :]
            to = next((n for n in names.values() if aside[1] and n == aside[1].strip()), None)
        if line in ("", _SILENT):
            return
        for piece in _pieces(line):
            yield {"who": names[element.who], "line": piece} | ({"aside_to": to} if to else {})
    elif element.kind in ("action", "lyric", "centred"):
        text = visible(plain(element.text)).strip()
        if element.kind == "centred" and text in CENTRED:
            return
        lines = [" ".join(line.split()) for line in text.split("\n")]
        for piece in _pieces("\n".join(line for line in lines if line)):
            yield {"direction": piece}


def _line(element: Element) -> str:
    """Return a speech as one line, with its parentheticals in round brackets."""
    lines = [part.removeprefix("~").strip() for part in plain(element.text).split("\n")]
    said = " ".join(" ".join([element.extension, *lines]).split())
    return " ".join(visible(_CONTINUED.sub("", said)).split())


def _pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces of 2,000 characters at most, split at ends of sentences."""
    while len(text) > _LONGEST_LINE:
        ends = list(_SENTENCE.finditer(text[:_LONGEST_LINE]))
        at = ends[-1] if ends else None
        cut = at.start() if at else _LONGEST_LINE
        yield text[:cut].strip()
        text = text[at.end() if at else _LONGEST_LINE :]
    if text.strip():
        yield text.strip()
