"""Plays a study: plan, hosts, store. The same path with Ray, on a cluster, or in process.

A bounded number of trials is in flight at any time; a host that dies gives its trials back. What
counts as played is what stands in the run's folder, never what a host said of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import ray

from improv import limiter, local
from improv.branch import Branch, branched, from_json, grow, past, planned, regenerate
from improv.budget import Budget, PurseKeeper, Spent, spent_by
from improv.drift import identity, refuse_drift, refuse_strangers
from improv.edit import Edit
from improv.errors import MachineError, RunError
from improv.host import STOPS_THE_RUN, Host, Terms, node_model, purse_actor
from improv.journal import Journaled
from improv.lock import RunLock, unwritable
from improv.model import public, remote_address
from improv.record import MAIN, Json, Outcome
from improv.scene import Model, Price
from improv.store import RUN_ID, RunFolder, new_run_id, place
from improv.study import Study
from improv.trial import Trial, plan, plan_hash

LIVES = 3
"""How often a trial may lose its host before it is given up for this session."""

EMBEDDED_STAGES = 2
"""Scenes at once on the embedded model, whose slots hold the threads of about so many."""

ENOUGH_TO_TELL = 20
"""Trials after which a share of failures says something about the rest."""


@dataclass(frozen=True)
class Setup:
    """How a study is played, none of which changes what is drawn: `ray` is "local", "off", or a
    cluster's address; `hosts` and `stages` (at once in each) are chosen where they are None.

    `fail_on_error` is the share of failed trials that stops a run. `trusted` are addresses that
    a study may name and have the key sent to; `anyway` resumes a run that has changed since.
    """

    ray: str = "local"
    hosts: int | None = None
    stages: int | None = None
    connections: int = 64
    limit: int | None = None
    budget: Budget = field(default_factory=Budget)
    fail_on_error: float | None = None
    trusted: tuple[str, ...] = ()
    anyway: bool = False


@dataclass
class Progress:
    """How a session stands, for whoever shows it. Branches count as trials of their condition."""

    planned: dict[str, int]
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    calls: int = 0
    tokens: int = 0
    stopping: bool = False
    """Whether somebody interrupted it."""
    began: float = field(default_factory=time.monotonic)

    def count(self, outcome: Outcome) -> None:
        missed = outcome.failure is not None and outcome.failure.kind != "unreached"
        table = self.failed if missed else self.done
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
    """What came of a run: its folder, how many trials are done, failed and owed, how many
    branches it has, what stopped it (`kind` in a word), and what there is to tell besides."""

    folder: RunFolder
    done: int
    failed: int
    owed: int
    stopped: str = ""
    kind: str = ""
    branches: int = 0
    fresh: tuple[Branch, ...] = ()
    notices: tuple[str, ...] = ()
    idle: bool = False
    """Whether there was nothing to play."""

    @property
    def exit_code(self) -> int:
        if self.kind in _EXITS:
            return _EXITS[self.kind]
        return 1 if self.failed or self.owed else 0


_EXITS = {"budget": 4, "halted": 130, "disk": 3}


@dataclass(frozen=True, slots=True)
class Work:
    """What is owed of one trial: itself, or only some of its branches."""

    trial: Trial
    main: bool
    branches: tuple[Branch, ...] = ()

    @property
    def size(self) -> int:
        return self.main + len(self.branches)


@dataclass
class Stop:
    """What stopped a session, the first reason that there was."""

    why: str = ""
    kind: str = ""

    def __bool__(self) -> bool:
        return bool(self.kind)

    def because(self, why: str, kind: str) -> None:
        if not self.kind:
            self.why, self.kind = why, kind


def run(
    study: Study,
    *,
    runs: str | os.PathLike[str] = "runs",
    name: str | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
    source: Json | None = None,
) -> Result:
    """Play every trial of `study` into a new folder under `runs`, and return what came of it.

    `source` says which file and options the study came of, for `resume` to look at again. Raises
    RunError where the folder cannot be made and MachineError where Ray or a model cannot start.
    Trials that fail are rows of the run, not errors.
    """
    setup = setup or Setup()
    trials = plan(study)[: setup.limit]
    _look_ahead(study, trials, setup)
    if name is not None and not RUN_ID.fullmatch(name):
        raise RunError(f"{name!r}: not a name for a run; letters, digits, '.', '_' and '-' only")
    fs, base = place(runs)
    root = os.fspath(runs) if "://" in os.fspath(runs) else base
    folder = RunFolder(fs, f"{base}/{name or new_run_id(study.name)}", root)
    folder.create(study, _meta(study, trials, setup, source))
    with RunLock(folder.local) as lock:
        return _play(folder, study, trials, setup, watch, lock, folder.journaled())


def resume(folder: RunFolder, *, setup: Setup | None = None, watch: Watch | None = None) -> Result:
    """Play what a run still owes. Calls that its journal holds are not made again.

    Raises RunError where somebody else plays it, or where it has changed since.
    """
    setup = setup or Setup()
    folder.refuse_links()
    with RunLock(folder.local) as lock:
        notices = [lock.took_over] if lock.took_over else []
        journal = folder.journaled()
        notices += folder.mend(journal)
        meta = folder.meta()
        study = folder.study()
        trials = plan(study)[: _number(meta, "trials")]
        models = _models(trials)
        if not _owed(folder, study, trials, meta, None):
            return replace(_finish(folder, trials, Stop(), notices), idle=True)
        refuse_drift(folder, meta, identity(models), plan_hash(trials), anyway=setup.anyway)
        _look_ahead(study, trials, setup, _asked(meta))
        return _play(folder, study, trials, setup, watch, lock, journal, notices=notices)


def branch(
    folder: RunFolder,
    trial: str,
    turn: int,
    *,
    edit: Edit | None = None,
    draws: int = 1,
    again: bool = False,
    setup: Setup | None = None,
    watch: Watch | None = None,
) -> Result:
    """Grow branches from a turn of a trial (`ID`, number, or `TRIAL~BRANCH`) of a played run.

    With `again`, that single turn is drawn `draws` more times instead. The new branches land in
    the same run; `fresh` of the result names them. Raises RunError and StudyError.
    """
    setup = setup or Setup()
    folder.refuse_links()
    with RunLock(folder.local) as lock:
        notices = [lock.took_over] if lock.took_over else []
        journal = folder.journaled()
        notices += folder.mend(journal)
        meta = folder.meta()
        study = folder.study()
        row = folder.trial(trial)
        trials = plan(study)
        found = next((t for t in trials if t.id == row["trial"]), None)
        if found is None:
            raise RunError(f"{folder.id}: its study has no trial {row['trial']} any more")
        if row["status"] == "failed" and row["turns"] < turn:
            raise RunError(f"{trial}: failed at turn {row['failure_turn']}: {row['failure']}")
        refuse_drift(folder, meta, identity(_models([found])), None, anyway=setup.anyway)
        asked = _asked(meta)
        parent = row["branch"]
        if again and edit is not None and not edit.empty:
            raise RunError("a regeneration changes nothing; edit a branch instead")
        siblings = [*planned(study, found), *(b for b in asked if b.trial == found.id)]
        transcript = folder.transcript(found.id, row["branch"])
        last = max((t.turn for t in transcript.lines()), default=0)
        if turn > last:
            raise RunError(f"{trial}: has {last} turns; there is no turn {turn} to branch at")
        # A turn that a branch shares is entered where it was played.
        parent = folder.owner(found.id, row["branch"], turn)
        fresh = _next(siblings, found.id, parent, turn, None if again else edit or Edit(), draws)
        branched(found, fresh[0])
        past(found, fresh[0], transcript.turns, ())
        _look_ahead(study, [found], setup, [fresh[0]])
        kept = [asdict(b) for b in [*asked, *fresh]]
        folder.update({"branches": kept})
        wanted = {b.id for b in fresh}
        planned_trials = trials[: _number(meta, "trials")]
        result = _play(
            folder, study, planned_trials, setup, watch, lock, journal, wanted, notices
        )  # fmt: skip
        return replace(result, fresh=tuple(fresh))


def _next(
    siblings: Sequence[Branch], trial: str, parent: str, turn: int, edit: Edit | None, draws: int
) -> list[Branch]:
    """Return new branches (or regenerations, without an edit), numbered after their siblings."""
    inherited = next((b.legacy for b in siblings if b.id == parent), "[]")

    def made(first: int) -> list[Branch]:
        if edit is None:
            return regenerate(trial, parent, turn, draws=draws, first=first, inherited=inherited)
        return grow(trial, parent, turn, edit, draws=draws, first=first, inherited=inherited)

    shape = replace(made(0)[0], number=0)
    same = [b.number for b in siblings if replace(b, number=0, arm="", length=None) == shape]
    return made(max(same) + 1 - made(0)[0].number if same else 0)


def _play(
    folder: RunFolder,
    study: Study,
    trials: list[Trial],
    setup: Setup,
    watch: Watch | None,
    lock: RunLock,
    journal: Journaled,
    only: set[str] | None = None,
    notices: Iterable[str] = (),
) -> Result:
    """Play what is owed until nothing is, or something stops it."""
    meta = folder.meta()
    session = _number(meta, "session", 0) + 1
    try:
        folder.update({"status": "playing", "session": session})
    except OSError as e:
        what = f"{folder.path}: cannot be written: {e.strerror or e}"
        raise unwritable(what, e) from None
    stop, futile, told = Stop(), 0, list(notices)
    work = _owed(folder, study, trials, meta, only)
    progress = Progress(_count_planned(work))
    models = _models(_wished(study, trials, _asked(meta))) if setup.budget else []
    while work and not stop:
        journal.refresh()
        spent = _spent(folder, journal, models) if setup.budget else Spent()
        terms = Terms(session, setup.connections)
        pool = _Pool(folder, [w.trial for w in work], setup, terms, journal, spent)
        asyncio.run(_drive(pool, work, progress, watch, stop, setup, lock))
        # A host may have died with what it had said was done; the folder knows.
        with contextlib.suppress(OSError):
            told += folder.mend_shards()
        before, work = work, _owed(folder, study, trials, meta, only)
        futile += sum(w.size for w in work) >= sum(w.size for w in before)
        if work and futile >= LIVES:
            stop.because("nothing that was played could be written", "disk")
        with contextlib.suppress(OSError):
            folder.update({"hosts": list(pool.played.values())})
    return _finish(folder, trials, stop, told, progress.seconds)


def _finish(
    folder: RunFolder,
    trials: Sequence[Trial],
    stop: Stop,
    notices: Iterable[str] = (),
    seconds: float | None = None,
) -> Result:
    """Bring the folder into order, as far as the disk lets us, and say what came of the run."""
    meta = folder.meta()
    owed_work = _owed(folder, folder.study(), trials, meta, None)
    told = list(notices)
    try:
        folder.compact(finished=not owed_work)
    except OSError as e:
        stop.because(f"the run's folder cannot be written: {e.strerror or e}", "disk")
    table = folder.table("trials", columns=["branch", "status"]).to_pylist()
    mains = [r["status"] for r in table if r["branch"] == MAIN]
    done, failed = mains.count("done"), mains.count("failed")
    owed = sum(w.size for w in owed_work)
    changes: Json = {
        "status": "stopped" if owed else "done", "done": done, "failed": failed,
        "grown": len(table) - len(mains), "stopped": stop.why, "ended": _now(),
    }  # fmt: skip
    if seconds is not None:
        before = meta.get("seconds")
        before = before if isinstance(before, int | float) else 0.0
        changes["seconds"] = round(seconds + before, 3)
    try:
        folder.update(changes)
    except OSError as e:
        told.append(f"run.json could not be written: {e.strerror or e}")
    return Result(
        folder, done, failed, owed, stop.why, stop.kind, len(table) - len(mains),
        notices=tuple(told),
    )  # fmt: skip


def _owed(
    folder: RunFolder,
    study: Study,
    trials: Sequence[Trial],
    meta: Json,
    only: set[str] | None,
) -> list[Work]:
    """Return what was planned or asked for and is not in the folder yet, in the order of play."""
    table = folder.table("trials", columns=["trial", "branch"])
    over = set(zip(table["trial"].to_pylist(), table["branch"].to_pylist(), strict=True))
    asked: dict[str, list[Branch]] = {}
    for b in _asked(meta):
        asked.setdefault(b.trial, []).append(b)
    found = []
    for trial in trials:
        wishes = [*planned(study, trial), *asked.get(trial.id, [])]
        left = tuple(
            b for b in wishes if (trial.id, b.id) not in over and (only is None or b.id in only)
        )
        main = (trial.id, MAIN) not in over and only is None
        if main or left:
            found.append(Work(trial, main, left))
    return found


async def _drive(
    pool: _Pool,
    work: Sequence[Work],
    progress: Progress,
    watch: Watch | None,
    stop: Stop,
    setup: Setup,
    lock: RunLock,
) -> None:
    """Keep every host as full as it may be until nothing is owed or something stops us."""
    waiting = list(reversed(work))
    lives = dict.fromkeys((w.trial.id for w in work), LIVES)
    playing: dict[asyncio.Task[list[Outcome]], tuple[Work, int]] = {}
    total = sum(progress.planned.values())

    def interrupted() -> None:
        progress.stopping = True
        if watch is not None:
            watch(progress)

    with _interrupts(pool, stop, interrupted) as killed:
        try:
            await pool.open()
            while ((waiting and not stop) or playing) and not killed.is_set():
                while waiting and not stop and (seat := pool.seat()) is not None:
                    next_work = waiting.pop()
                    playing[asyncio.ensure_future(pool.play(seat, next_work))] = (next_work, seat)
                dying = asyncio.ensure_future(killed.wait())
                arrivals = pool.arriving if waiting and not stop else set()
                await asyncio.wait(
                    {*playing, *arrivals, dying},
                    timeout=1.0,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                dying.cancel()
                pool.look(stop)
                if lock.lost.is_set():
                    stop.because("another process has taken this run over", "lost")
                    await pool.halt()
                for task in [t for t in playing if t.done()]:
                    owed, seat = playing.pop(task)
                    try:
                        outcomes = task.result()
                    except ray.exceptions.RayError as e:
                        pool.lose(seat)
                        lives[owed.trial.id] -= 1
                        if lives[owed.trial.id] > 0:
                            waiting.append(owed)
                        else:
                            why = f"the hosts of trial {owed.trial.id} keep dying: {_line(e)}"
                            stop.because(why, "hosts")
                        continue
                    pool.leave(seat)
                    for outcome in outcomes:
                        if outcome.failure and outcome.failure.kind in STOPS_THE_RUN:
                            stop.because(outcome.failure.message, outcome.failure.kind)
                        else:
                            progress.count(outcome)
                    if stop.kind in ("key", "quota", "model", "budget", "disk"):
                        await pool.halt()
                    if not stop and _hopeless(progress, total, setup.fail_on_error):
                        failed = sum(progress.failed.values())
                        why = f"{failed} of {progress.over} trials failed, more than was allowed"
                        stop.because(why, "failures")
                        await pool.halt()
                    if watch is not None:
                        watch(progress)
                await pool.keep_limits()
        except (ray.exceptions.RayError, OSError) as e:
            stop.because(*_gone(e))
        finally:
            await pool.close(stop, at_once=killed.is_set())


@contextlib.contextmanager
def _interrupts(pool: _Pool, stop: Stop, tell: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Ctrl-C once: ask nothing more, and let what is in flight come. Twice: stop at once."""
    killed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if halting:
            killed.set()  # whatever stopped it the first time
        stop.because("interrupted", "halted")
        tell()
        halting.add(loop.create_task(pool.halt()))

    halting: set[asyncio.Task[None]] = set()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
    except (ValueError, RuntimeError, NotImplementedError):
        yield killed  # not the main thread: whoever started us has the signals
        return
    try:
        yield killed
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _hopeless(progress: Progress, total: int, allowed: float | None) -> bool:
    """Whether more trials fail than a run may have: for certain, or as far as can be told.

    The latter by the lower end of Wilson's 95% interval of the share that failed so far.
    """
    if allowed is None:
        return False
    failed, n = sum(progress.failed.values()), progress.over
    if failed > allowed * total:
        return True
    if n < ENOUGH_TO_TELL:
        return False
    z, p = 1.96, failed / n
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n) > allowed


