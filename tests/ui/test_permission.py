"""A page without the viewer's token: it shows everything, changes nothing, and says what to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from improv.errors import RunError
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring import human_ratings
from improv.study.loader import load
from tests.support.ui import page, read, well
from tests.support.ui_runs import BLINDED_STUDY
from ui.rate import questions
from ui.shared import permission, processes
from ui.start import command as start_command

OFF = Setup(ray="off")


def without_token(app: AppTest, shown: str = "") -> AppTest:
    """Draw the page again as one that shows another token."""
    app.session_state[permission.TOKEN_KEPT] = shown
    return well(app.run())


def forge(app: AppTest, key: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """Click as a forged message does, which does not care that the button is disabled: the page has
    lost its right when the click arrives."""
    app.button(key=key).click()
    monkeypatch.setenv(permission.TOKEN, "the token of a later viewer")
    return well(app.run())


@pytest.mark.parametrize("shown", ["", "another-token", "ä"])
def test_no_run_starts_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    app = page(tmp_path, monkeypatch, room="stagedoor", scene="parlour")
    app.radio(key="door:model").set_value(start_command.PUPPET)
    assert "can only read" not in read(well(app.run()))
    app = without_token(app, shown)
    assert "This page can only read" in read(app)
    assert app.button(key="door:start").disabled
    forge(without_token(app, "a-token"), "door:start", monkeypatch)
    assert read(app).count("This page can only read") == 2  # at the button, and what came of it
    assert not list(tmp_path.iterdir())


def test_without_a_token_of_the_server_nobody_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(tmp_path, monkeypatch, room="stagedoor", scene="parlour")
    monkeypatch.delenv(permission.TOKEN)
    assert without_token(app).button(key="door:start").disabled
    with pytest.raises(RunError, match="can only read"):
        permission.permit()


def test_no_branch_grows_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(load("cold-pass", {"model": "puppet", "turns": 3}), runs=tmp_path, name="w", setup=OFF)
    app = page(tmp_path, monkeypatch, room="multiverse", run="w", branch="main", turn="2")
    assert not app.button(key="grow").disabled
    forge(app, "grow", monkeypatch)
    assert app.button(key="grow").disabled
    assert not (tmp_path / processes.FOLDER).exists()


def test_no_answer_is_kept_from_it(
    kettle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kettle.with_name("blinded.yaml")
    path.write_text(BLINDED_STUDY)
    folder = run(load(path), runs=tmp_path / "runs", name="blind", setup=OFF).folder
    app = page(tmp_path / "runs", monkeypatch, room="rate", run="blind")
    app.text_input(key="rate:typed").set_value("Ann")
    app = well(app.button(key="begin").click().run())
    time.sleep(1.2 * questions.READ)
    forge(app, "answer-1", monkeypatch)
    assert app.button(key="answer-1").disabled and app.button(key="answer-0").disabled
    assert "not saved: This page can only read" in read(app)
    assert not human_ratings.ratings_of(folder, human_ratings.judge_name("Ann"))
