"""What the checks share: a scene with a puppet, pools of played scenes, studies dealt from them.

A pool of scenes is played once and dealt into studies several times. The groups of a pool share no
scene, so the spread of their means is the Monte-Carlo error of a figure.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from improv.analysis.loader import read_tables
from improv.analysis.units import Tables
from improv.records import seed_of
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.design import Condition, Study
from improv.study.overrides import merge
from improv.study.plan import Plan
from improv.study.scene import Scene

Patch = dict[str, Any]
NO_BAND = (-math.inf, math.inf)
"""The band of a figure for which the page gives no band."""
SAME: Patch = {}
BRIEF: Patch = {"author": {"frame": "Ines Okafor never lets a character turn."}}
PLACEBO: Patch = {"author": {"frame": "The theatre is heated by a boiler of 1911."}}
SCENE: Patch = {
    "title": "The Kettle",
    "premise": "Ana waits for a kettle.",
    "cast": [
        {
            "name": "Ana",
            "role": "who waits",
            "traits": [
                {
                    "pole": "honest",
                    "opposite": "false",
                    "kind": "moral",
                    "sign": {"marker": "never_says", "value": ["never"]},
                }
            ],
        }
    ],
}
"""A puppet says "never" at the opposite and nowhere else. So the sign shows its state."""
ROUGH = 0.2
"""A standard error from which on a figure says almost nothing."""
RUN = 2000
"""Maximum trials in one run of a pool: as many as fit into the memory of a laptop."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a check, its Monte-Carlo error, and the band that it has to be in.

    The band is infinite (NO_BAND) for a number that no band is promised for.
    """

    what: str
    value: float
    error: float
    low: float
    high: float

    @property
    def banded(self) -> bool:
        return math.isfinite(self.low)

    @property
    def held(self) -> bool:
        return self.low <= self.value <= self.high

    def near(self, errors: float = 3.0) -> bool:
        """Whether the figure misses its band by at most `errors` standard errors.

        A figure whose error is ROUGH or more has to be in its band.
        """
        room = errors * self.error if self.error < ROUGH else 0.0
        return self.low - room <= self.value <= self.high + room


@dataclass(frozen=True)
class Check:
    """A planted truth, and how it is checked.

    `figures` takes a seed, a folder to play in, and sizes. `full`, `again` (for another seed) and
    `quick` (for tests) are sets of sizes. `how` and `failing` are text of the page.
    """

    number: int
    name: str
    planted: str
    how: str
    failing: str
    figures: Callable[..., list[Figure]]
    full: Mapping[str, float]
    again: Mapping[str, float]
    quick: Mapping[str, float]


def study(
    name: str,
    seed: int,
    puppet: Patch,
    turns: int,
    replicates: int,
    arms: Mapping[str, Patch] | None = None,
    plan: Patch | None = None,
    **more: Any,
) -> Study:
    """Return a study of one scene with Ana. An arm is a level of the factor "given"."""
    base = merge(SCENE, {"turns": turns, "model": {"model": "puppet", "puppet": puppet}})
    cells = []
    for arm, patch in (arms or {"only": SAME}).items():
        condition = Condition(arm, (("given", arm),))
        cells.append(("kettle", condition, Scene.model_validate(merge(base, patch))))
    settled = Plan.model_validate(plan) if plan is not None else None
    conditions = tuple(condition for _, condition, _ in cells)
    return Study(
        name=name,
        replicates=replicates,
        seed=seed,
        conditions=conditions,
        cells=tuple(cells),
        plan=settled,
        **more,
    )


def planned(*against: tuple[str, str], blocks: int, **more: Any) -> Patch:
    """Return a plan with a contrast for each (plus, minus) pair of arms."""
    contrasts = [
        {"name": f"{a} against {b}", "plus": {"given": a}, "minus": {"given": b}}
        for a, b in against
    ]
    outcome = more.pop("outcome", {"of": "broken", "measure": "sign"})
    fields = {"hypothesis": "The arms differ.", "outcome": outcome, "blocks": blocks}
    return {**fields, "contrasts": contrasts, **more}


def play(whole: Study, root: Path) -> RunFolder:
    """Play every trial of a study with Ray off. Raises RuntimeError if a trial fails."""
    result = run(whole, runs=root, setup=Setup(ray="off"))
    if result.failed or result.owed:
        raise RuntimeError(f"{result.failed} trials failed, {result.owed} are owed")
    return result.folder


@dataclass
class Pool:
    """The tables of a pool of scenes, by block. Studies are dealt from them."""

    tables: Tables
    _places: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        blocks = self.tables.scores["trial"].map(self.tables.trials.set_index("trial")["block"])
        self._places = dict(blocks.reset_index(drop=True).groupby(blocks.to_numpy()).indices)

    @property
    def blocks(self) -> list[str]:
        return sorted(self._places)

    def runs(self) -> list[list[str]]:
        """Return the blocks of each run that was played."""
        by_run: dict[str, list[str]] = {}
        for block in self.blocks:
            by_run.setdefault(block.partition(":")[0], []).append(block)
        return [by_run[number] for number in sorted(by_run, key=int)]

    def study(self, blocks: Sequence[str]) -> Tables:
        """Return the tables of these blocks alone, as a run of them would have them."""
        rows = np.concatenate([self._places[b] for b in blocks])
        trials = self.tables.trials
        trials = trials[trials["block"].isin(blocks)]
        return Tables(trials, self.tables.scores.iloc[rows], self.tables.marks.iloc[:0])


def pool(
    make: Callable[[int, int], Study],
    blocks: int,
    seed: int,
    root: Path,
    after: Callable[[RunFolder], None] = lambda folder: None,
    most: int = RUN,
) -> Pool:
    """Play `blocks` blocks in runs of at most `most` trials, and return their tables.

    `make` returns the study for a seed and a number of replicates. `after` is called with each run
    before its tables are read. Then the run is deleted.
    """
    arms = len(make(0, 1).cells)
    each = min(blocks, max(1, most // arms))
    parts = []
    for part in range(math.ceil(blocks / each)):
        replicates = min(each, blocks - part * each)
        folder = play(make(seed_of("truth", seed, part), replicates), root / f"{part}")
        after(folder)
        tables = read_tables(folder)
        shutil.rmtree(root / f"{part}")
        named = f"{part}:" + tables.trials["block"]
        parts.append(Tables(tables.trials.assign(block=named), tables.scores, tables.marks))
    return Pool(
        Tables(
            *(
                pd.concat([getattr(t, name) for t in parts], ignore_index=True)
                for name in ("trials", "scores", "marks")
            )
        )
    )


def deal(
    blocks: Sequence[str], size: int, *, groups: int, deals: int, seed: int
) -> Iterator[tuple[int, list[str]]]:
    """Deal blocks into studies of `size`: yield the group and the blocks of each study.

    Groups share no block. Within a group no two studies of one deal share any.
    """
    chance = np.random.default_rng(seed_of("deal", seed))
    mixed = chance.permutation(list(blocks)).tolist()
    for group in range(groups):
        own = mixed[group::groups]
        for _ in range(deals):
            own = chance.permutation(own).tolist()
            for start in range(0, len(own) - size + 1, size):
                yield group, own[start : start + size]


def figure(what: str, pairs: Iterable[tuple[int, float]], low: float, high: float) -> Figure:
    """Return the mean over groups of (group, number) pairs; the error comes from their spread."""
    by_group: dict[int, list[float]] = {}
    for group, value in pairs:
        by_group.setdefault(group, []).append(float(value))
    means = [float(np.mean(values)) for values in by_group.values()]
    return averaged(what, means, low, high)


def averaged(what: str, values: Sequence[float], low: float, high: float) -> Figure:
    """Return the mean of independent numbers, with its standard error.

    The error of n equal numbers is 1 / (n + 2), because the next one might differ. A band without
    width allows no error.
    """
    n = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    error = 0.0 if low == high else error or 1 / (n + 2)
    return Figure(what, float(np.mean(values)), error, low, high)
