"""The hosts of one session: started, filled, missed when they die, and ended.

Ray actors on this machine or a cluster, or with Ray off the same class in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import ray

from improv.actors import node_model, purse_actor
from improv.budget import PurseKeeper, Spent
from improv.endpoint import public, remote_address
from improv.errors import ErrorKind, first_line
from improv.gate import limiter_actor
from improv.host import Host, Terms
from improv.journal import Journaled
from improv.ray_cluster import start_ray
from improv.record import Outcome
from improv.session import LIVES, Setup, Stop, Work, models_of, remote
from improv.store import RunFolder
from improv.trial import Trial

EMBEDDED_STAGES = 2
"""Scenes at once on the embedded model, whose slots hold the threads of about so many."""


class Pool:
    """The hosts of one session: Ray actors, or with Ray off the same class in this process.

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
        self._terms = terms
        self._journal = journal
        self._spent = spent
        self._off = setup.ray == "off"
        models = models_of(trials)
        self._embedded = sorted({m.model for m in models if m.embedded})
        self._endpoints = sorted({public(remote_address(m)) for m in models if remote(m)})
        self._served: dict[tuple[str, str], Any] = {}
        self._limiters: dict[str, Any] = {}
        # Beyond a few scenes at once the embedded model only trades one scene's cached prompt
        # for another's; a distant one is kept busy by hundreds.
        self._stages = setup.stages or (EMBEDDED_STAGES if self._embedded else 128)
        self._enough = math.ceil(len(trials) / self._stages)
        self._hosts: list[Any] = []
        self._make: Callable[[], Any]
        self._taken: dict[int, int] = {}
        self._away: set[int] = set()
        self._began_ray = False
        self._looked = 0.0
        self._halted = False
        self.arriving: set[asyncio.Task[None]] = set()
        self.played: dict[int, dict[str, Any]] = {}
        """Where each host lives and how many trials it played, for run.json."""

    async def open(self) -> None:
        """Start the hosts; return when the first of them is there. Raises MachineError."""
        setup, budget = self._setup, self._setup.budget
        if not self._off:
            self._began_ray = start_ray(setup.ray)
        count = setup.hosts or self._natural_count()
        if self._off:
            purse = PurseKeeper(budget, self._spent) if budget else None
            terms = replace(self._terms, purse=purse)
            self._limiters = terms.limiters
            self._hosts = [Host(self._folder.root, self._folder.id, terms) for _ in range(count)]
            self._taken = dict.fromkeys(range(count), 0)
            here = {"node": "", "process": os.getpid(), "trials": 0}
            self.played = {seat: dict(here) for seat in self._taken}
            return
        purse = purse_actor(budget, self._spent) if budget else None
        terms = replace(self._terms, on_ray=True, purse=purse)
        for endpoint in self._endpoints:
            self._limiters[endpoint] = limiter_actor(endpoint, setup.connections)
        actor: Any = ray.remote(Host).options(
            num_cpus=0 if setup.ray == "local" else 1,
            # Ray counts `where`, `halt` and `close` as calls too.
            max_concurrency=self._stages + 4,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._purse = purse
        made = (self._folder.root, self._folder.id, terms)
        self._make = lambda: actor.remote(*made)
        self._hosts = [self._make() for _ in range(count)]
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
                node, process = await self._hosts[seat].where.remote()
                for model in self._embedded:
                    served = node_model(node, model)
                    self._served[node, model] = served
                    await served.url.remote()
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
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(self._hosts[seat])
                self._hosts[seat] = self._make()
        before = self.played.get(seat, {"trials": 0})
        self.played[seat] = {"node": node, "process": process, "trials": before["trials"]}
        self._taken[seat] = 0
        self._away.discard(seat)
        self.arriving = {t for t in self.arriving if t is not asyncio.current_task()}
        if self._halted:
            await self._hosts[seat].halt.remote()

    def look(self, stop: Stop) -> None:
        """Forget the hosts that could not be started anew, and stop where none is left."""
        for task in [t for t in self.arriving if t.done()]:
            self.arriving.discard(task)
            error = task.exception()
            if error is not None and not self._taken and not self.arriving:
                stop.because(f"no host is left: {first_line(error)}", ErrorKind.HOSTS)

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

    async def play(self, seat: int, work: Work) -> list[Outcome]:
        host = self._hosts[seat]
        trial = work.trial
        lines = self._journal.of(trial.id)
        if self._off:
            outcomes: list[Outcome] = await host.play(trial, lines, work.branches, work.main)
        else:
            outcomes = await host.play.remote(trial, lines, work.branches, work.main)
        self.played[seat]["trials"] += 1
        return outcomes

    async def halt(self) -> None:
        """Tell every host to ask nothing more."""
        self._halted = True
        for seat in list(self._taken):
            with contextlib.suppress(ray.exceptions.RayError):
                await (self._hosts[seat].halt() if self._off else self._hosts[seat].halt.remote())

    async def keep_limits(self, *, now: bool = False) -> None:
        """Write down the history of the limiters, every second or so."""
        if not now and time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        for endpoint, kept in list(self._limiters.items()):
            with contextlib.suppress(ray.exceptions.RayError, OSError):
                moments = await (kept.history() if self._off else kept.history.remote())
                rows = [{"endpoint": endpoint, **asdict(m)} for m in moments]
                if rows:
                    self._folder.keep_limits(rows)

    async def close(self, stop: Stop, *, at_once: bool = False) -> None:
        """Let every host write what it holds, and end them; `at_once` leaves it to the journal."""
        trouble = ""
        for task in self.arriving:
            task.cancel()
        for seat, host in enumerate(self._hosts):
            with contextlib.suppress(ray.exceptions.RayError):
                if self._off:
                    trouble = await host.close() or trouble
                elif seat in self._taken and not at_once:
                    trouble = await host.close.remote() or trouble
        if trouble:
            stop.because(trouble, ErrorKind.DISK)
        if not at_once:
            await self.keep_limits(now=True)
        if not self._off:
            purse = [] if getattr(self, "_purse", None) is None else [self._purse]
            for actor in (*self._hosts, *self._served.values(), *purse):
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(actor)
            if self._began_ray:
                ray.shutdown()

    def _natural_count(self) -> int:
        if self._setup.ray in ("local", "off"):
            return 1
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return max(1, min(self._enough, cpus))
