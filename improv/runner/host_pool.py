"""The hosts of one session. The pool starts them, counts their scenes, and replaces dead ones.

The scheduler takes a place in a host from the pool and calls the host itself. Where a host runs
(in this process, or on Ray) is decided in hosting.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import asdict
from typing import Any

import ray

from improv.errors import ErrorKind, first_line
from improv.models.budget import Spent
from improv.models.endpoint import public_address, remote_address
from improv.records import Json, Stop
from improv.runner.host import HostTerms
from improv.runner.hosting import AnyHost, HostNeeds, hosting
from improv.runner.owed import Owed
from improv.runner.session import LIVES, Setup
from improv.storage.run_folder import RunFolder
from improv.study.trial import remote

_EMBEDDED_STAGES = 2
"""Scenes at once on the embedded model. It keeps the prompts of about two scenes in its cache."""
_REMOTE_STAGES = 128
"""Scenes at once in one host if the models are elsewhere. An endpoint is busy with hundreds."""
_BATCH_STAGES = 1000
"""Scenes at once in one host whose calls go in batches. All wait for the same batch, so the more
there are, the fewer batches a run takes; a thousand take about 420 MB."""


class HostPool:
    """The hosts of one session, with the number of scenes that each one plays at the moment.

    On a cluster there may be more hosts than processors. The hosts that wait for a processor make
    the cluster grow, and get scenes when they have started.
    """

    def __init__(
        self,
        folder: RunFolder,
        owed: Owed,
        *,
        setup: Setup,
        terms: HostTerms,
        spent: Spent,
    ) -> None:
        self._folder = folder
        self._setup = setup
        models = owed.models
        embedded = sorted({m.model for m in models if m.embedded})
        remote_stages = _BATCH_STAGES if setup.batch else _REMOTE_STAGES
        self._stages = setup.stages or (_EMBEDDED_STAGES if embedded else remote_stages)
        self._most_hosts = math.ceil(owed.trials / self._stages)
        self._hosting = hosting(
            HostNeeds(
                folder=folder,
                setup=setup,
                terms=terms,
                spent=spent,
                manners=folder.meta().get("manners", []),
                embedded=embedded,
                endpoints=sorted({public_address(remote_address(m)) for m in models if remote(m)}),
                stages=self._stages,
            )
        )
        self._hosts: list[AnyHost] = []
        self._scenes: dict[int, int] = {}
        """How many scenes each host plays; a host that is starting is not in it."""
        self._lost: set[int] = set()
        self._limits_kept = 0.0
        self.manners: list[Json] = folder.meta().get("manners", [])
        """What is known of the manners of models, as run.json has it."""
        self._halted = False
        self.starting: set[asyncio.Task[None]] = set()
        self.played: dict[int, dict[str, Any]] = {}
        """Where each host ran and how many trials it played, for run.json."""

    async def open(self) -> None:
        """Start the hosts; return when the first of them can play. Raises MachineError."""
        self._hosting.start()
        count = self._setup.hosts or self._hosting.default_count(self._most_hosts)
        self._hosts = [self._hosting.new_host() for _ in range(count)]
        self.starting = {asyncio.create_task(self._start(i)) for i in range(count)}
        waiting = set(self.starting)
        while waiting and not self._scenes:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self._scenes:
            for task in done:
                task.result()

    async def _start(self, number: int) -> None:
        lives = LIVES
        while True:
            try:
                node, process = await self._hosts[number].where()
                break
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(0.2)  # Ray starts it again, perhaps on another node
            except ray.exceptions.RayError:
                # Its node died before the host or its model could start, or it cannot start at all.
                lives -= 1
                if not lives:
                    raise
                await asyncio.sleep(1.0)
                await self._hosts[number].close(at_once=True)
                self._hosts[number] = self._hosting.new_host()
        before = self.played.get(number, {"trials": 0})
        self.played[number] = {"node": node, "process": process, "trials": before["trials"]}
        self._scenes[number] = 0
        self._lost.discard(number)
        self.starting = {t for t in self.starting if t is not asyncio.current_task()}
        if self._halted:
            await self._hosts[number].halt()

    def check_started(self, stop: Stop) -> None:
        """Forget the hosts that could not start again; record a stop if no host is left."""
        for task in [t for t in self.starting if t.done()]:
            self.starting.discard(task)
            error = task.exception()
            if error is not None and not self._scenes and not self.starting:
                stop.record(f"no host is left: {first_line(error)}", ErrorKind.HOSTS)

    def take_place(self) -> tuple[int, AnyHost] | None:
        """Take a place in the host with the fewest scenes; None if all hosts are full.

        Returns the host and its number, by which the place is given back.
        """
        number = min(self._scenes, key=self._scenes.__getitem__, default=None)
        if number is None or self._scenes[number] >= self._stages:
            return None
        self._scenes[number] += 1
        return number, self._hosts[number]

    def give_back(self, number: int) -> None:
        """Give back the place of a trial that was played."""
        self.played[number]["trials"] += 1
        if number in self._scenes:
            self._scenes[number] -= 1

    def replace_host(self, number: int) -> bool:
        """Give no scenes to a host that died until it is started again.

        Return whether this is the first report of its death.
        """
        self._scenes.pop(number, None)
        if number in self._lost:
            return False
        self._lost.add(number)
        self.starting.add(asyncio.create_task(self._start(number)))
        return True

    async def halt(self) -> None:
        """Have every host make no further call."""
        self._halted = True
        for number in list(self._scenes):
            with contextlib.suppress(ray.exceptions.RayError):
                await self._hosts[number].halt()

    async def flush(self) -> str:
        """Have every host write the trials that it has finished; return why that failed, or ""."""
        trouble = ""
        for number in list(self._scenes):
            # A host that died has lost them, and the folder says so.
            with contextlib.suppress(ray.exceptions.RayError):
                trouble = await self._hosts[number].flush() or trouble
        return trouble

    async def batches(self) -> tuple[int, int, int]:
        """Return how many batches the hosts wait for, their requests, and how many are answered."""
        total = (0, 0, 0)
        if self._setup.batch:
            for number in list(self._scenes):
                with contextlib.suppress(ray.exceptions.RayError):
                    one = await self._hosts[number].batches()
                    total = (total[0] + one[0], total[1] + one[1], total[2] + one[2])
        return total

    async def keep_limits(self, *, now: bool = False) -> None:
        """Write down the history of the limiters, and what was learned of the manners of models,
        at most once a second unless `now`."""
        if not now and time.monotonic() - self._limits_kept < 1.0:
            return
        self._limits_kept = time.monotonic()
        for endpoint, history in self._hosting.limit_histories().items():
            with contextlib.suppress(ray.exceptions.RayError, OSError):
                rows = [{"endpoint": endpoint, **asdict(m)} for m in await history()]
                if rows:
                    self._folder.keep_limits(rows)
        manners = await self._hosting.manners()
        if manners and manners != self.manners:
            self.manners = manners
            with contextlib.suppress(OSError):
                self._folder.update({"manners": manners})

    async def close(self, stop: Stop, *, at_once: bool = False) -> None:
        """Have every host write what it holds, unless `at_once`, and end the hosts."""
        trouble = ""
        for task in self.starting:
            task.cancel()
        for number, host in enumerate(self._hosts):
            with contextlib.suppress(ray.exceptions.RayError):
                unheard = at_once or number not in self._scenes
                trouble = await host.close(at_once=unheard) or trouble
        if trouble:
            stop.record(trouble, ErrorKind.DISK)
        if not at_once:
            await self.keep_limits(now=True)
        self._hosting.end()
