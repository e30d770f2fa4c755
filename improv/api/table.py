"""One table of a run, as Arrow, pandas or DuckDB.

A table is read on first use and then kept; all three libraries share its memory. The module
storage.run_tables knows the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from improv.errors import RunError
from improv.records import Json
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, TRIAL_TABLES
from improv.text import one_line

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

NAMES = ("trials", "turns", "calls", "blocks", "scores", "verdicts", "limits", "failures")
_SHOWN_ROWS = 5
"""Number of rows that a notebook shows."""
UNTYPESET = "tex2jax_ignore mathjax_ignore"
"""Classes by which a notebook does not typeset text between dollar signs."""
_CELL_LENGTH = 140
"""Maximum characters of a cell that a notebook shows."""


class Table:
    """A table of a run, or columns of it (`select`), or one trial's rows (`of`).

    Its content is that of the disk at the first read; `run.turns` is a new table each time.
    Libraries that read Arrow (polars, DuckDB, pandas) take it directly, by the Arrow PyCapsule
    interface.
    """

    def __init__(
        self, folder: RunFolder, name: str, columns: tuple[str, ...] = (), row: Json | None = None
    ) -> None:
        self._folder, self._row = folder, row
        self.name = name
        self.columns = list(columns or SCHEMAS[name].names)
        """The names of its columns."""
        self._read: pa.Table | None = None

    def select(self, *columns: str) -> Table:
        """Return the table with these columns only; no others are read. Raises RunError."""
        for column in columns:
            if column not in SCHEMAS[self.name].names:
                known = ", ".join(SCHEMAS[self.name].names)
                raise RunError(f"{column}: no column of {self.name}; there are {known}")
        return Table(self._folder, self.name, columns, self._row)

    def of(self, trial: str | int) -> Table:
        """Return the rows of one trial, named by its id, its number or the beginning of its id;
        TRIAL~BRANCH returns the branch's own rows. Raises RunError."""
        if "trial" not in SCHEMAS[self.name].names:
            raise RunError(f"{self.name}: its rows belong to no trial")
        row = self._folder.transcripts.trial(str(trial))
        return Table(self._folder, self.name, tuple(self.columns), row)

    def arrow(self) -> pa.Table:
        """Return the table as a pyarrow.Table."""
        if self._read is None:
            self._read = self._from_disk()
        return self._read

    def pandas(self) -> pd.DataFrame:
        """Return the table as a DataFrame with Arrow columns, without a copy."""
        import pandas as pd

        return self.arrow().to_pandas(types_mapper=pd.ArrowDtype)

    def duckdb(
        self, connection: duckdb.DuckDBPyConnection | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Return the table as a DuckDB relation, without a copy. Raises RunError if DuckDB is not
        installed."""
        return (connection or connect()).from_arrow(self.arrow()).set_alias(self.name)

    def __arrow_c_schema__(self) -> object:
        return self.arrow().schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        if self._read is None and self._row is None:
            return int(self._folder.tables.read(self.name, columns=self.columns[:1]).num_rows)
        return int(self.arrow().num_rows)

    def __iter__(self) -> Iterator[Json]:
        """Yield the rows as dicts."""
        for batch in self.arrow().to_batches(max_chunksize=1000):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        return f"<{self._title()}: {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """Show the first rows. All text is escaped, since models wrote some of it."""
        rows = [[_cell(row[c]) for c in self.columns] for row in self._first().to_pylist()]
        return html_table(self.columns, rows, self._title())

    def _title(self) -> str:
        count, wide = len(self), len(self.columns)
        rows, columns = "row" if count == 1 else "rows", "column" if wide == 1 else "columns"
        return f"{self.name} of {self._folder.id}, {count:,} {rows}, {wide} {columns}"

    def _from_disk(self) -> pa.Table:
        if self._row is None:
            return self._folder.tables.read(self.name, columns=self.columns)
        columns = list(dict.fromkeys([*self.columns, "branch"]))
        rows = self._folder.tables.read(self.name, trial=self._row["trial"], columns=columns)
        own = rows.filter(pc.equal(rows["branch"], self._row["branch"]))
        return own.select(self.columns)

    def _first(self) -> pa.Table:
        """Return the first rows, without reading the rest of a large table."""
        if self._read is None and self._row is None and self.name in TRIAL_TABLES:
            for piece in self._folder.tables.read_batches(self.name, self.columns):
                return piece.slice(0, _SHOWN_ROWS)
        return self.arrow().slice(0, _SHOWN_ROWS)


def connect() -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection in memory. Raises RunError if DuckDB is not installed."""
    try:
        import duckdb
    except ImportError:
        raise RunError("DuckDB is not installed: pip install 'improv-theatre[duckdb]'") from None
    return duckdb.connect()


def html_table(head: Sequence[str], rows: Sequence[Sequence[object]], *captions: str) -> str:
    """Return a table as HTML with captions above it. All text is escaped, and integers have
    thousands separators."""

    def row(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(_written(c))}</{tag}>" for c in cells) + "</tr>"

    over = "".join(f"<p>{escape(text)}</p>" for text in captions)
    body = "".join(row(cells, "td") for cells in rows)
    return (
        f'<div class="{UNTYPESET}">{over}<table><thead>{row(head, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _written(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _cell(value: Any) -> str:
    text = "" if value is None else one_line(str(value))
    return text if len(text) <= _CELL_LENGTH else text[: _CELL_LENGTH - 1] + "…"
