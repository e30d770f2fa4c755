"""What a judge is asked, and how its reply is read. Pure: who asks is score.

An item is one question about one or two lines. The order of its options is drawn from its own
content, so that no position is any condition's, and a reply that is not exactly one of them is
missing: never consistent. Versions end in the judge's name, for another judge is another measure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from improv.records import Json, Score, Transcript, Turn, digest, seed_of
from improv.scoring.measures.judge_prompts import ANSWER, FIRST, GLOSSES, SCRIPT
from improv.study.scene import CharacterSpec

CONTEXT_LINES = 4
"""How many spoken lines before the judged one a judge is shown."""
_MAX_LINE = 2000
"""Characters of a line that a judge is shown."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question to a judge: where it belongs, its text, its options as they are shown.

    `values` are what the options count, in their order. `place` tells items of one turn and
    measure apart, such as pairs. `truth` is only known of planted lines. Where `given` is a text
    the judge is no judge: it is to say how likely that text is after `text`.
    """

    trial: str
    branch: str
    turn: int | None
    character: str
    measure: str
    version: str
    text: str
    options: tuple[str, ...] = ()
    values: tuple[float | None, ...] = ()
    place: str = ""
    truth: float | None = None
    evidence: str = ""
    given: str | None = None

    @property
    def id(self) -> str:
        """The identity of a verdict but for its judge: place, measure and all that is shown."""
        parts = (
            self.trial,
            self.branch,
            self.turn,
            self.character,
            self.measure,
            self.version,
            self.place,
            self.text,
            self.given,
        )
        return digest("\x1f".join(map(str, parts)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of an item: its raw reply, the option read in it ("" for none), what
    that counts (None: missing), and why there is no reply where there is none."""

    reply: str
    answer: str
    value: float | None
    error: str = ""


def item(
    turn: Turn,
    measure: str,
    version: str,
    wording: str,
    options: Mapping[str, float | None],
    *,
    place: str = "",
    truth: float | None = None,
    evidence: Json | None = None,
    **parts: str,
) -> Item:
    """Return the item that asks `wording`, filled with `parts`, about a turn.

    Every part is made harmless: no model's line can close the brackets that it stands in.
    """
    filled = {name: harmless(part) for name, part in parts.items()}
    content = wording.format(**filled, options="")
    order = sorted(options, key=lambda o: seed_of("options", content, o))
    listed = "\n".join(f"- {o}" + (f": {GLOSSES[o]}" if o in GLOSSES else "") for o in order)
    return Item(
        turn.trial,
        turn.branch,
        turn.turn,
        turn.speaker,
        measure,
        version,
        wording.format(**filled, options=listed) + ANSWER,
        tuple(order),
        tuple(options[o] for o in order),
        place,
        truth,
        orjson.dumps(evidence or {}).decode(),
    )


def harmless(text: str) -> str:
    """Return `text` as it may stand in a judge's prompt."""
    return text.replace("<", "‹").replace(">", "›")


def answer_schema(options: Sequence[str]) -> Json:
    """Return the JSON schema of a reply: one of the options, by its word."""
    answer = {"type": "string", "enum": list(options)}
    return {
        "type": "object",
        "properties": {"answer": answer},
        "required": ["answer"],
        "additionalProperties": False,
    }


def script_text(text: str) -> str:
    """Return an item's text as the document that a base model continues."""
    return text + SCRIPT


def read_answer(asked: Item, reply: str) -> Verdict:
    """Read a judge's reply, strictly: one JSON object with one answer that was an option."""
    try:
        found = orjson.loads(reply)
    except orjson.JSONDecodeError:
        return Verdict(reply, "", None)
    answer = found.get("answer") if isinstance(found, dict) and len(found) == 1 else None
    if answer not in asked.options:
        return Verdict(reply, "", None)
    return Verdict(reply, answer, asked.values[asked.options.index(answer)])


def judged_score(asked: Item, verdict: Verdict, judge: str) -> Score:
    """Return the score of a line from what was said of it."""
    evidence: Json = {"answer": verdict.answer, "reply": verdict.reply}
    evidence |= orjson.loads(asked.evidence or "{}")
    if verdict.error:
        evidence["error"] = verdict.error
    return Score(
        asked.trial,
        asked.branch,
        asked.turn,
        asked.character,
        asked.measure,
        judged_version(asked.version, judge),
        verdict.value,
        orjson.dumps(evidence).decode(),
    )


def silence_scores(turns: Iterable[Turn], measure: str, version: str, judge: str) -> list[Score]:
    """Return the scores of turns in which nothing was said: missing."""
    return [
        Score(
            t.trial, t.branch, t.turn, t.speaker, measure, judged_version(version, judge), None, ""
        )
        for t in turns
    ]


def judged_version(version: str, judge: str) -> str:
    """Return the version of a score that a judge made."""
    return f"{version}@{judge}"


def own_lines(transcript: Transcript, speaker: str) -> tuple[list[Turn], list[Turn]]:
    """Return a speaker's lines that are the branch's own, and the silences."""
    mine = [t for t in transcript.lines(speaker) if t.branch == transcript.branch]
    return [t for t in mine if t.kind == "line"], [t for t in mine if t.kind == "silence"]


def lines_before(transcript: Transcript, turn: Turn, count: int = CONTEXT_LINES) -> str:
    """Return the spoken lines before a turn, each as NAME: line.

    Directions are left out: one that an author's move brought would tell the condition.
    """
    earlier = [
        t
        for t in transcript.turns
        if t.kind in ("line", "written") and t.speaker and (t.turn, t.seq) < (turn.turn, turn.seq)
    ]
    lines = [f"{t.speaker.upper()}: {shown_line(t.text)}" for t in earlier[-count:]]
    return "\n".join(lines) or FIRST


def shown_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:_MAX_LINE]


def persona(c: CharacterSpec) -> str:
    """Return what is known of a character. Its secret is no part of what a line could contradict
    in public, and is left out."""
    parts = [f"{c.name}, {c.role}.", shown_line(c.card)]
    if c.traits:
        parts.append("Always " + ", ".join(f"{t.pole}, never {t.opposite}" for t in c.traits) + ".")
    parts.append(f"Manner of speaking: {c.habit.says}" if c.habit else "")
    return "\n".join(p for p in parts if p)


def paired(
    verdicts: Iterable[Mapping[str, Any]], one: str, other: str
) -> list[tuple[float | None, float | None]]:
    """Return what two judges made of each thing that both were asked, for their agreement."""
    found: dict[str, dict[str, float | None]] = {}
    for row in verdicts:
        if not row["error"]:
            found.setdefault(row["item"], {})[row["judge"]] = row["value"]
    return [(v[one], v[other]) for v in found.values() if one in v and other in v]
