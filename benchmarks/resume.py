"""Seconds from `improv resume` to its first new call, for a run of 100,000 journaled calls.

A budget stops a run of 512 scenes when every scene has begun and none is finished. This is the
worst case, because the whole journal is needed. Then the benchmark starts the command twice as a
user does, and measures the seconds until a host has journaled a new call. The second time counts,
because Python has compiled its modules by then. For comparison, it measures a new run of one trial,
which shows how long this machine needs to start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from improv.models.budget import Budget
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.study.design import Condition, Study
from improv.study.scene import Scene

CALLS = 100_000
SCENES = 512


def study() -> Study:
    scene = Scene.model_validate(
        {
            "title": "Long",
            "premise": "Two people wait for a kettle.",
            "cast": [{"name": "Ana", "role": "who waits"}, {"name": "Bo", "role": "who hurries"}],
            "turns": 240,
            "model": "puppet",
        }
    )
    only = Condition("only", ())
    return Study(name="long", replicates=SCENES, conditions=(only,), cells=(("long", only, scene),))


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "improv.cli", *words]


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        setup = Setup("off", stages=SCENES, budget=Budget(calls=CALLS))
        result = run(study(), runs=root, name="long", setup=setup)
        journal = Path(root, "long", "journal")
        size = sum(f.stat().st_size for f in journal.iterdir()) / 1e6
        print(
            f"{CALLS:,} calls journaled in {time.perf_counter() - began:.0f} s, {size:.0f} MB; "
            f"{result.done} of {SCENES} scenes finished"
        )
        for ray in ("off", "local"):
            resumed = ("resume", "long", "--runs", root, "--ray", ray)
            first_call(journal, root, *resumed)
            seconds = first_call(journal, root, *resumed)
            fresh = ("run", "cold-pass", "--model", "puppet", "--limit", "1", "--ray", ray)
            folder = Path(root, f"bare-{ray}")
            bare = first_call(
                folder / "journal", root, *fresh, "--name", folder.name, "--runs", root
            )
            print(f"--ray {ray}: first new call after {seconds:.1f} s; {bare:.1f} s bare")


def first_call(journal: Path, root: str, *words: str) -> float:
    """Start the command and return the seconds until its first call is journaled; then kill it."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = f"{root}/compiled"
    old = {f.name: f.stat().st_size for f in journal.glob("*.jsonl")}
    clock = time.perf_counter()
    with subprocess.Popen(command(*words), stderr=subprocess.DEVNULL, env=env) as child:
        while not any(f.stat().st_size > old.get(f.name, 0) for f in journal.glob("*.jsonl")):
            time.sleep(0.01)
        seconds = time.perf_counter() - clock
        child.kill()
    # Ray needs some time to end the hosts of the dead driver.
    while any(_command(p).startswith(b"ray::Host") for p in Path("/proc").glob("[0-9]*")):
        time.sleep(0.1)
    return seconds


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main()
