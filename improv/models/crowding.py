"""How many requests an endpoint takes at once, where it refuses one more in so many words. Pure.

Servers with slots and no queue, and gateways with a limit of parallel requests, answer "busy" to
the request that is one too many. That is no rate, so no statistics are needed: if a request was
refused when there were five in flight, and none was ever answered that was the fifth, four fit. One
more is tried now and then, more rarely each time. Where a request is answered that came on top of
as many, the refusal was about something else, and is forgotten. `rate_limiter` decides with it.
"""

from __future__ import annotations

import collections

from improv.models.tally import Tally

_FIRST_PROBE = 64
"""Replies after which one request more than fits is tried; twice as many after each that fails."""
_UNLIMITED = 1_000_000


class Crowding:
    """What an endpoint takes at once, as its refusals tell."""

    def __init__(self) -> None:
        self._full = 0
        """The fewest in flight at which a request was refused; 0 if that is not known."""
        self._refusals = 0
        self._served: collections.Counter[int] = collections.Counter()
        """How often so many were seen to be served at once. Of fast replies one is sometimes
        counted too many, because it is over before its reply is read here."""
        self._clean = 0
        self._probe_after = _FIRST_PROBE

    @property
    def most(self) -> int:
        """The most that may be in flight at once."""
        if not self._full:
            return _UNLIMITED
        return self._full - 1 + (self._clean >= self._probe_after)

    def note(self, tally: Tally, others: int) -> None:
        """Take the counts of one host; `others` is how many all other hosts may have had in flight.

        How many there were at once is at least what one host had, and at most that with all others.
        """
        if tally.fits:
            self._served[tally.fits] += 1
        crowded = tally.crowded + others if tally.crowded else 0
        if self._fit(max(crowded, 2) if crowded else self._full or _UNLIMITED):
            # As many or more fit, so what is refused is not one too many.
            self._full = self._refusals = 0
        elif crowded > 1 and crowded <= (self._full or crowded):
            if crowded == self._full and self._clean >= self._probe_after:
                self._probe_after *= 2
            self._full, self._clean = crowded, 0
            self._refusals += tally.limited
        else:
            self._clean += tally.ok

    def _fit(self, count: int) -> bool:
        """Return whether so many were served at once, more often than refusals speak against it."""
        often = sum(times for served, times in self._served.items() if served >= count)
        return often > 2 * max(1, self._refusals)
