"""The Ray actors beside the hosts, and how a host reaches them: a node's model server, the purse.

Without Ray the same is in the host's own process. The hosts themselves are elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from improv.errors import EndpointError, ErrorKind
from improv.models.budget import PurseKeeper
from improv.models.embedded import embedded_server


class NodeModel:
    """The Ray actor that serves one embedded model to every host of its node."""

    def __init__(self, model: str) -> None:
        self._served = embedded_server(model)

    def url(self) -> str:
        return self._served.url


def node_model(node: str, model: str) -> Any:
    """Return the actor that serves `model` on a node, started where there is none.

    Whoever asks first owns it, and it ends with its owner: so that is the driver, which asks
    before it gives a host of that node anything to play.
    """
    actor: Any = ray.remote(NodeModel)
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    return actor.options(
        name=f"improv-model-{node}-{model}",
        get_if_exists=True,
        num_cpus=0,
        scheduling_strategy=affinity,
    ).remote(model)


def purse_actor(*arguments: Any) -> Any:
    """Return a new actor that keeps the purse of a run, on the driver's own node: a worker node
    that is lost must not take it along."""
    actor: Any = ray.remote(PurseKeeper)
    here = ray.get_runtime_context().get_node_id()
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
    return actor.options(num_cpus=0, scheduling_strategy=affinity).remote(*arguments)


def lease_of(purse: Any) -> Any:
    """Return the purse's `lease` to await, whether it is in this process or an actor."""
    if isinstance(purse, PurseKeeper):
        return purse.lease

    async def lease(*arguments: Any) -> Any:
        try:
            return await purse.lease.remote(*arguments)
        except ray.exceptions.RayError:
            why = "who keeps the budget has died"
            raise EndpointError(why, kind=ErrorKind.BUDGET) from None

    return lease


async def process_url(model: str) -> str:
    """Return the address of this process's own server of `model`."""
    served = await asyncio.to_thread(embedded_server, model)
    return served.url


async def node_url(model: str) -> str:
    """Return the address of this node's server of `model`."""
    node = ray.get_runtime_context().get_node_id()
    return str(await node_model(node, model).url.remote())
