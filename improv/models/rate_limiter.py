"""The rule by which the limit on one endpoint moves: how many requests it is sent at once.

Pure: no clock, no I/O. Hosts report what their attempts came to and get their share of a limit.
The gate that attempts pass, and the actor that serves a whole cluster, are in `gate`.

The limit is driven by counts of replies alone, never by how long they took: a slow endpoint is
not a full one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_START_LIMIT = 8
"""The first limit, and the least replies that a doubling is decided on."""
_MIN_WINDOW = 20
"""The least replies that any other window is decided on."""
_GROWTH_DIVISOR = 32
"""After a cut the limit grows by this part of what it was before, or by one: so it is back within
this many windows after a passing trouble, and never oversteps a capacity by more than a thirtieth.
The step stays the same until the next cut."""
_DEEPEST_CUT = 16
"""How far a limit is cut before refusals that go on are held to be none of our doing. Less
would not do: scenes asleep on a Retry-After keep the share steady until we are below capacity."""
_CLEAN_NEAR_CEILING = 200
"""Clean replies that a step takes near the level of the last two cuts, or those of four windows
where that is more. What was refused there will be again: looking less often keeps refusals few."""
_CEILING_REFUTED = 1.25
"""What goes well at this much more than the level of the last cut shows that its cause has gone,
or was a passing one: nothing is known any more, and growth doubles again as at the start."""
_MAX_TOLERATED = 0.5
"""An endpoint that refuses more than this of a trickle is full, whatever the load did to it."""
_BACKGROUND_MEMORY = 2000
"""Replies over which a tolerated share is averaged."""
_CLEAR_DEVIATIONS = 2.5
"""Standard deviations that make a difference a clear one."""
_NEGLIGIBLE_SHARE = 0.02
"""A share of refusals or errors that is not worth a thought."""
_SLOT_FRACTION = 0.25
"""A share of refusals below this part of a slot's: a cut by a whole slot would cost more."""
_BACKGROUND_WINDOWS = 256
"""Windows after which a tolerated share of refusals has to prove itself anew."""
_HOST_TIMEOUT = 10.0
"""Seconds without a report after which a host is taken for dead."""
_TURN_SECONDS = 2.0
"""Seconds that a host keeps its slot where there are fewer slots than hosts. Passing it on costs
up to a tick, so not after every attempt."""
AttemptKind = Literal["ok", "limited", "error"]
"""What an attempt came to: a reply, a 429, or a failure of the endpoint (5xx, timeout, garbage)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What attempts came to: `ok` replies, `limited` by a 429, `errors` of any other kind."""

    ok: int = 0
    limited: int = 0
    errors: int = 0

    @property
    def ended(self) -> int:
        return self.ok + self.limited + self.errors

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.ok + other.ok, self.limited + other.limited, self.errors + other.errors)


