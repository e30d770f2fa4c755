"""Measures: what each is called, what it needs, the unit and range of its scores, its version.

One list for everybody who names a measure: plans, units of analysis, scorers, people as raters,
and the pages that show scores. How a measure is computed is elsewhere. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

NEITHER = 0.5
"""A verdict that is no evidence either way."""


class Need(StrEnum):
    """What must be there for a measure to be made."""

    NOTHING = "nothing"
    JUDGE = "a judge"
    PROBABILITIES = "an endpoint that scores a given text"


class Unit(StrEnum):
    """What the values of a measure's scores are."""

    VERDICT = "verdict"
    """1 holds, 0 does not; in between there is no evidence either way."""
    SHARE = "share"
    PROBABILITY = "probability"
    NATS = "nats"
    TURN = "turn"
    COSINE = "cosine"
    DEVIATIONS = "standard deviations"
    DISTANCE = "distance"

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value that there can be."""
        return _RANGES[self]


_SHARE, _POSITIVE = (0.0, 1.0), (0.0, math.inf)
_RANGES = {
    Unit.VERDICT: _SHARE,
    Unit.SHARE: _SHARE,
    Unit.PROBABILITY: _SHARE,
    Unit.NATS: (-math.inf, math.inf),
    Unit.TURN: _POSITIVE,
    Unit.COSINE: _SHARE,
    Unit.DEVIATIONS: _POSITIVE,
    # An unbiased estimate of a distance may lie below 0.
    Unit.DISTANCE: (-math.inf, math.inf),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How people are told of a measure. What is "" is not said.

    `title` is its name; `short` one for narrow places. `holds` and `fails` are what 1 and 0 mean;
    where a measure has poles, their names are said instead. `breaks` is what a character does
    whose score is 0: a measure without it knows no breaks. `heading` and `question` stand over
    what a rater is asked.
    """

    title: str
    short: str = ""
    holds: str = ""
    fails: str = ""
    breaks: str = ""
    heading: str = ""
    question: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure.

    `name` is what stands before the first colon or dot of its scores' names, or the whole name of
    what is derived from another. `scorer` is what `improv score` calls it, where that differs.
    `version` changes with its scores; `judged_version` is that of a judge's scores where a judge
    may make what else needs nothing.
    """

    name: str
    needs: Need
    unit: Unit
    version: str
    words: Words
    scorer: str = ""
    judged_version: str = ""
    calibrated: bool = False
    """There are planted lines for its judge."""
    poles: bool = False
    """A score's name ends in a trait's pole and opposite: "sign:kind/mean"."""
    pooled: bool = True
    """Whether all scores of it are one measure; each rule and each probe is one of its own."""
    two_states: bool = False
    """A character is at one of two states from line to line, so that a chain describes it."""
    on_trial: bool = False
    """Its scores count for the trial that they were taken from, whatever their branch."""
    explored: Literal["broken", "mean"] = "mean"
    """How it is summed up where no plan asks for it: share of lines that score 0, or mean."""

    @property
    def derived(self) -> bool:
        """Whether it is in a unit of its own, so that no mean of its family may have it in."""
        return ":" in self.name

    @property
    def made_by(self) -> str:
        return self.scorer or self.name.partition(":")[0]

    @property
    def judged(self) -> bool:
        """Whether a judge makes it, or may."""
        return self.needs is Need.JUDGE or bool(self.judged_version)


MEASURES = (
    Measure(
        name="habit",
        scorer="marker",
        needs=Need.NOTHING,
        unit=Unit.VERDICT,
        version="marker-2",
        two_states=True,
        explored="broken",
        words=Words(title="habit", holds="kept", fails="broken", breaks="breaks a habit"),
    ),
    Measure(
        name="sign",
        scorer="marker",
        needs=Need.NOTHING,
        unit=Unit.VERDICT,
        version="marker-2",
        poles=True,
        two_states=True,
        explored="broken",
        words=Words(title="sign", breaks="breaks a trait"),
    ),
    Measure(
        name="rule",
        scorer="marker",
        needs=Need.NOTHING,
        unit=Unit.VERDICT,
        version="marker-2",
        pooled=False,
        explored="broken",
        words=Words(title="rule", holds="kept", fails="broken", breaks="breaks a rule"),
    ),
    Measure(
        name="probe",
        needs=Need.NOTHING,
        unit=Unit.VERDICT,
        version="probe-1",
        pooled=False,
        on_trial=True,
        words=Words(title="probe", holds="right", fails="wrong"),
    ),
    Measure(
        name="state",
        needs=Need.JUDGE,
        unit=Unit.VERDICT,
        version="state-1",
        calibrated=True,
        poles=True,
        two_states=True,
        explored="broken",
        words=Words(
            title="trait, by a judge",
            short="trait",
            breaks="breaks a trait",
            heading="Traits",
            question="What each line shows of its speaker’s trait.",
        ),
    ),
    Measure(
        name="p2l",
        needs=Need.JUDGE,
        unit=Unit.VERDICT,
        version="p2l-1",
        calibrated=True,
        explored="broken",
        words=Words(
            title="the persona, by a judge",
            short="persona",
            holds="no contradiction",
            fails="contradiction",
            breaks="contradicts the persona",
            heading="Persona",
            question="Whether a line contradicts what is known of its speaker.",
        ),
    ),
    Measure(
        name="l2l",
        needs=Need.JUDGE,
        unit=Unit.SHARE,
        version="l2l-1",
        words=Words(
            title="lines that contradict each other",
            short="no contradiction",
            heading="Contradictions",
            question="Whether two lines of one character contradict each other.",
        ),
    ),
    Measure(
        name="attribution",
        needs=Need.JUDGE,
        unit=Unit.VERDICT,
        version="attribution-1",
        words=Words(
            title="who speaks, by a judge who is not told",
            short="told apart",
            holds="told who speaks",
            fails="mistaken for somebody else",
            heading="Who speaks",
            question="Who says a line, without its name.",
        ),
    ),
    Measure(
        name="secret",
        needs=Need.NOTHING,
        unit=Unit.VERDICT,
        version="secret-words-1",
        judged_version="secret-1",
        words=Words(
            title="the secret",
            short="secret",
            holds="kept",
            fails="given away",
            breaks="gives a secret away",
            heading="Secrets",
            question="Whether a line gives its speaker’s secret away.",
        ),
    ),
    Measure(
        name="secret:turn",
        needs=Need.NOTHING,
        unit=Unit.TURN,
        version="secret-words-1",
        judged_version="secret-1",
        words=Words(title="the turn at which the secret was given away"),
    ),
    Measure(
        name="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.NATS,
        version="likelihood-1",
        words=Words(title="likelier than from its opposite (nats)"),
    ),
    Measure(
        name="likelihood:others",
        needs=Need.PROBABILITIES,
        unit=Unit.NATS,
        version="likelihood-1",
        words=Words(title="likelier than from the others (nats)"),
    ),
    Measure(
        name="stylometry",
        needs=Need.NOTHING,
        unit=Unit.COSINE,
        version="stylometry-1",
        words=Words(title="like its own early lines"),
    ),
    Measure(
        name="stylometry:delta",
        needs=Need.NOTHING,
        unit=Unit.DEVIATIONS,
        version="stylometry-1",
        words=Words(title="unlike its own early lines (Burrows’ Delta)"),
    ),
    Measure(
        name="dispersion",
        needs=Need.NOTHING,
        unit=Unit.PROBABILITY,
        version="dispersion-1",
        on_trial=True,
        words=Words(title="two draws of this turn agree"),
    ),
    Measure(
        name="dispersion:energy",
        needs=Need.NOTHING,
        unit=Unit.DISTANCE,
        version="dispersion-1",
        on_trial=True,
        words=Words(title="how far an arm’s next lines lie from the first arm’s"),
    ),
)
_BY_NAME = {m.name: m for m in MEASURES}

MEASURE_NAMES = tuple(m.name for m in MEASURES if not m.derived)
"""What may stand before the colon of a score's name."""


