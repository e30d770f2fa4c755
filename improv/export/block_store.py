"""The blocks of a run by id, in files on disk that are mapped into memory.

So the memory for them does not grow with the run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from improv.errors import RunError, first_line
from improv.records import Block
from improv.storage.run_folder import RunFolder

_ID_LENGTH = 20
"""Characters of a block's id."""
_COLUMNS = ["id", "kind", "text"]


class BlockStore:
    """Looks up the blocks of a run while it is open: `with BlockStore(folder) as store`.

    Opening it copies the table of blocks to a temporary folder. Raises RunError where the table
    cannot be read or is not sorted by id.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._temporary = tempfile.TemporaryDirectory(prefix="improv-")

    def __enter__(self) -> BlockStore:
        place = Path(self._temporary.name)
        schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
        starts = [0]
        try:
            with (place / "ids").open("wb") as ids, (place / "blocks").open("wb") as blocks:
                with pa.ipc.new_file(blocks, schema) as sink:
                    for part in self._folder.tables.read_batches("blocks", _COLUMNS):
                        for batch in part.select(_COLUMNS).to_batches():
                            names = batch["id"].cast(pa.binary()).cast(pa.binary(_ID_LENGTH))
                            ids.write(b"".join(names.to_pylist()))
                            sink.write_batch(batch)
                            starts.append(starts[-1] + len(batch))
        except pa.ArrowException as e:
            what = f"{self._folder.path}/blocks.parquet: cannot be read: {first_line(e)}"
            raise RunError(what) from None
        except OSError as e:
            raise RunError(f"{place}: cannot be written: {e.strerror or e}") from None
        self._starts = np.array(starts)
        with pa.ipc.open_file(pa.memory_map(str(place / "blocks"))) as reader:
            batches = map(reader.get_batch, range(reader.num_record_batches))
            self._texts = [(batch["kind"], batch["text"]) for batch in batches]
        # An empty file cannot be mapped.
        self._ids = (
            np.memmap(place / "ids", dtype=f"S{_ID_LENGTH}") if starts[-1] else np.array([b""])
        )
        if np.any(self._ids[:-1] > self._ids[1:]):
            raise RunError(f"{self._folder.path}/blocks.parquet: not sorted by id")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._ids, self._texts
        self._temporary.cleanup()

    def blocks_of(self, ids: Iterable[str]) -> dict[str, Block]:
        """Return the blocks with these ids. Raises RunError where one is not in the table."""
        names = sorted(set(ids))
        wanted = np.array([n.encode() for n in names], dtype=f"S{_ID_LENGTH}")
        at = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        missing = np.flatnonzero(self._ids[at] != wanted)
        if len(missing):
            block = names[missing[0]]
            what = f"block {block} of a call's prompt is not in the table of blocks"
            raise RunError(f"{self._folder.id}: {what}")
        batch = np.searchsorted(self._starts, at, side="right") - 1
        blocks = {}
        for name, k, row in zip(
            names, batch.tolist(), (at - self._starts[batch]).tolist(), strict=True
        ):
            kinds, texts = self._texts[k]
            blocks[name] = Block(name, kinds[row].as_py(), texts[row].as_py())
        return blocks
