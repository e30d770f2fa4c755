"""Where the hosts of a session run: in this process, or as Ray actors. Both have one interface.

This module also starts and ends what the hosts need: Ray, the purse, the limiters, and the model
server of each node. The pool decides which host plays what.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import ray

from improv.models.budget import PurseKeeper, Spent
from improv.models.gate import limiter_actor
from improv.models.manners_keeper import MannersKeeper
from improv.models.rate_limiter import LimiterEvent
from improv.ray_cluster import start_ray
from improv.records import Json, TrialOutcome
from improv.runner.actors import RunActor, keeper_of, node_model, start_run_actor
from improv.runner.host import Host, HostTerms
from improv.runner.session import Setup, Work
from improv.storage.run_folder import RunFolder

LimitHistory = Callable[[], Awaitable[list[LimiterEvent]]]
"""Returns what a limiter did since the last call."""


class AnyHost(Protocol):
    """What the scheduler and the pool use of a host: a `Host`, or a `RayHost` that forwards to one.

    If the host is a Ray actor, every method may raise RayError.
    """

    async def where(self) -> tuple[str, int]:
        """Wait until the host can play; return its node and its process."""

    async def play(
        self, work: Work, journaled: Sequence[Sequence[bytes]]
    ) -> list[TrialOutcome]: ...

    async def flush(self) -> str:
        """Write the finished trials; return why that failed, or ""."""

    async def halt(self) -> None: ...

    async def batches(self) -> tuple[int, int, int]:
        """Return how many batches are waited for, their requests, and how many are answered."""

    async def close(self, *, at_once: bool = False) -> str:
        """Write what the host holds, unless `at_once`, and end it; return what went wrong."""


class Hosting(Protocol):
    """Starts the hosts of a session, and ends everything that they needed."""

    def start(self) -> None:
        """Start what the hosts need. Raises MachineError."""

    def default_count(self, most: int) -> int:
        """Return the number of hosts if the user chose none: at most `most`."""

    def new_host(self) -> AnyHost: ...

    def limit_histories(self) -> dict[str, LimitHistory]:
        """Return the history of each endpoint's limiter."""

    async def manners(self) -> list[Json]:
        """Return the rows of what is known of the manners of models."""

    def end(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class HostNeeds:
    """What hosts are made from.

    `spent` is what earlier sessions have spent, and `manners` what they have learned of the models.
    `embedded` and `endpoints` are the embedded models
    and the endpoints that will be called. `stages` is the number of scenes that a host plays at
    once.
    """

    folder: RunFolder
    setup: Setup
    terms: HostTerms
    spent: Spent
    manners: Sequence[Json]
    embedded: Sequence[str]
    endpoints: Sequence[str]
    stages: int


def hosting(needs: HostNeeds) -> Hosting:
    """Return the hosting that the setup asks for."""
    return LocalHosting(needs) if needs.setup.ray == "off" else RayHosting(needs)


class LocalHosting:
    """Hosts in this process, for `--ray off`."""

    def __init__(self, needs: HostNeeds) -> None:
        self._folder = needs.folder
        budget = needs.setup.budget
        purse = PurseKeeper(budget, needs.spent) if budget else None
        self._keeper = MannersKeeper(needs.manners)
        self._terms = replace(needs.terms, purse=purse, manners=self._keeper)

    def start(self) -> None:
        """Do nothing: such hosts need nothing else."""

    def default_count(self, most: int) -> int:
        return 1

    def new_host(self) -> Host:
        return Host(self._folder.root, self._folder.id, self._terms)

    def limit_histories(self) -> dict[str, LimitHistory]:
        return {endpoint: live.history for endpoint, live in self._terms.limiters.items()}

    async def manners(self) -> list[Json]:
        return await self._keeper.rows()

    def end(self) -> None:
        """Do nothing: such hosts end with this process."""


class RayHost:
    """A host that is a Ray actor, with the model servers that it needs on its node."""

    def __init__(self, actor: Any, embedded: Sequence[str], served: dict[Any, Any]) -> None:
        self._actor = actor
        self._embedded = embedded
        self._served = served

    async def where(self) -> tuple[str, int]:
        node, process = await self._actor.where.remote()
        for model in self._embedded:
            served = self._served[node, model] = node_model(node, model)
            await served.url.remote()
        return node, process

    async def play(self, work: Work, journaled: Sequence[Sequence[bytes]]) -> list[TrialOutcome]:
        outcomes: list[TrialOutcome] = await self._actor.play.remote(work, journaled)
        return outcomes

    async def flush(self) -> str:
        return str(await self._actor.flush.remote())

    async def halt(self) -> None:
        await self._actor.halt.remote()

    async def batches(self) -> tuple[int, int, int]:
        batches, requests, answered = await self._actor.batches.remote()
        return batches, requests, answered

    async def close(self, *, at_once: bool = False) -> str:
        try:
            return "" if at_once else str(await self._actor.close.remote())
        finally:
            _kill(self._actor)


class RayHosting:
    """Hosts that are Ray actors, on this machine or on a cluster."""

    def __init__(self, needs: HostNeeds) -> None:
        self._needs = needs
        self._terms = needs.terms
        self._started_ray = False
        self._manners: RunActor | None = None
        self._handles: list[Any] = []
        """The actors that this run has started for its hosts."""
        self._limiters: dict[str, Any] = {}
        self._served: dict[Any, Any] = {}
        """The models' servers by node and model. They end when this process drops them."""

    def start(self) -> None:
        needs, setup = self._needs, self._needs.setup
        self._started_ray = start_ray(setup.ray)
        purse = None
        if setup.budget:
            purse = self._start_actor(PurseKeeper, setup.budget, needs.spent)
        self._manners = self._start_actor(MannersKeeper, needs.manners)
        self._terms = replace(needs.terms, on_ray=True, purse=purse, manners=self._manners)
        for endpoint in needs.endpoints:
            self._limiters[endpoint] = limiter_actor(endpoint, setup.connections)

    def _start_actor(self, keeper: type, *arguments: Any) -> RunActor:
        actor, handle = start_run_actor(keeper, *arguments)
        self._handles.append(handle)
        return actor

    def default_count(self, most: int) -> int:
        if self._needs.setup.ray == "local":
            return 1
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return max(1, min(most, cpus))

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

    def limit_histories(self) -> dict[str, LimitHistory]:
        return {endpoint: _history(actor) for endpoint, actor in self._limiters.items()}

    async def manners(self) -> list[Json]:
        keeper = keeper_of(self._manners)
        return [] if keeper is None else await keeper.rows()

    def end(self) -> None:
        for actor in (*self._served.values(), *self._handles):
            _kill(actor)
        if self._started_ray:
            ray.shutdown()


def _history(actor: Any) -> LimitHistory:
    async def history() -> list[LimiterEvent]:
        moments: list[LimiterEvent] = await actor.history.remote()
        return moments

    return history


def _kill(actor: Any) -> None:
    with contextlib.suppress(ray.exceptions.RayError):
        ray.kill(actor)
