"""The first Ctrl-C finishes the calls in flight; the second stops at once."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from improv.storage.lock import RunLock
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from tests.support.run import HOSTED, Serve, chairs, improv, until
from tests.support.weather import RawServer, Send, command, http


def resumed_as_printed(out: str) -> None:
    """Resume the run with the command that was printed, and check that it finishes."""
    line = next(line for line in out.splitlines() if line.startswith("go on with:"))
    words = shlex.split(line.removeprefix("go on with:"))
    assert words[:2] == ["improv", "resume"]
    output = command(*words[1:], "--ray", "off").output
    assert "10 trials done, 0 failed" in output and "owed" not in output


@pytest.mark.parametrize("hosted", HOSTED)
def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(
    hosted: tuple[str, ...], puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.1)
    file = chairs(tmp_path, server.url)
    root = tmp_path / "a runs folder whose name is too long for a line of a terminal to hold it"
    child = improv("run", str(file), "--runs", str(root), *hosted, "--stages", "4")
    until(lambda: server.answered >= 5, child)
    # Four more begin, each of which takes long enough to be in flight when the signal comes.
    server.spec = server.spec.model_copy(update={"latency": 8.0})
    begun = server.requests
    until(lambda: server.requests >= begun + 4, child)
    assert server.in_flight == 4
    # As a terminal does: to every process of the group.
    os.killpg(child.pid, signal.SIGINT)
    asked = server.requests
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130, (out, err)
    assert "Finishing the open calls; Ctrl-C again stops at once." in err
    assert "stopped: interrupted" in err and "Traceback" not in err
    assert server.answered == server.requests == asked, "something was asked after Ctrl-C"
    folder = open_run(root, "last")
    saved = {c.draw.key for c in [*folder.journaled().calls(), *folder.transcripts.all_calls()]}
    assert saved == set(server.asked), "what was in flight was paid for and is kept"
    assert folder.meta()["status"] == "stopped"
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    resumed_as_printed(out)
    assert len(server.asked) == 60 and set(server.asked.values()) == {1}


@pytest.mark.parametrize("hosted", HOSTED)
def test_ctrl_c_twice_stops_at_once(
    hosted: tuple[str, ...], puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    slow = server.spec.model_copy(update={"latency": 600.0})
    runs = ("--runs", str(tmp_path / "r"), "--stages", "4")
    server.spec = server.spec.model_copy(update={"latency": 0.05})
    said = tmp_path / "said"
    with said.open("w") as errors:
        child = improv("run", str(file), *runs, *hosted, stderr=errors)
    until(lambda: server.answered >= 8, child)
    server.spec = slow
    begun = server.requests
    until(lambda: server.requests >= begun + 4, child)
    child.send_signal(signal.SIGINT)
    until(lambda: "Ctrl-C again stops at once" in said.read_text(), child)
    assert child.poll() is None, "it waits for what is in flight"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=240)  # and not the ten minutes of what is in flight
    err = said.read_text()
    assert child.returncode == 130, (out, err)
    assert "Traceback" not in err and "never retrieved" not in err, err
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    folder = open_run(tmp_path / "r", "last")
    journaled = {c.draw.key for c in [*folder.journaled().calls(), *folder.transcripts.all_calls()]}
    assert len(journaled) >= 8
    assert not Path(folder.path, "turns.parquet").exists(), "the next session joins the tables"
    resumed_as_printed(out)
    assert set(server.asked.values()) == {1}


def test_ctrl_c_does_not_wait_for_what_is_to_be_tried_again(tmp_path: Path) -> None:
    """An endpoint that is full may ask for two minutes, which is when people press Ctrl-C."""

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http("{}", "429 Slow", more="Retry-After: 100\r\n")

    with RawServer(reply) as server:
        file = chairs(tmp_path, server.url)
        child = improv("run", str(file), "--runs", str(tmp_path / "r"), "--ray", "off")
        until(lambda: len(server.seen) >= 8, child)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=90)
    assert child.returncode == 130
    assert "0 trials done, 0 failed, 10 still owed" in out


def test_ctrl_c_before_anything_is_played(begun: RunFolder) -> None:
    """Here while it waits to learn whether another machine plays the run."""
    holder = Path(begun.path, "holder.json")
    with RunLock(begun.local):
        text = holder.read_text()
    there = json.loads(text)["host"]
    holder.write_text(text.replace(f'"host": "{there}"', '"host": "another"'))
    Path(begun.path, "lock").unlink()
    child = improv("resume", "--runs", begun.root, "--ray", "off")
    until(Path(begun.path, "lock").exists, child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130, (out, err)
    assert "interrupted; played scenes are kept" in err and "Traceback" not in err


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc to look into")
def test_ctrl_c_while_the_program_is_being_loaded() -> None:
    """That takes most of the time before a command begins, and a traceback explains nothing."""
    child = improv("list")
    maps = Path(f"/proc/{child.pid}/maps")
    until(lambda: "pydantic_core" in maps.read_text(), child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130 and "Traceback" not in err, (out, err)
