"""Plays a study: plan, hosts, store. The same path with Ray, on a cluster, or in process.

A bounded number of trials is in flight at any time; a host that dies gives its trials back. What
counts as played is what stands in the run's folder, never what a host said of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from improv import loop
from improv.analysis_cache import weigh_if_large
from improv.branch import Branch, branched, from_json, grow, past, planned, regenerate
from improv.budget import Spent, spent_by
from improv.drive import drive
from improv.edit import Edit
from improv.embedded import weights
from improv.endpoint import check_endpoint, public, refuse_strangers, remote_address, secret_for
from improv.errors import ErrorKind, RunError, first_line
from improv.host import Terms
from improv.journal import Journaled
from improv.lengths import lengths
from improv.lock import RunLock, unwritable
from improv.mend import mend, mend_shards
from improv.pool import Pool
from improv.provenance import identity, refuse_drift
from improv.record import MAIN, Json
from improv.scene import Model, Price
from improv.score import FREE, score
from improv.session import LIVES, Progress, Setup, Stop, Watch, Work, models_of, remote
from improv.store import RUN_ID, RunFolder, new_run_id, place
from improv.study import Study
from improv.trial import Trial, plan, plan_hash


@dataclass(frozen=True)
class Result:
    """What came of a run: its folder, how many trials are done, failed and owed, how many
    branches it has, what stopped it (`kind` in a word), and what there is to tell besides."""

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
    """Whether there was nothing to play."""
    broken: int = 0
    """How many branches failed."""

    @property
    def exit_code(self) -> int:
        if self.kind in _EXITS:
            return _EXITS[self.kind]
        return 1 if self.failed or self.owed or self.broken else 0


_EXITS = {ErrorKind.BUDGET: 4, ErrorKind.HALTED: 130, ErrorKind.DISK: 3}


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
    RunError where the folder cannot be made, MachineError where Ray or a model cannot start, and
    EndpointError where there is no key or nobody listens.
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
    meta = _meta(study, trials, setup, source) | {"lengths": lengths(study)}
    folder.create(study, meta)
    with RunLock(folder.local) as lock:
        result = _play(folder, study, trials, setup, watch, lock, folder.journaled())
    return _scored(result, study)


def resume(folder: RunFolder, *, setup: Setup | None = None, watch: Watch | None = None) -> Result:
    """Play what a run still owes. Calls that its journal holds are not made again.

    Raises RunError where somebody else plays it, or where it has changed since.
    """
    setup = setup or Setup()
    with _entered(folder) as (lock, journal, notices):
        meta, study = folder.meta(), folder.study()
        trials = plan(study)[: _number(meta, "trials")]
        models = models_of(trials)
        if not _owed(folder, study, trials, meta, None):
            return replace(_finish(folder, trials, Stop(), notices), idle=True)
        refuse_drift(folder, meta, identity(models), plan_hash(trials), anyway=setup.anyway)
        _look_ahead(study, trials, setup, _asked(meta))
        result = _play(folder, study, trials, setup, watch, lock, journal, notices=notices)
    return _scored(result, study)


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
    with _entered(folder) as (lock, journal, notices):
        meta, study = folder.meta(), folder.study()
        row = folder.trial(trial)
        trials = plan(study)
        found = next((t for t in trials if t.id == row["trial"]), None)
        if found is None:
            raise RunError(f"{folder.id}: its study has no trial {row['trial']} any more")
        if row["status"] == "failed" and row["turns"] < turn:
            raise RunError(f"{trial}: failed at turn {row['failure_turn']}: {row['failure']}")
        refuse_drift(folder, meta, identity(models_of([found])), None, anyway=setup.anyway)
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
        result = _play(folder, study, planned_trials, setup, watch, lock, journal, wanted, notices)
        return replace(result, fresh=tuple(fresh))


@contextlib.contextmanager
def _entered(folder: RunFolder) -> Iterator[tuple[RunLock, Journaled, list[str]]]:
    """Hold a run's lock, and bring its folder into order first. Raises RunError."""
    folder.refuse_links()
    with RunLock(folder.local) as lock:
        notices = [lock.took_over] if lock.took_over else []
        journal = folder.journaled()
        notices += mend(folder, journal)
        yield lock, journal, notices


