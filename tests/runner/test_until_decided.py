"""`improv run --until-decided`: a study is looked at as its plan says, and stops when decided."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from improv.analysis.loader import analyse_run
from improv.errors import ErrorKind, RunError
from improv.models.budget import Budget
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from tests.support.looks import LOOKS, STUDY, UNTIL, kettles, play, written
from tests.support.run import HOSTED, Serve, improv, until
from tests.support.weather import command

SERVED = {"alpha": 0.6, "effects": {"turns their coat": -4.0}}


def blocks_there(folder: RunFolder) -> int:
    return len(set(folder.tables.read("trials", columns=["block"])["block"].to_pylist()))


def test_a_planted_effect_is_decided_early_and_the_run_says_so(tmp_path: Path) -> None:
    result = play(tmp_path, setup=UNTIL)
    assert result.kind is ErrorKind.DECIDED and result.exit_code == 0
    assert blocks_there(result.folder) <= 18 and result.owed == 60 - result.done
    assert "all planned contrasts are decided after" in result.folder.meta()["stopped"]
    looks = result.folder.history.of("looked")
    assert looks and looks[-1].details["decided"] == ["framed"]
    assert all(look.details["by"] == "run" for look in looks)
    # The report comes to the same, at the same blocks.
    analysis = analyse_run(result.folder).analysis
    assert analysis.standing is not None and analysis.standing.decides_by_looks
    (found,) = analysis.findings
    assert found.rejected and found.estimate.low <= found.estimate.value <= found.estimate.high < 0


def test_where_nothing_is_planted_all_blocks_are_played(tmp_path: Path) -> None:
    result = play(tmp_path, planted="nothing", setup=UNTIL)
    assert not result.stopped and result.done == 60
    (found,) = analyse_run(result.folder).analysis.findings
    assert not found.rejected


def test_a_decided_run_stays_decided_until_all_of_it_is_asked_for(tmp_path: Path) -> None:
    result = play(tmp_path, setup=UNTIL)
    again = resume(result.folder, setup=Setup(ray="off"))
    assert again.kind is ErrorKind.DECIDED and again.done == result.done
    whole = resume(result.folder, setup=Setup(ray="off", to_the_end=True))
    assert whole.done == 60 and not whole.stopped
    (found,) = analyse_run(result.folder).analysis.findings
    assert found.rejected


def test_a_budget_stops_it_and_a_resume_goes_on_to_the_decision(tmp_path: Path) -> None:
    poor = Setup(ray="off", until_decided=True, budget=Budget(calls=30))
    result = play(tmp_path, setup=poor)
    assert result.kind is ErrorKind.BUDGET and result.folder.history.of("looked") == []
    again = resume(result.folder, setup=Setup(ray="off"))
    assert again.kind is ErrorKind.DECIDED and again.done < 60


@pytest.mark.parametrize("hosted", HOSTED)
def test_a_killed_run_looks_again_when_it_is_resumed(
    hosted: tuple[str, ...], puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(**SERVED)
    file, root = written(tmp_path), tmp_path / "runs"
    words = ("run", str(file), "--runs", str(root), "--name", "a", "--until-decided", *hosted)
    child = improv(*words, "--model", "puppet", "--base-url", server.url)
    until(lambda: server.answered >= 30, child)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    output = command("resume", "a", "--runs", str(root), "--ray", "off").output
    assert "all planned contrasts are decided after" in output
    folder = open_run(root, "a")
    assert folder.history.problems == () and blocks_there(folder) < 30
    assert [e.what for e in folder.history.entries].count("played") == 2


def test_ctrl_c_stops_it_between_looks(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server(**SERVED, latency=0.05)
    file, root = written(tmp_path), tmp_path / "runs"
    words = ("run", str(file), "--runs", str(root), "--name", "a", "--ray", "off")
    child = improv(*words, "--until-decided", "--model", "puppet", "--base-url", server.url)
    until(lambda: server.answered >= 10, child)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130 and "stopped: interrupted" in err, (out, err)


def test_the_command_prints_what_each_look_said(tmp_path: Path) -> None:
    file, root = written(tmp_path), tmp_path / "runs"
    words = ("run", str(file), "--planted", "effect", "--runs", str(root), "--ray", "off")
    output = command(*words, "--until-decided").output
    assert "of 30 planned blocks: 1 of 1 contrasts decided" in output


def test_a_plan_without_looks_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="declares no looks"):
        play(tmp_path, STUDY.replace(LOOKS, ""), setup=UNTIL)
    assert not (tmp_path / "runs" / "a").exists()


def test_an_outcome_that_a_judge_scores_is_refused(tmp_path: Path) -> None:
    study = STUDY.replace("{measure: sign}", "{measure: state}")
    with pytest.raises(RunError, match="a judge scores after the run"):
        play(tmp_path, study, setup=UNTIL)


def test_a_measure_that_hosts_do_not_score_is_looked_at_too(tmp_path: Path) -> None:
    study = STUDY.replace("{measure: sign}", "{of: collision, measure: dispersion}").replace(
        "planted:", "regenerations: [{at: [2], draws: 4}]\nplanted:"
    )
    loaded = kettles(tmp_path, study)
    result = run(loaded, runs=tmp_path / "runs", name="a", setup=UNTIL)
    assert result.folder.history.of("looked")
    assert analyse_run(result.folder, study=load(tmp_path / "kettles.yaml")).analysis.findings
