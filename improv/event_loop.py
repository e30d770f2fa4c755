"""Runs a coroutine to its end from wherever it is called, a notebook's cell too.

There a loop is running already in the thread that asks, and asyncio has one to a thread: ours gets
a thread of its own. Signals reach only the first thread, which then hands them on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_hands: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
"""Loops that run beside another, and what there is to call there when somebody interrupts."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns; as asyncio.run, but within a running loop too."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, "improv") as threads:
        return _beside(coroutine, threads)


def _beside(coroutine: Coroutine[Any, Any, T], threads: ThreadPoolExecutor) -> T:
    loops: list[asyncio.AbstractEventLoop] = []

    async def known() -> T:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        task = asyncio.current_task()
        assert task is not None

        def ended() -> None:
            task.cancel()

        _hands[loop] = [ended]
        try:
            return await coroutine
        finally:
            del _hands[loop]

    whole, pressed = threads.submit(asyncio.run, known()), False
    while True:
        try:
            return whole.result()
        except CancelledError:
            if pressed:
                raise KeyboardInterrupt from None
            raise
        except KeyboardInterrupt:
            pressed = True
            for loop in loops:
                for hand in _hands.get(loop, [])[-1:]:
                    loop.call_soon_threadsafe(hand)


@contextmanager
def interrupts(interrupted: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call `interrupted` in the running loop, instead of what they do."""
    loop = asyncio.get_running_loop()
    if loop in _hands:
        _hands[loop].append(interrupted)
        try:
            yield
        finally:
            _hands[loop].remove(interrupted)
        return
    try:
        for number in SIGNALS:
            loop.add_signal_handler(number, interrupted)
    except (ValueError, RuntimeError, NotImplementedError):
        yield  # not the main thread: whoever started us has the signals
        return
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
