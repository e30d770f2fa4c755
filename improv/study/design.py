"""A study as data: its file as people write it, and its design with every scene resolved.

Plain frozen data, and the schema that editors read. loader makes a Study from a file; trial unfolds
it into trials.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pydantic import Field, TypeAdapter

from improv.study.arm_texts import LOOKED_FOR, ArmWords
from improv.study.base import WholeFile
from improv.study.edit import Branching, Patch, Probe, Regeneration
from improv.study.limits import MAX_REPLICATES
from improv.study.model_spec import AnyModel, Model
from improv.study.plan import Plan
from improv.study.scene import Scene


class StudyFile(WholeFile):
    """A study as its file has it: scenes, factors whose levels patch the scenes, and how often each
    is played."""

    study: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    """The study's name."""
    question: str = Field(default="", max_length=1000)
    """What the study asks, in a sentence."""
    about: str = Field(default="", max_length=5000)
    """Which idea the study tests, and which result would count against it."""
    scenes: list[str] = Field(min_length=1, max_length=200)
    """Scene files, relative to this one, or names of scenes that ship with improv."""
    set: Patch = {}
    """A patch that is laid over every scene first, such as `turns: 8` or `model: gpt-4.1-mini`."""
    factors: dict[str, dict[str, Patch]] = {}
    """Factor → level → a patch of the scene. The conditions are the product of all factors."""
    cells: list[dict[str, str]] | None = None
    """The conditions to play, each with a level for every factor. By default all that the product
    of the factors gives."""
    blocks: dict[str, dict[str, Patch]] = {}
    """Blocking factor (a topic, a cast) → level → a patch of the scene. Each combination makes a
    scene of its own, and conditions are compared within that scene."""
    replicates: int = Field(default=1, ge=1, le=MAX_REPLICATES)
    """How often each scene is played under each condition."""
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    """A number that all random draws of the study depend on. Another seed gives other draws."""
    branches: list[Branching] = Field(default=[], max_length=50)
    """Branches of every trial: paired counterfactuals."""
    regenerations: list[Regeneration] = Field(default=[], max_length=50)
    """Turns of every trial that are drawn again."""
    probes: list[Probe] = Field(default=[], max_length=50)
    """Questions that characters are asked off the record."""
    plan: Plan | None = None
    """The analysis, settled before the first call."""
    judge: AnyModel | None = None
    """A model that judges the runs of this study, and how it is asked: `improv score` asks it where
    a measure that you name needs a judge, or where `--judge` has its name. By default a verdict has
    temperature 0 and 60 tokens."""
    planted: dict[str, Patch] = {}
    """Name → a patch that has puppets play a known truth, to see whether the plan finds it."""


@dataclass(frozen=True)
class Condition:
    """One cell of the design: its name, and the level of each factor."""

    name: str
    levels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study with its scenes resolved: one scene per (scene file, blocking levels, condition).

    Each of `cells` is the slug of a scene, a condition, and the scene as it is played under that
    condition. A slug is the name of the scene's file, with each blocking level after a slash.
    """

    name: str
    question: str = ""
    about: str = ""
    replicates: int = 1
    seed: int = 0
    conditions: tuple[Condition, ...]
    cells: tuple[tuple[str, Condition, Scene], ...]
    branches: tuple[Branching, ...] = ()
    regenerations: tuple[Regeneration, ...] = ()
    probes: tuple[Probe, ...] = ()
    judge: Model | None = None
    plan: Plan | None = None

    @property
    def quotation_rule(self) -> str:
        """What counts as words of another arm, in words."""
        return LOOKED_FOR

    def arm_words(self) -> ArmWords:
        """Return the words of each arm, to find those that another arm quotes."""
        return ArmWords({(slug, c.name): scene for slug, c, scene in self.cells})

    @property
    def scenes(self) -> list[str]:
        """The slugs of the study's scenes, each once."""
        return list(dict.fromkeys(slug for slug, _, _ in self.cells))


def with_replicates(study: Study, replicates: int) -> Study:
    """Return the study with that number of replicates."""
    return dataclasses.replace(study, replicates=replicates)


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of scene and study files, for editors."""
    adapter: TypeAdapter[Any] = TypeAdapter(Scene | StudyFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter.json_schema()}
