"""One process plays a run at a time. Processes and kills are real. Another machine is simulated by
its holder.json, because that is all that one machine sees of another's process."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from improv.errors import RunError
from improv.storage.lock import RunLock, current_holder
from tests.support.lock import (
    BEATS,
    ELSEWHERE,
    Player,
    Start,
    holder,
    leave,
    race,
    take_away,
    until,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "20260102-kettles-ab12"
    path.mkdir()
    return path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Return a function that starts players; they end with the test."""
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


def test_a_copy_of_a_run_that_is_played_is_free(folder: Path, start: Start, tmp_path: Path) -> None:
    first, second = start(2)
    first.ask("take")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert current_holder(folder) is not None
    assert current_holder(copy) is None
    with RunLock(copy) as lock:
        assert lock.took_over == (
            f"took over from process {first.pid} on {platform.node()}, "
            "which plays the run that this is a copy of"
        )
        assert holder(copy)["pid"] == os.getpid()
        assert f"process {first.pid} " in second.ask("take")["refused"]
    assert holder(folder)["pid"] == first.pid


def test_a_run_that_is_moved_or_loses_its_lock_file_is_still_held(
    folder: Path, start: Start, tmp_path: Path
) -> None:
    start().ask("take")
    moved = folder.rename(tmp_path / "moved")
    (moved / "lock").unlink()
    assert current_holder(moved) is not None
    with pytest.raises(RunError, match="plays this run since"), RunLock(moved):
        pass


def test_what_a_killed_process_left_is_taken_over_at_once(folder: Path, start: Start) -> None:
    first, second = start(2, beat=30)  # a wait of a single beat would fail the test
    first.ask("take")
    first.kill()
    assert current_holder(folder) is None
    assert second.ask("take") == {
        "took_over": f"took over from process {first.pid} on {platform.node()}, which is gone"
    }
    assert holder(folder)["pid"] == second.pid


def test_of_twenty_that_race_one_wins_each_time(folder: Path, start: Start) -> None:
    for winner, refused in race(start(20), folder):
        assert all(f"process {winner.pid} " in text for text in refused)


def test_of_twenty_that_race_without_flock_one_wins(folder: Path, start: Start) -> None:
    players = start(20, beat=2.0)
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
    players = start(5, beat=2.0)
    take_away(players, "have_no_flock", "have_no_link")
    for _ in race(players, folder):
        pass


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
    assert current_holder(folder) is None
    with lock:
        assert lock.took_over == ""


def test_a_living_process_is_heeded_where_its_flock_is_not_seen(folder: Path, start: Start) -> None:
    first, second = start(2)
    first.ask("take")
    (folder / "lock").unlink()  # the next flock is on another file, and granted
    assert f"process {first.pid} " in second.ask("take")["refused"]


def test_a_pid_that_another_program_has_now_holds_nothing(folder: Path, start: Start) -> None:
    leave(folder, pid=start().pid, started="1")
    assert current_holder(folder) is None
    with RunLock(folder) as lock:
        assert "is gone" in lock.took_over


def test_what_was_held_before_the_machine_started_anew_is_taken_over(folder: Path) -> None:
    if not Path("/proc/sys/kernel/random/boot_id").exists():
        pytest.skip("this system has no boot id")
    leave(folder, boot="the one before")
    assert current_holder(folder) is None
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
    assert current_holder(folder) is None
    with RunLock(folder) as lock:
        assert lock.took_over == "took over from nobody known: holder.json was torn"
        assert holder(folder)["pid"] == os.getpid()


def test_a_folder_that_cannot_hold_a_lock_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: there is no such run folder"):
        RunLock(tmp_path / "nowhere").__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: is not a run folder, but a file"):
        RunLock(tmp_path / "file").__enter__()
    assert current_holder(tmp_path / "nowhere") is current_holder(tmp_path / "file") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is where root cannot write either")
def test_a_folder_that_is_only_read_says_so() -> None:
    with pytest.raises(RunError, match="cannot be written, so it cannot be played"):
        RunLock("/sys/kernel").__enter__()


# -- across machines -----------------------------------------------------------------------


@pytest.fixture
def elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of another machine that plays the run and beats."""
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
        RunLock(folder, patience=600).__enter__()
    assert time.monotonic() - began < 120  # refused at the first beat, not when patience ends
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
    first, second = start(2, beat=2.0, patience=2.0)
    leave(folder, host="elsewhere")
    first.tell("take")
    # As on another machine, the other process sees no flock of the first one.
    until((folder / "lock").exists)
    (folder / "lock").unlink()
    second.tell("take")
    answers = [first.answer(), second.answer()]
    assert sum("took_over" in answer for answer in answers) == 1
    (winner,) = [p for p, a in zip((first, second), answers, strict=True) if "took_over" in a]
    assert holder(folder)["pid"] == winner.pid


def test_a_holder_that_was_given_up_leaves_the_new_holder_alone(folder: Path, start: Start) -> None:
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
        until(lambda: holder(folder)["beat"] > 20)  # each read must get whole JSON
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
    assert current_holder(folder) is None
    assert not list(folder.iterdir())
    player = start(beat=30)
    player.ask("take")
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    said = current_holder(folder)
    assert said and said.startswith(f"process {player.pid} on {platform.node()} plays this run")
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    player.ask("drop")
    assert current_holder(folder) is None


def test_held_believes_another_machine_or_waits_for_its_beat(
    folder: Path, elsewhere: subprocess.Popen[str]
) -> None:
    sure = "process 4321 on elsewhere plays this run since 2026-01-02T03:04:05+00:00"
    assert current_holder(folder) == f"{sure}, as far as can be told from here"
    assert current_holder(folder, patience=30) == sure
    elsewhere.kill()
    elsewhere.wait()
    assert current_holder(folder, patience=0.3) is None
