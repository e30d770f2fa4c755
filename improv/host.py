"""The host: plays many stages at once in one process, and writes what they give.

A host is an ordinary class; run makes it a Ray actor, or uses it in process. A scene crosses Ray
once to come here and once, as a small outcome, to go back: its tables go straight to the store.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import itertools
import os
import time
import traceback
import uuid
from collections.abc import Sequence
from typing import Any

import ray

from improv import local
from improv.errors import ModelError
from improv.measure.marker import habits
from improv.model import Ask, Models
from improv.record import MAIN, Call, Failure, Outcome, Transcript
from improv.stage import Stage
from improv.store import Journal, RunFolder, Shards, open_run, trial_row
from improv.trial import Trial

FLUSH_EVERY = 1.0
"""Seconds between writes to stable storage, and so the most that a power cut can take."""
FLUSH_TRIALS = 200

STOPS_THE_RUN = frozenset({"key", "quota", "model"})
"""Failures that every further call would share."""


class Host:
    """Plays the scenes that it is given, as many at once as it is asked to."""

    def __init__(self, root: str, run: str, connections: int, node: bool = False) -> None:
        self.name = uuid.uuid4().hex[:12]
        # A thousand scenes are a million long-lived objects; looking through them for garbage
        # as often as Python does by default costs a tenth of all CPU.
        gc.set_threshold(50_000, 20, 100)
        self._folder: RunFolder = open_run(root, run)
        self._journal = Journal(self._folder, self.name)
        self._shards = Shards(self._folder, self.name)
        self._models = Models(_node_url if node else _process_url, connections)
        self._turnstile = Turnstile()
        self._flusher: asyncio.Task[None] | None = None

    async def play(self, trial: Trial, drawn: Sequence[Call] = ()) -> Outcome:
        """Play one trial to its end and return what came of it.

        `drawn` are calls that the journal holds already: they are not made again.
        """
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_regularly())
        stage = Stage(trial)
        known = {call.draw: call for call in drawn if not call.error}
        calls: list[Call] = []
        shown = 0

        async def draw(ask: Ask) -> Call:
            nonlocal shown
            call = known.get(ask.draw)
            if call is None:
                call = await self._models.complete(ask)
                await self._turnstile.go_through()
                fresh = list(itertools.islice(stage.book.values(), shown, None))
                shown += len(fresh)
                self._journal.append(call, fresh)
            calls.append(call)
            if call.error:
                kind, _, why = call.error.partition(": ")
                raise ModelError(f"{ask.draw.role}: {why}", kind=kind)
            return call

        failure = None
        began = time.perf_counter()
        try:
            while stage.running:
                stage.step()
                await stage.act(draw)
        except ModelError as e:
            failure = Failure(e.kind, stage.turn, str(e))
        except Exception:
            # A fault of ours in one scene must not take the thousand others along.
            failure = Failure("internal", stage.turn, traceback.format_exc(limit=-3))
        if failure is None or failure.kind not in STOPS_THE_RUN:
            self._keep(stage, calls, failure, time.perf_counter() - began)
        return Outcome(
            trial=trial.id,
            branch=MAIN,
            condition=trial.condition,
            turns=stage.turn,
            calls=len(calls),
            prompt_tokens=sum(c.prompt_tokens or 0 for c in calls),
            completion_tokens=sum(c.completion_tokens or 0 for c in calls),
            failure=failure,
        )

    async def close(self) -> str:
        """Write everything that is held, and let go of the endpoints."""
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        self._shards.flush()
        self._journal.close()
        await self._models.close()
        return self.name

    async def where(self) -> tuple[str, int]:
        """Return the node and the process that this host lives in."""
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        return node, os.getpid()

    def _keep(
        self, stage: Stage, calls: list[Call], failure: Failure | None, seconds: float
    ) -> None:
        why = (failure.kind, failure.turn, failure.message) if failure else None
        row = trial_row(stage.trial, stage.branch, stage.turns, calls, why, seconds)
        transcript = Transcript(stage.trial.id, stage.branch, tuple(stage.turns))
        scores = habits(transcript, stage.scene)
        self._shards.add(row, stage.turns, calls, stage.book.values(), scores)
        if len(self._shards) >= FLUSH_TRIALS:
            self._shards.flush()

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            # In threads: a slow disk must not hold up a thousand scenes.
            await asyncio.to_thread(self._journal.sync)
            await asyncio.to_thread(self._shards.flush)


class Turnstile:
    """Lets one scene at a time go on with its reply, and then the event loop turn once.

    Replies that arrive together would otherwise be worked off together, and what the scenes ask
    next be sent only when all of them are done: clumps that never part, and wait for each other.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._turning = False

    async def go_through(self) -> None:
        """Wait for this scene's moment."""
        loop = asyncio.get_running_loop()
        moment = loop.create_future()
        self._waiting.append(moment)
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn)
        await moment

    def _turn(self) -> None:
        while self._waiting:
            moment = self._waiting.popleft()
            if not moment.done():
                moment.set_result(None)
                asyncio.get_running_loop().call_soon(self._turn)
                return
        self._turning = False


class NodeModel:
    """The Ray actor that serves one embedded model to every host of its node."""

    def __init__(self, model: str) -> None:
        self._served = local.serve(model)

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


async def _process_url(model: str) -> str:
    served = await asyncio.to_thread(local.serve, model)
    return served.url


async def _node_url(model: str) -> str:
    """Return the address of this node's server of `model`."""
    node = ray.get_runtime_context().get_node_id()
    return str(await node_model(node, model).url.remote())
