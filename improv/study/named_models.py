"""Every model that a study names, wherever it names it. Pure.

What a study names and what a scene plays with are two things: an author's model is asked by a
keeper of memories too, a branch brings a model of its own, and one of tomorrow's fields may bring
another. Whoever decides who may be asked looks at all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from improv.study.base import Strict
from improv.study.branch import Branch, branched, planned_branches
from improv.study.design import Study
from improv.study.model_spec import Model
from improv.study.trial import Trial


def named_models(study: Study, trials: Sequence[Trial], asked: Sequence[Branch]) -> list[Model]:
    """Return each model once that a study names: in the scene of any condition, planned for these
    trials or not, and in these trials as any branch changes them, its own or one of `asked`.

    Raises StudyError where a branch's edit does not fit the scene.
    """
    scenes = [scene for _, _, scene in study.cells]
    scenes += [trial.scene for trial in edited_trials(study, trials, asked)]
    models: dict[str, Model] = {}
    for scene in {id(scene): scene for scene in scenes}.values():
        for model in _models_in(scene):
            models.setdefault(repr(model), model)
    return list(models.values())


def edited_trials(study: Study, trials: Sequence[Trial], asked: Sequence[Branch]) -> list[Trial]:
    """Return the trials, and each as every edit that its branches have would change it."""
    tried: set[tuple[str, ...]] = set()
    edited = list(trials)
    branches: dict[str, list[Branch]] = {}
    for branch in asked:
        branches.setdefault(branch.trial, []).append(branch)
    for trial in trials:
        for b in [*planned_branches(study, trial), *branches.get(trial.id, ())]:
            # By what it changes, its ancestors' edits too: one name may stand for several changes.
            kind = (trial.slug, trial.condition, b.arm, b.edit, b.of, b.inherited)
            if kind not in tried:
                tried.add(kind)
                edited.append(branched(trial, b))
    return edited


def _models_in(value: Any) -> Iterator[Model]:
    """Yield every model inside a scene, in whatever field it stands."""
    if isinstance(value, Model):
        yield value
    elif isinstance(value, Strict):
        for _, held in value:
            yield from _models_in(held)
    elif isinstance(value, dict):
        for held in value.values():
            yield from _models_in(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _models_in(held)
