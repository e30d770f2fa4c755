"""The items that a judge is asked, and how its reply is read. There is no I/O here.

An item is one question about one or two lines. The order of its options is a hash of its content,
so that no condition has an option in a fixed position. A reply that is not exactly one of the
options is missing; it does not count as consistent. The version of a score ends in the judge's
name, because another judge is another measure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from improv.records import Json, Score, Transcript, Turn, digest, seed_of
from improv.scoring.measures.judge_prompts import ANSWER, FIRST, GLOSSES, SCRIPT
from improv.study.scene import CharacterSpec
from improv.wrapping import read_fields

CONTEXT_LINES = 4
"""Number of spoken lines before the judged one that a judge is shown."""
_MAX_LINE = 2000
"""Maximum characters of a line that a judge is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question to a judge: where it belongs, its text, its options as they are shown.

    `values` are the scores of the options, in their order. `place` distinguishes items of one turn
    and measure, such as pairs. `truth` is known for planted lines only. If `given` is a text, the
    item asks for no judgement but for the probability of that text after `text`. Items of one
    `thread` follow each other, and their texts begin alike, so that they are asked in order.
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
    thread: str = ""

    @property
    def id(self) -> str:
        """The identity of a verdict without its judge: place, measure and all that is shown."""
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
    """A judge's verdict on an item: the raw reply, the option that it names ("" for none), the
    score of that option (None: missing), the error if there is no reply, and the steps in which it
    was read."""

    reply: str
    answer: str
    value: float | None
    error: str = ""
    cuts: tuple[str, ...] = ()


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

    Every part is made harmless: a model's line cannot close the brackets around it.
    """
    filled = {name: harmless(part) for name, part in parts.items()}
    content = wording.format(**filled, options="")
    order = sorted(options, key=lambda o: seed_of("options", content, o))
    listed = "\n".join(f"- {o}" + (f": {GLOSSES[o]}" if o in GLOSSES else "") for o in order)
    return Item(
        trial=turn.trial,
        branch=turn.branch,
        turn=turn.turn,
        character=turn.speaker,
        measure=measure,
        version=version,
        text=wording.format(**filled, options=listed) + ANSWER,
        options=tuple(order),
        values=tuple(options[o] for o in order),
        place=place,
        truth=truth,
        evidence=orjson.dumps(evidence or {}).decode(),
    )


def harmless(text: str) -> str:
    """Return `text` with its angle brackets replaced, so that a judge's prompt may contain it."""
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


def read_answer(item: Item, reply: str) -> Verdict:
    """Read a judge's reply: it must name one option, in JSON or alone, and no other one."""
    read = read_fields(reply, answer_schema(item.options))
    if read.values is None:
        return Verdict(reply, "", None, cuts=read.steps)
    answer = read.values["answer"]
    return Verdict(reply, answer, item.values[item.options.index(answer)], cuts=read.steps)


def judged_score(item: Item, verdict: Verdict, judge: str) -> Score:
    """Return the score of a line from the verdict on its item."""
    evidence: Json = {"answer": verdict.answer, "reply": verdict.reply}
    evidence |= orjson.loads(item.evidence or "{}")
    if verdict.error:
        evidence["error"] = verdict.error
    return Score(
        trial=item.trial,
        branch=item.branch,
        turn=item.turn,
        character=item.character,
        measure=item.measure,
        version=judged_version(item.version, judge),
        value=verdict.value,
        evidence=orjson.dumps(evidence).decode(),
    )


def silence_scores(turns: Iterable[Turn], measure: str, version: str, judge: str) -> list[Score]:
    """Return a missing score for each of the silent `turns`."""
    return [
        Score(
            trial=t.trial,
            branch=t.branch,
            turn=t.turn,
            character=t.speaker,
            measure=measure,
            version=judged_version(version, judge),
            value=None,
            evidence="",
        )
        for t in turns
    ]


def judged_version(version: str, judge: str) -> str:
    """Return the version of a score that a judge made."""
    return f"{version}@{judge}"


def own_lines(transcript: Transcript, speaker: str) -> tuple[list[Turn], list[Turn]]:
    """Return a speaker's lines and silences that the branch does not share with its parent."""
    mine = [t for t in transcript.lines(speaker) if t.branch == transcript.branch]
    return [t for t in mine if t.kind == "line"], [t for t in mine if t.kind == "silence"]


def lines_before(transcript: Transcript, turn: Turn, count: int = CONTEXT_LINES) -> str:
    """Return the spoken lines before a turn, each as NAME: line.

    Directions are left out, because the direction of an author's move would reveal the condition.
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
    """Return what is known about a character. The secret is left out, because a line cannot
    contradict it in public."""
    parts = [f"{c.name}, {c.role}.", shown_line(c.card)]
    if c.traits:
        parts.append("Always " + ", ".join(f"{t.pole}, never {t.opposite}" for t in c.traits) + ".")
    parts.append(f"Manner of speaking: {c.habit.says}" if c.habit else "")
    return "\n".join(p for p in parts if p)
