"""One process plays a run at a time. Real processes, real kills; other machines are told by what
they write, for the content of holder.json is all that one machine sees of another's process."""

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

from improv.errors import RunError
from improv.lock import RunLock, held

# A process that does what it is told, one word a line, and answers each in a line of JSON.
PLAYER = """
import ctypes, errno, json, os, platform, resource, signal, struct, subprocess, sys, time
from improv.errors import RunError
from improv.lock import RunLock

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
    return lock.lost.wait(10)

def spawn():
    return subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL).pid

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "20260102-kettles-ab12"
    path.mkdir()
    return path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start players; they end with the test."""
    players: list[Player] = []

    def begin(count: int = 1, beat: float = 0.1, patience: float | None = None) -> Any:
        new = [Player(folder, beat, patience) for _ in range(count)]
        players.extend(new)
        assert [player.answer() for player in new] == ["ready"] * count
        return new if count > 1 else new[0]

    yield begin
    for player in players:
        player.process.kill()
        player.process.communicate()


def holder(folder: Path) -> Any:
    return json.loads((folder / "holder.json").read_text())


def leave(folder: Path, **content: object) -> None:
    """Leave what a holder left: like one of this machine that was here, but for `content`."""
    with RunLock(folder):
        mine = holder(folder)
    (folder / "lock").unlink()
    (folder / "holder.json").write_text(json.dumps(mine | {"token": "theirs"} | content))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- on one machine ------------------------------------------------------------------------


def test_the_second_process_is_refused_and_told_whom_to_stop(folder: Path, start: Start) -> None:
    first, second = start(2)
    assert first.ask("take") == {"took_over": ""}
    refused = second.ask("take")["refused"]
    assert str(folder) in refused
    assert f"process {first.pid} on {platform.node()} plays this run since 20" in refused
    assert f"stop process {first.pid} on {platform.node()}" in refused
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}

    first.ask("drop")
    assert not (folder / "holder.json").exists()
    assert second.ask("take") == {"took_over": ""}


def test_a_stopped_process_still_holds_its_run(start: Start) -> None:
    first, second = start(2)
    first.ask("take")
    os.kill(first.pid, signal.SIGSTOP)
    assert f"process {first.pid} " in second.ask("take")["refused"]


def test_what_a_killed_process_left_is_taken_over_at_once(folder: Path, start: Start) -> None:
    first, second = start(2, beat=30)  # a wait of a single beat would fail the test
    first.ask("take")
    first.kill()
    assert held(folder) is None
    assert second.ask("take") == {
        "took_over": f"took over from process {first.pid} on {platform.node()}, which is gone"
    }
    assert holder(folder)["pid"] == second.pid


def test_of_twenty_that_race_one_wins_each_time(folder: Path, start: Start) -> None:
    for winner, refused in race(start(20), folder):
        assert all(f"process {winner.pid} " in text for text in refused)


def test_of_twenty_that_race_without_flock_one_wins(folder: Path, start: Start) -> None:
    players = start(20, beat=0.5)
    take_away(players, "have_no_flock")
    for _ in race(players, folder):
        pass


@pytest.mark.parametrize("flock", [True, False], ids=["flock", "no flock"])
def test_however_they_come_and_go_nobody_plays_beside_another(start: Start, flock: bool) -> None:
    players = start(4)
    if not flock:
        take_away(players, "have_no_flock")
    for player in players:
        player.tell("churn")
    answers = [player.answer() for player in players]
    assert sum(plays for plays, _ in answers) > 20
    assert sum(clashes for _, clashes in answers) == 0


def test_without_flock_and_links_the_last_to_write_has_it(folder: Path, start: Start) -> None:
    players = start(5, beat=0.5)
    take_away(players, "have_no_flock", "have_no_link")
    for _ in race(players, folder):
        pass


def take_away(players: list[Player], *words: str) -> None:
    if platform.machine() not in ("x86_64", "aarch64") or sys.platform != "linux":
        pytest.skip("no seccomp filter for this machine")
    assert all(player.ask(word) for player in players for word in words)


