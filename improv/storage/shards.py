"""Shards: a host collects finished trials and writes them to the run folder, some at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from improv.records import Block, Call, Json, Score, Turn
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, records_table

CALLS_PER_PART = 100
"""Calls of finished trials converted to tables at once, which takes a few milliseconds."""


@dataclass
class _Gathered:
    """The records of finished trials, a list for each table. Each block is there once."""

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
    """Collects the finished trials of one host and writes them, some at a time, as shards.

    A few trials at once are converted to small tables, between the steps of the scenes, and `flush`
    joins the tables. A conversion of all of them in a thread would hold the interpreter, and stop
    all scenes, for a tenth of a second.
    """

    def __init__(self, run: RunFolder, host: str) -> None:
        self._run = run
        self._host = host
        self._count = 0
        self._gathered = _Gathered()
        self._made: list[dict[str, pa.Table]] = []
        self._trials = 0
        self._shown: set[str] = set()
        # Arrow's default allocator returns memory to the kernel after each shard and takes it again
        # for the next, which costs as much time as writing the shard.
        pa.set_memory_pool(pa.system_memory_pool())
        # The last flush may begin while an earlier one still writes in a thread.
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
        """Add one whole finished trial: its row and its records."""
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
        """Write the collected trials. If it raises OSError, the trials stay collected."""
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
