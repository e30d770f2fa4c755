"""Superposition: which simulacrum speaks, as far as a character's lines so far can tell.

From the log-probability of each line under its speaker's own persona, the opposite one, those of
the rest of the cast and an assistant's (`likelihood`), the weight of each after each line. Only the
main branch is scored, because a branch begins amid a scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from improv.analysis.stats.superposition import Superposition, entropy, superposition
from improv.records import Json, Score
from improv.scoring.measures.judge_item import Item, Verdict, judged_version
from improv.scoring.measures.likelihood import ASSISTANT, OPPOSITE, OWN, by_line
from improv.study.measure_spec import version_of

_VERSION = version_of("likelihood")


def superposition_scores(
    asked: Sequence[Item], verdicts: Mapping[str, Verdict], judge: str
) -> list[Score]:
    """Score each line of a character whose lines were all scored: the weight of its own persona
    after the line, of the opposite one and of an assistant, and the entropy of all weights; and for
    the whole scene the turns at which the weights collapse and first flip.

    A collapse or a flip that does not happen is censored at the last line (`happened` in the
    evidence).
    """
    characters: dict[tuple[str, str], list[list[Item]]] = {}
    for line in by_line(asked):
        if line[0].branch == "main":
            characters.setdefault((line[0].trial, line[0].character), []).append(line)
    scores: list[Score] = []
    for lines in characters.values():
        if any(item.id not in verdicts for line in lines for item in line):
            continue
        values = [{item.place: verdicts[item.id].value for item in line} for line in lines]
        state = superposition(values)
        firsts = [line[0] for line in lines]
        scores += _of_lines(firsts, state, judge) + _of_scene(firsts, state, judge)
    return scores


def _of_lines(firsts: Sequence[Item], state: Superposition, judge: str) -> list[Score]:
    scores = []
    for item, weights in zip(firsts, state.weights, strict=True):
        known = weights or {}
        parts: dict[str, float | None] = {
            "superposition": known.get(OWN),
            "superposition:opposite": known.get(OPPOSITE),
            "superposition:assistant": known.get(ASSISTANT),
            "superposition:entropy": None if weights is None else entropy(weights),
        }
        for measure, value in parts.items():
            scores.append(_score(item, item.turn, measure, value, {"weights": known}, judge))
    return scores


def _of_scene(firsts: Sequence[Item], state: Superposition, judge: str) -> list[Score]:
    if all(weights is None for weights in state.weights):
        return [
            _score(firsts[0], None, measure, None, {}, judge)
            for measure in ("superposition:collapse", "superposition:flip")
        ]
    last = firsts[-1].turn
    collapse, flips = state.collapse, state.flips
    held = None if collapse is None else firsts[collapse].turn
    turned = firsts[flips[0][0]].turn if flips else None
    weights = None if collapse is None else state.weights[collapse]
    into = max(weights, key=lambda name: weights[name]) if weights else ""
    all_flips = [[firsts[index].turn, before, after] for index, before, after in flips]
    return [
        _score(
            firsts[0],
            None,
            "superposition:collapse",
            float((last if held is None else held) or 0),
            {"happened": held is not None, "last": last, "into": into},
            judge,
        ),
        _score(
            firsts[0],
            None,
            "superposition:flip",
            float((last if turned is None else turned) or 0),
            {"happened": turned is not None, "last": last, "flips": all_flips},
            judge,
        ),
    ]


def _score(
    item: Item, turn: int | None, measure: str, value: float | None, evidence: Json, judge: str
) -> Score:
    return Score(
        trial=item.trial,
        branch=item.branch,
        turn=turn,
        character=item.character,
        measure=measure,
        version=judged_version(_VERSION, judge),
        value=value,
        evidence=orjson.dumps(evidence).decode(),
    )
