"""Scenes turn by turn: survival, drift and chains of every cell of the design. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from improv.analysis.stats import chain as chains
from improv.analysis.stats import drift, survival
from improv.analysis.stats.chain import Absorption, Chain
from improv.analysis.stats.drift import Grid
from improv.analysis.stats.interval import Estimate, Floats, bootstrap_sums
from improv.analysis.units import (
    Frame,
    RowNumbers,
    Tables,
    cell_names,
    cells_of,
    ordered_scores,
    outcome_scores,
    outcome_units,
    sequences,
)
from improv.records import seed_of
from improv.study.measure_spec import NEITHER, has_two_states
from improv.study.plan import Outcome

_BREAKING = ("time", "broken", "broke")
"""Outcomes that count breaks, and so have a first break."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over turns with its band: (turn, value, low, high) each."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class CellChain:
    """The two-state chain of one cell and measure."""

    cell: str
    measure: str
    chain: Chain


def units_by_cell(replicates: Frame) -> Iterator[tuple[str, Frame]]:
    """Yield each cell's name and its units, in the order of the table."""
    cells = replicates if "cell" in replicates else replicates.assign(cell=cells_of(replicates))
    for name in cell_names(replicates):
        yield name, cells[cells["cell"] == name]


def unbroken_spells(part: Frame, condition: str | None = None) -> list[survival.Spell]:
    known = part[part["value"].notna()]
    names = cells_of(known)
    return [
        survival.Spell(condition or name, block, int(turn), bool(event))
        for name, block, turn, event in zip(
            names, known["block"], known["value"], known["event"], strict=True
        )
    ]


def survival_curves(outcome: Outcome, tables: Tables) -> Iterator[Curve]:
    """Yield each cell's Kaplan–Meier curve of the time to the first break."""
    if outcome.of not in _BREAKING:
        return
    for name, part in units_by_cell(_times(outcome, tables)):
        known = part[part["value"].notna()]
        if len(known):
            turns = known["value"].to_numpy(dtype=np.int64)
            steps = survival.survival_curve(turns, known["event"].to_numpy(dtype=bool))
            points = [
                (float(s.turn), s.survival.value, s.survival.low, s.survival.high) for s in steps
            ]
            yield Curve(name, tuple(points))


def cell_hazards(outcome: Outcome, tables: Tables) -> tuple[str, tuple[survival.Hazard, ...]]:
    """Return the first cell's name and, against it, how every other cell changes the risk of
    breaking at a turn; nothing where the outcome has no breaks or there is only one cell."""
    if outcome.of not in _BREAKING:
        return "", ()
    times = _times(outcome, tables)
    names = list(cell_names(times))
    if len(names) < 2:
        return "", ()
    return names[0], tuple(survival.hazard_ratios(unbroken_spells(times), names[0]))


def _times(outcome: Outcome, tables: Tables) -> Frame:
    """Return the time to the first break of every unit."""
    return outcome_units(outcome.model_copy(update={"of": "time", "less": ""}), tables)


def turn_grid(outcome: Outcome, tables: Tables, part: Frame) -> Grid:
    """Return the mean score of each block at each turn, of the units in `part`."""
    (cell_grid,) = _grids(outcome, tables, part, np.zeros(len(part), dtype=np.int64), 1)
    return cell_grid


def turn_grids(outcome: Outcome, tables: Tables, replicates: Frame) -> dict[str, Grid]:
    """Return `turn_grid` of the units of each cell, in the order of the table.

    All cells are counted at once, because a run may have a million lines.
    """
    own = cells_of(replicates)
    names = list(dict.fromkeys(own))
    places = {name: i for i, name in enumerate(names)}
    cell = np.array([places[name] for name in own], dtype=np.int64)
    return dict(zip(names, _grids(outcome, tables, replicates, cell, len(names)), strict=True))


def _grids(
    outcome: Outcome, tables: Tables, part: Frame, cell: RowNumbers, cells: int
) -> Iterator[Grid]:
    """Yield the grid of each of so many cells, the units' own by their numbers."""
    at, turns, scores = _of_lines(outcome, tables)
    blocks, names = pd.factorize(part["block"], sort=True)
    place = np.full(len(tables.trials), -1, dtype=np.int64)
    place[part["at"].to_numpy()] = cell * len(names) + blocks
    own = place[at]
    there = own >= 0
    rows, turn, values = own[there], turns[there], scores[there]
    last = int(turn.max(initial=0))
    shape = (cells, len(names), last + 1)
    bins, size = rows * (last + 1) + turn, cells * len(names) * (last + 1)
    counts = np.bincount(bins, minlength=size).reshape(shape)
    sums = np.bincount(bins, values, minlength=size).reshape(shape)
    for count, total in zip(counts, sums, strict=True):
        known, seen = count.any(axis=1), count.any(axis=0)
        with np.errstate(invalid="ignore"):
            means = (total / count)[np.ix_(known, seen)]
        yield Grid(names[known].tolist(), np.flatnonzero(seen), means)


