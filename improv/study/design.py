"""A study as data: its file as people write it, and its design once every scene is resolved.

Plain frozen data, and the schema that editors read. loader makes a study of a file;
trial unfolds it into trials.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pydantic import Field, TypeAdapter

from improv.study.base import Strict
from improv.study.edit import Branching, Patch, Probe, Regeneration
from improv.study.plan import Plan
from improv.study.scene import Scene


class StudyFile(Strict):
    """A study as its file has it: scenes, factors whose levels patch them, and how often."""

    study: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    """The study's name."""
    question: str = Field(default="", max_length=1000)
    """What it asks, in a sentence."""
    about: str = Field(default="", max_length=5000)
    """Which idea it tests, and what would count against it."""
    scenes: list[str] = Field(min_length=1, max_length=200)
    """Scene files, relative to this one, or names of scenes that ship with improv."""
    set: Patch = {}
    """A patch that every condition starts from, such as `turns: 8` or `model: gpt-4.1-mini`."""
    factors: dict[str, dict[str, Patch]] = {}
    """Factor → level → a patch of the scene; conditions are their product."""
    cells: list[dict[str, str]] | None = None
    """The conditions to play, a level for every factor each, where the product is not meant."""
    blocks: dict[str, dict[str, Patch]] = {}
    """Blocking factor (a topic, a cast) → level → a patch of the scene. Each combination makes a
    scene of its own, within which conditions are compared."""
    replicates: int = Field(default=1, ge=1, le=100_000)
    """How often each scene is played under each condition."""
    seed: int = 0
    """Changes every draw of the study at once."""
    branches: list[Branching] = Field(default=[], max_length=50)
    """Branches grown from every trial: paired counterfactuals."""
    regenerations: list[Regeneration] = Field(default=[], max_length=50)
    """Turns of every trial that are drawn again."""
    probes: list[Probe] = Field(default=[], max_length=50)
    """Questions put to characters off the record."""
    plan: Plan | None = None
    """What will be looked at, settled beforehand."""
    planted: dict[str, Patch] = {}
    """Name → a patch that has puppets play a known truth, to see whether the plan would find it."""


@dataclass(frozen=True)
class Condition:
    """One cell of the design: its name, and the level of each factor."""

    name: str
    levels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study with its scenes resolved: one scene per (scene file, condition).

    `cells` maps the slug of a scene (its file's name, and the levels of blocking factors after a
    slash each) and a condition to the scene as it is played there.
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
    plan: Plan | None = None

    @property
    def scenes(self) -> list[str]:
        return list(dict.fromkeys(slug for slug, _, _ in self.cells))


def with_replicates(study: Study, replicates: int) -> Study:
    """Return the study played so many times."""
    return dataclasses.replace(study, replicates=replicates)


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of scene and study files, for editors."""
    adapter: TypeAdapter[Any] = TypeAdapter(Scene | StudyFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter.json_schema()}
