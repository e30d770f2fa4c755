"""From scores to units: the one number that each scene, or branch of it, gives to an outcome. Pure.

The unit of replication is the scene, never the turn. A unit whose lines could not be read has no
number; the columns `lines` and `missing` count its lines and the unreadable ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from improv.analysis.stats.interval import Floats
from improv.records import MAIN
from improv.study.measure_spec import DERIVED, find_measure
from improv.study.plan import ARM, FactorLevels, Outcome, fits
from improv.study.scene import EVERYBODY
from improv.study.trial import PlannedBlock

KEY = ["trial", "branch"]

Frame: TypeAlias = pd.DataFrame
RowNumbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """The tables of a run that an analysis reads.

    `trials` has a row for each trial and branch (trial, branch, origin, scene, condition, block,
    arm, status, and `levels` as a dict), `scores` the scores, `marks` the first turn of each
    trial and branch at which a planned move was made or would have been (trial, branch, turn).
    """

    trials: Frame
    scores: Frame
    marks: Frame
    blocks: tuple[PlannedBlock, ...] = ()
    """The blocks that the study plans, in the order of play; none if nobody says them."""
    verdicts: Frame | None = None
    """Verdicts on lines, of all judges (trial, branch, turn, character, measure, judge, item,
    value, error); None where nobody reads them."""

    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def measures(self) -> list[str]:
        """Return the measures that have scores, in alphabetical order."""
        return sorted(self.scores["measure"].unique())

    def scored(self, measure: str) -> Frame:
        """Return `scores_of` the measure with two more columns: `at`, the row of `trials` of each
        score (−1 for none), and `trial_at`, the row of its trial's main branch."""
        kept = f"scored {measure}"
        if kept not in self._kept:
            at, trial_at = self._places()
            scores = self.scores.assign(at=at, trial_at=trial_at)
            self._kept[kept] = scores_of(scores, measure)
        scores_kept: Frame = self._kept[kept]
        return scores_kept

    def places(self, *, arms: bool) -> Frame:
        """Return the trials, or the branches that the study grew, as units without a value."""
        kept = f"places {arms}"
        if kept not in self._kept:
            rows = self.trials
            meant = rows["origin"] == "branch" if arms else rows["branch"] == MAIN
            at = np.flatnonzero(meant.to_numpy())
            rows = rows.iloc[at]
            replicates = rows[[*KEY, "scene", "condition", "block", "status"]].reset_index(
                drop=True
            )
            made: dict[tuple[int, str], dict[str, str]] = {}
            replicates["levels"] = [
                made.get((id(lv), arm)) or made.setdefault((id(lv), arm), {**lv, ARM: arm})
                for lv, arm in zip(rows["levels"], rows["arm"], strict=True)
            ]
            replicates["cell"] = pd.Categorical(
                names := cells_of(replicates), list(dict.fromkeys(names))
            )
            self._kept[kept] = replicates.assign(at=at)
        frame: Frame = self._kept[kept]
        return frame

    def _places(self) -> tuple[RowNumbers, RowNumbers]:
        """Return for each score the row of its trial and branch, and of its trial alone."""
        if "places" not in self._kept:
            rows = zip(self.trials["trial"], self.trials["branch"], strict=True)
            known = {key: i for i, key in enumerate(rows)}
            trials, of_trial = _coded(self.scores["trial"])
            branches, of_branch = _coded(self.scores["branch"])
            main = np.array([known.get((t, MAIN), -1) for t in of_trial], dtype=np.int64)[trials]
            own = main.copy()
            # Of branches there are few, and those of one stand together, if not all of them.
            grown = np.flatnonzero(branches != (of_branch.index(MAIN) if MAIN in of_branch else -1))
            pairs = trials[grown] * len(of_branch) + branches[grown]
            keys, first = np.unique(pairs, return_inverse=True)
            each = (divmod(key, len(of_branch)) for key in keys.tolist())
            places = [known.get((of_trial[t], of_branch[b]), -1) for t, b in each]
            own[grown] = np.array(places, dtype=np.int64)[first]
            self._kept["places"] = own, main
        row_numbers: tuple[RowNumbers, RowNumbers] = self._kept["places"]
        return row_numbers