def _of_lines(outcome: Outcome, tables: Tables) -> tuple[RowNumbers, RowNumbers, Floats]:
    """Return the unit, turn and value of the readable scores of lines that an outcome reads."""
    scores = outcome_scores(outcome, tables)
    values = scores["value"].to_numpy(dtype=float)
    turns = scores["turn"].to_numpy(dtype=float)
    there = ~(np.isnan(values) | np.isnan(turns))
    if outcome.of != "mean" and outcome.of != "collision":
        there &= values != NEITHER
    return scores["at"].to_numpy()[there], turns[there].astype(np.int64), values[there]


def means_by_turn(outcome: Outcome, tables: Tables, part: Frame) -> dict[str, dict[int, float]]:
    """Return block → turn → mean score there, of the units in `part`."""
    block_turns = turn_grid(outcome, tables, part)
    turns = block_turns.turns.tolist()
    return {
        block: {t: v for t, v in zip(turns, row, strict=True) if v == v}  # NaN is not itself
        for block, row in zip(block_turns.blocks, block_turns.values.tolist(), strict=True)
    }


def drift_curves(turns: Mapping[str, Grid], seed: int) -> Iterator[Curve]:
    """Yield the mean score over turns of each cell with its band, none where they are no shares."""
    for name, cell_grid in turns.items():
        known = cell_grid.values[np.isfinite(cell_grid.values)]
        if ((known < 0) | (known > 1)).any():
            return  # log-likelihoods, say: a curve is of shares
        points = drift.mean_curve(cell_grid, seed=seed_of("curve", seed, name))
        means = [(float(p.turn), p.mean.value, p.mean.low, p.mean.high) for p in points]
        if len(means) > 1:
            yield Curve(name, tuple(means))


def drift_slopes(outcome: Outcome, turns: Mapping[str, Grid]) -> Iterator[tuple[str, Estimate]]:
    if outcome.of in ("collision", "mean"):
        return  # no share of lines at the pole
    for name, cell_grid in turns.items():
        if len(cell_grid.blocks):
            yield name, drift.slope(cell_grid)


def cell_chains(outcome: Outcome, tables: Tables, seed: int) -> Iterator[CellChain]:
    if not has_two_states(outcome.measure):
        return
    # Traits are pooled, but none of a trait's lines follows another trait's.
    rows = ordered_scores(tables, outcome.measure)
    scenes = len(tables.trials)
    counts = chains.scene_transitions(
        rows["value"].to_numpy(dtype=float),
        rows["sequence"].to_numpy(),
        rows["at"].to_numpy(),
        scenes,
    )
    there = np.bincount(rows["at"].to_numpy(), minlength=scenes) > 0
    conditions = tables.trials["condition"]
    for condition in conditions.unique():
        own = counts[there & (conditions == condition).to_numpy()]
        fitted = chains.fit_transitions(own)
        yield CellChain(str(condition), outcome.measure, fitted)


def absorptions(
    tables: Tables, measure: str, sensitivity: Sequence[float], specificity: Sequence[float]
) -> list[tuple[str, tuple[Absorption, ...]]]:
    """Test in each condition whether the opposite is absorbing, over a grid of judges."""
    rows = sequences(tables, measure)
    results = []
    for condition in tables.trials["condition"].unique():
        part = rows[rows["condition"] == condition]
        scenes = [values.tolist() for _, values in part.groupby("trial")["values"]]
        grid = chains.absorption(scenes, sensitivity=sensitivity, specificity=specificity)
        results.append((str(condition), tuple(grid)))
    return results


def linear_slope(turns: Grid, seed: int) -> Estimate:
    """Return the least-squares slope a turn, its interval from resampled blocks."""
    if len(turns.blocks) < 2:
        return Estimate.unknown("fewer than two blocks", unit="blocks")
    there = np.isfinite(turns.values)
    x = turns.turns.astype(float)
    y = np.nan_to_num(turns.values)
    rows = np.column_stack([there.sum(axis=1), there @ x, y.sum(axis=1), there @ (x * x), y @ x])

    def slope(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        n, x, y, xx, xy = sums.T
        slopes: npt.NDArray[np.float64] = (n * xy - x * y) / (n * xx - x * x)
        return slopes

    (estimate,) = bootstrap_sums(rows, slope, seed=seed, unit="blocks")
    return estimate
