"""The host: plays many stages at once in one process, and writes what they give.

A host is an ordinary class; launch makes it a Ray actor, or uses it in process. A trial crosses
Ray once to come here and once, as small outcomes, to go back: its tables go straight into
the run's folder.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import itertools
import os
import time
import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from improv.errors import SHARED, EndpointError, ErrorKind, ImprovError, MachineError, ModelError
from improv.models.budget import Allowance, call_spending
from improv.models.client import Models
from improv.models.gate import Gate, LiveLimiter, SendReport, keep_reporting, report_to_actor
from improv.models.request import Ask
from improv.records import MAIN, Block, Call, Draw, Failure, Transcript, TrialOutcome
from improv.runner.actors import lease_of, node_url, process_url
from improv.scoring.measures.predicates import marked
from improv.stage.branch_stage import create_stage
from improv.stage.stage import Stage
from improv.storage.journal import Journal, calls_of
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.storage.schemas import trial_row
from improv.storage.shards import Shards
from improv.study.branch import Branch, Past, branched, past, shared
from improv.study.trial import Trial

FLUSH_EVERY = 1.0
"""Seconds between writes to stable storage, and so the most that a power cut can take."""
SHARD_EVERY = 3.0
"""Seconds between shards; a crash costs no more than to play again from the journal."""
FLUSH_TRIALS = 200
BRANCHES_AT_ONCE = 8

STOPS_THE_RUN = SHARED | {ErrorKind.DISK, ErrorKind.HALTED, ErrorKind.CHANGED}
"""Failures that no further trial would escape. Their trials are owed, not failed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a host is told of the session it plays in.

    `on_ray` has it use its node's one model server and the cluster's limiters; elsewhere all
    hosts of a process share `limiters`. `purse` is what it leases calls from.
    """

    session: int = 0
    connections: int = 64
    on_ray: bool = False
    limiters: dict[str, LiveLimiter] = field(default_factory=dict)
    purse: Any = None


class Host:
    """Plays the scenes that it is given, as many at once as it is asked to."""

    def __init__(self, root: str, run: str, terms: Terms | None = None) -> None:
        terms = terms or Terms()
        self.name = f"{terms.session:03d}-{uuid.uuid4().hex[:12]}"
        # A thousand scenes are a million long-lived objects; looking through them for garbage
        # as often as Python does by default costs a tenth of all CPU.
        gc.set_threshold(200_000, 20, 100)
        self._terms = terms
        self._folder: RunFolder = open_run(root, run)
        self._journal = Journal(self._folder.local / "journal" / f"{self.name}.jsonl")
        self._shards = Shards(self._folder, self.name)
        url = node_url if terms.on_ray else process_url
        self._models = Models(url, terms.connections, self._new_gate)
        self._allowance: Allowance | None = None
        if terms.purse is not None:
            self._allowance = Allowance(self.name, lease_of(terms.purse))
        self._turnstile = Turnstile()
        self._rehearsal = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._halted: ModelError | None = None

    async def play(
        self,
        trial: Trial,
        drawn: Sequence[Sequence[bytes]] = (),
        branches: Sequence[Branch] = (),
        main: bool = True,
    ) -> list[TrialOutcome]:
        """Play one trial to its end, and then its branches; return what came of each.

        `drawn` are lines of the journal: what they hold is not asked again. Without `main` the
        trial was played before, and only its branches are.
        """
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._flush_regularly()))
        try:
            return await self._play_all(trial, _Known(drawn), branches, main)
        finally:
            self._journal.forget(trial.id)

    async def _play_all(
        self, trial: Trial, known: _Known, branches: Sequence[Branch], main: bool
    ) -> list[TrialOutcome]:
        outcomes = []
        parents: dict[str, tuple[Transcript, Sequence[Call]]] = {}
        if main:
            transcript, calls, outcome = await self._play(trial, known, None)
            outcomes.append(outcome)
            if outcome.failure is not None and outcome.failure.kind in STOPS_THE_RUN:
                return outcomes
            parents[MAIN] = (transcript, calls)
        room = asyncio.Semaphore(BRANCHES_AT_ONCE)

        async def one(branch: Branch) -> TrialOutcome:
            async with room:
                return await self._play_branch(trial, branch, known, parents)

        left = list(branches)
        while left and not any(o.failure and o.failure.kind in STOPS_THE_RUN for o in outcomes):
            owed = {b.id for b in left}
            # A branch of a branch that is owed itself waits for it.
            ready = [b for b in left if b.parent not in owed]
            left = [b for b in left if b.parent in owed]
            outcomes += await asyncio.gather(*map(one, ready))
        return outcomes

    async def _play_branch(
        self,
        trial: Trial,
        branch: Branch,
        known: _Known,
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
        transcript, own, outcome = await self._play(changed, known, before)
        begun = shared(calls, branch.fork, kept=branch.keeps)
        parents[branch.id] = (transcript, [*begun, *own])
        return outcome

    def _parent(self, branch: Branch) -> tuple[Transcript, Sequence[Call]]:
        return (
            self._folder.transcripts.read(branch.trial, branch.parent),
            self._folder.transcripts.calls(branch.trial, branch.parent),
        )

    async def _play(
        self, trial: Trial, known: _Known, before: Past | None
    ) -> tuple[Transcript, list[Call], TrialOutcome]:
        """Play a trial, or a branch of it, and keep what it gives."""
        async with contextlib.AsyncExitStack() as rehearsal:
            if known:
                # One scene at a time goes through what was drawn before, so that the first has
                # asked something new long before the last has.
                await rehearsal.enter_async_context(self._rehearsal)
                known.read()
            stage = create_stage(trial, before)
            calls: list[Call] = []
            shown = 0

            async def draw(ask: Ask) -> Call:
                nonlocal shown
                call = known.get(ask.draw)
                if call is None:
                    await rehearsal.aclose()
                    call = await self._ask(ask)
                    fresh = _last(stage.blocks, len(stage.blocks) - shown)
                    shown += len(fresh)
                    self._write_down(call, fresh)
                    await self._turnstile.go_through()
                elif call.blocks != ask.prompt.blocks:
                    raise ModelError(
                        f"{ask.draw.key}: the journal's call was shown something else than this "
                        "version of improv would show",
                        kind=ErrorKind.CHANGED,
                    )
                calls.append(call)
                if call.error:
                    raise ModelError(f"{ask.draw.role}: {call.error}", kind=call.error_kind)
                return call

            failure = None
            began = time.perf_counter()
            try:
                await stage.play(draw)
            except ModelError as e:
                failure = Failure(e.kind, stage.turn, str(e))
            except Exception:
                # A fault of ours in one scene must not take the thousand others along.
                failure = Failure(ErrorKind.INTERNAL, stage.turn, traceback.format_exc(limit=-3))
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
            ),
        )

    async def halt(self) -> None:
        """Ask nothing more: scenes end where they stand, once what is in flight has come."""
        self._halted = self._halted or ModelError("the run was interrupted", kind=ErrorKind.HALTED)
        self._models.halt()

    async def close(self) -> str:
        """Write everything that is held, and let go of the endpoints. Returns what went wrong."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        trouble = ""
        try:
            self._shards.flush()
        except OSError as e:
            trouble = _disk(e)
        with contextlib.suppress(OSError):
            self._journal.close()
        await self._models.close()
        return trouble

    async def where(self) -> tuple[str, int]:
        """Return the node and the process that this host lives in."""
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        return node, os.getpid()

    async def _ask(self, ask: Ask) -> Call:
        if self._allowance is not None and self._halted is None:
            await self._allowance.take()
        if self._halted is not None:
            raise self._halted
        call = await self._models.complete(ask)
        if self._allowance is not None:
            if call.error:
                self._allowance.give_back()
            else:
                self._allowance.spend(call_spending(call, ask.model.price))
        return call

    def _write_down(self, call: Call, blocks: Sequence[Block]) -> None:
        try:
            self._journal.append(call, blocks)
        except OSError as e:
            self._halted = ModelError(_disk(e), kind=ErrorKind.DISK)
            raise self._halted from None

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
                # Kept with the branch that it made, though it is another draw of its parent's.
                calls = [replace(c, draw=replace(c.draw, branch=stage.branch)) for c in calls]
        transcript = Transcript(stage.trial.id, stage.branch, tuple(stage.own_turns))
        scores = marked(transcript, stage.scene)
        self._shards.add(row, stage.own_turns, calls, stage.blocks.values(), scores)

    async def _flush_regularly(self) -> None:
        """Bring journal and shards to the disk, in threads: a slow one must not hold up scenes."""
        flushed = time.monotonic()
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            try:
                await asyncio.to_thread(self._journal.sync)
                late = time.monotonic() - flushed > SHARD_EVERY
                if late or len(self._shards) >= FLUSH_TRIALS:
                    flushed = time.monotonic()
                    await asyncio.to_thread(self._shards.flush)
            except OSError as e:
                self._halted = self._halted or ModelError(_disk(e), kind=ErrorKind.DISK)
            if self._allowance is not None:
                with contextlib.suppress(EndpointError):
                    await self._allowance.report()

    def _new_gate(self, endpoint: str) -> Gate:
        """Return the gate of an endpoint, kept as wide as its limiter allows."""
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