class _Pool:
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
        models = _models(trials)
        self._embedded = sorted({m.model for m in models if m.embedded})
        self._endpoints = sorted({public(remote_address(m)) for m in models if _remote(m)})
        self._served: dict[tuple[str, str], Any] = {}
        self._limiters: dict[str, Any] = {}
        # Beyond a few scenes at once the embedded model only trades one scene's cached prompt
        # for another's; a distant one is kept busy by hundreds.
        self._stages = setup.stages or (EMBEDDED_STAGES if self._embedded else 128)
        self._enough = math.ceil(len(trials) / self._stages)
        self._hosts: list[Any] = []
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
            self._limiters[endpoint] = limiter.limiter_actor(endpoint, setup.connections)
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
        self._hosts = [actor.remote(*made) for _ in range(count)]
        self.arriving = {asyncio.create_task(self._arrive(i)) for i in range(count)}
        done, _ = await asyncio.wait(self.arriving, return_when=asyncio.FIRST_COMPLETED)
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
                # Its node may have died with the model there; or it cannot be started at all.
                lives -= 1
                if not lives:
                    raise
                await asyncio.sleep(1.0)
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
                stop.because(f"no host is left: {_line(error)}", "hosts")

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
            stop.because(trouble, "disk")
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
    """Return every model that the trials are played with, branches left aside."""
    found = []
    for scene in {id(t.scene): t.scene for t in trials}.values():
        found += [scene.model_of(c.name) for c in scene.cast]
        if scene.author.live:
            found.append(scene.model_of("author"))
    return found


