"""Coroutines are run to their end, and their threads do not delay it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback

import pytest

from improv import event_loop


def test_the_end_of_a_loop_does_not_wait_for_a_slow_disk() -> None:
    """A second Ctrl-C comes while a write is stuck: the program ends, and the write does not."""
    begun, release, written = threading.Event(), threading.Event(), threading.Event()

    def slow_write() -> None:
        begun.set()
        release.wait()
        written.set()

    async def interrupted() -> None:
        writing = asyncio.create_task(event_loop.in_daemon_thread(slow_write))
        await asyncio.to_thread(begun.wait)
        writing.cancel()

    event_loop.run_coroutine(interrupted())  # would not return if it waited for the write
    assert not written.is_set()
    release.set()
    assert written.wait(120)


def test_a_thread_gives_its_result_or_its_error() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    assert event_loop.run_coroutine(event_loop.in_daemon_thread(lambda: 7)) == 7
    with pytest.raises(OSError, match="full"):
        event_loop.run_coroutine(event_loop.in_daemon_thread(fail))


def test_a_notebooks_stop_button_raises_in_the_cell() -> None:
    """The cell's coroutine runs in a thread of its own, where no signal comes; it is cancelled."""
    ended = threading.Event()

    def until_the_cell_waits() -> None:
        """Return when the main thread waits for the coroutine's result."""
        waits = False
        while not waits:
            frame = sys._current_frames().get(threading.main_thread().ident or 0)
            waits = any(f.f_code.co_name == "result" for f, _ in traceback.walk_stack(frame))

    async def forever() -> None:
        try:
            until_the_cell_waits()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def cell() -> None:
        event_loop.run_coroutine(forever())

    loop = asyncio.new_event_loop()  # as in a kernel: a running loop that handles no signal
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        loop.close()
    assert ended.is_set()
