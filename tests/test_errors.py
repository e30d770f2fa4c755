"""The kinds of failure, and the errors of runs that had kind and text in one."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from improv.errors import ErrorKind, error_line, kind_of, read_error_line
from improv.folder import Folder
from improv.records import MAIN, Call, Draw
from improv.storage.journal import Journal, Journaled
from improv.storage.schemas import SCHEMAS, records_table
from tests.support.call import made_call
from tests.support.run import whole_table
from tests.support.ui import bare_run, keep

LATE = "http://127.0.0.1:1/v1 did not answer within 120 s"
NEWER = ("error_kind", "estimated", "reasoning", "reasoning_tokens", "faults", "cuts")
"""The fields of a call that runs of the first version lack."""
OLD = [name for name in SCHEMAS["calls"].names if name not in NEWER]


def failed(turn: int, kind: ErrorKind, text: str) -> Call:
    draw = Draw("t", MAIN, turn, "Bo", "line")
    return made_call(draw, error_kind=kind, error=text, retried=("429",))


CALLS = [
    made_call(Draw("t", MAIN, 1, "Bo", "line")),
    failed(2, ErrorKind.TIMEOUT, LATE),
    failed(3, ErrorKind("status 400"), "e answered 400: no such field: x"),
]


def test_a_status_is_a_kind_of_its_own() -> None:
    kind = ErrorKind("status 418")
    assert kind == "status 418" and kind in {"status 418"} and f"{kind}" == "status 418"
    assert pickle.loads(pickle.dumps(kind)) == kind
    assert orjson.loads(orjson.dumps([kind, ErrorKind.KEY])) == ["status 418", "key"]
    assert kind_of("status 418") == kind and kind_of("a later version's") is ErrorKind.UNKNOWN
    assert not ErrorKind.NONE


@pytest.mark.parametrize("call", CALLS, ids=["none", "timeout", "status"])
def test_the_line_of_an_error_is_read_as_it_was_written(call: Call) -> None:
    assert read_error_line(call.error_line) == (call.error_kind, call.error)


@pytest.mark.parametrize("line", ["odd: what is that", "no colon", ": x", "Key: capital"])
def test_what_is_no_line_of_an_error_loses_nothing(line: str) -> None:
    kind, text = read_error_line(line)
    assert (kind, text) == (ErrorKind.UNKNOWN, line)
    assert error_line("", line) == line


def test_the_journal_of_an_old_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    journal = Journal(Folder(path.parent), path.name)
    for call in CALLS:
        journal.append(call, ())
    journal.close()
    assert list(Journaled(Folder(tmp_path)).refresh().calls()) == CALLS
    old = []
    for line, call in zip(path.read_bytes().splitlines(), CALLS, strict=True):
        identity, blocks, rest = orjson.loads(line)
        assert rest[-len(NEWER) :] == [call.error_kind, call.estimated, "", None, [], []]
        del rest[-len(NEWER) :]
        at = [f.name for f in fields(Call) if f.name not in ("draw", "blocks", *NEWER)]
        rest[at.index("error")] = call.error_line
        old.append(orjson.dumps([identity, blocks, rest]) + b"\n")
    path.write_bytes(b"".join(old))
    assert list(Journaled(Folder(tmp_path)).refresh().calls()) == CALLS


@pytest.mark.parametrize("columns", [None, ["error"], ["error_kind"], ["role", "error"]])
def test_the_table_of_an_old_run_is_read(tmp_path: Path, columns: list[str] | None) -> None:
    folder = bare_run(tmp_path, "old")
    keep(folder, [], calls=CALLS)
    folder.tables.compact(finished=True)
    trial = {"trial": "t", "branch": "main", "origin": "main", "status": "done"}
    folder.tables.write("trials", whole_table("trials", [trial | {"calls": len(CALLS)}]))
    new = folder.tables.read("calls", columns=columns)
    assert new.select([c for c in new.schema.names if c[:5] == "error"]).to_pylist() == [
        {c: getattr(call, c) for c in new.schema.names if c[:5] == "error"} for call in CALLS
    ]
    file = folder.local / "calls.parquet"
    whole = pq.read_table(file).select(OLD)
    lines = pa.array([call.error_line for call in CALLS])
    pq.write_table(whole.set_column(OLD.index("error"), "error", lines), file)
    assert folder.tables.read("calls", columns=columns) == new
    names = columns or SCHEMAS["calls"].names
    assert pa.concat_tables(folder.tables.read_batches("calls", names)) == new.select(names)


def test_a_call_in_a_table_has_its_kind() -> None:
    assert records_table("calls", CALLS)["error_kind"].to_pylist() == ["", "timeout", "status 400"]
