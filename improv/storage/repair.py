"""Repairs a run's folder before a run is resumed: moves torn and foreign files to aside/.

No data is thrown away, and no damage is fatal: a trial that loses its rows is played again, from
the calls in its journal.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from improv.errors import first_line
from improv.folder import Folder
from improv.storage.journal import Journal, Journaled
from improv.storage.run_files import READ_ERRORS
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, TRIAL_TABLES, conform


def repair(run: RunFolder, journal: Journaled) -> list[str]:
    """Move torn and foreign files to aside/; return a message for each. Raises OSError.

    No process may be playing the run. A trial whose shard is moved is played again, from its calls
    in the journal.
    """
    folder, messages = run.local, []
    _remove_unfinished(run.files.folder)
    tables = [folder / f"{name}.parquet" for name in TRIAL_TABLES]
    for file in sorted(folder.glob("*.parquet")):
        if not file.exists():
            continue  # it was moved together with another file
        wrong = _check(run, file, file.stem, [file], content=False)
        messages += wrong
        if wrong and file in tables and file.stem != "calls":
            # A trial without its turns must not count. Its calls are enough to play it again.
            _restore_journal(run)
            journal.refresh()
            _move_aside(run, tables, "")
    messages += repair_shards(run)
    for file, lines in journal.strange.items():
        messages.append(f"{file}: {lines} torn or foreign lines, which do not count")
    return messages


def repair_shards(run: RunFolder) -> list[str]:
    """Move torn and foreign shards to aside/; return a message for each. Raises OSError."""
    messages: list[str] = []
    home = run.files.folder.within("shards")
    shards = [home.path / entry.name for entry in home.entries() if entry.is_file]
    complete = set(run.tables.stems())
    for file in shards:
        stem, _, rest = file.name.partition(".")
        kind = rest.removesuffix(".parquet")
        if not file.exists():
            continue  # it was moved together with another file
        if kind not in TRIAL_TABLES or not rest.endswith(".parquet"):
            messages.append(_move_aside(run, [file], "is no shard of a run"))
        elif stem not in complete:
            home.remove(file.name)  # the host died while it wrote this shard
        else:
            others = [f for f in shards if f.name.startswith(f"{stem}.") and f != file]
            messages += _check(run, file, kind, [file, *others], content=True)
    return messages


def _restore_journal(run: RunFolder) -> None:
    """Write the calls in the tables back into a journal."""
    rows = run.tables.read("trials", columns=["trial", "branch", "origin", "parent"]).to_pylist()
    redrawn = {
        (r["trial"], r["branch"]): r["parent"] for r in rows if r["origin"] == "regeneration"
    }
    journal = Journal(run.journals, f"repaired-{uuid.uuid4().hex[:12]}.jsonl")
    try:
        for call in run.transcripts.all_calls():
            branch = redrawn.get((call.draw.trial, call.draw.branch), call.draw.branch)
            journal.append(replace(call, draw=replace(call.draw, branch=branch)), ())
    finally:
        journal.close()


def _check(run: RunFolder, file: Path, kind: str, files: list[Path], *, content: bool) -> list[str]:
    try:
        if kind not in SCHEMAS:
            return [_move_aside(run, files, "is no table of a run")]
        if content:
            conform(pq.read_table(file, page_checksum_verification=True), kind)
        else:
            conform(pq.ParquetFile(file).schema_arrow.empty_table(), kind)
    except READ_ERRORS as e:
        return [_move_aside(run, files, f"cannot be read ({first_line(e)})")]
    return []


def _move_aside(run: RunFolder, files: Sequence[Path], why: str) -> str:
    folder = run.files.folder
    folder.make("aside")
    for file in files:
        name = file.relative_to(folder.path).as_posix()
        if folder.is_file(name):
            folder.rename(name, f"aside/{uuid.uuid4().hex[:6]}-{file.name}")
    return f"{files[0]}: {why}; set aside in {folder.path / 'aside'}"


def _remove_unfinished(folder: Folder) -> None:
    """Remove the files that a process was writing when it was killed."""
    for entry in folder.entries():
        inner = folder.within(entry.name)
        names = [e.name for e in inner.entries() if e.is_file] if entry.is_folder else []
        for name in [name for name in names if name.endswith(".tmp")]:
            inner.remove(name)
        if entry.is_file and entry.name.endswith(".tmp"):
            folder.remove(entry.name)