def _coded(column: Any) -> tuple[RowNumbers, list[Any]]:
    """Return a column as integer codes, and the value of each code."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64), column.cat.categories.tolist()
    codes, values = pd.factorize(column)
    return codes.astype(np.int64), list(values)


def make_tables(
    trials: Frame,
    scores: Frame,
    turns: Frame,
    conditions: Sequence[str] = (),
    blocks: Sequence[PlannedBlock] = (),
) -> Tables:
    """Return a run's tables in the form that an analysis reads.

    `turns` needs trial, branch, turn and acts; levels may be dicts already. Rows come in the order
    of `conditions`, which is the study's: trials are played in another in each block.
    """
    rank = {name: i for i, name in enumerate(conditions)}
    ranks = trials["condition"].map(rank).fillna(len(rank))
    trials = trials.assign(rank=ranks).sort_values(["rank", "index", "branch"], ignore_index=True)
    # One by one, texts come out of Arrow's columns a hundred times as slowly.
    texts = [name for name in trials if isinstance(trials[name].dtype, pd.StringDtype)]
    trials = trials.astype(dict.fromkeys(texts, object))
    trials["levels"] = [
        listed if isinstance(listed, dict) else {p["name"]: p["value"] for p in listed}
        for listed in trials["levels"]
    ]
    trials["arm"] = trials["arm"].fillna("")
    moved = [any(a["kind"] == "move" for a in acts) for acts in turns["acts"]]
    marks = turns.loc[moved, [*KEY, "turn"]].groupby(KEY, as_index=False)["turn"].min()
    return Tables(trials, scores, marks, tuple(blocks))


def scores_of(scores: Frame, measure: str) -> Frame:
    """Return the scores of a measure, or of all whose name begins with it and a colon or dot.

    A measure that is derived from a family is returned only under its whole name.
    """
    family = (f"{measure}:", f"{measure}.")
    names = [
        m
        for m in scores["measure"].unique()
        if m == measure or (m.startswith(family) and m not in DERIVED)
    ]
    return scores[scores["measure"].isin(names)]


def outcome_units(outcome: Outcome, tables: Tables, *, arms: bool = False) -> Frame:
    """Return a row for each unit, with its `value`.

    Columns: trial, branch, scene, condition, block, levels (with the branch's arm under "arm"),
    cell, at (its row in `trials`), value (NaN where it has none), event (for times: whether it
    happened), lines and missing (how many scores the value rests on, and how many of them could
    not be read). Units are the trials, or with `arms` the branches that the study grew from them.
    """
    replicates = tables.places(arms=arms).copy()
    at = replicates["at"].to_numpy()
    scores = outcome_scores(outcome, tables)
    numbers = _NUMBERS[outcome.of](outcome, scores, tables)
    replicates["value"] = numbers["value"][at]
    replicates["event"] = numbers["event"][at] if "event" in numbers else True
    replicates["lines"] = _count(scores, tables)[at]
    replicates["missing"] = _count(scores, tables, scores["value"].isna())[at]
    if outcome.less:
        other = outcome.model_copy(update={"measure": outcome.less})
        replicates["value"] -= _NUMBERS[outcome.of](other, outcome_scores(other, tables), tables)[
            "value"
        ][at]
    # A unit that was not played to its end has no value, whatever its first lines were.
    replicates.loc[replicates["status"] != "done", "value"] = float("nan")
    return replicates


def matching_units(replicates: Frame, where: FactorLevels) -> Frame:
    """Return the units of the conditions that `where` matches."""
    known: dict[int, bool] = {}
    matches = [
        known[key] if (key := id(levels)) in known else known.setdefault(key, fits(where, levels))
        for levels in replicates["levels"]
    ]
    # As an array: an empty list would choose columns, and leave none.
    return replicates[np.array(matches, dtype=bool)]


def by_cell(replicates: Frame) -> dict[str, dict[str, float]]:
    """Return cell → block → mean value of its units that have one. A cell is a condition, with
    the arm of a branch after it where there is one."""
    cells: dict[str, dict[str, float]] = {name: {} for name in cell_names(replicates)}
    known = replicates[replicates["value"].notna()]
    cell, names = _cells(known)
    block, blocks = pd.factorize(known["block"], sort=True)
    key = cell * len(blocks) + block
    counts = np.bincount(key, minlength=len(names) * len(blocks)).reshape(len(names), -1)
    sums = np.bincount(key, known["value"].to_numpy(dtype=float), minlength=counts.size)
    block_names = np.array(blocks, dtype=object)
    for name, own, total in zip(names, counts, sums.reshape(counts.shape), strict=True):
        there = np.flatnonzero(own)
        if not len(there):
            continue
        means = (total[there] / own[there]).tolist()
        cells[name] = dict(zip(block_names[there].tolist(), means, strict=True))
    return cells


def cells_of(replicates: Frame) -> list[str]:
    """Return the name of each unit's cell."""
    if "cell" in replicates:
        return list(replicates["cell"])
    made: dict[tuple[str, int], str] = {}
    return [
        made.get((condition, id(levels)))
        or made.setdefault((condition, id(levels)), cell_name(condition, levels))
        for condition, levels in zip(replicates["condition"], replicates["levels"], strict=True)
    ]


def cell_name(condition: str, levels: dict[str, str]) -> str:
    return f"{condition} · {levels[ARM]}" if levels.get(ARM) else condition


def cell_names(replicates: Frame) -> dict[str, dict[str, str]]:
    """Return each cell's name with its levels, in the order of the table."""
    cell, names = _cells(replicates)
    _, first = np.unique(cell, return_index=True)
    levels = replicates["levels"].iloc[np.sort(first)]
    return dict(zip((names[cell[i]] for i in np.sort(first)), levels, strict=True))


def _cells(replicates: Frame) -> tuple[RowNumbers, list[Any]]:
    """Return each unit's cell as a number, and the cells' names."""
    if "cell" in replicates:
        return _coded(replicates["cell"])
    return _coded(pd.Series(cells_of(replicates), dtype=object))


def cell_weights(
    replicates: Frame, plus: list[FactorLevels], minus: list[FactorLevels]
) -> dict[str, float]:
    """Return cell → weight of a contrast: each side is a sum of the means of the cells it matches.

    Raises ValueError if a `where` matches no cell.
    """
    cells = cell_names(replicates)
    total = dict.fromkeys(cells, 0.0)
    for side, sign in ((plus, 1.0), (minus, -1.0)):
        for where in side:
            meant = [name for name, levels in cells.items() if fits(where, levels)]
            if not meant:
                levels_text = ", ".join(f"{k}: {v}" for k, v in where.items())
                raise ValueError(f"no condition is {{{levels_text}}}")
            for name in meant:
                total[name] += sign / len(meant)
    return {name: w for name, w in total.items() if w}


def ordered_scores(tables: Tables, measure: str) -> Frame:
    """Return the scores of lines of finished trials, sorted into sequences.

    A sequence holds the lines of one trial, character and trait in the order of play; the column
    `sequence` has its number. Only main branches: shared turns of branches would count twice.
    """
    scores = tables.scored(measure)
    trials = tables.trials
    counts = ((trials["branch"] == MAIN) & (trials["status"] == "done")).to_numpy()
    at, turns = scores["at"].to_numpy(), scores["turn"].to_numpy(dtype=float)
    rows = np.flatnonzero((at >= 0) & counts[at] & ~np.isnan(turns))
    turn, whose = turns[rows].astype(np.int64), at[rows].astype(np.int64)
    for name in ("character", "measure"):
        codes, names = _coded(scores[name])
        whose = whose * len(names) + codes[rows]
    order = np.argsort(whose * (int(turn.max(initial=0)) + 1) + turn, kind="stable")
    whose = whose[order]
    # Taken once: a million rows are slow to take.
    return scores.iloc[rows[order]].assign(
        sequence=np.cumsum(np.diff(whose, prepend=whose[:1]) != 0)
    )


def sequences(tables: Tables, measure: str) -> Frame:
    """Return one row for each trial, character and trait: `values` of its lines in order.

    Columns: trial, condition, scene, block, character, measure, values (list of floats, NaN
    missing). Only main branches, as in `in_order`.
    """
    rows = ordered_scores(tables, measure)
    firsts = np.flatnonzero(np.diff(rows["sequence"].to_numpy(), prepend=-1))
    values = np.split(rows["value"].to_numpy(dtype=float), firsts[1:]) if len(rows) else []
    lines = rows.iloc[firsts][["trial", "character", "measure", "at"]].reset_index(drop=True)
    lines["values"] = [v.tolist() for v in values]
    places = tables.trials[["condition", "scene", "block"]].iloc[lines.pop("at").to_numpy()]
    return lines.assign(**{name: places[name].tolist() for name in places})


def outcome_scores(outcome: Outcome, tables: Tables) -> Frame:
    """Return the scores that an outcome reads; `at` is the row of `trials` that each counts for.

    A probe's scores count for the trial in which it was asked.
    """
    scores = tables.scored(outcome.measure)
    known = find_measure(outcome.measure)
    if known is not None and known.on_trial:
        scores = scores.assign(branch=MAIN, at=scores["trial_at"])
    read = scores["at"].to_numpy() >= 0
    if outcome.of_whom != EVERYBODY:
        read &= (scores["character"] == outcome.of_whom).to_numpy()
    turns = scores["turn"].to_numpy(dtype=float)
    read &= ~(turns < outcome.first)  # a score without a turn is of the whole scene
    return scores if read.all() else scores[read]


Numbers: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Arrays as long as `trials`: "value" (NaN for none) and, of times, "event"."""


def _count(scores: Frame, tables: Tables, which: Any = slice(None)) -> RowNumbers:
    at = scores["at"].to_numpy()[which]
    return np.bincount(at, minlength=len(tables.trials)).astype(np.int64)


def _means(at: RowNumbers, values: Floats, n: int) -> Floats:
    """Return the mean of the values of each of `n` units, NaN where there are none."""
    counts = np.bincount(at, minlength=n)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(at, values, minlength=n) / counts)


def _known(scores: Frame) -> tuple[RowNumbers, Floats, Floats]:
    """Return the unit, the value and the turn of each score that could be read."""
    values = scores["value"].to_numpy(dtype=float)
    there = ~np.isnan(values)
    turns = scores["turn"].to_numpy(dtype=float)
    return scores["at"].to_numpy()[there], values[there], turns[there]


def _share_broken(outcome: Outcome, scores: Frame, tables: Tables) -> Numbers:
    at, values, _ = _known(scores)
    return {"value": _means(at, (values == 0).astype(float), len(tables.trials))}


def _ever_broke(outcome: Outcome, scores: Frame, tables: Tables) -> Numbers:
    shares = _share_broken(outcome, scores, tables)["value"]
    return {"value": np.where(shares > 0, 1.0, shares)}


def _mean(outcome: Outcome, scores: Frame, tables: Tables) -> Numbers:
    at, values, _ = _known(scores)
    return {"value": _means(at, values, len(tables.trials))}


def _time(outcome: Outcome, scores: Frame, tables: Tables) -> Numbers:
    """The turn of the first break; censored at the last readable line where there is none."""
    at, values, turns = _known(scores)
    last = np.full(len(tables.trials), -np.inf)
    first = np.full(len(tables.trials), np.inf)
    there = ~np.isnan(turns)
    np.maximum.at(last, at[there], turns[there])
    there &= values == 0
    np.minimum.at(first, at[there], turns[there])
    event = np.isfinite(first)
    value = np.where(event, first, last)
    return {"value": np.where(np.isfinite(value), value, np.nan), "event": event}


def _recovered(outcome: Outcome, scores: Frame, tables: Tables) -> Numbers:
    """Return 1 if one of the next own lines from the mark on scores 1, else 0.

    Without a mark, the lines after the first break count. A scene that has neither has no value.
    Own lines are those of the character that broke last before the mark, on the trait that broke:
    another character's line is no recovery.
    """
    scores = scores[scores["turn"].notna()].sort_values("turn", kind="stable")
    broken = scores[scores["value"] == 0]
    marks = tables.marks.set_index(KEY)["turn"]
    if marks.empty:
        marks = broken.groupby("at")["turn"].min() + 1
    else:
        rows = pd.MultiIndex.from_frame(tables.trials[KEY])
        marks = marks.reindex(rows).reset_index(drop=True).dropna()
    scores, broken = (s.join(marks.rename("mark"), on="at") for s in (scores, broken))
    fallen = broken[broken["turn"] < broken["mark"]].groupby("at")[["character", "measure"]].last()
    after = scores[scores["turn"] >= scores["mark"]]
    after = after.join(fallen.add_suffix(" fallen"), on="at")
    own = (after["character"].astype(object) == after["character fallen"].astype(object)) & (
        after["measure"].astype(object) == after["measure fallen"].astype(object)
    )
    # A move at a turn of the study's own choosing may come before anything has broken.
    after = after[own | after["character fallen"].isna()]
    few = after.groupby("at").head(outcome.within)
    few = few[few["value"].notna()]
    back = _means(
        few["at"].to_numpy(), (few["value"] == 1).to_numpy(dtype=float), len(tables.trials)
    )
    return {"value": np.where(back > 0, 1.0, back)}


_NUMBERS: dict[str, Callable[[Outcome, Frame, Tables], Numbers]] = {
    "broken": _share_broken,
    "broke": _ever_broke,
    "mean": _mean,
    "recovered": _recovered,
    "time": _time,
    "collision": _mean,
    "phrasing": _mean,
}
