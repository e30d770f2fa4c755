"""Gates: hosts share a limit, scenes take turns at it, and a cluster has one limiter."""

from __future__ import annotations

import asyncio
import collections
import random

import pytest
import ray

from improv.models.gate import (
    Gate,
    LiveLimiter,
    SendReport,
    keep_reporting,
    limiter_actor,
    report_to_actor,
)
from improv.models.rate_limiter import Limiter
from improv.models.tally import Tally
from tests.support.limiter import Endpoint, at_once, turn_over


def test_five_hosts_take_turns_at_one_slot() -> None:
    endpoint = Endpoint(0.2)
    counts: collections.Counter[int] = collections.Counter()

    async def story() -> None:
        limiter = LiveLimiter(1, asyncio.get_running_loop().time)

        async def ask(host: int, gate: Gate) -> None:
            while True:
                async with gate:
                    assert endpoint.inside == 0
                    gate.note((await endpoint.answer())[0])
                counts[host] += 1

        async with asyncio.TaskGroup() as group:
            tasks = []
            for host in range(5):
                gate = Gate()
                tasks.append(group.create_task(keep_reporting(gate, limiter.report, str(host))))
                tasks += [group.create_task(ask(host, gate)) for _ in range(3)]
            await asyncio.sleep(120)
            for task in tasks:
                task.cancel()

    at_once(story())
    assert len(counts) == 5 and min(counts.values()) > 0.7 * max(counts.values())
    assert counts.total() > 0.8 * 120 / 0.2


def test_the_share_of_a_dead_host_goes_to_the_others() -> None:
    limiter = Limiter(8)

    def tell(host: str, now: float) -> int:
        return limiter.report(host, Tally(), 0, 100, now)

    assert tell("dead", 0) == 8
    assert [tell("dead", 1), tell("alive", 2)] == [8, 0]
    assert tell("dead", 3) == 4
    assert tell("alive", 3) == 4
    assert tell("alive", 12) == 4
    assert tell("alive", 14) == 8
    # The others do not wait for a host that has left.
    tell("new", 15)
    assert tell("alive", 15) == 4
    limiter.leave("new")
    assert tell("alive", 15) == 8


def test_a_gate_lets_in_by_turns_as_many_as_are_allowed() -> None:
    async def story() -> None:
        gate = Gate()
        inside: list[int] = []
        leave = [asyncio.Event() for _ in range(6)]

        async def attempt(n: int) -> None:
            async with gate:
                inside.append(n)
                await leave[n].wait()

        tasks = [asyncio.create_task(attempt(n)) for n in range(6)]
        await turn_over()
        assert (inside, gate.in_flight, gate.waiting) == ([], 0, 6)
        gate.allow(2)
        await turn_over()
        assert (inside, gate.in_flight, gate.waiting) == ([0, 1], 2, 4)
        gate.allow(1)
        leave[0].set()
        await turn_over()
        assert (inside, gate.in_flight) == ([0, 1], 1)
        leave[1].set()
        await turn_over()
        assert (inside, gate.in_flight) == ([0, 1, 2], 1)
        gate.allow(0)
        leave[2].set()
        await turn_over()
        assert (inside, gate.in_flight) == ([0, 1, 2], 0)
        gate.allow(9)
        for event in leave:
            event.set()
        await asyncio.gather(*tasks)
        assert (inside, gate.in_flight, gate.waiting) == ([0, 1, 2, 3, 4, 5], 0, 0)

    asyncio.run(story())


def test_a_gate_loses_no_slot_to_whoever_is_cancelled() -> None:
    async def story() -> None:
        gate = Gate(1)
        done = []

        async def attempt(n: int) -> None:
            async with gate:
                await asyncio.sleep(0)
                done.append(n)

        # Cancelled while it waits.
        await gate.__aenter__()
        first, second = (asyncio.create_task(attempt(n)) for n in (1, 2))
        await turn_over()
        first.cancel()
        await turn_over()
        assert gate.waiting == 1
        # Cancelled at the moment when it is admitted.
        await gate.__aexit__(None, None, None)
        assert gate.in_flight == 1
        second.cancel()
        await turn_over()
        assert (gate.in_flight, gate.waiting, done) == (0, 0, [])
        # Cancelled at any moment.
        dice = random.Random(0)
        gate.allow(3)
        tasks = [asyncio.create_task(attempt(n)) for n in range(300)]
        while not all(t.done() for t in tasks):
            dice.choice(tasks).cancel()
            gate.allow(dice.randint(1, 4))
            await asyncio.sleep(0)
            assert 0 <= gate.in_flight <= 4
        assert (gate.in_flight, gate.waiting) == (0, 0)
        assert 0 < len(done) < 300

    asyncio.run(story())


