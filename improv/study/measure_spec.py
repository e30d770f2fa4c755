"""The list of measures: name, what each needs, the unit and range of its scores, its version.

All parts of improv that name a measure use this list: plans, units of analysis, scorers, people as
raters, and the pages that show scores. improv.scoring computes the measures. Pure.
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
    """What a measure needs to be computed."""

    NOTHING = "nothing"
    JUDGE = "a judge"
    PROBABILITIES = "an endpoint that returns probabilities for a given text"


class Unit(StrEnum):
    """The unit of a measure's scores."""

    VERDICT = "verdict"
    """1: the statement holds. 0: it does not. A value in between is no evidence either way."""
    SHARE = "share"
    PROBABILITY = "probability"
    NATS = "nats"
    TURN = "turn"
    COSINE = "cosine"
    DEVIATIONS = "standard deviations"
    DISTANCE = "distance"

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest possible value."""
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
    # An unbiased estimate of a distance can be below 0.
    Unit.DISTANCE: (-math.inf, math.inf),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words for a measure on pages and in reports. A text that is "" is not shown.

    `title` is the measure's name, `short` a name for narrow places. `holds` and `fails` say what 1
    and 0 mean; a measure with poles shows the poles instead. `breaks` says what a character does if
    its score is 0; it is "" for a measure that has no breaks. `heading` and `question` are the
    heading and the text above a rater's questions.
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

    `name` is the part before the first colon or dot of its scores' names; for a measure that is
    derived from another it is the whole name. `scorer` is the name that `improv score` uses, if it
    differs. `version` changes when the scores change. `judged_version` is the version of a judge's
    scores, for a measure that can be computed with or without a judge.
    """

    name: str
    needs: Need
    unit: Unit
    version: str
    words: Words
    scorer: str = ""
    judged_version: str = ""
    calibrated: bool = False
    """Planted lines exist for its judge."""
    poles: bool = False
    """A score's name ends in a trait's pole and opposite: "sign:kind/mean"."""
    pooled: bool = True
    """Whether all its scores are one measure. False: each rule, and each probe, is its own
    measure."""
    two_states: bool = False
    """A character is in one of two states at each line, so that a Markov chain describes it."""
    on_trial: bool = False
    """Its scores count for the trial that they come from, whichever branch they are of."""
    known_answer: bool = False
    """The right answer to its question is known for every line, so that a judge's errors are what
    it measures."""
    no_outcome: str = ""
    """Why a plan cannot have it as its outcome; "" if it can."""
    explored: Literal["broken", "mean"] = "mean"
    """The summary if no plan names the measure: the share of lines that score 0, or the mean."""

    @property
    def derived(self) -> bool:
        """Whether it has a unit of its own, so that a mean of its family must leave it out."""
        return ":" in self.name

    @property
    def made_by(self) -> str:
        """The name of the scorer that computes the measure."""
        return self.scorer or self.name.partition(":")[0]

    @property
    def judged(self) -> bool:
        """Whether a judge computes it, or can compute it."""
        return self.needs is Need.JUDGE or bool(self.judged_version)


