"""Who speaks next, where nobody is cued: the orders that a scene may be played in."""

from __future__ import annotations

import random
from typing import Protocol

import mesa

from improv.records import Turn
from improv.stage.character import Character

_SAID = ("written", "line", "silence")


class SceneState(Protocol):
    """What an order looks at."""

    cast: list[Character]
    by_name: dict[str, Character]
    turns: list[Turn]
    last_speaker: str
    round: list[Character]
    """Who is still to speak in a round that was begun."""

    def dice(self, purpose: str) -> random.Random: ...


def _round_robin(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Whoever comes next in the cast list after the last speaker."""
    cast = stage.cast
    last = stage.by_name.get(stage.last_speaker)
    start = cast.index(last) + 1 if last is not None else 0
    return next(c for c in cast[start:] + cast[:start] if c.present)


def _shuffled(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Everybody once a round, in an order drawn anew for each."""
    stage.round = [c for c in stage.round if c.present]
    if not stage.round:
        stage.dice("round")
        stage.round = list(present.shuffle())
        if len(stage.round) > 1 and stage.round[0].name == stage.last_speaker:
            stage.round.append(stage.round.pop(0))
    return stage.round.pop(0)


def _to_the_addressed(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Whoever the last line spoke to; the one longest silent where it spoke to nobody."""
    last = next((t for t in reversed(stage.turns) if t.kind in _SAID), None)
    named = stage.by_name.get(last.addressed) if last is not None else None
    if named is not None and named.present and named.name != stage.last_speaker:
        return named
    return _longest_silent(stage, present)


def _longest_silent(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    return min(present, key=lambda c: c.last_spoke)  # type: ignore[no-any-return]


def _by_silence(stage: SceneState, present: mesa.agent.AgentSet) -> Character:
    """Drawn by chance, in proportion to how many turns each has been silent."""
    silent = present.map(lambda c: max(len(stage.turns) - 1 - c.last_spoke, 0))
    if not sum(silent):
        return next(iter(present))  # type: ignore[no-any-return]
    chosen: Character = stage.dice("speaker").choices(list(present), weights=silent)[0]
    return chosen


ORDERS = {
    "round-robin": _round_robin,
    "shuffled": _shuffled,
    "addressed": _to_the_addressed,
    "author-cued": _longest_silent,
    "by-silence": _by_silence,
}
