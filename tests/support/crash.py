"""What the tests of crashes and the storm share: drivers, clusters and disks that can be lost.

A `Siege` is one run and all its failures. After each failure it reads the journal. At the end it
checks that every planned trial is there once, that the tables equal those of an undisturbed run,
and that no journaled call was asked again; the puppet counts its calls.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.cluster_utils import Cluster

from improv.models.puppet.server import PuppetServer
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.storage.schemas import CLOCK_COLUMNS, SCHEMAS
from improv.study.loader import load
from improv.study.puppet_spec import Puppet
from tests.conftest import KETTLE
from tests.support.patience import Patience, until

STUDY = """\
study: kettles
scenes: [kettle.yaml]
factors:
  author:
    none: {author: {live: false, frame: ""}}
    live: {author: {live: true}}
replicates: %d
branches: [{name: fork, at: [2], arms: {as it was: {}}}]
regenerations: [{at: [3], draws: 2}]
probes: [{name: heat, ask: "Is it hot?", of: Ana, at: [4]}]
"""
PATIENCE = 300.0
"""Seconds after which a driver counts as hung."""

# Ray's own patience, which would make each lost part cost half a minute and more.
RAY_HASTE = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}

FORKS = multiprocessing.get_context("forkserver")


def tables(folder: RunFolder) -> dict[str, pa.Table]:
    """Every table without the columns that depend on the machine and the time."""
    names = [n for n in SCHEMAS if n != "limits"]
    return {n: folder.tables.read(n).drop_columns(list(CLOCK_COLUMNS.get(n, ()))) for n in names}


# -- drivers ---------------------------------------------------------------------------------


def warm_up(*more: str) -> None:
    """Start the process that drivers are forked from, with everything imported."""
    modules = ["improv.cli", "improv.runner.launch", "tests.support.crash", *more]
    FORKS.set_forkserver_preload(modules)
    with hasty_ray():
        forkserver.ensure_running()


@contextlib.contextmanager
def hasty_ray() -> Iterator[None]:
    """Set Ray's environment variables for processes that are started in this block."""
    before = {name: os.environ.get(name) for name in RAY_HASTE}
    os.environ.update(RAY_HASTE)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class Hung(AssertionError):
    """A driver did not end within its time."""


class Driver:
    """`improv ARGUMENTS` in a process of its own that starts at once: a fork, not an import.

    No file that it writes can grow beyond `largest` bytes, as under a quota.
    """

    def __init__(self, arguments: list[str], out: Path, largest: int | None = None) -> None:
        self._out = out
        self._arguments = arguments
        self._process = FORKS.Process(target=_drive, args=(arguments, str(out), largest))
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def said(self) -> str:
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    @property
    def ready(self) -> bool:
        """Whether the command begins: whether signals reach it rather than the fork."""
        return self._has("SigCgt", signal.SIGUSR1)

    def pending(self, number: int) -> bool:
        """Whether it was sent a signal and has not looked at it yet."""
        return self._has("ShdPnd", number)

    def _has(self, field: str, number: int) -> bool:
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            return bool(int(status.split(f"{field}:")[1].split()[0], 16) >> (number - 1) & 1)
        return False

    def send(self, number: int) -> bool:
        """Send it a signal; return whether it was alive to get it."""
        if self.alive:
            os.kill(self.pid, number)
        return self.alive

    def kill(self) -> bool:
        """SIGKILL it; return whether it was alive to be killed."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode == -signal.SIGKILL

    def wait(self, patience: float = PATIENCE) -> int:
        """Return its exit code. Raises Hung with its stacks if it does not end in time."""
        waiting = Patience(patience)
        while self.alive and not waiting.over:
            self._process.join(0.2)
        if self.alive and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGUSR1)
            time.sleep(0.5)
            self.kill()
            raise Hung(f"improv {' '.join(self._arguments)} hangs:\n{self.said}")
        assert self._process.exitcode is not None
        return self._process.exitcode


def _drive(arguments: list[str], out: str, largest: int | None) -> None:
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if largest is not None:
        # Python ignores SIGXFSZ, so that writing fails as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    from improv.cli import main

    sys.argv = ["improv", *arguments]
    main()


# -- what is lost ------------------------------------------------------------------------------


class Stand:
    """A Ray cluster on this machine that can lose its hosts, its nodes and its head."""

    def __init__(self, workers: int = 2) -> None:
        self._environment = contextlib.ExitStack()
        self._environment.enter_context(hasty_ray())
        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        for _ in range(workers):
            self._cluster.add_node(num_cpus=1)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def hosts(self) -> list[int]:
        """Return the processes of hosts. Only those of this cluster: others may run beside it."""
        raylets = {self._of(node, "raylet") for node in self._nodes()}
        processes = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (place / "cmdline").read_bytes().startswith(b"ray::Host"):
                    status = (place / "status").read_text()
                    parent = int(status.split("PPid:")[1].split()[0])
                    processes += [int(place.name)] if parent in raylets else []
        return sorted(processes)

    def kill_host(self, dice: random.Random, number: int = signal.SIGKILL) -> int:
        """Send a host a signal; return its process, 0 if there is none."""
        hosts = self.hosts()
        with contextlib.suppress(ProcessLookupError):
            if hosts:
                host = dice.choice(hosts)
                os.kill(host, number)
                return host
        return 0

    def kill_node(self, dice: random.Random, *, anew: bool = True) -> None:
        """SIGKILL the raylet of a worker node, and put another node in its place."""
        node = dice.choice(sorted(self._cluster.worker_nodes, key=lambda n: self._of(n, "raylet")))
        os.kill(self._of(node, "raylet"), signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)
        if anew:
            self._cluster.add_node(num_cpus=1)

    def kill_head(self) -> None:
        os.kill(self._of(self._cluster.head_node, "gcs_server"), signal.SIGKILL)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._cluster.shutdown()
        self._environment.close()

    def _nodes(self) -> list[Any]:
        return [self._cluster.head_node, *self._cluster.worker_nodes]

    def _of(self, node: Any, part: str) -> int:
        return int(node.all_processes[part][0].process.pid)


# -- a run, and what befalls it ----------------------------------------------------------------


@dataclass
class Tally:
    """Counts of runs, of failures, and of their results."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    trials: int = 0
    journaled: int = 0
    in_flight: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kinds or 'none'}); {self.runs} runs and {self.trials} "
            f"trials and branches whole; {self.journaled} journaled calls not asked again, "
            f"{self.in_flight} asked again that were in flight; {len(self.wrong)} wrong"
        )