def _remote(model: Model) -> bool:
    return not model.embedded and not model.in_process


def _wished(study: Study, trials: Sequence[Trial], asked: Sequence[Branch]) -> list[Trial]:
    """Return the trials, and each as every edit that its branches have would change it."""
    tried: set[tuple[str, ...]] = set()
    wished = list(trials)
    for trial in trials:
        for b in [*planned(study, trial), *(b for b in asked if b.trial == trial.id)]:
            # By what it changes: one name may stand for several changes.
            kind = (trial.slug, trial.condition, b.arm, b.edit, b.of)
            if kind not in tried:
                tried.add(kind)
                wished.append(branched(trial, b))
    return wished


def _look_ahead(
    study: Study, trials: Sequence[Trial], setup: Setup, asked: Sequence[Branch] = ()
) -> None:
    """Find before the first call what would fail: no weights, an edit that fits no scene, an
    address that nobody vouched for, dollars that cannot be counted."""
    models = _models(_wished(study, trials, asked))
    for model in {m.model for m in models if m.embedded}:
        local.weights(model)
    refuse_strangers([m for m in models if _remote(m)], setup.trusted)
    unpriced = sorted({m.model for m in models if m.price is None})
    if setup.budget.cost is not None and unpriced:
        raise RunError(
            f"a budget in dollars needs the price of {', '.join(unpriced)}: give its model a "
            "'price' in the study, or set --max-tokens instead"
        )


