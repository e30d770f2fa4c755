"""Finished trials on their way into a run's folder: gathered by a host, written some at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from improv.record import Block, Call, Json, Score, Turn
from improv.store import RunFolder
from improv.tables import SCHEMAS, table_of


@dataclass
class _Gathered:
    """What finished trials consist of, a list for each table; of blocks, each is there once."""

    trials: list[Json] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    blocks: dict[str, Block] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)

    def tables(self) -> dict[str, pa.Table]:
        return {
            "trials": pa.Table.from_pylist(self.trials, schema=SCHEMAS["trials"]),
            "turns": table_of("turns", self.turns),
            "calls": table_of("calls", self.calls),
            "blocks": table_of("blocks", list(self.blocks.values())),
            "scores": table_of("scores", self.scores),
        }

    def take(self, later: _Gathered) -> None:
        """Add what was gathered later."""
        self.trials += later.trials
        self.turns += later.turns
        self.calls += later.calls
        self.blocks |= later.blocks
        self.scores += later.scores


class Shards:
    """Gathers finished trials of one host and writes them, some at a time, as shards."""

    def __init__(self, run: RunFolder, host: str) -> None:
        self._run = run
        self._host = host
        self._count = 0
        self._gathered = _Gathered()
        # The last flush may come while one in a thread still writes.
        self._gathering, self._writing = threading.Lock(), threading.Lock()

    def __len__(self) -> int:
        return len(self._gathered.trials)

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
            own = _Gathered([trial], [*turns], [*calls], {b.id: b for b in blocks}, [*scores])
            self._gathered.take(own)

    def flush(self) -> None:
        """Write what was gathered. Raises OSError, and then holds it still."""
        with self._writing:
            with self._gathering:
                given, self._gathered = self._gathered, _Gathered()
            if not given.trials:
                return
            try:
                self._run.write_shard(f"{self._host}-{self._count:06d}", given.tables())
            except OSError:
                with self._gathering:
                    given.take(self._gathered)
                    self._gathered = given
                raise
            self._count += 1
