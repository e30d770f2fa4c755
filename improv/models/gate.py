"""The gate: limits how many requests one host has in flight to one endpoint.

Each host has a `Gate` for each endpoint. `keep_reporting` sends the gate's counts to the endpoint's
limiter and sets the gate to the allowance that comes back. The limiter is a `LiveLimiter` in this
process, or one Ray actor for all hosts of a cluster; the rule that moves the limit is in
`rate_limiter`. An attempt is one HTTP request. The wait before a retry is the client's, and takes
no place at the gate.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from improv.models.rate_limiter import START_LIMIT, Limiter, LimiterEvent
from improv.models.standing import Standing
from improv.models.tally import AttemptKind, Tally
from improv.records import digest

_REPORT_INTERVAL = 0.25
"""Seconds between a host's reports while nothing happens."""
_MIN_REPORT_INTERVAL = 0.02
"""Minimum seconds between a host's reports: each costs nearly a millisecond of CPU."""
_REPORT_TIMEOUT = 10.0
"""Seconds after which a report counts as failed."""

SendReport = Callable[[str, Tally, int, int], Awaitable[int]]
"""Takes host, tally, attempts in flight and attempts waiting; returns the host's allowance."""


class Gate:
    """One host's gate to one endpoint: each attempt runs inside `async with gate`, in FIFO order.

    `allow` sets how many attempts may be in flight; if it lowers the number, attempts in flight
    finish. The result of an attempt is noted with `note` before the attempt leaves the gate.
    """

    def __init__(self, allowed: int = 0) -> None:
        self.allowed = allowed
        self.in_flight = 0
        self.standing = Standing()
        self._queue: collections.deque[asyncio.Future[int]] = collections.deque()
        self._counts: collections.Counter[AttemptKind] = collections.Counter()
        self._ended = 0
        self._seconds = self._patience = 0.0
        self._crowded = self._fits = 0
        self._was_empty = True
        self._resting = 0
        self._event = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def __aenter__(self) -> int:
        """Wait for a place; return how many attempts are in flight with this one."""
        if not self._queue and self._room:
            self.in_flight += 1
            return self.in_flight
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        if self._was_empty:
            self._event.set()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # It was admitted and cancelled in the same pass of the loop.
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._leave()

    def allow(self, n: int) -> None:
        """Allow `n` attempts in flight from now on; with 0 every attempt waits."""
        self.allowed = n
        self._admit()

    def note(
        self,
        kind: AttemptKind,
        pause: float = 0.0,
        seconds: float = 0.0,
        patience: float = 0.0,
        *,
        crowd: int = 0,
        served: int = 0,
    ) -> None:
        """Note the result of an attempt, and for a 429 its Retry-After in seconds.

        `seconds` is how long a reply took, and `patience` the time limit of the attempt. `crowd` is
        how many were in flight with one that was refused because these were too many at once, and
        `served` how many were certainly served together with it.
        An allowance of one cannot fall further. An endpoint that takes less than one attempt at a
        time would refuse every waiting call in turn, so there one Retry-After holds all attempts.
        """
        self._counts[kind] += 1
        self._ended += 1
        self._seconds += seconds
        self._patience = min(patience, self._patience or patience) or self._patience
        if kind == "limited" and pause > 0 and self.allowed <= 1:
            self._resting += 1
            asyncio.get_running_loop().call_later(pause, self._rested)
        if kind == "ok":
            self._fits = max(self._fits, served)
        elif crowd:
            crowd = max(crowd, self.in_flight)
            self._crowded = min(crowd, self._crowded or crowd)
        if kind == "timeout" or crowd > 1:
            # Nobody takes its place before the limiter has spoken: the server may still be busy
            # with a request that it does not know to be given up.
            self.allowed = max(1, self.allowed - 1)
        if kind in ("limited", "timeout") or (self._queue and self._ended >= self.allowed):
            self._event.set()

    def take_tally(self) -> Tally:
        """Return the counts noted since the last call of this method, and start again from 0."""
        counts = self._counts
        timeouts = counts["timeout"]
        tally = Tally(
            counts["ok"],
            counts["limited"],
            counts["error"] + timeouts,
            timeouts,
            self._seconds,
            self._patience,
            self._crowded,
            self._fits,
        )
        counts.clear()
        self._seconds = self._patience = 0.0
        self._crowded = self._fits = 0
        self._ended = 0
        self._was_empty = not self._queue
        self._event.clear()
        return tally

    async def wait_for_event(self, timeout: float) -> None:
        """Wait until there is something to report, for at most `timeout` seconds.

        Three events are reported: a 429 or a timeout; the first attempt that has to wait; and,
        while attempts wait, as many ended attempts as are allowed, because the limiter may then
        close a window.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._admit()

    def _rested(self) -> None:
        self._resting -= 1
        self._admit()

    @property
    def _room(self) -> bool:
        resting = self._resting > 0 and self.allowed <= 1
        return self.in_flight < self.allowed and not resting

    def _admit(self) -> None:
        while self._queue and self._room:
            turn = self._queue.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(self.in_flight)


class LiveLimiter:
    """A Limiter with a clock: an object in this process, or a Ray actor that all hosts call."""

    def __init__(
        self, most: int, clock: Callable[[], float] = time.time, *, start: int = START_LIMIT
    ) -> None:
        self._limiter = Limiter(most, start)
        self._clock = clock

    async def report(self, host: str, tally: Tally, in_flight: int, waiting: int) -> int:
        return self._limiter.report(host, tally, in_flight, waiting, self._clock())

    async def leave(self, host: str) -> None:
        self._limiter.leave(host)

    async def history(self) -> list[LimiterEvent]:
        return self._limiter.history()


def limiter_actor(endpoint: str, most: int) -> Any:
    """Return the Ray actor that limits `endpoint` for all hosts; start it if there is none.

    The process that starts the actor owns it, and the actor ends with its owner. So the driver
    calls this before it starts a host. A host starts the actor only after the first one died.
    """
    import ray  # not at the top: without a cluster, models are called without Ray

    actor: Any = ray.remote(LiveLimiter)
    return actor.options(
        name=f"improv-limiter-{digest(endpoint)}",
        # Our own namespace, so that all drivers of a cluster find the same actor.
        namespace="improv",
        get_if_exists=True,
        num_cpus=0,
    ).remote(most)


async def report_to_actor(endpoint: str, most: int) -> SendReport:
    """Return a function that reports to the limiter actor of `endpoint`."""
    actor = limiter_actor(endpoint, most)

    async def report(host: str, tally: Tally, in_flight: int, waiting: int) -> int:
        return int(await actor.report.remote(host, tally, in_flight, waiting))

    return report


async def keep_reporting(
    gate: Gate,
    report: SendReport,
    host: str,
    renew: Callable[[], Awaitable[SendReport]] | None = None,
) -> None:
    """Report the counts of `gate` and set its allowance, until cancelled.

    After a report that failed, `renew` returns the function to report with from then on. Counts
    that were not delivered are sent with the next report.
    """
    unreported = Tally()
    while True:
        unreported += gate.take_tally()
        try:
            async with asyncio.timeout(_REPORT_TIMEOUT):
                gate.allow(await report(host, unreported, gate.in_flight, gate.waiting))
            unreported = Tally()
            await asyncio.sleep(_MIN_REPORT_INTERVAL)
        except Exception:
            # Without reports a closed gate would stay closed and stop every scene. One attempt
            # at a time is hardly any load, and lets the scenes go on.
            gate.allow(max(1, gate.allowed))
            await asyncio.sleep(_REPORT_INTERVAL)
            if renew is not None:
                with contextlib.suppress(Exception):
                    report = await renew()
        await gate.wait_for_event(_REPORT_INTERVAL)
