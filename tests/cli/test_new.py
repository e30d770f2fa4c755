"""The files that `improv new` writes are valid, can be played, and replace nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from improv.study.loader import load, load_scene
from tests.support.weather import command


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def played(file: str) -> str:
    return command("run", file, "--model", "puppet", "--ray", "off", "--runs", "runs").output


def test_a_new_scene_is_valid_and_plays(desk: Path) -> None:
    output = command("new", "scene", "last-ferry").output
    assert "written: last-ferry.yaml" in output and "improv validate last-ferry.yaml" in output
    assert "good (1 trial)" in command("validate", "last-ferry.yaml").output
    assert load_scene("last-ferry.yaml").title == "Last ferry"
    assert "1 trials done, 0 failed" in played("last-ferry.yaml")
    text = (desk / "last-ferry.yaml").read_text(encoding="utf-8")
    assert text.count("#") > 10, "it says what to change"


def test_a_new_study_plays_a_shipped_scene_or_the_one_beside_it(desk: Path) -> None:
    command("new", "study", "alone")
    assert load("alone.yaml").scenes == ["night-bus"]
    command("new", "scene", "ferry")
    command("new", "study", "two authors")
    assert "good (60 trials)" in command("validate", "two authors.yaml").output
    study = load("two authors.yaml")
    assert (study.name, study.scenes) == ("two authors", ["ferry"])
    assert study.plan is not None
    assert study.plan.blocks == study.replicates * len(study.scenes)
    assert "60 trials done, 0 failed" in played("two authors.yaml")


def test_nothing_is_written_over(desk: Path) -> None:
    (desk / "ferry.yaml").write_text("mine", encoding="utf-8")
    for kind in ("scene", "study"):
        refused = command("new", kind, "ferry", code=2)
        assert "ferry.yaml: exists already" in refused.output
    assert (desk / "ferry.yaml").read_text(encoding="utf-8") == "mine"
    command("new", "scene", "ferry", "-o", "other.yaml")
    assert load_scene("other.yaml").title == "Ferry"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("scene", "../ferry", "not a name"),
        ("scene", "", "not a name"),
        ("study", "fähre", "letters but those from a to z"),
        ("scene", "no/where", "not a name"),
    ],
)
def test_an_invalid_name_is_refused(desk: Path, kind: str, name: str, message: str) -> None:
    refused = command("new", kind, name, code=2)
    assert message in refused.output
    assert not list(desk.iterdir())


def test_a_folder_that_is_not_there_is_told(desk: Path) -> None:
    refused = command("new", "scene", "ferry", "-o", "nowhere/ferry.yaml", code=2)
    assert "nowhere/ferry.yaml: cannot be written" in refused.output


def test_a_name_may_hold_what_yaml_would_read_otherwise() -> None:
    command("new", "scene", "12.30", "-o", "a.yaml")
    assert load_scene("a.yaml").title == "12.30"
    command("new", "scene", "fähre", "-o", "b.yaml")
    assert load_scene("b.yaml").title == "Fähre"
    command("new", "study", "true", "-o", "c.yaml")
    assert load("c.yaml").name == "true"
