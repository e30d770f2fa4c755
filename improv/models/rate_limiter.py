"""The rate limiter: how many requests may be in flight to one endpoint at once.

Hosts report how their attempts ended (reply, 429 or error), and the limiter returns how many
attempts each host may have in flight. A slow endpoint is not a full one, so latency alone decides
nothing; `pace` says where more in flight gives no more replies, and `crowding` where an endpoint
says itself that it does no more at once. Pure: no clock, no I/O. The gate
that attempts pass, and the actor that serves a whole cluster, are in `gate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from improv.models.crowding import Crowding
from improv.models.pace import Pace
from improv.models.shares import shares
from improv.models.tally import Tally

START_LIMIT = 8
"""The first limit, and the minimum replies in a window that may double the limit."""
_MIN_WINDOW = 20
"""The minimum replies in any other window."""
_GROWTH_DIVISOR = 32
"""After a cut the limit grows in steps of 1/32 of the limit before the cut, at least 1. So it is
back within 32 windows after a brief trouble, and exceeds a capacity by a thirtieth at most. The
step stays the same until the next cut."""
_DEEPEST_CUT = 16
"""If the share of refusals is the same at 1/16 of the limit, our load does not cause them. A
smaller divisor is not enough: scenes that wait for a Retry-After keep the share steady until the
load is below capacity."""
_CLEAN_NEAR_CEILING = 200
"""Near the level of the last two cuts, the limit grows only after this many clean replies, or
those of four windows if that is more. The endpoint will refuse there again, so rare attempts keep
refusals few."""
_CEILING_REFUTED = 1.25
"""A clean window at this multiple of the last cut's level shows that the cause of the cut is
gone. The limiter then forgets the level, and the limit doubles again as at the start."""
_MAX_TOLERATED = 0.5
"""An endpoint that refuses more than this share at the lowest limit is full."""
_BACKGROUND_MEMORY = 2000
"""Replies over which the tolerated share of refusals is averaged."""
_CLEAR_DEVIATIONS = 2.5
"""A difference of more standard deviations than this is taken as real."""
_NEGLIGIBLE_SHARE = 0.02
"""A share of refusals or errors that is ignored."""
_SLOT_FRACTION = 0.25
"""A share of refusals up to this part of one slot is ignored: a cut by a whole slot costs more."""
_BACKGROUND_WINDOWS = 256
"""Windows after which the tolerated share of refusals is tested again."""
_HOST_TIMEOUT = 10.0
"""Seconds without a report after which a host counts as dead."""
_TURN_SECONDS = 2.0
"""Seconds that a host keeps its slot if there are fewer slots than hosts. Passing the slot on takes
up to one report interval, so it is not passed on after every attempt."""


_EventKind = Literal["start", "grow", "hold", "cut", "restore", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterEvent:
    """One decision of the limiter: the limit from then on, and the counts that it is based on.

    The event "late" is no decision. It counts the replies to requests that were sent before their
    host knew of the last cut or restore, which decide nothing. All events together count every
    reply of all closed windows.
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
    """Replies still to come to requests that were sent before the last cut or leap."""
    behind: bool = False
    """Whether the host has not yet reported since that cut or leap."""

    @property
    def demand(self) -> int:
        return self.in_flight + self.waiting

    @property
    def held(self) -> int:
        """Slots that no other host can have yet: the larger of its allowance and its attempts."""
        return max(self.granted, self.in_flight)


@dataclass(slots=True)
class _Trial:
    """A series of cuts that tests whether a lower limit ends the refusals."""

    limit: int
    bottom: int
    levels: list[tuple[int, Tally]] = field(default_factory=list)


