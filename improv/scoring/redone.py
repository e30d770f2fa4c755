"""Which verdict on a line counts: the first. And where those go that were asked for again.

Verdicts that a `redo` brings are appended to redone.jsonl. No analysis reads them; the run's
history says how many there are and how many of them differ from the first ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from improv.records import Json
from improv.storage.jsonl import JsonLines
from improv.storage.run_folder import RunFolder

REDONE_FILE = "redone.jsonl"

_Key = tuple[str, str]


def known_verdicts(rows: Iterable[Json]) -> dict[_Key, Json]:
    """Return the verdicts that need not be asked for again: the first of each that succeeded."""
    return {key: row for key, row in first_verdicts(rows).items() if not row["error"]}


def first_verdicts(rows: Iterable[Json]) -> dict[_Key, Json]:
    """Return the first verdict of each judge on each item. A failed one is replaced by the first
    that succeeds, and by no other."""
    first: dict[_Key, Json] = {}
    for row in rows:
        key = (row["item"], row["judge"])
        if key not in first or (first[key]["error"] and not row["error"]):
            first[key] = row
    return first


def keep_redone(folder: RunFolder, table: Sequence[Json], fresh: Sequence[Json]) -> Json:
    """Append the fresh verdicts on what the table has verdicts on to the file of redone ones.
    Return how many there are, and how many differ; nothing where there are none. Raises OSError."""
    known = known_verdicts(table)
    pairs = [
        (known[key], row)
        for row in fresh
        if not row["error"] and (key := (row["item"], row["judge"])) in known
    ]
    again = [(first, row) for first, row in pairs if first["started"] != row["started"]]
    if not again:
        return {}
    with JsonLines(folder.files.folder, REDONE_FILE) as lines:
        lines.append(*(row for _, row in again))
    differ = sum(first["value"] != row["value"] for first, row in again)
    return {"redone": len(again), "differ": differ}
