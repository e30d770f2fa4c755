"""From scores to units: the one number that each scene, or branch of it, gives to an outcome. Pure.

The unit of replication is the scene, never the turn. A unit whose lines could not be read has no
number; how many lines there were and how many were unreadable stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd

from improv.plan import ARM, Outcome, Where, fits
from improv.record import MAIN

KEY = ["trial", "branch"]
EVERYBODY = "everybody"
ON_TRIALS = ("probe", "dispersion")
"""Measures whose scores count for the trial that they were taken from, whatever their branch."""

DERIVED = ("secret:turn", "likelihood:others", "stylometry:delta", "dispersion:energy")
"""Measures in units of their own, that no mean of their family may have in it."""

Frame: TypeAlias = pd.DataFrame


@dataclass(frozen=True)
class Tables:
    """What an analysis reads of a run.

    `trials` has a row for each trial and branch (trial, branch, origin, scene, condition, block,
    arm, status, and `levels` as a dict), `scores` the scores, `marks` the first turn of each
    trial and branch at which a planned move was made or would have been (trial, branch, turn).
    """

    trials: Frame
    scores: Frame
    marks: Frame

    def measures(self) -> list[str]:
        """Return the measures that there are scores of, in alphabetical order."""
        return sorted(self.scores["measure"].unique())


def tables(trials: Frame, scores: Frame, turns: Frame, conditions: Sequence[str] = ()) -> Tables:
    """Bring the run's tables into the form that an analysis reads.

    `turns` needs trial, branch, turn and acts. Rows come in the order of `conditions`, which is
    the study's: trials are played in another in each block.
    """
    rank = {name: i for i, name in enumerate(conditions)}
    ranks = trials["condition"].map(rank).fillna(len(rank))
    trials = trials.assign(rank=ranks).sort_values(["rank", "index", "branch"], ignore_index=True)
    trials["levels"] = [{p["name"]: p["value"] for p in pairs} for pairs in trials["levels"]]
    trials["arm"] = trials["arm"].fillna("")
    moved = [any(a["kind"] == "move" for a in acts) for acts in turns["acts"]]
    marks = turns.loc[moved, [*KEY, "turn"]].groupby(KEY, as_index=False)["turn"].min()
    return Tables(trials, scores, marks)


def named(scores: Frame, measure: str) -> Frame:
    """Return the scores of a measure, or of all whose name begins with it and a colon or dot.

    What is derived from a family is in it only if it is asked for by its whole name.
    """
    family = (f"{measure}:", f"{measure}.")
    names = [
        m
        for m in scores["measure"].unique()
        if m == measure or (m.startswith(family) and m not in DERIVED)
    ]
    return scores[scores["measure"].isin(names)]


def units(outcome: Outcome, given: Tables, *, arms: bool = False) -> Frame:
    """Return a row for each unit, with its `value`.

    Columns: trial, branch, scene, condition, block, levels (with the branch's arm under "arm"),
    value (NaN where it has none), event (for times: whether it happened), lines and missing (how
    many scores the value rests on, and how many of them could not be read). Units are the trials,
    or with `arms` the branches that the study grew from them.
    """
    rows = given.trials
    rows = rows[rows["origin"] == "branch"] if arms else rows[rows["branch"] == MAIN]
    scores = chosen(outcome, given)
    numbers = _NUMBERS[outcome.of](outcome, scores, given)
    counts = scores.groupby(KEY)["value"].agg(lines="size", missing=lambda v: v.isna().sum())
    found = rows[[*KEY, "scene", "condition", "block", "status"]].copy()
    found["levels"] = [
        {**levels, ARM: arm} for levels, arm in zip(rows["levels"], rows["arm"], strict=True)
    ]
    found = found.join(numbers, on=KEY).join(counts, on=KEY)
    for column in ("lines", "missing"):
        found[column] = found[column].fillna(0).astype(int)
    if "event" not in found:
        found["event"] = True
    if outcome.less:
        other = outcome.model_copy(update={"measure": outcome.less})
        less = _NUMBERS[outcome.of](other, chosen(other, given), given)["value"].rename("less")
        found = found.join(less, on=KEY)
        found["value"] -= found.pop("less")
    # What was not played to its end is missing, whatever its first lines were like.
    found.loc[found["status"] != "done", "value"] = float("nan")
    return found.reset_index(drop=True)


def among(found: Frame, where: Where) -> Frame:
    """Return the units of the conditions that `where` means."""
    # As an array: an empty list would choose columns, and leave none.
    return found[np.array([fits(where, levels) for levels in found["levels"]], dtype=bool)]


def by_cell(found: Frame) -> dict[str, dict[str, float]]:
    """Return cell → block → mean value of its units that have one. A cell is a condition, with
    the arm of a branch after it where there is one."""
    known = found[found["value"].notna()]
    cells: dict[str, dict[str, float]] = {name: {} for name in cell_names(found)}
    names = [cell_name(c, lv) for c, lv in zip(known["condition"], known["levels"], strict=True)]
    means = known.assign(cell=names).groupby(["cell", "block"])["value"].mean()
    for (cell, block), value in means.items():
        cells[cell][block] = float(value)
    return cells


def cell_name(condition: str, levels: dict[str, str]) -> str:
    return f"{condition} · {levels[ARM]}" if levels.get(ARM) else condition


def cell_names(found: Frame) -> dict[str, dict[str, str]]:
    """Return each cell's name with its levels, in the order of the table."""
    pairs = zip(found["condition"], found["levels"], strict=True)
    return {cell_name(condition, levels): levels for condition, levels in pairs}


def weights(found: Frame, plus: list[Where], minus: list[Where]) -> dict[str, float]:
    """Return cell → weight of a contrast: each `where` is the mean of the cells that it means.

    Raises ValueError where one means no cell at all.
    """
    cells = cell_names(found)
    total = dict.fromkeys(cells, 0.0)
    for side, sign in ((plus, 1.0), (minus, -1.0)):
        for where in side:
            meant = [name for name, levels in cells.items() if fits(where, levels)]
            if not meant:
                told = ", ".join(f"{k}: {v}" for k, v in where.items())
                raise ValueError(f"no condition is {{{told}}}")
            for name in meant:
                total[name] += sign / len(meant)
    return {name: w for name, w in total.items() if w}


def sequences(given: Tables, measure: str) -> Frame:
    """Return one row for each trial, character and trait: `values` of its lines in order.

    Columns: trial, condition, scene, character, measure, values (list of floats, NaN missing).
    Only main branches: what branches share would count twice.
    """
    scores = named(given.scores, measure)
    scores = scores[(scores["branch"] == MAIN) & scores["turn"].notna()].sort_values("turn")
    main = given.trials[(given.trials["branch"] == MAIN) & (given.trials["status"] == "done")]
    scores = scores[scores["trial"].isin(main["trial"])]
    grouped = scores.groupby(["trial", "character", "measure"])["value"].agg(list)
    found = grouped.rename("values").reset_index()
    places = main.set_index("trial")[["condition", "scene", "block"]]
    return found.join(places, on="trial")


def chosen(outcome: Outcome, given: Tables) -> Frame:
    """Return the scores that an outcome reads, those of probes under the trial they were put in."""
    scores = named(given.scores, outcome.measure)
    if outcome.of_whom != EVERYBODY:
        scores = scores[scores["character"] == outcome.of_whom]
    scores = scores[scores["turn"].isna() | (scores["turn"] >= outcome.first)]
    if outcome.measure.partition(":")[0] in ON_TRIALS:
        scores = scores.assign(branch=MAIN)
    return scores


def _share_broken(outcome: Outcome, scores: Frame, given: Tables) -> Frame:
    known = scores[scores["value"].notna()]
    return _per_unit(known.assign(value=(known["value"] == 0).astype(float)), "mean")


def _ever_broke(outcome: Outcome, scores: Frame, given: Tables) -> Frame:
    known = scores[scores["value"].notna()]
    return _per_unit(known.assign(value=(known["value"] == 0).astype(float)), "max")


def _mean(outcome: Outcome, scores: Frame, given: Tables) -> Frame:
    return _per_unit(scores[scores["value"].notna()], "mean")


def _time(outcome: Outcome, scores: Frame, given: Tables) -> Frame:
    """The turn of the first break; censored at the last readable line where there is none."""
    known = scores[scores["value"].notna() & scores["turn"].notna()]
    last = known.groupby(KEY)["turn"].max()
    first = known[known["value"] == 0].groupby(KEY)["turn"].min()
    found = pd.DataFrame({"value": last.astype(float)})
    found["event"] = found.index.isin(first.index)
    found.loc[first.index, "value"] = first.astype(float)
    return found


def _recovered(outcome: Outcome, scores: Frame, given: Tables) -> Frame:
    """Whether one of the next own lines from the mark on scores 1.

    Without a mark: of the lines after the first break. A scene that has neither has no value. Own
    lines are those of whoever broke last before the mark, on the trait that broke: what others
    say is no way back.
    """
    scores = scores[scores["turn"].notna()].sort_values("turn", kind="stable")
    broken = scores[scores["value"] == 0]
    marks = given.marks.set_index(KEY)["turn"]
    if marks.empty:
        marks = broken.groupby(KEY)["turn"].min() + 1
    scores, broken = (s.join(marks.rename("mark"), on=KEY) for s in (scores, broken))
    fallen = broken[broken["turn"] < broken["mark"]].groupby(KEY)[["character", "measure"]].last()
    after = scores[scores["turn"] >= scores["mark"]]
    after = after.join(fallen.add_suffix(" fallen"), on=KEY)
    own = (after["character"] == after["character fallen"]) & (
        after["measure"] == after["measure fallen"]
    )
    # A move at a turn of the study's own choosing may come before anything has broken.
    after = after[own | after["character fallen"].isna()]
    few = after.groupby(KEY).head(outcome.within)
    few = few[few["value"].notna()]
    return _per_unit(few.assign(value=(few["value"] == 1).astype(float)), "max")


def _per_unit(scores: Frame, how: str) -> Frame:
    return cast(Frame, scores.groupby(KEY)["value"].agg(how).to_frame("value"))


_NUMBERS: dict[str, Callable[[Outcome, Frame, Tables], Any]] = {
    "broken": _share_broken,
    "broke": _ever_broke,
    "mean": _mean,
    "recovered": _recovered,
    "time": _time,
    "collision": _mean,
    "phrasing": _mean,
}