_STYLE = (
    "it follows topic and length as much as the person, and no value of it is known to be right; "
    "plan a measure of what lines show, and look at this one beside it"
)

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
        version="l2l-2",
        no_outcome="no lines of known truth show how often a judge of pairs errs; plan a measure "
        "by signs, 'state' or 'p2l', whose judges are calibrated",
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
        known_answer=True,
        words=Words(
            title="who speaks, as a judge recognises it",
            short="recognised",
            holds="speaker recognised",
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
        version="likelihood-2",
        words=Words(title="likelier than from its opposite (nats)"),
    ),
    Measure(
        name="likelihood:others",
        needs=Need.PROBABILITIES,
        unit=Unit.NATS,
        version="likelihood-2",
        words=Words(title="likelier than from the others (nats)"),
    ),
    Measure(
        name="likelihood:speaker",
        needs=Need.PROBABILITIES,
        unit=Unit.VERDICT,
        version="likelihood-2",
        words=Words(
            title="who speaks, by likelihood",
            short="likeliest speaker",
            holds="likeliest from its speaker",
            fails="likelier from somebody else",
        ),
    ),
    Measure(
        name="superposition",
        scorer="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.PROBABILITY,
        version="likelihood-2",
        words=Words(title="weight of its own persona, by its lines so far", short="own persona"),
    ),
    Measure(
        name="superposition:opposite",
        scorer="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.PROBABILITY,
        version="likelihood-2",
        words=Words(title="weight of its opposite, by its lines so far"),
    ),
    Measure(
        name="superposition:assistant",
        scorer="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.PROBABILITY,
        version="likelihood-2",
        words=Words(title="weight of an assistant, by its lines so far"),
    ),
    Measure(
        name="superposition:entropy",
        scorer="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.NATS,
        version="likelihood-2",
        words=Words(title="entropy of who speaks, by its lines so far (nats)"),
    ),
    Measure(
        name="superposition:collapse",
        scorer="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.TURN,
        version="likelihood-2",
        words=Words(title="the turn from which one simulacrum is left"),
    ),
    Measure(
        name="superposition:flip",
        scorer="likelihood",
        needs=Need.PROBABILITIES,
        unit=Unit.TURN,
        version="likelihood-2",
        words=Words(title="the turn at which another simulacrum takes over"),
    ),
    Measure(
        name="stylometry",
        needs=Need.NOTHING,
        unit=Unit.COSINE,
        version="stylometry-1",
        no_outcome=_STYLE,
        words=Words(title="like its own early lines"),
    ),
    Measure(
        name="stylometry:delta",
        needs=Need.NOTHING,
        unit=Unit.DEVIATIONS,
        version="stylometry-1",
        no_outcome=_STYLE,
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
"""The words that can be before the colon of a score's name."""


def _scorers(measures: Iterable[Measure]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(m.made_by for m in measures))


PREFERRED = ("sign", "state", "habit", "rule")
"""The measures that are analysed first if no plan names one."""
DERIVED = tuple(m.name for m in MEASURES if m.derived)
"""Whole names of scores in units of their own."""
FREE_SCORERS = _scorers(m for m in MEASURES if m.needs is Need.NOTHING)
"""Scorers that need no model. "marker" computes `habit:`, `sign:` and `rule:`."""
JUDGED_SCORERS = _scorers(m for m in MEASURES if m.judged)
"""Scorers that call a judge. Its scores of secrets replace those from counting words."""
PROBABILITY_SCORERS = _scorers(m for m in MEASURES if m.needs is Need.PROBABILITIES)
"""Scorers that need an endpoint with probabilities for a given text. They run only if named."""
CALIBRATED = _scorers(m for m in MEASURES if m.calibrated)
"""Scorers by a judge for which planted lines exist."""
SCORERS = tuple(dict.fromkeys((*FREE_SCORERS, *JUDGED_SCORERS, *PROBABILITY_SCORERS)))


def measure_family(name: str) -> str:
    """Return the part of a score's name before its first colon or dot."""
    return re.split("[:.]", name, maxsplit=1)[0]


def find_measure(name: str) -> Measure | None:
    """Return the measure of the scores with this name, or None if there is none."""
    return _BY_NAME.get(name) or _BY_NAME.get(measure_family(name))


def measure(name: str) -> Measure:
    """Return the measure of this name. Raises KeyError."""
    return _BY_NAME[name]


def has_two_states(name: str) -> bool:
    """Whether scores of this name say, line by line, in which of two states a character is."""
    known = find_measure(name)
    return known is not None and known.two_states


def made_by(name: str) -> str:
    """Return the scorer that computes scores of this name, or the name's family if none does."""
    known = find_measure(name)
    return known.made_by if known is not None else measure_family(name)


def version_of(scorer: str, *, judged: bool = False) -> str:
    """Return the version of a scorer's scores: those of a judge if `judged`."""
    known = next(m for m in MEASURES if m.made_by == scorer)
    return (judged and known.judged_version) or known.version
