"""Probes: a fixed question off the record. An answer is right if it has an expected word."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from improv.records import Score, Transcript
from improv.study.measure_spec import version_of

_VERSION = version_of("probe")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def probe_scores(
    transcript: Transcript, name: str, ask: str, expect: Iterable[str], fork: int
) -> list[Score]:
    """Score the answer of a probe branch: 1 if it has an expected word or phrase (whole words, in
    any case), 0 if it has none, None if there is no readable answer.

    `name` is the probe's name. `fork` is the turn after which it was asked, which is the turn of
    the score. A probe without expected answers has no score.
    """
    wanted = [words for e in expect if (words := _words(e))]
    if not wanted:
        return []
    scores = []
    for turn in transcript.turns:
        if turn.kind != "probe" or turn.branch != transcript.branch:
            continue
        said = _words(turn.text)
        matches = [" ".join(w) for w in wanted if _within(w, said)]
        value = float(bool(matches)) if said else None
        evidence = {"ask": ask, "reply": turn.text, "found": matches, "expect": [*expect]}
        scores.append(
            Score(
                trial=turn.trial,
                branch=turn.branch,
                turn=fork,
                character=turn.speaker,
                measure=f"probe:{name}",
                version=_VERSION,
                value=value,
                evidence=orjson.dumps(evidence).decode(),
            )
        )
    return scores


def _words(text: str) -> list[str]:
    return [w.replace("’", "'") for w in _WORD.findall(text.casefold())]


def _within(phrase: list[str], words: list[str]) -> bool:
    size = len(phrase)
    return any(words[i : i + size] == phrase for i in range(len(words) - size + 1))
