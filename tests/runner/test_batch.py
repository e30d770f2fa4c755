"""Runs whose calls go in batches: what a batch costs once is never asked for twice."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from improv.cli.terminal import batch_words
from improv.errors import ErrorKind, RunError
from improv.models.budget import Budget
from improv.models.puppet.server import PuppetServer
from improv.runner.launch import Result, resume, run
from improv.storage.batch_log import BATCHES, count_batches
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from tests.support.run import OFF, Serve, chairs, improv, until
from tests.support.weather import RawServer, Send, http, said

BATCH = replace(OFF, batch=True)
TRIALS, CALLS = 10, 3
# The first call goes alone, to learn what the model takes, so one scene is ahead of the others.
SIZES = [TRIALS] * (CALLS - 1) + [TRIALS - 1]


def short(folder: Path, url: str | None) -> Path:
    """Write a study of trials of three calls each."""
    file = chairs(folder, url, TRIALS)
    scene = folder / "chairs.yaml"
    scene.write_text(scene.read_text().replace("turns: 6", f"turns: {CALLS}"))
    return file


def play(folder: Path, url: str | None) -> Result:
    return run(load(short(folder, url)), runs=folder / "runs", setup=BATCH)


def lines(folder: RunFolder) -> list[str]:
    return [turn["text"] for turn in folder.tables.read("turns").to_pylist()]


def asked_once(server: PuppetServer) -> bool:
    return len(server.asked) == TRIALS * CALLS and set(server.asked.values()) == {1}


def logs(folder: RunFolder) -> list[Path]:
    return [*(folder.local / "journal").glob(f"{BATCHES}*.jsonl")]


def test_all_scenes_advance_a_call_a_batch(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    result = play(tmp_path, server.url)
    assert (result.done, result.failed, result.owed) == (TRIALS, 0, 0)
    assert server.batches.sizes == SIZES and asked_once(server)
    assert result.folder.meta()["batch"] is True

    one_by_one = run(load(tmp_path / "study.yaml"), runs=tmp_path / "other", setup=OFF)
    assert lines(one_by_one.folder) == lines(result.folder)
    assert server.batches.made == CALLS, "without --batch nothing goes in a batch"


def test_errors_in_a_batch_are_sent_again_with_the_next(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(errors={"500": 0.2, "429": 0.1})
    result = play(tmp_path, server.url)
    assert (result.done, result.failed) == (TRIALS, 0)
    assert asked_once(server) and server.failed["500"] and server.failed["429"]
    retried = {end for call in result.folder.transcripts.all_calls() for end in call.retried}
    assert retried == {"500", "429"}


def test_a_request_that_is_refused_fails_its_trial_alone(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(errors={"422": 0.2})
    result = play(tmp_path, server.url)
    rows = result.folder.tables.read("trials").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert 0 < len(failed) < TRIALS and result.done == TRIALS - len(failed)
    assert {row["failure_kind"] for row in failed} == {"status 422"}
    assert server.failed["422"] == len(failed)


def killed(folder: Path, server: PuppetServer) -> RunFolder:
    """Play a run that is killed while its first batch is waited for."""
    server.batches.seconds = math.inf
    words = ("run", str(short(folder, server.url)), "--runs", str(folder / "runs"))
    child = improv(*words, "--ray", "off", "--batch")
    until(lambda: server.batches.made == 1, child)
    run_folder = open_run(folder / "runs", "last")
    until(lambda: any(b'"id"' in log.read_bytes() for log in logs(run_folder)), child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    server.batches.seconds = 0.0
    return run_folder


def test_a_killed_run_finds_its_batch_again(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    folder = killed(tmp_path, server)
    result = resume(folder, setup=OFF)  # run.json says that the run is played in batches
    assert (result.done, result.failed, result.owed) == (TRIALS, 0, 0)
    assert asked_once(server) and server.batches.sizes == SIZES
    assert not logs(folder), "the tables hold what was asked"


def test_a_batch_whose_id_was_not_recorded_is_found_by_its_name(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    folder = killed(tmp_path, server)
    (log,) = logs(folder)
    # The process might have died between the answer and the line; a torn line is as good as none.
    kept = log.read_bytes()
    log.write_bytes(kept[: kept.rindex(b'"id"')])
    # The endpoint has more than a page of other batches, made since.
    for number in range(250):
        server.batches.add_foreign(str(number))
    result = resume(folder, setup=OFF)
    assert (result.done, result.owed) == (TRIALS, 0) and asked_once(server)


def test_ctrl_c_leaves_the_batch_and_says_how_to_go_on(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    server.batches.seconds = math.inf
    file = short(tmp_path, server.url)
    child = improv("run", str(file), "--runs", str(tmp_path / "runs"), "--ray", "off", "--batch")
    until(lambda: server.batches.made == 1, child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130 and "Traceback" not in err, (out, err)
    assert "1 batch was sent" in out + err and "asks for nothing twice" in out + err
    folder = open_run(tmp_path / "runs", "last")
    assert count_batches(folder.journals) == 1
    server.batches.seconds = 0.0
    assert resume(folder, setup=OFF).done == TRIALS and asked_once(server)


def test_an_outage_while_a_batch_is_waited_for_costs_nothing(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    server.batches.outage = 8  # more than one look's own retries
    result = play(tmp_path, server.url)
    assert (result.done, result.failed, result.owed) == (TRIALS, 0, 0)
    assert server.batches.outage == 0 and asked_once(server) and server.batches.sizes == SIZES


def test_a_batch_that_is_too_large_is_sent_in_parts(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    server.batches.largest = 4
    server.batches.seconds = 0.0
    result = play(tmp_path, server.url)
    assert (result.done, result.failed) == (TRIALS, 0) and asked_once(server)
    sizes = [size for size in server.batches.sizes if size <= 4]
    assert sum(sizes) == TRIALS * CALLS - 1


def test_a_batch_that_is_refused_stops_the_run(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    server.batches.refusal = "model_not_supported"
    result = play(tmp_path, server.url)
    assert (result.done, result.failed, result.owed) == (0, 0, TRIALS)
    assert result.exit_code == 1
    assert result.kind == ErrorKind.MODEL and "model_not_supported" in result.stopped
    server.batches.refusal = ""
    assert resume(result.folder, setup=OFF).done == TRIALS and asked_once(server)


def test_a_batch_that_somebody_cancelled_is_owed(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    server.batches.cancelled = True
    result = play(tmp_path, server.url)
    assert (result.done, result.failed, result.owed) == (0, 0, TRIALS)
    assert "was cancelled at http://127.0.0.1" in result.stopped
    server.batches.cancelled = False
    assert resume(result.folder, setup=OFF).done == TRIALS and asked_once(server)


def test_an_endpoint_without_batches_is_told(tmp_path: Path) -> None:
    def answer(_: int, request: bytes, __: Send) -> bytes:
        if request.startswith(b"POST /v1/chat/completions "):
            return http(said("Good evening."))
        return http("404 page not found", status="404 Not Found", kind="text/plain")

    with RawServer(answer) as server:
        result = play(tmp_path, server.url)
        assert sum(b"/chat/completions " in request for request in server.seen) == 1
    assert result.owed == TRIALS and result.kind == ErrorKind.MODEL
    assert "takes no batches (it answered 404 to a file): play without --batch" in result.stopped


def test_batches_on_this_machine_go_through_no_proxy(
    puppet_server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    server = puppet_server()
    assert play(tmp_path, server.url).done == TRIALS
    assert server.batches.sizes == SIZES


def test_what_is_played_here_goes_in_no_batch(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--batch needs a model at an endpoint"):
        play(tmp_path, None)


def test_a_log_from_elsewhere_leads_nowhere(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    server.batches.refusal = "later"
    folder = play(tmp_path, server.url).folder
    log = folder.local / "journal" / f"{BATCHES}other.jsonl"
    log.write_bytes(
        b'{"name": "a", "endpoint": 5, "requests": []}\nnot JSON\n[1]\n{"name": "b", "id": "x"}\n'
        b'{"name": "c", "endpoint": "http://127.0.0.1", "requests": [7, "d"]}\n'
        b'{"name": "c", "id": "../../v1/files"}\n'
    )
    server.batches.refusal = ""
    assert resume(folder, setup=OFF).done == TRIALS and asked_once(server)


def test_a_budget_leaves_a_batch_whole(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    study, many = short(tmp_path, server.url), 60
    study.write_text(study.read_text().replace(f'"replicates": {TRIALS}', f'"replicates": {many}'))
    setup = replace(BATCH, budget=Budget(calls=1000, tokens=10_000_000))
    result = run(load(study), runs=tmp_path / "runs", setup=setup)
    assert (result.done, result.owed) == (many, 0)
    assert server.batches.sizes == [many] * (CALLS - 1) + [many - 1]


def test_how_far_the_batches_are_is_shown_while_they_are_waited_for(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    server.batches.seconds = 1.5
    seen = []
    study = load(short(tmp_path, server.url))
    run(study, runs=tmp_path / "runs", setup=BATCH, watch=lambda p: seen.append(replace(p)))
    waiting = [standing for standing in seen if standing.batches[0]]
    assert (1, TRIALS, 0) in [standing.batches for standing in waiting]
    assert batch_words(waiting[0]) == (
        f"1 batch at the endpoint: 0 of {waiting[0].batches[1]} requests answered"
    )
    assert batch_words(seen[-1]) == ""
