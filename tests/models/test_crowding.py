"""Endpoints that say they do no more at once: what they take is learned from few refusals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from improv.models.gate import Gate, LiveLimiter, keep_reporting
from improv.models.refusal import concerns_crowd
from tests.support.limiter import at_once

Refuses = Callable[[int], bool]
"""Whether a request is refused that is one of so many in flight."""


def play(refuses: Refuses, *, scenes: int, turns: int, hosts: int = 1) -> tuple[int, int, float]:
    """Let scenes have so many replies of half a second each; return the refused requests, the
    most that were in flight late, and the seconds."""

    async def story() -> tuple[int, int, float]:
        loop = asyncio.get_running_loop()
        limiter = LiveLimiter(64, loop.time)
        gates = [Gate() for _ in range(hosts)]
        reporting = [
            asyncio.create_task(keep_reporting(gate, limiter.report, f"host {i}"))
            for i, gate in enumerate(gates)
        ]
        refused = in_flight = answered = late = 0

        async def scene(gate: Gate) -> None:
            nonlocal refused, in_flight, answered, late
            left = turns
            while left:
                async with gate as rank:
                    number = gate.standing.begin(loop.time())
                    await asyncio.sleep(0.01)  # on its way to the server
                    if refuses(in_flight + 1):
                        refused, gate.standing.crowded = refused + 1, True
                        gate.standing.end(number, "limited", loop.time())
                        gate.note("limited", 1.0, crowd=rank)
                    else:
                        in_flight += 1
                        if answered > scenes * turns // 2:
                            late = max(late, in_flight)
                        await asyncio.sleep(0.5)
                        in_flight -= 1
                        answered, left = answered + 1, left - 1
                        await asyncio.sleep(0.01)  # on its way back
                        served = gate.standing.end(number, "ok", loop.time())
                        gate.note("ok", seconds=0.5, patience=60.0, served=served)
                        continue
                await asyncio.sleep(1.0)

        async with asyncio.TaskGroup() as group:
            for i in range(scenes):
                group.create_task(scene(gates[i % hosts]))
        for task in reporting:
            task.cancel()
        return refused, late, loop.time()

    return at_once(story())


@pytest.mark.parametrize("slots", [1, 2, 4, 12])
@pytest.mark.parametrize("hosts", [1, 3])
def test_what_a_server_takes_at_once_is_learned_from_few_refusals(slots: int, hosts: int) -> None:
    refused, late, seconds = play(lambda n: n > slots, scenes=64, turns=12, hosts=hosts)
    # Of several hosts, the number in flight is known a quarter of a second late.
    assert slots - (hosts > 1 and slots > 4) <= late <= slots
    assert refused < 0.05 * 64 * 12
    assert seconds < 1.35 * 64 * 12 * 0.5 / slots + 15


def test_two_scenes_of_a_server_with_one_slot_waste_one_request_in_forty() -> None:
    refused, _, _ = play(lambda n: n > 1, scenes=2, turns=20)
    assert refused == 1


def test_a_refusal_by_chance_is_forgotten() -> None:
    dice = random.Random(3)
    _, late, _ = play(lambda n: dice.random() < 0.03, scenes=100, turns=40)
    assert late >= 50, "it is no limit of what is taken at once"


@pytest.mark.parametrize(
    ("status", "words", "crowd"),
    [
        (503, '{"error": "busy"}', True),
        (503, "no slot available", True),
        (
            503,
            '{"error": "server busy, please try again. maximum pending requests exceeded"}',
            True,
        ),
        (429, "Number of concurrent connections has exceeded your rate limit", True),
        (429, '{"error": {"message": "Max parallel request limit reached"}}', True),
        (409, "Another request is already processing", True),
        (429, "Rate limit reached for requests per minute", False),
        (503, "The model is overloaded. Please try again later.", False),
        (400, "the slot 'x' is not valid", False),
    ],
)
def test_words_tell_a_crowd_from_a_rate(status: int, words: str, crowd: bool) -> None:
    assert concerns_crowd(status, words.encode()) is crowd
