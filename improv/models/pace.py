"""The pace of an endpoint: the number in flight at which its throughput stops growing. Pure.

A server with one slot answers no faster if a hundred requests wait in its queue: each reply only
takes longer, until requests time out whose replies it makes all the same. Little's law gives the
throughput at a limit, if all its slots are full: the limit divided by the mean seconds of a reply.
So the limits that were tried are compared, and the throughput below and above tells how much the
server does at once. `rate_limiter` decides with it, and knows what refusals mean.
"""

from __future__ import annotations

import math

from improv.models.tally import Tally

_QUICK = 0.1
"""Replies within so few seconds do not time out in a queue, and say more of us than of the server:
64 at once take our own CPU a tenth of a second. Their throughput decides nothing."""
_ENOUGH = 8
"""Replies from which the seconds of a reply are estimated, at least."""
_SAME = 0.8
"""A limit with this part of the best throughput counts as no slower: replies differ in length."""
_PROBED = 1.5
"""A step up by less than this factor shows no difference of throughput."""
_STILL_GROWS = 1.25
"""The throughput at twice the limit, from which on it counts as growing."""
_PATIENCE_USED = 0.8
"""The part of a call's time limit that a reply may need, if the server did one after the other."""
_SETTLED_WINDOWS = 48
"""Windows after which a limit that was found is tried again: a server may get more slots."""


class Pace:
    """What the replies at each limit tell of the throughput of an endpoint."""

    def __init__(self) -> None:
        self._seconds_at: dict[int, float] = {}
        """Limit → mean seconds of a reply, for limits that were tried with all slots full."""
        self._found: int | None = None
        self._settled_for = 0
        self._patience = 0.0
        self._began: float | None = None
        self._stale = 0
        self._answered = self._replies = 0
        self._seconds = self._all_seconds = 0.0

    def begin(self, stale: int) -> None:
        """Begin with a new limit. The next `stale` replies are to requests of the old one, or came
        before the queue of the server had its new length."""
        self._began, self._stale = None, stale
        self._answered = self._replies = 0
        self._seconds = self._all_seconds = 0.0

    def forget(self) -> None:
        """Forget all limits, because the endpoint does not take what it took."""
        self._seconds_at.clear()
        self._found = None

    def note(self, tally: Tally, now: float, *, full: bool) -> None:
        """Take the counts of a report; `full` says whether all slots were wanted."""
        if self._began is None:
            self._began = now
        if tally.patience:
            self._patience = min(tally.patience, self._patience or tally.patience)
        self._answered += tally.ok
        self._all_seconds += tally.seconds
        if self._stale > 0:
            self._stale -= tally.ended
        elif full and tally.seconds:
            self._replies += tally.ok
            self._seconds += tally.seconds

    def most_in_time(self, now: float) -> int | None:
        """Return how many requests the endpoint answers within their time limit at the throughput
        since the limit began; None if that is not known."""
        if not self._patience or self._began is None or now <= self._began:
            return None
        return int(_PATIENCE_USED * self._patience * self._answered / (now - self._began))

    def advise(self, limit: int, wanted: int, now: float) -> int:
        """Return the next limit: `wanted` at most, `limit` to wait, or a smaller one."""
        most = self.most_in_time(now)
        if most is not None:
            wanted = max(limit, min(wanted, most))
        if not self._seconds_at and self._all_seconds < _QUICK * self._answered:
            return wanted
        if not self._all_seconds:
            return wanted
        if self._replies < max(_ENOUGH, limit // 2):
            return limit
        mean = self._seconds_at[limit] = self._seconds / self._replies
        if self._found is not None:
            self._settled_for += 1
            if self._settled_for < _SETTLED_WINDOWS:
                return self._found
            self.forget()
            self._seconds_at[limit] = mean
            return min(wanted, max(limit + 1, limit * 3 // 2))
        return self._next(limit, wanted)

    def _next(self, limit: int, wanted: int) -> int:
        """Return the next limit to try, or the one that was found."""
        per_second = {n: n / seconds for n, seconds in self._seconds_at.items()}
        best, top, least = max(per_second.values()), max(per_second), min(per_second)
        slower = [n for n, each in per_second.items() if each < _SAME * best]
        if not slower:
            if top == least and wanted >= _PROBED * limit:
                return wanted
            if top == least and wanted == limit and not self._is_strained(limit):
                return limit
            if least == 1 or self._seconds_at[least] < _QUICK:
                return self._find(least)
            return least // 2
        low = max(slower)
        does_at_once = max(low, min(top, round(low * best / per_second[low])))
        only_top = all(n <= low or n == top for n in per_second)
        grows = only_top and best >= _STILL_GROWS ** math.log2(top / low) * per_second[low]
        if grows or does_at_once >= 0.9 * top:
            # It does as many at once as were ever tried, so more are tried.
            return wanted if limit == top else top
        return self._find(does_at_once)

    def _is_strained(self, limit: int) -> bool:
        seconds = self._seconds_at[limit]
        return bool(self._patience) and seconds * _PROBED > _PATIENCE_USED * self._patience

    def _find(self, limit: int) -> int:
        self._found, self._settled_for = limit, 0
        return limit
