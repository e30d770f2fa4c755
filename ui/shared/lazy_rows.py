"""The rows of a large table as dicts, each made when it is read.

A run of fifty thousand trials has a million values; to make all dicts at once would take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from improv.records import Json

_Places = npt.NDArray[np.int64]
_PIECE = 1_000
"""Rows that are converted together when all rows are iterated."""


class Rows(Sequence[Json]):
    """The rows of an Arrow table as a sequence of dicts, each made when it is read."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self._columns: dict[str, list[Any]] = {}
        self._where: dict[str, int] | None = None
        self._values: dict[str, npt.NDArray[np.object_]] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, at: int) -> Json: ...
    @overload
    def __getitem__(self, at: slice) -> Rows: ...
    def __getitem__(self, at: int | slice) -> Json | Rows:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        row: Json = self.table.slice(at % len(self), 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[Json]:
        for at in range(0, len(self), _PIECE):
            yield from self.table.slice(at, _PIECE).to_pylist()

    def take(self, places: _Places) -> Rows:
        """Return the rows at these indices, in this order."""
        return Rows(self.table.take(places))

    def column(self, name: str) -> list[Any]:
        """Return a column's values, which are cached."""
        if name not in self._columns:
            self._columns[name] = self.table[name].to_pylist()
        return self._columns[name]

    def distinct(self, name: str) -> list[Any]:
        """Return the values of a column, each once, in the order of their first row."""
        return list(dict.fromkeys(self.column(name)))

    def places(self, **wanted: object) -> _Places:
        """Return the indices of the rows whose columns equal the `wanted` values, in order."""
        fits = np.ones(len(self), bool)
        for name, value in wanted.items():
            if name not in self._values:
                self._values[name] = np.array(self.column(name), dtype=object)
            fits &= self._values[name] == value
        return np.flatnonzero(fits)

    def where(self, trial: str) -> int | None:
        """Return the index of a trial's last row, None where the trial has no row."""
        if self._where is None:
            self._where = {t: i for i, t in enumerate(self.column("trial"))}
        return self._where.get(trial)
