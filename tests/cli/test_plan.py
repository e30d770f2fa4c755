"""`improv plan`: what is put elsewhere before the first call, and compared afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from improv.storage.runs import open_run
from tests.support.looks import LOOKS, STUDY, written
from tests.support.weather import command


def test_a_registered_run_is_recognised_and_another_one_is_not(tmp_path: Path) -> None:
    file, runs, kept = written(tmp_path), str(tmp_path / "runs"), str(tmp_path / "kept.json")
    few = ("--planted", "effect", "--replicates", "4")
    command("plan", str(file), *few, "-o", kept)
    row = json.loads(Path(kept).read_text())
    assert row["contrasts"] == ["framed"] and row["blocks"] == 30 and row["trials"] == 8
    command("run", str(file), *few, "--runs", runs, "--name", "a", "--ray", "off")
    meta = open_run(runs, "a").meta()
    assert [row["plan_hash"], row["trials_hash"]] == [meta["plan_hash"], meta["trials_hash"]]
    assert (
        "is the run that was registered"
        in command("plan", "a", "--check", kept, "--runs", runs).output
    )
    written(tmp_path, STUDY.replace(LOOKS, ""))
    command("run", str(file), *few, "--runs", runs, "--name", "b", "--ray", "off")
    output = command("plan", "b", "--check", kept, "--runs", runs, code=1).output
    assert "plan hash:" in output and "registered" in output


def test_a_registration_that_is_made_afterwards_is_seen(tmp_path: Path) -> None:
    file, runs, kept = written(tmp_path), str(tmp_path / "runs"), tmp_path / "kept.json"
    few = ("--planted", "effect", "--replicates", "2")
    command("run", str(file), *few, "--runs", runs, "--name", "a", "--ray", "off")
    printed = command("plan", str(file), *few).output
    kept.write_text(json.dumps(json.loads(printed) | {"made": "2999-01-01T00:00:00Z"}))
    output = command("plan", "a", "--check", str(kept), "--runs", runs, code=1).output
    assert "after the run was begun" in output


def test_what_is_no_registration_is_refused(tmp_path: Path) -> None:
    runs, file = str(tmp_path / "runs"), written(tmp_path)
    command(
        "run", str(file), "--planted", "effect", "--replicates", "1", "--runs", runs, "--ray", "off"
    )
    for text in ("", "[]", "{}", '{"improv-plan": 1}'):
        (tmp_path / "odd.json").write_text(text)
        output = command(
            "plan", "last", "--check", str(tmp_path / "odd.json"), "--runs", runs, code=None
        ).output
        assert "odd.json" in output and "Traceback" not in output
