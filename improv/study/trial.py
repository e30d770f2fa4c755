"""Unfolds a study into trials: scene × condition × replicate, each with an id made of its content.

Pure. The trials are in the order of play: conditions are interleaved within each replicate of a
scene, so that a run that is cut short is still balanced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from improv.records import digest, seed_of
from improv.study.base import essence
from improv.study.design import Study
from improv.study.model_spec import Model
from improv.study.scene import Scene

TRIAL_VERSION = 1
"""Increases when the same trial would be played differently, so that an old id never means a new
scene."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The unit that is played. Conditions are compared within a `block`: a scene and a replicate.
    `index` is the trial's place in the order of play."""

    id: str
    index: int
    study: str
    slug: str
    scene: Scene
    condition: str
    levels: tuple[tuple[str, str], ...]
    block: str
    replicate: int


def plan(study: Study) -> list[Trial]:
    """Return every trial of `study` in the order of play."""
    by_scene: dict[str, list[tuple[Any, Scene, str]]] = {}
    for slug, condition, scene in study.cells:
        by_scene.setdefault(slug, []).append((condition, scene, _fingerprint(scene)))
    trials: list[Trial] = []
    for replicate in range(study.replicates):
        for slug, cells in by_scene.items():
            block = f"{slug}/{replicate}"
            # The conditions are rotated by a seeded number, so that no arm is always played first.
            start = seed_of("order", study.seed, block) % len(cells)
            for condition, scene, fingerprint in cells[start:] + cells[:start]:
                identity = [TRIAL_VERSION, study.name, study.seed, slug, fingerprint]
                identity += [condition.levels, replicate]
                trials.append(
                    Trial(
                        id=digest(json.dumps(identity), size=6),
                        index=len(trials),
                        study=study.name,
                        slug=slug,
                        scene=scene,
                        condition=condition.name,
                        levels=condition.levels,
                        block=block,
                        replicate=replicate,
                    )
                )
    return trials


def trials_hash(trials: list[Trial]) -> str:
    """Return a hash of everything that will be played."""
    return digest("\n".join(t.id for t in trials), size=16)


def models_of(trials: Sequence[Trial]) -> list[Model]:
    """Return every model that plays in the trials, without those that only branches use."""
    models = []
    for scene in {id(t.scene): t.scene for t in trials}.values():
        models += [scene.model_of(c.name) for c in scene.cast]
        keeps = scene.memory == "bible" and any(event.wake for event in scene.events)
        if scene.author.live or keeps:
            models.append(scene.model_of("author"))
    return models


def remote(model: Model) -> bool:
    """Whether a model is called over the network."""
    return not model.embedded and not model.in_process


def _fingerprint(scene: Scene) -> str:
    """Hash what decides how the scene plays, without the addresses and prices of its models."""
    data = essence(scene)
    for model in [data["model"], data["author"]["model"], *(c["model"] for c in data["cast"])]:
        if model is not None:
            for field in ("base_url", "api_key_env", "timeout", "retries", "price"):
                model.pop(field)
    return digest(json.dumps(data, sort_keys=True))
