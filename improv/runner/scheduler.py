"""Drives a session: keeps the hosts full until nothing is owed or something stops it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import ray

from improv import event_loop
from improv.errors import SHARED, ErrorKind, first_line
from improv.records import Stop, TrialOutcome
from improv.runner.host import STOPS_THE_RUN
from improv.runner.host_pool import Pool
from improv.runner.session import LIVES, Progress, Setup, Watch, Work
from improv.storage.lock import RunLock

ENOUGH_TO_TELL = 20
"""Trials after which a share of failures says something about the rest."""


async def drive(
    pool: Pool,
    work: Sequence[Work],
    progress: Progress,
    watch: Watch | None,
    stop: Stop,
    setup: Setup,
    lock: RunLock,
) -> None:
    """Keep every host as full as it may be until nothing is owed or something stops us."""
    waiting = list(reversed(work))
    lives = dict.fromkeys((w.trial.id for w in work), LIVES)
    playing: dict[asyncio.Task[list[TrialOutcome]], tuple[Work, int]] = {}
    total = sum(progress.planned.values())

    def interrupted() -> None:
        progress.stopping = True
        if watch is not None:
            watch(progress)

    with _interrupts(pool, stop, interrupted) as killed:
        try:
            await pool.open()
            while ((waiting and not stop) or playing) and not killed.is_set():
                while waiting and not stop and (seat := pool.seat()) is not None:
                    next_work = waiting.pop()
                    playing[asyncio.ensure_future(pool.play(seat, next_work))] = (next_work, seat)
                dying = asyncio.ensure_future(killed.wait())
                arrivals = pool.arriving if waiting and not stop else set()
                await asyncio.wait(
                    {*playing, *arrivals, dying},
                    timeout=1.0,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                dying.cancel()
                pool.look(stop)
                if lock.lost.is_set():
                    stop.record("another process has taken this run over", ErrorKind.LOST)
                    await pool.halt()
                for task in [t for t in playing if t.done()]:
                    owed, seat = playing.pop(task)
                    try:
                        outcomes = task.result()
                    except ray.exceptions.RayError as e:
                        pool.lose(seat)
                        lives[owed.trial.id] -= 1
                        if lives[owed.trial.id] > 0:
                            waiting.append(owed)
                        else:
                            why = f"the hosts of trial {owed.trial.id} keep dying: {first_line(e)}"
                            stop.record(why, ErrorKind.HOSTS)
                        continue
                    pool.leave(seat)
                    for outcome in outcomes:
                        if outcome.failure and outcome.failure.kind in STOPS_THE_RUN:
                            stop.record(outcome.failure.message, outcome.failure.kind)
                        else:
                            progress.count(outcome)
                    if stop.kind in SHARED | {ErrorKind.DISK}:
                        await pool.halt()
                    if not stop and _hopeless(progress, total, setup.fail_on_error):
                        failed = sum(progress.failed.values())
                        why = f"{failed} of {progress.over} trials failed, more than was allowed"
                        stop.record(why, ErrorKind.FAILURES)
                        await pool.halt()
                    if watch is not None:
                        watch(progress)
                await pool.keep_limits()
        except (ray.exceptions.RayError, OSError) as e:
            stop.record(*_gone(e))
        finally:
            await pool.close(stop, at_once=killed.is_set())


@contextlib.contextmanager
def _interrupts(pool: Pool, stop: Stop, tell: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Ctrl-C once: ask nothing more, and let what is in flight come. Twice: stop at once."""
    killed = asyncio.Event()
    running = asyncio.get_running_loop()

    def interrupted() -> None:
        if halting:
            killed.set()  # whatever stopped it the first time
        stop.record("interrupted", ErrorKind.HALTED)
        tell()
        halting.add(running.create_task(pool.halt()))

    halting: set[asyncio.Task[None]] = set()
    with event_loop.interrupts(interrupted):
        yield killed


def _hopeless(progress: Progress, total: int, allowed: float | None) -> bool:
    """Whether more trials fail than a run may have: for certain, or as far as can be told.

    The latter by the lower end of Wilson's 95% interval of the share that failed so far.
    """
    if allowed is None:
        return False
    failed, n = sum(progress.failed.values()), progress.over
    if failed > allowed * total:
        return True
    if n < ENOUGH_TO_TELL:
        return False
    z, p = 1.96, failed / n
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n) > allowed


def _gone(error: Exception) -> tuple[str, ErrorKind]:
    """Say what a session has lost, and the kind of stop that it is."""
    if isinstance(error, OSError):
        what = f"the run's folder cannot be written: {error.strerror or error}"
        return what, ErrorKind.DISK
    return f"Ray is gone: {first_line(error)}", ErrorKind.RAY
