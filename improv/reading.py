"""Reads a run's folder for an analysis: whole columns, never row by row."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from improv.ledger import Exposure, exposure
from improv.record import Block
from improv.store import RunFolder
from improv.study import Study
from improv.unit import Tables, tables

TRIALS = [
    "trial", "branch", "origin", "scene", "condition", "levels", "block", "arm", "status",
]  # fmt: skip
SCORES = ["trial", "branch", "turn", "character", "measure", "version", "value"]
PLACES = ["trial", "branch", "origin", "scene", "condition", "parent", "edit"]


def read_tables(folder: RunFolder) -> Tables:
    """Return the tables that an analysis needs. Raises RunError."""
    turns = folder.table("turns", columns=["trial", "branch", "turn", "acts"])
    # Few turns have an act, and lists are slow to bring over.
    turns = turns.filter(pc.greater(pc.list_value_length(turns["acts"]), 0))
    return tables(
        folder.table("trials", columns=TRIALS).to_pandas(),
        folder.table("scores", columns=SCORES).to_pandas(),
        turns.to_pandas(),
    )


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
