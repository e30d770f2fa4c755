"""Which measure asks what: the questions to a judge, or to whoever else can answer them.

A model, a person, and an endpoint that scores a given text are all asked by these.
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
"""Measure → what it asks about a played scene."""
