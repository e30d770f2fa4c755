"""A scene of a run as a script, in a notebook or as text: the lines, and the author's notes.

Text that a model wrote is escaped: no part of it becomes markup.
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

# Okabe and Ito's colours; each line has its speaker's name too.
_SPEAKER_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#56B4E9")


@dataclass(frozen=True)
class Script:
    """One trial of a run, or a branch of one, as it was played.

    `name` is its name in commands ("0", or "0~3f2a90c1"), `row` its row in the table of trials,
    and `scores` its rows in the table of scores. `str()` is the scene as plain text.
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
        """Return the improvised lines, silences included: all of them, or those of `speaker`."""
        return self.transcript.lines(speaker)

    def markdown(self, *, notes: bool = True) -> str:
        """Return the scene as Markdown, with or without what the audience does not see."""
        return document.to_markdown(self._document(notes))

    def fountain(self, *, notes: bool = True) -> str:
        """Return the scene as Fountain, the format of screenwriting programs."""
        return document.to_fountain(self._document(notes))

    def __len__(self) -> int:
        return len(self.turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.turns)

    def __repr__(self) -> str:
        return f"<{self.run}/{self.name}: {self._title()}, {len(self.lines())} lines>"

    def __str__(self) -> str:
        parts = [self._title(), ""]
        for turn in self.turns:
            parts += [
                f"    [{act_label(act.kind, act.to)}] {visible(act.text)}" for act in turn.acts
            ]
            if turn.kind == "direction":
                parts.append(f"({visible(turn.text)})")
            else:
                parts.append(f"{visible(turn.speaker).upper()}{_how(turn)}: {_line_text(turn)}")
        return "\n".join([*parts, *self._end()])

    def _repr_html_(self) -> str:
        cast = list(dict.fromkeys(t.speaker for t in self.turns if t.kind != "direction"))
        rows = [f"<p><b>{_safe(self._title())}</b></p>"]
        for turn in self.turns:
            rows += [
                f'<p style="{_NOTE}">✎ {_safe(act_label(act.kind, act.to))}'
                f"{': ' if act.text else ''}{_safe(act.text)}</p>"
                for act in turn.acts
            ]
            if turn.kind == "direction":
                rows.append(f'<p style="margin:.4em 2em"><i>({_safe(turn.text)})</i></p>')
                continue
            voice = _SPEAKER_COLOURS[cast.index(turn.speaker) % len(_SPEAKER_COLOURS)]
            style = _NOTE if turn.off_record else "margin:.2em 0"
            rows.append(
                f'<p style="{style}"><b style="color:{voice}">{_safe(turn.speaker)}</b>'
                f"<i>{_safe(_how(turn))}</i>&ensp;{_safe(_line_text(turn))}</p>"
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

    def _document(self, notes: bool) -> SceneDocument:
        facts = {"run": self.run, "trial": self.name, "condition": str(self.row["condition"])}
        broken = self.row["failure"] if self.row["status"] == "failed" else ""
        title = str(self.row["title"] or self.row["scene"])
        return SceneDocument(title, self.turns, self.scene, facts, self.scores, notes, broken)


def script(folder: RunFolder, trial: str) -> Script:
    """Read a trial (by id, number or the beginning of an id), or a branch (TRIAL~BRANCH) with
    the turns that it shares with its parents. Raises RunError."""
    row = folder.transcripts.trial(trial)
    scores = folder.tables.read("scores", trial=row["trial"]).to_pylist()
    own = [score for score in scores if score["branch"] == row["branch"]]
    try:
        scene = folder.scene(row["scene"], row["condition"])
    except ImprovError:  # the turns can be read even if the study no longer can
        scene = None
    branch = "" if row["branch"] == "main" else f"~{row['branch'][:8]}"
    name = f"{row['index']}{branch}"
    return Script(
        folder.id, name, row, folder.transcripts.read(row["trial"], row["branch"]), scene, own
    )


def act_label(kind: str, to: str) -> str:
    """Return what the author did, as a phrase."""
    phrases = {
        "note": f"to {to}",
        "cue": f"cues {to}",
        "move": f"makes a move: {to}" if to else "lets the moment of its move pass",
        "end": "ends the scene",
        "unread": "wrote something that cannot be read",
        "nothing": "lets it run",
    }
    return f"the author {phrases.get(kind, kind)}"


def _how(turn: Turn) -> str:
    if turn.off_record:
        verbs = {"envelope": "seals", "probe": "answers, off the record"}
        return f" ({verbs.get(turn.kind, 'writes down')})"
    if turn.aside:
        return f" (aside to {' and '.join(turn.heard_by) or 'the audience'})"
    return ""


def _line_text(turn: Turn) -> str:
    return "(says nothing)" if turn.kind == "silence" else visible(turn.text)


def _safe(text: str) -> str:
    return escape(visible(text)).replace("\n", "<br>")


_NOTE = "margin:.2em 0 .2em 4em;color:#888;font-size:.92em"
