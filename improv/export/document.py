"""A scene as a document in Fountain, Markdown or JSON. Pure.

Fountain is the plain text that screenwriting programs read (https://fountain.io/syntax). In all
three, the text of a model stays text: no part of it becomes a heading, a link, a note or a cue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

import orjson

from improv.records import Act, Json, Turn
from improv.study.importing.fountain import BROKEN_OFF, END, SEAM
from improv.study.scene import Scene
from improv.text import visible

_EMPHASIS = re.compile(r"([\\*_])")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~$&])")
_LIST = re.compile(r"^(\s*)([-+=!:]|\d+(?=[.)]))", re.MULTILINE)


@dataclass(frozen=True)
class SceneDocument:
    """A played scene and the facts about it.

    `facts` are on the title page (run, trial, condition and the like). If `margin` is false, the
    document has only what an audience saw and heard: no acts of the author, no turns off the
    record, no scores. `broken` is the reason why a scene broke off.
    """

    title: str
    turns: Sequence[Turn]
    scene: Scene | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    scores: Sequence[Json] = ()
    margin: bool = True
    broken: str = ""

    @property
    def shown(self) -> list[Turn]:
        """The turns that the document contains."""
        return [t for t in self.turns if self.margin or not t.off_record]

    @property
    def setting(self) -> str:
        """The scene's place and time, in one line."""
        parts = (self.scene.place, self.scene.time) if self.scene is not None else ()
        return _flat(" ".join(p for p in parts if p))


def to_fountain(document: SceneDocument) -> str:
    """Return the scene as Fountain; acts and turns off the record are notes, `[[...]]`."""
    scene = document.scene
    pairs = {"Title": document.title, "Credit": scene.form if scene is not None else ""}
    notes = "; ".join(f"{name}: {value}" for name, value in document.facts.items() if value)
    page = [f"{n}: {_flat(v)}" for n, v in {**pairs, "Notes": notes}.items() if v]
    parts = ["\n".join(page)]
    if document.setting:
        parts.append(f".{document.setting}")
    if scene is not None:
        parts.append(f"= {_flat(scene.premise)}")
    for turn, seam in _with_seam(document.shown):
        if seam:
            parts.append(f"> {SEAM} <")
        if document.margin:
            parts += [_note(_act_heading(act), act.text) for act in turn.acts]
        parts.append(_fountain_turn(turn))
    parts.append(f"> {BROKEN_OFF if document.broken else END} <")
    if document.broken and document.margin:
        parts.append(_note("Broke off", document.broken))
    return "\n\n".join(p for p in parts if p) + "\n"


def to_markdown(document: SceneDocument) -> str:
    """Return the scene as Markdown (CommonMark)."""
    scene = document.scene
    parts = [f"# {escape_markdown(_flat(document.title))}"]
    if scene is not None:
        parts.append(f"*{escape_markdown(_flat(scene.form))}*")
    if document.setting:
        parts.append(escape_markdown(document.setting))
    facts = "\n".join(
        f"- {escape_markdown(_flat(name))}: {escape_markdown(_flat(value))}"
        for name, value in document.facts.items()
        if value
    )
    parts.append(facts)
    if scene is not None:
        parts.append(escape_markdown(scene.premise))
    for turn, seam in _with_seam(document.shown):
        if seam:
            parts.append(f"---\n\n*{SEAM}*")
        if document.margin:
            parts += [_quoted(_act_heading(act), act.text) for act in turn.acts]
        parts.append(_markdown_turn(turn))
    parts.append(f"*{BROKEN_OFF if document.broken else END}*")
    if document.broken and document.margin:
        parts.append(_quoted("Broke off", document.broken))
    return "\n\n".join(p for p in parts if p) + "\n"


def to_json(document: SceneDocument) -> bytes:
    """Return the scene as JSON: `title`, `facts`, `turns`, and with `margin` `broken`, `scores`."""
    turns = [asdict(t) for t in document.shown]
    whole: Json = {"title": document.title, "facts": dict(document.facts), "turns": turns}
    if document.margin:
        whole |= {"broken": document.broken, "scores": list(document.scores)}
    else:
        for turn in turns:
            for private in ("acts", "raw", "cuts"):
                del turn[private]
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2)


