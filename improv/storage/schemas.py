"""The schemas of a run's tables: columns, sort order, and the conversion of records to rows.

`run_tables` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter

import pyarrow as pa

from improv.errors import ErrorKind, kind_of, read_error_line
from improv.records import Act, Block, Call, Draw, Failure, Json, Score, Turn, known_faults
from improv.study.trial import Trial

_TEXT = pa.string()
_TEXTS = pa.list_(_TEXT)
_PAIRS = pa.list_(pa.struct([("name", _TEXT), ("value", _TEXT)]))
_IDENTITY = [("trial", _TEXT), ("branch", _TEXT)]

SCHEMAS: dict[str, pa.Schema] = {
    "trials": pa.schema(
        [
            *_IDENTITY,
            ("index", pa.int32()),
            ("scene", _TEXT),
            ("title", _TEXT),
            ("condition", _TEXT),
            ("levels", _PAIRS),
            ("block", _TEXT),
            ("replicate", pa.int32()),
            ("origin", _TEXT),
            ("parent", _TEXT),
            ("fork", pa.int32()),
            ("arm", _TEXT),
            ("edit", _TEXT),
            ("attempt", pa.int32()),
            ("status", _TEXT),
            ("failure", _TEXT),
            ("failure_kind", _TEXT),
            ("failure_turn", pa.int32()),
            ("turns", pa.int32()),
            ("calls", pa.int32()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("cached_tokens", pa.int64()),
            ("retries", pa.int32()),
            ("seconds", pa.float64()),
        ]
    ),
    "turns": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("seq", pa.int32()),
            ("kind", _TEXT),
            ("speaker", _TEXT),
            ("text", _TEXT),
            ("raw", _TEXT),
            ("cuts", _TEXTS),
            ("addressed", _TEXT),
            ("by", _TEXT),
            ("aside", pa.bool_()),
            ("heard_by", _TEXTS),
            ("acts", pa.list_(pa.struct([("kind", _TEXT), ("to", _TEXT), ("text", _TEXT)]))),
        ]
    ),
    "calls": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("role", _TEXT),
            ("purpose", _TEXT),
            ("attempt", pa.int32()),
            ("model", _TEXT),
            ("endpoint", _TEXT),
            ("mode", _TEXT),
            ("params", _TEXT),
            ("blocks", _TEXTS),
            ("reply", _TEXT),
            ("finish_reason", _TEXT),
            ("prompt_tokens", pa.int32()),
            ("completion_tokens", pa.int32()),
            ("cached_tokens", pa.int32()),
            ("started", pa.float64()),
            ("latency", pa.float64()),
            ("waited", pa.float64()),
            ("retries", pa.int32()),
            ("retried", _TEXTS),
            ("served", _TEXT),
            ("error_kind", _TEXT),
            ("error", _TEXT),
            ("estimated", pa.bool_()),
            ("reasoning", _TEXT),
            ("reasoning_tokens", pa.int32()),
            ("faults", _TEXTS),
            ("cuts", _TEXTS),
        ]
    ),
    "blocks": pa.schema([("id", _TEXT), ("kind", _TEXT), ("text", _TEXT)]),
    "scores": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("character", _TEXT),
            ("measure", _TEXT),
            ("version", _TEXT),
            ("value", pa.float64()),
            ("evidence", _TEXT),
        ]
    ),
    "verdicts": pa.schema(
        [
            *_IDENTITY,
            ("turn", pa.int32()),
            ("character", _TEXT),
            ("measure", _TEXT),
            ("version", _TEXT),
            ("judge", _TEXT),
            ("endpoint", _TEXT),
            ("item", _TEXT),
            ("prompt", _TEXT),
            ("options", _TEXTS),
            ("reply", _TEXT),
            ("answer", _TEXT),
            ("value", pa.float64()),
            ("truth", pa.float64()),
            ("evidence", _TEXT),
            ("error", _TEXT),
            ("prompt_tokens", pa.int32()),
            ("completion_tokens", pa.int32()),
            ("cost", pa.float64()),
            ("started", pa.float64()),
            ("latency", pa.float64()),
            ("cuts", _TEXTS),
        ]
    ),
    "limits": pa.schema(
        [
            ("endpoint", _TEXT),
            ("at", pa.float64()),
            ("limit", pa.int32()),
            ("in_flight", pa.int32()),
            ("ok", pa.int32()),
            ("limited", pa.int32()),
            ("errors", pa.int32()),
            ("hosts", pa.int32()),
            ("event", _TEXT),
        ]
    ),
    "failures": pa.schema(
        [
            *_IDENTITY,
            ("condition", _TEXT),
            ("failure_kind", _TEXT),
            ("failure_turn", pa.int32()),
            ("failure", _TEXT),
            ("turns", pa.int32()),
            ("calls", pa.int32()),
            ("seconds", pa.float64()),
        ]
    ),
}
"""The columns of each table. Times are in seconds, `started` and `at` since the epoch.

