"""Lets a host's attempts through to one endpoint: the gate, and what keeps its allowance current.

Gate is a host's own door. keep_reporting goes between the gate and the endpoint's limiter, which is
a LiveLimiter of this process or the one Ray actor of a cluster. The rule itself is in
`rate_limiter`. An attempt is a single HTTP request; waiting before the next one, as a Retry-After
asks, is the client's business and holds no slot.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from improv.models.rate_limiter import AttemptKind, Limiter, LimiterEvent, Tally
from improv.records import digest

_REPORT_INTERVAL = 0.25
"""Seconds between a host's reports where nothing happens."""
_MIN_REPORT_INTERVAL = 0.02
"""Seconds between a host's reports at least: each costs most of a millisecond of CPU."""
_REPORT_TIMEOUT = 10.0
"""Seconds that a report may take before its limiter is given up."""

SendReport = Callable[[str, Tally, int, int], Awaitable[int]]
"""Takes host, tally, attempts in flight and attempts waiting; gives the host's allowance."""


class Gate:
    """A host's door to one endpoint: `async with gate` for each attempt, first come first in.

    `allow` says how many may be inside; if they become fewer, those inside finish. What an
    attempt came to is noted before it leaves.
    """

    def __init__(self, allowed: int = 0) -> None:
        self.allowed = allowed
        self.in_flight = 0
        self._queue: collections.deque[asyncio.Future[None]] = collections.deque()
        self._counts: collections.Counter[AttemptKind] = collections.Counter()
        self._ended = 0
        self._nobody_waited = True
        self._resting = 0
        self._eventful = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def __aenter__(self) -> None:
        if not self._queue and self._room:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        if self._nobody_waited:
            self._eventful.set()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # It was let in and cancelled in the same moment.
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
        """Let `n` be in flight from now on; with 0 all wait."""
        self.allowed = n
        self._admit()

    def note(self, kind: AttemptKind, pause: float = 0.0) -> None:
        """Note what an attempt came to, and with a 429 its Retry-After in seconds.

        At one slot a limit can't fall any further, and an endpoint that takes less would refuse
        one waiting call after the other: there, what is asked of one is asked of all.
        """
        self._counts[kind] += 1
        self._ended += 1
        if kind == "limited" and pause > 0 and self.allowed <= 1:
            self._resting += 1
            asyncio.get_running_loop().call_later(pause, self._rested)
        if kind == "limited" or (self._queue and self._ended >= self.allowed):
            self._eventful.set()

    def take_tally(self) -> Tally:
        """Return what was noted since this was last asked, as a report does."""
        counts = self._counts
        tally = Tally(counts["ok"], counts["limited"], counts["error"])
        counts.clear()
        self._ended = 0
        self._nobody_waited = not self._queue
        self._eventful.clear()
        return tally

    async def eventful(self, timeout: float) -> None:
        """Wait until there is something to report, but no longer than `timeout` seconds.

        That is a 429; attempts that wait where none did; or as many ended as are allowed, with
        more waiting, because then the limiter may have a window to close.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._eventful.wait()

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
                turn.set_result(None)


class LiveLimiter:
    """A Limiter by the clock: in process its own methods, as a Ray actor one for all hosts."""

    def __init__(self, most: int, clock: Callable[[], float] = time.time) -> None:
        self._limiter = Limiter(most)
        self._clock = clock

    async def report(self, host: str, tally: Tally, in_flight: int, waiting: int) -> int:
        return self._limiter.report(host, tally, in_flight, waiting, self._clock())

    async def leave(self, host: str) -> None:
        self._limiter.leave(host)

    async def history(self) -> list[LimiterEvent]:
        return self._limiter.history()


def limiter_actor(endpoint: str, most: int) -> Any:
    """Return the actor that limits `endpoint` for all hosts, started where there is none.

    Whoever asks first owns it, and it ends with its owner: so that is the driver, which asks
    before it starts a host. Only where it died does a host make it anew.
    """
    import ray  # where there is no cluster, models are called without it

    actor: Any = ray.remote(LiveLimiter)
    return actor.options(
        name=f"improv-limiter-{digest(endpoint)}",
        # A namespace of its own, so that all drivers of a cluster find the same one.
        namespace="improv",
        get_if_exists=True,
        num_cpus=0,
    ).remote(most)


async def report_to_actor(endpoint: str, most: int) -> SendReport:
    """Return how a host reports to the limiter of `endpoint`."""
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
    """Report what passes `gate` and set its allowance, until cancelled.

    `renew` gives another way to report where one has failed.
    """
    owed = Tally()
    while True:
        owed += gate.take_tally()
        try:
            async with asyncio.timeout(_REPORT_TIMEOUT):
                gate.allow(await report(host, owed, gate.in_flight, gate.waiting))
            owed = Tally()
            await asyncio.sleep(_MIN_REPORT_INTERVAL)
        except Exception:
            # Whatever it was: without reports the gate would stand as it is for good, and a
            # closed one hold up every scene. One at a time is no load and gets them through.
            gate.allow(max(1, gate.allowed))
            await asyncio.sleep(_REPORT_INTERVAL)
            if renew is not None:
                with contextlib.suppress(Exception):
                    report = await renew()
        await gate.eventful(_REPORT_INTERVAL)
