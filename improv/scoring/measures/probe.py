"""Probes: a fixed question off the record, whose answer is right if it holds an expected word."""

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
    """Score what a probe branch answered: 1 where it holds an expected word or phrase, whole and in
    any case, 0 where it holds none, None where nothing readable was answered.

    `name` is the probe's, `fork` the turn after which it was put, and so the score's. A probe
    without an expected answer has none that is right, and no score.
    """
    wanted = [words for e in expect if (words := _words(e))]
    if not wanted:
        return []
    scores = []
    for turn in transcript.turns:
        if turn.kind != "probe" or turn.branch != transcript.branch:
            continue
        said = _words(turn.text)
        found = [" ".join(w) for w in wanted if _within(w, said)]
        value = float(bool(found)) if said else None
        evidence = {"ask": ask, "reply": turn.text, "found": found, "expect": [*expect]}
        scores.append(
            Score(
                turn.trial,
                turn.branch,
                fork,
                turn.speaker,
                f"probe:{name}",
                _VERSION,
                value,
                orjson.dumps(evidence).decode(),
            )
        )
    return scores


def _words(text: str) -> list[str]:
    return [w.replace("’", "'") for w in _WORD.findall(text.casefold())]


def _within(phrase: list[str], words: list[str]) -> bool:
    size = len(phrase)
    return any(words[i : i + size] == phrase for i in range(len(words) - size + 1))
