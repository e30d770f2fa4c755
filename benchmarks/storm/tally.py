"""What came of the events of a storm: counts by kind. They can be kept in a file, and added up."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

COLUMNS = ("events", "recovered", "trials", "lost", "again", "hung", "traceback", "other")
HEADS = (
    "events",
    "recovered",
    "trials and branches whole",
    "lost or twice",
    "journaled calls asked again",
    "hung",
    "traceback",
    "other trouble",
)


@dataclass
class Count:
    """The events of a kind. `recovered` are those after which the run was whole.

    `trials` counts trials and branches that are there once, `lost` those that are missing or there
    twice, `again` journaled calls that were asked again, and `hung`, `traceback` and `other` runs.
    `runs` were played to their end.
    """

    events: int = 0
    recovered: int = 0
    trials: int = 0
    lost: int = 0
    again: int = 0
    hung: int = 0
    traceback: int = 0
    other: int = 0
    runs: int = 0

    def add(self, other: Count) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def wrong(self) -> bool:
        bad = self.lost or self.again or self.hung or self.traceback or self.other
        return bool(bad or self.events != self.recovered)


@dataclass
class StormTally:
    """The counts of all kinds, what was wrong in words, and how long it took."""

    counts: dict[str, Count] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    journaled: int = 0
    """Journaled calls that were watched."""
    size: int = 0
    """Trials and branches of a run."""

    def add(self, other: StormTally) -> None:
        """Add the counts of another storm."""
        for kind, count in other.counts.items():
            self.of(kind).add(count)
        self.wrong += other.wrong
        self.seeds += other.seeds
        self.seconds += other.seconds
        self.journaled += other.journaled
        self.size = self.size or other.size

    def of(self, kind: str) -> Count:
        return self.counts.setdefault(kind, Count())

    @property
    def events(self) -> int:
        return sum(count.events for count in self.counts.values())

    def total(self) -> Count:
        total = Count()
        for count in self.counts.values():
            total.add(count)
        return total

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, file: Path) -> StormTally:
        if not file.exists():
            return cls()
        record = json.loads(file.read_text())
        counts = {kind: Count(**count) for kind, count in record.pop("counts").items()}
        return cls(counts, **record)

    def table(self) -> str:
        """The counts as a table in Markdown."""
        rows = [["kind", *HEADS]]
        named = [*self.counts.items(), ("**all**", self.total())]
        rows += [[kind, *(str(getattr(c, n)) for n in COLUMNS)] for kind, c in named]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        rows.insert(1, ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)])
        lines = [
            " | ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join(f"| {line} |" for line in lines)
