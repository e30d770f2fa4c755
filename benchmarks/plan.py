"""CPU seconds and memory to plan, dry-run, stop and resume studies of 10^4, 10^5 and 10^6 trials.

Each step runs in a process of its own. Memory is the most that the process held, all its modules
included; beside it stands what the same step takes with four trials. A run is stopped by its budget
when a few scenes are played, and resumed with a little more.

    python -m benchmarks.plan
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIZES = (4, 10_000, 100_000, 1_000_000)
SCENE = """\
title: Kettle
premise: Two people wait for a kettle.
turns: 4
cast: [{name: Ana, role: who waits}, {name: Bo, role: who hurries}]
model: puppet
"""
STUDY = """\
study: many
scenes: [kettle.yaml]
factors:
  place:
    here: {}
    there: {place: A kitchen.}
  hurry:
    none: {}
    some: {time: Late.}
replicates: %d
"""


def write_study(folder: Path, trials: int) -> Path:
    """Write a study of four conditions and so many trials; return its file."""
    (folder / "kettle.yaml").write_text(SCENE)
    file = folder / "many.yaml"
    file.write_text(STUDY % (trials // 4))
    return file


def plan_step(file: Path) -> None:
    """Plan all trials, hash them, and look for the last one by its id."""
    from improv.study.loader import load
    from improv.study.trial import plan, trials_hash

    trials = plan(load(file))
    trials_hash(trials)
    last = trials[-1]
    assert trials.find(last.id) == last == trials.find(last.id, last.index)


def dry_run_step(file: Path) -> None:
    """Estimate what the study takes."""
    import improv

    assert improv.dry_run(file).estimate.trials


def stop_step(file: Path) -> None:
    """Begin to play, and stop after eight calls."""
    import improv

    run = improv.run(file, runs=file.parent, name="run", ray="off", stages=2, max_calls=8)
    assert run.result is not None and run.result.done


def resume_step(file: Path) -> None:
    """Go on for eight calls more."""
    import improv

    run = improv.resume(file.parent / "run", ray="off", stages=2, max_calls=16)
    assert run.result is not None and run.result.done >= 2


STEPS: dict[str, Callable[[Path], None]] = {
    "plan": plan_step,
    "dry-run": dry_run_step,
    "stop": stop_step,
    "resume": resume_step,
}


def peak_memory() -> float:
    """Return the most memory that this process held, in MB. What `resource` says would include the
    process that started this one."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def measure(step: str, file: Path) -> tuple[float, float]:
    """Run one step in a process of its own; return its CPU seconds and its memory in MB."""
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.plan", step, str(file)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    seconds, memory = json.loads(child.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    if len(sys.argv) == 3:
        began = time.process_time()
        STEPS[sys.argv[1]](Path(sys.argv[2]))
        print(json.dumps([time.process_time() - began, peak_memory()]))
        return
    base: dict[str, tuple[float, float]] = {}
    for trials in SIZES:
        with tempfile.TemporaryDirectory() as root:
            file = write_study(Path(root), trials)
            for step in STEPS:
                seconds, memory = measure(step, file)
                first = base.setdefault(step, (seconds, memory))
                print(
                    f"{trials:>9,} trials  {step:8} {seconds:6.1f} s  {memory:5.0f} MB  "
                    f"{seconds / first[0]:5.1f} times the seconds, "
                    f"{memory / first[1]:4.2f} times the memory of {SIZES[0]} trials",
                    flush=True,
                )


if __name__ == "__main__":
    main()
