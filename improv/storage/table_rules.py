"""What the columns of a run's tables may hold: types, nulls, ranges and words.

A table comes from a file that anybody may have changed. `check_schema` looks at its columns before
it is read, `check_values` at its rows afterwards. Both return what is wrong as a sentence that
names the column, or "". `table_file` reads the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from improv.records import ActKind, AddressedBy, Json, Origin, Purpose, TurnKind
from improv.storage.schemas import NEW_COLUMNS, NULLABLE, SCHEMAS
from improv.study.plain_data import MAX_DEPTH, deeper_than

MOST_TURNS = 10_000_000
"""The largest number of a turn."""
LAST_TIME = 253_402_300_799.0
"""The last second of the year 9999, since the epoch."""
LONGEST = 1e12
"""The largest number of seconds or dollars."""
KNOWN_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("trials", "status"): ("done", "failed"),
    ("trials", "origin"): get_args(Origin),
    ("turns", "kind"): get_args(TurnKind),
    ("turns", "by"): get_args(AddressedBy),
    ("turns", "acts.kind"): get_args(ActKind),
    ("calls", "purpose"): get_args(Purpose),
}
"""(table, column) → the words that the column may hold."""
_TURNS = ("turn", "fork", "failure_turn")
_TIMES = ("started", "at")
_SECONDS = ("seconds", "latency", "waited", "cost")


def check_schema(name: str, schema: pa.Schema, columns: Sequence[str] | None) -> str:
    """Return what is wrong with the columns of a file of the table `name`, or ""."""
    wanted = SCHEMAS[name].names if columns is None else columns
    for column in wanted:
        count = schema.names.count(column)
        if not count and column not in NEW_COLUMNS.get(name, {}):
            return f"has no column '{column}'"
        if count > 1:
            return f"has {count} columns '{column}'"
        if count and not _kin(schema.field(column).type, SCHEMAS[name].field(column).type):
            there, right = schema.field(column).type, SCHEMAS[name].field(column).type
            return f"column '{column}' holds {there}, not {right}"
    return ""


def check_values(name: str, table: pa.Table) -> str:
    """Return what is wrong with the values of a table that has the types of `name`, or ""."""
    for column in table.schema.names:
        for path, values in _parts(column, table[column]):
            nullable = path in NULLABLE[name]
            if values.null_count and not nullable:
                return f"column '{path}' has a value that is missing"
            problem = _range_problem(name, path, values) or _word_problem(name, path, values)
            if problem:
                return problem
    if name == "trials" and "edit" in table.schema.names:
        return _edit_problem(table["edit"].unique().to_pylist())
    return ""


def is_row(name: str, row: Json) -> bool:
    """Return whether a row of a journal fits the table `name`: all its columns, and no others."""
    if set(row) != set(SCHEMAS[name].names):
        return False
    try:
        table = pa.Table.from_pylist([row], schema=SCHEMAS[name])
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return False
    return not check_values(name, table)


def _kin(there: pa.DataType, right: pa.DataType) -> bool:
    """Return whether a column of one type can hold what a column of the other holds."""
    kinds = pa.types
    if kinds.is_dictionary(there):
        there = there.value_type
    if kinds.is_null(there):
        return True  # another program writes so a column without values; its nulls are checked
    if kinds.is_list(right):
        return bool(_is_list(there)) and _kin(there.value_type, right.value_type)
    if kinds.is_struct(right):
        return bool(kinds.is_struct(there)) and _same_fields(there, right)
    if kinds.is_string(right):
        return bool(kinds.is_string(there) or kinds.is_large_string(there))
    if kinds.is_floating(right):
        return bool(kinds.is_floating(there) or kinds.is_integer(there))
    if kinds.is_integer(right):
        return bool(kinds.is_integer(there))
    return bool(there == right)


def _is_list(there: pa.DataType) -> bool:
    return bool(pa.types.is_list(there) or pa.types.is_large_list(there))


def _same_fields(there: pa.DataType, right: pa.DataType) -> bool:
    names = [there.field(i).name for i in range(there.num_fields)]
    if names != [right.field(i).name for i in range(right.num_fields)]:
        return False
    return all(_kin(there.field(i).type, right.field(i).type) for i in range(right.num_fields))


def _parts(path: str, values: Any) -> Iterator[tuple[str, Any]]:
    """Yield a column and what is nested in it, each with its path ("acts.kind")."""
    yield path, values
    if pa.types.is_list(values.type):
        inner = pc.list_flatten(values)
        if pa.types.is_struct(inner.type):
            if inner.null_count:
                yield path, inner
            for i in range(inner.type.num_fields):
                field = inner.type.field(i).name
                yield f"{path}.{field}", pc.struct_field(inner, field)
        else:
            yield path, inner


def _range_problem(name: str, path: str, values: Any) -> str:
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return ""
    if pa.types.is_floating(kind) and pc.all(pc.is_finite(values)).as_py() is False:
        return f"column '{path}' has a value that is no number"
    ends = pc.min_max(values).as_py()
    if ends["min"] is None:
        return ""
    low, high = _range_of(path, pa.types.is_integer(kind))
    if low is not None and ends["min"] < low:
        return f"column '{path}' has {ends['min']}; the least is {low:g}"
    if high is not None and ends["max"] > high:
        return f"column '{path}' has {ends['max']}; the most is {high:.16g}"
    return ""


def _range_of(path: str, whole: bool) -> tuple[float | None, float | None]:
    if path in _TURNS:
        return 0, MOST_TURNS
    if path in _TIMES:
        return 0, LAST_TIME
    if path in _SECONDS:
        return -LONGEST, LONGEST
    return (0, None) if whole else (None, None)


def _word_problem(name: str, path: str, values: Any) -> str:
    words = KNOWN_WORDS.get((name, path))
    if words is None:
        return ""
    odd = [str(w) for w in pc.unique(values).to_pylist() if w not in words]
    if not odd:
        return ""
    return f"column '{path}' has {odd[0][:40]!r}; it holds {', '.join(words)}"


def _edit_problem(edits: Iterable[Any]) -> str:
    for text in edits:
        what = "which is no JSON object"
        try:
            edit = orjson.loads(text) if text else {}
            if isinstance(edit, dict):
                if not deeper_than(edit):
                    continue
                what = f"which is nested more than {MAX_DEPTH} deep"
        except orjson.JSONDecodeError:
            pass
        return f"column 'edit' has {str(text)[:40]!r}, {what}"
    return ""
