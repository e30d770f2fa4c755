"""Which of several hypotheses wrote a text: the posterior after each of its lines. Pure.

A hypothesis is a simulacrum (a persona of a character) or an author. Each gives every line a
log-probability, in nats; before the first line all are equally likely. Shanahan, McDonell and
Reynolds (Nature 623, 2023) call what a model holds a superposition of simulacra, which a dialogue
narrows down: here the weights say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COLLAPSED = 0.95
"""The weight from which one hypothesis counts as the only one."""


@dataclass(frozen=True, slots=True)
class Superposition:
    """The weights of the hypotheses after each line, and what follows from them.

    A line without a log-probability under some hypothesis is no evidence: its weights are None, and
    those after it go on from the line before. `collapse` is the index of the first line from which
    on one hypothesis, always the same, has at least COLLAPSED; None if there is none. `flips` are
    the lines after which another hypothesis has more than half than the last that had so.
    """

    weights: tuple[Mapping[str, float] | None, ...]
    collapse: int | None
    flips: tuple[tuple[int, str, str], ...]
    """(index of the line, the hypothesis before, the hypothesis after)"""


def superposition(lines: Sequence[Mapping[str, float | None]]) -> Superposition:
    """Return the posterior after each line. `lines` has, for each line, hypothesis → log P(line).

    Raises ValueError if lines have other hypotheses than the first one.
    """
    names = list(lines[0]) if lines else []
    sums = dict.fromkeys(names, 0.0)
    weights: list[Mapping[str, float] | None] = []
    for line in lines:
        if list(line) != names:
            raise ValueError("each line needs a log-probability under the same hypotheses")
        values = {name: value for name, value in line.items() if value is not None}
        if len(values) < len(names):
            weights.append(None)
            continue
        sums = {name: sums[name] + values[name] for name in names}
        weights.append(_normalised(sums))
    return Superposition(tuple(weights), _collapse(weights), _flips(weights))


def entropy(weights: Mapping[str, float]) -> float:
    """Return the entropy of weights that sum to 1, in nats."""
    return -math.fsum(w * math.log(w) for w in weights.values() if w > 0)


def _normalised(sums: Mapping[str, float]) -> dict[str, float]:
    most = max(sums.values())
    parts = {name: math.exp(value - most) for name, value in sums.items()}
    total = math.fsum(parts.values())
    return {name: part / total for name, part in parts.items()}


def _collapse(weights: Sequence[Mapping[str, float] | None]) -> int | None:
    first: int | None = None
    holder = ""
    for index, each in enumerate(weights):
        if each is None:
            continue
        best = max(each, key=lambda name: each[name])
        if each[best] < COLLAPSED:
            first = None
        elif first is None or best != holder:
            first, holder = index, best
    return first


def _flips(weights: Sequence[Mapping[str, float] | None]) -> tuple[tuple[int, str, str], ...]:
    flips, holder = [], ""
    for index, each in enumerate(weights):
        if each is None:
            continue
        best = max(each, key=lambda name: each[name])
        if each[best] <= 0.5:
            continue
        if holder and best != holder:
            flips.append((index, holder, best))
        holder = best
    return tuple(flips)
