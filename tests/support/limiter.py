"""Simulated endpoints under the real gate, loop and limiter.

The clock of the event loop jumps to the next event. So minutes of a thousand calls a second take
one second, and every repetition gives the same."""

from __future__ import annotations

import asyncio
import collections
import math
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from improv.models.gate import Gate, LiveLimiter, keep_reporting
from improv.models.rate_limiter import LimiterEvent
from improv.models.tally import AttemptKind

T = TypeVar("T")


class Jumping(selectors.SelectSelector):
    """A selector that never waits; it moves its clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events and timeout:
            self.now += timeout
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def at_once(story: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(story)


@dataclass
class Endpoint:
    """A simulated endpoint: a rate cap, a cap on calls in flight, and failures by chance.

    Refusals and 5xx are back in 10 ms; a call that hangs is cancelled after five seconds.
    """

    latency: float = 0.2
    rate: float | None = None
    burst: float = 1.0
    """Seconds' worth that may come at once."""
    slots: int = 100_000
    chances: dict[str, float] = field(default_factory=dict)
    retry_after: float | None = None
    """None tells the time at which there is room again."""
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    answered: int = 0
    refused: int = 0
    inside: int = 0
    left: float = math.inf
    asked: float = 0.0

    async def answer(self) -> tuple[AttemptKind, float]:
        """Answer one request, and say how long to wait before it is sent again."""
        self.inside += 1
        try:
            return await self._answer()
        finally:
            self.inside -= 1

    async def _answer(self) -> tuple[AttemptKind, float]:
        if self.inside > self.slots:
            return await self._refuse(0.5 * self.latency)
        if self.rate is not None:
            now = asyncio.get_running_loop().time()
            size = max(1.0, self.burst * self.rate)
            self.left = min(size, self.left + (now - self.asked) * self.rate)
            self.asked = now
            if self.left < 1:
                return await self._refuse((1 - self.left) / self.rate)
            self.left -= 1
        names, weights = [*self.chances, "ok"], [*self.chances.values()]
        what = self.dice.choices(names, [*weights, 1 - sum(weights)])[0]
        if what == "429":
            return await self._refuse(0.05 + 0.95 * self.dice.random())
        pause = {"500": 0.01, "hang": 5.0}.get(what)
        await asyncio.sleep(pause or self.latency * (0.7 + 0.6 * self.dice.random()))
        if what != "ok":
            return "error", 0.5
        self.answered += 1
        return "ok", 0.0

    async def _refuse(self, wait: float) -> tuple[AttemptKind, float]:
        self.refused += 1
        await asyncio.sleep(0.01)
        return "limited", wait if self.retry_after is None else self.retry_after


@dataclass
class Second:
    """At the end of a second: replies, refusals, and the limit."""

    answered: int
    refused: int
    limit: int


@dataclass
class Play:
    """The course of a simulation: each second, and the limiter's own history."""

    seconds: list[Second]
    history: list[LimiterEvent]

    def rate(self, begin: int, end: int = -1) -> float:
        """Replies a second between two seconds."""
        first, last = self.seconds[begin], self.seconds[end]
        return (last.answered - first.answered) / (len(self.seconds[begin:end]) or 1)

    def refused(self, begin: int) -> float:
        """The share refused since a second."""
        first, last = self.seconds[begin], self.seconds[-1]
        refused = last.refused - first.refused
        return refused / max(1, refused + last.answered - first.answered)

    def limit(self, begin: int) -> float:
        """The mean limit since a second."""
        return sum(s.limit for s in self.seconds[begin:]) / len(self.seconds[begin:])

    @property
    def events(self) -> collections.Counter[str]:
        return collections.Counter(m.event for m in self.history)


async def scene(gate: Gate, endpoint: Endpoint) -> None:
    """Ask for one reply after the other, and wait outside the gate before a retry."""
    while True:
        async with gate:
            kind, wait = await endpoint.answer()
            gate.note(kind, wait if kind == "limited" else 0.0)
        await asyncio.sleep(wait)


def play(
    endpoint: Endpoint,
    seconds: int,
    *,
    most: int = 256,
    hosts: int = 2,
    scenes: int = 300,
    then: dict[int, Callable[[], None]] | None = None,
) -> Play:
    """Let hosts full of scenes ask an endpoint for so many seconds."""

    async def story() -> Play:
        limiter = LiveLimiter(most, asyncio.get_running_loop().time)
        history: list[LimiterEvent] = []
        played = []
        async with asyncio.TaskGroup() as group:
            tasks = []
            for host in range(hosts):
                gate = Gate()
                tasks.append(
                    group.create_task(keep_reporting(gate, limiter.report, f"host {host}"))
                )
                each = range(scenes // hosts)
                tasks += [group.create_task(scene(gate, endpoint)) for _ in each]
            limit = min(8, most)
            for second in range(seconds):
                await asyncio.sleep(1)
                history += await limiter.history()
                limit = history[-1].limit if history else limit
                played.append(Second(endpoint.answered, endpoint.refused, limit))
                if then and second in then:
                    then[second]()
            for task in tasks:
                task.cancel()
        return Play(played, history)

    return at_once(story())


async def turn_over() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)
