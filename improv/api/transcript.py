"""A scene of a run as a script to read, in a notebook or as text: who said what, and the notes.

What a model wrote is text: nothing in it becomes markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from improv.api.table import UNTYPESET
from improv.errors import ImprovError
from improv.export import document
from improv.export.document import SceneDocument
from improv.records import Json, Transcript, Turn
from improv.storage.run_folder import RunFolder
from improv.study.scene import Scene
from improv.text import visible

# Okabe and Ito's colours; nobody is told by them alone.
VOICES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#56B4E9")


@dataclass(frozen=True)
class Script:
    """One trial of a run, or a branch of one, as it was played.

    `name` is what to call it by ("0", or "0~3f2a90c1"), `row` its row in the table of trials, and
    `scores` are the rows that measures made of it. `str()` is the scene as plain text.
    """

    run: str
    name: str
    row: Json
    transcript: Transcript
    scene: Scene | None = None
    scores: Sequence[Json] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        return self.transcript.turns

    def lines(self, speaker: str | None = None) -> list[Turn]:
        """Return the improvised lines, silences included; only `speaker`'s if one is named."""
        return self.transcript.lines(speaker)

    def markdown(self, *, notes: bool = True) -> str:
        """Return it as Markdown, with or without what an audience did not see."""
        return document.to_markdown(self._folio(notes))

    def fountain(self, *, notes: bool = True) -> str:
        """Return it as Fountain, which screenwriting programs read."""
        return document.to_fountain(self._folio(notes))

    def __len__(self) -> int:
        return len(self.turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.turns)

    def __repr__(self) -> str:
        return f"<{self.run}/{self.name}: {self._title()}, {len(self.lines())} lines>"

    def __str__(self) -> str:
        parts = [self._title(), ""]
        for turn in self.turns:
            parts += [f"    [{head(act.kind, act.to)}] {visible(act.text)}" for act in turn.acts]
            if turn.kind == "direction":
                parts.append(f"({visible(turn.text)})")
            else:
                parts.append(f"{visible(turn.speaker).upper()}{_how(turn)}: {_said(turn)}")
        return "\n".join([*parts, *self._end()])

    def _repr_html_(self) -> str:
        cast = list(dict.fromkeys(t.speaker for t in self.turns if t.kind != "direction"))
        rows = [f"<p><b>{_safe(self._title())}</b></p>"]
        for turn in self.turns:
            rows += [
                f'<p style="{_NOTE}">✎ {_safe(head(act.kind, act.to))}'
                f"{': ' if act.text else ''}{_safe(act.text)}</p>"
                for act in turn.acts
            ]
            if turn.kind == "direction":
                rows.append(f'<p style="margin:.4em 2em"><i>({_safe(turn.text)})</i></p>')
                continue
            voice = VOICES[cast.index(turn.speaker) % len(VOICES)]
            style = _NOTE if turn.off_record else "margin:.2em 0"
            rows.append(
                f'<p style="{style}"><b style="color:{voice}">{_safe(turn.speaker)}</b>'
                f"<i>{_safe(_how(turn))}</i>&ensp;{_safe(_said(turn))}</p>"
            )
        rows += [f"<p><i>{_safe(text)}</i></p>" for text in self._end()]
        return f'<div class="{UNTYPESET}" style="max-width:46em">{"".join(rows)}</div>'

    def _title(self) -> str:
        title = self.row["title"] or self.row["scene"]
        return visible(f"{title} · {self.row['condition']}")

    def _end(self) -> list[str]:
        if self.row["status"] != "failed":
            return []
        return [f"broke off at turn {self.row['failure_turn']}: {self.row['failure']}"]

    def _folio(self, notes: bool) -> SceneDocument:
        facts = {"run": self.run, "trial": self.name, "condition": str(self.row["condition"])}
        broken = self.row["failure"] if self.row["status"] == "failed" else ""
        title = str(self.row["title"] or self.row["scene"])
        return SceneDocument(title, self.turns, self.scene, facts, self.scores, notes, broken)


def script(folder: RunFolder, trial: str) -> Script:
    """Read a trial (by id, number or the beginning of an id), or a branch (TRIAL~BRANCH) with
    what it shares with its parents. Raises RunError."""
    row = folder.transcripts.trial(trial)
    scores = folder.tables.read("scores", trial=row["trial"]).to_pylist()
    own = [score for score in scores if score["branch"] == row["branch"]]
    try:
        scene = folder.scene(row["scene"], row["condition"])
    except ImprovError:  # of a run whose study cannot be read any more, the turns can
        scene = None
    branch = "" if row["branch"] == "main" else f"~{row['branch'][:8]}"
    name = f"{row['index']}{branch}"
    return Script(
        folder.id, name, row, folder.transcripts.read(row["trial"], row["branch"]), scene, own
    )


def head(kind: str, to: str) -> str:
    """Say what the author did."""
    did = {
        "note": f"to {to}",
        "cue": f"cues {to}",
        "move": f"makes a move: {to}" if to else "lets the moment of its move pass",
        "end": "ends the scene",
        "unread": "wrote something that cannot be read",
        "nothing": "lets it run",
    }
    return f"the author {did.get(kind, kind)}"


def _how(turn: Turn) -> str:
    if turn.off_record:
        does = {"envelope": "seals", "probe": "answers, off the record"}
        return f" ({does.get(turn.kind, 'writes down')})"
    if turn.aside:
        return f" (aside to {' and '.join(turn.heard_by) or 'the audience'})"
    return ""


def _said(turn: Turn) -> str:
    return "(says nothing)" if turn.kind == "silence" else visible(turn.text)


def _safe(text: str) -> str:
    return escape(visible(text)).replace("\n", "<br>")


_NOTE = "margin:.2em 0 .2em 4em;color:#888;font-size:.92em"
