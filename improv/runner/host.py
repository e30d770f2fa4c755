"""The host: plays many scenes at once in one process, and writes them to the run's folder.

A host is an ordinary class. The scheduler uses it in its own process, or as a Ray actor. A trial
crosses Ray once to come here; only its outcomes, which are small, go back, and its tables go
straight into the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from improv import event_loop
from improv.analysis.delivery import delivery_of
from improv.errors import (
    SHARED,
    EndpointError,
    ErrorKind,
    ImprovError,
    MachineError,
    ModelError,
    folder_unwritable,
)
from improv.models.agreed import NOTHING_AGREED, Agreed
from improv.models.budget import Allowance
from improv.models.client import Models, SceneClient
from improv.models.gate import Gate, LiveLimiter, SendReport, keep_reporting, report_to_actor
from improv.output import clean_output
from improv.records import (
    MAIN,
    UNDELIVERED,
    Call,
    Draw,
    Failure,
    Transcript,
    TrialOutcome,
)
from improv.runner.actors import keeper_of, lease_of, node_url, process_url
from improv.runner.session import Setup, Work
from improv.scoring.measures.predicates import marker_scores
from improv.stage.author import Readings
from improv.stage.branch_stage import create_stage
from improv.stage.stage import Stage
from improv.storage.batch_log import BatchLog
from improv.storage.journal import Journal, parse_calls
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.storage.schemas import trial_row
from improv.storage.shards import Shards
from improv.study.branch import Branch, Past, branched, past, shared
from improv.study.model_spec import Price
from improv.study.trial import Trial

_FLUSH_EVERY = 1.0
"""Seconds between syncs of the journal. A power cut costs at most the calls of that time."""
_SHARD_EVERY = 3.0
"""Seconds between shards. A crash costs no call: scenes are played again from the journal."""
_FLUSH_TRIALS = 200
"""Finished trials that are written as a shard before its time has come."""
_BRANCHES_AT_ONCE = 8

STOPS_THE_RUN = SHARED | {ErrorKind.DISK, ErrorKind.HALTED, ErrorKind.CHANGED}
"""Failures that every further trial would share. Such a trial is owed; it has not failed."""


@dataclass(frozen=True, slots=True)
class HostTerms:
    """The terms of a session that a host needs.

    A host sends nothing to an address that is not `agreed`, whatever its own environment says.

    A host `on_ray` calls the model server of its node and the limiters of the cluster; all other
    hosts of a process share `limiters`. The host leases calls from `purse`, if there is a budget.
    What it learns of the manners of models goes to `manners`, for all hosts of the run. `price` is
    that of models to which the study gives none.
    """

    session: int = 0
    connections: int = 64
    agreed: Agreed = NOTHING_AGREED
    on_ray: bool = False
    limiters: dict[str, LiveLimiter] = field(default_factory=dict)
    purse: Any = None
    manners: Any = None
    batch: bool = False
    price: Price | None = None

    @classmethod
    def of(cls, session: int, setup: Setup, agreed: Agreed) -> HostTerms:
        """Return the terms that the setup of a session makes."""
        return cls(session, setup.connections, agreed, batch=setup.batch, price=setup.price)


class Host:
    """Plays trials and their branches, as many at once as the scheduler sends."""

    def __init__(self, root: str, run: str, terms: HostTerms | None = None) -> None:
        terms = terms or HostTerms()
        if terms.on_ray:
            clean_output()  # of a process of its own, which Ray keeps in files
        self.name = f"{terms.session:03d}-{uuid.uuid4().hex[:12]}"
        # A thousand scenes are a million long-lived objects. To search them for garbage as often as
        # Python does by default takes a tenth of all CPU time.
        gc.set_threshold(200_000, 20, 100)
        self._terms = terms
        self._folder: RunFolder = open_run(root, run)
        self._journal = Journal(self._folder.journals, f"{self.name}.jsonl")
        self._shards = Shards(self._folder, self.name)
        url = node_url if terms.on_ray else process_url
        self._batches = BatchLog(self._folder.journals, self.name) if terms.batch else None
        self._models = Models(
            url,
            terms.connections,
            self._new_gate,
            terms.agreed,
            keeper_of(terms.manners),
            self._batches,
            self._folder.has_answered,
        )
        self._allowance: Allowance | None = None
        if terms.purse is not None:
            self._allowance = Allowance(self.name, lease_of(terms.purse))
        self._rehearsal = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def where(self) -> tuple[str, int]:
        """Return the Ray node ("" without Ray) and the process of this host."""
        node = ray.get_runtime_context().get_node_id() if self._terms.on_ray else ""
        return node, os.getpid()

    async def play(self, work: Work, journaled: Sequence[Sequence[bytes]]) -> list[TrialOutcome]:
        """Play what is owed of one trial: the trial itself, then its branches. Return an outcome
        for each.

        `journaled` are the trial's lines of the journals; their calls are not made again.
        """
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._flush_regularly()))
        try:
            return await self._play_all(work, _JournaledCalls(journaled))
        finally:
            self._journal.forget(work.trial.id)

    async def _play_all(self, work: Work, known: _JournaledCalls) -> list[TrialOutcome]:
        trial = work.trial
        outcomes = []
        parents: dict[str, tuple[Transcript, Sequence[Call]]] = {}
        if work.main:
            transcript, calls, outcome = await self._play(trial, known, None)
            outcomes.append(outcome)
            if outcome.failure is not None and outcome.failure.kind in STOPS_THE_RUN:
                return outcomes
            parents[MAIN] = (transcript, calls)
        places = asyncio.Semaphore(_BRANCHES_AT_ONCE)

        async def play_branch(branch: Branch) -> TrialOutcome:
            async with places:
                return await self._play_branch(trial, branch, known, parents)

        left = list(work.branches)
        while left and not any(o.failure and o.failure.kind in STOPS_THE_RUN for o in outcomes):
            owed = {b.id for b in left}
            # A branch whose parent is owed too waits for its parent.
            ready = [b for b in left if b.parent not in owed]
            left = [b for b in left if b.parent in owed]
            outcomes += await asyncio.gather(*map(play_branch, ready))
        return outcomes

    async def _play_branch(
        self,
        trial: Trial,
        branch: Branch,
        known: _JournaledCalls,
        parents: dict[str, tuple[Transcript, Sequence[Call]]],
    ) -> TrialOutcome:
        try:
            if branch.parent not in parents:
                parents[branch.parent] = await asyncio.to_thread(self._parent, branch)
            transcript, calls = parents[branch.parent]
            before = past(trial, branch, transcript.turns, calls)
            changed = branched(trial, branch)
        except ImprovError as e:
            failure = Failure(ErrorKind.UNREACHED, branch.fork, str(e))
            row = trial_row(trial, branch.id, (), (), failure, 0.0)
            self._shards.add(row | branch.row(), (), (), ())
            return TrialOutcome(
                trial=trial.id,
                branch=branch.id,
                condition=trial.condition,
                turns=0,
                calls=0,
                prompt_tokens=0,
                completion_tokens=0,
                failure=failure,
                origin=branch.origin,
            )
        transcript, new_calls, outcome = await self._play(changed, known, before)
        shared_calls = shared(calls, branch.fork, kept=branch.keeps)
        parents[branch.id] = (transcript, [*shared_calls, *new_calls])
        return outcome

    def _parent(self, branch: Branch) -> tuple[Transcript, Sequence[Call]]:
        return (
            self._folder.transcripts.read(branch.trial, branch.parent),
            self._folder.transcripts.calls(branch.trial, branch.parent),
        )

    async def _play(
        self, trial: Trial, known: _JournaledCalls, before: Past | None
    ) -> tuple[Transcript, list[Call], TrialOutcome]:
        """Play a trial, or a branch of it, and give what it makes to the shards."""
        async with contextlib.AsyncExitStack() as rehearsal:
            if known:
                # One scene at a time goes through its journaled calls, so that the first scene
                # makes a new call long before the last scene does.
                await rehearsal.enter_async_context(self._rehearsal)
                known.read()
            stage = create_stage(trial, before)
            client = SceneClient(
                self._models,
                stage.blocks,
                known=known.calls,
                record=self._journal.append,
                before_new_call=rehearsal.aclose,
                allowance=self._allowance,
                price=self._terms.price,
            )
            failure = None
            began = time.perf_counter()
            try:
                await stage.play(client.draw)
            except ModelError as e:
                failure = Failure(e.kind, stage.turn, str(e))
            except Exception:
                # A fault of improv in one scene must not end the thousand other scenes.
                failure = Failure(ErrorKind.INTERNAL, stage.turn, traceback.format_exc(limit=-3))
        calls = _as_read(client.calls, stage.readings)
        if failure is None or failure.kind not in STOPS_THE_RUN:
            self._keep(stage, calls, failure, before, time.perf_counter() - began)
        transcript, own = Transcript(trial.id, stage.branch, tuple(stage.turns)), stage.own_turns
        stage.dispose()
        return (
            transcript,
            calls,
            TrialOutcome(
                trial=trial.id,
                branch=transcript.branch,
                condition=trial.condition,
                turns=sum(t.kind in ("line", "silence") for t in own),
                calls=len(calls),
                prompt_tokens=sum(c.prompt_tokens or 0 for c in calls),
                completion_tokens=sum(c.completion_tokens or 0 for c in calls),
                failure=failure,
                origin=before.branch.origin if before is not None else "main",
                estimated=sum(c.estimated for c in calls),
                delivery=delivery_of(calls),
            ),
        )

    async def flush(self) -> str:
        """Write the finished trials that are not written yet; return why that failed, or ""."""
        try:
            await event_loop.in_daemon_thread(self._shards.flush)
        except OSError as e:
            return folder_unwritable(e)
        return ""

    async def halt(self) -> None:
        """Make no further call. A scene ends when its calls in flight have come back."""
        self._models.halt(ModelError("the run was interrupted", kind=ErrorKind.HALTED))

    async def batches(self) -> tuple[int, int, int]:
        """Return how many batches are waited for, their requests, and how many are answered."""
        return self._models.batches_standing

    async def close(self, *, at_once: bool = False) -> str:
        """Write the finished trials that are not written yet, and close the endpoints.

        Returns why something could not be written, or "". With `at_once` nothing is written, and a
        later session plays those trials again from the journal.
        """
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        trouble = ""
        if not at_once:
            try:
                self._shards.flush()
            except OSError as e:
                trouble = folder_unwritable(e)
        with contextlib.suppress(OSError):
            self._journal.close(sync=not at_once)
        await self._models.close()
        if self._batches is not None:
            self._batches.close()
        return trouble

    def _keep(
        self,
        stage: Stage,
        calls: list[Call],
        failure: Failure | None,
        before: Past | None,
        seconds: float,
    ) -> None:
        row = trial_row(stage.trial, stage.branch, stage.turns, calls, failure, seconds)
        if before is not None:
            row |= before.branch.row()
            if before.branch.origin == "regeneration":
                # The draw is its parent's; the call is kept with the branch that it made.
                calls = [replace(c, draw=replace(c.draw, branch=stage.branch)) for c in calls]
        transcript = Transcript(stage.trial.id, stage.branch, tuple(stage.own_turns))
        scores = marker_scores(transcript, stage.scene)
        self._shards.add(row, stage.own_turns, calls, stage.blocks.values(), scores)

    async def _flush_regularly(self) -> None:
        """Write journal and shards to the disk, in threads, so that a slow disk delays no scene."""
        flushed = time.monotonic()
        while True:
            await asyncio.sleep(_FLUSH_EVERY)
            try:
                await event_loop.in_daemon_thread(self._journal.sync)
                late = time.monotonic() - flushed > _SHARD_EVERY
                if late or len(self._shards) >= _FLUSH_TRIALS:
                    flushed = time.monotonic()
                    await event_loop.in_daemon_thread(self._shards.flush)
            except OSError as e:
                self._models.halt(ModelError(folder_unwritable(e), kind=ErrorKind.DISK))
            if self._allowance is not None:
                with contextlib.suppress(EndpointError):
                    await self._allowance.report()

    def _new_gate(self, endpoint: str) -> Gate:
        """Return the gate of an endpoint, and keep it as wide as the endpoint's limiter allows."""
        gate, most = Gate(), self._terms.connections

        async def report_on_ray() -> None:
            async def renew() -> SendReport:
                return await report_to_actor(endpoint, most)

            async def not_yet(*_: Any) -> int:
                raise MachineError("the limiter is not there yet")

            await keep_reporting(gate, not_yet, self.name, renew)

        if self._terms.on_ray:
            reporting = report_on_ray()
        else:
            live = self._terms.limiters.setdefault(endpoint, LiveLimiter(most))
            reporting = keep_reporting(gate, live.report, self.name)
        self._tasks.append(asyncio.create_task(reporting))
        return gate


def _as_read(calls: list[Call], readings: Readings) -> list[Call]:
    """Return calls with what was found wrong when their replies were read, and how these were."""
    if not readings:
        return calls
    marked = []
    for call in calls:
        faults, cuts = readings.get(call.draw, ((), ()))
        if faults or cuts:
            # Why nothing came is more than that it cannot be read.
            faults = () if UNDELIVERED.intersection(call.faults) else faults
            call = replace(call, faults=(*call.faults, *faults), cuts=(*call.cuts, *cuts))
        marked.append(call)
    return marked


class _JournaledCalls:
    """The calls of one trial that the journals hold. Their lines are read when the scene begins."""

    def __init__(self, lines: Sequence[Sequence[bytes]]) -> None:
        self._lines = lines
        self.calls: dict[Draw, Call] = {}

    def __bool__(self) -> bool:
        return bool(self._lines or self.calls)

    def read(self) -> None:
        lines, self._lines = self._lines, ()
        self.calls |= {call.draw: call for call in parse_calls(lines) if not call.error}
