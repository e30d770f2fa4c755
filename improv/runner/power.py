"""Estimates the power of a study's plan, with puppets that play a planted truth.

A pool of blocks is played once, in the same way as a real run. Then studies of each size are drawn
from the pool many times, and the planned test is applied to each.
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
"""Blocks that are played for the pool."""
SIZES = (10, 20, 40, 80, 120)
"""Numbers of blocks for which the power is estimated."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The power of one planned contrast at each size of the study."""

    name: str
    sizes: tuple[PowerAtSize, ...]


def rehearse(study: Study, *, blocks: int = POOL, watch: Watch | None = None) -> Tables:
    """Play about `blocks` blocks of a study into a temporary folder, and return its tables.

    Raises RunError if a trial fails, a model is no puppet, or the study has no planned contrast.
    """
    _plan_with_contrasts(study)
    if not all(model.in_process for model in models_of(plan(study))):
        raise RunError(
            "power is estimated with puppets; plant a truth in the study and name it (--planted)"
        )
    whole = with_replicates(study, max(1, math.ceil(blocks / len(study.scenes))))
    with tempfile.TemporaryDirectory(prefix="improv-") as root:
        result = run(whole, runs=root, name="rehearsal", setup=Setup("off"), watch=watch)
        if result.failed or result.owed:
            raise RunError(f"{result.failed + result.owed} trials of the pool were not played")
        return read_tables(result.folder)


def powers(
    study: Study,
    tables: Tables,
    sizes: Sequence[int] = SIZES,
    *,
    repetitions: int = 1000,
    seed: int = 0,
) -> list[Rehearsed]:
    """Return the power of each planned contrast at each size, in blocks.

    A contrast counts as detected if its p is at most α divided by the number of contrasts, the
    first step of Holm's method. If the plan declares looks, a study ends at the look that decides
    the contrast, and the mean number of blocks is given too. So the power is a lower bound if
    several contrasts are true. Paired contrasts use a fast form of the test; for others the whole
    analysis is repeated, a tenth as often. Raises RunError for a study without a plan, or with a
    plan without contrasts.
    """
    settled = _plan_with_contrasts(study)
    units = outcome_units(settled.outcome, tables, arms=settled.of_arms)
    alpha = settled.alpha / max(1, len(settled.contrasts))
    paired = settled.outcome.unit == "block" and settled.outcome.of not in ("time", "phrasing")
    table = []
    for contrast in settled.contrasts:
        if paired:
            weighed = cell_weights(units, contrast.plus, contrast.minus)
            several = contrast_power(
                by_cell(units),
                weighed,
                sizes,
                seed=seed_of(seed, contrast.name),
                repetitions=repetitions,
                alpha=alpha,
                every=settled.looks.every if settled.looks is not None else 0,
            )
        else:
            several = []
            for size in sizes:
                p = [
                    compare_sides(
                        contrast.name,
                        contrast.plus,
                        contrast.minus,
                        settled.outcome,
                        _study(units, size, seed_of(seed, contrast.name, size, k)),
                        k,
                    ).p
                    for k in range(max(1, repetitions // 10))
                ]
                rejected = sum(x <= alpha for x in p)
                several.append(
                    PowerAtSize(size, proportion(rejected, len(p), unit="repetitions"), len(p))
                )
        table.append(Rehearsed(contrast.name, tuple(several)))
    return table


def _plan_with_contrasts(study: Study) -> Plan:
    if study.plan is None:
        raise RunError(f"{study.name} has no plan, so no test whose power can be estimated")
    if not study.plan.contrasts:
        raise RunError(
            f"{study.name}: its plan has no contrasts, so no test whose power can be estimated"
        )
    return study.plan


def _study(units: Frame, size: int, seed: int) -> Frame:
    """Draw a study of `size` blocks from the pool, with replacement. Copies are separate blocks."""
    blocks = sorted(units["block"].unique())
    picked = np.random.default_rng(seed).integers(0, len(blocks), size=size)
    by_block = dict(tuple(units.groupby("block")))
    parts = [
        by_block[blocks[i]].assign(block=f"{blocks[i]}#{k}", branch=f"{k}")
        for k, i in enumerate(picked.tolist())
    ]
    return pd.concat(parts, ignore_index=True)
