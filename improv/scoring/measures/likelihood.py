"""Likelihood: how much more probable a line is under its speaker's persona than another, in nats.

log P(line | own persona) − log P(line | opposite persona), and against the rest of the cast. The
personas have one form and differ only in the speaker that they describe. The measure needs an
endpoint that scores a given text (vLLM: completions with echo and logprobs); llama.cpp cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import orjson

from improv.errors import ErrorKind, ModelError
from improv.models.response import Reply
from improv.records import Json, Score, Transcript
from improv.scoring.measures.judge_item import (
    Item,
    Verdict,
    judged_version,
    lines_before,
    own_lines,
    shown_line,
)
from improv.study.measure_spec import version_of
from improv.study.scene import CharacterSpec, Scene

_VERSION = version_of("likelihood")
_OWN, _OPPOSITE = "own", "opposite"
ECHO: Json = {"echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 1.0}
"""The fields of a completions request that has its own prompt scored."""


def likelihood_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return an item for each own line under each persona; the items of a line are adjacent."""
    questions = []
    for c in scene.cast:
        personas = {_OWN: _nature(c)}
        if c.traits:
            personas[_OPPOSITE] = _nature(c, flipped=True)
        personas |= {o.name: _nature(o) for o in scene.cast if o is not c and _nature(o)}
        if not personas[_OWN]:
            continue
        for turn in own_lines(transcript, c.name)[0]:
            for who, nature in personas.items():
                questions.append(
                    Item(
                        trial=turn.trial,
                        branch=turn.branch,
                        turn=turn.turn,
                        character=c.name,
                        measure="likelihood",
                        version=_VERSION,
                        text=_document(scene, c, nature, lines_before(transcript, turn)),
                        place=who,
                        given=f" {shown_line(turn.text)}",
                        evidence=orjson.dumps({"persona": who}).decode(),
                    )
                )
    return questions


def logprob_of(response: Json, given: str) -> Reply:
    """Read the log-probability of `given`, with which the prompt of a completions response ends.

    Returns it as JSON {"logprob", "tokens"}, with the finish reason. A token that crosses the
    border of the line counts as the line's. Raises ModelError if the endpoint scores no given text.
    """
    try:
        choice = response["choices"][0]
        scored = choice["logprobs"]
        text, offsets, values = choice["text"], scored["text_offset"], scored["token_logprobs"]
        ends = [*offsets[1:], len(text)]
        start = text.rindex(given)
        mine = [v for v, end in zip(values, ends, strict=True) if end > start]
        total = float(sum(mine))
    except (KeyError, IndexError, TypeError, ValueError):
        raise ModelError(
            "this endpoint does not score a given text: the measure 'likelihood' needs "
            "/v1/completions with echo and logprobs, as vLLM has it; llama.cpp, and so the "
            "embedded model, has not",
            kind=ErrorKind.UNSCORED,
        ) from None
    reply = orjson.dumps({"logprob": total, "tokens": len(mine)}).decode()
    return Reply(reply, str(choice.get("finish_reason") or ""))


def read_logprob(reply: str) -> Verdict:
    """Read a journaled log-probability."""
    try:
        return Verdict(reply, "", float(orjson.loads(reply)["logprob"]))
    except (ValueError, KeyError, TypeError):
        return Verdict(reply, "", None)


def likelihood_scores(
    asked: Sequence[Item], verdicts: Mapping[str, Verdict], judge: str
) -> list[Score]:
    """Score each line that was scored under all its personas: `likelihood` against the opposite,
    `likelihood:others` against the mean of the other members of the cast."""
    scores = []
    for _, group in groupby(asked, key=lambda a: (a.trial, a.branch, a.turn, a.character)):
        mine = list(group)
        if any(a.id not in verdicts for a in mine):
            continue
        values = {a.place: verdicts[a.id].value for a in mine}
        one, rest = mine[0], {k: v for k, v in values.items() if k not in (_OWN, _OPPOSITE)}
        known = [v for v in rest.values() if v is not None]
        mean = sum(known) / len(known) if known and len(known) == len(rest) else None
        evidence = {_OWN: values[_OWN], _OPPOSITE: values.get(_OPPOSITE), "others": rest}
        for measure, against in (
            ("likelihood", values.get(_OPPOSITE)),
            ("likelihood:others", mean),
        ):
            if measure == "likelihood" and _OPPOSITE not in values:
                continue
            if measure == "likelihood:others" and not rest:
                continue
            own_value = values[_OWN]
            value = None if own_value is None or against is None else own_value - against
            scores.append(
                Score(
                    trial=one.trial,
                    branch=one.branch,
                    turn=one.turn,
                    character=one.character,
                    measure=measure,
                    version=judged_version(_VERSION, judge),
                    value=value,
                    evidence=orjson.dumps(evidence).decode(),
                )
            )
    return scores


def _nature(c: CharacterSpec, *, flipped: bool = False) -> str:
    """Return a persona in the common form: the traits of a character, or all of them reversed."""
    pairs = [(t.opposite, t.pole) if flipped else (t.pole, t.opposite) for t in c.traits]
    return "Always " + ", ".join(f"{a}, never {b}" for a, b in pairs) + "." if pairs else ""


def _document(scene: Scene, c: CharacterSpec, nature: str, earlier: str) -> str:
    cast = "\n".join(f"{o.name.upper()}, {o.role}" for o in scene.cast)
    head = f"{scene.title.upper()}\n\n{cast}\n\n{c.name.upper()}: for the actor only. {nature}"
    return f"{head}\n\n{earlier}\n{c.name.upper()}:"
