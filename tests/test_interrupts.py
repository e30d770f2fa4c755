"""The second Ctrl-C ends a program that something holds, and the first one is not lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.run import press

HELD_IN_C = """
import hashlib
from improv import interrupts
interrupts.watch()
print("ready", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # no handler runs until it returns
"""
LOST_IN_A_LIBRARY = """
import asyncio, time
from improv import event_loop, interrupts
interrupts.watch()
class Library:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(600)
Library()
async def play():
    stop = asyncio.Event()
    with event_loop.interrupts(stop.set):
        await asyncio.wait_for(stop.wait(), 60)
    print("stopped in order")
event_loop.run_coroutine(play())
"""
ENDING = """
import atexit, sys, time
from improv.cli import main
def end():
    print("ready", flush=True)
    if len(sys.argv) > 2:
        time.sleep(600)
    sys.stdin.readline()
atexit.register(end)
sys.argv[1:1] = ["--version"]
main()
"""
IN_A_FORK = """
import os, signal, time
from improv import interrupts
interrupts.watch()
fork = os.fork()
if not fork:
    signal.signal(signal.SIGINT, lambda *_: None)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(0)
os.waitpid(fork, 0)
time.sleep(interrupts.GRACE + 1)
"""

on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to look at")


def start(code: str, *words: str) -> subprocess.Popen[str]:
    """Start a program, and wait until it says that it is ready."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *words]
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert child.stdout is not None
    line = child.stdout.readline()
    while line and not line.startswith("ready"):
        line = child.stdout.readline()
    assert line, child.communicate()
    return child


@on_linux
def test_the_second_one_ends_a_program_that_a_call_into_c_holds() -> None:
    child = start(HELD_IN_C)
    press(child)
    press(child)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert err == "ended 5 s after the second Ctrl-C; `improv resume` continues a run\n"


@on_linux
def test_one_that_a_library_has_lost_stops_a_run_when_it_begins() -> None:
    child = start(LOST_IN_A_LIBRARY)
    press(child)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (0, "stopped in order\n"), err


@on_linux
def test_one_at_the_end_of_a_program_prints_no_traceback() -> None:
    child = start(ENDING)
    press(child)
    _, err = child.communicate("\n", timeout=120)
    assert (child.returncode, err) == (0, "")


@on_linux
def test_two_at_the_end_of_a_program_end_it() -> None:
    child = start(ENDING, "slowly")
    press(child)
    press(child)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130 and "Traceback" not in err, err


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no forks here")
def test_the_signals_of_a_fork_are_not_its_parents() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_FORK], timeout=120)
    assert done.returncode == 0
