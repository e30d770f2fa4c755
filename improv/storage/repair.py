"""Repairs a run's folder before a run is resumed: moves torn and foreign files to aside/.

No data is thrown away, and no damage is fatal: a trial that loses its rows is played again, from
the calls in its journal. A table that is missing counts as a torn one.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from improv.errors import ImprovError, RunError
from improv.folder import Folder
from improv.records import Json
from improv.storage.journal import Journal, Journaled
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, TRIAL_TABLES, call_from_row
from improv.storage.table_file import TableFile
from improv.study.branch import planned_branches
from improv.study.trial import plan


def tidy(run: RunFolder, journal: Journaled) -> list[str]:
    """Move torn and foreign files to aside/, but for the tables of trials; return a message for
    each. Raises OSError.

    No process may be playing the run. A trial whose shard is moved is played again, from its calls
    in the journal.
    """
    folder, messages = run.local, []
    _remove_unfinished(run.files.folder)
    run.tables.finish_owing_again()
    for file in sorted(folder.glob("*.parquet")):
        if file.stem not in TRIAL_TABLES:
            messages += _check(run, file, file.stem, [file])
    messages += repair_shards(run)
    for file, lines in journal.strange.items():
        messages.append(f"{file}: {lines} torn or foreign lines, which do not count")
    return messages


def find_damage(run: RunFolder) -> dict[str, str]:
    """Return the tables of trials that are missing, damaged or of another run: name -> what is
    wrong. Reads them whole. The shards must be whole.

    A process that is killed while it joins the first shards leaves some tables unwritten. Then
    nothing is missing, because the shards hold it.
    """
    there = [name for name in TRIAL_TABLES if run.files.exists(f"{name}.parquet")]
    damage = {
        name: f"{run.path}/{name}.parquet: is missing"
        for name in TRIAL_TABLES
        if there and name not in there
    }
    with contextlib.suppress(RunError, OSError):
        if damage and run.tables.in_shards(there):
            damage.clear()
    for name in there:
        try:
            TableFile(run.fs, f"{run.path}/{name}.parquet", name).check()
        except (RunError, OSError) as e:
            damage[name] = _without_remedy(e)
    if not damage and there:
        for name in ("trials", "turns", "scores", "calls"):
            try:
                run.tables.read(name, columns=["trial", "branch", *_PARENT.get(name, ())])
            except RunError as e:
                damage[name] = _without_remedy(e)
        if {"turns", "calls"} <= set(damage):
            # Two tables contradict the trials, so those are the odd ones.
            del damage["calls"]
    return damage


def heal(run: RunFolder, journal: Journaled, damage: dict[str, str]) -> list[str]:
    """Set the damaged tables aside, so that their trials are played again from their calls; return
    a message for each. Raises OSError.

    No process may be playing the run. If the calls alone are damaged, the trials still count.
    """
    tables = [run.local / f"{name}.parquet" for name in TRIAL_TABLES]
    messages = list(damage.values())
    if set(damage) <= {"calls"}:
        lost = [file for file in tables if file.stem in damage and file.exists()]
        messages += [_move_aside(run, lost, "the prompts and replies are lost")] if lost else []
        if damage:
            messages.append(
                f"{run.path}: nothing can make the calls again; the scenes and their scores are "
                "whole, and cannot be replayed or branched"
            )
        return messages
    # A trial without its turns must not count. Its calls are enough to play it again.
    run.make_parts()
    calls = _restore_journal(run)
    journal.refresh()
    _move_aside(run, tables, "")
    aside = run.local / "aside"
    messages.append(
        f"{run.path}: the tables are made again from {calls:,} calls; what was there is set aside "
        f"in {aside}"
    )
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
            messages += _check(run, file, kind, [file, *others])
    return messages


def owe_again(run: RunFolder, failed: Sequence[Json], journal: Journaled) -> None:
    """Move rows of trials and branches to the table of failures, so that they are played again.
    Raises OSError.

    Their calls go back into the journal first. Those that succeeded are not made again.
    """
    run.tables.compact(finished=False)
    run.make_parts()
    _restore_journal(run, {row["trial"] for row in failed})
    run.tables.owe_again(failed)
    journal.refresh()


def _restore_journal(run: RunFolder, trials: Collection[str] | None = None) -> int:
    """Write the calls in the tables back into a journal, all or those of some trials, as many as
    can be read; return their number."""
    redrawn = _redrawn(run, planned=trials is None)
    journal = Journal(run.journals, f"repaired-{uuid.uuid4().hex[:12]}.jsonl")
    count = 0
    try:
        file = TableFile(run.fs, f"{run.path}/calls.parquet", "calls")
        with contextlib.suppress(RunError, FileNotFoundError):
            for piece in file.batches(SCHEMAS["calls"].names):
                for row in piece.to_pylist():
                    call = call_from_row(row)
                    draw = call.draw
                    if trials is not None and draw.trial not in trials:
                        continue
                    branch = redrawn.get((draw.trial, draw.branch), draw.branch)
                    journal.append(replace(call, draw=replace(draw, branch=branch)), ())
                    count += 1
    finally:
        journal.close()
    return count


def _redrawn(run: RunFolder, *, planned: bool) -> dict[tuple[str, str], str]:
    """Return the parent of each regeneration, whose calls count as its parent's: as the trials say,
    or else, with `planned`, the study and run.json."""
    parents: dict[tuple[str, str], str] = {}
    with contextlib.suppress(ImprovError):
        study = run.study() if planned else None
        wishes = (
            [b for trial in plan(study) for b in planned_branches(study, trial)]
            if study is not None
            else []
        )
        for b in [*wishes, *run.asked_branches()]:
            if b.origin == "regeneration":
                parents[b.trial, b.id] = b.parent
    with contextlib.suppress(RunError, OSError):
        columns = ["trial", "branch", "origin", "parent"]
        file = TableFile(run.fs, f"{run.path}/trials.parquet", "trials")
        for row in file.read(columns).to_pylist():
            if row["origin"] == "regeneration":
                parents[row["trial"], row["branch"]] = row["parent"]
    return parents


def _check(run: RunFolder, file: Path, kind: str, files: list[Path]) -> list[str]:
    if kind not in SCHEMAS:
        return [_move_aside(run, files, "is no table of a run")]
    try:
        TableFile(run.fs, str(file), kind).check()
    except (RunError, OSError) as e:
        return [_move_aside(run, files, _without_remedy(e).removeprefix(f"{file}: "))]
    return []


_PARENT = {"trials": ("parent",)}
"""The columns besides the key that `RunTables.read` needs to check a table."""


def _without_remedy(error: Exception) -> str:
    """Return a message about a damaged table without what to do, which is being done."""
    return str(error).rpartition("; ")[0] or str(error)


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
