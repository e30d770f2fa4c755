"""Trait state by a judge: in each line each trait is at its pole, its opposite, or neither."""

from __future__ import annotations

from improv.records import Transcript, Turn
from improv.scoring.measures.judge_item import Item, item, lines_before, own_lines, shown_line
from improv.scoring.measures.judge_prompts import STATE
from improv.study.measure_spec import version_of
from improv.study.scene import CharacterSpec, Scene, Trait

_VERSION = version_of("state")


def state_measure(trait: Trait) -> str:
    return f"state:{trait.pole}/{trait.opposite}"


def state_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return a question for each own line and trait: 1 pole, 0 opposite, .5 neither."""
    return [
        state_item(transcript, turn, c, trait)
        for c in scene.cast
        for turn in own_lines(transcript, c.name)[0]
        for trait in c.traits
    ]


def state_item(
    transcript: Transcript,
    turn: Turn,
    c: CharacterSpec,
    trait: Trait,
    *,
    line: str = "",
    truth: float | None = None,
) -> Item:
    """Return the question about one line, or about the planted `line` in its place."""
    planted = {"truth": truth, "pole": trait.pole, "opposite": trait.opposite}
    said = shown_line(line or turn.text)
    return item(
        turn,
        f"calibration:{state_measure(trait)}" if line else state_measure(trait),
        _VERSION,
        STATE,
        {trait.pole: 1.0, trait.opposite: 0.0, "neither": 0.5, "unreadable": None},
        place=said if line else "",
        truth=truth,
        evidence={"line": said} | (planted if line else {}),
        name=c.name.upper(),
        role=c.role,
        pole=trait.pole,
        opposite=trait.opposite,
        before=lines_before(transcript, turn),
        line=f"{c.name.upper()}: {said}",
    )
