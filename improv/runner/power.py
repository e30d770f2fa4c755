"""Plays a study with puppets of a planted truth, to see what its plan would find: power.

A pool of blocks is played once, through everything that a real run goes through; studies of the
sizes asked for are then drawn from it again and again and put to the planned test.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from improv.analysis.compare import compare_sides
from improv.analysis.loader import read_tables
from improv.analysis.stats.interval import proportion
from improv.analysis.stats.power import PowerAtSize, contrast_power
from improv.analysis.units import Frame, Tables, by_cell, cell_weights, outcome_units
from improv.errors import RunError
from improv.records import seed_of
from improv.runner.launch import run
from improv.runner.session import Setup, Watch
from improv.study.design import Study, with_replicates
from improv.study.plan import Plan
from improv.study.trial import models_of, plan

POOL = 200
SIZES = (10, 20, 40, 80, 120)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One planned contrast: how often studies of each size would find it."""

    name: str
    sizes: tuple[PowerAtSize, ...]


def rehearse(study: Study, *, blocks: int = POOL, watch: Watch | None = None) -> Tables:
    """Play about so many blocks of a study into a folder that is then thrown away.

    Raises RunError where a trial fails, a model is not a puppet, or nothing is planned.
    """
    _asked(study)
    if not all(model.in_process for model in models_of(plan(study))):
        raise RunError("only puppets rehearse; plant a truth in the study and name it (--planted)")
    whole = with_replicates(study, max(1, math.ceil(blocks / len(study.scenes))))
    with tempfile.TemporaryDirectory(prefix="improv-") as root:
        result = run(whole, runs=root, name="rehearsal", setup=Setup("off"), watch=watch)
        if result.failed or result.owed:
            raise RunError(f"{result.failed + result.owed} trials of the rehearsal were not played")
        return read_tables(result.folder)


def powers(
    study: Study,
    given: Tables,
    sizes: Sequence[int] = SIZES,
    *,
    repetitions: int = 1000,
    seed: int = 0,
) -> list[Rehearsed]:
    """Return the power of each planned contrast at each size, in blocks.

    A contrast counts as found if its own p is at most the α that Holm's first step leaves it, so
    that the power is a lower bound where several contrasts are true. Paired contrasts take the
    test's fast form; others repeat the analysis itself, a tenth as often. Raises RunError for a
    study without a plan, or without contrasts in it.
    """
    asked = _asked(study)
    found = outcome_units(asked.outcome, given, arms=asked.of_arms)
    alpha = asked.alpha / max(1, len(asked.contrasts))
    paired = asked.outcome.unit == "block" and asked.outcome.of not in ("time", "phrasing")
    table = []
    for wanted in asked.contrasts:
        if paired:
            weighed = cell_weights(found, wanted.plus, wanted.minus)
            several = contrast_power(
                by_cell(found),
                weighed,
                sizes,
                seed=seed_of(seed, wanted.name),
                repetitions=repetitions,
                alpha=alpha,
            )
        else:
            several = []
            for size in sizes:
                p = [
                    compare_sides(
                        wanted.name,
                        wanted.plus,
                        wanted.minus,
                        asked.outcome,
                        _study(found, size, seed_of(seed, wanted.name, size, k)),
                        k,
                    ).p
                    for k in range(max(1, repetitions // 10))
                ]
                rejected = sum(x <= alpha for x in p)
                several.append(
                    PowerAtSize(size, proportion(rejected, len(p), unit="repetitions"), len(p))
                )
        table.append(Rehearsed(wanted.name, tuple(several)))
    return table


def _asked(study: Study) -> Plan:
    if study.plan is None:
        raise RunError(f"{study.name} has no plan, so nothing that could be found or missed")
    if not study.plan.contrasts:
        raise RunError(f"{study.name}: its plan has no contrasts whose power could be told")
    return study.plan


def _study(found: Frame, size: int, seed: int) -> Frame:
    """Draw a study of so many blocks from the pool, with replacement; copies are blocks apart."""
    blocks = sorted(found["block"].unique())
    picked = np.random.default_rng(seed).integers(0, len(blocks), size=size)
    by_block = dict(tuple(found.groupby("block")))
    parts = [
        by_block[blocks[i]].assign(block=f"{blocks[i]}#{k}", branch=f"{k}")
        for k, i in enumerate(picked.tolist())
    ]
    return pd.concat(parts, ignore_index=True)
