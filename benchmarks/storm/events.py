"""What befalls runs that are played without Ray. Each event is a method of `Events`."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.storm.clock import Clock
from benchmarks.storm.theatre import StormTheatre
from tests.support.crash import (
    Driver,
    Siege,
    kill_in_compaction,
    tear,
)
from tests.support.disk import fill, small_disk
from tests.support.patience import until

STAGES = ("--stages", "4")
SIZE = 2
"""Replicates of the small study, for which a run has twenty trials and branches."""
CTRL_C_SECONDS = 10.0
"""Seconds within which the second Ctrl-C ends a driver, on a machine that has other work too."""
STOP_SECONDS = 2.0
"""Seconds for which a process is stopped, at most."""
_YEAR = 365 * 24 * 3600


@dataclass
class Struck:
    """A run that was struck `events` times. `runs` must all be whole in the end, copies too."""

    runs: list[Siege]
    events: int
    options: tuple[str, ...] = STAGES
    ray: str = "off"
    trouble: list[str] = field(default_factory=list)


class Events:
    """The events without Ray, the theatre in which they befall runs, and the dice."""

    def __init__(self, theatre: StormTheatre, clock: Clock, dice: random.Random) -> None:
        self.theatre = theatre
        self.clock = clock
        self.dice = dice
        self.cleanup = contextlib.ExitStack()
        """What has to be undone after a run was checked."""
        self._disks = 0
        self.siege().end(*STAGES)
        self._whole = theatre.puppet.answered
        """How much of its file the puppet has written when an undisturbed run is over."""

    def siege(self, size: int = SIZE) -> Siege:
        return self.theatre.siege(size)

    def driver(self) -> Struck:
        siege, events = self.siege(), 0
        for _ in range(self.times()):
            driver = siege.drive(*STAGES)
            self.wait(driver)
            events += self.note(siege, driver.kill())
        return Struck([siege], events)

    def compaction(self) -> Struck:
        siege, events = self.siege(), 0
        for _ in range(self.times()):
            before = self.theatre.tally.kills.total()
            kill_in_compaction(siege, *STAGES, delay=self.dice.uniform(0, 0.02))
            events += self.theatre.tally.kills.total() - before
        return Struck([siege], events)

    def torn_shard(self) -> Struck:
        """A small run has shards for a moment only, before they are joined."""
        siege, events = self.siege(), 0
        shards = siege.path / "shards"
        for _ in range(self.times()):
            driver = siege.drive(*STAGES)
            self._until_written(driver, shards)
            time.sleep(self.dice.uniform(0, 0.02))
            driver.kill()
            events += self.note(siege, tear(siege.path, self.dice))
        return Struck([siege], events)

    def ctrl_c(self) -> Struck:
        """Every second time the puppet is stopped first, so that calls are in flight for long."""
        siege, struck = self.siege(), Struck([], 0)
        for _ in range(self.times()):
            driver = siege.drive(*STAGES)
            _until_ready(driver)
            self.wait(driver)
            held = self.dice.random() < 0.5
            if held:
                self.theatre.puppet.send(signal.SIGSTOP)
            hit = driver.send(signal.SIGINT)
            self._until_delivered(driver)
            time.sleep(self.dice.choice((0.0, self.dice.uniform(0, 0.05), self.dice.random())))
            hit = driver.send(signal.SIGINT) and hit
            try:
                code = driver.wait(CTRL_C_SECONDS)
            finally:
                if held:
                    self.theatre.puppet.send(signal.SIGCONT)
            if code not in (0, 130):
                struck.trouble.append(f"exit code {code} after Ctrl-C")
            struck.events += self.note(siege, hit)
        struck.runs = [siege]
        return struck

    def server_killed(self) -> Struck:
        """The puppet is away for up to two seconds."""
        siege = self.siege()
        driver = siege.drive(*STAGES)
        events = 0
        for _ in range(self.times()):
            self.wait(driver, asked=True)
            hit = driver.alive
            self.theatre.puppet.kill()
            time.sleep(self.dice.uniform(0, 2.0))
            self.theatre.puppet.start()
            events += self.note(siege, hit)
        return self.over(siege, driver, events)

    def server_stopped(self) -> Struck:
        siege, events = self.siege(), 0
        driver = siege.drive(*STAGES)
        for _ in range(self.times()):
            self.wait(driver, asked=True)
            hit = driver.alive
            self.theatre.puppet.send(signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.2, STOP_SECONDS))
            self.theatre.puppet.send(signal.SIGCONT)
            events += self.note(siege, hit)
        return self.over(siege, driver, events)

    def driver_stopped(self) -> Struck:
        """Sometimes another driver tries to play the run meanwhile, and must be refused."""
        siege, events, trouble = self.siege(), 0, []
        driver = siege.drive(*STAGES)
        for _ in range(self.times()):
            self.wait(driver)
            hit = driver.send(signal.SIGSTOP)
            if hit and siege.begun and (siege.path / "holder.json").exists():
                code = siege.drive(*STAGES).wait()
                if code != 2 and driver.alive:
                    trouble.append(f"exit code {code} of a second driver")
            time.sleep(self.dice.uniform(0.2, STOP_SECONDS))
            driver.send(signal.SIGCONT)
            events += self.note(siege, hit)
        struck = self.over(siege, driver, events)
        struck.trouble += trouble
        return struck

    def disk(self) -> Struck:
        """The disk may stay full for a resume."""
        self._disks += 1
        place = self.theatre.home / f"disk-{self._disks}"
        mounted = self.cleanup.enter_context(small_disk(place, "3m"))
        if not mounted:
            return self.quota()
        siege = self.theatre.siege(SIZE, runs=place)
        driver = siege.drive(*STAGES)
        until(lambda: siege.begun or not driver.alive)
        self.wait(driver)
        hit = driver.alive
        ballast = fill(place)
        struck = self.over(siege, driver, 0)
        if hit and self.dice.random() < 0.4:
            self.ended(struck, siege.drive(*STAGES).wait())
        ballast.unlink()
        struck.events = self.note(siege, hit)
        return struck

    def quota(self) -> Struck:
        siege, struck = self.siege(), Struck([], 0)
        for _ in range(self.times()):
            driver = siege.drive(*STAGES, largest=self.dice.randint(2_000, 40_000))
            code = driver.wait()
            self.ended(struck, code)
            struck.events += self.note(siege, code == 3)
        struck.runs = [siege]
        return struck

    def moved_clock(self) -> Struck:
        """The clock leaps by seconds to years, there or back, and leaps back for the resume."""
        siege, events = self.siege(), 0
        driver = siege.drive(*STAGES)
        for _ in range(self.times()):
            self.wait(driver)
            far = self.dice.choice((5, 3600, 30 * 24 * 3600, 20 * _YEAR))
            self.clock.move(self.dice.randint(-far, far))
            events += self.note(siege, driver.alive)
            if self.dice.random() < 0.5 and driver.kill():
                driver = siege.drive(*STAGES)
        struck = self.over(siege, driver, events)
        self.clock.move(0)
        return struck

    def copied(self) -> Struck:
        """The copy is listed, shown or reported, and resumed beside the run or after it."""
        siege = self.siege()
        driver = siege.drive(*STAGES)
        until(lambda: siege.begun or not driver.alive)
        self.wait(driver)
        hit = driver.alive
        copy = self.theatre.copy(siege)
        struck = Struck([siege, copy], self.note(siege, hit))
        copy.note()
        siege.copies.append(copy)
        at_once = self.dice.random() < 0.5
        if at_once:
            self.ended(struck, copy.drive(*STAGES).wait())
        else:
            self.ended(struck, driver.wait())
        page = str(self.theatre.home / "copy.html")
        readers = (("list",), ("show", copy.name), ("report", copy.name, "-o", page))
        words = self.dice.choice(readers)
        code = copy.command(*words, "--runs", str(copy.runs)).wait()
        if code:
            struck.trouble.append(f"exit code {code} of improv {words[0]} on a copy")
        if at_once:
            self.ended(struck, driver.wait())
        return struck

    def calm(self) -> None:
        """Undo what a run that went wrong has left."""
        self.clock.move(0)
        self.theatre.puppet.send(signal.SIGCONT)

    # -- helpers --------------------------------------------------------------------------

    def times(self) -> int:
        return self.dice.choice((1, 3, 4, 5))

    def wait(self, driver: Driver, *, asked: bool = False) -> None:
        """Wait for a random moment of the run: while it starts, at one of its calls, or at its end.

        With `asked`, at least one call of this driver is answered. The moments are counted in calls
        and not in seconds, so that they are the same on a busy machine.
        """
        before, puppet = self.theatre.puppet.answered, self.theatre.puppet
        phase = self.dice.uniform(0.2 if asked else 0, 1.0)
        left = self._whole - before
        if phase < 0.2 or left <= 0:
            _until_ready(driver)
            time.sleep(self.dice.uniform(0, 1.0))
            return
        share = 1.0 if phase > 0.9 else self.dice.random()
        until(lambda: puppet.answered > before + share * left * 0.99 or not driver.alive)
        time.sleep(self.dice.uniform(0, 0.3 if phase > 0.9 else 0.03))

    def _until_delivered(self, driver: Driver) -> None:
        """Wait for a Ctrl-C. The system makes one signal of two that a busy process has not got."""
        until(lambda: not driver.pending(signal.SIGINT))

    def _until_written(self, driver: Driver, folder: Path) -> None:
        until(lambda: any(folder.glob("*.parquet")) or not driver.alive, every=0.0005)

    def note(self, siege: Siege, hit: bool) -> int:
        if hit:
            siege.note()
        return int(hit)

    def over(self, siege: Siege, driver: Driver, events: int) -> Struck:
        """Wait for the end of a driver that may have been stopped by what befell it."""
        struck = Struck([siege], events)
        self.ended(struck, driver.wait())
        return struck

    def ended(self, struck: Struck, code: int) -> None:
        if code not in (0, 1, 3):
            struck.trouble.append(f"exit code {code}")


def _until_ready(driver: Driver) -> None:
    """Wait until a signal reaches improv, and not the fork before it."""
    until(lambda: driver.ready or not driver.alive)
