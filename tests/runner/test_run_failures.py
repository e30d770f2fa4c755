"""Whole runs whose endpoint disappears, returns, or refuses every call."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from improv.models.puppet.server import PuppetServer
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.study.loader import load
from tests.support.weather import SCENE, Serve


def chairs(folder: Path, url: str, replicates: int, **model: Any) -> Path:
    """Write a study of so many trials of two calls each."""
    (folder / "chairs.yaml").write_text(SCENE)
    file = folder / "study.yaml"
    spec = {"model": "puppet", "base_url": url} | model
    study = {"study": "chairs", "scenes": ["chairs.yaml"], "set": {"model": spec}}
    file.write_text(json.dumps(study | {"replicates": replicates}))
    return file


def during(server: PuppetServer, answered: int, then: Callable[[], None]) -> threading.Thread:
    """Do something once a server has answered so often."""

    def watch() -> None:
        end = time.monotonic() + 60
        while server.answered < answered and time.monotonic() < end:
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_model_that_vanishes_half_way(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server(latency=0.5)
    file = chairs(tmp_path, server.url, 30, retries=1)
    gone = during(server, 20, server.stop)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", stages=8))
    gone.join()
    rows = result.folder.tables.read("trials").to_pylist()
    assert len(rows) == 30 and result.done + result.failed == 30 and result.owed == 0
    assert 5 <= result.done <= 20
    failed = [r for r in rows if r["status"] == "failed"]
    assert {r["failure_kind"] for r in failed} == {"connection"}
    spoken = Counter(
        t["trial"] for t in result.folder.tables.read("turns").to_pylist() if t["turn"]
    )
    assert all(spoken[r["trial"]] == (2 if r["status"] == "done" else r["turns"]) for r in rows)
    assert sum(spoken.values()) <= server.answered


def test_a_model_that_comes_back_in_time_is_not_missed(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.5)
    file = chairs(tmp_path, server.url, 20)

    def restart() -> None:
        server.stop()
        time.sleep(0.7)
        server.start()

    restarted = during(server, 12, restart)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", stages=8))
    restarted.join()
    assert (result.done, result.failed) == (20, 0)
    reasons = {r for c in result.folder.transcripts.all_calls() for r in c.retried}
    assert reasons == {"connection"}


def test_every_weather_at_once(puppet_server: Serve, tmp_path: Path) -> None:
    errors = {"429": 0.15, "500": 0.08, "html": 0.04, "broken": 0.04, "hang": 0.03}
    server = puppet_server(errors=errors)
    file = chairs(tmp_path, server.url, 60, timeout=10, retries=4)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off"))
    rows = result.folder.tables.read("trials").to_pylist()
    assert len({r["trial"] for r in rows}) == len(rows) == 60 and result.owed == 0
    # Five attempts, each of which fails with .34: one call in two hundred is given up.
    assert result.failed <= 3
    known = {"status 429", "status 500", "unreadable", "timeout"}
    assert all(r["failure_kind"] in known for r in rows if r["status"] == "failed")
    assert max(server.asked.values()) == 1, "a call that was answered was asked again"
    draws = Counter(c.draw for c in result.folder.transcripts.all_calls())
    assert max(draws.values()) == 1
    retried = Counter(r for c in result.folder.transcripts.all_calls() for r in c.retried)
    assert {"429", "500", "unreadable", "timeout"} <= set(retried)
    errors_seen = sum(server.failed.values())
    assert sum(retried.values()) + result.failed == errors_seen
    lines = {t.text for r in rows for t in result.folder.transcripts.read(r["trial"]).lines()}
    assert not any("html" in line or "{" in line for line in lines)


@pytest.mark.parametrize("kind", ["quota", "402", "401", "404"])
def test_what_no_retry_can_cure_stops_the_run_at_once(
    kind: str, puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.2)
    file = chairs(tmp_path, server.url, 30)
    bad = server.spec.model_copy(update={"errors": {kind: 1.0}})
    turned = during(server, 20, lambda: setattr(server, "spec", bad))
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", stages=4))
    turned.join()
    # One request for each scene that was playing, and nothing after.
    assert 1 <= sum(server.failed.values()) <= 4
    assert result.failed == 0 and result.owed + result.done == 30 and result.owed
    expected = {"quota": "quota", "402": "quota", "404": "model"}.get(kind, "key")
    assert (result.kind, result.exit_code) == (expected, 1)
    assert server.url in result.stopped
    saved = {c.draw.key for c in result.folder.journaled().calls() if not c.error}
    saved |= {c.draw.key for c in result.folder.transcripts.all_calls()}
    assert saved == set(server.asked)
    server.spec = server.spec.model_copy(update={"errors": {}})
    again = resume(result.folder, setup=Setup(ray="off"))
    assert (again.done, again.failed, again.owed) == (30, 0, 0)
    assert len(server.asked) == 60 and max(server.asked.values()) == 1