def test_a_gate_says_when_there_is_something_to_report() -> None:
    async def waited(gate: Gate) -> float:
        began = asyncio.get_running_loop().time()
        await gate.wait_for_event(10)
        return asyncio.get_running_loop().time() - began

    async def story() -> None:
        gate = Gate(2)
        assert await waited(gate) == pytest.approx(10)
        gate.note("ok")
        gate.note("error")
        assert await waited(gate) == pytest.approx(10)  # nobody waits
        gate.note("limited")
        assert await waited(gate) == 0
        assert gate.take_tally() == Tally(ok=1, limited=1, errors=1)
        assert gate.take_tally() == Tally()
        await gate.__aenter__()
        await gate.__aenter__()
        third = asyncio.create_task(gate.__aenter__())
        await turn_over()
        assert await waited(gate) == 0  # somebody waits where nobody did
        gate.take_tally()
        gate.note("ok")
        assert await waited(gate) == pytest.approx(10)
        gate.note("ok")
        assert await waited(gate) == 0  # as many as are allowed have ended
        third.cancel()

    at_once(story())


def test_at_one_slot_a_retry_after_holds_for_the_next_one_too() -> None:
    async def story() -> None:
        clock = asyncio.get_running_loop().time
        gate = Gate(1)
        async with gate:
            gate.note("limited", pause=3)
        async with gate:
            assert clock() == pytest.approx(3)
        gate.allow(2)
        async with gate:
            gate.note("limited", pause=3)
        async with gate:
            assert clock() == pytest.approx(3)

    at_once(story())


def test_reports_that_fail_are_sent_again_elsewhere_and_hold_nobody_up() -> None:
    async def story() -> None:
        gate = Gate()
        tries = []
        limiter = LiveLimiter(50, asyncio.get_running_loop().time)
        again = asyncio.Event()

        async def broken(host: str, tally: Tally, in_flight: int, waiting: int) -> int:
            tries.append(tally)
            raise ConnectionError("the limiter died")

        async def whole(host: str, tally: Tally, in_flight: int, waiting: int) -> int:
            tries.append(tally)
            again.set()
            return await limiter.report(host, tally, in_flight, waiting)

        async def renew() -> SendReport:
            return broken if asyncio.get_running_loop().time() < 60 else whole

        gate.note("ok")
        loop = asyncio.create_task(keep_reporting(gate, broken, "host", renew))
        async with gate:
            gate.note("limited")
        await again.wait()
        await turn_over()
        assert 100 < len(tries) < 300  # in a minute: neither dead nor spinning
        assert tries[-1] == Tally(ok=1, limited=1)
        assert gate.allowed == 8
        loop.cancel()

    at_once(story())


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_hosts_of_a_cluster_share_one_limiter_and_outlive_it() -> None:
    endpoint = "http://endpoint.test/v1"
    actor = limiter_actor(endpoint, 6)

    async def story() -> None:
        gate, back = Gate(), asyncio.Event()
        one, other = [await report_to_actor(endpoint, 6) for _ in range(2)]
        assert await one("one", Tally(), 0, 100) == 6
        assert await other("other", Tally(), 0, 100) == 0
        assert await one("one", Tally(), 0, 100) == 3
        assert await other("other", Tally(), 0, 100) == 3
        assert [m.event for m in await actor.history.remote()] == ["start"]

        async def renew() -> SendReport:
            report = await report_to_actor(endpoint, 6)

            async def heard(host: str, tally: Tally, in_flight: int, waiting: int) -> int:
                allowed = await report(host, tally, in_flight, waiting)
                back.set()
                return allowed

            return heard

        ray.kill(actor)
        loop = asyncio.create_task(keep_reporting(gate, one, "one", renew))
        async with asyncio.timeout(60), gate:
            await back.wait()
        loop.cancel()
        # The new limiter knows no other host, and starts from the first limit.
        assert gate.allowed == 6

    asyncio.run(story())
