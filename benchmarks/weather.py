"""The throughput of a run of 500 trials on a failing endpoint, as a share of the possible one.

A puppet's server in a process of its own answers 30% of requests with 429, 10% with 500, 5% with
broken JSON, and lets 2% hang. In the second case it also has a rate cap. The possible throughput is
that with all slots of `--max-connections` busy, or the rate cap, times the share of good replies.
Prints which share of it a whole run reaches, from its first call to its last retry, and writes the
page with the limiter's curve.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from improv.report.material import read_material
from improv.report.run_report import report
from improv.runner.launch import Result, run
from improv.runner.session import Setup
from improv.study.design import Condition, Study
from improv.study.puppet_spec import Puppet
from improv.study.scene import Scene

ERRORS = {"429": 0.30, "500": 0.10, "broken": 0.05, "hang": 0.02}
LATENCY, PATIENCE, CONNECTIONS, TRIALS, TURNS = 0.1, 2.0, 32, 500, 96


@contextlib.contextmanager
def server(rate: float | None) -> Iterator[str]:
    spec = Puppet(errors=ERRORS, latency=LATENCY).model_dump_json()
    command = [sys.executable, "-m", "improv.models.puppet.server", "--spec", spec]
    command += ["--requests-per-second", str(rate)] if rate else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


def study(url: str) -> Study:
    scene = Scene.model_validate(
        {
            "title": "Weather",
            "premise": "Two people wait for a kettle.",
            "cast": [{"name": "Ana", "role": "who waits"}, {"name": "Bo", "role": "who hurries"}],
            "turns": TURNS,
            "model": {"model": "puppet", "base_url": url, "timeout": PATIENCE, "retries": 20},
        }
    )
    only = Condition("only", ())
    return Study(name="weather", replicates=TRIALS, conditions=(only,), cells=(("w", only, scene),))


def allowed(rate: float | None) -> float:
    """Return the possible good replies a second."""
    answered = 1 - sum(ERRORS.values())
    held = answered * LATENCY + ERRORS["hang"] * PATIENCE  # errors are answered at once
    by_slots = CONNECTIONS * answered / held
    return min(by_slots, rate * answered) if rate else by_slots


def measure(name: str, rate: float | None, root: str) -> Result:
    with server(rate) as url:
        clock = time.perf_counter()
        setup = Setup("off", stages=TRIALS, connections=CONNECTIONS)
        result = run(study(url), runs=root, name=name, setup=setup)
        seconds = time.perf_counter() - clock
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
            stats = orjson.loads(reply.read())
    rows = result.folder.tables.read("calls").to_pylist()
    draws = Counter((r["trial"], r["turn"], r["role"]) for r in rows)
    twice = sum(n - 1 for n in Counter(stats["asked"]).values())
    reached = len(rows) / seconds
    print(
        f"{name}: {result.done} done, {result.failed} failed, {result.owed} owed; "
        f"{len(rows)} calls in {seconds:.0f} s, {sum(draws.values()) - len(draws)} twice in the "
        f"tables, {twice} answered twice"
    )
    print(f"  {reached:.0f} calls/s of {allowed(rate):.0f} possible: {reached / allowed(rate):.0%}")
    print(f"  {stats['requests']} requests, {stats['failed']}")
    return result


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        for name, rate in (("errors", None), ("errors-and-a-rate", 150.0)):
            page = report(read_material(measure(name, rate, root).folder))
            (folder / f"{name}.html").write_text(page.as_html())
    print(f"pages with the limiter's curve: {folder}")


if __name__ == "__main__":
    main()
