"""Likelihood: how much more probable a line is under its speaker's persona than another, in nats.

log P(line | own persona) − log P(line | opposite persona), and against the rest of the cast; and
who of the cast would most likely have said the line. The personas have one form and differ only in
the speaker that they describe. One of them is an assistant, which is no member of the cast. The
measure needs an endpoint that scores a given text (models.given_text): the embedded model, any
llama.cpp, or vLLM.

A line is scored with its end, after the whole scene before it: the lines of one speaker under one
persona make one document that only grows, so that an endpoint reads each part of it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from improv.models.given_text import read_scored
from improv.records import Json, Score, Transcript, Turn
from improv.scoring.measures.judge_item import (
    Item,
    Verdict,
    judged_version,
    own_lines,
    shown_line,
)
from improv.study.measure_spec import version_of
from improv.study.scene import CharacterSpec, Scene

_VERSION = version_of("likelihood")
OWN, OPPOSITE, ASSISTANT = "own", "opposite", "an assistant"
_AS = "as "
"""Before the name of another member of the cast, in the name of a persona."""
_ASSISTANT = "Always an AI assistant, helpful and polite, never anybody else."
_MOST_BEFORE = 12_000
"""Characters of the scene before a line. A model of 4,096 tokens can read them."""
_CUT = 20
"""A scene that is longer loses so many of its first lines at once, so that texts still begin
alike."""


def likelihood_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return an item for each own line under each persona, persona by persona."""
    return [
        _item(scene, c, turn, transcript, who, nature)
        for c in scene.cast
        for who, nature in _personas(scene, c).items()
        for turn in own_lines(transcript, c.name)[0]
    ]


def _item(
    scene: Scene, c: CharacterSpec, turn: Turn, transcript: Transcript, who: str, nature: str
) -> Item:
    return Item(
        trial=turn.trial,
        branch=turn.branch,
        turn=turn.turn,
        character=c.name,
        measure="likelihood",
        version=_VERSION,
        text=_document(scene, c, nature, script_before(transcript, turn)),
        place=who,
        given=f" {shown_line(turn.text)}\n",
        evidence=orjson.dumps({"persona": who}).decode(),
        thread="/".join((turn.trial, turn.branch, c.name, who)),
    )


def script_before(transcript: Transcript, turn: Turn) -> str:
    """Return the lines before a turn, each as NAME: line with a line break.

    Directions are left out, because the direction of an author's move would reveal the condition.
    """
    lines = [
        f"{t.speaker.upper()}: {shown_line(t.text)}\n"
        for t in transcript.turns
        if t.kind in ("line", "written") and t.speaker and (t.turn, t.seq) < (turn.turn, turn.seq)
    ]
    first = 0
    while len(lines) - first > _CUT and sum(map(len, lines[first:])) > _MOST_BEFORE:
        first += _CUT
    return "".join(lines[first:])


def likelihood_scores(
    asked: Sequence[Item], verdicts: Mapping[str, Verdict], judge: str
) -> list[Score]:
    """Score each line that was scored under all its personas: `likelihood` against the opposite,
    `likelihood:others` against the mean of the other members of the cast, and
    `likelihood:speaker`, 1 if nobody else of the cast would rather have said it."""
    scores = []
    for mine in by_line(asked):
        if any(a.id not in verdicts for a in mine):
            continue
        values = {a.place: verdicts[a.id].value for a in mine}
        own = values[OWN]
        rest = {
            k.removeprefix(_AS): v for k, v in values.items() if k not in (OWN, OPPOSITE, ASSISTANT)
        }
        known = [v for v in rest.values() if v is not None]
        complete = bool(known) and len(known) == len(rest) and own is not None
        evidence: Json = {OWN: own, OPPOSITE: values.get(OPPOSITE), "others": rest}
        evidence |= {"assistant": values[ASSISTANT], "tokens": _tokens(mine, verdicts)}
        results: dict[str, float | None] = {}
        if OPPOSITE in values:
            results["likelihood"] = _minus(own, values[OPPOSITE])
        if rest:
            mean = sum(known) / len(known) if complete else None
            results["likelihood:others"] = _minus(own, mean)
            results["likelihood:speaker"] = None
            if complete and own is not None:
                best = max(known)
                results["likelihood:speaker"] = 0.5 if own == best else float(own > best)
                taken = mine[0].character if own >= best else _likeliest(rest)
                evidence["answer"] = taken
        for measure, value in results.items():
            scores.append(
                Score(
                    trial=mine[0].trial,
                    branch=mine[0].branch,
                    turn=mine[0].turn,
                    character=mine[0].character,
                    measure=measure,
                    version=judged_version(_VERSION, judge),
                    value=value,
                    evidence=orjson.dumps(evidence).decode(),
                )
            )
    return scores


def by_line(asked: Sequence[Item]) -> list[list[Item]]:
    """Return the items of each line, in the order of the lines."""
    groups: dict[tuple[str, str, int | None, str], list[Item]] = {}
    for item in asked:
        groups.setdefault((item.trial, item.branch, item.turn, item.character), []).append(item)
    return list(groups.values())


def _likeliest(values: Mapping[str, float | None]) -> str:
    return max((v, who) for who, v in values.items() if v is not None)[1]


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _tokens(mine: Sequence[Item], verdicts: Mapping[str, Verdict]) -> int | None:
    """Return the number of tokens of a line, which is the same under each persona."""
    own = next(item for item in mine if item.place == OWN)
    scored = read_scored(verdicts[own.id].reply)
    return None if scored is None else scored.tokens


def _personas(scene: Scene, c: CharacterSpec) -> dict[str, str]:
    """Return the personas under which the lines of a character are scored; none if it has no
    traits."""
    if not c.traits:
        return {}
    personas = {OWN: _nature(c), OPPOSITE: _nature(c, flipped=True), ASSISTANT: _ASSISTANT}
    return personas | {f"{_AS}{o.name}": _nature(o) for o in scene.cast if o is not c and o.traits}


def _nature(c: CharacterSpec, *, flipped: bool = False) -> str:
    """Return a persona in the common form: the traits of a character, or all of them reversed."""
    pairs = [(t.opposite, t.pole) if flipped else (t.pole, t.opposite) for t in c.traits]
    return "Always " + ", ".join(f"{a}, never {b}" for a, b in pairs) + "."


def _document(scene: Scene, c: CharacterSpec, nature: str, before: str) -> str:
    cast = "\n".join(f"{o.name.upper()}, {o.role}" for o in scene.cast)
    head = f"{scene.title.upper()}\n\n{cast}\n\n{c.name.upper()}: for the actor only. {nature}"
    return f"{head}\n\n{before}{c.name.upper()}:"
