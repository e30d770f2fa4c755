"""Run folders whose files somebody changed: bytes, values, columns; and the commands that read
them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from improv.models.budget import Budget
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.run_folder import RunFolder
from improv.study.loader import load
from improv.study.yaml_source import read_yaml
from tests.fuzz.bend import as_text, bend, bend_bytes, byte_bends, data_bends, encoded, odd
from tests.fuzz.outcome import Kind, Words, command
from tests.support.export import busy_run
from tests.support.run import chairs

OUTSIDE = "outside"
TABLES = ["trials", "turns", "calls", "blocks", "scores", "verdicts", "limits", "failures"]
_table = st.sampled_from(TABLES)
_file = st.one_of(
    _table.map(lambda name: f"{name}.parquet"),
    st.sampled_from(["run.json", "study.yaml", "checksums.json", "findings.json", "exposure.json"]),
    st.sampled_from(["journal/host.jsonl", "journal/verdicts.jsonl", "journal/study.yaml", "lock"]),
    st.sampled_from(["ratings/ana.jsonl", "holder.json", "shards/x-0.turns.parquet", "journal"]),
    st.sampled_from(["history.jsonl", "redone.jsonl"]),
)
_column = st.fixed_dictionaries(
    {
        "table": _table,
        "how": st.sampled_from(
            ["drop", "null", "value", "retype", "rows", "repeat", "mix", "name"]
        ),
        "column": st.integers(0, 40),
        "row": st.integers(0, 500),
        "type": st.sampled_from(
            ["string", "int64", "float64", "binary", "bool_", "list", "struct"]
        ),
        "value": odd,
    }
)
_bytes = st.fixed_dictionaries({"file": _file, "bytes": byte_bends})
_gone = st.fixed_dictionaries({"gone": _file})
_odd_file = st.fixed_dictionaries(
    {
        "file": _file,
        "as": st.sampled_from(
            ["folder", "pipe", "link out", "link to itself", "empty", "unreadable"]
        ),
    }
)
_swapped = st.fixed_dictionaries({"file": _file, "from": _file})
_data = st.fixed_dictionaries(
    {
        "data": st.sampled_from(
            ["run.json", "run.json", "study.yaml", "checksums.json", "findings.json"]
        ),
        "bends": data_bends,
    }
)
_lines = st.fixed_dictionaries(
    {
        "lines": st.sampled_from(["journal", "journal", "ratings/ana.jsonl", "history.jsonl"]),
        "line": st.integers(0, 300),
        "bends": data_bends,
    }
)
damages = st.lists(
    st.one_of(_column, _column, _bytes, _data, _data, _lines, _gone, _odd_file, _swapped),
    max_size=3,
)
COMMANDS: list[list[str]] = [
    *(["list"], ["show", "x/0"], ["show", "x/0", "--prompts", "--notes"], ["report", "x"]),
    *(["graph", "x"], ["graph", "x/0"], ["score", "x"], ["replay", "x/0"], ["validate", "x"]),
    *(["resume", "x", "--ray", "off", "--max-calls", "60"], ["show", "x"], ["report", "x", "y"]),
    ["branch", "x/0@2", "--ray", "off", "--max-calls", "30"],
    *(["export", "x", "--to", to] for to in ("jsonl", "hf", "inspect", "fountain", "otel")),
]
folders = st.fixed_dictionaries(
    {
        "base": st.sampled_from(["busy", "busy", "begun"]),
        "damages": damages,
        "command": st.integers(0, len(COMMANDS) - 1),
    }
)


def prepare(shared: Path) -> None:
    """Play a run with every kind of record, and one that stopped in its middle."""
    for name in ("busy", "begun"):
        (shared / name).mkdir(parents=True, exist_ok=True)
    folder = busy_run(shared / "busy")
    score(folder, judges=Judges("puppet"))
    Path(folder.local).rename(shared / "busy.run")
    setup = Setup(ray="off", budget=Budget(calls=10))
    study = load(chairs(shared / "begun", None))
    begun: RunFolder = run(study, runs=shared / "begun" / "runs", setup=setup).folder
    Path(begun.local).rename(shared / "begun.run")
    for run_folder in (shared / "busy.run", shared / "begun.run"):
        (run_folder / "ratings").mkdir(exist_ok=True)


def try_folder(words: Words, place: Path, shared: Path) -> None:
    runs = place / "runs"
    for name in ("x", "y"):
        shutil.copytree(shared / f"{words['base']}.run", runs / name)
    for damage in words["damages"]:
        damage_run(runs / "x", damage)
    chosen = list(COMMANDS[words["command"] % len(COMMANDS)])
    if chosen[0] in ("report", "export", "graph"):
        chosen += ["-o", str(place / "out")]
    try:
        command(*chosen, "--runs", str(runs))
    finally:
        for file in (place / OUTSIDE).glob("*"):
            assert file.read_text() == "{}", f"{file.name} was written through a link"


def damage_run(run_folder: Path, damage: Words) -> None:
    if "table" in damage:
        _damage_table(run_folder / f"{damage['table']}.parquet", damage)
    elif "gone" in damage:
        file = _existing(run_folder, damage["gone"])
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
    elif "as" in damage:
        _make_odd(_existing(run_folder, damage["file"]), damage["as"], run_folder)
    elif "from" in damage:
        source = _existing(run_folder, damage["from"])
        if source.is_file():
            _put(_existing(run_folder, damage["file"]), source.read_bytes())
    elif "data" in damage:
        file = run_folder / damage["data"]
        if file.is_file() and (data := _read(file)) is not None:
            _put(file, encoded(as_text(bend(data, damage["bends"]), "json"), "utf-8"))
    elif "lines" in damage:
        file = _existing(run_folder, damage["lines"])
        lines = file.read_bytes().split(b"\n") if file.is_file() else []
        if lines:
            at = damage["line"] % len(lines)
            old = json.loads(lines[at]) if lines[at] else []
            lines[at] = encoded(as_text(bend(old, damage["bends"]), "json"), "utf-8")
            _put(file, b"\n".join(lines))
    else:
        file = _existing(run_folder, damage["file"])
        old = file.read_bytes() if file.is_file() else b""
        _put(file, bend_bytes(old, damage["bytes"]))


def _make_odd(file: Path, kind: str, run_folder: Path) -> None:
    """Put something in the place of a file that is no ordinary file, or has nothing in it."""
    if file.parent.is_file():
        return  # An earlier damage has put a file in the place of the folder.
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)  # whoever opens it waits for a writer
    elif kind == "link out":
        outside = run_folder.parent.parent / OUTSIDE / file.name
        outside.parent.mkdir(exist_ok=True)
        outside.write_text("{}")
        file.symlink_to(outside)
    elif kind == "link to itself":
        file.symlink_to(file)
    else:
        file.write_bytes(b"")
        file.chmod(0o644 if kind == "empty" else 0)


def _existing(run_folder: Path, name: str) -> Path:
    """Return a file of the run; a host's journal has a name of its own."""
    journals = sorted((run_folder / "journal").glob("*.jsonl"))
    if name in ("journal", "journal/host.jsonl") and journals:
        return journals[0]
    return run_folder / name


