"""How scenes go, turn by turn: survival, drift, chains, each for every cell of the design. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from improv.plan import Outcome
from improv.record import MAIN, seed_of
from improv.stats import chain as chains
from improv.stats import drift, survival
from improv.stats.chain import Absorption, Chain
from improv.stats.interval import Estimate, bootstrap_sums
from improv.unit import (
    ON_TRIALS,
    Frame,
    Tables,
    cell_name,
    cell_names,
    named,
    sequences,
    units,
)

NEITHER = 0.5
"""A score that is no evidence either way."""
TWO_STATES = ("sign", "state", "habit")


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


def cells(found: Frame) -> Iterator[tuple[str, Frame]]:
    """Yield each cell's name and its units, in the order of the table."""
    names = [cell_name(c, lv) for c, lv in zip(found["condition"], found["levels"], strict=True)]
    cells = found.assign(cell=names)
    for name in cell_names(found):
        yield name, cells[cells["cell"] == name]


def spells(part: Frame, condition: str | None = None) -> list[survival.Spell]:
    known = part[part["value"].notna()]
    names = [cell_name(c, lv) for c, lv in zip(known["condition"], known["levels"], strict=True)]
    return [
        survival.Spell(condition or name, block, int(turn), bool(event), scene)
        for name, block, turn, event, scene in zip(
            names, known["block"], known["value"], known["event"], known["scene"], strict=True
        )
    ]


def survivals(outcome: Outcome, given: Tables) -> Iterator[Curve]:
    if outcome.of not in ("time", "broken", "broke"):
        return
    asked = outcome.model_copy(update={"of": "time", "less": ""})
    for name, steps in survival.curves(spells(units(asked, given))).items():
        points = [(float(s.turn), s.survival.value, s.survival.low, s.survival.high) for s in steps]
        yield Curve(name, tuple(points))


def by_turn(outcome: Outcome, given: Tables, part: Frame) -> dict[str, dict[int, float]]:
    """Return block → turn → mean score there, of the units in `part`."""
    scores = named(given.scores, outcome.measure)
    scores = scores[scores["value"].notna() & scores["turn"].notna()]
    scores = scores[scores["turn"] >= outcome.first]
    if outcome.of != "mean" and outcome.of != "collision":
        scores = scores[scores["value"] != NEITHER]
    if outcome.of_whom != "everybody":
        scores = scores[scores["character"] == outcome.of_whom]
    if outcome.measure.partition(":")[0] in ON_TRIALS:
        scores = scores.assign(branch=MAIN)
    rows = scores.merge(part[["trial", "branch", "block"]], on=["trial", "branch"])
    found: dict[str, dict[int, float]] = {}
    for (block, turn), value in rows.groupby(["block", "turn"])["value"].mean().items():
        found.setdefault(str(block), {})[int(turn)] = float(value)
    return found


def drifts(outcome: Outcome, given: Tables, found: Frame, seed: int) -> Iterator[Curve]:
    for name, part in cells(found):
        turns = by_turn(outcome, given, part)
        if not all(0 <= v <= 1 for row in turns.values() for v in row.values()):
            return  # log-likelihoods, say: a curve is of shares
        points = drift.curve(turns, seed=seed_of("curve", seed, name)) if turns else []
        means = [(float(p.turn), p.mean.value, p.mean.low, p.mean.high) for p in points]
        if len(means) > 1:
            yield Curve(name, tuple(means))


def slopes(outcome: Outcome, given: Tables) -> Iterator[tuple[str, Estimate]]:
    if outcome.of in ("collision", "mean"):
        return  # no share of lines at the pole
    for name, part in cells(units(outcome, given)):
        if turns := by_turn(outcome, given, part):
            yield name, drift.slope(turns)


def chains_of(outcome: Outcome, given: Tables, seed: int) -> Iterator[CellChain]:
    if outcome.measure.partition(":")[0] not in TWO_STATES:
        return
    rows = sequences(given, outcome.measure)
    # Traits are pooled, but none of a trait's lines follows another trait's.
    for condition in given.trials["condition"].unique():
        part = rows[rows["condition"] == condition]
        scenes = [values.tolist() for _, values in part.groupby("trial")["values"]]
        found = chains.fit(scenes, seed=seed_of("chain", seed, condition))
        yield CellChain(str(condition), outcome.measure, found)


def absorptions(
    given: Tables, measure: str, sensitivity: Sequence[float], specificity: Sequence[float]
) -> list[tuple[str, tuple[Absorption, ...]]]:
    """Test in each condition whether the opposite is absorbing, over a grid of judges."""
    rows = sequences(given, measure)
    found = []
    for condition in given.trials["condition"].unique():
        part = rows[rows["condition"] == condition]
        scenes = [values.tolist() for _, values in part.groupby("trial")["values"]]
        grid = chains.absorption(scenes, sensitivity=sensitivity, specificity=specificity)
        found.append((str(condition), tuple(grid)))
    return found


def linear(turns: dict[str, dict[int, float]], seed: int) -> Estimate:
    """Return the least-squares slope a turn, its interval from resampled blocks."""
    rows = []
    for by_turn in turns.values():
        x, y = np.array(list(by_turn), float), np.array(list(by_turn.values()), float)
        rows.append([len(x), x.sum(), y.sum(), (x * x).sum(), (x * y).sum()])
    if len(rows) < 2:
        return Estimate.unknown("fewer than two blocks", unit="blocks")

    def slope(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        n, x, y, xx, xy = sums.T
        found: npt.NDArray[np.float64] = (n * xy - x * y) / (n * xx - x * x)
        return found

    (found,) = bootstrap_sums(np.array(rows), slope, seed=seed, unit="blocks")
    return found
