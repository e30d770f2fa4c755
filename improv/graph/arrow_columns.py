"""Arrow columns as NumPy arrays: codes, integers, truth values, counts of words."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints: TypeAlias = npt.NDArray[np.int32]
Wide: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def scene_keys(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["trial"], table["branch"], "\x1f")


def encode(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Ints]:
    """Return a column's distinct values in order of appearance, and each row's index in them."""
    encoded = column.combine_chunks().dictionary_encode()
    return tuple(encoded.dictionary.to_pylist()), to_ints(encoded.indices)


def to_ints(column: Any) -> Ints:
    values = (
        column.to_numpy(zero_copy_only=False)
        if isinstance(column, pa.Array)
        else (column.to_numpy())
    )
    return np.asarray(values, dtype=np.int32)


def to_indices(column: Any) -> Ints:
    return to_ints(pc.fill_null(column, -1))


def to_bools(column: Any) -> Bools:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)


def word_counts(text: pa.ChunkedArray) -> Ints:
    """Count words by the spaces between them: lines have single spaces, and a pattern is slower."""
    spaces = to_indices(pc.count_substring(pc.utf8_trim_whitespace(text), " "))
    return spaces + (to_indices(pc.utf8_length(text)) > 0).astype(np.int32)
