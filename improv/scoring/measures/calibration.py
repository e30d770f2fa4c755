"""Calibration: lines whose truth is known, put to a judge in the place of lines that were played.

Each arm has plants among its own transcripts, with the same number of its own lines before them,
so that sensitivity and specificity are that arm's: a judge that errs more in one of them would
otherwise make a difference where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from improv.records import Transcript, seed_of
from improv.scoring.measures import persona, trait_state
from improv.scoring.measures.judge_item import Item, own_lines
from improv.study.scene import CharacterSpec, Scene, Trait

PLANTS = 60
"""How many lines of each truth are planted in a condition, where it has places for so many."""

PlantedLines = Callable[[CharacterSpec, Trait], tuple[Sequence[str], Sequence[str]]]
"""Character and trait → lines at the pole, lines at the opposite."""
_Place = tuple[Transcript, Scene, PlantedLines]


def calibration_items(
    places: Iterable[_Place], measures: Iterable[str], most: int = PLANTS
) -> list[Item]:
    """Return the plants of one condition: `most` at the pole and `most` at the opposite for each
    of the `measures` ("state", "p2l"), drawn by hash from all lines at all turns that there are.

    A line is planted where its character speaks, in place of what it said.
    """
    found: list[Item] = []
    candidates = list(_candidates(places))
    for measure in measures:
        for truth in (1.0, 0.0):
            fitting = [c for c in candidates if c[-1] == truth]
            fitting.sort(key=lambda c: seed_of("plant", measure, *_identity(c)))
            found += [PLANT_QUESTIONS[measure](*c) for c in fitting[:most]]
    return found


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
"""Measure → what is asked about a planted line."""


def plant_rates(rows: Iterable[Mapping[str, float | None]]) -> tuple[int, int, int, int]:
    """Return (breaks found, breaks read, keeps cleared, keeps read) over verdicts on plants.

    Sensitivity is the first over the second, specificity the third over the fourth. "Neither" is
    no break; what could not be read is left out.
    """
    read = [(r["truth"], r["value"]) for r in rows if r["value"] is not None]
    broken = [v for truth, v in read if truth == 0]
    kept = [v for truth, v in read if truth == 1]
    return sum(v == 0 for v in broken), len(broken), sum(v != 0 for v in kept), len(kept)