def race(players: list[Player], folder: Path) -> Iterator[tuple[Player, list[str]]]:
    """Three rounds: all take at once, one has it, the others are refused, it is killed."""
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


@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_a_child_does_not_keep_the_lock_of_its_dead_parent(
    folder: Path, start: Start, how: str
) -> None:
    first, second = start(2)
    first.ask("take")
    child = first.ask(how)
    try:
        assert "refused" in second.ask("take")
        assert holder(folder)["pid"] == first.pid
        first.kill()
        assert "is gone" in second.ask("take")["took_over"]
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_one_process_does_not_hold_a_run_twice(folder: Path) -> None:
    with RunLock(folder, beat=0.1):
        with pytest.raises(RunError, match=f"process {os.getpid()} "):
            RunLock(folder).__enter__()
        (folder / "lock").unlink()
        with pytest.raises(RunError, match=f"process {os.getpid()} "):
            RunLock(folder).__enter__()
        assert holder(folder)["pid"] == os.getpid()


def test_a_block_that_ends_in_an_error_leaves_the_run_free(folder: Path) -> None:
    lock = RunLock(folder)
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert held(folder) is None
    with lock:
        assert lock.took_over == ""


def test_a_living_process_is_heeded_where_its_flock_is_not_seen(folder: Path, start: Start) -> None:
    first, second = start(2)
    first.ask("take")
    (folder / "lock").unlink()  # the next flock is on another file, and granted
    assert f"process {first.pid} " in second.ask("take")["refused"]


def test_a_pid_that_another_program_has_now_holds_nothing(folder: Path, start: Start) -> None:
    leave(folder, pid=start().pid, started="1")
    assert held(folder) is None
    with RunLock(folder) as lock:
        assert "is gone" in lock.took_over


def test_what_was_held_before_the_machine_started_anew_is_taken_over(folder: Path) -> None:
    if not Path("/proc/sys/kernel/random/boot_id").exists():
        pytest.skip("this system has no boot id")
    leave(folder, boot="the one before")
    assert held(folder) is None
    with RunLock(folder) as lock:
        assert "before that machine's last start" in lock.took_over


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b'{"beat":   7, "token": "th',
        b"[" * 4000,
        b"\xff\x00",
        b"[1]",
        json.dumps(ELSEWHERE | {"pid": 0}).encode(),
    ],
)
def test_a_torn_holder_is_taken_over(folder: Path, garbage: bytes) -> None:
    (folder / "holder.json").write_bytes(garbage)
    assert held(folder) is None
    with RunLock(folder) as lock:
        assert lock.took_over == "took over from nobody known: holder.json was torn"
        assert holder(folder)["pid"] == os.getpid()


def test_a_folder_that_cannot_hold_a_lock_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: there is no such run folder"):
        RunLock(tmp_path / "nowhere").__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: is not a run folder, but a file"):
        RunLock(tmp_path / "file").__enter__()
    assert held(tmp_path / "nowhere") is held(tmp_path / "file") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is where root cannot write either")
def test_a_folder_that_is_only_read_says_so() -> None:
    with pytest.raises(RunError, match="cannot be written, so it cannot be played"):
        RunLock("/sys/kernel").__enter__()


# -- across machines -----------------------------------------------------------------------