_EventKind = Literal["start", "grow", "hold", "cut", "restore", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterEvent:
    """One decision of a limiter: the limit from here on, and the replies that it was taken on.

    "late" is none: it counts the replies to what was sent before the last great move was known, on
    which nothing is decided. All moments together count every reply of all windows closed.
    """

    at: float
    limit: int
    in_flight: int
    ok: int
    limited: int
    errors: int
    hosts: int
    event: _EventKind


@dataclass(slots=True)
class _Host:
    seen: float
    in_flight: int = 0
    waiting: int = 0
    granted: int = 0
    since: float = 0.0
    late: int = 0
    """Replies yet to come that belong to what was sent before the limit's last great move."""
    behind: bool = False
    """Whether it has not heard of that move."""

    @property
    def demand(self) -> int:
        return self.in_flight + self.waiting

    @property
    def held(self) -> int:
        """Slots that nobody else can have yet: what it was given, and what it has not returned."""
        return max(self.granted, self.in_flight)


@dataclass(slots=True)
class _Trial:
    """A row of cuts, to see whether they cure the refusals: the levels tried, and their tallies."""

    limit: int
    bottom: int
    levels: list[tuple[int, Tally]] = field(default_factory=list)


class Limiter:
    """The rule by which the limit on one endpoint moves, and is shared among hosts.

    It moves at the end of a window of replies, about one for each slot, so once in a latency:

    - slow start from 8: a window that was used, and free of trouble, doubles it;
    - a window with refusals cuts it to the share that was let through, which is just what a rate
      cap takes. Replies to what was sent before the cut decide nothing: a burst cuts once;
    - then it grows by a constant step in each clean window, slower where it was cut twice, and
      well above the last cut by doubling again;
    - a window with more errors than usual holds it. The usual share is learned, because an
      endpoint that always fails a tenth would otherwise never be let grow.

    A cut that does not cure is followed by deeper ones. If the share of refusals at a sixteenth
    is what it was, then they come whatever the load: the limit is restored and that share is
    tolerated as background, until refusals are clearly above it.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"a limiter that allows at most {most} allows nothing")
        self.most = most
        self.limit = min(_START_LIMIT, most)
        self._hosts: dict[str, _Host] = {}
        self._queue: list[str] = []
        self._moments: list[LimiterEvent] = []
        self._started = False
        self._slow = True
        self._step = 1
        self._window = self._late = Tally()
        self._peak = 0
        self._good = 0
        self._ceiling = 0
        self._exact = False
        self._clean = 0
        self._trial: _Trial | None = None
        self._background = 0.0
        self._known = math.inf
        self._background_age = 0
        self._usual_errors = 0.0
        self._judged = 0

    def report(self, host: str, tally: Tally, in_flight: int, waiting: int, now: float) -> int:
        """Take what a host's attempts came to since its last report; return its allowance.

        `in_flight` of its attempts are on the wire and `waiting` are at its gate. The allowance is
        how many may be in flight: over all hosts at most the limit, but after a cut, until each
        host has heard of it.
        """
        for name in [n for n, h in self._hosts.items() if now - h.seen > _HOST_TIMEOUT]:
            self.leave(name)
        if host not in self._hosts:
            self._hosts[host] = _Host(now)
            self._queue.append(host)
        it = self._hosts[host]
        it.seen, it.in_flight, it.waiting = now, in_flight, waiting
        if not self._started:
            self._started = True
            self._remember(now, Tally(), "start")
        self._peak = max(self._peak, sum(h.demand for h in self._hosts.values()))
        behind = it.behind
        self._count(it, tally)
        if event := self._decide():
            # A 429 is back at once and a reply is not: where some always come, the first replies
            # after a great step up are too many 429s.
            leap = event == "restore" or (event == "grow" and self._slow and self._background > 0)
            self._close(now, event)
            if event == "cut" or leap:
                behind = True
                for other in self._hosts.values():
                    other.behind = True
        self._grant(host, tally.ended, now)
        if behind:
            it.behind, it.late = False, max(in_flight, it.granted)
        return it.granted

    def leave(self, host: str) -> None:
        """Forget a host and give its share to the others."""
        if self._hosts.pop(host, None):
            self._queue.remove(host)

    def history(self) -> list[LimiterEvent]:
        """Return what happened since this was last asked."""
        moments, self._moments = self._moments, []
        return moments

    def _count(self, host: _Host, tally: Tally) -> None:
        """Count replies, those to what was sent before the last great move apart."""
        if host.behind:
            self._late += tally
        elif host.late > 0:
            host.late -= tally.ended
            self._late += tally
        else:
            self._window += tally

    def _decide(self) -> _EventKind | None:
        """Move the limit if the window is full, and say how; None leaves the window open."""
        window, limit = self._window, self.limit
        size = max(limit, _START_LIMIT if self._slow and not self._background else _MIN_WINDOW)
        if window.ended < size:
            return None
        normal = (
            _NEGLIGIBLE_SHARE if self._trial else max(_NEGLIGIBLE_SHARE, _SLOT_FRACTION / limit)
        )
        if (
            _deviations_above(window.limited, window.ended, normal) > _CLEAR_DEVIATIONS
            and _deviations_above(window.limited, window.ended, self._background, self._known)
            > _CLEAR_DEVIATIONS
        ):
            return self._refused(window)
        if self._trial is not None:
            _, first = self._trial.levels[0]
            before = first.limited / first.ended
            if (
                _deviations_above(window.limited, window.ended, before, first.ended)
                > -_CLEAR_DEVIATIONS
            ):
                if window.ended < 4 * size:
                    return None
                self._trial.levels.append((limit, window))
                return self._restore(self._trial)
            self._trial = None
        if self._background:
            # Both ways, for it may fade. Should it creep up with the load, its next proof tells.
            self._known = min(_BACKGROUND_MEMORY, self._known + window.ended)
            share = window.limited / window.ended
            self._background += (share - self._background) * window.ended / self._known
        usual = max(_NEGLIGIBLE_SHARE, self._usual_errors)
        troubled = (
            window.errors > _MAX_TOLERATED * window.ended
            or _deviations_above(window.errors, window.ended, usual) > _CLEAR_DEVIATIONS
        )
        if self._peak < limit:
            return "hold"
        self._good = limit
        if troubled or limit == self.most:
            return "hold"
        self._clean += window.ended
        near = self._exact and limit + self._step >= 0.9 * self._ceiling
        if near and self._clean < max(_CLEAN_NEAR_CEILING, 4 * limit):
            return "hold"
        self._clean = 0
        if limit >= _CEILING_REFUTED * self._ceiling:
            self._slow, self._ceiling, self._exact = True, 0, False
        self.limit = min(self.most, 2 * limit if self._slow else limit + self._step)
        return "grow"

    def _refused(self, window: Tally) -> _EventKind:
        """Cut, go on cutting, or find that cuts do not help and take them back."""
        # A limit that nobody reached is not what was refused.
        load = max(1, min(self.limit, self._peak))
        if self._trial is None:
            self._trial = _Trial(self.limit, max(1, min(2, load - 1), load // _DEEPEST_CUT))
            self._step = max(1, self.limit // _GROWTH_DIVISOR)
        self._slow = False
        self._trial.levels.append((self.limit, window))
        share = window.limited / window.ended
        if self.limit <= self._trial.bottom and share <= _MAX_TOLERATED:
            return self._restore(self._trial)
        if self.limit == 1:
            return "hold"
        # Refusals come back sooner than replies, so their share exaggerates. What went well a
        # window ago is therefore nearly reached again; only if that fails is the cut a deep one.
        excess = (share - self._background) / (1 - self._background)
        target = 0.5 * load
        if len(self._trial.levels) <= 2:
            target = max(target, (1 - excess) * load, 0.9 * self._good)
        self._good = self._clean = 0
        self._exact = 0.75 * self._ceiling <= load <= _CEILING_REFUTED * self._ceiling
        self._ceiling = load
        # Lower than the bottom only from there: windows of so few slots take their time.
        least = self._trial.bottom if self.limit > self._trial.bottom else 1
        self.limit = max(least, min(self.limit - 1, int(min(target, 0.9 * load))))
        return "cut"

    def _restore(self, trial: _Trial) -> _EventKind:
        """Go back to the highest level that was refused no more than the lowest."""
        before = self.limit
        (self.limit, pooled), *higher = reversed(trial.levels)
        for level, tally in higher:
            share = pooled.limited / pooled.ended
            if (
                _deviations_above(tally.limited, tally.ended, share, pooled.ended)
                > _CLEAR_DEVIATIONS
            ):
                break
            self.limit, pooled = level, pooled + tally
        # The refusals taught nothing about a capacity, so it is looked for anew.
        self._slow = True
        self._good = self.limit
        self._ceiling = self._clean = 0
        self._exact = False
        self._background = min(_MAX_TOLERATED, pooled.limited / pooled.ended)
        self._known = pooled.ended
        self._background_age = 0
        self._trial = None
        return "restore" if self.limit > before else "hold"

    def _close(self, now: float, event: _EventKind) -> None:
        window = self._window
        self._judged += 1
        # A mean at first, to know a steady share early; then slow, so that a burst stays unusual.
        weight = 1 / min(self._judged, 32)
        self._usual_errors += weight * (window.errors / window.ended - self._usual_errors)
        self._background_age += 1
        if self._background_age >= _BACKGROUND_WINDOWS:
            self._background, self._known = 0.0, math.inf
        if self._late.ended:
            self._remember(now, self._late, "late")
        self._remember(now, window, event)
        self._window = self._late = Tally()
        self._peak = sum(h.demand for h in self._hosts.values())

    def _remember(self, now: float, tally: Tally, event: _EventKind) -> None:
        in_flight = sum(h.in_flight for h in self._hosts.values())
        moment = LimiterEvent(
            at=now,
            limit=self.limit,
            in_flight=in_flight,
            ok=tally.ok,
            limited=tally.limited,
            errors=tally.errors,
            hosts=len(self._hosts),
            event=event,
        )
        self._moments.append(moment)

    def _grant(self, name: str, ended: int, now: float) -> None:
        """Give a host what it may have now: its share, as far as others have let go of theirs."""
        host = self._hosts[name]
        if host.granted and now - host.since >= _TURN_SECONDS and (ended or not host.in_flight):
            # Whoever had a turn stands behind the others: it matters where slots are fewer.
            self._queue.remove(name)
            self._queue.append(name)
            host.since = now
        demand = {n: self._hosts[n].demand for n in self._queue}
        share = shares(self.limit, demand)[name]
        free = self.limit - sum(h.held for n, h in self._hosts.items() if n != name)
        granted = max(0, min(share, free))
        if granted and not host.granted:
            host.since = now
        host.granted = granted


def shares(limit: int, demand: Mapping[str, int]) -> dict[str, int]:
    """Share `limit` slots among hosts by their demand; they sum to `limit` if there is a host.

    With fewer slots than hosts that want one, the first in order get them. Hosts that want none
    get one each out of what is over, or out of a quarter, so that they can start at once.
    """
    busy = [h for h, wanted in demand.items() if wanted > 0]
    idle = [h for h, wanted in demand.items() if wanted <= 0]
    given = dict.fromkeys(demand, 0)
    if limit < len(busy):
        return given | dict.fromkeys(busy[:limit], 1)
    over = limit - sum(demand[h] for h in busy)
    spare = min(len(idle), max(over, min(limit // 4, limit - len(busy))))
    given |= dict.fromkeys(idle[:spare], 1)
    rest = limit - spare
    if over >= spare:
        given |= {h: demand[h] for h in busy}
        everyone = busy or idle
        extra = _split(over - spare, dict.fromkeys(everyone, 1))
        return given | {h: given[h] + extra[h] for h in everyone}
    weights = {h: demand[h] for h in busy}
    while small := [h for h in weights if rest * weights[h] < sum(weights.values())]:
        given |= dict.fromkeys(small, 1)
        weights = {h: w for h, w in weights.items() if h not in small}
        rest -= len(small)
    return given | _split(rest, weights)


def _split(seats: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Split seats in proportion to weights, by largest remainder."""
    total = sum(weights.values())
    if not total:
        return dict.fromkeys(weights, 0)
    given = {h: seats * w // total for h, w in weights.items()}
    by_remainder = sorted(weights, key=lambda h: seats * weights[h] % total, reverse=True)
    for h in by_remainder[: seats - sum(given.values())]:
        given[h] += 1
    return given


def _deviations_above(hits: int, of: int, share: float, known_from: float = math.inf) -> float:
    """Return by how many standard deviations `hits` out of `of` are more than `share` would give.

    `share` may itself be a count, out of `known_from`. On the arcsine scale, where few hits have
    the variance of many (Anscombe 1948): windows are small and shares often near 0.
    """
    expected = share if known_from == math.inf else _smooth(share * known_from, known_from)
    apart = math.asin(math.sqrt(_smooth(hits, of))) - math.asin(math.sqrt(expected))
    return 2 * apart / math.sqrt(1 / of + 1 / known_from)


def _smooth(hits: float, of: float) -> float:
    return (hits + 0.375) / (of + 0.75)
