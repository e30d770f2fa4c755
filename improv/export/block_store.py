"""The blocks of a run by id, on disk: those of a large run are looked up in files that the system
pages in, so that what memory they need does not grow with the run."""

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
"""Characters of an id."""
_COLUMNS = ["id", "kind", "text"]


class BlockStore:
    """The blocks of a run, while it is open: `with BlockStore(folder) as store`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._room = tempfile.TemporaryDirectory(prefix="improv-")

    def __enter__(self) -> BlockStore:
        place = Path(self._room.name)
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
        # Nothing can be mapped of a file that is empty.
        self._ids = (
            np.memmap(place / "ids", dtype=f"S{_ID_LENGTH}") if starts[-1] else np.array([b""])
        )
        if np.any(self._ids[:-1] > self._ids[1:]):
            raise RunError(f"{self._folder.path}/blocks.parquet: not in order of its ids")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._ids, self._texts
        self._room.cleanup()

    def blocks_of(self, ids: Iterable[str]) -> dict[str, Block]:
        """Return the blocks of these ids. Raises RunError where one is lost."""
        names = sorted(set(ids))
        wanted = np.array([n.encode() for n in names], dtype=f"S{_ID_LENGTH}")
        at = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        lost = np.flatnonzero(self._ids[at] != wanted)
        if len(lost):
            raise RunError(
                f"{self._folder.id}: block {names[lost[0]]}, which a call showed, is "
                "not in the table of blocks"
            )
        batch = np.searchsorted(self._starts, at, side="right") - 1
        found = {}
        for name, k, row in zip(
            names, batch.tolist(), (at - self._starts[batch]).tolist(), strict=True
        ):
            kinds, texts = self._texts[k]
            found[name] = Block(name, kinds[row].as_py(), texts[row].as_py())
        return found
