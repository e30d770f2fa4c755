"""The Start room: its choices make a study that loads, a run is started once, and the page shows
the lines as they are played."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from improv.errors import ImprovError
from improv.files import shipped
from improv.records import Draw
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.journal import Journal
from improv.storage.lock import RunLock
from improv.storage.runs import open_run
from improv.study.loader import load, load_scene
from improv.study.model_spec import Model
from improv.study.trial import plan
from tests.support.call import made_call
from tests.support.ui import HOSTILE, address, bare_run, page, read, shown, the_study, well
from ui.shared import processes
from ui.shared.permission import Permit
from ui.start import command as start_command
from ui.start import progress
from ui.start.command import EMBEDDED, ENDPOINT, PUPPET, Bill

MAY = Permit("a test may")
SCENES = sorted(file.stem for file in shipped("scenes").glob("*.yaml"))
_ENDPOINT_BILL = Bill(
    scene="cold-pass",
    arms=("none",),
    model=ENDPOINT,
    trials=1,
    turns=3,
    seed=0,
    called="m",
    base_url="http://127.0.0.1:1/v1",
)


@pytest.mark.parametrize("name", SCENES)
def test_what_is_chosen_is_a_study(name: str, tmp_path: Path) -> None:
    scene = load_scene(name)
    arms = start_command.arms(scene)
    assert {"as written", "none", "brief", "placebo", "live author"} <= set(arms)
    bill = Bill(scene=name, arms=tuple(arms), model=PUPPET, trials=2, turns=5, seed=7)
    file = tmp_path / "study.yaml"
    file.write_text(start_command.study_file(bill, scene))
    study = load(file)
    trials = plan(study)
    assert len(trials) == bill.planned == 2 * len(arms)
    assert [c.name for c in study.conditions] == arms
    assert (study.seed, {t.scene.turns for t in trials}) == (7, {5})
    under = {t.condition: t.scene for t in trials}
    assert all(s.model_of(c.name).in_process for s in under.values() for c in s.cast)
    assert (under["none"].author.frame, under["none"].author.live) == ("", False)
    assert under["live author"].author.live
    assert under["placebo"].author.frame == scene.author.contexts["placebo"].frame
    assert "end" not in under["live author"].author.may


def test_a_model_is_everybodys_and_its_address_is_the_commands_alone(
    kettle: Path, tmp_path: Path
) -> None:
    text = kettle.read_text().replace("name: Bo", "name: Bo\n    model: dear-one", 1)
    kettle.write_text(
        text.replace("model: puppet", "model: {model: x, base_url: http://a.example}")
    )
    scene = load_scene(kettle)
    assert scene.model_of("Bo").model == "dear-one"
    file = tmp_path / "study.yaml"

    def played(bill: Bill) -> list[Model]:
        file.write_text(start_command.study_file(bill, scene))
        made = load(file).cells[0][2]
        return [made.model_of(role) for role in ("author", "Ana", "Bo")]

    for model in (EMBEDDED, PUPPET):
        local = played(
            replace(_ENDPOINT_BILL, scene=str(kettle), model=model, called="", base_url="")
        )
        assert all(m.embedded or m.in_process for m in local)
    there = replace(_ENDPOINT_BILL, scene=str(kettle))
    assert "127.0.0.1" not in start_command.study_file(there, scene)
    words = start_command.command(there, str(file), "r", "/runs")
    assert words[-2:] == ["--model=m", "--base-url=http://127.0.0.1:1/v1"]
    assert "'" not in start_command.shell_line(words[:3])


def test_what_is_missing_is_said() -> None:
    whole = _ENDPOINT_BILL
    assert not start_command.still_missing(whole)
    for field, value in {"arms": (), "called": " ", "base_url": "file:///etc/passwd"}.items():
        assert start_command.still_missing(Bill(**{**vars_of(whole), field: value})), field


def vars_of(bill: Bill) -> dict[str, object]:
    return {name: getattr(bill, name) for name in Bill.__dataclass_fields__}


def test_lines_in_flight_are_those_that_are_played(tmp_path: Path) -> None:
    patch = {"model": {"model": "puppet", "puppet": {"garble": 0.5, "mute": 0.2}}, "turns": 12}
    folder = run(load("cold-pass", patch), runs=tmp_path, name="r", setup=Setup(ray="off")).folder
    trial = folder.transcripts.trial("0")["trial"]
    scene = folder.study().cells[0][2]
    calls = folder.transcripts.calls(trial)
    for count in (0, 5, len(calls)):
        said = progress.so_far(scene, calls[:count])
        last = max((c.draw.turn for c in calls[:count]), default=0)
        rows = [t for t in folder.transcripts.read(trial).turns if t.turn <= last]
        assert [(s.turn, s.kind, s.speaker, s.text) for s in said] == [
            (t.turn, "line" if t.kind == "written" else t.kind, t.speaker, t.text) for t in rows
        ]


LIVES = "import sys, time; print('here', flush=True); time.sleep(600)"


def until(wanted: bool, look: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while look() is not wanted:
        assert time.monotonic() < end
        time.sleep(0.05)


def known(root: str, name: str) -> processes.Started:
    state = processes.process_state(root, name)
    assert state is not None
    return state


def test_a_process_is_started_once_and_known_until_it_ends(tmp_path: Path) -> None:
    root, command = str(tmp_path), [sys.executable, "-c", LIVES]
    assert processes.process_state(root, "r") is None
    assert not processes.interrupt(MAY, root, "r")
    assert processes.start(MAY, root, "r", command, {"host": "h"})
    assert not processes.start(MAY, root, "r", command, {})

    def alive() -> bool:
        return known(root, "r").alive

    assert alive()
    until(True, lambda: "here" in known(root, "r").said)
    state = known(root, "r")
    assert (state.more, state.command) == ({"host": "h"}, tuple(command))
    assert processes.interrupt(MAY, root, "r")
    until(False, alive)
    ended = known(root, "r")
    assert "KeyboardInterrupt" in ended.said
    assert ended.code not in (None, 0)
    assert not processes.interrupt(MAY, root, "r")
    assert processes.start(MAY, root, "r", [sys.executable, "-c", ""], {})
    until(False, alive)
    assert known(root, "r").code == 0


def test_nothing_is_written_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".viewer").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ImprovError, match="is a symbolic link"):
        processes.start(MAY, str(tmp_path), "r", [sys.executable, "-c", ""], {})
    with pytest.raises(ImprovError, match="a folder of this machine"):
        processes.start(MAY, "s3://bucket/runs", "r", [sys.executable, "-c", ""], {})
    with pytest.raises(ImprovError, match="cannot have this name"):
        processes.start(MAY, str(tmp_path / "elsewhere"), "../r", [sys.executable, "-c", ""], {})
    assert not [f for f in (tmp_path / "elsewhere").rglob("*") if f.is_file()]


@pytest.mark.parametrize(
    "description",
    [
        "[" * 200_000,
        "[]",
        '{"command": ["x"], "pid": Infinity, "at": 1}',
        '{"command": ["x"], "pid": 1e300, "at": 1}',
        '{"command": ["x"], "pid": -1, "at": 1}',
        '{"command": ["x"], "pid": 7, "at": 1e300}',
        '{"command": 5, "pid": 7, "at": 1}',
    ],
)
def test_a_description_that_cannot_be_is_no_process(description: str, tmp_path: Path) -> None:
    folder = processes.process_folder(str(tmp_path)).path
    (folder / "r.json").write_text(description)
    (folder / "r.log").write_text("here")
    assert processes.process_state(str(tmp_path), "r") is None
    assert not processes.interrupt(MAY, str(tmp_path), "r")


@pytest.mark.parametrize("name", ["r.log", "r.json"])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_a_file_of_a_process_is_no_link(name: str, kind: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    place = processes.process_folder(str(tmp_path)).path / name
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(victim)
    else:
        os.link(victim, place)
    assert processes.process_state(str(tmp_path), "r") is None
    with contextlib.suppress(ImprovError):
        processes.start(MAY, str(tmp_path), "r", [sys.executable, "-c", "print(1)"], {})
        # A whole file is replaced, and what had the same content keeps it.
        assert (name, kind) == ("r.json", "hard link")
    assert victim.read_text() == "precious"


def test_the_choices_are_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(tmp_path, monkeypatch, room="stagedoor", scene="parlour")
    assert app.selectbox(key="door:scene").value == "parlour"
    assert app.code[0].value.startswith(f"improv run {tmp_path}/.viewer/")
    app.pills(key="door:arms:parlour").set_value(["none", "placebo"])
    app.number_input(key="door:trials").set_value(3)
    app.radio(key="door:model").set_value(PUPPET)
    well(app.run())
    assert "6 scenes, 90 lines in all" in read(app)
    assert '"placebo": {"author": {"context": "placebo"' in app.code[1].value
    assert "replicates: 3" in app.code[1].value
    assert not list(tmp_path.iterdir())  # to look is not to write

    app.radio(key="door:model").set_value(ENDPOINT)
    assert "Write the name of the model" in read(well(app.run()))
    assert app.button(key="door:start").disabled
    app.selectbox(key="door:scene").select("weighing")
    assert address(well(app.run()))["scene"] == "weighing"


def test_a_file_is_named_by_hand_and_never_by_a_link(
    kettle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    app = page(runs, monkeypatch, room="stagedoor", scene=str(kettle))
    assert "scene" not in address(app) or address(app)["scene"] in SCENES
    assert str(kettle) not in app.code[1].value
    app.selectbox(key="door:scene").select("A file…")
    well(app.run())
    app.text_input(key="door:file").set_value("no-such.yaml")
    assert "there is no such file" in read(well(app.run()))
    app.text_input(key="door:file").set_value(str(kettle))
    assert str(kettle) in well(app.run()).code[1].value
    kettle.write_text(kettle.read_text().replace("turns: 6", "turns: soon"))
    assert "turns" in read(well(app.run()))


def test_a_run_that_somebody_plays_is_watched_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bare_run(tmp_path, "playing", status="playing")
    trial = plan(the_study())[0].id
    journal = Journal(folder.journals, "host.jsonl")

    def say(turn: int, who: str, reply: str, purpose: str = "line") -> None:
        draw = Draw(trial, "main", turn, who, purpose)  # type: ignore[arg-type]
        call = made_call(draw, model="puppet", endpoint="", reply=reply, started=time.time())
        journal.append(call, ())

    say(1, "author", '{"note_to": "Rufina", "note": "Hold the lamp."}', "author")
    say(1, "Rufina", "RUFINA: Drink the soup.")
    with RunLock(folder.local):
        app = page(tmp_path, monkeypatch, room="stagedoor", run="playing")
        assert "Drink the soup." in read(app)
        assert "RUFINA:" not in read(app)
        assert "Note to Rufina: Hold the lamp." in read(app)
        assert app.button(key="door:stop")
        say(2, "Eliseo", HOSTILE)
        well(app.run())
        assert "document.title='owned'" in read(app)
        assert "<script" not in shown(app)
    # Nobody plays it any more, and it was not started here: there is nothing to watch.
    assert "Choose a scene" in read(well(app.run()))


def test_why_the_curtain_did_not_rise_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = "raise SystemExit('the <b>weights</b> are not installed')"
    processes.start(MAY, str(tmp_path), "r1", [sys.executable, "-c", fails], {})
    until(False, lambda: known(str(tmp_path), "r1").alive)
    app = page(tmp_path, monkeypatch, room="stagedoor", run="r1")
    assert "The curtain did not rise" in read(app)
    assert "&lt;b&gt;weights" in shown(app)
    app.button(key="door:another").click()
    assert "run" not in address(well(app.run()))


def test_a_run_that_was_stopped_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_run(tmp_path, "r2", status="stopped", trials=1)
    open_run(tmp_path, "r2").update({"stopped": "interrupted"})
    processes.start(
        MAY, str(tmp_path), "r2", [sys.executable, "-c", ""], {"host": "models.example"}
    )
    until(False, lambda: known(str(tmp_path), "r2").alive)
    app = page(tmp_path, monkeypatch, room="stagedoor", run="r2")
    assert "Stopped: interrupted" in read(app)
    assert app.button(key="door:resume")
    assert start_command.resumed("r2", "/runs", "models.example")[-1] == "--trust=models.example"
