"""Reads a run's folder for an analysis and its report: whole columns, never row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from improv.analysis import analyse
from improv.budget import dollars
from improv.graphing import by_condition
from improv.judged import judged
from improv.ledger import Exposure, exposure
from improv.plan import Plan
from improv.record import Block, Json
from improv.report.material import Material
from improv.scene import Price
from improv.store import RunFolder
from improv.study import Study
from improv.unit import Tables, tables

TRIALS = [
    "trial", "branch", "index", "origin", "scene", "condition", "levels", "block", "arm", "status",
]  # fmt: skip
SCORES = ["trial", "branch", "turn", "character", "measure", "version", "value"]
TEXTS = ["trial", "branch", "character", "measure", "version"]
VERDICTS = [
    "trial", "branch", "turn", "character", "measure", "judge", "item", "value", "truth", "error",
]  # fmt: skip
CALLS = [
    "model", "endpoint", "latency", "error", "retried", "prompt_tokens", "completion_tokens",
    "cached_tokens",
]  # fmt: skip
PLACES = ["trial", "branch", "origin", "scene", "condition", "parent", "edit"]


def read_tables(folder: RunFolder, study: Study | None = None) -> Tables:
    """Return the tables that an analysis needs. Raises RunError."""
    study = study or folder.study()
    return tables(
        folder.table("trials", columns=TRIALS).to_pandas(),
        folder.coded("scores", SCORES, TEXTS).to_pandas(),
        _moves(folder).to_pandas(),
        [c.name for c in study.conditions],
    )


def _moves(folder: RunFolder) -> pa.Table:
    """Return the turns before which somebody did something."""
    turns = folder.table("turns", columns=["trial", "branch", "turn", "acts"])
    # Few turns have an act, and lists are slow to bring over.
    return turns.filter(pc.greater(pc.list_value_length(turns["acts"]), 0))


def appraise(folder: RunFolder, plan: Plan | None = None) -> Material:
    """Analyse a run, by its study's own plan or by another; return all that a report says.

    Raises RunError, and ValueError where a plan does not fit the run.
    """
    meta, study = folder.meta(), folder.study()
    plan = plan or study.plan
    given = read_tables(folder)
    calls = folder.table("calls", columns=CALLS).to_pylist()
    judges = judged(folder.table("verdicts").to_pandas(), given.trials, seed=study.seed)
    planned = plan is not None and plan.hash == meta.get("analysis")
    return Material(
        run=folder.id,
        meta=meta,
        question=study.question,
        about=study.about,
        trials=folder.table("trials").to_pylist(),
        calls=calls,
        limits=folder.table("limits").to_pylist(),
        analysis=analyse(plan, given, seed=study.seed, planned=planned, judges=judges),
        exposure=read_exposure(folder, study),
        judges=judges,
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


def read_exposure(folder: RunFolder, study: Study) -> Exposure:
    """Check from the run's calls that no arm saw another arm's text. Raises RunError."""
    calls = folder.table("calls", columns=["trial", "branch", "role", "blocks"])
    blocks = {row["id"]: Block(**row) for row in folder.table("blocks").to_pylist()}
    trials = folder.table("trials", columns=PLACES).to_pylist()
    return exposure(study, trials, _shown(calls), blocks)


def _shown(calls: pa.Table) -> dict[tuple[str, str, str], set[str]]:
    """Return (trial, branch, role) → ids of the blocks that its calls listed.

    Prompts only grow, so a scene's calls list the same blocks again and again: pairs of role and
    block are made distinct as numbers, before any becomes a Python string.
    """
    if not calls.num_rows:
        return {}
    lists = calls["blocks"].combine_chunks()
    owners = pc.list_parent_indices(lists).to_numpy()
    ids = pc.list_flatten(lists).dictionary_encode()
    places = pc.binary_join_element_wise(
        calls["trial"], calls["branch"], calls["role"], "\x1f"
    ).combine_chunks().dictionary_encode()  # fmt: skip
    roles = places.indices.to_numpy()[owners].astype(np.int64)
    pairs = np.unique(roles * len(ids.dictionary) + ids.indices.to_numpy())
    names = [tuple(p.split("\x1f")) for p in places.dictionary.to_pylist()]
    texts = ids.dictionary.to_pylist()
    found: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for pair in pairs.tolist():
        role, block = divmod(pair, len(texts))
        found[names[role]].add(texts[block])
    return dict(found)
