"""Slow servers that say nothing: the limiter learns from the time of replies, and from timeouts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from improv.models.gate import Gate, LiveLimiter, keep_reporting
from tests.support.limiter import at_once


@dataclass
class Queue:
    """A server that makes so many replies at once; others wait in its queue. Who hangs up is
    served all the same."""

    slots: int
    seconds: float
    spread: float = 0.0
    """The largest part by which a reply takes longer or shorter."""
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    served: int = 0

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.slots)
        self._jobs: set[asyncio.Task[None]] = set()

    async def answer(self) -> None:
        job = asyncio.create_task(self._serve())
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await asyncio.shield(job)

    async def _serve(self) -> None:
        async with self._places:
            swing = self.spread * (2 * self.dice.random() - 1)
            await asyncio.sleep(self.seconds * (1 + swing))
            self.served += 1


@dataclass
class Played:
    seconds: float
    calls: int
    wasted: int
    served: int
    limits: list[int]

    @property
    def late_limits(self) -> list[int]:
        """The limits of the second half."""
        return self.limits[len(self.limits) // 2 :]


def play(
    server: Queue, *, scenes: int = 64, turns: int = 4, patience: float = 120.0, most: int = 64
) -> Played:
    """Let scenes of so many turns ask the server until each has its replies."""

    async def story() -> Played:
        limiter = LiveLimiter(most, asyncio.get_running_loop().time)
        gate, wasted, calls, limits = Gate(), 0, 0, list[int]()
        reporting = asyncio.create_task(keep_reporting(gate, limiter.report, "host"))

        async def call() -> int:
            nonlocal wasted
            clock = asyncio.get_running_loop().time
            async with gate:
                limits.append(gate.allowed)
                began = clock()
                try:
                    async with asyncio.timeout(patience):
                        await server.answer()
                except TimeoutError:
                    wasted += 1
                    gate.note("timeout", patience=patience)
                    return 0
                gate.note("ok", seconds=clock() - began, patience=patience)
                return 1

        async def scene() -> None:
            nonlocal calls
            left = turns
            while left:
                answered = await call()
                left, calls = left - answered, calls + answered
                await asyncio.sleep(0.01 if answered else 1.0)

        async with asyncio.TaskGroup() as group:
            for _ in range(scenes):
                group.create_task(scene())
        reporting.cancel()
        return Played(asyncio.get_running_loop().time(), calls, wasted, server.served, limits)

    return at_once(story())


@pytest.mark.parametrize(("slots", "seconds"), [(1, 0.25), (1, 0.5), (1, 1.0), (2, 1.0)])
def test_a_server_that_is_asked_too_much_at_once_plays_all(slots: int, seconds: float) -> None:
    played = play(Queue(slots, seconds), patience=3.0)
    assert played.calls == 256
    assert played.wasted < 0.05 * played.served
    assert played.seconds < 1.5 * 256 * seconds / slots + 10


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6, 8, 10, 12, 16, 24])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_the_limit_settles_at_what_a_slow_server_does_at_once(slots: int, spread: float) -> None:
    played = play(Queue(slots, 2.0, spread), scenes=100, turns=12)
    late = played.late_limits
    mean = sum(late) / len(late)
    assert slots / 1.5 <= mean <= slots * 1.5, (slots, mean)
    assert played.wasted == 0
    assert played.seconds < 1.35 * 1200 * 2.0 / slots + 20


def test_a_server_that_is_only_far_away_gets_as_many_calls_as_it_may() -> None:
    for seconds, patience in ((2.0, 120.0), (0.02, 120.0), (70.0, 120.0)):
        played = play(Queue(10_000, seconds, 0.6), scenes=200, turns=20, patience=patience)
        assert played.late_limits[-1] >= 60, (seconds, played.late_limits[-1])


def test_replies_that_never_come_cut_nothing() -> None:
    async def story() -> int:
        limiter = LiveLimiter(64, asyncio.get_running_loop().time)
        gate, dice = Gate(), random.Random(3)
        reporting = asyncio.create_task(keep_reporting(gate, limiter.report, "host"))

        async def scene() -> None:
            for _ in range(60):
                async with gate:
                    lost = dice.random() < 0.03
                    await asyncio.sleep(5.0 if lost else 0.3)
                    gate.note("timeout" if lost else "ok", seconds=0 if lost else 0.3, patience=5.0)

        async with asyncio.TaskGroup() as group:
            for _ in range(128):
                group.create_task(scene())
        reporting.cancel()
        return gate.allowed

    assert at_once(story()) >= 48
