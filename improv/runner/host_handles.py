"""A host as the pool holds it, in this process or as a Ray actor, behind one interface.

What is started and ended with a session's hosts belongs to it: Ray, the purse, the limiters, a
node's model server. Which host plays what is the pool's business.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import ray

from improv.models.budget import PurseKeeper, Spent
from improv.models.gate import limiter_actor
from improv.models.rate_limiter import LimiterEvent
from improv.ray_cluster import start_ray
from improv.records import TrialOutcome
from improv.runner.actors import node_model, purse_actor
from improv.runner.host import Host, Terms
from improv.runner.session import Setup, Work
from improv.storage.run_folder import RunFolder

History = Callable[[], Awaitable[list[LimiterEvent]]]
"""Returns what a limiter did since it was last asked."""


class Handle(Protocol):
    """One host. Where it is a Ray actor, each method but `end` may raise RayError."""

    async def arrive(self) -> tuple[str, int]:
        """Wait until it can play; return its node and its process."""

    async def play(self, work: Work, drawn: Sequence[Sequence[bytes]]) -> list[TrialOutcome]: ...

    async def halt(self) -> None: ...

    async def close(self) -> str:
        """Have it write what it holds; return what went wrong."""

    async def abandon(self) -> str:
        """End its work in no time, and leave to the journal what that costs."""

    def end(self) -> None: ...


class Hosting(Protocol):
    """Where the hosts of a session are: starts them, and ends all that they needed."""

    def start(self) -> None:
        """Get everything ready but the hosts. Raises MachineError."""

    def natural_count(self, enough: int) -> int:
        """Return how many hosts there should be where nobody says, `enough` being the most."""

    def new_host(self) -> Handle: ...

    def histories(self) -> dict[str, History]:
        """Return each endpoint's history of limits."""

    def end(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What hosts are made from: the run, the session's terms, what was spent already, the
    embedded models that will play, the endpoints that will be called, and scenes at once."""

    folder: RunFolder
    setup: Setup
    terms: Terms
    spent: Spent
    embedded: Sequence[str]
    endpoints: Sequence[str]
    stages: int


def hosting(needs: Needs) -> Hosting:
    """Return where the hosts of a session are to be."""
    return LocalHosting(needs) if needs.setup.ray == "off" else RayHosting(needs)


class LocalHost:
    """A host in this process."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def arrive(self) -> tuple[str, int]:
        return "", os.getpid()

    async def play(self, work: Work, drawn: Sequence[Sequence[bytes]]) -> list[TrialOutcome]:
        return await self._host.play(work.trial, drawn, work.branches, work.main)

    async def halt(self) -> None:
        await self._host.halt()

    async def close(self) -> str:
        return await self._host.close()

    async def abandon(self) -> str:
        # Nothing has to cross to another process: to write what is held takes no time.
        return await self._host.close()

    def end(self) -> None:
        """Do nothing: it ends with this process."""


class LocalHosting:
    """Hosts in this process, with Ray off."""

    def __init__(self, needs: Needs) -> None:
        self._folder = needs.folder
        budget = needs.setup.budget
        purse = PurseKeeper(budget, needs.spent) if budget else None
        self._terms = replace(needs.terms, purse=purse)

    def start(self) -> None:
        """Do nothing: there is nothing beside the hosts."""

    def natural_count(self, enough: int) -> int:
        return 1

    def new_host(self) -> LocalHost:
        return LocalHost(Host(self._folder.root, self._folder.id, self._terms))

    def histories(self) -> dict[str, History]:
        return {endpoint: live.history for endpoint, live in self._terms.limiters.items()}

    def end(self) -> None:
        """Do nothing: all ends with this process."""


class RayHost:
    """A host that is a Ray actor, with the models that it needs on its node."""

    def __init__(self, actor: Any, embedded: Sequence[str], served: dict[Any, Any]) -> None:
        self._actor = actor
        self._embedded = embedded
        self._served = served

    async def arrive(self) -> tuple[str, int]:
        node, process = await self._actor.where.remote()
        for model in self._embedded:
            served = self._served[node, model] = node_model(node, model)
            await served.url.remote()
        return node, process

    async def play(self, work: Work, drawn: Sequence[Sequence[bytes]]) -> list[TrialOutcome]:
        outcomes: list[TrialOutcome] = await self._actor.play.remote(
            work.trial, drawn, work.branches, work.main
        )
        return outcomes

    async def halt(self) -> None:
        await self._actor.halt.remote()

    async def close(self) -> str:
        trouble: str = await self._actor.close.remote()
        return trouble

    async def abandon(self) -> str:
        return ""

    def end(self) -> None:
        _kill(self._actor)


class RayHosting:
    """Hosts that are Ray actors, on this machine or on a cluster."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._terms = needs.terms
        self._began_ray = False
        self._purse: Any = None
        self._limiters: dict[str, Any] = {}
        self._served: dict[Any, Any] = {}
        """The models' servers by node and model. This process has to own them, or they end."""

    def start(self) -> None:
        needs, setup = self._needs, self._needs.setup
        self._began_ray = start_ray(setup.ray)
        if setup.budget:
            self._purse = purse_actor(setup.budget, needs.spent)
        self._terms = replace(needs.terms, on_ray=True, purse=self._purse)
        for endpoint in needs.endpoints:
            self._limiters[endpoint] = limiter_actor(endpoint, setup.connections)

    def natural_count(self, enough: int) -> int:
        if self._needs.setup.ray == "local":
            return 1
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return max(1, min(enough, cpus))

    def new_host(self) -> RayHost:
        needs = self._needs
        actor: Any = ray.remote(Host).options(
            num_cpus=0 if needs.setup.ray == "local" else 1,
            # Ray counts `where`, `halt` and `close` as calls too.
            max_concurrency=needs.stages + 4,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        made = actor.remote(needs.folder.root, needs.folder.id, self._terms)
        return RayHost(made, needs.embedded, self._served)

    def histories(self) -> dict[str, History]:
        return {endpoint: _history(actor) for endpoint, actor in self._limiters.items()}

    def end(self) -> None:
        for actor in (*self._served.values(), self._purse):
            if actor is not None:
                _kill(actor)
        if self._began_ray:
            ray.shutdown()


def _history(actor: Any) -> History:
    async def history() -> list[LimiterEvent]:
        moments: list[LimiterEvent] = await actor.history.remote()
        return moments

    return history


def _kill(actor: Any) -> None:
    with contextlib.suppress(ray.exceptions.RayError):
        ray.kill(actor)
