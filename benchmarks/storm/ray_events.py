"""What befalls runs that are played on Ray: on a cluster here, or on the driver's own."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

from benchmarks.storm import processes
from benchmarks.storm.events import STOP_SECONDS, Events, Struck
from tests.support.crash import Driver, Siege, Stand

CLUSTER = ("--stages", "2", "--hosts", "2")
LOCAL = ("--stages", "4")


class RayEvents(Events):
    """The events on Ray, and the cluster, which is started when it is needed first."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stand: Stand | None = None

    def close(self) -> None:
        if self._stand is not None:
            self._stand.close()
        self._stand = None

    def calm(self) -> None:
        super().calm()
        self.close()

    def host(self) -> Struck:
        siege, stand, driver = self._on_cluster()
        events = 0
        for _ in range(self.times()):
            self.wait(driver, asked=True)
            events += self.note(siege, driver.alive and bool(stand.kill_host(self.dice)))
        return self._over_on_cluster(siege, stand, driver, events)

    def host_stopped(self) -> Struck:
        siege, stand, driver = self._on_cluster()
        self.wait(driver, asked=True)
        host = stand.kill_host(self.dice, signal.SIGSTOP) if driver.alive else 0
        time.sleep(self.dice.uniform(0.2, STOP_SECONDS))
        if host:
            os.kill(host, signal.SIGCONT)
        return self._over_on_cluster(siege, stand, driver, self.note(siege, bool(host)))

    def cluster_driver(self) -> Struck:
        siege, stand, driver = self._on_cluster()
        self.wait(driver, asked=True)
        hit = self.note(siege, driver.kill())
        return Struck([siege], hit, CLUSTER, stand.address)

    def raylet(self) -> Struck:
        siege, stand, driver = self._on_cluster()
        self.wait(driver, asked=True)
        hit = driver.alive
        stand.kill_node(self.dice)
        return self._over_on_cluster(siege, stand, driver, self.note(siege, hit))

    def gcs(self) -> Struck:
        """The head of the cluster dies, and the cluster with it. The run is resumed without one."""
        siege, stand, driver = self._on_cluster()
        self.wait(driver, asked=True)
        hit = driver.alive
        stand.kill_head()
        driver.wait()
        self.close()
        return Struck([siege], self.note(siege, hit))

    def own_raylet(self) -> Struck:
        return self._own("raylet")

    def own_gcs(self) -> Struck:
        return self._own("gcs_server")

    def tree(self) -> Struck:
        """The driver, its Ray and its hosts die at once."""
        siege = self.siege()
        driver = siege.drive(*LOCAL, ray="local")
        # Half of the time while Ray starts.
        if self.dice.random() < 0.5:
            self.wait(driver, asked=True)
        else:
            time.sleep(self.dice.uniform(0, 4.0))
        family = processes.descendants(driver.pid)
        hit = driver.kill()
        processes.kill(family)
        return Struck([siege], self.note(siege, hit))

    def _own(self, part: str) -> Struck:
        """Kill a part of the Ray that the driver has started for itself."""
        siege = self.siege()
        driver = siege.drive(*LOCAL, ray="local")
        self.wait(driver, asked=True)
        family = processes.descendants(driver.pid)
        victims = processes.named(family, part)
        hit = driver.alive and bool(victims)
        processes.kill(victims)
        driver.wait()
        processes.kill(family)
        return Struck([siege], self.note(siege, hit))

    def _on_cluster(self) -> tuple[Siege, Stand, Driver]:
        self._stand = self._stand or _new_stand()
        siege = self.siege()
        return siege, self._stand, siege.drive(*CLUSTER, ray=self._stand.address)

    def _over_on_cluster(self, siege: Siege, stand: Stand, driver: Driver, events: int) -> Struck:
        struck = self.over(siege, driver, events)
        struck.options, struck.ray = CLUSTER, stand.address
        return struck


def _new_stand() -> Stand:
    """Start a cluster. On a busy machine Ray gives up a node that starts slowly, so try again."""
    for _ in range(2):
        with contextlib.suppress(Exception):  # Ray raises a bare one
            return Stand(workers=2)
    return Stand(workers=2)
