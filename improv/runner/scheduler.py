"""Gives the owed trials of a session to its hosts until nothing is owed or something stops it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import ray

from improv import event_loop
from improv.errors import SHARED, ErrorKind, ImprovError, first_line, folder_unwritable
from improv.records import Stop, TrialOutcome
from improv.runner.host import STOPS_THE_RUN
from improv.runner.host_pool import HostPool
from improv.runner.session import LIVES, Progress, Watch, Work
from improv.runner.until_decided import Frontier
from improv.storage.journal import Journaled
from improv.storage.lock import RunLock

_ENOUGH_TRIALS = 20
"""Trials after which the share of failures is an estimate of the share in the whole run."""


@dataclass
class Scheduler:
    """Plays `work` on the hosts of `pool`. What stopped it is recorded in `stop`.

    `fail_on_error` is the share of failed trials above which the session stops. With a `frontier`,
    nothing beyond it is played before a look at the results has moved it.
    """

    pool: HostPool
    work: Iterable[Work]
    _: KW_ONLY
    journal: Journaled
    lock: RunLock
    stop: Stop
    progress: Progress
    watch: Watch | None = None
    fail_on_error: float | None = None
    frontier: Frontier | None = None
    _unplayed: Iterator[Work] = field(init=False)
    _waiting: list[Work] = field(init=False, default_factory=list)
    """Work that is given out next: it lost its host, or it is the next that is unplayed."""
    _lives: dict[str, int] = field(init=False, default_factory=dict)
    """How many more hosts may die with a trial, for trials whose hosts died."""
    _playing: dict[asyncio.Task[list[TrialOutcome]], tuple[Work, int]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        self._unplayed = iter(self.work)
        self._look_for_work()

    async def run(self) -> None:
        """Keep every host full until nothing is owed or something stops the session."""
        pool, stop = self.pool, self.stop
        with self._interrupts() as killed:
            try:
                await _unless_killed(pool.open(), killed)
                while ((self._waiting and not stop) or self._playing) and not killed.is_set():
                    self._fill_hosts()
                    if self._at_frontier():
                        await _unless_killed(self._look(), killed)
                        continue
                    await self._wait(killed)
                    pool.check_started(stop)
                    if self.lock.lost.is_set():
                        stop.record("another process has taken this run over", ErrorKind.LOST)
                        await pool.halt()
                    for task in [t for t in self._playing if t.done()]:
                        await self._take(task)
                    await pool.keep_limits()
                    await self._look_at_batches()
            except (ray.exceptions.RayError, OSError) as e:
                stop.record(*_lost(e))
            finally:
                for task in self._playing:
                    task.cancel()
                await _unless_killed(pool.close(stop), killed)
                if killed.is_set():
                    await pool.close(stop, at_once=True)

    def _fill_hosts(self) -> None:
        """Give waiting trials to hosts, as long as a host has a free place."""
        while (
            not self.stop
            and (next_work := self._next()) is not None
            and (place := self.pool.take_place()) is not None
        ):
            number, host = place
            work = self._waiting.pop(next_work)
            self._look_for_work()
            journaled = self.journal.lines_of(work.trial.id)
            self._playing[asyncio.ensure_future(host.play(work, journaled))] = (work, number)

    def _next(self) -> int | None:
        """Return the place in `_waiting` of what is played next, None if nothing may be."""
        for i in reversed(range(len(self._waiting))):
            if self.frontier is None or self._waiting[i].trial.index < self.frontier.end:
                return i
        return None

    def _at_frontier(self) -> bool:
        """Whether all that waits is played only after another look."""
        return bool(self._waiting) and not self._playing and not self.stop and self._next() is None

    async def _look(self) -> None:
        """Have the hosts write what they hold, and look at the results."""
        assert self.frontier is not None
        if trouble := await self.pool.flush():
            self.stop.record(trouble, ErrorKind.DISK)
            return
        try:
            reason = await event_loop.in_daemon_thread(self.frontier.look)
        except ImprovError as e:
            self.stop.record(f"the results cannot be looked at: {e}", ErrorKind.INTERNAL)
            return
        self.progress.look = self.frontier.said
        if self.watch is not None:
            self.watch(self.progress)
        if reason:
            self.stop.record(reason, ErrorKind.DECIDED)

    def _look_for_work(self) -> None:
        """Have something waiting as long as anything is unplayed. A million trials are not held."""
        if not self._waiting:
            self._waiting.extend(itertools.islice(self._unplayed, 1))

    async def _wait(self, killed: asyncio.Event) -> None:
        """Wait until a trial ends, a host starts or the user interrupts; a second at most."""
        kill = asyncio.ensure_future(killed.wait())
        starting = self.pool.starting if self._waiting and not self.stop else set()
        await asyncio.wait(
            {*self._playing, *starting, kill}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED
        )
        kill.cancel()

    async def _take(self, task: asyncio.Task[list[TrialOutcome]]) -> None:
        """Count the outcomes of a trial that ended, or wait for another host if its host died."""
        pool, stop, progress = self.pool, self.stop, self.progress
        work, number = self._playing.pop(task)
        try:
            outcomes = task.result()
        except ray.exceptions.RayError as e:
            if pool.replace_host(number):
                self.journal.refresh()
            lives = self._lives[work.trial.id] = self._lives.get(work.trial.id, LIVES) - 1
            if lives > 0:
                self._waiting.append(work)
            else:
                why = f"the hosts of trial {work.trial.id} keep dying: {first_line(e)}"
                stop.record(why, ErrorKind.HOSTS)
            return
        pool.give_back(number)
        for outcome in outcomes:
            if outcome.failure and outcome.failure.kind in STOPS_THE_RUN:
                stop.record(outcome.failure.message, outcome.failure.kind)
                progress.estimated += outcome.estimated
            else:
                progress.count(outcome)
        if stop.kind in SHARED | {ErrorKind.DISK}:
            await pool.halt()
        if not stop and _too_many_failed(progress, self.fail_on_error):
            failed = sum(progress.failed.values())
            why = f"{failed} of {progress.over} trials failed, more than was allowed"
            stop.record(why, ErrorKind.FAILURES)
            await pool.halt()
        if self.watch is not None:
            self.watch(progress)

    async def _look_at_batches(self) -> None:
        """Show how far the batches are: hours may pass before a trial ends."""
        before, self.progress.batches = self.progress.batches, await self.pool.batches()
        if self.watch is not None and self.progress.batches != before:
            self.watch(self.progress)

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[asyncio.Event]:
        """Handle Ctrl-C. The first one halts the calls, and what is in flight may come back; the
        second one sets the event, at which everything stops."""
        killed = asyncio.Event()
        loop = asyncio.get_running_loop()
        halting: set[asyncio.Task[None]] = set()

        def interrupted() -> None:
            if halting:
                self.stop.at_once = True
                killed.set()
            self.stop.record("interrupted", ErrorKind.HALTED)
            self.progress.stopping = True
            if self.watch is not None:
                self.watch(self.progress)
            halting.add(loop.create_task(self.pool.halt()))

        with event_loop.interrupts(interrupted):
            yield killed


async def _unless_killed(step: Coroutine[Any, Any, None], killed: asyncio.Event) -> None:
    """Wait for a step until it is over or `killed` is set, which cancels the step.

    Hosts may wait for long: for room on a cluster when they start, for a slow disk when they close.
    """
    if killed.is_set():
        step.close()
        return
    task, kill = asyncio.ensure_future(step), asyncio.ensure_future(killed.wait())
    try:
        await asyncio.wait({task, kill}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
        kill.cancel()


def _too_many_failed(progress: Progress, allowed: float | None) -> bool:
    """Whether a larger share of the planned trials fails than is allowed.

    That is certain once so many have failed. Before, it is an estimate: the lower end of Wilson's
    95% interval of the share that failed so far is above what is allowed.
    """
    if allowed is None:
        return False
    failed, n = sum(progress.failed.values()), progress.over
    if failed > allowed * sum(progress.planned.values()):
        return True
    if n < _ENOUGH_TRIALS:
        return False
    z, p = 1.96, failed / n
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n) > allowed


def _lost(error: Exception) -> tuple[str, ErrorKind]:
    """Return what a session has lost, as a message and the kind of its stop."""
    if isinstance(error, OSError):
        return folder_unwritable(error), ErrorKind.DISK
    return f"Ray is gone: {first_line(error)}", ErrorKind.RAY
