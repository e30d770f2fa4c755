"""Calibration: a judge is shown lines whose truth is known in place of lines that were played.

Each arm has plants in its own transcripts, with as many of its own lines before them as a played
line has, so that sensitivity and specificity are those of the arm. Otherwise a judge that errs more
in one arm would produce a difference where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from improv.records import Transcript, seed_of
from improv.scoring.measures import persona, trait_state
from improv.scoring.measures.judge_item import Item, own_lines
from improv.study.scene import CharacterSpec, Scene, Trait

PLANTS = 60
"""Maximum planted lines of each truth in a condition. A condition with fewer places has fewer."""

PlantedLines = Callable[[CharacterSpec, Trait], tuple[Sequence[str], Sequence[str]]]
"""Character and trait → lines at the pole, lines at the opposite."""
_Place = tuple[Transcript, Scene, PlantedLines]


def calibration_items(
    places: Iterable[_Place], measures: Iterable[str], most: int = PLANTS
) -> list[Item]:
    """Return the plants of one condition: `most` at the pole and `most` at the opposite for each
    of the `measures` ("state", "p2l"), drawn by hash from all pairs of a line and a turn.

    A line is planted at a turn of its own character, in place of the line that was played.
    """
    plants: list[Item] = []
    candidates = list(_candidates(places))
    for measure in measures:
        for truth in (1.0, 0.0):
            fitting = [c for c in candidates if c[-1] == truth]
            fitting.sort(key=lambda c: seed_of("plant", measure, *_identity(c)))
            plants += [PLANT_QUESTIONS[measure](*c) for c in fitting[:most]]
    return plants


_Candidate = tuple[Transcript, int, CharacterSpec, Trait, str, float]


def _candidates(places: Iterable[_Place]) -> Iterator[_Candidate]:
    for transcript, scene, lines in places:
        for c in scene.cast:
            for trait in c.traits:
                for at, _ in enumerate(own_lines(transcript, c.name)[0]):
                    for truth, said in zip((1.0, 0.0), lines(c, trait), strict=True):
                        for line in said:
                            yield transcript, at, c, trait, line, truth


def _identity(candidate: _Candidate) -> tuple[object, ...]:
    transcript, at, c, trait, line, truth = candidate
    return transcript.trial, transcript.branch, at, c.name, trait.pole, line, truth


def _state(t: Transcript, at: int, c: CharacterSpec, trait: Trait, line: str, truth: float) -> Item:
    return trait_state.state_item(t, own_lines(t, c.name)[0][at], c, trait, line=line, truth=truth)


def _p2l(t: Transcript, at: int, c: CharacterSpec, trait: Trait, line: str, truth: float) -> Item:
    more = {"pole": trait.pole, "opposite": trait.opposite}
    return persona.p2l_item(t, own_lines(t, c.name)[0][at], c, line=line, truth=truth, more=more)


PLANT_QUESTIONS: Mapping[str, Callable[..., Item]] = {"state": _state, "p2l": _p2l}
"""Measure → the function that makes the question about a planted line."""
