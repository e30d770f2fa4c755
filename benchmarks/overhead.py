"""CPU per model call of the whole program, compared with the bare openai client.

Both call the puppet's server on loopback, which is a process of its own. The whole program is a
host that plays scenes: stage, prompts, journal, shards. The bare client is
`chat.completions.create` with the same messages. Prints `ratio <program / bare>` first, then the
share of the ideal throughput at 200 ms latency with 256 scenes at once, then the memory of 1,000
scenes at once. The ratio compares CPU times of this process, so other processes change it little.
The throughput depends on the machine, and falls if the calls alone keep a slow machine busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import openai

from improv.models.request import Ask, request_body
from improv.records import Call
from improv.runner.host import Host, HostTerms
from improv.runner.session import Setup, Work
from improv.stage.stage import Stage
from improv.storage.run_folder import RunFolder
from improv.storage.runs import runs_filesystem
from improv.study.design import Condition, Study, with_replicates
from improv.study.scene import Scene
from improv.study.trial import Trial, plan

TURNS = 20


@contextlib.contextmanager
def puppet(latency: float) -> Iterator[str]:
    """Serve a puppet in another process, and yield its address."""
    command = [sys.executable, "-m", "improv.models.puppet.server", "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            yield next(word for word in line.split() if word.startswith("http"))
        finally:
            server.terminate()


def study(url: str, scenes: int, turns: int = TURNS) -> Study:
    """Return a study with two characters, and a live author before every second turn: 1.5 calls a
    turn."""
    scene = Scene.model_validate(
        {
            "title": "Overhead",
            "premise": "Two people wait for a kettle. " * 10,
            "cast": [
                {"name": "Ana", "role": "who waits", "card": "Ana has all day. " * 10},
                {"name": "Bo", "role": "who hurries", "card": "Bo has no time. " * 10},
            ],
            "opening": [{"who": "Ana", "line": "Bo, does it boil?"}],
            "author": {"live": True, "every": 2, "may": ["note", "cue"]},
            "turns": turns,
            "model": {"model": "puppet", "base_url": url, "timeout": 60},
        }
    )
    only = Condition("only", ())
    whole = Study(name="overhead", conditions=(only,), cells=(("overhead", only, scene),))
    return with_replicates(whole, scenes)


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def program(trials: list[Trial], folder: RunFolder, at_once: int) -> tuple[float, float, int]:
    """Play the trials in one host; return CPU seconds, wall seconds and calls."""
    host = Host(folder.root, folder.id, HostTerms(connections=at_once))
    gate = asyncio.Semaphore(at_once)

    async def one(trial: Trial) -> int:
        async with gate:
            (outcome,) = await host.play(Work(trial, main=True), ())
            assert outcome.failure is None, outcome.failure
            return outcome.calls

    await one(trials[0])
    wall, used = time.perf_counter(), cpu()
    calls = sum(await asyncio.gather(*map(one, trials[1:])))
    await host.close()
    return cpu() - used, time.perf_counter() - wall, calls


async def bare(url: str, asks: list[Ask], at_once: int) -> tuple[float, int]:
    """Make the same calls with `chat.completions.create`; return CPU seconds and calls."""
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=4)
    gate = asyncio.Semaphore(at_once)

    async def one(ask: Ask) -> None:
        body = request_body(ask)
        async with gate:
            reply = await client.chat.completions.create(
                model=body["model"],
                messages=list(body["messages"]),
                max_tokens=80,
                seed=body["seed"],
            )
            assert reply.choices

    await one(asks[0])
    used = cpu()
    await asyncio.gather(*map(one, asks[1:]))
    spent = cpu() - used
    await client.close()
    return spent, len(asks) - 1


async def asks_of(trial: Trial) -> list[Ask]:
    """Return the asks of one scene, which the bare client then repeats."""
    from improv.models.client import Models

    models, asks = Models(), []

    async def draw(ask: Ask) -> Call:
        asks.append(ask)
        return await models.complete(ask)

    stage = Stage(trial)
    while stage.running:
        stage.step()
        await stage.act(draw)
    await models.close()
    return asks


def rates(played: RunFolder, warm: Trial, at_once: int) -> tuple[float, float, float]:
    """Return calls a second: the mean while all stages are busy, the median of those seconds, and
    the mean with the slow start.

    All stages are busy from when the first call of each has passed the gate until the last scene
    begins. The `warm` trial was played before and does not count. A virtual machine that pauses for
    a twentieth of a second now and then changes the mean, and the median less.
    """
    columns = ["trial", "started", "waited", "latency"]
    table = played.tables.read("calls", columns=columns).to_pandas().sort_values("started")
    table = table[table["trial"] != warm.id]
    firsts = table.drop_duplicates("trial")
    begin, end = firsts["started"].iloc[0], firsts["started"].iloc[-1]
    full = (firsts["started"] + firsts["waited"]).iloc[:at_once].max()
    came = table["started"] + table["waited"] + table["latency"]
    busy, whole = (float(((came > at) & (came <= end)).sum() / (end - at)) for at in (full, begin))
    seconds = ((came - full) // 1)[(came > full) & (came <= full + (end - full) // 1)]
    return busy, float(seconds.value_counts().median()), whole


def folder(whole: Study, root: str, name: str) -> RunFolder:
    fs, base = runs_filesystem(root)
    run = RunFolder(fs, f"{base}/{name}", base)
    run.create(whole, {"study": whole.name, "setup": str(Setup())})
    return run


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        with puppet(0.0) as url:
            whole = study(url, 41)
            trials = plan(whole)
            asks = asyncio.run(asks_of(trials[0]))
            ours, theirs, lines = [], [], []
            for i in range(3):
                spent, _, calls = asyncio.run(program(trials, folder(whole, root, f"a{i}"), 40))
                bare_spent, bare_calls = asyncio.run(bare(url, asks * 20, 40))
                ours.append(1000 * spent / calls)
                theirs.append(1000 * bare_spent / bare_calls)
                lines.append(f"  {ours[-1]:.2f} ms a call, bare client {theirs[-1]:.2f} ms")
            ratio = sorted(a / b for a, b in zip(ours, theirs, strict=True))[1]
            print(f"ratio {ratio:.2f}")
            print("CPU per call of the whole program and of chat.completions.create, three times:")
            print("\n".join(lines))
        with puppet(0.2) as url:
            # Scenes have 20 to 40 turns, and each stage plays eight, so that they do not all begin
            # and end at the same time.
            whole = study(url, 8 * 256 + 1)
            trials = [
                replace(t, scene=t.scene.model_copy(update={"turns": 20 + t.index % 21}))
                for t in plan(whole)
            ]
            played = folder(whole, root, "b")
            asyncio.run(program(trials, played, 256))
            busy, median, whole_run = (r * 0.2 / 256 for r in rates(played, trials[0], 256))
            print(f"throughput {busy:.1%} of the ideal at 200 ms and 256 scenes at once")
            print(f"  {median:.1%} in the median second")
            print(f"  {whole_run:.1%} with the limiter's slow start, in a run of 90,000 calls")
        with puppet(0.2) as url:
            whole = study(url, 1001)
            cells = [replace(t) for t in plan(whole)]
            before = _rss()
            asyncio.run(program(cells, folder(whole, root, "c"), 1000))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"memory {peak:.0f} MiB at most with 1,000 scenes at once ({before:.0f} before)")


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