def _put(file: Path, data: bytes) -> None:
    """Write a file, where there is none or an ordinary one."""
    ordinary = file.is_file() and not file.is_symlink()
    if (ordinary or not os.path.lexists(file)) and not file.parent.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _read(file: Path) -> Any:
    try:
        text = file.read_text()
        if file.suffix == ".yaml":
            return read_yaml(text, file.name, own=True).data
        return json.loads(text)
    except Exception:
        return None  # An earlier damage has left nothing to read.


def _damage_table(file: Path, damage: Words) -> None:
    if file.is_symlink():
        return
    try:
        table = pq.read_table(pa.BufferReader(file.read_bytes() if file.is_file() else b""))
    except Exception:
        return  # An earlier damage has left nothing to read.
    if not table.num_columns:
        return
    at, how = damage["column"] % table.num_columns, damage["how"]
    name, column = table.column_names[at], table.column(at)
    if how == "drop":
        table = table.remove_column(at)
    elif how == "null":
        table = table.set_column(at, name, pa.nulls(len(table), column.type))
    elif how == "name":
        table = table.rename_columns(
            [*table.column_names[:at], "trial", *table.column_names[at + 1 :]]
        )
    elif how == "rows":
        table = table.slice(0, damage["row"] % (len(table) + 1))
    elif how == "repeat":
        table = pa.concat_tables([table, table])
    elif how == "mix":
        table = table.take(pa.array(range(len(table))[::-1], pa.int64()))
    elif how == "retype":
        table = table.set_column(at, name, _retyped(column, damage["type"]))
    else:
        values = column.to_pylist()
        if values:
            values[damage["row"] % len(values)] = damage["value"]
        try:
            made = pa.array(values, column.type)
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
            return  # No file can hold this value in this column.
        table = table.set_column(at, name, made)
    pq.write_table(table, file)


def _retyped(column: pa.ChunkedArray, kind: str) -> pa.Array:
    values = column.to_pylist()
    if kind == "list":
        return pa.array([[str(v)] for v in values], pa.list_(pa.string()))
    if kind == "struct":
        return pa.array([{"a": str(v)} for v in values], pa.struct([("a", pa.string())]))
    if kind == "binary":
        return pa.array([str(v).encode() + b"\xff" for v in values], pa.binary())
    made = {"string": str, "int64": lambda v: len(str(v)), "float64": lambda v: 0.5}
    return pa.array([made.get(kind, bool)(v) for v in values], getattr(pa, kind)())


FOLDER = Kind(
    "run", "run folders with changed files, and 16 commands", folders, try_folder, prepare, quick=8
)
