"""The plan of a study: the analysis that is settled before the study is played. Plain frozen data.

A plan is part of the study's file. run.json has its hash before the first call, so that a report
can separate planned analyses from those that somebody thought of later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from improv.records import digest
from improv.study.base import Strict
from improv.study.limits import MAX_REPLICATES
from improv.study.measure_spec import MEASURE_NAMES, measure_family

ARM = "arm"
"""The key of a `where` that names an arm of the study's branches; the other keys are factors."""

PLAYED_LINES = 40
"""Played lines of each condition that people rate where a plan sets no number."""

FactorLevels = dict[str, str]


def _known(name: str) -> str:
    if name and measure_family(name) not in MEASURE_NAMES:
        raise ValueError(f"no measure has this name; there are {', '.join(MEASURE_NAMES)}")
    return name


MeasureName = Annotated[str, Field(max_length=120), AfterValidator(_known)]


def _several(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


Sides = Annotated[list[FactorLevels], Field(min_length=1, max_length=8)]
Side = Annotated[Sides, BeforeValidator(_several, json_schema_input_type=FactorLevels | Sides)]


class Outcome(Strict):
    """The number that is computed for each unit: a scene, or a block of scenes."""

    of: Literal["broken", "broke", "mean", "recovered", "time", "collision", "phrasing"] = "broken"
    """"broken": the share of readable lines that score 0. "broke": whether any line scores 0.
    "mean": the mean score. "recovered": whether a line scores 1 within `within` own lines after the
    planned move, or after the first break if no move is planned. "time": the turn of the first
    break. "collision": the probability that two draws of one turn are the same act. "phrasing": the
    intraclass correlation of a factor's levels, turn by turn."""
    measure: MeasureName = Field(default="sign", min_length=1)
    """The name of a measure, or of one of its scores, such as "rule:law"."""
    of_whom: str = "everybody"
    """The character whose lines count, or "everybody"."""
    first: int = Field(default=1, ge=0)
    """The first turn that counts."""
    within: int = Field(default=3, ge=1)
    """For "recovered": the number of own lines in which a character can recover."""
    less: MeasureName = ""
    """A measure whose number is subtracted, computed in the same way: for example that of an
    unrelated trait."""
    factor: str = ""
    """For "phrasing": the factor whose levels are wordings of the same text."""
    unit: Literal["block", "scene"] = "block"
    """"block": conditions are compared within blocks. "scene": conditions are compared scene
    against scene, unpaired, for an outcome that few scenes have."""

    @model_validator(mode="after")
    def _factor_given(self) -> Self:
        if (self.of == "phrasing") != bool(self.factor):
            raise ValueError("'factor' goes with the outcome 'phrasing', which needs it")
        return self


class ContrastSpec(Strict):
    """A planned comparison: the sum over `plus` minus the sum over `minus`.

    A mapping from factor to level means the mean of all conditions with these levels. Several
    mappings on one side are added, so an interaction is a contrast too.
    """

    name: str = Field(min_length=1, max_length=120)
    """The name of the comparison."""
    plus: Side
    """The first side: one mapping from factor to level, or several."""
    minus: Side
    """The second side, with the same number of mappings."""

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        _check_sides(self)
        return self


class EquivalenceSpec(Strict):
    """Two sides that may differ by at most `margin` (two one-sided tests)."""

    plus: Side
    """The first side, as in a contrast."""
    minus: Side
    """The second side."""
    margin: float = Field(gt=0)
    """The largest difference that counts as no difference, in the unit of the outcome."""

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        _check_sides(self)
        return self


class ChanceSpec(Strict):
    """The mean of a measure must be within `margin` of what guessing gives."""

    measure: MeasureName = Field(min_length=1)
    """The measure whose mean is tested."""
    where: FactorLevels = {}
    """The conditions that are tested. By default all."""
    value: float = Field(alias="is", ge=0, le=1)
    """The mean that guessing gives."""
    margin: float = Field(gt=0, le=1)
    """The largest distance of the mean from that value."""


class Bound(Strict):
    """The upper confidence bound of the share of broken lines must be at most `at_most`.

    Blocks are the units, not lines, which break together: with no broken line at all, 0.03 needs
    122 blocks.
    """

    where: FactorLevels
    """The conditions that are tested."""
    at_most: float = Field(gt=0, lt=1)
    """The largest share that the upper bound may have."""
    measure: MeasureName = ""
    """The measure whose rate is tested. By default the outcome's."""


class Unmoved(Strict):
    """The interval of the intraclass correlation of phrasings must be within `within` of 0."""

    where: FactorLevels
    """The conditions that are tested."""
    within: float = Field(gt=0, lt=1)
    """The largest distance of the interval's ends from 0."""


class Flat(Strict):
    """The outcome's slope over turns must be at most `margin` a turn, up or down."""

    where: FactorLevels = {}
    """The conditions that are tested. By default all."""
    margin: float = Field(gt=0)
    """The steepest slope that counts as flat, in the outcome's unit a turn."""


_CHECKS = ("equivalence", "chance", "bound", "icc", "flat")


class Control(Strict):
    """A check that can catch a false positive. It has exactly one of the kinds of check."""

    name: str = Field(min_length=1, max_length=120)
    """The name of the check."""
    equivalence: EquivalenceSpec | None = None
    """Two sides do not differ: for example a placebo and no author."""
    chance: ChanceSpec | None = None
    """The mean of a measure is what guessing gives."""
    bound: Bound | None = None
    """Hardly any line is broken."""
    icc: Unmoved | None = None
    """Copies of one phrasing do not differ. For the outcome "phrasing"."""
    flat: Flat | None = None
    """The outcome does not change over turns."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in _CHECKS) != 1:
            raise ValueError("give one of equivalence, chance, bound, icc, flat")
        return self

    @property
    def check(self) -> EquivalenceSpec | ChanceSpec | Bound | Unmoved | Flat:
        """The one check that the control has."""
        check = self.equivalence or self.chance or self.bound or self.icc or self.flat
        assert check is not None
        return check


class Exclusions(Strict):
    """Which data are excluded, and when no decision is made."""

    missing_above: float = Field(default=0.05, ge=0, le=1)
    """No decision is made about an arm whose share of unreadable lines is larger than this."""


class LooksSpec(Strict):
    """When the results may be looked at, and decide, before all blocks are there. α is spent over
    the looks (Lan and DeMets, like O'Brien and Fleming), so that looking is free."""

    every: int = Field(default=1, ge=1, le=MAX_REPLICATES)
    """The number of blocks between two looks. The last look is at all planned blocks."""

    def blocks(self, planned: int) -> list[int]:
        """Return how many blocks are there at each look."""
        return [*range(self.every, planned, self.every), planned]


class Plan(Strict):
    """The analysis, settled before the first call."""

    hypothesis: str = Field(min_length=1, max_length=1000)
    """What the study expects to find, in a sentence."""
    outcome: Outcome
    """The number that is compared between conditions."""
    contrasts: list[ContrastSpec] = Field(default=[], max_length=50)
    """The planned comparisons. Holm's correction is over all of them."""
    controls: list[Control] = Field(default=[], max_length=50)
    """Checks that can catch a false positive. If one fails, the result is withdrawn."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """The significance level of the planned tests, for all contrasts together."""
    blocks: int = Field(ge=1, le=MAX_REPLICATES)
    """How many blocks are played."""
    judge: str = Field(default="", max_length=200)
    """The judge whose verdicts decide, where the outcome is judged: the model's name, as
    `improv score --judge` gives it. Needed if several judges are asked."""
    agreement: float = Field(default=0.667, ge=-1, le=1)
    """No decision is made on verdicts of judges whose agreement with each other, or with people, is
    smaller than this (Krippendorff's alpha; Krippendorff, 2004, draws tentative conclusions from
    0.667 on)."""
    played_lines: int = Field(default=PLAYED_LINES, ge=20, le=2000)
    """How many played lines of each condition people rate, where the outcome is judged: one of each
    block, then a second one. Their verdicts correct the judge's; without them a judged outcome is
    not decided."""
    exclude: Exclusions = Exclusions()
    """Which data are excluded, and when no decision is made."""
    looks: LooksSpec | None = None
    """The looks at which the study may be decided early. Without this, nothing is decided before
    all planned blocks are there."""
    stop: str = Field(default="when all blocks are played", max_length=300)
    """When the study ends, in words."""

    @model_validator(mode="after")
    def _testable(self) -> Self:
        names = [*(c.name for c in self.contrasts), *(c.name for c in self.controls)]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"two contrasts or controls are called '{twice}'")
        if self.outcome.of == "phrasing" and self.contrasts:
            raise ValueError("the outcome 'phrasing' is tested by itself, without contrasts")
        if self.outcome.of != "phrasing" and any(c.icc for c in self.controls):
            raise ValueError("a control 'icc' goes with the outcome 'phrasing'")
        if self.looks is not None and not self.contrasts:
            raise ValueError("'looks' goes with contrasts, and this plan has none")
        if self.looks is not None and self.looks.every > self.blocks:
            raise ValueError(
                f"'looks' are every {self.looks.every} blocks, and {self.blocks} blocks are planned"
            )
        alone = self.outcome.of == "time" or self.outcome.unit == "scene"
        sides = [c.plus for c in self.contrasts]
        sides += [c.equivalence.plus for c in self.controls if c.equivalence is not None]
        if alone and any(len(side) > 1 for side in sides):
            raise ValueError(
                "the outcome 'time' and the unit 'scene' allow one mapping a side, not several"
            )
        return self

    @property
    def hash(self) -> str:
        """A digest of the plan's content; the layout of its YAML has no part in it."""
        data = self.model_dump(mode="json", by_alias=True)
        # Plans of before these fields keep their hash.
        if self.looks is None:
            del data["looks"]
        for name in ("judge", "agreement", "played_lines"):
            if data[name] == Plan.model_fields[name].default:
                del data[name]
        return digest(json.dumps(data, sort_keys=True, ensure_ascii=False), size=16)

    @property
    def of_arms(self) -> bool:
        """Whether the plan compares branches, because a contrast or control names an arm."""
        return any(ARM in where for _, where in self.wheres())

    def measures(self) -> list[str]:
        """Return every measure that the plan reads, each once, without what follows a colon."""
        checks = [c.check for c in self.controls]
        named = [self.outcome.measure, self.outcome.less]
        named += [c.measure for c in checks if isinstance(c, ChanceSpec | Bound)]
        return list(dict.fromkeys(name.partition(":")[0] for name in named if name))

    def wheres(self) -> Iterator[tuple[tuple[str | int, ...], FactorLevels]]:
        """Yield every `where` of the plan with its path."""
        for i, contrast in enumerate(self.contrasts):
            yield from _sides(("contrasts", i), contrast)
        for i, control in enumerate(self.controls):
            kind = next(kind for kind in _CHECKS if getattr(control, kind) is not None)
            place: tuple[str | int, ...] = ("controls", i, kind)
            if isinstance(control.check, EquivalenceSpec):
                yield from _sides(place, control.check)
            else:
                yield (*place, "where"), control.check.where


def fewest_blocks_of(plan: Plan) -> int:
    """Return the fewest blocks with which any contrast of a plan can be rejected.

    The smallest two-sided p of n blocks, whose signs are flipped, is 2^(1 − n). Of scenes that are
    not paired, n on each side, it is 2 over the number of ways to choose n of 2n. Holm asks of the
    first contrast for a p of at most alpha over the number of contrasts.
    """
    wanted = plan.alpha / max(len(plan.contrasts), 1)
    blocks = 1
    while _smallest_p(plan, blocks) > wanted * (1 + 1e-9):
        blocks += 1
    return blocks


def _smallest_p(plan: Plan, blocks: int) -> float:
    if plan.outcome.unit == "scene":
        return 2 / math.comb(2 * blocks, blocks)
    return float(2.0 ** (1 - blocks))


def fits(where: FactorLevels, levels: Mapping[str, str]) -> bool:
    """Whether `levels`, those of a condition (and of a branch, its arm), agree with `where`."""
    return all(levels.get(factor) == level for factor, level in where.items())


def _sides(
    place: tuple[str | int, ...], spec: ContrastSpec | EquivalenceSpec
) -> Iterator[tuple[tuple[str | int, ...], FactorLevels]]:
    for side in ("plus", "minus"):
        for k, where in enumerate(getattr(spec, side)):
            yield (*place, side, k), where


def _check_sides(spec: ContrastSpec | EquivalenceSpec) -> None:
    if len(spec.plus) != len(spec.minus):
        raise ValueError("'plus' and 'minus' need the same number of mappings")