def _scorers(wanted: Iterable[Measure]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.made_by for m in wanted))


PREFERRED = ("sign", "state", "habit", "rule")
"""What is looked at first where no plan names a measure."""
DERIVED = tuple(m.name for m in MEASURES if m.derived)
"""Whole names of scores in units of their own."""
FREE_SCORERS = _scorers(m for m in MEASURES if m.needs is Need.NOTHING)
"""Scorers that need no model. "marker" makes `habit:`, `sign:` and `rule:`."""
JUDGED_SCORERS = _scorers(m for m in MEASURES if m.judged)
"""Scorers that ask a judge. What it makes of secrets takes the place of the words' count."""
PROBABILITY_SCORERS = _scorers(m for m in MEASURES if m.needs is Need.PROBABILITIES)
"""Scorers that need an endpoint which scores given text: only where they are named."""
CALIBRATED = _scorers(m for m in MEASURES if m.calibrated)
"""Judged measures with planted lines."""
SCORERS = tuple(dict.fromkeys((*FREE_SCORERS, *JUDGED_SCORERS, *PROBABILITY_SCORERS)))


def measure_family(name: str) -> str:
    """Return what stands before the first colon or dot of a score's name."""
    return re.split("[:.]", name, maxsplit=1)[0]


def find_measure(name: str) -> Measure | None:
    """Return the measure that makes scores of this name, None where there is none."""
    return _BY_NAME.get(name) or _BY_NAME.get(measure_family(name))


def measure(name: str) -> Measure:
    """Return the measure that is called so. Raises KeyError."""
    return _BY_NAME[name]


def has_two_states(name: str) -> bool:
    """Whether scores of this name say at which of two states a character is, line by line."""
    known = find_measure(name)
    return known is not None and known.two_states


def made_by(name: str) -> str:
    """Return the scorer that makes scores of this name; what nobody makes keeps its family."""
    known = find_measure(name)
    return known.made_by if known is not None else measure_family(name)


def version_of(scorer: str, *, judged: bool = False) -> str:
    """Return the version of the scores that a scorer makes, by a judge or without."""
    known = next(m for m in MEASURES if m.made_by == scorer)
    return (judged and known.judged_version) or known.version