def _spent(folder: RunFolder, journal: Journaled, models: Iterable[Model]) -> Spent:
    """Return what all sessions of the run have spent so far."""
    prices: dict[tuple[str, str], Price | None] = {}
    for model in models:
        prices[model.model, ""] = model.price
        if _remote(model):
            prices[model.model, public(remote_address(model))] = model.price
    counted = {}
    for call in itertools.chain(folder.all_calls(), journal.calls()):
        # By its moment too: what a host that died had asked, another may have asked again; and a
        # regeneration stands under another branch in the table than in the journal.
        counted[call.draw.trial, call.draw.role, call.started] = call
    total = Spent()
    for call in counted.values():
        if not call.error:
            price = prices.get((call.model, call.endpoint), prices.get((call.model, "")))
            total += spent_by(call, price)
    return total


def _count_planned(work: Sequence[Work]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for w in work:
        counts[w.trial.condition] = counts.get(w.trial.condition, 0) + w.size
    return counts


def _meta(study: Study, trials: Sequence[Trial], setup: Setup, source: Json | None) -> Json:
    return {
        "study": study.name,
        "scenes": study.scenes,
        "conditions": [c.name for c in study.conditions],
        "models": sorted({m.model for m in _models(trials)}),
        "trials": len(trials),
        "plan": plan_hash(list(trials)),
        "seed": study.seed,
        "source": source,
        "status": "playing",
        "created": _now(),
        "ray": setup.ray if setup.ray in ("local", "off") else "cluster",
        **identity(_models(trials)),
    }


def _asked(meta: Json) -> list[Branch]:
    """Return the branches that a run was asked for. Raises RunError where they are none."""
    try:
        found = from_json(meta.get("branches", []))
        for b in found:
            _ = b.change
    except (TypeError, ValueError) as e:
        raise RunError(f"run.json: its branches cannot be read: {_line(e)}") from None
    return found


def _number(meta: Json, name: str, default: int | None = None) -> int:
    found = meta.get(name, default)
    if not isinstance(found, int):
        raise RunError(f"run.json: '{name}' is not a number")
    return found


def _gone(error: Exception) -> tuple[str, str]:
    """Say what a session has lost, and the kind of stop that it is."""
    if isinstance(error, OSError):
        return f"the run's folder cannot be written: {error.strerror or error}", "disk"
    return f"Ray is gone: {_line(error)}", "ray"


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
