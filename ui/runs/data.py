"""The figures of each run in the lobby: its trials, its cost, and its mean scores.

Sums are taken over Arrow columns: the rows of a million turns are never converted to Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from improv.errors import ImprovError
from improv.models.budget import token_cost
from improv.records import MAIN
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.measure_spec import MEASURES, PREFERRED, Unit, find_measure
from improv.study.model_spec import Price
from ui.shared import run_data

SHARES = (
    *PREFERRED,
    *(m.name for m in MEASURES if m.unit in (Unit.VERDICT, Unit.SHARE) and m.name not in PREFERRED),
)
"""Families of measures whose scores lie between 0 and 1, so that their mean is a share."""
_PRICED = re.compile(r"^\s*-?\s*price:", re.MULTILINE)


@dataclass(frozen=True)
class Mean:
    """The mean score of a family, and its numbers of readable and of missing scores."""

    family: str
    value: float
    scores: int
    missing: int


@dataclass(frozen=True)
class Standing:
    """The figures of a run: `first` is the id of its first trial ("" for none), `over` and `failed`
    count trials, `grown` counts branches, `cost` is in dollars (None where no model has a price),
    `unpriced` are the models without a price, `means` are the mean scores."""

    first: str
    over: int
    failed: int
    grown: int
    cost: float | None
    unpriced: tuple[str, ...]
    means: tuple[Mean, ...]


def standing(run: run_data.ViewedRun) -> Standing:
    """Return the figures of a run. Raises RunError where its tables cannot be read."""
    return run_data.patiently(lambda: _standing(run_data.root(), run.id, run.stamp))


@st.cache_data(max_entries=400, show_spinner=False)
def _standing(root: str, run: str, stamp: str) -> Standing:
    folder = open_run(root, run)
    trials = folder.tables.read("trials", columns=["trial", "branch", "status"])
    branches, status = trials["branch"].to_pylist(), trials["status"].to_pylist()
    main = branches.count(MAIN)
    if main == len(branches):
        failed = status.count("failed")
    else:
        failed = sum(s == "failed" and b == MAIN for s, b in zip(status, branches, strict=True))
    cost, unpriced = _cost(folder)
    means = _means(folder, grown=main < len(branches))
    first = trials["trial"][branches.index(MAIN)].as_py() if main else ""
    return Standing(first, main, failed, len(branches) - main, cost, unpriced, means)


def _means(folder: RunFolder, *, grown: bool) -> tuple[Mean, ...]:
    """Return the mean score of each family. Branches repeat lines of their trials, so of branches
    only the answers to probes count."""
    by = ["measure", "branch"] if grown else ["measure"]
    table = folder.tables.read("scores", columns=[*by, "value"]).group_by(by)
    sums = table.aggregate([("value", "sum"), ("value", "count"), ("measure", "count")])
    totals: dict[str, tuple[float, int, int]] = {}
    for row in sums.to_pylist():
        measure = find_measure(row["measure"])
        family = measure.name if measure is not None else ""
        own = not grown or row["branch"] == MAIN or family == "probe"
        if own and family in SHARES:
            total, known, every = totals.get(family, (0.0, 0, 0))
            totals[family] = (
                total + (row["value_sum"] or 0.0),
                known + row["value_count"],
                every + row["measure_count"],
            )
    return tuple(
        Mean(
            family,
            totals[family][0] / totals[family][1],
            totals[family][1],
            totals[family][2] - totals[family][1],
        )
        for family in SHARES
        if family in totals and totals[family][1]
    )


def _cost(folder: RunFolder) -> tuple[float | None, tuple[str, ...]]:
    """Return the cost of models and judges in dollars, and the models without a price."""
    # A person's rating has no cost.
    costs = folder.tables.read("verdicts", columns=["cost"])["cost"].to_pylist()
    judged = sum(cost or 0.0 for cost in costs)
    prices = _prices(folder)
    if not any(prices.values()):
        return judged or None, tuple(prices)
    columns = ["model", "error", "prompt_tokens", "completion_tokens", "cached_tokens"]
    table = folder.tables.read("calls", columns=columns).group_by(["model", "error"])
    total, unpriced = judged, set()
    for row in table.aggregate([(name, "sum") for name in columns[2:]]).to_pylist():
        price = prices.get(row["model"])
        if price is None:
            unpriced.add(row["model"])
        elif not row["error"]:
            prompt, completion, cached = (row[f"{name}_sum"] for name in columns[2:])
            total += token_cost(prompt, completion, cached, price)
    return total, tuple(sorted(unpriced))


def _prices(folder: RunFolder) -> dict[str, Price | None]:
    """Return the price of each model of a run. A study without the word `price` is not parsed."""
    try:
        if not _PRICED.search(folder.study_text()):
            return dict.fromkeys(map(str, folder.meta().get("models") or []))
        cells = folder.study().cells
    except (ImprovError, OSError, UnicodeDecodeError):
        return {}
    models = [
        model
        for _, _, scene in cells
        for model in (scene.model_of("author"), *(scene.model_of(c.name) for c in scene.cast))
    ]
    return {model.model: model.price for model in models}


def named(runs: Sequence[run_data.ViewedRun], wanted: str) -> list[run_data.ViewedRun]:
    """Return the runs whose id, study, scenes, models and status contain every word of `wanted`."""
    words = wanted.casefold().split()

    def holds(run: run_data.ViewedRun) -> bool:
        texts = [run.id, run.meta.get("study"), run.meta.get("status"), *run.models]
        whole = " ".join(map(str, [*texts, *(run.meta.get("scenes") or [])])).casefold()
        return all(word in whole for word in words)

    return [run for run in runs if holds(run)] if words else list(runs)
