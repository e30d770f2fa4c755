"""Tries inputs in child processes, so that a hang, a crash and a flood of memory are outcomes.

A child has ten seconds and 2 GiB for an input. It watches its own peak; the parent watches the time
and the memory, and kills a child that is over. Time is what the child computed or slept: seconds in
which it could have run and a busy machine let it wait do not count, nor those in which the parent
was stopped. A slow input is tried once more in a fresh child before it counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import importlib
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz.outcome import BYTES, SECONDS, Kind, Outcome, Result, Words, attempt

_CONTEXT = multiprocessing.get_context("fork")
"""A fork has imported everything already, which takes ten seconds of a processor."""
_ADDRESSES = 16 * 2**30
"""A bound on addresses, which libraries reserve freely; the bound on memory itself is watched."""
_FRAME = re.compile(r'File "[^"]*/(?:improv|ui)/(?:[^"]*/)?(\w+\.py)", line \d+ in (\w+)')
_WARM = 60.0
"""Seconds until a child is ready."""
_LOOK = 0.05
"""Seconds between two looks at a child."""
_TICK = 2 * _LOOK
"""The most seconds that count between two looks; what is over, the parent did not run."""


def find_kind(name: str) -> Kind:
    """Return the kind that `module:name` stands for."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Kind)
    return found


