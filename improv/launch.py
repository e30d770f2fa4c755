"""Plays a study: plan, hosts, store. The same path with Ray, on a cluster, or in process.

A bounded number of trials is in flight at any time; a host that dies gives its trials back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import ray

from improv import local
from improv.errors import MachineError, RunError
from improv.host import STOPS_THE_RUN, Host, node_model
from improv.record import Call, Outcome
from improv.scene import Model
from improv.store import RunFolder, new_run_id, place
from improv.study import Study
from improv.trial import Trial, plan, plan_hash

LIVES = 3
"""How often a trial may lose its host before it is given up for this run."""


EMBEDDED_STAGES = 2
"""Scenes at once on the embedded model, whose slots hold the threads of about so many."""


@dataclass(frozen=True)
class Setup:
    """How a study is played, none of which changes what is drawn: `ray` is "local", "off", or a
    cluster's address; `hosts` and `stages` (at once in each) are chosen where they are None."""

    ray: str = "local"
    hosts: int | None = None
    stages: int | None = None
    connections: int = 64
    limit: int | None = None


@dataclass
class Progress:
    """How a run stands, for whoever shows it."""

    planned: dict[str, int]
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    calls: int = 0
    tokens: int = 0
    began: float = field(default_factory=time.monotonic)

    def count(self, outcome: Outcome) -> None:
        table = self.failed if outcome.failure else self.done
        table[outcome.condition] = table.get(outcome.condition, 0) + 1
        self.turns += outcome.turns
        self.calls += outcome.calls
        self.tokens += outcome.completion_tokens

    @property
    def over(self) -> int:
        return sum(self.done.values()) + sum(self.failed.values())

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.began, 1e-9)


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """What came of a run: its folder, how many trials are done, failed and owed, and what
    stopped it, if anything did."""

    folder: RunFolder
    done: int
    failed: int
    owed: int
    stopped: str = ""


def run(
    study: Study,
    *,
    runs: str | os.PathLike[str] = "runs",
    name: str | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
) -> Result:
    """Play every trial of `study` into a new folder under `runs`, and return what came of it.

    Raises RunError where the folder cannot be made and MachineError where Ray or a model cannot
    start. Trials that fail are rows of the run, not errors.
    """
    setup = setup or Setup()
    trials = plan(study)[: setup.limit]
    _look_for_weights(trials)
    fs, base = place(runs)
    root = os.fspath(runs) if "://" in os.fspath(runs) else base
    folder = RunFolder(fs, f"{base}/{name or new_run_id(study.name)}", root)
    folder.create(study, _meta(study, trials, setup))
    return _play(folder, trials, {}, setup, watch)


def resume(folder: RunFolder, *, setup: Setup | None = None, watch: Watch | None = None) -> Result:
    """Play what a run still owes. Calls that its journal holds are not made again."""
    setup = setup or Setup()
    meta = folder.meta()
    trials = plan(folder.study())[: meta["trials"]]
    if plan_hash(trials) != meta["plan"]:
        raise RunError(
            f"{folder.id}: this version of improv would play other trials than were planned"
        )
    over = set(folder.table("trials", columns=["trial"])["trial"].to_pylist())
    owed = [t for t in trials if t.id not in over]
    if not owed:
        folder.compact(finished=True)
        failed = folder.table("trials", columns=["status"])["status"].to_pylist().count("failed")
        folder.update({"status": "done", "done": len(trials) - failed, "failed": failed})
        return Result(folder, len(trials) - failed, failed, 0)
    _look_for_weights(owed)
    drawn: dict[str, list[Call]] = {t.id: [] for t in owed}
    for entry in folder.journaled():
        if isinstance(entry, Call) and entry.draw.trial in drawn:
            drawn[entry.draw.trial].append(entry)
    folder.update({"status": "playing"})
    return _play(folder, owed, drawn, setup, watch)


