"""Dispersion: how much the draws of one turn differ, as discrete acts and as vectors.

The collision probability ĉ = Σ n(n−1) / (R(R−1)) is an unbiased estimate of the chance that two
draws are the same act; plug-in entropy is biased. The energy distance (Székely and Rizzo 2013,
doi:10.1016/j.jspi.2013.03.018) compares two groups of draws over any vectors.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import orjson

from improv.records import Score, Turn
from improv.scoring.measures.stylometry import trigrams
from improv.study.measure_spec import version_of

_VERSION = version_of("dispersion")
_Vector = Mapping[str, float]
_CLAUSE = re.compile(r"[.!?…,;:。！？]|\s[—–-]\s")
_STAGED = re.compile(r"\([^()]*\)")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def act(text: str, options: Sequence[str] = ()) -> str:
    """Return the discrete act of a line: the option that it mentions first, or, without options,
    its first clause in lower case. "" if it has no words or mentions no option."""
    spoken = " ".join(_WORD.findall(_STAGED.sub(" ", text).casefold()))
    if options:
        places = {o: _place(o, spoken) for o in options}
        mentioned = [o for o in options if places[o] >= 0]
        return min(mentioned, key=lambda o: (places[o], -len(o))) if mentioned else ""
    for clause in _CLAUSE.split(_STAGED.sub(" ", text)):
        words = _WORD.findall(clause.casefold())
        if words:
            return " ".join(words)
    return ""


def collision(acts: Sequence[str]) -> float | None:
    """Return ĉ over the readable acts, None if there are fewer than two."""
    counts = Counter(a for a in acts if a)
    n = sum(counts.values())
    return sum(k * (k - 1) for k in counts.values()) / (n * (n - 1)) if n > 1 else None


def distance(one: _Vector, other: _Vector) -> float:
    """Return the Euclidean distance of two vectors after each is scaled to length 1."""
    a, b = _unit(one), _unit(other)
    return math.sqrt(sum((a.get(k, 0.0) - b.get(k, 0.0)) ** 2 for k in sorted({*a, *b})))


def spread(vectors: Sequence[_Vector]) -> float | None:
    """Return the mean distance of two different draws, None if there are fewer than two."""
    pairs = [distance(a, b) for a, b in combinations(vectors, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def energy(one: Sequence[_Vector], other: Sequence[_Vector]) -> float | None:
    """Return the squared energy distance 2E|X−Y| − E|X−X'| − E|Y−Y'| of two groups of draws.

    The means are over different draws, so the estimate is unbiased. None if a group has fewer than
    two draws.
    """
    within, without = spread(one), spread(other)
    if within is None or without is None:
        return None
    across = [distance(a, b) for a in one for b in other]
    return 2 * sum(across) / len(across) - within - without


def turn_dispersion(
    draws: Sequence[Turn], parent: str, options: Sequence[str] = (), *, certain: bool = False
) -> Score:
    """Score one turn from all its draws: ĉ, with the counts of the acts and the spread as evidence.

    If the model always repeats itself (`certain`: temperature 0), ĉ would be 1 without meaning, and
    the score is missing.
    """
    turn = draws[0]
    acts = [act(d.text, options) if d.kind == "line" else "" for d in draws]
    vectors = [trigrams(d.text) for d in draws if d.kind == "line"]
    evidence = {
        "draws": len(draws),
        "unread": acts.count(""),
        "spread": spread(vectors),
        "counts": dict(Counter(a for a in acts if a).most_common()),
        "why": "at temperature 0 all draws are one" if certain else "",
    }
    return Score(
        trial=turn.trial,
        branch=parent,
        turn=turn.turn,
        character=turn.speaker,
        measure="dispersion",
        version=_VERSION,
        value=None if certain else collision(acts),
        evidence=orjson.dumps(evidence).decode(),
    )


def arm_distances(
    trial: str, parent: str, turn: int, arms: Mapping[str, Sequence[Turn]], *, certain: bool = False
) -> list[Score]:
    """Score each arm of a branching: the energy distance of its next lines from the first arm's."""
    vectors = {
        arm: [trigrams(t.text) for t in turns if t.kind == "line"] for arm, turns in arms.items()
    }
    first = next(iter(arms))
    return [
        Score(
            trial=trial,
            branch=parent,
            turn=turn,
            character=arm,
            measure="dispersion:energy",
            version=_VERSION,
            value=None if certain else energy(draws, vectors[first]),
            evidence=orjson.dumps({"arm": arm, "against": first, "draws": len(draws)}).decode(),
        )
        for arm, draws in vectors.items()
        if arm != first
    ]


def _place(option: str, spoken: str) -> int:
    words = " ".join(_WORD.findall(option.casefold()))
    match = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", spoken) if words else None
    return match.start() if match else -1


def _unit(vector: _Vector) -> dict[str, float]:
    length = math.sqrt(sum(v * v for v in vector.values())) or 1.0
    return {k: v / length for k, v in vector.items()}
