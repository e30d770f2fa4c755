"""The hosts of one session: started, filled, missed when they die, and ended.

Where a host is, in this process or on Ray, only its handle knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray

from improv.errors import ErrorKind, first_line
from improv.models.budget import Spent
from improv.models.endpoint import public_address, remote_address
from improv.records import Stop, TrialOutcome
from improv.runner.host import Terms
from improv.runner.host_handles import Handle, Needs, hosting
from improv.runner.session import LIVES, Setup, Work
from improv.storage.journal import Journaled
from improv.storage.run_folder import RunFolder
from improv.study.trial import Trial, models_of, remote

EMBEDDED_STAGES = 2
"""Scenes at once on the embedded model, whose slots hold the threads of about so many."""


class Pool:
    """The hosts of one session, wherever they are.

    On a cluster hosts may outnumber the processors of the moment: those that wait for one make
    the cluster grow, and are given scenes when they have arrived.
    """

    def __init__(
        self,
        folder: RunFolder,
        trials: Sequence[Trial],
        setup: Setup,
        terms: Terms,
        journal: Journaled,
        spent: Spent,
    ) -> None:
        self._folder = folder
        self._setup = setup
        self._journal = journal
        models = models_of(trials)
        embedded = sorted({m.model for m in models if m.embedded})
        # Beyond a few scenes at once the embedded model only trades one scene's cached prompt
        # for another's; a distant one is kept busy by hundreds.
        self._stages = setup.stages or (EMBEDDED_STAGES if embedded else 128)
        self._enough = math.ceil(len(trials) / self._stages)
        needs = Needs(
            folder=folder,
            setup=setup,
            terms=terms,
            spent=spent,
            embedded=embedded,
            endpoints=sorted({public_address(remote_address(m)) for m in models if remote(m)}),
            stages=self._stages,
        )
        self._hosting = hosting(needs)
        self._hosts: list[Handle] = []
        self._taken: dict[int, int] = {}
        self._away: set[int] = set()
        self._looked = 0.0
        self._halted = False
        self.arriving: set[asyncio.Task[None]] = set()
        self.played: dict[int, dict[str, Any]] = {}
        """Where each host lives and how many trials it played, for run.json."""

    async def open(self) -> None:
        """Start the hosts; return when the first of them is there. Raises MachineError."""
        self._hosting.start()
        count = self._setup.hosts or self._hosting.natural_count(self._enough)
        self._hosts = [self._hosting.new_host() for _ in range(count)]
        self.arriving = {asyncio.create_task(self._arrive(i)) for i in range(count)}
        waiting = set(self.arriving)
        while waiting and not self._taken:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self._taken:
            for task in done:
                task.result()

    async def _arrive(self, seat: int) -> None:
        lives = LIVES
        while True:
            try:
                node, process = await self._hosts[seat].arrive()
                break
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(0.2)  # it is being started anew, perhaps elsewhere
            except ray.exceptions.RayError:
                # Its node may have died, with the model there or before it could begin; or it
                # cannot be started at all.
                lives -= 1
                if not lives:
                    raise
                await asyncio.sleep(1.0)
                self._hosts[seat].end()
                self._hosts[seat] = self._hosting.new_host()
        before = self.played.get(seat, {"trials": 0})
        self.played[seat] = {"node": node, "process": process, "trials": before["trials"]}
        self._taken[seat] = 0
        self._away.discard(seat)
        self.arriving = {t for t in self.arriving if t is not asyncio.current_task()}
        if self._halted:
            await self._hosts[seat].halt()

    def look(self, stop: Stop) -> None:
        """Forget the hosts that could not be started anew, and stop where none is left."""
        for task in [t for t in self.arriving if t.done()]:
            self.arriving.discard(task)
            error = task.exception()
            if error is not None and not self._taken and not self.arriving:
                stop.record(f"no host is left: {first_line(error)}", ErrorKind.HOSTS)

    def seat(self) -> int | None:
        """Take a free place in the emptiest host, or return None where all are full."""
        seat = min(self._taken, key=self._taken.__getitem__, default=None)
        if seat is None or self._taken[seat] >= self._stages:
            return None
        self._taken[seat] += 1
        return seat

    def leave(self, seat: int) -> None:
        if seat in self._taken:
            self._taken[seat] -= 1

    def lose(self, seat: int) -> None:
        """Take a host that died off the list until Ray has started it anew."""
        self._taken.pop(seat, None)
        if seat not in self._away:
            self._away.add(seat)
            self._journal.refresh()
            self.arriving.add(asyncio.create_task(self._arrive(seat)))

    async def play(self, seat: int, work: Work) -> list[TrialOutcome]:
        outcomes = await self._hosts[seat].play(work, self._journal.of(work.trial.id))
        self.played[seat]["trials"] += 1
        return outcomes

    async def halt(self) -> None:
        """Tell every host to ask nothing more."""
        self._halted = True
        for seat in list(self._taken):
            with contextlib.suppress(ray.exceptions.RayError):
                await self._hosts[seat].halt()

    async def keep_limits(self, *, now: bool = False) -> None:
        """Write down the history of the limiters, every second or so."""
        if not now and time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        for endpoint, history in self._hosting.histories().items():
            with contextlib.suppress(ray.exceptions.RayError, OSError):
                rows = [{"endpoint": endpoint, **asdict(m)} for m in await history()]
                if rows:
                    self._folder.keep_limits(rows)

    async def close(self, stop: Stop, *, at_once: bool = False) -> None:
        """Let every host write what it holds, and end them; `at_once` leaves it to the journal."""
        trouble = ""
        for task in self.arriving:
            task.cancel()
        for seat, host in enumerate(self._hosts):
            gone = at_once or seat not in self._taken
            with contextlib.suppress(ray.exceptions.RayError):
                trouble = await (host.abandon() if gone else host.close()) or trouble
        if trouble:
            stop.record(trouble, ErrorKind.DISK)
        if not at_once:
            await self.keep_limits(now=True)
        for host in self._hosts:
            host.end()
        self._hosting.end()
