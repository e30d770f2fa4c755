"""Finished trials on their way into a run's folder: gathered by a host, written some at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from improv.records import Block, Call, Json, Score, Turn
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, records_table

CALLS_PER_PART = 100
"""Calls of finished trials that are made into tables at once: a few milliseconds' work."""


@dataclass
class _Gathered:
    """What finished trials consist of, a list for each table; of blocks, each is there once."""

    trials: list[Json] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)

    def tables(self) -> dict[str, pa.Table]:
        return {
            "trials": pa.Table.from_pylist(self.trials, schema=SCHEMAS["trials"]),
            "turns": records_table("turns", self.turns),
            "calls": records_table("calls", self.calls),
            "blocks": records_table("blocks", self.blocks),
            "scores": records_table("scores", self.scores),
        }


class Shards:
    """Gathers finished trials of one host and writes them, some at a time, as shards.

    Tables are made of a few trials at once, between the moments of the scenes, and joined where
    they are written. Made whole in a thread, they would take the interpreter from all scenes for
    a tenth of a second.
    """

    def __init__(self, run: RunFolder, host: str) -> None:
        self._run = run
        self._host = host
        self._count = 0
        self._gathered = _Gathered()
        self._made: list[dict[str, pa.Table]] = []
        self._trials = 0
        self._shown: set[str] = set()
        # Arrow's own allocator gives memory back after each shard and asks for it again at the
        # next: as much of the kernel's time as the shard takes to be written.
        pa.set_memory_pool(pa.system_memory_pool())
        # The last flush may come while one in a thread still writes.
        self._gathering, self._writing = threading.Lock(), threading.Lock()

    def __len__(self) -> int:
        return self._trials

    def add(
        self,
        trial: Json,
        turns: Sequence[Turn],
        calls: Sequence[Call],
        blocks: Iterable[Block],
        scores: Sequence[Score] = (),
    ) -> None:
        """Add one finished trial whole: its row, and what it consists of."""
        with self._gathering:
            self._trials += 1
            own = self._gathered
            own.trials.append(trial)
            own.turns += turns
            own.calls += calls
            own.scores += scores
            for block in blocks:
                if block.id not in self._shown:
                    self._shown.add(block.id)
                    own.blocks.append(block)
            if len(own.calls) >= CALLS_PER_PART:
                self._make()

    def flush(self) -> None:
        """Write what was gathered. Raises OSError, and then holds it still."""
        with self._writing:
            with self._gathering:
                if not self._trials:
                    return
                self._make()
                made, trials = self._made, self._trials
                self._made, self._trials = [], 0
                self._shown.clear()
            try:
                whole = {name: pa.concat_tables(part[name] for part in made) for name in made[0]}
                self._run.tables.write_shard(f"{self._host}-{self._count:06d}", whole)
            except OSError:
                with self._gathering:
                    self._made = made + self._made
                    self._trials += trials
                raise
            self._count += 1

    def _make(self) -> None:
        if self._gathered.trials:
            self._made.append(self._gathered.tables())
            self._gathered = _Gathered()
