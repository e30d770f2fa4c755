"""Stylometry: how similar a character's later lines are to its early ones. A weak measure.

It is never a primary outcome. Two measures need no model: the cosine of character 3-grams, for each
line, and Burrows' Delta of the later lines against the early ones, for each scene (Burrows 2002,
doi:10.1093/llc/17.3.267).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import orjson

from improv.records import Score, Transcript, Turn
from improv.study.measure_spec import version_of
from improv.study.scene import Scene

_VERSION = version_of("stylometry")
_EARLY = 3
"""Number of first improvised lines that, with the written ones, are a character's early lines."""
_FREQUENT = 30
"""Number of the scene's most frequent words that Burrows' Delta compares."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def stylometry_scores(transcript: Transcript, scene: Scene) -> list[Score]:
    """Score each own line after a character's early ones: cosine of 3-grams, 0 to 1.

    Each character with at least two such lines gets Delta too: 0 for the same profile, larger for
    less similar ones. Silences, and lines of characters without early lines, are missing.
    """
    scores = []
    everything = [t.text for t in transcript.turns if t.kind in ("line", "written") and t.speaker]
    for c in scene.cast:
        lines = transcript.lines(c.name)
        spoken = [t for t in lines if t.kind == "line"]
        written = [t.text for t in transcript.turns if t.kind == "written" and t.speaker == c.name]
        early = [*c.samples, *written, *(t.text for t in spoken[:_EARLY])]
        first = spoken[_EARLY - 1].turn if len(spoken) >= _EARLY else math.inf
        profile = trigrams(" \n ".join(early))
        late = [t for t in lines if t.turn > first]
        for turn in (t for t in late if t.branch == transcript.branch):
            value = cosine(trigrams(turn.text), profile) if turn.kind == "line" else None
            scores.append(_score(transcript, turn, c.name, "stylometry", value, turn.text))
        texts = [t.text for t in late if t.kind == "line"]
        if len(texts) >= 2:
            value = delta(texts, early, everything)
            evidence = orjson.dumps({"early": len(early), "late": len(texts)}).decode()
            scores.append(_score(transcript, None, c.name, "stylometry:delta", value, evidence))
    return scores


def trigrams(text: str) -> Counter[str]:
    """Return the counts of a text's character 3-grams, without case and repeated spaces."""
    plain = f" {' '.join(text.casefold().split())} "
    return Counter(plain[i : i + 3] for i in range(len(plain) - 2))


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Return the cosine of two sparse vectors, None if one of them is empty."""
    lengths = [math.sqrt(sum(v * v for v in vector.values())) for vector in (one, other)]
    if not all(lengths):
        return None
    return sum(v * other.get(k, 0) for k, v in one.items()) / (lengths[0] * lengths[1])


def delta(late: Iterable[str], early: Iterable[str], everything: Sequence[str]) -> float | None:
    """Return Burrows' Delta: the mean difference of the z-scores of frequent words.

    The mean and spread of each word are over `everything`, the scene's lines. None if no word
    varies.
    """
    texts = [_words(t) for t in everything]
    frequent = [w for w, _ in Counter(w for t in texts for w in t).most_common(_FREQUENT)]
    rates = [_rates(t, frequent) for t in texts if t]
    one, other = (
        _rates([w for t in group for w in _words(t)], frequent) for group in (late, early)
    )
    differences = []
    for k in range(len(frequent)):
        column = [r[k] for r in rates]
        mean = sum(column) / len(column)
        spread = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
        if spread:
            differences.append(abs(one[k] - other[k]) / spread)
    return sum(differences) / len(differences) if differences else None


def _rates(words: Sequence[str], frequent: Sequence[str]) -> list[float]:
    counts = Counter(words)
    return [counts[w] / max(1, len(words)) for w in frequent]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _score(
    t: Transcript, turn: Turn | None, who: str, measure: str, value: float | None, evidence: str
) -> Score:
    at = None if turn is None else turn.turn
    return Score(
        trial=t.trial,
        branch=t.branch,
        turn=at,
        character=who,
        measure=measure,
        version=_VERSION,
        value=value,
        evidence=evidence,
    )
