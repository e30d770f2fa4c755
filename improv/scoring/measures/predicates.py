"""The marker measure: properties of a line that a program can check without a model.

They are habits, the signs of traits, and rules. Silences, and replies that are no speech
(placeholders, loops, cut JSON), are scored as missing; they do not count as kept.
"""

from __future__ import annotations

from improv.records import Score, Transcript, Turn
from improv.study.measure_spec import version_of
from improv.study.predicate import is_unreadable, satisfies
from improv.study.scene import EVERYBODY, Predicate, Scene

_VERSION = version_of("marker")


def habit_scores(transcript: Transcript, scene: Scene) -> list[Score]:
    """Score every improvised line of characters with a habit: 1 kept, 0 broken, None missing.

    The evidence is the line itself, so that the score can be read beside what it read.
    """
    by_name = {c.name: c.habit for c in scene.cast if c.habit is not None}
    return [
        _score(turn, f"habit:{habit.marker}", habit)
        for turn in transcript.lines()
        if (habit := by_name.get(turn.speaker)) is not None
    ]


def sign_scores(transcript: Transcript, scene: Scene) -> list[Score]:
    """Score every improvised line of characters with a trait that has a sign: 1 at the pole, 0
    at the opposite, None missing. The measure is named `sign:<pole>/<opposite>`."""
    by_name = {c.name: [t for t in c.traits if t.sign is not None] for c in scene.cast}
    return [
        _score(turn, f"sign:{trait.pole}/{trait.opposite}", trait.sign)
        for turn in transcript.lines()
        for trait in by_name.get(turn.speaker, ())
        if trait.sign is not None
    ]


def rule_scores(transcript: Transcript, scene: Scene) -> list[Score]:
    """Score every improvised line of those whom a rule binds: 1 kept, 0 broken, None missing.

    The measure is named `rule:<name>`, and does not ask how the rule is enforced: a line that a
    filter withheld is a silence, and so missing.
    """
    return [
        _score(turn, f"rule:{name}", rule)
        for turn in transcript.lines()
        for name, rule in scene.rules.items()
        if rule.of in (EVERYBODY, turn.speaker)
    ]


def marker_scores(transcript: Transcript, scene: Scene) -> list[Score]:
    """Return all marker scores of a transcript. They are stored as soon as it is played."""
    measures = (habit_scores, sign_scores, rule_scores)
    return [score for measure in measures for score in measure(transcript, scene)]


def _score(turn: Turn, measure: str, predicate: Predicate) -> Score:
    read = turn.kind == "line" and not is_unreadable(turn.text)
    value = float(satisfies(predicate, turn.text)) if read else None
    return Score(
        trial=turn.trial,
        branch=turn.branch,
        turn=turn.turn,
        character=turn.speaker,
        measure=measure,
        version=_VERSION,
        value=value,
        evidence=turn.text,
    )
