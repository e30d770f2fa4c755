"""The questions of each measure.

A model, a person, and an endpoint that scores a given text all get their questions from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from improv.records import Transcript
from improv.scoring.measures import attribution, likelihood, persona, secret, trait_state
from improv.scoring.measures.judge_item import Item
from improv.study.scene import Scene

QUESTIONS: Mapping[str, Callable[[Transcript, Scene], Sequence[Item]]] = {
    "state": trait_state.state_items,
    "p2l": persona.p2l_items,
    "l2l": persona.l2l_items,
    "attribution": attribution.attribution_items,
    "secret": secret.secret_items,
    "likelihood": likelihood.likelihood_items,
}
"""Measure → the function that makes its questions about a played scene."""