Trials and branches are rows of one table. A branch has an `origin` ("branch", "regeneration",
"probe"), its `parent` branch, and its `fork`, the last turn that it shares with the parent. The
other tables hold only a branch's own rows.

Where a call is `estimated`, the endpoint gave no count of tokens that can be true, and improv
estimated the tokens by the length of prompt and reply. `reasoning` is what a model thought before
its reply, and `reasoning_tokens` are those of its completion tokens that were reasoning; null where
the endpoint does not say. The `faults` of a call say what did not arrive, and its
`cuts`, like those of a verdict, how its reply was unwrapped.

A verdict is one judge's answer about one `item`: the `prompt` with the `options` in the order
shown, the raw `reply`, the option read from it (`answer`), and its number (`value`). `truth` is
null except for planted lines, whose measure begins with "calibration:".

A row of `failures` is a play of a trial or branch that failed and was played again, as the table of
trials had it."""

TRIAL_TABLES = ("turns", "calls", "blocks", "scores", "trials")
"""The tables that a host writes. "trials" is last, because its rows make the others count."""

CLOCK_COLUMNS = {
    "trials": ("seconds", "retries", "cached_tokens"),
    "calls": ("started", "latency", "waited", "retries", "retried", "endpoint", "cached_tokens"),
    "verdicts": ("started", "latency", "endpoint"),
    "limits": tuple(SCHEMAS["limits"].names),
    "failures": tuple(SCHEMAS["failures"].names),
}
"""Columns that depend on the machine and the time. All others depend only on trials and replies."""

SORT_COLUMNS = {
    "trials": ["index", "branch"],
    "turns": ["trial", "branch", "turn", "seq"],
    "calls": ["trial", "branch", "turn", "purpose", "role", "attempt"],
    "blocks": ["id"],
    "scores": ["trial", "branch", "turn", "measure", "character"],
    "verdicts": ["trial", "branch", "turn", "measure", "character", "judge", "item"],
    "limits": ["endpoint", "at"],
    "failures": ["trial", "branch", "seconds"],
}
_DRAW_FIELDS = [f.name for f in fields(Draw)]
NEW_COLUMNS: dict[str, Json] = {
    "trials": {"origin": "main", "parent": "", "fork": 0, "arm": "", "edit": "", "attempt": 0},
    "calls": {
        "waited": 0.0,
        "retried": [],
        "served": "",
        "error_kind": "",
        "estimated": False,
        "reasoning": "",
        "reasoning_tokens": None,
        "faults": [],
        "cuts": [],
    },
    "verdicts": {"cuts": []},
}
"""The columns that tables of older versions lack, and the value that they are filled with."""

_TOKENS = frozenset({"prompt_tokens", "completion_tokens", "cached_tokens"})
NULLABLE: dict[str, frozenset[str]] = {
    "trials": _TOKENS | {"failure_turn"},
    "turns": frozenset(),
    "calls": _TOKENS | {"reasoning_tokens"},
    "blocks": frozenset(),
    "scores": frozenset({"turn", "value"}),
    "verdicts": _TOKENS | {"turn", "value", "truth", "cost"},
    "limits": frozenset(),
    "failures": frozenset({"failure_turn"}),
}
"""The columns of each table that may have nulls."""


def conform(part: pa.Table, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return `part` with the columns and types of the table `name`. Columns that an old run lacks
    are filled. Raises pyarrow.ArrowInvalid if a column cannot be converted, and KeyError if one is
    missing that every version writes."""
    if name == "calls":
        part = with_error_kind(part)
    schema = SCHEMAS[name]
    if columns is not None:
        schema = pa.schema([schema.field(c) for c in columns])
    for field in schema:
        if field.name not in part.schema.names:
            value = NEW_COLUMNS[name][field.name]
            part = part.append_column(field, pa.array([value] * len(part), field.type))
    return part.select(schema.names).cast(schema)


