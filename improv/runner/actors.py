"""The Ray actors that hosts call: the model server of a node, and a run's purse and manners.

Without Ray, all are objects in the host's own process. The hosts are in host and hosting.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

import ray

from improv.errors import EndpointError, ErrorKind
from improv.models.budget import PurseKeeper
from improv.models.embedded import embedded_server
from improv.models.manners import Lesson
from improv.models.manners_keeper import Form, Keeper, MannersKeeper, Place
from improv.output import clean_output
from improv.records import Json


class NodeModel:
    """The Ray actor that serves one embedded model to every host of its node."""

    def __init__(self, model: str) -> None:
        clean_output()
        self._served = embedded_server(model)

    def url(self) -> str:
        return self._served.url


def node_model(node: str, model: str) -> Any:
    """Return the actor that serves `model` on a node. It is started if there is none.

    The process that calls this first owns the actor, and the actor ends with its owner. So the
    driver calls it before it gives a trial to a host of that node.
    """
    actor: Any = ray.remote(NodeModel)
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    return actor.options(
        name=f"improv-model-{node}-{model}",
        get_if_exists=True,
        num_cpus=0,
        scheduling_strategy=affinity,
    ).remote(model)


class RunActor:
    """An actor of a run, which hosts know by its name.

    A handle of the actor among a host's arguments would make Ray keep them in its object store,
    where they can be lost, and a host whose process died is not started again without them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._handle: Any = None

    def __reduce__(self) -> Any:
        return RunActor, (self.name,)

    @property
    def handle(self) -> Any:
        """The actor. Raises ValueError if it is gone."""
        if self._handle is None:
            self._handle = ray.get_actor(self.name, namespace=_NAMESPACE)
        return self._handle


_NAMESPACE = "improv"
"""Our own namespace, because a host may be started by another job than the actor."""
_GONE = (ray.exceptions.RayError, ValueError)


def start_run_actor(keeper: type, *arguments: Any) -> tuple[RunActor, Any]:
    """Start an actor that keeps something for all hosts of a run. Return it and its handle, with
    which it ends.

    It is on the driver's node, so that a lost worker node does not take it along.
    """
    actor: Any = ray.remote(keeper)
    here = ray.get_runtime_context().get_node_id()
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
    name = f"improv-{keeper.__name__}-{uuid.uuid4().hex}"
    handle = actor.options(
        name=name, namespace=_NAMESPACE, num_cpus=0, scheduling_strategy=affinity
    ).remote(*arguments)
    return RunActor(name), handle


def lease_of(purse: PurseKeeper | RunActor) -> Any:
    """Return the coroutine function `lease` of a purse in this process or of a purse actor."""
    if isinstance(purse, PurseKeeper):
        return purse.lease

    async def lease(*arguments: Any) -> Any:
        try:
            return await purse.handle.lease.remote(*arguments)
        except _GONE:
            why = "the actor that keeps the budget has died"
            raise EndpointError(why, kind=ErrorKind.BUDGET) from None

    return lease


def keeper_of(manners: MannersKeeper | RunActor | None) -> Keeper | None:
    """Return the keeper of manners: one in this process, or one that calls an actor."""
    return _RayKeeper(manners) if isinstance(manners, RunActor) else manners


class _RayKeeper:
    """Calls the keeper's actor. Without the actor, a host learns alone."""

    def __init__(self, actor: RunActor) -> None:
        self._actor = actor

    async def meet(self, place: Place, form: Form) -> tuple[bool, tuple[Lesson, ...]]:
        with contextlib.suppress(*_GONE):
            goes_first, lessons = await self._actor.handle.meet.remote(place, form)
            return bool(goes_first), tuple(lessons)
        return True, ()

    async def met(self, place: Place, form: Form, lessons: tuple[Lesson, ...]) -> None:
        with contextlib.suppress(*_GONE):
            await self._actor.handle.met.remote(place, form, lessons)

    async def rows(self) -> list[Json]:
        with contextlib.suppress(*_GONE):
            return list(await self._actor.handle.rows.remote())
        return []


async def process_url(model: str) -> str:
    """Return the address of this process's own server of `model`."""
    served = await asyncio.to_thread(embedded_server, model)
    return served.url


async def node_url(model: str) -> str:
    """Return the address of this node's server of `model`."""
    node = ray.get_runtime_context().get_node_id()
    return str(await node_model(node, model).url.remote())
