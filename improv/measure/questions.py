"""Which measure asks what: the questions to a judge, or to whoever else can answer them.

A model, a person, and an endpoint that scores a given text are all asked by these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from improv.measure import attribution, likelihood, persona, secret, state
from improv.measure.judge import Item
from improv.records import Transcript
from improv.study.scene import Scene

QUESTIONS: Mapping[str, Callable[[Transcript, Scene], Sequence[Item]]] = {
    "state": state.items,
    "p2l": persona.items,
    "l2l": persona.pairs,
    "attribution": attribution.items,
    "secret": secret.items,
    "likelihood": likelihood.items,
}
"""Measure → what it asks about a played scene."""
