"""The whole analysis by commands: two runs are played, scored, reported and compared."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from tests.conftest import KETTLE
from tests.support.weather import command

STUDY = """\
study: kettles
scenes: [kettle.yaml]
set: {turns: 5, author: {live: false, frame: ""}}
factors:
  author:
    none: {}
    framed: {author: {frame: Nobody turns their coat.}}
replicates: 6
plan:
  hypothesis: A frame holds characters.
  outcome: {measure: state}
  contrasts: [{name: framed against none, plus: {author: framed}, minus: {author: none}}]
  blocks: 6
planted:
  effect: {model: {model: puppet, puppet: {alpha: 0.5, beta: 0.2, judge: {}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one study: `one` and `two` are judged, `three` is not."""
    folder = tmp_path_factory.mktemp("laboratory")
    (folder / "kettle.yaml").write_text(KETTLE)
    (folder / "kettles.yaml").write_text(STUDY)
    (folder / "later.yaml").write_text(STUDY.replace("A frame holds", "Frames may well hold"))
    for name, more in (("one", []), ("two", ["--turns", "7"]), ("three", [])):
        words = ["run", str(folder / "kettles.yaml"), "--planted", "effect", "--name", name, *more]
        command(*words, "--ray", "off", "--runs", str(folder / "runs"))
    return folder


def judged(folder: Path, name: str) -> RunFolder:
    """The run with its states judged. The judge is asked once, however often this is called."""
    words = ["score", name, "--measure", "state", "--judge", "puppet", "--plants", "8"]
    command(*words, "--runs", str(folder / "runs"))
    return open_run(str(folder / "runs"), name)


def written(folder: Path, *words: str) -> str:
    out = folder / "page.md"
    command(*words, "--runs", str(folder / "runs"), "-o", str(out))
    return out.read_text()


def test_score_makes_the_verdicts_that_a_plan_waits_for(folder: Path) -> None:
    before = written(folder, "report", "three")
    assert "there are no scores of what the plan reads" in before
    assert "at α = 0.05" not in before.split("## The plan")[0]
    run = judged(folder, "one")
    lines = Counter(
        t["kind"] == "line" and t["turn"] > 0 and t["speaker"] == "Ana"
        for t in run.tables.read("turns").to_pylist()
    )
    scores = [s for s in run.tables.read("scores").to_pylist() if s["measure"].startswith("state")]
    assert len(scores) == lines[True] > 8 and all(s["value"] in (0, 0.5, 1) for s in scores)
    verdicts = run.tables.read("verdicts").to_pylist()
    planted = Counter(v["truth"] for v in verdicts if v["truth"] is not None)
    assert planted == {0.0: 16, 1.0: 16}, "so many of each truth for each condition"
    assert all(v["value"] == v["truth"] for v in verdicts if v["truth"] is not None)
    judged(folder, "one")
    assert len(run.tables.read("verdicts")) == len(verdicts), "nothing is asked for twice"
    after = written(folder, "report", "one")
    assert "Planned result" in after and "there are no scores" not in after
    assert re.search(r"framed against none: −?[\d.]+ \\\[−?[\d.]+, −?[\d.]+\\\]", after)


def test_a_plan_that_is_made_later_is_exploratory_and_says_so(folder: Path) -> None:
    judged(folder, "one")
    own = written(folder, "report", "one", "--plan", str(folder / "kettles.yaml"))
    again = written(folder, "report", "one")
    # Each report is a look at the result, which the next one counts and lists.
    looks = re.compile(r"looked at .*|\| \d+ \| .* \| looked \|.*\n|Hash of the last entry.*")
    assert looks.search(own) and looks.sub("", own) == looks.sub("", again)
    assert "## Planned result" in own
    other = written(folder, "report", "one", "--plan", str(folder / "later.yaml"))
    assert "## Result (exploratory)" in other and "Frames may well hold" in other
    assert "is not the one whose hash was stored with the run before its first call" in other
    assert "Not decided." in other and "at α" not in other.split("## ")[1]
    hashes = [load(folder / f"{name}.yaml").plan for name in ("kettles", "later")]
    for plan in hashes:
        assert plan is not None and plan.hash in other
    gone = command(
        "report", "one", "--plan", str(folder / "no.yaml"), "--runs", str(folder / "runs"), code=2
    )
    assert "no.yaml" in gone.output


def test_runs_of_one_plan_stand_side_by_side(folder: Path) -> None:
    for name in ("one", "two"):
        judged(folder, name)
    page = written(folder, "compare", "one", "two")
    assert "One plan, several runs." in page
    rows = dict(re.findall(r"^\| (one|two) \| kettles \| puppet \| (.+) \|$", page, re.M))
    assert {name: row.split(" | ")[0] for name, row in rows.items()} == {"one": "12", "two": "12"}
    table = page.split("## framed against none")[1].split("## ")[0]
    shown = dict(re.findall(r"^\| (one|two) \| (\S+) ", table, re.M))
    (value,) = re.findall(r"framed against none: (−?[\d.]+) ", written(folder, "report", "two"))
    assert shown["two"] == value != shown["one"]
    html = folder / "page.html"
    command("compare", "one", "two", "--runs", str(folder / "runs"), "-o", str(html))
    assert html.read_text().count("<svg") >= 1
