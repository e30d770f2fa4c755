"""Where the runs of a storm are played: a puppet in a process of its own, which can be lost too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from improv.models.puppet.server import PuppetServer
from improv.study.puppet_spec import Puppet
from tests.support.crash import FORKS, Siege, Theatre


class PuppetProcess:
    """A puppet's server in a process of its own, which answers at one address from start to start.

    It writes the key of each draw that it answered to a file before the answer leaves, so that the
    counts survive it.
    """

    def __init__(self, log: Path, latency: float) -> None:
        self._log = log
        self._latency = latency
        self._port = 0
        log.touch()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def asked(self) -> Counter[str]:
        return Counter(self._log.read_text().splitlines())

    @property
    def answered(self) -> int:
        """The size of the file, which is quicker to learn than the number of answers."""
        return self._log.stat().st_size

    def forget(self) -> None:
        os.truncate(self._log, 0)

    def start(self) -> None:
        ours, its = FORKS.Pipe()
        arguments = (str(self._log), self._port, self._latency, its)
        self._process = FORKS.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        self._port = ours.recv()

    def send(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class _WrittenCounter(Counter[str]):
    """Counts, and writes each count to a file."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self._file = os.open(log, os.O_WRONLY | os.O_APPEND)

    def __setitem__(self, key: str, value: int) -> None:
        super().__setitem__(key, value)
        os.write(self._file, f"{key}\n".encode())


def _serve(log: str, port: int, latency: float, pipe: Connection) -> None:
    server = PuppetServer(Puppet(latency=latency), port=port)
    server.asked = _WrittenCounter(log)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.run(lambda: pipe.send(server.port)))


class StormTheatre(Theatre):
    """A theatre whose puppet can be killed and stopped."""

    def __init__(self, home: Path, latency: float) -> None:
        super().__init__(home, served=False)
        self.puppet = PuppetProcess(home / "asked.txt", latency)

    @property
    def url(self) -> str:
        return self.puppet.url

    @property
    def asked(self) -> Counter[str]:
        return self.puppet.asked

    def forget(self) -> None:
        self.puppet.forget()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.puppet.send(signal.SIGCONT)
        self.puppet.kill()

    def copy(self, siege: Siege) -> Siege:
        """Copy the folder of a run while it is played, as `cp -r` does: file after file."""
        copy = siege.named(f"{siege.name}-copy")
        shutil.copytree(siege.path, copy.path, copy_function=_copy_if_there)
        return copy


def _copy_if_there(source: str, target: str) -> str:
    """Copy a file, unless it was renamed since the folder was listed."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)
    return target
