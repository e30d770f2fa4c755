"""Consistency by a judge: each line with the persona, and a character's lines with each other.

P2L is the mean of the lines' scores, 1 − (1/T) Σ J(persona, line); L2L is 1 − conflicting pairs
over pairs read (Abdulhai et al. 2025, arXiv 2511.00222). All pairs are compared: a character of
thirty lines has 435 of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import orjson

from improv.records import Json, Score, Transcript, Turn
from improv.scoring.measures.judge_item import (
    Item,
    Verdict,
    item,
    judged_version,
    lines_before,
    own_lines,
    persona,
    shown_line,
)
from improv.scoring.measures.judge_prompts import PAIR, PERSONA
from improv.study.measure_spec import version_of
from improv.study.scene import CharacterSpec, Scene

_VERSION = version_of("p2l")
_L2L_VERSION = version_of("l2l")
_OPTIONS: dict[str, float | None] = {
    "no contradiction": 1.0,
    "contradiction": 0.0,
    "unreadable": None,
}


def p2l_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return a question for each own line: does it contradict the persona?"""
    return [
        p2l_item(transcript, turn, c)
        for c in scene.cast
        for turn in own_lines(transcript, c.name)[0]
    ]


def p2l_item(
    transcript: Transcript,
    turn: Turn,
    c: CharacterSpec,
    *,
    line: str = "",
    truth: float | None = None,
    more: Json | None = None,
) -> Item:
    """Return the question about one line, or about the planted `line` in its place."""
    said = shown_line(line or turn.text)
    planted = {"truth": truth} | (more or {})
    return item(
        turn,
        "calibration:p2l" if line else "p2l",
        _VERSION,
        PERSONA,
        _OPTIONS,
        place=said if line else "",
        truth=truth,
        evidence={"line": said} | (planted if line else {}),
        name=c.name.upper(),
        persona=persona(c),
        before=lines_before(transcript, turn),
        line=f"{c.name.upper()}: {said}",
    )


def l2l_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return a question for each pair of a character's lines, in the order of play."""
    questions = []
    for c in scene.cast:
        lines = [t for t in transcript.lines(c.name) if t.kind == "line"]
        all_pairs = list(combinations(lines, 2))
        for one, other in all_pairs:
            questions.append(
                item(
                    _of_scene(transcript, other),
                    "l2l",
                    _L2L_VERSION,
                    PAIR,
                    _OPTIONS,
                    place=f"{one.turn}-{other.turn}",
                    evidence={"pair": [one.turn, other.turn], "pairs": len(all_pairs)},
                    name=c.name.upper(),
                    line=shown_line(one.text),
                    other=shown_line(other.text),
                )
            )
    return questions


def l2l_scores(asked: Sequence[Item], verdicts: Mapping[str, Verdict], judge: str) -> list[Score]:
    """Return 1 − conflicts / pairs read for each character whose pairs were all judged.

    `verdicts` are by the item's id. The evidence counts all pairs, those compared, and those read.
    """
    scores = []
    for who in dict.fromkeys((a.trial, a.branch, a.character) for a in asked):
        mine = [a for a in asked if (a.trial, a.branch, a.character) == who]
        if any(a.id not in verdicts for a in mine):
            continue
        facts = [orjson.loads(a.evidence) for a in mine]
        values = [verdicts[a.id].value for a in mine]
        read = [v for v in values if v is not None]
        bad = [f["pair"] for f, v in zip(facts, values, strict=True) if v == 0]
        evidence = {
            "pairs": facts[0]["pairs"],
            "compared": len(mine),
            "read": len(read),
            "conflicts": len(bad),
            "conflicting": bad,
        }
        value = 1 - len(bad) / len(read) if read else None
        version = judged_version(_L2L_VERSION, judge)
        scores.append(
            Score(
                trial=who[0],
                branch=who[1],
                turn=None,
                character=who[2],
                measure="l2l",
                version=version,
                value=value,
                evidence=orjson.dumps(evidence).decode(),
            )
        )
    return scores


def _of_scene(transcript: Transcript, turn: Turn) -> Turn:
    """Return `turn` as one of the branch that is scored, though the line may be its parent's."""
    return Turn(
        trial=transcript.trial,
        branch=transcript.branch,
        turn=turn.turn,
        seq=turn.seq,
        kind=turn.kind,
        speaker=turn.speaker,
        text=turn.text,
    )