def _with_seam(turns: Sequence[Turn]) -> Iterator[tuple[Turn, bool]]:
    """Yield each turn, and whether it is the first improvised one after a written opening."""
    opened = bool(turns) and turns[0].turn == 0
    for number, (improvised, rows) in enumerate(groupby(turns, key=lambda t: t.turn > 0)):
        for at, turn in enumerate(rows):
            yield turn, improvised and opened and number == 1 and at == 0


def _act_heading(act: Act) -> str:
    match act.kind:
        case "note":
            return f"Note to {act.to}"
        case "cue":
            return f"Cues {act.to}"
        case "move":
            return f"Move, {act.to}" if act.to else "Move: none, at its moment"
        case "end":
            return "Ends the scene"
        case "unread":
            return "The author’s reply could not be read"
        case "nothing":
            return "The author lets it run"


def _private_heading(turn: Turn) -> str:
    """Return a heading for a turn off the record."""
    who = "The author" if turn.speaker == "author" else turn.speaker
    does = {"envelope": "seals", "probe": "answers, off the record"}
    return f"{who} {does.get(turn.kind, 'writes down')}"


# -- Fountain


def _fountain_turn(turn: Turn) -> str:
    if turn.off_record:
        return _note(_private_heading(turn), turn.text)
    if turn.kind == "direction":
        # Forced with !: otherwise a direction in capitals may be read as a cue or a transition.
        return "\n".join(f"!{line}" for line in _spoken(turn.text).splitlines() if line.strip())
    cue = [f"@{_flat(turn.speaker)}"]
    if turn.aside:
        to = " and ".join(turn.heard_by)
        cue.append(f"(aside{f', to {_flat(to)}' if to else ''})")
    said = "(says nothing)" if turn.kind == "silence" else _spoken(turn.text)
    # An empty line would end the speech; two spaces keep it.
    return "\n".join([*cue, *(line.rstrip() or "  " for line in said.split("\n"))])


def _spoken(text: str) -> str:
    return _without_note_marks(_EMPHASIS.sub(r"\\\1", visible(text).strip()))


def _note(head: str, text: str) -> str:
    body = f"{head}: {text}" if text else head
    flat = _without_note_marks(_flat(body))
    return f"[[{flat}{' ' if flat.endswith(']') else ''}]]"


def _without_note_marks(text: str) -> str:
    """Put a space into `[[`, `]]`, `/*` and `*/`, which Fountain cannot escape."""
    text = re.sub(r"\[(?=\[)", "[ ", text)
    text = re.sub(r"\](?=\])", "] ", text)
    return text.replace("/*", "/ *").replace("*/", "* /")


def _flat(text: str) -> str:
    return " ".join(visible(text).split())


# -- Markdown


def _markdown_turn(turn: Turn) -> str:
    if turn.off_record:
        return _quoted(_private_heading(turn), turn.text)
    if turn.kind == "direction":
        return "\n>\n".join(f"> *{escape_markdown(p)}*" for p in _flat_lines(turn.text))
    name = f"**{escape_markdown(_flat(turn.speaker))}**"
    if turn.aside:
        to = " and ".join(turn.heard_by)
        name += f" *(aside{f', to {escape_markdown(_flat(to))}' if to else ''})*"
    said = "*says nothing*" if turn.kind == "silence" else escape_markdown(turn.text)
    return f"{name}: {said}"


def _quoted(head: str, text: str) -> str:
    body = f": {escape_markdown(_flat(text))}" if text else ""
    return f"> **{escape_markdown(_flat(head))}**{body}"


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, with its line breaks, as one paragraph."""
    escaped = _LIST.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", "\n".join(_flat_lines(text))))
    escaped = re.sub(r"^(\s*)\\(\d+)(?=[.)])", r"\1\2\\", escaped, flags=re.MULTILINE)
    return escaped.replace("\n", "  \n")


def _flat_lines(text: str) -> list[str]:
    return [flat for line in visible(text).splitlines() if (flat := " ".join(line.split()))]