def _play(
    folder: RunFolder,
    trials: list[Trial],
    drawn: dict[str, list[Call]],
    setup: Setup,
    watch: Watch | None,
) -> Result:
    planned: dict[str, int] = {}
    for t in trials:
        planned[t.condition] = planned.get(t.condition, 0) + 1
    progress = Progress(planned)
    pool = _Pool(folder, trials, setup)
    stopped = asyncio.run(_drive(pool, trials, drawn, progress, watch))
    owed = len(trials) - progress.over
    folder.compact(finished=not owed)
    table = folder.table("trials", columns=["status"])
    done = sum(s == "done" for s in table["status"].to_pylist())
    failed = len(table) - done
    status = "stopped" if owed else "done"
    folder.update(
        {
            "status": status, "done": done, "failed": failed, "stopped": stopped,
            "hosts": list(pool.played.values()),
            "ended": _now(), "seconds": round(progress.seconds, 3),
        }
    )  # fmt: skip
    return Result(folder, done, failed, owed, stopped)


async def _drive(
    pool: _Pool,
    trials: Sequence[Trial],
    drawn: dict[str, list[Call]],
    progress: Progress,
    watch: Watch | None,
) -> str:
    """Keep every host as full as it may be until nothing is owed; return what stopped it."""
    waiting = list(reversed(trials))
    lives = dict.fromkeys((t.id for t in trials), LIVES)
    playing: dict[asyncio.Task[Outcome], tuple[Trial, int]] = {}
    stopped = ""
    try:
        await pool.open()
        while (waiting and not stopped) or playing:
            while waiting and not stopped and (seat := pool.seat()) is not None:
                trial = waiting.pop()
                task = asyncio.ensure_future(pool.play(seat, trial, drawn.pop(trial.id, [])))
                playing[task] = (trial, seat)
            arrivals = pool.arriving if waiting and not stopped else set()
            await asyncio.wait({*playing, *arrivals}, return_when=asyncio.FIRST_COMPLETED)
            for task in [t for t in playing if t.done()]:
                trial, seat = playing.pop(task)
                pool.leave(seat)
                try:
                    outcome = task.result()
                except ray.exceptions.RayActorError as e:
                    lives[trial.id] -= 1
                    if lives[trial.id] > 0:
                        drawn[trial.id] = pool.journaled(trial)
                        waiting.append(trial)
                    else:
                        stopped = stopped or f"the hosts of trial {trial.id} keep dying: {e}"
                    continue
                if outcome.failure and outcome.failure.kind in STOPS_THE_RUN:
                    stopped = stopped or outcome.failure.message
                    continue
                progress.count(outcome)
                if watch is not None:
                    watch(progress)
    finally:
        await pool.close()
    return stopped


