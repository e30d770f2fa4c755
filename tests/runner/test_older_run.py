"""A run of an earlier version can be read, scored and reported, and continued on request.

`tests/data/older` has the columns and names of that version in its journal, its run.json and its
tables. Two of its four trials are not played yet.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from improv.cli import app
from improv.runner.provenance import program
from tests.support.places import DATA


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder that holds the older run."""
    shutil.copytree(DATA / "older", tmp_path / "runs" / "older")
    (tmp_path / "runs" / "older" / "shards").mkdir(exist_ok=True)
    return tmp_path / "runs"


def improv(runs: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--runs", str(runs)])


def test_it_is_listed_and_shown(runs: Path) -> None:
    assert "older" in improv(runs, "list").stdout
    trials = improv(runs, "show", "older")
    assert trials.exit_code == 0 and "2 of 4 trials" in trials.stdout
    scene = improv(runs, "show", "older/0", "--notes", "--prompts")
    assert scene.exit_code == 0 and "RUFINA  It is the pass. Shut the door" in scene.stdout


def test_it_is_scored_and_reported(runs: Path, tmp_path: Path) -> None:
    scored = improv(runs, "score", "older", "--judge", "puppet", "--plants", "8")
    assert scored.exit_code == 0, scored.output
    assert "p2l" in scored.stdout and "habit:never_asks" in scored.stdout
    page = tmp_path / "older.md"
    reported = improv(runs, "report", "older", "-o", str(page))
    assert reported.exit_code == 0, reported.output
    assert "brief against none" in page.read_text()


@pytest.mark.parametrize("words", [("branch", "older/0@2"), ("resume", "older")])
def test_playing_on_is_refused_with_both_programs_named(runs: Path, words: tuple[str, ...]) -> None:
    refused = improv(runs, *words, "--ray", "off")
    assert refused.exit_code == 2
    assert f"its code was 1d2cc9f5d51ba017 then, {program()} now" in refused.stderr
    assert "improv replay older" in refused.stderr and "--anyway" in refused.stderr


def test_with_anyway_it_is_played_on_and_nothing_is_asked_again(runs: Path) -> None:
    from improv.storage.runs import open_run

    folder = open_run(runs, "older")
    before = {call.draw: call.started for call in folder.transcripts.all_calls()}
    assert len(before) == 12
    resumed = improv(runs, "resume", "older", "--anyway", "--ray", "off", "--max-calls", "100")
    assert resumed.exit_code == 0, resumed.output
    assert "4 trials done, 0 failed, 4 branches" in resumed.stdout
    after = {call.draw: call.started for call in folder.transcripts.all_calls()}
    assert len(after) == 24 and before.items() <= after.items()
    branched = improv(runs, "branch", "older/0@2", "--anyway", "--ray", "off")
    assert branched.exit_code == 0, branched.output
    replayed = improv(runs, "replay", "older")
    assert "9 scenes come out the same" in replayed.stdout
