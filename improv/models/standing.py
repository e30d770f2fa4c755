"""How an endpoint stands to one host: whether it has answered, and how long it answers only 429."""

from __future__ import annotations

import asyncio
import itertools

from improv.models.tally import AttemptKind

_SERVED = 5.0
"""Seconds after which an attempt in flight counts as being served: refusals come sooner."""


class Standing:
    """What the attempts of one host tell of an endpoint. Callers pass the time in seconds."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        """Set once a call was answered."""
        self._refused_since: float | None = None
        self._in_flight: dict[int, float] = {}
        self._numbers = itertools.count()

    def begin(self, now: float) -> int:
        """Note that an attempt is sent; return its number."""
        number = next(self._numbers)
        self._in_flight[number] = now
        return number

    def end(self, number: int, ending: AttemptKind, now: float) -> None:
        """Note how an attempt ended: with a reply, a 429, or an error."""
        del self._in_flight[number]
        if ending == "ok":
            self._refused_since = None
        elif ending == "limited" and self._refused_since is None:
            self._refused_since = now

    def refused_for(self, now: float) -> float:
        """Return the seconds in which the endpoint has answered nothing but 429; 0 if an attempt is
        in flight for so long that it is probably being served."""
        if self._refused_since is None:
            return 0.0
        oldest = next(iter(self._in_flight.values()), now)
        return 0.0 if oldest < now - _SERVED else now - self._refused_since
