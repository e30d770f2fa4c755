"""What a study says beforehand that it will look at, and how: its plan. Plain frozen data.

A plan is part of the study's file. Its hash stands in run.json before the first call, so that a
report can tell what was planned from what was thought of later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from improv.records import digest
from improv.study.base import Strict
from improv.study.measure_spec import MEASURE_NAMES, measure_family

ARM = "arm"
"""The word of a `where` that names an arm of the study's branches, beside its factors."""

FactorLevels = dict[str, str]


def _known(name: str) -> str:
    if name and measure_family(name) not in MEASURE_NAMES:
        raise ValueError(f"no measure is called so; there are {', '.join(MEASURE_NAMES)}")
    return name


MeasureName = Annotated[str, Field(max_length=120), AfterValidator(_known)]


def _several(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


Sides = Annotated[list[FactorLevels], Field(min_length=1, max_length=8)]
Side = Annotated[Sides, BeforeValidator(_several, json_schema_input_type=FactorLevels | Sides)]


class Outcome(Strict):
    """The number that a unit (a scene, or a block of scenes) is given."""

    of: Literal["broken", "broke", "mean", "recovered", "time", "collision", "phrasing"] = "broken"
    """"broken" is the share of readable lines that score 0, "broke" whether there is one, "mean"
    the mean score, "recovered" whether a line scores 1 within so many own lines of the mark that a
    planned move sets, or of the first break, "time" the turn of the first break, "collision" the
    collision probability of the acts that one turn was drawn as, "phrasing" the intraclass
    correlation of a factor's levels, turn by turn."""
    measure: MeasureName = Field(default="sign", min_length=1)
    """A measure by its name, or by what stands before a colon or a dot of it."""
    of_whom: str = "everybody"
    """A character's name."""
    first: int = Field(default=1, ge=0)
    """The first turn that counts."""
    within: int = Field(default=3, ge=1)
    """For "recovered": this many own lines."""
    less: MeasureName = ""
    """A measure whose like number is taken away: an unrelated trait's, say."""
    factor: str = ""
    """For "phrasing": the factor whose levels say one thing in several ways."""
    unit: Literal["block", "scene"] = "block"
    """Conditions are compared within blocks, or scene against scene where few have an outcome."""

    @model_validator(mode="after")
    def _factor_given(self) -> Self:
        if (self.of == "phrasing") != bool(self.factor):
            raise ValueError("'factor' goes with the outcome 'phrasing', which needs it")
        return self


class ContrastSpec(Strict):
    """A planned comparison: the sum over `plus` less the sum over `minus`.

    Each mapping from factor to level stands for the mean of all conditions that it fits; several
    on one side are added, so that an interaction is a contrast too.
    """

    name: str = Field(min_length=1, max_length=120)
    """What the comparison is called."""
    plus: Side
    """The first side: one mapping from factor to level, or several."""
    minus: Side
    """The second side, with as many mappings."""

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        _as_many(self)
        return self


class EquivalenceSpec(Strict):
    """Two sides that must not differ by more than `margin` (two one-sided tests)."""

    plus: Side
    """The first side, as in a contrast."""
    minus: Side
    """The second side."""
    margin: float = Field(gt=0)
    """The largest difference that counts as none, in the outcome's own unit."""

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        _as_many(self)
        return self


class ChanceSpec(Strict):
    """The mean of a measure must lie within `margin` of what guessing gives."""

    measure: MeasureName = Field(min_length=1)
    """The measure whose mean is looked at."""
    where: FactorLevels = {}
    """The conditions that it holds for; all of them where none is given."""
    value: float = Field(alias="is", ge=0, le=1)
    """What guessing gives."""
    margin: float = Field(gt=0, le=1)
    """How far from it the mean may lie."""


class Bound(Strict):
    """The rate of broken lines must be below `at_most`, by its exact upper bound."""

    where: FactorLevels
    """The conditions that it holds for."""
    at_most: float = Field(gt=0, lt=1)
    """The rate that the upper bound must stay below."""
    measure: MeasureName = ""
    """The outcome's own where it is not given."""


class Unmoved(Strict):
    """The intraclass correlation of phrasings must be within `within` of nothing."""

    where: FactorLevels
    """The conditions that it holds for."""
    within: float = Field(gt=0, lt=1)
    """How far from 0 the correlation may lie."""


class Flat(Strict):
    """The outcome's slope over turns must not exceed `margin` a turn in either direction."""

    where: FactorLevels = {}
    """The conditions that it holds for; all of them where none is given."""
    margin: float = Field(gt=0)
    """The steepest slope a turn that counts as flat."""


class Control(Strict):
    """What would catch a false positive: exactly one of the kinds of check."""

    name: str = Field(min_length=1, max_length=120)
    """What the check is called."""
    equivalence: EquivalenceSpec | None = None
    """Two sides do not differ: a placebo and nothing, say."""
    chance: ChanceSpec | None = None
    """A measure is where guessing would put it."""
    bound: Bound | None = None
    """Hardly any line is broken."""
    icc: Unmoved | None = None
    """Copies of one phrasing do not differ. For the outcome "phrasing"."""
    flat: Flat | None = None
    """The outcome does not change over turns."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [k for k in ("equivalence", "chance", "bound", "icc", "flat") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError("give one of equivalence, chance, bound, icc, flat")
        return self

    @property
    def check(self) -> EquivalenceSpec | ChanceSpec | Bound | Unmoved | Flat:
        found = self.equivalence or self.chance or self.bound or self.icc or self.flat
        assert found is not None
        return found


class Exclusions(Strict):
    """What is left out, and when nothing is decided."""

    missing_above: float = Field(default=0.05, ge=0, le=1)
    """An arm with a larger share of unreadable lines is not decided upon."""


class Plan(Strict):
    """Everything about the analysis that is settled before the first call."""

    hypothesis: str = Field(min_length=1, max_length=1000)
    """What the study expects to find, in a sentence."""
    outcome: Outcome
    """The number that is compared."""
    contrasts: list[ContrastSpec] = Field(default=[], max_length=50)
    """Holm's correction is over all of them."""
    controls: list[Control] = Field(default=[], max_length=50)
    """Checks that would catch a false positive; one that fails withdraws the result."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """The level of the planned tests, over all contrasts together."""
    blocks: int = Field(ge=1, le=100_000)
    """How many blocks are played."""
    exclude: Exclusions = Exclusions()
    """What is left out, and when nothing is decided."""
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
        alone = self.outcome.of == "time" or self.outcome.unit == "scene"
        sides = [c.plus for c in self.contrasts]
        sides += [c.equivalence.plus for c in self.controls if c.equivalence is not None]
        if alone and any(len(side) > 1 for side in sides):
            raise ValueError(
                "times, and scenes that are not paired, are compared one mapping against one"
            )
        return self

    @property
    def hash(self) -> str:
        """A digest of the plan's content: equal plans have equal hashes, whatever their layout."""
        data = self.model_dump(mode="json", by_alias=True)
        return digest(json.dumps(data, sort_keys=True, ensure_ascii=False), size=16)

    @property
    def of_arms(self) -> bool:
        """Whether its units are branches, because a contrast names their arms."""
        return any(ARM in where for _, where in self.wheres())

    def measures(self) -> list[str]:
        """Return every measure that it reads, each once, by what stands before its colon."""
        checks = [c.check for c in self.controls]
        named = [self.outcome.measure, self.outcome.less]
        named += [c.measure for c in checks if isinstance(c, ChanceSpec | Bound)]
        return list(dict.fromkeys(name.partition(":")[0] for name in named if name))

    def wheres(self) -> Iterator[tuple[tuple[str | int, ...], FactorLevels]]:
        """Yield every `where` of the plan with its place."""
        for i, contrast in enumerate(self.contrasts):
            yield from _sides(("contrasts", i), contrast)
        for i, control in enumerate(self.controls):
            kind = next(
                k for k in ("equivalence", "chance", "bound", "icc", "flat") if getattr(control, k)
            )
            place: tuple[str | int, ...] = ("controls", i, kind)
            if isinstance(control.check, EquivalenceSpec):
                yield from _sides(place, control.check)
            else:
                yield (*place, "where"), control.check.where


def fits(where: FactorLevels, levels: Mapping[str, str]) -> bool:
    """Whether a condition (and branch) with these levels is one that `where` means."""
    return all(levels.get(factor) == level for factor, level in where.items())


def _sides(
    place: tuple[str | int, ...], of: ContrastSpec | EquivalenceSpec
) -> Iterator[tuple[tuple[str | int, ...], FactorLevels]]:
    for side in ("plus", "minus"):
        for k, where in enumerate(getattr(of, side)):
            yield (*place, side, k), where


def _as_many(of: ContrastSpec | EquivalenceSpec) -> None:
    if len(of.plus) != len(of.minus):
        raise ValueError("a contrast has as many mappings in 'plus' as in 'minus'")
