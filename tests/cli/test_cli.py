"""The command, used as a person would: a scene is played, shown, and reported on a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from improv.files import shipped
from improv.records import Act, Turn
from improv.storage.runs import open_run
from improv.storage.schemas import trial_row
from improv.storage.shards import Shards
from improv.study.trial import plan
from tests.support.ui import in_room
from tests.support.weather import command


def improv(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, as a shell does."""
    line = [sys.executable, "-m", "improv.cli", *words]
    env = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    env.pop("IMPROV_RUNS", None)
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.ray
def test_a_scene_goes_from_the_command_through_ray_to_parquet_terminal_and_page(
    kettle: Path, tmp_path: Path
) -> None:
    done = improv("run", str(kettle), "--name", "one", cwd=tmp_path)
    assert "1 trials done, 0 failed" in done.stdout
    assert "1/1 trials · 0 failed" in done.stderr
    # Neither Ray nor anything else below improv writes between the lines of progress.
    assert all("trials · " in line for line in re.split(r"[\r\n]+", done.stderr) if line.strip())
    folder = open_run(tmp_path / "runs", "one")
    assert folder.meta()["hosts"][0]["process"] != os.getpid()
    lines = [
        t.text for t in folder.transcripts.read(folder.transcripts.trial("0")["trial"]).lines()
    ]
    assert len(lines) == 6
    runs = ("--runs", str(tmp_path / "runs"))
    shown = command("show", "one/0", "--notes", *runs).stdout
    folded = " ".join(shown.split())
    assert all(" ".join(line.split()) in folded for line in lines)
    assert "(A knock.)" in shown and "✎ author" in shown
    assert "as written" in command("show", "one", *runs).stdout
    assert "one" in improv("list", cwd=tmp_path).stdout
    asked = command("show", "one/0", "--prompts", *runs).stdout
    assert "[card]" in asked and "── shown to Bo" in asked
    os.environ["IMPROV_RUNS"] = str(tmp_path / "runs")
    try:
        app = AppTest.from_file(str(shipped("ui") / "app.py"), default_timeout=120)
        page = in_room(app, "scene").run()
    finally:
        del os.environ["IMPROV_RUNS"]
    assert not page.exception
    assert any(lines[0].split()[0] in str(e.proto) for e in page.get("html"))


def test_validate_says_everything_and_exits_2(kettle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("title: T\nprmise: p\ncast: [{name: Ana}]\n")
    done = improv("validate", str(kettle), "bad.yaml", cwd=tmp_path, code=2)
    assert f"{kettle}: good (1 trial)" in done.stdout.replace("\n", "")
    assert "bad.yaml:2:1: prmise: not a field (did you mean 'premise'?)" in done.stderr
    assert "bad.yaml:3:8: cast.0.role: this field is required" in done.stderr


def test_schema_is_json() -> None:
    schema = orjson.loads(command("schema").stdout)
    assert schema["$defs"]["CharacterSpec"]["properties"]["secret"]["description"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "nothing.yaml"), "no such file or shipped scene"),
        (("show", "../etc"), "is not the name of a run"),
        (("show", "last"), "is not a run"),
        (("resume", "last"), "is not a run"),
        (("run", "parlour", "--mode", "opera"), "model.mode"),
        (("list", "--runs", "gopher://x"), "not an address that holds runs"),
    ],
)
def test_a_wrong_word_gets_an_answer_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in command(*words, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_say_the_command(
    kettle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("run", str(kettle), "--model", "gone.gguf", "--ray", "off")
    assert "gone.gguf: no such file" in command(*words, code=3).stderr


def test_doctor_looks_at_everything(tmp_path: Path) -> None:
    output = improv("doctor", "--ray", "off", cwd=tmp_path).stdout
    for what in ("python", "ray", "mesa", "embedded model", "answers in", "runs folder"):
        assert what in output


def test_model_text_reaches_no_terminal_with_controls(kettle: Path, tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "runs"))
    command("run", str(kettle), "--name", "one", "--ray", "off", *runs)
    folder = open_run(tmp_path / "runs", "one")
    trial = plan(folder.study())[0]
    bad = "\x1b[31mred\x1b]0;title\x07 \u202egnirts\u0000 [bold]x[/bold]"
    act = Act("note", "Ana", bad)
    turn = Turn(trial.id, "planted", 1, 0, "line", "Bo", bad, bad, acts=(act,))
    shards = Shards(folder, "planted")
    row = trial_row(trial, "planted", [turn], [], None, 1.0)
    shards.add(row | {"origin": "branch", "parent": "main"}, [turn], [], [])
    shards.flush()
    from improv.cli import terminal, transcript

    row = next(r for r in folder.tables.read("trials").to_pylist() if r["branch"] == "planted")
    with terminal.out.capture() as caught:
        transcript.show_scene(folder, row, notes=True, prompts=False)
    text = caught.get()
    assert "[bold]x[/bold]" in text
    assert not any(c in text for c in "\x07\u202e\x00") and "\x1b]0" not in text
