"""Processes that take and drop the lock of a run, and what they leave in its folder."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from improv.storage.lock import RunLock

# A process that does what it is told, one word a line, and answers each in a line of JSON.
PLAYER = """
import ctypes, errno, json, os, platform, resource, signal, struct, subprocess, sys, time
from improv.errors import RunError
from improv.storage.lock import RunLock

folder, beat, patience = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
lock = RunLock(folder, beat=beat, patience=patience)

def take():
    try:
        lock.__enter__()
    except RunError as e:
        return {"refused": str(e)}
    return {"took_over": lock.took_over}

def drop():
    lock.__exit__(None, None, None)

def lost():
    return lock.lost.wait(120)

def spawn():
    return subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL).pid

def fork():
    pid = os.fork()
    if not pid:
        lock.__exit__(None, None, None)  # as if the child left the block, too
        signal.pause()
    return pid

def write_nothing():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

def write_again():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

def churn():
    # Plays as often as it can for a second; counts the times somebody else was on stage.
    plays = clashes = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if "refused" in take():
            continue
        plays += 1
        try:
            os.close(os.open(folder + "/stage", os.O_CREAT | os.O_EXCL))
            os.unlink(folder + "/stage")
        except FileExistsError:
            clashes += 1
        drop()
    return plays, clashes

def have_no_flock():
    return fail({"x86_64": 73, "aarch64": 32}, errno.ENOLCK)  # a file server without locks

def have_no_link():
    return fail({"x86_64": 86, "aarch64": 37}, errno.EPERM)  # a memory card

def fail(numbers, error):
    # From here on the kernel answers this system call with this error.
    no, yes = (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7FFF0000)
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, numbers[platform.machine()]), no, yes]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0

print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    print(json.dumps(globals()[line.strip()]()), flush=True)
"""
# A process of another machine, as this one sees it: holder.json, and its number growing, until
# it finds another token there.
BEATS = """
import json, os, sys, threading

path, every, content = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
stop = threading.Event()

def beat():
    while not stop.wait(every):
        with open(path) as f:
            if json.load(f)["token"] != content["token"]:
                return
        write()

def write():
    content["beat"] += 1
    with open(path + ".new", "w") as f:
        json.dump(content, f)
    os.replace(path + ".new", path)

write()
print("plays", flush=True)
threading.Thread(target=beat).start()
sys.stdin.read()
stop.set()
"""
ELSEWHERE = {
    "token": "theirs",
    "host": "elsewhere",
    "boot": "another",
    "pid": 4321,
    "started": "99",
    "created": "2026-01-02T03:04:05+00:00",
    "beat": 0,
}


class Player:
    """A process that takes and drops the lock of one folder."""

    def __init__(self, folder: Path, beat: float, patience: float | None) -> None:
        command = [sys.executable, "-c", PLAYER, str(folder), str(beat), json.dumps(patience)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid

    def tell(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, word: str) -> Any:
        self.tell(word)
        return self.answer()

    def kill(self) -> None:
        """Kill it and wait until it has ended; nobody reaps it yet."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


Start = Callable[..., Player]


def holder(folder: Path) -> Any:
    return json.loads((folder / "holder.json").read_text())


def leave(folder: Path, **content: object) -> None:
    """Write the lock of a holder that is gone: one of this machine, changed by `content`."""
    with RunLock(folder):
        mine = holder(folder)
    (folder / "lock").unlink()
    (folder / "holder.json").write_text(json.dumps(mine | {"token": "theirs"} | content))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def take_away(players: list[Player], *words: str) -> None:
    if platform.machine() not in ("x86_64", "aarch64") or sys.platform != "linux":
        pytest.skip("no seccomp filter for this machine")
    assert all(player.ask(word) for player in players for word in words)


def race(players: list[Player], folder: Path) -> Iterator[tuple[Player, list[str]]]:
    """Three rounds: all take the lock, one gets it and is killed, the others are refused."""
    for _ in range(3):
        for player in players:
            player.tell("take")
        answers = [player.answer() for player in players]
        (winner,) = [p for p, a in zip(players, answers, strict=True) if "took_over" in a]
        assert holder(folder)["pid"] == winner.pid
        refused = [a["refused"] for a in answers if "refused" in a]
        assert len(refused) == len(players) - 1
        yield winner, refused
        winner.kill()
        players.remove(winner)
    assert {p.name for p in folder.iterdir()} == {"lock", "holder.json"}