class _Known:
    """The calls of one trial that need not be made again; read when its turn has come."""

    def __init__(self, lines: Sequence[Sequence[bytes]]) -> None:
        self._lines = lines
        self._calls: dict[Draw, Call] = {}

    def __bool__(self) -> bool:
        return bool(self._lines or self._calls)

    def read(self) -> None:
        lines, self._lines = self._lines, ()
        self._calls |= {call.draw: call for call in calls_of(lines) if not call.error}

    def get(self, draw: Draw) -> Call | None:
        return self._calls.get(draw)


class Turnstile:
    """Lets one scene at a time go on with its reply, and then the event loop turn once.

    Replies that arrive together would otherwise be worked off together, and what the scenes ask
    next be sent only when all of them are done: clumps that never part, and wait for each other.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._turning = False

    async def go_through(self) -> None:
        """Wait for this scene's moment, which is now if no other had this turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn)
            return
        moment = loop.create_future()
        self._waiting.append(moment)
        await moment

    def _turn(self) -> None:
        while self._waiting:
            moment = self._waiting.popleft()
            if not moment.done():
                moment.set_result(None)
                asyncio.get_running_loop().call_soon(self._turn)
                return
        self._turning = False


def _last(book: dict[str, Block], count: int) -> list[Block]:
    """Return the blocks that were added last, in their order."""
    return [*itertools.islice(reversed(book.values()), count)][::-1]


def _disk(error: OSError) -> str:
    return f"the run's folder cannot be written: {error.strerror or error}"
