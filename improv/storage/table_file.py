"""Reads one Parquet file of a run: the door that every table comes in by.

The file may be anybody's. It is measured before it is read, the checksums of its pages are
verified, its columns get the types of the table, and its values are checked by `table_rules`.
Whatever is wrong is a RunError that names the file, the column and what to do, so nothing behind
this module has to guess. `run_tables` knows which files make up a table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from improv.errors import RunError, first_line
from improv.storage.run_files import READ_ERRORS
from improv.storage.schemas import SCHEMAS, columns_to_read, conform
from improv.storage.table_rules import check_schema, check_values

DAMAGE = (*READ_ERRORS, MemoryError, OverflowError, TypeError, IndexError)
"""The errors that pyarrow may raise for a file whose bytes were changed."""
MOST_ROWS = 200_000_000
_MOST_COLUMNS = 200
_LARGEST = 64 * 2**30
"""The largest size (in bytes) of a table, unpacked."""
_UNPACKED = 2**30
_MOST_TIMES = 2000
"""A file that unpacks to more than `_UNPACKED` bytes and to so many times its size is refused."""
ROWS_PER_GROUP = 10_000


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a run: its path, and the table that it belongs to.

    Every method raises FileNotFoundError if the file is gone, and RunError if it is damaged.
    """

    fs: pafs.FileSystem
    path: str
    name: str

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        trial: str | None = None,
        ids: Sequence[str] | None = None,
        coded: Sequence[str] = (),
    ) -> pa.Table:
        """Return the columns, or all of them; of one `trial` alone, or of the rows with these
        `ids`. The columns `coded` stay dictionary-encoded if the file has no old columns."""
        with self._open(coded, columns) as file:
            there = self._present(file, columns)
            if trial is not None:
                part = _matching(file, there, "trial", [trial])
            elif ids is not None:
                part = _matching(file, there, "id", ids)
            else:
                part = file.read(columns=there)
            return self._checked(part, columns, coded)

    def batches(self, columns: Sequence[str], coded: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Yield the columns in pieces, in the order of the file. `coded` are the Parquet paths of
        the columns to dictionary-encode ("blocks.list.element")."""
        with self._open(coded, columns) as file:
            there = self._present(file, columns)
            for batch in file.iter_batches(ROWS_PER_GROUP, columns=there):
                yield self._checked(pa.Table.from_batches([batch]), columns, coded)

    def rows(self) -> int:
        """Return the number of rows, from the end of the file."""
        with self._open((), ()) as file:
            return int(file.metadata.num_rows)

    def check(self) -> None:
        """Read the whole file and keep nothing."""
        for _ in self.batches(SCHEMAS[self.name].names):
            pass

    def damaged(self, what: str) -> RunError:
        """Return the error of a file that is damaged."""
        return damaged_table(self.path, self.name, what)

    @contextlib.contextmanager
    def _open(
        self, coded: Sequence[str], columns: Sequence[str] | None
    ) -> Iterator[pq.ParquetFile]:
        try:
            with self.fs.open_input_file(self.path) as source:
                file = pq.ParquetFile(
                    source,
                    read_dictionary=list(coded) or None,
                    page_checksum_verification=True,
                )
                problem = _size_problem(file.metadata, source.size())
                problem = problem or check_schema(self.name, file.schema_arrow, columns)
                if problem:
                    raise self.damaged(problem)
                yield file
        except FileNotFoundError:
            raise
        except DAMAGE as e:
            raise self.damaged(f"cannot be read ({first_line(e)})") from None

    def _present(self, file: pq.ParquetFile, columns: Sequence[str] | None) -> list[str]:
        names = file.schema_arrow.names
        wanted = SCHEMAS[self.name].names if columns is None else columns
        return [c for c in columns_to_read(self.name, wanted) if c in names]

    def _checked(
        self, part: pa.Table, columns: Sequence[str] | None, coded: Sequence[str]
    ) -> pa.Table:
        """Return a part with the table's types, after its values were checked."""
        # Arrow trusts a file that its texts are UTF-8; Python does not.
        part.validate(full=True)
        wanted = SCHEMAS[self.name].names if columns is None else list(columns)
        as_written = coded and set(wanted) <= set(part.schema.names)
        if as_written and not ("error" in wanted and "error_kind" not in part.schema.names):
            part = part.select(wanted)
            plain = [i for i, f in enumerate(part.schema) if not _is_coded(f.type)]
            for i in plain:
                field = SCHEMAS[self.name].field(part.schema.names[i])
                part = part.set_column(i, field, part.column(i).cast(field.type))
        else:
            part = conform(part, self.name, wanted)
        problem = check_values(self.name, part)
        if problem:
            raise self.damaged(problem)
        return part


def damaged_table(path: str, name: str, what: str) -> RunError:
    """Return the error of a table that is damaged, with what to do about it."""
    folder, _, _ = path.partition("/shards/")
    run = (folder if folder != path else path.rpartition("/")[0]).rpartition("/")[2]
    if name in ("calls", "verdicts", "limits", "failures") and folder == path:
        remedy = "copy the file again from where the run comes from"
    else:
        remedy = f"`improv resume {run}` makes it again from the calls, and asks no model again"
    return RunError(f"{path}: {what}; {remedy}")


def _size_problem(meta: pq.FileMetaData, size: int) -> str:
    """Return what is wrong with the sizes that the end of a file states, or ""."""
    if meta.num_rows > MOST_ROWS:
        return f"has {meta.num_rows:,} rows; the most is {MOST_ROWS:,}"
    if meta.num_columns > _MOST_COLUMNS:
        return f"has {meta.num_columns:,} columns; the most is {_MOST_COLUMNS}"
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    if sum(group.num_rows for group in groups) != meta.num_rows:
        return "states another number of rows than its parts have"
    unpacked = sum(group.total_byte_size for group in groups)
    if unpacked > _LARGEST or unpacked > max(_UNPACKED, _MOST_TIMES * size):
        return f"unpacks to {unpacked:,} bytes, which is too large"
    return ""


def _matching(
    file: pq.ParquetFile, columns: Sequence[str], key: str, values: Sequence[str]
) -> pa.Table:
    """Return the rows whose `key` is one of the values, from the row groups that can hold them."""
    leaves = file.metadata.schema
    at = next(i for i in range(len(leaves)) if leaves.column(i).path == key)
    groups = []
    for i in range(file.metadata.num_row_groups):
        ends = file.metadata.row_group(i).column(at).statistics
        known = ends is not None and ends.has_min_max and isinstance(ends.min, str)
        if not known or any(ends.min <= value <= ends.max for value in values):
            groups.append(i)
    part = file.read_row_groups(groups, columns=list(dict.fromkeys([*columns, key])))
    return part.filter(pc.is_in(part[key], value_set=pa.array(values, pa.string())))


def _is_coded(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_dictionary(kind))
