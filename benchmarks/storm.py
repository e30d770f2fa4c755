"""Kills processes of runs at random moments until `--kills` are reached, and prints a tally.

It kills drivers without Ray and on a cluster, hosts, the raylets of worker nodes, and the head of
the cluster. It also tears shards, fills disks, and interrupts compactions. After each siege the run
is resumed and must be whole: every planned trial once, the tables of an undisturbed run, and no
repeated call that a journal held at the time of the kill. The tally is printed as it grows. Another
`--seed` gives other moments, so a long storm can be played in parts. Exits 1 if anything is wrong.
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

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from tests.support.crash import (  # noqa: E402
    Driver,
    Siege,
    Stand,
    Theatre,
    fill,
    kill_in_compaction,
    small_disk,
    tear,
    until,
    warm_up,
)

ON_STAGE = ("--stages", "4")
ON_CLUSTER = ("--stages", "3", "--hosts", "2")
SHARES = {"drivers": 51, "cluster": 26, "compaction": 12, "disk": 10, "head": 1}
"""The share of all kills for each kind of siege, in percent."""


class Storm:
    """The sieges of one storm, with its theatre and cluster."""

    def __init__(self, home: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.theatre = Theatre(home, latency=0.03)
        self._home = home
        self._stand: Stand | None = None
        self._disks = 0

    def close(self) -> None:
        if self._stand is not None:
            self._stand.close()
        self.theatre.close()

    def drivers(self) -> None:
        """Kill drivers without Ray at any moment after their start; tear shards in between."""
        siege = self.theatre.siege(20)
        for _ in range(self.dice.randint(3, 9)):
            driver = siege.drive(*ON_STAGE)
            time.sleep(self.dice.uniform(0, 5.0 if self.dice.random() < 0.3 else 1.0))
            siege.blow("driver", driver.kill())
            self._tear(siege)
        siege.end(*ON_STAGE)

    def compaction(self) -> None:
        """Kill drivers, and their resumes, while they compact the tables."""
        siege = self.theatre.siege(4)
        for _ in range(self.dice.randint(3, 8)):
            kill_in_compaction(siege, *ON_STAGE, delay=self.dice.uniform(0, 0.012))
            self._tear(siege)
        siege.end(*ON_STAGE)

    def disk(self) -> None:
        """Fill a disk at a random moment; it may stay full for a resume."""
        self._disks += 1
        place = self._home / f"disk-{self._disks}"
        with small_disk(place, "3m") as mounted:
            siege = self.theatre.siege(10, runs=place)
            for _ in range(self.dice.randint(1, 3)):
                largest = None if mounted else self.dice.randint(5_000, 50_000)
                driver = siege.drive(*ON_STAGE, largest=largest)
                until(lambda: siege.begun)
                time.sleep(self.dice.uniform(0, 2.0))
                ballast = fill(place) if mounted else None
                code = driver.wait()
                assert code in (0, 3) and "Traceback" not in siege.said, f"{code}\n{siege.said}"
                siege.blow("full disk" if mounted else "quota", code == 3)
                if ballast is not None:
                    if siege.path.exists() and self.dice.random() < 0.5:
                        code = siege.drive(*ON_STAGE).wait()
                        assert code in (0, 3) and "Traceback" not in siege.said, siege.said
                    ballast.unlink()
            siege.end(*ON_STAGE)

    def cluster(self) -> None:
        """Kill hosts, drivers and worker nodes of a cluster while scenes are played."""
        if self._stand is None:
            self._stand = Stand(workers=2)
        stand, siege = self._stand, self.theatre.siege(20)
        driver = siege.drive(*ON_CLUSTER, ray=stand.address)
        for _ in range(self.dice.randint(8, 16)):
            if not self._plays(driver):
                driver.wait()
                if siege.folder.meta()["status"] == "done":
                    break
                driver = siege.drive(*ON_CLUSTER, ray=stand.address)
                self._plays(driver)
            time.sleep(self.dice.uniform(0, 0.5))
            what = self.dice.random()
            if what < 0.65:
                siege.blow("host", stand.kill_host(self.dice))
            elif what < 0.85:
                siege.blow("driver on a cluster", driver.kill())
                driver = siege.drive(*ON_CLUSTER, ray=stand.address)
            else:
                stand.kill_node(self.dice)
                siege.blow("node")
        code = driver.wait()
        assert code in (0, 1), f"exit code {code}\n{siege.said}"
        self._tear(siege)
        self._end(siege, *ON_CLUSTER, ray=stand.address)

    def head(self) -> None:
        """Kill the head of the cluster; the next siege starts a new cluster."""
        if self._stand is None:
            self._stand = Stand(workers=2)
        siege = self.theatre.siege(20)
        driver = siege.drive(*ON_CLUSTER, ray=self._stand.address)
        self._plays(driver)
        time.sleep(self.dice.random())
        self._stand.kill_head()
        siege.blow("head")
        assert driver.wait() != 0
        self._stand.close()
        self._stand = None
        siege.end(*ON_STAGE)

    def _tear(self, siege: Siege) -> None:
        """Tear a shard, if there is one, in half of the calls."""
        if self.dice.random() < 0.5:
            siege.blow("torn shard", tear(siege.path, self.dice))

    def _plays(self, driver: Driver) -> bool:
        """Wait until scenes are played; return False if the driver has ended."""
        until(lambda: self.theatre.server.in_flight or not driver.alive, 60.0)
        return driver.alive

    def _end(self, siege: Siege, *options: str, ray: str) -> None:
        """Resume the run until it is finished; hosts of a node that was just lost may still end a
        session early."""
        for _ in range(3):
            if siege.drive(*options, ray=ray).wait() == 0:
                break
        siege.end(*options, ray=ray)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="begin no siege after so many minutes"
    )
    parser.add_argument("--only", choices=SHARES, nargs="*", default=list(SHARES))
    args = parser.parse_args()
    began = time.monotonic()
    warm_up()
    home = Path(tempfile.mkdtemp(prefix="storm-"))
    storm = Storm(home, args.seed)
    tally, done = storm.theatre.tally, dict.fromkeys(args.only, 0)
    while tally.kills.total() < args.kills and time.monotonic() - began < 60 * args.minutes:
        # The kind that is farthest below its share.
        kind = min(done, key=lambda k: (done[k] + 1) / SHARES[k])
        before = tally.kills.total()
        try:
            getattr(storm, kind)()
        except AssertionError:
            tally.wrong.append(f"{kind}: {traceback.format_exc(limit=-3)}")
            print(tally.wrong[-1], flush=True)
        done[kind] += max(1, tally.kills.total() - before)
        print(f"{time.monotonic() - began:4.0f} s  {kind:10}  {tally}", flush=True)
    storm.close()
    print(f"\nseed {args.seed}, {time.monotonic() - began:.0f} s: {tally}")
    print(f"the runs are in {home}" if tally.wrong else "nothing was wrong")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.stdout.flush()
    code = main()
    sys.stdout.flush()
    os._exit(code)  # without this, Ray's cluster fixture takes long and prints much at the end
