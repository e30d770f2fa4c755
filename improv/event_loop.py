"""Runs coroutines, and what they need of threads and signals. It works in a notebook's cell too.

A notebook runs an event loop in its main thread, and a thread can have only one. There, improv's
loop gets a thread of its own. Signals reach only the main thread, which hands them to that loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from improv import interrupts as signals

Returned = TypeVar("Returned")
_handlers: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
"""The loops that run beside a notebook's loop. The last handler of each is called at a Ctrl-C."""


def run_coroutine(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Run a coroutine to its end and return its result, also if a loop runs in this thread.

    Raises KeyboardInterrupt if the user interrupts and the coroutine does not handle it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_watched(coroutine) if signals.watched() else asyncio.run(coroutine)
    with ThreadPoolExecutor(1, "improv") as threads:
        return _run_beside(coroutine, threads)


def _run_watched(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Run a coroutine, which a Ctrl-C cancels. In asyncio itself no KeyboardInterrupt is raised: it
    leaves loops that are half made, and coroutines that nobody awaits."""
    interrupted = False

    async def cancellable() -> Returned:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        with signals.handled_by(partial(loop.call_soon_threadsafe, cancel)):
            return await coroutine

    with signals.held():
        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise


def _run_beside(coroutine: Coroutine[Any, Any, Returned], threads: ThreadPoolExecutor) -> Returned:
    loops: list[asyncio.AbstractEventLoop] = []

    async def with_handlers() -> Returned:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            task.cancel()

        _handlers[loop] = [cancel]
        try:
            return await coroutine
        finally:
            del _handlers[loop]

    result, interrupted = threads.submit(asyncio.run, with_handlers()), False
    while True:
        try:
            return result.result()
        except (CancelledError, asyncio.CancelledError):
            if interrupted:
                raise KeyboardInterrupt from None
            raise
        except KeyboardInterrupt:
            interrupted = True
            for loop in loops:
                for handler in _handlers.get(loop, [])[-1:]:
                    loop.call_soon_threadsafe(handler)


async def in_daemon_thread(function: Callable[[], Returned]) -> Returned:
    """Run `function` in a thread, and return its result.

    Unlike `asyncio.to_thread`, neither the end of the loop nor the end of the program waits for
    the thread. So use it only for work that may be lost, such as a write to a slow disk.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Returned] = loop.create_future()

    def deliver(result: Returned | None, error: BaseException | None) -> None:
        if future.done():
            return  # it was cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as e:
            error = e
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=work, name="improv-disk", daemon=True).start()
    return await future


@contextmanager
def interrupts(handler: Callable[[], None]) -> Iterator[None]:
    """Call `handler` in the running loop at Ctrl-C and SIGTERM, instead of their default effect."""
    loop = asyncio.get_running_loop()
    if loop in _handlers:
        _handlers[loop].append(handler)
        try:
            yield
        finally:
            _handlers[loop].remove(handler)
        return
    if signals.watched():
        with signals.handled_by(partial(loop.call_soon_threadsafe, handler)):
            yield
        return
    try:
        for number in signals.SIGNALS:
            loop.add_signal_handler(number, handler)
    except (ValueError, RuntimeError, NotImplementedError):
        yield  # not the main thread: the caller of this thread handles the signals
        return
    try:
        yield
    finally:
        for number in signals.SIGNALS:
            loop.remove_signal_handler(number)