def columns_to_read(name: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that must be read to get `columns`. An old run has one column for the kind
    and the text of an error, so both are read if one is needed."""
    error = ("error_kind", "error")
    both = error if name == "calls" and not set(error).isdisjoint(columns) else ()
    return list(dict.fromkeys([*columns, *both]))


def with_error_kind(calls: pa.Table) -> pa.Table:
    """Return rows of calls with the column `error_kind`. Old runs have it in the text of
    `error`."""
    names = calls.schema.names
    if "error_kind" in names or "error" not in names:
        return calls
    read = [read_error_line(line or "") for line in calls["error"].to_pylist()]
    kinds, texts = (pa.array([pair[i] for pair in read], _TEXT) for i in (0, 1))
    at = names.index("error")
    return calls.set_column(at, "error", texts).add_column(at, "error_kind", kinds)


def trial_row(
    trial: Trial,
    branch: str,
    turns: Sequence[Turn],
    calls: Sequence[Call],
    failure: Failure | None,
    seconds: float,
) -> Json:
    """Return the row of a finished trial."""
    return {
        "trial": trial.id,
        "branch": branch,
        "index": trial.index,
        "scene": trial.slug,
        "title": trial.scene.title,
        "condition": trial.condition,
        "levels": [{"name": f, "value": lv} for f, lv in trial.levels],
        "block": trial.block,
        "replicate": trial.replicate,
        "origin": "main",
        "parent": "",
        "fork": 0,
        "arm": "",
        "edit": "",
        "attempt": 0,
        "status": "failed" if failure else "done",
        "failure": failure.message if failure else "",
        "failure_kind": failure.kind if failure else ErrorKind.NONE,
        "failure_turn": failure.turn if failure else None,
        "turns": sum(t.kind in ("line", "silence") for t in turns),
        "calls": len(calls),
        "prompt_tokens": sum(c.prompt_tokens or 0 for c in calls),
        "completion_tokens": sum(c.completion_tokens or 0 for c in calls),
        "cached_tokens": sum(c.cached_tokens or 0 for c in calls),
        "retries": sum(c.retries for c in calls),
        "seconds": seconds,
    }


def records_table(name: str, records: Sequence[Turn | Call | Block | Score]) -> pa.Table:
    """Return the table of records of one kind.

    It is built by columns, which is fast: hosts build it while a thousand scenes need the same
    interpreter.
    """
    arrays = []
    for field in SCHEMAS[name]:
        draws = name == "calls" and field.name in _DRAW_FIELDS
        values = list(map(attrgetter(f"draw.{field.name}" if draws else field.name), records))
        if field.name == "acts":
            values = [
                [{"kind": a.kind, "to": a.to, "text": a.text} for a in acts] for acts in values
            ]
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMAS[name])


def turn_from_row(row: Json) -> Turn:
    row["acts"] = tuple(Act(**a) for a in row["acts"] or ())
    row["cuts"] = tuple(row["cuts"] or ())
    row["heard_by"] = tuple(row["heard_by"] or ())
    return Turn(**row)


def call_from_row(row: Json) -> Call:
    draw = Draw(*map(row.pop, _DRAW_FIELDS))
    row["blocks"] = tuple(row["blocks"] or ())
    row["retried"] = tuple(row["retried"] or ())
    row["faults"] = known_faults(row["faults"] or ())
    row["cuts"] = tuple(row["cuts"] or ())
    row["error_kind"] = kind_of(row["error_kind"])
    return Call(draw=draw, **row)


def first_of_each(table: pa.Table, column: str) -> pa.Table:
    """Return the first row for each value of a column, because several hosts write the same
    block."""
    places = pa.array(range(len(table)), pa.int64())
    firsts = table.append_column("_at", places).group_by(column).aggregate([("_at", "min")])
    return table.take(firsts["_at_min"])
