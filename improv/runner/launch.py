"""Plays a study into a run's folder, or plays what a run still owes.

The steps are the same with Ray, on a cluster, or in this process. A trial counts as played when
the run's folder holds it; what a host reports does not count.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from improv import event_loop
from improv.analysis.cache import cache_if_large
from improv.analysis.delivery import headline, loss_sentences, read_delivery_if_whole
from improv.errors import ErrorKind, RunError, folder_unwritable, is_weather
from improv.models.agreed import Agreed
from improv.models.budget import BYTES_PER_TOKEN, Spent
from improv.models.manners_keeper import sentences
from improv.records import MAIN, Json, Stop
from improv.runner.context_lengths import lengths
from improv.runner.host import HostTerms
from improv.runner.host_pool import HostPool
from improv.runner.owed import owed, to_play_again
from improv.runner.preflight import look_ahead
from improv.runner.provenance import identity, refuse_drift
from improv.runner.run_history import first_entry, first_record, now, record, record_session_end
from improv.runner.scheduler import Scheduler
from improv.runner.session import LIVES, Progress, Setup, Watch
from improv.runner.spending import spent_so_far
from improv.runner.until_decided import Frontier, frontier
from improv.scoring.lost_scores import restore_scores
from improv.scoring.scorer import score
from improv.storage.batch_log import count_batches
from improv.storage.journal import Journaled
from improv.storage.lock import RunLock, unwritable_error
from improv.storage.repair import find_damage, heal, owe_again, repair_shards, tidy
from improv.storage.run_folder import RunFolder
from improv.storage.run_record import asked_branches, kept_price
from improv.storage.runs import RUN_ID, new_run_id, runs_filesystem
from improv.study.branch import Branch
from improv.study.design import Study
from improv.study.measure_spec import FREE_SCORERS
from improv.study.model_spec import Price
from improv.study.named_models import edited_trials, with_price
from improv.study.snapshot import write_study
from improv.study.trial import Trials, models_of, plan, trials_hash
from improv.study.trial_count import refuse_too_many


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of a run: its trials, its setup, what may be sent where, the lock on its folder,
    and notices so far."""

    folder: RunFolder
    study: Study
    trials: Trials
    setup: Setup
    agreed: Agreed
    watch: Watch | None
    lock: RunLock
    journal: Journaled
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HeldRun:
    """A run whose lock this process holds, and notices about what was repaired in it."""

    folder: RunFolder
    lock: RunLock
    journal: Journaled
    notices: list[str]

    def session(
        self, study: Study, trials: Trials, setup: Setup, agreed: Agreed, watch: Watch | None
    ) -> Session:
        """Return a session that plays `trials` of `study` into this run."""
        return Session(
            folder=self.folder,
            study=study,
            trials=trials,
            setup=setup,
            agreed=agreed,
            watch=watch,
            lock=self.lock,
            journal=self.journal,
            notices=tuple(self.notices),
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """The state of a run after a session.

    `done`, `failed` and `owed` count trials; `owed` counts branches too. `branches` counts the
    branches in the folder, and `fresh` are those that this call added. `stopped` says what stopped
    the session, and `kind` is its kind. `notices` are further messages for the user.
    """

    folder: RunFolder
    done: int
    failed: int
    owed: int
    stopped: str = ""
    kind: ErrorKind = ErrorKind.NONE
    branches: int = 0
    fresh: tuple[Branch, ...] = ()
    notices: tuple[str, ...] = ()
    idle: bool = False
    """Whether nothing was owed when the session began."""
    broken: int = 0
    """How many branches failed."""
    undelivered: str = ""
    """What the run lost of its lines or of its author's replies, if it is more than it may lose."""

    @property
    def exit_code(self) -> int:
        if self.kind in _EXITS:
            return _EXITS[self.kind]
        return 1 if self.failed or self.owed or self.broken or self.undelivered else 0


ESTIMATED = (
    "an endpoint does not count tokens: what was used, and what it costs, is estimated by length, "
    f"one token for {BYTES_PER_TOKEN} bytes"
)
_EXITS = {ErrorKind.DECIDED: 0, ErrorKind.BUDGET: 4, ErrorKind.HALTED: 130, ErrorKind.DISK: 3}


def run(
    study: Study,
    *,
    runs: str | os.PathLike[str] = "runs",
    name: str | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
    source: Json | None = None,
) -> Result:
    """Play every trial of `study` into a new folder under `runs`, and return its state.

    `source` is the file and the options that the study was read from; `resume` compares them. A
    trial that fails is a row of the run, not an error. Raises RunError if the folder cannot be
    made, MachineError if Ray or a model cannot start, and EndpointError if there is no key or the
    endpoint does not answer.
    """
    setup = setup or Setup()
    study = with_price(study, setup.price) if setup.price is not None else study
    trials = plan(study).first(setup.limit)
    refuse_too_many(trials, setup.max_trials)
    agreed = look_ahead(study, trials, setup)
    if name is not None and not RUN_ID.fullmatch(name):
        raise RunError(f"{name!r}: not a name for a run; letters, digits, '.', '_' and '-' only")
    fs, base = runs_filesystem(runs)
    root = os.fspath(runs) if "://" in os.fspath(runs) else base
    folder = RunFolder(fs, f"{base}/{name or new_run_id(study.name)}", root)
    until = frontier(folder, study, trials) if setup.until_decided else None
    meta = first_record(study, trials, setup, source) | {"lengths": lengths(study, agreed)}
    folder.create(study, meta, first_entry(study, trials))
    with entered(folder) as held:
        result = play_owed(held.session(study, trials, setup, agreed, watch), until=until)
    return _scored(result, study)


def resume(folder: RunFolder, *, setup: Setup | None = None, watch: Watch | None = None) -> Result:
    """Play what a run still owes. Calls that its journal holds are not made again.

    Raises RunError if another process plays the run, or if the run has changed since it was begun.
    """
    setup = setup or Setup()
    with entered(folder) as held:
        meta, study = folder.meta(), folder.study()
        trials = plan(study).first(number_in(meta, "trials"))
        asked = asked_branches(meta)
        refuse_too_many(trials, setup.max_trials, asked=len(asked))
        # What waits at the endpoint is found again only by a session that sends batches.
        setup = replace(setup, batch=setup.batch or meta.get("batch") is True)
        now_here = identity(models_of(trials))
        if damage := find_damage(folder):
            try:
                refuse_drift(folder, meta, now_here, trials_hash(trials), setup)
            except RunError as e:
                raise RunError("\n".join([*damage.values(), str(e)])) from None
            record(folder, "repaired", damage=list(damage.values()))
            held.notices.extend(heal(folder, held.journal, damage))
        with contextlib.suppress(OSError, RunError):
            folder.note_changes([f"{name}.parquet" for name in damage])
        if setup.price is not None:
            study = _keep_price(folder, study, meta, setup.price)
            meta, trials = folder.meta(), plan(study).first(number_in(meta, "trials"))
        setup = replace(setup, price=kept_price(meta))
        failed = to_play_again(folder, every=setup.failed)
        idle = not failed and not owed(folder, trials, asked)
        if idle:
            result = replace(_finish(folder, trials, Stop(), held.notices), idle=True)
        else:
            changes = refuse_drift(folder, meta, now_here, trials_hash(trials), setup)
            until = _frontier_again(folder, study, trials, meta, setup)
            agreed = look_ahead(study, trials, setup, asked)
            if changes:
                record(folder, "changed", changes=changes)
            if failed:
                record(folder, "failed again", trials=len(failed))
                owe_again(folder, failed, held.journal)
                held.notices.append(
                    f"{len(failed)} trials and branches that had failed are played again; their "
                    "first failures stay in the table of failures"
                )
            result = play_owed(held.session(study, trials, setup, agreed, watch), until=until)
    if not (result.owed or result.stopped):
        result = replace(result, notices=(*result.notices, *restore_scores(folder)))
    return result if idle else _scored(result, study)


def _frontier_again(
    folder: RunFolder, study: Study, trials: Trials, meta: Json, setup: Setup
) -> Frontier | None:
    """Return the frontier of a resumed run: such a run was to play until all is decided, or is
    now."""
    before = meta.get("until_decided") is True and not setup.to_the_end
    if not (setup.until_decided or before):
        return None
    folder.update({"until_decided": True})
    return frontier(folder, study, trials)


def _keep_price(folder: RunFolder, study: Study, meta: Json, price: Price) -> Study:
    """Give a price to the models of a run whose study gives them none, and keep it in the run, so
    that whoever reads the run knows what it cost. A price decides nothing of what is played."""
    before = kept_price(meta)
    priced = with_price(study, price, instead=before)
    if priced != study or price != before:
        text = write_study(priced).encode()
        try:
            folder.checksums.write("study.yaml", text)
            folder.files.write("journal/study.yaml", text)
            folder.update({"price": price.model_dump(exclude_none=True)})
        except OSError as e:
            message = f"{folder.path}: cannot be written: {e.strerror or e}"
            raise unwritable_error(message, e) from None
    return priced


@contextlib.contextmanager
def entered(folder: RunFolder) -> Iterator[HeldRun]:
    """Hold the lock of a run, and move torn and foreign files aside first. Raises RunError."""
    folder.refuse_links()
    with RunLock(folder.local) as lock:
        notices = [lock.took_over] if lock.took_over else []
        journal = folder.journaled()
        notices += tidy(folder, journal)
        yield HeldRun(folder=folder, lock=lock, journal=journal, notices=notices)


def _scored(result: Result, study: Study) -> Result:
    """Make the scores that the study's plan needs and that need no model, once all is played.

    Hosts have made the markers already. Scores by a judge are made by `improv score`.
    """
    measures = (
        [m for m in study.plan.measures() if m in FREE_SCORERS] if study.plan is not None else []
    )
    unfinished = result.owed or result.stopped
    if not measures or (unfinished and result.kind is not ErrorKind.DECIDED):
        return result
    scored = score(result.folder, measures)
    return replace(result, notices=(*result.notices, *scored.notices))


def play_owed(
    session: Session, only: set[str] | None = None, *, until: Frontier | None = None
) -> Result:
    """Play what the run owes until nothing is owed or something stops the session.

    With `only`, play no trials and only the branches with these ids. With `until`, stop when all
    planned contrasts are decided.
    """
    folder, study, trials = session.folder, session.study, session.trials
    setup, journal = session.setup, session.journal
    meta = folder.meta()
    number = number_in(meta, "session", 0) + 1
    try:
        folder.make_parts()
        folder.update({"status": "playing", "session": number})
    except OSError as e:
        message = f"{folder.path}: cannot be written: {e.strerror or e}"
        raise unwritable_error(message, e) from None
    stop, futile, notices = Stop(), 0, list(session.notices)
    asked = asked_branches(meta)
    work = owed(folder, trials, asked, only)
    record(folder, "played", session=number, owed=work.size)
    progress = Progress(dict(work.by_condition))
    models = models_of(edited_trials(study, trials, asked)) if setup.budget else []
    while work and not stop:
        journal.refresh()
        spent = spent_so_far(folder, journal, models, setup.price) if setup.budget else Spent()
        terms = HostTerms.of(number, setup, session.agreed)
        pool = HostPool(folder, work, setup=setup, terms=terms, spent=spent)
        scheduler = Scheduler(
            pool,
            work,
            journal=journal,
            lock=session.lock,
            stop=stop,
            progress=progress,
            watch=session.watch,
            fail_on_error=setup.fail_on_error,
            frontier=until,
        )
        event_loop.run_coroutine(scheduler.run())
        # A host may have died after it reported a trial and before it wrote it: the folder counts.
        with contextlib.suppress(OSError):
            notices += repair_shards(folder)
        before, work = work, owed(folder, trials, asked, only)
        futile += work.size >= before.size
        if work and futile >= LIVES:
            stop.record("nothing that was played could be written", ErrorKind.DISK)
        with contextlib.suppress(OSError):
            folder.update({"hosts": list(pool.played.values())})
    known = meta.get("manners", [])
    notices += sentences([m for m in folder.meta().get("manners", []) if m not in known])
    if progress.estimated:
        notices.append(ESTIMATED)
    if setup.batch and work and (sent := count_batches(folder.journals)):
        notices.append(
            f"{sent:,} {'batch was' if sent == 1 else 'batches were'} sent; what has no answer yet "
            "goes on at the endpoint, and `improv resume` waits for it and asks for nothing twice"
        )
    return _finish(folder, trials, stop, notices, progress.seconds)


def _finish(
    folder: RunFolder,
    trials: Trials,
    stop: Stop,
    notices: Iterable[str] = (),
    seconds: float | None = None,
) -> Result:
    """Join the shards into tables, update run.json, and return the state of the run.

    If the disk cannot be written, the result says so, and no error is raised.
    """
    meta = folder.meta()
    left = owed(folder, trials, asked_branches(meta))
    messages = list(notices)
    # To join the tables of a large run takes long; readers read shards as well, and the next
    # session joins them.
    if not stop.at_once:
        try:
            folder.tables.compact(finished=not left)
        except OSError as e:
            stop.record(folder_unwritable(e), ErrorKind.DISK)
    ended = _count_ended(folder)
    messages += ended.notices
    arms = {} if stop.at_once else read_delivery_if_whole(folder)
    messages += loss_sentences(arms)
    changes: Json = {
        "status": "stopped" if left else "done",
        "done": ended.done,
        "failed": ended.failed,
        "grown": ended.branches,
        "stopped": stop.reason,
        "undelivered": headline(arms),
        "delivery": loss_sentences(arms),
        "ended": now(),
    }
    if seconds is not None:
        changes["seconds"] = round(seconds + _seconds_in(meta), 3)
    try:
        folder.update(changes)
    except OSError as e:
        messages.append(f"run.json could not be written: {e.strerror or e}")
    record_session_end(folder, changes, left.size)
    if not left:
        cache_if_large(folder)
    return Result(
        folder=folder,
        done=ended.done,
        failed=ended.failed,
        owed=left.size,
        stopped=stop.reason,
        kind=stop.kind,
        branches=ended.branches,
        notices=tuple(messages),
        broken=ended.broken,
        undelivered=headline(arms),
    )


def _seconds_in(meta: Json) -> float:
    before = meta.get("seconds")
    return before if isinstance(before, int | float) else 0.0


class _Ended(NamedTuple):
    done: int
    failed: int
    branches: int
    broken: int
    weather: int

    @property
    def notices(self) -> list[str]:
        if not self.weather:
            return []
        return [
            f"{self.weather} trials and branches failed for what may pass, such as a timeout; "
            "`improv resume` plays them again"
        ]


def _count_ended(folder: RunFolder) -> _Ended:
    """Count the trials and branches in the folder, and those that failed, in weather and in all."""
    columns = ["branch", "status", "failure_kind"]
    done = failed = branches = broken = weather = 0
    for rows in folder.tables.read("trials", columns=columns).to_batches(10_000):
        for branch, status, kind in zip(*(rows[c].to_pylist() for c in columns), strict=True):
            weather += status == "failed" and is_weather(kind or "")
            if branch == MAIN:
                done += status == "done"
                failed += status == "failed"
            else:
                branches += 1
                broken += status == "failed" and kind != ErrorKind.UNREACHED
    return _Ended(done, failed, branches, broken, weather)


def number_in(meta: Json, name: str, default: int | None = None) -> int:
    """Return a whole number of run.json. Raises RunError if the value is no whole number."""
    value = meta.get(name, default)
    if not isinstance(value, int):
        raise RunError(f"run.json: '{name}' is not a number")
    return value