@pytest.fixture
def elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another machine's process that plays the run and beats."""
    command = [sys.executable, "-c", BEATS, str(folder / "holder.json"), "0.1"]
    process = subprocess.Popen(
        [*command, json.dumps(ELSEWHERE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "plays\n"
    yield process
    process.kill()
    process.communicate()


def test_another_machine_that_beats_is_heeded(
    folder: Path, elsewhere: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    with pytest.raises(RunError, match="stop process 4321 on elsewhere"):
        RunLock(folder, patience=60).__enter__()
    assert time.monotonic() - began < 30  # refused at the first beat, not when patience ends
    assert holder(folder)["host"] == "elsewhere"

    elsewhere.kill()
    elsewhere.wait()
    with RunLock(folder, beat=0.1, patience=0.5) as lock:
        assert lock.took_over == (
            "took over from process 4321 on elsewhere, which gave no sign of life for 0.5 s"
        )
        assert holder(folder)["pid"] == os.getpid()


def test_patience_is_three_of_the_holders_beats_and_a_margin(folder: Path) -> None:
    leave(folder, host="elsewhere", every=0.3)
    with RunLock(folder, beat=0.05) as lock:
        assert "no sign of life for 2.9 s" in lock.took_over


def test_two_that_take_over_at_once_do_not_both_have_it(folder: Path, start: Start) -> None:
    first, second = start(2, beat=0.5, patience=0.5)
    leave(folder, host="elsewhere")
    first.tell("take")
    # The other sees no flock, as if on another machine, from the moment the first has one.
    until((folder / "lock").exists)
    (folder / "lock").unlink()
    second.tell("take")
    answers = [first.answer(), second.answer()]
    assert sum("took_over" in answer for answer in answers) == 1
    (winner,) = [p for p, a in zip((first, second), answers, strict=True) if "took_over" in a]
    assert holder(folder)["pid"] == winner.pid


def test_who_was_given_up_learns_it_and_leaves_the_new_holder_alone(
    folder: Path, start: Start
) -> None:
    player = start()
    player.ask("take")
    os.kill(player.pid, signal.SIGSTOP)
    theirs = json.dumps(ELSEWHERE)
    (folder / "new").write_text(theirs)
    (folder / "new").replace(folder / "holder.json")
    os.kill(player.pid, signal.SIGCONT)
    assert player.ask("lost") is True
    player.ask("drop")
    assert (folder / "holder.json").read_text() == theirs


def test_a_holder_beats_and_its_content_stays_whole(folder: Path) -> None:
    with RunLock(folder, beat=0.01) as lock:
        before = holder(folder)
        until(lambda: holder(folder)["beat"] > 20)  # each look must find whole JSON
        assert holder(folder) | {"beat": 0} == before
        assert not lock.lost.is_set()


def test_a_full_disk_stops_the_beat_and_nothing_else(folder: Path, start: Start) -> None:
    player = start(beat=0.02)
    player.ask("take")
    until(lambda: holder(folder)["beat"] > 1)
    player.ask("write_nothing")
    stopped = holder(folder)["beat"]
    time.sleep(0.2)  # ten beats that fail
    assert holder(folder)["beat"] == stopped
    player.ask("write_again")
    until(lambda: holder(folder)["beat"] > stopped)
    player.ask("drop")
    assert not (folder / "holder.json").exists()


def test_a_claim_that_a_waking_holder_removed_is_made_again(folder: Path, start: Start) -> None:
    player = start()
    player.ask("take")
    (folder / "holder.json").unlink()
    until((folder / "holder.json").exists)
    assert holder(folder)["pid"] == player.pid


# -- looking -------------------------------------------------------------------------------


def test_held_tells_who_plays_and_touches_nothing(folder: Path, start: Start) -> None:
    assert held(folder) is None
    assert not list(folder.iterdir())
    player = start(beat=30)
    player.ask("take")
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    said = held(folder)
    assert said and said.startswith(f"process {player.pid} on {platform.node()} plays this run")
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    player.ask("drop")
    assert held(folder) is None


def test_held_believes_another_machine_or_waits_for_its_beat(
    folder: Path, elsewhere: subprocess.Popen[str]
) -> None:
    sure = "process 4321 on elsewhere plays this run since 2026-01-02T03:04:05+00:00"
    assert held(folder) == f"{sure}, as far as can be told from here"
    assert held(folder, patience=30) == sure
    elsewhere.kill()
    elsewhere.wait()
    assert held(folder, patience=0.3) is None
