"""Every model that a study names, wherever it names it. Pure.

What a study names and what a scene plays with are two things: an author's model is asked by a
keeper of memories too, a branch brings a model of its own, and one of tomorrow's fields may bring
another. Whoever decides who may be asked looks at all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from improv.study.base import Strict
from improv.study.branch import Branch, branched, planned_draws
from improv.study.design import Study
from improv.study.model_spec import Model, Price
from improv.study.trial import Trial, find_trials, one_of_each_cell


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
    """Return a trial of each cell, and each as every edit that its branches have would change it.

    The branches are those that the study plans, and those of `asked` that are of these trials.
    """
    tried: set[tuple[str, ...]] = set()
    edited = list(one_of_each_cell(trials))
    known = find_trials(trials, {branch.trial for branch in asked})
    planned = ((trial, b) for trial in tuple(edited) for b, _ in planned_draws(study, trial))
    wished = ((known[b.trial], b) for b in asked if b.trial in known)
    for trial, b in itertools.chain(planned, wished):
        # By what it changes, its ancestors' edits too: one name may stand for several changes.
        kind = (trial.slug, trial.condition, b.arm, b.edit, b.of, b.inherited)
        if kind not in tried:
            tried.add(kind)
            edited.append(branched(trial, b))
    return edited


def with_price(study: Study, price: Price, *, instead: Price | None = None) -> Study:
    """Return the study with a price for every model to which it gives none, or the price that an
    earlier command gave, which is `instead`."""
    priced: dict[int, Any] = {}
    open_prices = (None, instead)
    cells = tuple(
        (slug, c, _priced(scene, price, open_prices, priced)) for slug, c, scene in study.cells
    )
    return dataclasses.replace(study, cells=cells)


def _priced(
    value: Any, price: Price, open_prices: tuple[Price | None, ...], done: dict[int, Any]
) -> Any:
    """Return a part of a scene with the price. Parts that scenes share stay shared, by `done`."""
    if id(value) in done:
        return done[id(value)]
    changed = value
    if isinstance(value, Model):
        if value.price in open_prices and value.price != price:
            changed = value.model_copy(update={"price": price})
    elif isinstance(value, Strict):
        parts = {name: _priced(held, price, open_prices, done) for name, held in value}
        update = {name: part for name, part in parts.items() if part is not getattr(value, name)}
        changed = value.model_copy(update=update) if update else value
    elif isinstance(value, list | tuple) and any(isinstance(v, Strict) for v in value):
        changed = type(value)([_priced(held, price, open_prices, done) for held in value])
    done[id(value)] = changed
    return changed


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