class Theatre:
    """One puppet for many sieges, and what an undisturbed run of each size gives."""

    def __init__(self, home: Path, latency: float = 0.02, *, served: bool = True) -> None:
        self.home = home
        self.server = PuppetServer(Puppet(latency=latency))
        if served:
            self.server.start()
        self.tally = Tally()
        self._whole: dict[int, dict[str, pa.Table]] = {}
        self._sieges = 0

    def close(self) -> None:
        self.server.stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Answer no request in this block, so that no run ends in it."""
        spec = self.server.spec
        self.server.spec = spec.model_copy(update={"latency": 5.0})
        try:
            yield
        finally:
            self.server.spec = spec

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def asked(self) -> Counter[str]:
        """How often each draw was answered since `forget`."""
        return self.server.asked

    def forget(self) -> None:
        self.server.asked.clear()

    def study(self, replicates: int) -> Path:
        folder = self.home / "studies"
        folder.mkdir(exist_ok=True)
        (folder / "kettle.yaml").write_text(KETTLE)
        file = folder / f"kettles-{replicates}.yaml"
        file.write_text(STUDY % replicates)
        return file

    def whole(self, replicates: int) -> dict[str, pa.Table]:
        """Return the tables of an undisturbed run."""
        if replicates not in self._whole:
            patch = {"model": {"model": "puppet", "base_url": self.url}}
            name = f"whole-{replicates}"
            result = run(
                load(self.study(replicates), patch),
                runs=self.home / "whole",
                name=name,
                setup=Setup(ray="off"),
            )
            assert result.exit_code == 0
            self._whole[replicates] = tables(result.folder)
        return self._whole[replicates]

    def siege(self, replicates: int = 2, *, runs: Path | None = None) -> Siege:
        self._sieges += 1
        whole = self.whole(replicates)
        self.forget()
        runs = runs or self.home / "runs"
        return Siege(self, self.study(replicates), whole, runs, f"siege-{self._sieges}")


class Siege:
    """One run, its failures, and the check that it is whole."""

    def __init__(
        self, theatre: Theatre, study: Path, whole: dict[str, pa.Table], runs: Path, name: str
    ) -> None:
        self.theatre = theatre
        self.runs = runs
        self.name = name
        self._study = study
        self._whole = whole
        self._out = theatre.home / f"{name}.txt"
        self._asked: dict[str, int] = {}
        self.copies: list[Siege] = []
        """Copies of this run. Each may ask once for what its journal does not hold."""

    def named(self, name: str) -> Siege:
        """Return the same siege of a run of another name, such as a copy."""
        return Siege(self.theatre, self._study, self._whole, self.runs, name)

    @property
    def path(self) -> Path:
        return self.runs / self.name

    @property
    def folder(self) -> RunFolder:
        return open_run(self.runs, self.name)

    @property
    def noted(self) -> int:
        """How many calls may not be asked again."""
        return len(self._asked)

    @property
    def begun(self) -> bool:
        return (self.path / "run.json").exists()

    @property
    def said(self) -> str:
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    def command(self, *arguments: str) -> Driver:
        """Start any command of improv; what it says is in `said`."""
        return Driver([*arguments], self._out)

    def drive(self, *options: str, ray: str = "off", largest: int | None = None) -> Driver:
        """Start the run, or resume it."""
        if self.begun:
            what = ["resume", self.name]
        else:
            shutil.rmtree(self.path, ignore_errors=True)  # killed before the run was one
            what = ["run", str(self._study), "--model", "puppet", "--name", self.name]
            what += ["--base-url", self.theatre.url]
        what += ["--runs", str(self.runs), "--ray", ray, *options]
        return Driver(what, self._out, largest)

    def blow(self, kind: str, struck: object = True) -> None:
        """Note what was killed, and what may not be asked again from now on."""
        if struck:
            self.theatre.tally.kills[kind] += 1
            self.note()

    def note(self) -> None:
        """Note what the journal holds, which may not be asked again from now on."""
        if not self.begun:
            return
        journaled = {c.draw.key for c in self.folder.journaled().calls() if not c.error}
        asked = self.theatre.asked
        for key in journaled - self._asked.keys():
            self._asked[key] = asked[key]

    def end(self, *options: str, ray: str = "off") -> None:
        """Let the run end undisturbed, and check that it is whole."""
        code = self.drive(*options, ray=ray).wait()
        assert code == 0, f"exit code {code}\n{self.said}"
        self.check()

    def check(self) -> None:
        """Raise AssertionError if the run differs from an undisturbed one."""
        faults = self.faults()
        assert not faults, f"{self.path}: {faults}"
        tally, asked = self.theatre.tally, self.theatre.asked
        tally.runs += 1
        tally.trials += len(self._whole["trials"])
        tally.journaled += len(self._asked)
        tally.in_flight += sum(n - 1 for n in asked.values() if n > 1)

    def faults(self) -> Faults:
        """Return how the run differs from an undisturbed one."""
        faults, asked, now = Faults(), self.theatre.asked, tables(self.folder)
        rows, wanted = (
            Counter((r["trial"], r["branch"]) for r in t["trials"].to_pylist())
            for t in (now, self._whole)
        )
        faults.lost = (wanted - rows).total()
        faults.twice = (rows - wanted).total()
        faults.again = sum(
            not n <= asked[k] <= n + sum(k not in copy._asked for copy in self.copies)
            for k, n in self._asked.items()
        )
        faults.more = [f"{n} differs" for n, t in self._whole.items() if not now[n].equals(t)]
        meta = self.folder.meta()
        if (meta["status"], meta["failed"]) != ("done", 0):
            faults.more.append(f"run.json says {meta['status']}, {meta['failed']} failed")
        faults.more += [f"{file.name} is left" for file in self.path.rglob("*.tmp")]
        return faults


@dataclass
class Faults:
    """How a run differs from an undisturbed one.

    `lost` and `twice` count trials and branches, `again` the journaled calls that were asked again.
    """

    lost: int = 0
    twice: int = 0
    again: int = 0
    more: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.twice or self.again or self.more)


def kill_in_compaction(siege: Siege, *options: str, delay: float = 0.0, before: str = "") -> bool:
    """Drive a run to its end, and kill it while it compacts its tables.

    `delay` seconds after its first sign. Returns whether it was killed there, and before the
    table `before` had its name, if one is named.
    """
    had = {f.name for f in siege.path.glob("*.parquet")}
    driver = siege.drive(*options)

    def compacting() -> bool:
        return any(siege.path.glob("turns.parquet.*.tmp")) or _fresh(siege.path, had)

    until(lambda: compacting() or not driver.alive, every=0.0005)
    time.sleep(delay)
    struck = driver.kill()
    siege.blow("driver, compacting", struck)
    return struck and not (before and (siege.path / before).exists())


def _fresh(path: Path, had: set[str]) -> bool:
    return any(f.name not in had for f in path.glob("*.parquet"))


def tear(path: Path, dice: random.Random) -> bool:
    """Cut a shard of a run short; return whether there was one."""
    shards = sorted((path / "shards").glob("*.parquet"))
    if shards:
        file = dice.choice(shards)
        os.truncate(file, dice.randrange(file.stat().st_size))
    return bool(shards)
