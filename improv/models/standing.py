"""How an endpoint stands to one host: whether it has answered, and how long it answers only 429."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math

from improv.models.tally import AttemptKind

_SERVED = 5.0
"""Seconds after which an attempt in flight counts as being served: refusals come sooner."""
_EDGE = 0.15
"""The part of an attempt, at its beginning and at its end, in which it may not be at the server."""


class Standing:
    """What the attempts of one host tell of an endpoint. Callers pass the time in seconds."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        """Set once a call was answered."""
        self._refused_since: float | None = None
        self.crowded = False
        """Whether the endpoint has refused a request because there were too many at once."""
        self._answers: collections.deque[tuple[float, float]] = collections.deque(maxlen=256)
        """When the last answered attempts were certainly served."""
        self._halfway: collections.deque[float] = collections.deque(maxlen=64)
        """The moments halfway through answered attempts that are not counted yet."""
        self._in_flight: dict[int, float] = {}
        self._numbers = itertools.count()

    def begin(self, now: float) -> int:
        """Note that an attempt is sent; return its number."""
        number = next(self._numbers)
        self._in_flight[number] = now
        return number

    def end(self, number: int, ending: AttemptKind, now: float) -> int:
        """Note how an attempt ended: with a reply, a 429, or an error.

        Return how many attempts the endpoint has certainly served at once, if that matters and is
        known by now: how many that it answered were in flight halfway through one of them. Those
        that only began before another ended were perhaps never there together.
        """
        began = self._in_flight.pop(number)
        if ending == "ok":
            self._refused_since = None
            # Where one ends as another begins, both may be on their way: the edges do not count.
            edge = _EDGE * (now - began)
            self._answers.append((began + edge, now - edge))
            self._halfway.append((began + now) / 2)
            return self._served_at_once() if self.crowded else 0
        if ending == "limited" and self._refused_since is None:
            self._refused_since = now
        return 0

    def refused_for(self, now: float) -> float:
        """Return the seconds in which the endpoint has answered nothing but 429; 0 if an attempt is
        in flight for so long that it is probably being served."""
        if self._refused_since is None:
            return 0.0
        oldest = next(iter(self._in_flight.values()), now)
        return 0.0 if oldest < now - _SERVED else now - self._refused_since

    def _served_at_once(self) -> int:
        oldest, most = next(iter(self._in_flight.values()), math.inf), 0
        # Only what has ended is known to have been answered.
        while self._halfway and self._halfway[0] < oldest:
            middle = self._halfway.popleft()
            most = max(most, sum(first <= middle <= last for first, last in self._answers))
        return most
