"""Reads a run's folder for an analysis and its report: whole columns, never row by row."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from improv import findings
from improv.analysis import Analysis, decided, pictured
from improv.budget import dollars
from improv.errors import ImprovError
from improv.findings import Findings
from improv.graphing import by_condition
from improv.judged import Judged, judged
from improv.plan import Plan
from improv.record import Json
from improv.report.material import Material
from improv.scene import Price
from improv.shown import read_exposure
from improv.store import RunFolder
from improv.study import Study
from improv.tables import SCHEMAS
from improv.unit import Frame, Tables, tables

TRIALS = [
    "trial",
    "branch",
    "index",
    "origin",
    "scene",
    "condition",
    "levels",
    "block",
    "arm",
    "status",
]
SCORES = ["trial", "branch", "turn", "character", "measure", "version", "value"]
TEXTS = ["trial", "branch", "character", "measure", "version"]
VERDICTS = [
    "trial",
    "branch",
    "turn",
    "character",
    "measure",
    "judge",
    "item",
    "value",
    "truth",
    "error",
]
CALLS = [
    "model",
    "endpoint",
    "latency",
    "error",
    "retried",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
]


def read_tables(folder: RunFolder, study: Study | None = None, *, moves: bool = True) -> Tables:
    """Return the tables that an analysis needs; recovery alone needs the `moves` of authors.
    Raises RunError."""
    study = study or folder.study()
    turns = _moves(folder) if moves else SCHEMAS["turns"].empty_table()
    return tables(
        _with_levels(folder.table("trials", columns=TRIALS)),
        # Columns of one kind are not gathered into one array: that is a copy of everything.
        folder.coded("scores", SCORES, TEXTS).to_pandas(split_blocks=True),
        turns.to_pandas(),
        [c.name for c in study.conditions],
    )


def _with_levels(trials: pa.Table) -> Frame:
    """Return the trials with their levels as dicts, one for all trials of a condition: unpacked
    trial by trial they would take longer than all the rest."""
    lists = trials["levels"].combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    pairs = lists.flatten()
    said = pc.binary_join_element_wise(pairs.field("name"), pairs.field("value"), "\x1f")
    offsets = pc.subtract(lists.offsets, lists.offsets[0])
    keys = pc.binary_join(pa.ListArray.from_arrays(offsets, said), "\x1e").dictionary_encode()
    made = [
        dict(pair.split("\x1f", 1) for pair in key.split("\x1e")) if key else {}
        for key in keys.dictionary.to_pylist()
    ]
    frame = trials.drop_columns(["levels"]).to_pandas()
    frame["levels"] = [made[i] for i in keys.indices.to_pylist()]
    return frame


def _moves(folder: RunFolder) -> pa.Table:
    """Return the turns before which somebody did something."""
    turns = folder.table("turns", columns=["trial", "branch", "turn", "acts"])
    # Few turns have an act, and lists are slow to bring over.
    return turns.filter(pc.greater(pc.list_value_length(turns["acts"]), 0))


@dataclass(frozen=True)
class Weighed:
    """A run's study, its tables, its judges, and what is decided by a plan.

    `analysis` has no pictures yet: `Weighed.whole` adds them.
    """

    study: Study
    given: Tables
    judges: tuple[Judged, ...]
    analysis: Analysis

    def whole(self) -> Analysis:
        """Return the analysis with how scenes went turn by turn, and what nobody planned."""
        return pictured(self.analysis, self.given, seed=self.study.seed, judges=self.judges)


def weigh(folder: RunFolder, plan: Plan | None = None, study: Study | None = None) -> Weighed:
    """Decide what a run's own plan, or another, asks. Raises as `appraise`."""
    study = study or folder.study()
    plan = plan or study.plan
    given = read_tables(folder, study, moves=plan is not None and plan.outcome.of == "recovered")
    verdicts = folder.table("verdicts", columns=VERDICTS)
    judges = tuple(judged(verdicts.to_pandas(), given.trials, seed=study.seed))
    planned = plan is not None and plan.hash == folder.meta().get("analysis")
    found = decided(plan, given, seed=study.seed, planned=planned, judges=judges)
    return Weighed(study, given, judges, found)


def weigh_beforehand(folder: RunFolder) -> None:
    """Weigh a run and keep what was found, so that whoever looks first need not wait for it.

    A run that cannot be weighed is left to who looks: there is a place to say why.
    """
    with contextlib.suppress(ImprovError, ValueError):
        before = findings.state(folder)
        of = weigh(folder)
        findings.keep(folder, Findings(of.whole(), of.judges), before)


def appraise(folder: RunFolder, plan: Plan | None = None) -> Material:
    """Analyse a run, by its study's own plan or by another; return all that a report says.

    Raises RunError, and ValueError where a plan does not fit the run.
    """
    weighed = weigh(folder, plan)
    study, meta = weighed.study, folder.meta()
    calls = folder.table("calls", columns=CALLS).to_pylist()
    return Material(
        run=folder.id,
        meta=meta,
        question=study.question,
        about=study.about,
        trials=folder.table("trials").to_pylist(),
        calls=calls,
        limits=folder.table("limits").to_pylist(),
        analysis=weighed.whole(),
        exposure=read_exposure(folder, study),
        judges=weighed.judges,
        costs=_costs(study, calls),
        lengths=_rows(meta.get("lengths")),
        talk=by_condition(folder),
    )


def _rows(found: object) -> list[Json]:
    keys = {"scene", "context", "tokens", "matches", "of", "apart", "by"}
    rows = found if isinstance(found, list) else []
    return [row for row in rows if isinstance(row, dict) and keys <= set(row)]


def _costs(study: Study, calls: Sequence[Json]) -> dict[str, float | None]:
    """Return model → dollars, None where a model has no price."""
    prices: dict[str, Price | None] = {}
    for _, _, scene in study.cells:
        for model in [scene.model_of("author"), *(scene.model_of(c.name) for c in scene.cast)]:
            prices[model.model] = model.price
    costs: dict[str, float | None] = {}
    for call in calls:
        price = prices.get(call["model"])
        if price is not None and not call["error"]:
            counts = (call["prompt_tokens"], call["completion_tokens"], call["cached_tokens"])
            before = costs.get(call["model"]) or 0.0
            costs[call["model"]] = before + dollars(*counts, price)
    return costs