class Child:
    """One process that tries one input after the other."""

    def __init__(self, kind: str, shared: Path, stacks: Path) -> None:
        self._stack = stacks / f"{time.monotonic_ns()}.txt"
        ours, theirs = _CONTEXT.Pipe()
        self.pipe: Connection = ours
        self.process: BaseProcess = _CONTEXT.Process(
            target=_serve, args=(kind, shared, self._stack, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.words: Words | None = None
        self.again = False
        self.ready = False
        self._start_clock()

    def give(self, words: Words, *, again: bool = False) -> None:
        self.words, self.again = words, again
        self._start_clock()
        self.pipe.send(words)

    def look(self) -> Result | None:
        """Return what became of the input, None while it is tried."""
        seconds = self._seconds()
        try:
            if self.pipe.poll(0):
                return dataclasses.replace(self.pipe.recv(), seconds=seconds)
        except (EOFError, OSError):
            self.process.join(5)
            stack = self._written_stack()
            where = f"the process ended with {self.process.exitcode} {_deepest(stack)}"
            return Result(Outcome.TRACEBACK, where, stack)
        if self.rss() > BYTES:
            stack = self._ask_for_stack()
            return Result(Outcome.LARGE, _deepest(stack), stack, seconds, self.rss())
        if seconds > (SECONDS if self.ready else _WARM):
            stack = self._ask_for_stack()
            return Result(Outcome.SLOW, _deepest(stack), stack, seconds)
        return None

    def _start_clock(self) -> None:
        self._looked, self._ticks = time.monotonic(), 0.0
        self._used, self._waited = _cpu_seconds(self.process), _waited_seconds(self.process)

    def _seconds(self) -> float:
        """Return the seconds that the input has taken."""
        now = time.monotonic()
        self._ticks += min(now - self._looked, _TICK)
        self._looked = now
        waited = _waited_seconds(self.process) - self._waited
        return max(self._ticks - waited, _cpu_seconds(self.process) - self._used)

    def rss(self) -> int:
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            return pages * resource.getpagesize()
        return 0

    def _ask_for_stack(self) -> str:
        """Let the child write where it is; return that."""
        if self.process.pid is not None and self.ready:
            os.kill(self.process.pid, signal.SIGUSR1)
        for _ in range(40):
            if text := self._written_stack():
                return text
            time.sleep(_LOOK)
        return ""

    def _written_stack(self) -> str:
        with contextlib.suppress(OSError):
            return self._stack.read_text()[-6000:]
        return ""

    def end(self) -> None:
        self.process.kill()
        self.process.join(10)
        self.pipe.close()


def prepare_apart(kind: Kind, shared: Path) -> None:
    """Fill the folder of a kind in another process: this one keeps no threads that a fork would
    lose."""
    process = _CONTEXT.Process(target=kind.prepare, args=(shared,))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the folder of the kind '{kind.name}' cannot be prepared")


class Pool:
    """Some children; `results` has each input that was tried, with what became of it."""

    def __init__(self, kind: str, shared: Path, jobs: int = 1) -> None:
        self._kind, self._shared, self._jobs = kind, shared, jobs
        self._stacks = Path(tempfile.mkdtemp(prefix="improv-fuzz-"))
        self._children: list[Child] = []
        self.results: list[tuple[Words, Result]] = []

    def try_input(self, words: Words) -> None:
        """Give an input to a child that is free; wait for one."""
        self._free().give(words)

    def finish(self) -> None:
        """Wait until every input has a result."""
        while any(child.words is not None for child in self._children):
            self._collect()

    def close(self) -> None:
        for child in self._children:
            child.end()
        self._children.clear()

    def _free(self) -> Child:
        while True:
            for child in self._children:
                if child.words is None:
                    return child
            if len(self._children) < self._jobs:
                return self._new()
            self._collect()

    def _new(self) -> Child:
        child = Child(self._kind, self._shared, self._stacks)
        while (result := child.look()) is None:
            wait_for([child.pipe], timeout=_LOOK)
        if result.bad:
            child.end()
            raise RuntimeError(f"no process can try inputs: {result.where}\n{result.text}")
        child.ready = True
        self._children.append(child)
        return child

    def _collect(self) -> None:
        busy = [child for child in self._children if child.words is not None]
        wait_for([child.pipe for child in busy], timeout=_LOOK)
        for child in busy:
            result, words = child.look(), child.words
            if result is None or words is None:
                continue
            child.words = None
            if not result.bad or (result.outcome is Outcome.TRACEBACK and child.process.is_alive()):
                self.results.append((words, result))
            else:
                self._children.remove(child)
                child.end()
                if result.outcome is Outcome.SLOW and not child.again:
                    self._new().give(words, again=True)
                else:
                    self.results.append((words, result))


def _serve(kind_name: str, shared: Path, stack: Path, pipe: Connection) -> None:
    """Be a child: try each input that comes, and send what became of it."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(silence, handle)
    kind = find_kind(kind_name)
    with stack.open("w") as stacks:
        faulthandler.enable(file=stacks)
        faulthandler.register(signal.SIGUSR1, file=stacks)
        pipe.send(Result(Outcome.FINE))
        while True:
            try:
                words: Any = pipe.recv()
            except EOFError:
                return
            _forget_peak()
            with tempfile.TemporaryDirectory(
                prefix="improv-fuzz-", ignore_cleanup_errors=True
            ) as place:
                result = attempt(kind, words, Path(place), shared)
            peak = _peak()
            if peak > BYTES and result.outcome in (Outcome.FINE, Outcome.TOLD):
                result = Result(Outcome.LARGE, "at its peak", result.text)
            pipe.send(dataclasses.replace(result, peak=peak))


def _cpu_seconds(process: BaseProcess) -> float:
    """Return the seconds that a process has computed; 0.0 where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        return sum(int(tick) for tick in ticks) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _waited_seconds(process: BaseProcess) -> float:
    """Return the seconds that a process could have run and had no processor; 0.0 where the system
    does not tell (https://docs.kernel.org/scheduler/sched-stats.html)."""
    waited = 0
    with contextlib.suppress(OSError, IndexError, ValueError):
        for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            waited += int(file.read_text().split()[1])
    return waited / 1e9


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _deepest(stack: str) -> str:
    """Return the innermost line of ours in a stack that faulthandler wrote."""
    ours = _FRAME.search(stack)
    return f"in {ours[1]} {ours[2]}" if ours else "in no line of ours"