class _Pool:
    """The hosts of one run: Ray actors, or with Ray off the same class in this process.

    On a cluster hosts may outnumber the processors of the moment: those that wait for one make
    the cluster grow, and are given scenes when they have arrived.
    """

    def __init__(self, folder: RunFolder, trials: Sequence[Trial], setup: Setup) -> None:
        self._folder = folder
        self._setup = setup
        self._off = setup.ray == "off"
        self._embedded = sorted({m.model for m in _models(trials) if m.embedded})
        self._served: dict[tuple[str, str], Any] = {}
        # Beyond a few scenes at once the embedded model only trades one scene's cached prompt
        # for another's; a distant one is kept busy by hundreds.
        self._stages = setup.stages or (EMBEDDED_STAGES if self._embedded else 128)
        self._enough = math.ceil(len(trials) / self._stages)
        self._hosts: list[Any] = []
        self._taken: dict[int, int] = {}
        self._began_ray = False
        self.arriving: set[asyncio.Task[None]] = set()
        self.played: dict[int, dict[str, Any]] = {}
        """Where each host lives and how many trials it played, for run.json."""

    async def open(self) -> None:
        """Start the hosts; return when the first of them is there. Raises MachineError."""
        if not self._off:
            self._began_ray = start_ray(self._setup.ray)
        count = self._setup.hosts or self._natural_count()
        arguments = (self._folder.root, self._folder.id, self._setup.connections)
        if self._off:
            self._hosts = [Host(*arguments) for _ in range(count)]
            self._taken = dict.fromkeys(range(count), 0)
            here = {"node": "", "process": os.getpid(), "trials": 0}
            self.played = {seat: dict(here) for seat in self._taken}
            return
        actor: Any = ray.remote(Host).options(
            num_cpus=0 if self._setup.ray == "local" else 1,
            # Ray counts `where` and `close` as calls too.
            max_concurrency=self._stages + 2,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._hosts = [actor.remote(*arguments, True) for _ in range(count)]
        self.arriving = {asyncio.create_task(self._arrive(i)) for i in range(count)}
        done, _ = await asyncio.wait(self.arriving, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _arrive(self, seat: int) -> None:
        node, process = await self._hosts[seat].where.remote()
        self.played[seat] = {"node": node, "process": process, "trials": 0}
        for model in self._embedded:
            served = node_model(node, model)
            self._served[node, model] = served
            await served.url.remote()
        self._taken[seat] = 0
        self.arriving = {t for t in self.arriving if t is not asyncio.current_task()}

    def seat(self) -> int | None:
        """Take a free place in the emptiest host, or return None where all are full."""
        seat = min(self._taken, key=self._taken.__getitem__)
        if self._taken[seat] >= self._stages:
            return None
        self._taken[seat] += 1
        return seat

    def leave(self, seat: int) -> None:
        self._taken[seat] -= 1

    async def play(self, seat: int, trial: Trial, drawn: list[Call]) -> Outcome:
        host = self._hosts[seat]
        if self._off:
            outcome: Outcome = await host.play(trial, drawn)
        else:
            outcome = await host.play.remote(trial, drawn)
        self.played[seat]["trials"] += 1
        return outcome

    def journaled(self, trial: Trial) -> list[Call]:
        found = self._folder.journaled()
        return [e for e in found if isinstance(e, Call) and e.draw.trial == trial.id]

    async def close(self) -> None:
        """Let every host write what it holds, and end them."""
        for task in self.arriving:
            task.cancel()
        for seat, host in enumerate(self._hosts):
            with contextlib.suppress(ray.exceptions.RayError):
                if self._off:
                    await host.close()
                elif seat in self._taken:
                    await host.close.remote()
        if not self._off:
            for actor in (*self._hosts, *self._served.values()):
                ray.kill(actor)
            if self._began_ray:
                ray.shutdown()

    def _natural_count(self) -> int:
        if self._setup.ray in ("local", "off"):
            return 1
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return max(1, min(self._enough, cpus))


def start_ray(address: str) -> bool:
    """Start or join Ray; return whether it was this call that did."""
    if ray.is_initialized():
        return False
    # Ray would otherwise write to the terminal over our progress, and send usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as e:
        first = str(e).strip().splitlines()[0]
        raise MachineError(
            f"Ray did not start ({address}): {first}; --ray off plays without it"
        ) from None
    return True


def _models(trials: Sequence[Trial]) -> list[Model]:
    scenes = {id(t.scene): t.scene for t in trials}.values()
    found = []
    for scene in scenes:
        found += [scene.model_of(c.name) for c in scene.cast]
        if scene.author.live:
            found.append(scene.model_of("author"))
    return found


def _look_for_weights(trials: Sequence[Trial]) -> None:
    """Raise MachineError before anything is played if an embedded model has no weights here."""
    for model in {m.model for m in _models(trials) if m.embedded}:
        local.weights(model)


def _meta(study: Study, trials: Sequence[Trial], setup: Setup) -> dict[str, Any]:
    versions = {
        name: metadata.version(name)
        for name in ("improv-theatre", "ray", "mesa", "openai", "pyarrow", "xllamacpp")
        if _installed(name)
    }
    return {
        "study": study.name,
        "scenes": study.scenes,
        "conditions": [c.name for c in study.conditions],
        "models": sorted({m.model for m in _models(trials)}),
        "trials": len(trials),
        "plan": plan_hash(list(trials)),
        "seed": study.seed,
        "status": "playing",
        "created": _now(),
        "ray": setup.ray if setup.ray in ("local", "off") else "cluster",
        "versions": versions | {"python": platform.python_version()},
        "platform": sys.platform,
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
