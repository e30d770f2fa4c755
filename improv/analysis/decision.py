"""What a planned contrast comes to: shown, not shown, or not decided. Pure.

This is the only place that decides. The report, the comparison of runs, the notebook and the viewer
read a `Decision`; none of them looks at a p of its own. Whatever speaks against a decision is a
`Doubt`: to add one, give it a kind, and put it where it is known, into `Analysis.doubts` (from the
tables) or into `Material.doubts` (from the run's folder).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from improv.analysis.stats.contrast import Contrast


class DoubtKind(StrEnum):
    """Kinds of reasons why nothing is decided. The value is the reason in a few words, as it
    stands after "Not decided:" where a doubt is about one contrast."""

    NO_PLAN = "no plan"
    LATE_PLAN = "late plan"
    DEMONSTRATION = "a demonstration"
    NO_SCORES = "no scores"
    MISSING_SCORES = "missing scores"
    FAILED_UNITS = "failed units"
    UNHEARD = "author not heard"
    """Too many replies of an arm's author did not arrive, or could not be read."""
    JUDGE = "judge"
    """The outcome rests on a judge who cannot judge, or who was not tried on planted lines."""
    PLANTED_ONLY = "calibrated on planted lines only"
    """Nobody rated played lines of every arm, so that the judge's errors there are not known."""
    WHICH_JUDGE = "which judge decides"
    """The plan names another judge, or none of several."""
    AGREEMENT = "judges disagree"
    """The judges of the outcome agree too little, or differ in the sign of a contrast."""
    NO_OUTCOME = "no outcome"
    """No plan can rest on the measure: what it says is known too little."""
    TOO_FEW = "too few blocks to reject"
    SHAPES = "the arms may differ in shape alone"
    RARE_EVENT = "too few blocks to rule out a rare event"
    MISSING_BOUNDS = "what is missing may be why"
    """In one of the worst cases of what is missing, the contrast would not be shown."""
    LENGTH = "goes with length"
    """With lines of equal length, or by the word, the contrast would not be shown."""
    SIGN_FAILS = "the sign does not tell characters apart"
    """Lines of other characters, put in the places of a character's own, do not score worse."""
    CONTROL = "a control failed"
    RECORD = "not all that was played is here"
    CHANGED_FILES = "changed files"
    LEAK = "a leak"
    PARTIAL = "blocks are missing"
    """Planned blocks are not there, and no planned look allows a decision without them."""
    MORE_LOOKS = "more looks are planned"
    HISTORY = "the run's history"
    """What was done with the run is not what its history says, or leaves no planned result."""
    UNCHECKED = "not checked yet"
    """Something that can speak against a decision is still being read."""


_HIDING_P = frozenset({DoubtKind.PARTIAL, DoubtKind.RECORD})


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason why nothing is decided: the kind for programs, the sentence for people.

    `contrast` is the name of the planned contrast that the doubt is about, "" for all. `cell` is
    the arm that it is about, "" for none in particular. `short` replaces the kind's few words.
    """

    kind: DoubtKind
    sentence: str
    contrast: str = ""
    cell: str = ""
    short: str = ""

    @property
    def words(self) -> str:
        """The reason in a few words."""
        return self.short or self.kind.value

    @property
    def hides_p(self) -> bool:
        """Whether a contrast under this doubt has no p to show: somebody would read it."""
        return self.kind in _HIDING_P

    def is_about(self, contrast: str) -> bool:
        return self.contrast in ("", contrast)


class Verdict(StrEnum):
    """What a planned contrast comes to."""

    SHOWN = "Shown"
    NOT_SHOWN = "Not shown"
    NOT_DECIDED = "Not decided"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one planned contrast comes to, and the doubts that leave it undecided."""

    contrast: Contrast
    verdict: Verdict
    alpha: float
    doubts: tuple[Doubt, ...] = ()

    @property
    def shows_p(self) -> bool:
        return not any(doubt.hides_p for doubt in self.doubts)

    @property
    def decided(self) -> bool | None:
        """Whether the contrast is shown, None if that is not decided."""
        return None if self.verdict is Verdict.NOT_DECIDED else self.verdict is Verdict.SHOWN

    @property
    def sentence(self) -> str:
        """The verdict in a sentence. Doubts about all contrasts are said once, not here."""
        if math.isnan(self.contrast.estimate.value):
            return f"unknown ({self.contrast.estimate.why or 'no data'})."
        if self.verdict is Verdict.NOT_DECIDED:
            own = list(dict.fromkeys(doubt.words for doubt in self.doubts if doubt.contrast))
            return f"{self.verdict}: {'; '.join(own)}." if own else f"{self.verdict}."
        alpha = f"at α = {self.alpha:g}"
        if self.verdict is Verdict.SHOWN:
            direction = "more" if self.contrast.estimate.value > 0 else "less"
            return f"{self.verdict} {alpha}: {direction} on the first side."
        return f"{self.verdict} {alpha}; that is no proof of sameness."


def decide(
    contrasts: Sequence[Contrast], doubts: Sequence[Doubt], alpha: float
) -> tuple[Decision, ...]:
    """Decide planned contrasts, whose p are corrected over all of them. A contrast is decided if
    no doubt is about it: then its corrected p says whether it is shown."""
    return tuple(_decide(c, doubts, alpha) for c in contrasts)


def general(doubts: Sequence[Doubt]) -> Iterator[Doubt]:
    """Yield the doubts that are about all contrasts."""
    return (doubt for doubt in doubts if not doubt.contrast)


def _decide(c: Contrast, doubts: Sequence[Doubt], alpha: float) -> Decision:
    own = tuple(doubt for doubt in doubts if doubt.is_about(c.name))
    if any(doubt.hides_p for doubt in own):
        c = replace(c, p=math.nan, adjusted=math.nan, rejected=False)
    if own or math.isnan(c.estimate.value):
        return Decision(c, Verdict.NOT_DECIDED, alpha, own)
    return Decision(c, Verdict.SHOWN if c.rejected else Verdict.NOT_SHOWN, alpha)
