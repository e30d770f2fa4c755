"""Who speaks next if nobody is cued: one function for each order that a scene may have."""

from __future__ import annotations

import random
from typing import Protocol

import mesa

from improv.records import Turn
from improv.stage.character import Character

_SPOKEN = ("written", "line", "silence")


class SceneState(Protocol):
    """The part of a stage that an order reads."""

    cast: list[Character]
    by_name: dict[str, Character]
    turns: list[Turn]
    last_speaker: str
    round: list[Character]
    """The characters that have not spoken yet in the present round, in order."""

    def dice(self, purpose: str) -> random.Random: ...


def _round_robin(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Choose the first one present after the last speaker in the cast list."""
    cast = stage.cast
    last = stage.by_name.get(stage.last_speaker)
    start = cast.index(last) + 1 if last is not None else 0
    return next(c for c in cast[start:] + cast[:start] if c.present)


def _shuffled(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Let everybody speak once in a round; each round has an order of its own, drawn at random."""
    stage.round = [c for c in stage.round if c.present]
    if not stage.round:
        stage.dice("round")
        stage.round = list(present.shuffle())
        if len(stage.round) > 1 and stage.round[0].name == stage.last_speaker:
            stage.round.append(stage.round.pop(0))
    return stage.round.pop(0)


def _to_the_addressed(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Choose the addressee of the last line, or the one longest silent if it had none."""
    last = next((t for t in reversed(stage.turns) if t.kind in _SPOKEN), None)
    addressee = stage.by_name.get(last.addressed) if last is not None else None
    if addressee is not None and addressee.present and addressee.name != stage.last_speaker:
        return addressee
    return _longest_silent(stage, present)


def _longest_silent(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    return min(present, key=lambda c: c.last_spoke)  # type: ignore[no-any-return]


def _by_silence(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Draw one at random, with a weight of the turns for which it has been silent."""
    silences = present.map(lambda c: max(len(stage.turns) - 1 - c.last_spoke, 0))
    if not sum(silences):
        return next(iter(present))  # type: ignore[no-any-return]
    chosen: Character = stage.dice("speaker").choices(list(present), weights=silences)[0]
    return chosen


ORDERS = {
    "round-robin": _round_robin,
    "shuffled": _shuffled,
    "addressed": _to_the_addressed,
    "author-cued": _longest_silent,
    "by-silence": _by_silence,
}