class Limiter:
    """The limit on one endpoint, and each host's share of it.

    The limit changes at the end of a window of replies. A window holds about one reply for each
    slot, so the limit changes about once per latency:

    - Slow start: the limit starts at 8. A clean window in which all slots were wanted doubles it.
    - Cut: a window with refusals (429) cuts the limit to the share that was not refused, which is
      what a rate cap takes. Replies to requests sent before the cut decide nothing, so that one
      burst of refusals cuts once.
    - Growth: after a cut the limit grows by a constant step per clean window; more slowly near a
      level that was cut twice; and by doubling again well above the last cut.
    - Pace: while it doubles, the limit stops where throughput stops growing, and goes down to what
      the endpoint does at once. It does not grow to where replies would come too late, and it is
      halved if most attempts time out.
    - Crowding: an endpoint that says "one at a time" gets as many as it has shown to take.
    - Hold: a window with more errors than usual leaves the limit as it is. The usual share is
      learned, because otherwise an endpoint that always fails a tenth could never grow.
    - Restore: if a cut does not end the refusals, deeper cuts follow. If the share of refusals at a
      sixteenth of the limit is still the same, load does not cause them. The limit is restored, and
      that share is tolerated as background until refusals are clearly above it.
    """

    def __init__(self, most: int, start: int = START_LIMIT) -> None:
        if most < 1:
            raise ValueError(f"a limiter needs a limit of at least 1, not {most}")
        self.most = most
        self.limit = max(1, min(start, most))
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
        self._crowding = Crowding()
        self._pace = Pace()
        self._pace.begin(self.limit)

    def report(self, host: str, tally: Tally, in_flight: int, waiting: int, now: float) -> int:
        """Take a host's counts since its last report; return how many it may have in flight.

        `in_flight` is the number of its attempts that were sent, `waiting` the number at its gate.
        The allowances of all hosts sum to the limit at most, except after a cut until every host
        has reported once.
        """
        for name in [n for n, h in self._hosts.items() if now - h.seen > _HOST_TIMEOUT]:
            self.leave(name)
        if host not in self._hosts:
            self._hosts[host] = _Host(now)
            self._queue.append(host)
        reporting = self._hosts[host]
        reporting.seen, reporting.in_flight, reporting.waiting = now, in_flight, waiting
        if not self._started:
            self._started = True
            self._remember(now, Tally(), "start")
        self._peak = max(self._peak, sum(h.demand for h in self._hosts.values()))
        behind = reporting.behind
        self._count(reporting, tally)
        limit = self.limit
        demand = sum(h.demand for h in self._hosts.values())
        self._pace.note(tally, now, full=demand >= limit)
        self._crowding.note(tally, sum(h.held for n, h in self._hosts.items() if n != host))
        if event := self._decide(now):
            if self.limit != limit:
                self._pace.begin(max(self.limit, sum(h.in_flight for h in self._hosts.values())))
            # A 429 comes back sooner than a reply. With a constant background of 429s, the first
            # results after a large step up therefore hold too many of them.
            leap = event == "restore" or (event == "grow" and self._slow and self._background > 0)
            self._close(now, event)
            if event == "cut" or leap:
                behind = True
                for other in self._hosts.values():
                    other.behind = True
        self._grant(host, tally.ended, now)
        if behind:
            reporting.behind, reporting.late = False, max(in_flight, reporting.granted)
        return reporting.granted

    def leave(self, host: str) -> None:
        """Forget a host and give its share to the others."""
        if self._hosts.pop(host, None):
            self._queue.remove(host)

    def history(self) -> list[LimiterEvent]:
        """Return the events since the last call of this method."""
        moments, self._moments = self._moments, []
        return moments

    def _count(self, host: _Host, tally: Tally) -> None:
        """Count replies; count apart those to requests sent before the last cut or leap."""
        if host.behind:
            self._late += tally
        elif host.late > 0:
            host.late -= tally.ended
            self._late += tally
        else:
            self._window += tally

    def _decide(self, now: float) -> _EventKind | None:
        """Change the limit if the window is full; return the event, None if it is not full."""
        window, limit = self._window, self.limit
        if self._runs_out_of_time(now) or self._is_crowded():
            return "cut"
        most = min(self.most, self._crowding.most)
        size = max(limit, START_LIMIT if self._slow and not self._background else _MIN_WINDOW)
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
            # The share may rise or fall. If it rises with the load, the next test shows it.
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
        if troubled:
            return "hold"
        if self._slow:
            self.limit = self._pace.advise(limit, min(most, 2 * limit), now)
            return "grow" if self.limit > limit else "cut" if self.limit < limit else "hold"
        if limit >= most:
            return "hold"
        self._clean += window.ended
        near = self._exact and limit + self._step >= 0.9 * self._ceiling
        if near and self._clean < max(_CLEAN_NEAR_CEILING, 4 * limit):
            return "hold"
        self._clean = 0
        if limit >= _CEILING_REFUTED * self._ceiling:
            self._slow, self._ceiling, self._exact = True, 0, False
        self.limit = min(most, 2 * limit if self._slow else limit + self._step)
        return "grow"

    def _is_crowded(self) -> bool:
        """Cut the limit to what the endpoint takes at once; return whether it is cut."""
        if self.limit <= self._crowding.most:
            return False
        self.limit, self._slow, self._trial = self._crowding.most, True, None
        return True

    def _runs_out_of_time(self, now: float) -> bool:
        """Cut the limit if attempts time out because there are too many; return whether it is cut.

        If half of a window times out, the limit is halved at least; if fewer do, it is cut to what
        the endpoint answers in time, so a few replies that never come cut nothing.
        """
        window, limit = self._window, self.limit
        if limit == 1 or window.timeouts < 2:
            return False
        in_time = self._pace.most_in_time(now)
        if 2 * window.timeouts >= window.ended >= limit // 2:
            limit = min(limit // 2, limit if in_time is None else in_time)
        elif in_time is not None and window.ended >= limit:
            limit = min(limit, in_time)
        if limit == self.limit:
            return False
        self.limit = max(1, limit)
        self._good = self._clean = 0
        self._slow, self._trial = True, None
        self._pace.forget()
        return True

    def _refused(self, window: Tally) -> _EventKind:
        """Cut the limit, or restore it if the cuts do not reduce the refusals."""
        # If the limit was not reached, the endpoint refused a smaller load.
        load = max(1, min(self.limit, self._peak))
        if self._trial is None:
            self._trial = _Trial(self.limit, max(1, min(2, load - 1), load // _DEEPEST_CUT))
            self._step = max(1, self.limit // _GROWTH_DIVISOR)
        self._slow = False
        self._pace.forget()
        self._trial.levels.append((self.limit, window))
        share = window.limited / window.ended
        if self.limit <= self._trial.bottom and share <= _MAX_TOLERATED:
            return self._restore(self._trial)
        if self.limit == 1:
            return "hold"
        # Refusals come back sooner than replies, so their share is too high. The first two cuts
        # therefore stay near the last limit that went well; only later cuts go deep.
        excess = (share - self._background) / (1 - self._background)
        target = 0.5 * load
        if len(self._trial.levels) <= 2:
            target = max(target, (1 - excess) * load, 0.9 * self._good)
        self._good = self._clean = 0
        self._exact = 0.75 * self._ceiling <= load <= _CEILING_REFUTED * self._ceiling
        self._ceiling = load
        # Below the bottom only in a second step: windows of so few slots take long.
        least = self._trial.bottom if self.limit > self._trial.bottom else 1
        self.limit = max(least, min(self.limit - 1, int(min(target, 0.9 * load))))
        return "cut"

    def _restore(self, trial: _Trial) -> _EventKind:
        """Return to the highest level whose share of refusals is not above the lowest level's."""
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
        # The refusals say nothing about the capacity, so the search for it starts again.
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
        # First a mean, to learn a steady share early; then a slow average, so that a burst of
        # errors does not become usual.
        weight = 1 / min(self._judged, 32)
        self._usual_errors += weight * (window.errors / max(1, window.ended) - self._usual_errors)
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
        """Set a host's allowance: its share, as far as other hosts have returned their slots."""
        host = self._hosts[name]
        if host.granted and now - host.since >= _TURN_SECONDS and (ended or not host.in_flight):
            # The host goes to the end of the queue, which matters with fewer slots than hosts.
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


def _deviations_above(hits: int, total: int, share: float, known_from: float = math.inf) -> float:
    """Return by how many standard deviations `hits` out of `total` exceed the expected `share`.

    If `share` is itself an estimate, `known_from` is the number of replies that it comes from. The
    difference is taken on the arcsine scale, where the variance does not depend on the share
    (Anscombe 1948), because windows are small and shares often near 0.
    """
    expected = share if known_from == math.inf else _smooth(share * known_from, known_from)
    difference = math.asin(math.sqrt(_smooth(hits, total))) - math.asin(math.sqrt(expected))
    return 2 * difference / math.sqrt(1 / total + 1 / known_from)


def _smooth(hits: float, total: float) -> float:
    return (hits + 0.375) / (total + 0.75)
