"""Brings a run's folder into order before it is played on: what is torn or foreign is set aside.

Nothing is thrown away, and nothing of it is fatal: a trial that loses its rows is owed again, and
its calls are played from the journal.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from improv.errors import first_line
from improv.storage.journal import Journal, Journaled
from improv.storage.run_files import READING
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import PLAYED, SCHEMAS, conform


def mend(run: RunFolder, journal: Journaled) -> list[str]:
    """Set aside whatever is torn or foreign, and say what. Raises OSError.

    Nobody may be playing the run. A trial whose shard is set aside is owed again; its calls
    are in the journal still.
    """
    folder, told = run.local, []
    for file in [*folder.glob("*.tmp"), *folder.glob("*/*.tmp")]:
        if file.is_file():
            file.unlink(missing_ok=True)
    tables = [folder / f"{name}.parquet" for name in PLAYED]
    for file in sorted(folder.glob("*.parquet")):
        if not file.exists():
            continue  # it was set aside with another
        wrong = _check(run, file, file.stem, [file], content=False)
        told += wrong
        if wrong and file in tables and file.stem != "calls":
            # A trial without its turns must not count. Its calls are enough to play it anew.
            _journal_again(run)
            journal.refresh()
            _aside(run, tables, "")
    told += mend_shards(run)
    for file, lines in journal.strange.items():
        told.append(f"{file}: {lines} torn or foreign lines, which do not count")
    return told


def mend_shards(run: RunFolder) -> list[str]:
    """Set aside the shards that are torn or foreign, and say what. Raises OSError."""
    told: list[str] = []
    shards = [f for f in sorted((run.local / "shards").glob("*")) if f.is_file()]
    complete = set(run.tables.stems())
    for file in shards:
        stem, _, rest = file.name.partition(".")
        kind = rest.removesuffix(".parquet")
        if not file.exists():
            continue  # it was set aside with another of its shard
        if kind not in PLAYED or not rest.endswith(".parquet"):
            told.append(_aside(run, [file], "is no shard of a run"))
        elif stem not in complete:
            file.unlink(missing_ok=True)  # its trials were never said to be finished
        else:
            others = [f for f in shards if f.name.startswith(f"{stem}.") and f != file]
            told += _check(run, file, kind, [file, *others], content=True)
    return told


def _journal_again(run: RunFolder) -> None:
    """Write what the tables hold of calls into a journal, as it was when they were made."""
    rows = run.tables.read("trials", columns=["trial", "branch", "origin", "parent"]).to_pylist()
    redrawn = {
        (r["trial"], r["branch"]): r["parent"] for r in rows if r["origin"] == "regeneration"
    }
    journal = Journal(run.local / f"journal/mended-{uuid.uuid4().hex[:12]}.jsonl")
    try:
        for call in run.transcripts.all_calls():
            branch = redrawn.get((call.draw.trial, call.draw.branch), call.draw.branch)
            journal.append(replace(call, draw=replace(call.draw, branch=branch)), ())
    finally:
        journal.close()


def _check(
    run: RunFolder, file: Path, kind: str, with_it: list[Path], *, content: bool
) -> list[str]:
    try:
        if kind not in SCHEMAS:
            return [_aside(run, with_it, "is no table of a run")]
        if content:
            conform(pq.read_table(file, page_checksum_verification=True), kind)
        else:
            conform(pq.ParquetFile(file).schema_arrow.empty_table(), kind)
    except READING as e:
        return [_aside(run, with_it, f"cannot be read ({first_line(e)})")]
    return []


def _aside(run: RunFolder, files: Sequence[Path], why: str) -> str:
    aside = run.local / "aside"
    aside.mkdir(mode=0o700, exist_ok=True)
    for file in files:
        if file.exists():
            file.rename(aside / f"{uuid.uuid4().hex[:6]}-{file.name}")
    return f"{files[0]}: {why}; set aside in {aside}"
