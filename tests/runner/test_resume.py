"""Resume: what may have changed since the run began, and which process plays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from improv.errors import EndpointError, RunError
from improv.models.budget import Budget
from improv.runner.branching import branch
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from tests.support.run import OFF, TEN, Serve, chairs, change, improv, until
from tests.support.weather import command

# --- what has changed


def test_a_run_whose_study_was_edited_is_refused_with_the_difference(begun: RunFolder) -> None:
    file = Path(begun.path, "study.yaml")
    file.write_text(file.read_text().replace("who hurries", "who dawdles"))
    runs = ("--runs", begun.root, "--ray", "off")
    output = command("resume", *runs, code=2).output
    assert "has changed since it was begun" in output and "--anyway" in output
    assert (
        "\n-" in output and "who hurries" in output and "\n+" in output and "who dawdles" in output
    )
    assert "+++ study.yaml now" in output
    assert begun.meta()["status"] == "stopped", "a refusal changes nothing"
    again = command("resume", *runs, "--anyway")
    assert "10 trials done, 0 failed" in again.output
    assert any("who dawdles" in b["text"] for b in begun.tables.read("blocks").to_pylist())


def test_a_run_whose_own_study_file_was_edited_is_refused_too(
    begun: RunFolder, tmp_path: Path
) -> None:
    scene = tmp_path / "chairs.yaml"
    scene.write_text(scene.read_text().replace("Bo, sit down.", "Bo, stand up."))
    with pytest.raises(RunError, match=r"(?s)\+.*Bo, stand up.*--anyway"):
        resume(begun, setup=OFF)
    # Without its file, or with one that is no study any more, the run has its own copy.
    scene.write_text("title: [")
    assert resume(begun, setup=OFF).done == 10


def test_options_of_the_run_are_no_change(puppet_server: Serve, tmp_path: Path) -> None:
    url = puppet_server().url
    file = chairs(tmp_path, None)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    more = ("--turns", "3", "--replicates", "4", "--limit", "3", "--base-url", url)
    command("run", str(file), *runs, *more, "--max-calls", "5", code=4)
    assert "3 trials done, 0 failed" in command("resume", *runs).output


def test_a_run_of_old_has_its_hashes_under_their_old_names(begun: RunFolder) -> None:
    file = Path(begun.path, "run.json")
    now = orjson.loads(file.read_bytes())
    old = {k: v for k, v in now.items() if k not in ("trials_hash", "plan_hash")}
    file.write_bytes(orjson.dumps(old | {"plan": "another", "analysis": "of a plan"}))
    assert begun.meta() == now | {"trials_hash": "another", "plan_hash": "of a plan"}
    with pytest.raises(RunError, match="would play other trials than were planned"):
        resume(begun, setup=OFF)
    file.write_bytes(orjson.dumps(old | {"plan": now["trials_hash"], "analysis": ""}))
    assert resume(begun, setup=OFF).done == 10
    written = orjson.loads(file.read_bytes())
    assert written["trials_hash"] == now["trials_hash"] and written["plan_hash"] == ""
    assert "plan" not in written and "analysis" not in written


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"versions": {"improv-theatre": "0.0.1"}}, r"improv: version 0\.0\.1 then, [\d.]+ now"),
        ({"program": "0123456789abcdef"}, "its code was 0123456789abcdef then, [0-9a-f]{16} now"),
        ({"trials_hash": "another"}, "would play other trials than were planned"),
        ({"served": {"puppet": "http://10.0.0.9/v1"}}, r"model puppet: http://10\.0\.0\.9/v1 then"),
    ],
)
def test_a_run_of_another_program_or_model_is_refused(
    changes: dict[str, Any], difference: str, begun: RunFolder
) -> None:
    change(begun, **changes)
    with pytest.raises(RunError, match=difference):
        resume(begun, setup=OFF)
    assert resume(begun, setup=Setup(ray="off", anyway=True)).done == 10


def test_a_run_that_would_talk_to_another_address_is_refused(
    puppet_server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = puppet_server(), puppet_server()
    file = chairs(tmp_path, None)
    text = file.read_text().replace('"puppet"', '"tiny"')
    file.write_text(text)
    monkeypatch.setenv("OPENAI_BASE_URL", one.url)
    folder = run(load(file), runs=tmp_path / "runs", setup=TEN).folder
    monkeypatch.setenv("OPENAI_BASE_URL", other.url)
    with pytest.raises(RunError, match=f"model tiny: {one.url} then, {other.url} now"):
        resume(folder, setup=OFF)
    assert other.requests == 0
    assert resume(folder, setup=Setup(ray="off", anyway=True)).done == 10
    assert other.answered == 50


def test_one_name_at_two_addresses_is_watched_at_both(puppet_server: Serve, tmp_path: Path) -> None:
    one, other = puppet_server(), puppet_server()
    levels = {
        n: {"model": {"model": "puppet", "base_url": s.url}} for n, s in (("a", one), ("b", other))
    }
    file = chairs(tmp_path, None, 2, factors={"where": levels})
    folder = run(load(file), runs=tmp_path / "r", setup=OFF).folder
    assert folder.meta()["served"] == {"puppet": " and ".join(sorted([one.url, other.url]))}
    # A branch looks at one trial's model alone, which is no change.
    for trial in ("0", "1"):
        assert branch(folder, trial, 3, setup=OFF).branches


@pytest.mark.parametrize(("errors", "code"), [({}, 0), ({"400": 0.2}, 1)])
def test_resuming_a_finished_run_does_nothing_and_says_so(
    errors: dict[str, float], code: int, puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(errors=errors)
    file = chairs(tmp_path, server.url)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    command("run", str(file), *runs, code=code)
    requests = server.requests
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "r").rglob("*.parquet")}
    output = command("resume", *runs, code=code).output
    nothing = "nothing is owed." if errors else "all planned trials are done."
    assert f"Nothing to play: {nothing}" in output
    assert "still owed" not in output and server.requests == requests
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "r").rglob("*.parquet")} == before


# --- who plays it


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_taken_over(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.1)
    file = chairs(tmp_path, server.url)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    child = improv("run", str(file), "--name", "one", *runs, "--stages", "2")
    try:
        until(lambda: server.answered >= 8, child)
        output = command("resume", "one", *runs, code=2).output
        assert f"process {child.pid}" in output and "plays this run since" in output
        output = command("branch", "one/0@1", "--runs", str(tmp_path / "r"), code=2).output
        assert "plays this run since" in output
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()
    asked = dict(server.asked)
    journaled = {c.draw.key for c in open_run(tmp_path / "r", "one").journaled().calls()}
    output = command("resume", "one", *runs).output
    assert "took over from" in output and str(child.pid) in output
    assert "10 trials done, 0 failed" in output
    assert journaled and all(server.asked[key] == asked[key] == 1 for key in journaled)


def test_a_run_whose_server_has_gone_is_left_as_it_was(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    stopped = run(load(file), runs=tmp_path / "r", setup=Setup("off", budget=Budget(3)))
    before = stopped.folder.meta()
    server.stop()
    with pytest.raises(EndpointError, match="nothing listens there"):
        resume(stopped.folder, setup=OFF)
    assert stopped.owed and stopped.folder.meta() == before
