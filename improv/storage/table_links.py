"""Checks that the tables of a run belong together: each row has its trial, no row is missing.

A table that is missing, or comes from another run, would otherwise look like a run in which nobody
spoke. The functions return what is wrong as a sentence, or "".
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from improv.records import MAIN, Json

OWNED_TABLES = ("turns", "calls", "scores")
"""The tables whose rows belong to a row of the table of trials."""
OWNER_COLUMNS = ("trial", "branch", "origin", "parent", "turns", "calls")
"""The columns of the table of trials that the checks need."""
_SPOKEN = ("line", "silence")


def link_columns(name: str) -> list[str]:
    """Return the columns of a table that the checks need."""
    columns = ["trial", "branch"] if name in OWNED_TABLES else []
    return [*columns, "kind"] if name == "turns" else columns


def stranger(table: pa.Table, owners: set[tuple[str, str]]) -> str:
    """Return what is wrong with the owners of the rows: one that the table of trials lacks."""
    for trial, branch in _pairs(table):
        if (trial, branch) not in owners:
            who = f"trial {trial}" if branch == MAIN else f"branch {branch} of trial {trial}"
            return f"has rows of {who}, which the table of trials does not have"
    return ""


def missing_rows(name: str, table: pa.Table, trials: Sequence[Json]) -> str:
    """Return what is missing in the whole rows of `trials` in a table of turns or calls."""
    if name == "calls":
        return missing_calls(len(table), trials)
    if name == "turns":
        # A branch counts the turns of its parent too, so only whole scenes can be compared.
        spoken = sum(row["turns"] for row in trials if row["branch"] == MAIN)
        own = (pc.field("branch") == MAIN) & pc.field("kind").isin(_SPOKEN)
        there = len(table.filter(own))
        if spoken != there:
            return f"has {there:,} lines where its trials have {spoken:,} turns"
    return ""


def missing_calls(there: int, trials: Sequence[Json]) -> str:
    """Return what is wrong with the number of calls that are there, for the rows `trials`."""
    made = sum(row["calls"] for row in trials)
    return f"has {there:,} rows where its trials made {made:,} calls" if made != there else ""


def twins_or_circles(trials: pa.Table) -> str:
    """Return what is wrong with the keys of the table of trials: a row that is there twice, or
    branches that are each other's parents."""
    keys = trials.select(["trial", "branch"]).group_by(["trial", "branch"]).aggregate([])
    if len(keys) != len(trials):
        return "has two rows for one trial or branch"
    rows = trials.select(["trial", "branch", "parent"]).filter(pc.field("branch") != MAIN)
    parents = {(r["trial"], r["branch"]): r["parent"] for r in rows.to_pylist()}
    for trial, branch in parents:
        seen = {branch}
        at = parents[trial, branch]
        while at != MAIN and (trial, at) in parents:
            if at in seen:
                return f"branch {branch} of trial {trial} is a parent of itself"
            seen.add(at)
            at = parents[trial, at]
    return ""


def _pairs(table: pa.Table) -> list[tuple[str, str]]:
    """Return the different trials and branches in a table."""
    keys = (
        table.select(["trial", "branch"])
        .unify_dictionaries()
        .group_by(["trial", "branch"])
        .aggregate([])
    )
    return list(zip(keys["trial"].to_pylist(), keys["branch"].to_pylist(), strict=True))