def _scored(result: Result, study: Study) -> Result:
    """Make the scores that the study's plan reads, where that takes no model, once all is played.

    Markers are there already: hosts make them. What takes a judge waits for `improv score`.
    """
    wanted = [m for m in study.plan.measures() if m in FREE] if study.plan is not None else []
    if not wanted or result.owed or result.stopped:
        return result
    found = score(result.folder, wanted)
    return replace(result, notices=(*result.notices, *found.notices))


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
        folder.furnish()
        folder.update({"status": "playing", "session": session})
    except OSError as e:
        what = f"{folder.path}: cannot be written: {e.strerror or e}"
        raise unwritable(what, e) from None
    stop, futile, told = Stop(), 0, list(notices)
    work = _owed(folder, study, trials, meta, only)
    progress = Progress(_count_planned(work))
    models = models_of(_wished(study, trials, _asked(meta))) if setup.budget else []
    while work and not stop:
        journal.refresh()
        spent = _spent(folder, journal, models) if setup.budget else Spent()
        terms = Terms(session, setup.connections)
        pool = Pool(folder, [w.trial for w in work], setup, terms, journal, spent)
        loop.run(drive(pool, work, progress, watch, stop, setup, lock))
        # A host may have died with what it had said was done; the folder knows.
        with contextlib.suppress(OSError):
            told += mend_shards(folder)
        before, work = work, _owed(folder, study, trials, meta, only)
        futile += sum(w.size for w in work) >= sum(w.size for w in before)
        if work and futile >= LIVES:
            stop.because("nothing that was played could be written", ErrorKind.DISK)
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
        stop.because(f"the run's folder cannot be written: {e.strerror or e}", ErrorKind.DISK)
    columns = ["branch", "status", "failure_kind"]
    table = folder.table("trials", columns=columns).to_pylist()
    mains = [r["status"] for r in table if r["branch"] == MAIN]
    broken = sum(
        r["branch"] != MAIN and r["status"] == "failed" and r["failure_kind"] != ErrorKind.UNREACHED
        for r in table
    )
    done, failed = mains.count("done"), mains.count("failed")
    owed = sum(w.size for w in owed_work)
    changes: Json = {
        "status": "stopped" if owed else "done",
        "done": done,
        "failed": failed,
        "grown": len(table) - len(mains),
        "stopped": stop.why,
        "ended": _now(),
    }
    if seconds is not None:
        before = meta.get("seconds")
        before = before if isinstance(before, int | float) else 0.0
        changes["seconds"] = round(seconds + before, 3)
    try:
        folder.update(changes)
    except OSError as e:
        told.append(f"run.json could not be written: {e.strerror or e}")
    if not owed:
        weigh_if_large(folder)
    return Result(
        folder,
        done,
        failed,
        owed,
        stop.why,
        stop.kind,
        len(table) - len(mains),
        notices=tuple(told),
        broken=broken,
    )


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
    address that nobody vouched for or where nobody listens, no key, dollars that cannot be
    counted."""
    models = models_of(_wished(study, trials, asked))
    for model in {m.model for m in models if m.embedded}:
        weights(model)
    far = [m for m in models if remote(m)]
    refuse_strangers(far, setup.trusted)
    if setup.ray in ("off", "local"):
        # The nodes of a cluster may have keys, and know ways, that this machine has not.
        for called in far:
            secret_for(remote_address(called), called)
        for url in {remote_address(called) for called in far}:
            check_endpoint(url)
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
        if remote(model):
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
        "models": sorted({m.model for m in models_of(trials)}),
        "trials": len(trials),
        "plan": plan_hash(list(trials)),
        "analysis": study.plan.hash if study.plan is not None else "",
        "seed": study.seed,
        "source": source,
        "status": "playing",
        "created": _now(),
        "ray": setup.ray if setup.ray in ("local", "off") else "cluster",
        **identity(models_of(trials)),
    }


def _asked(meta: Json) -> list[Branch]:
    """Return the branches that a run was asked for. Raises RunError where they are none."""
    try:
        found = from_json(meta.get("branches", []))
        for b in found:
            _ = b.change
    except (TypeError, ValueError) as e:
        raise RunError(f"run.json: its branches cannot be read: {first_line(e)}") from None
    return found


def _number(meta: Json, name: str, default: int | None = None) -> int:
    found = meta.get(name, default)
    if not isinstance(found, int):
        raise RunError(f"run.json: '{name}' is not a number")
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
