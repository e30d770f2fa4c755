"""The counts of attempts that ended, which hosts report to the limiter of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AttemptKind = Literal["ok", "limited", "error", "timeout"]
"""How an attempt ended: a reply, a 429, an error (5xx, unreadable reply), or no reply in time."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of attempts that ended: `ok` replies, `limited` by a 429, other `errors`.

    `timeouts` of the errors ran out of time. `seconds` is how long all replies took together, and
    `patience` the shortest time limit of an attempt, 0 if there is none. `crowded` is the fewest
    that the host had in flight when one more was refused because there were too many at once, and
    `fits` the most that were served together with one that was answered; 0 if there is none.
    """

    ok: int = 0
    limited: int = 0
    errors: int = 0
    timeouts: int = 0
    seconds: float = 0.0
    patience: float = 0.0
    crowded: int = 0
    fits: int = 0

    @property
    def ended(self) -> int:
        return self.ok + self.limited + self.errors

    def __add__(self, other: Tally) -> Tally:
        limits = [limit for limit in (self.patience, other.patience) if limit]
        crowds = [crowd for crowd in (self.crowded, other.crowded) if crowd]
        return Tally(
            self.ok + other.ok,
            self.limited + other.limited,
            self.errors + other.errors,
            self.timeouts + other.timeouts,
            self.seconds + other.seconds,
            min(limits, default=0.0),
            min(crowds, default=0),
            max(self.fits, other.fits),
        )
