"""Lets things befall runs until there are `--events`, prints a table by kind, and keeps the page.

The kinds of events take turns by their shares, and all moments come from `--seed`. With `--tally`
the counts are added to those of a file, so that a long storm can be played in parts of other seeds;
`--also` adds those of other files, and `--events 0` plays nothing and writes the page.
docs/storm.md is written if `--page` names it, and after a thousand events. Exits 1 if anything is
wrong. It works on Linux, because it finds processes in /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.storm import page
from benchmarks.storm.clock import Clock
from benchmarks.storm.events import SIZE, Struck
from benchmarks.storm.ray_events import RayEvents
from benchmarks.storm.tally import Count, StormTally
from benchmarks.storm.theatre import StormTheatre
from tests.support.crash import Hung, Siege, warm_up

PAGE = Path(__file__).resolve().parents[2] / "docs" / "storm.md"
FULL = 1000
KINDS: dict[str, tuple[str, int, str]] = {
    "driver killed": ("driver", 180, "SIGKILL of the driver."),
    "killed while compacting": (
        "compaction",
        70,
        "SIGKILL of the driver while it joins its shards into tables.",
    ),
    "torn shard": ("torn_shard", 60, "The driver is killed, and a shard cut at a random byte."),
    "Ctrl-C twice": (
        "ctrl_c",
        150,
        "SIGINT twice, up to a second apart; half of the time the puppet answers "
        "nothing meanwhile. The driver ends within ten seconds of the second.",
    ),
    "puppet killed": (
        "server_killed",
        80,
        "SIGKILL of the puppet's server, which comes back within 2 s.",
    ),
    "puppet stopped": ("server_stopped", 50, "SIGSTOP of the puppet's server for up to 2 s."),
    "driver stopped": (
        "driver_stopped",
        70,
        "SIGSTOP of the driver for up to 2 s; another driver that tries to "
        "play the run meanwhile is refused.",
    ),
    "disk full": (
        "disk",
        60,
        "The run's disk (a tmpfs of 3 MB) is filled to the last byte. It may stay full "
        "for a resume, which ends with a sentence.",
    ),
    "quota": (
        "quota",
        40,
        "No file can grow beyond 2 to 40 kB (RLIMIT_FSIZE), so that a write fails in its middle.",
    ),
    "clock moved": (
        "moved_clock",
        60,
        "The time of day leaps by up to 5 s, an hour, a month or 20 years, there "
        "or back; half of the time the driver is killed as well.",
    ),
    "folder copied": (
        "copied",
        60,
        "The folder is copied file after file while the run is played. The copy is "
        "listed, shown or reported, and resumed, half of the time beside its original. Run and "
        "copy must be whole.",
    ),
    "host killed": ("host", 40, "On a cluster of two nodes: SIGKILL of a host."),
    "host stopped": ("host_stopped", 10, "On the cluster: SIGSTOP of a host for up to 2 s."),
    "driver on a cluster killed": ("cluster_driver", 15, "On the cluster: SIGKILL of the driver."),
    "raylet killed": (
        "raylet",
        15,
        "On the cluster: SIGKILL of a node's raylet, with which its hosts die.",
    ),
    "gcs killed": ("gcs", 5, "On the cluster: SIGKILL of the head's gcs_server."),
    "own raylet killed": ("own_raylet", 10, "`--ray local`: SIGKILL of the driver's raylet."),
    "own gcs killed": ("own_gcs", 10, "`--ray local`: SIGKILL of the driver's gcs_server."),
    "whole tree killed": (
        "tree",
        15,
        "`--ray local`: SIGKILL of driver, gcs_server, raylet and hosts at once.",
    ),
}
"""Each kind with its method, its share in a thousand, and what is done."""


class Storm:
    """Plays runs, lets events befall them, and counts what came of them."""

    def __init__(self, events: RayEvents, tally: StormTally) -> None:
        self.events = events
        self.tally = tally

    def play(self, kind: str) -> None:
        """Let a run be struck, resume it until it is done, and count what came of it."""
        count, wrong = self.tally.of(kind), ""
        with self.events.cleanup:
            try:
                struck: Struck = getattr(self.events, KINDS[kind][0])()
                trouble = list(struck.trouble)
                for siege in struck.runs:
                    self._end(siege, struck)
                    trouble += self._faults(siege, count)
                count.other += bool(struck.trouble)
                count.runs += len(struck.runs)
                count.events += struck.events
                if not trouble:
                    count.recovered += struck.events
                wrong = "; ".join(trouble)
            except Exception as e:
                count.events += 1
                count.hung += isinstance(e, Hung)
                count.other += not isinstance(e, Hung)
                wrong = traceback.format_exc(limit=-4)
                self.events.calm()
        if wrong:
            self.tally.wrong.append(f"{kind}: {wrong}")
            print(f"WRONG {self.tally.wrong[-1]}", flush=True)

    def _end(self, siege: Siege, struck: Struck) -> None:
        """Resume the run until nothing is owed; hosts of a node that was just lost may still end a
        session early."""
        options, ray = struck.options, struck.ray
        for _ in range(3):
            if siege.drive(*options, ray=ray).wait() == 0:
                return
        raise AssertionError(f"{siege.path} does not end\n{siege.said}")

    def _faults(self, siege: Siege, count: Count) -> list[str]:
        faults = siege.faults()
        traced = "Traceback" in siege.said
        count.lost += faults.lost + faults.twice
        count.again += faults.again
        count.trials += self.tally.size - faults.lost - faults.twice
        count.traceback += traced
        count.other += bool(faults.more)
        self.tally.journaled += siege.noted
        trouble = [f"{siege.path}: {faults}"] if faults else []
        return [*trouble, f"{siege.path}: a traceback\n{siege.said}"] if traced else trouble


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--events", type=int, default=FULL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="begin no run after so many minutes")
    parser.add_argument("--only", choices=KINDS, nargs="*", default=list(KINDS))
    parser.add_argument("--tally", type=Path, help="a file of counts to add to")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="counts of other storms")
    parser.add_argument("--page", type=Path, help="where to write the page")
    parser.add_argument("--note", default="", help="a sentence for the page")
    args = parser.parse_args()
    tally = StormTally.load(args.tally) if args.tally else StormTally()
    if args.events:
        play(args, tally)
    for file in args.also:
        tally.add(StormTally.load(file))
    print(f"\n{tally.table()}\n\n{tally.seconds:.0f} s")
    if args.page or tally.events >= FULL:
        words = {kind: what for kind, (_, _, what) in KINDS.items()}
        page.write(args.page or PAGE, tally, words, args.note)
    return 1 if tally.wrong else 0


def play(args: argparse.Namespace, tally: StormTally) -> None:
    """Play a storm, and add its counts to a tally, which is saved after each run."""
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="storm-"))
    clock = Clock(home)
    with clock.worn():
        warm_up("improv.report.run_report", "aiohttp", "openai")
    theatre = StormTheatre(home, latency=0.0)
    tally.seeds.append(args.seed)
    tally.size = len(theatre.whole(SIZE)["trials"])
    events = RayEvents(theatre, clock, random.Random(args.seed))
    storm, before = Storm(events, tally), tally.seconds
    kinds = [k for k in args.only if clock.works or k != "clock moved"]
    done = dict.fromkeys(kinds, 0.0)
    first = tally.events
    while tally.events - first < args.events:
        if args.minutes is not None and time.monotonic() - began > 60 * args.minutes:
            break
        # The kind that is farthest below its share.
        kind = min(kinds, key=lambda k: (done[k] + 1) / KINDS[k][1])
        so_far = tally.of(kind).events
        storm.play(kind)
        done[kind] += max(0.5, tally.of(kind).events - so_far)
        tally.seconds = before + time.monotonic() - began
        print(f"{time.monotonic() - began:5.0f} s {tally.events:5} {kind}", flush=True)
        if args.tally:
            tally.save(args.tally)
    events.close()
    theatre.close()
    if not clock.works:
        print("There is no C compiler, so clocks were not moved.")
    print(f"The runs are in {home}." if tally.wrong else "Nothing was wrong.")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # without this, Ray's cluster fixture takes long and prints much at the end
