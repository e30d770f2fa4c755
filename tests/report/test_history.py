"""Ways to get a finding that is none: each is said on the report's first screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from improv.report.doubts import decisions, undecided_reasons
from improv.report.history import add_history, history_doubts, history_notes
from improv.report.material import Material, read_material
from improv.report.page import Page
from improv.report.run_report import report
from improv.runner.launch import resume
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.history import HISTORY_FILE, Entry, Past
from improv.storage.run_folder import RunFolder
from improv.study.plan import Plan
from tests.support.looks import LOOKS, PUPPETS, STUDY, kettles, play

FIXED = STUDY.replace(LOOKS, "")
JUDGED = FIXED.replace("{measure: sign}", "{measure: state}").replace(
    "puppet: {alpha: 0.6,", "puppet: {judge: {sensitivity: 0.9, specificity: 0.95}, alpha: 0.6,"
)


def first_screen(material: Material) -> str:
    return report(material).as_markdown().split("## The plan")[0].replace("\\", "")


def verdicts(material: Material) -> list[str]:
    return [str(decision.verdict) for decision in decisions(material)]


def reasons(material: Material) -> str:
    return " ".join(undecided_reasons(material))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return play(tmp_path_factory.mktemp("whole"), FIXED).folder


def test_the_whole_study_is_decided_and_tells_its_history(whole: RunFolder) -> None:
    material = read_material(whole)
    assert verdicts(material) == ["Shown"] and not material.notes
    page = report(material).as_markdown()
    assert "## What was done with this run" in page
    assert "| begun |" in page and "| ended |" in page and "by: report" in page


def test_a_part_of_a_study_decides_nothing_and_shows_no_p(tmp_path: Path) -> None:
    folder = play(tmp_path, FIXED, setup=Setup(ray="off", limit=40)).folder
    material = read_material(folder)
    assert verdicts(material) == ["Not decided"]
    page = first_screen(material)
    assert "20 of 30 planned blocks are there" in page and "p =" not in page and "p <" not in page
    assert all(decision.contrast.p != decision.contrast.p for decision in decisions(material))
    assert folder.history.of("looked")[-1].details["p"] is False
    # The rest is played, and now it decides.
    command_again = resume(folder, setup=PUPPETS)
    assert command_again.done == 20 * 2


def test_blocks_that_were_taken_out_leave_nothing_decided(tmp_path: Path) -> None:
    folder = play(tmp_path, FIXED).folder
    gone = {f"kettle/{n}" for n in (3, 8, 21)}
    trials = {
        row["trial"] for row in folder.tables.read("trials").to_pylist() if row["block"] in gone
    }
    assert len(trials) == 6
    for name in ("turns", "scores", "calls", "trials"):
        table = folder.tables.read(name)
        folder.tables.write(
            name, table.filter([t not in trials for t in table["trial"].to_pylist()])
        )
    material = read_material(folder)
    assert material.differences == [], "whoever did it wrote the checksums too"
    assert verdicts(material) == ["Not decided"]
    assert "27 of 30 planned blocks are there, and only the first 3" in reasons(material)
    assert "was written after the last entry of the run's history" in reasons(material)


def test_a_plan_that_came_later_is_exploratory(whole: RunFolder, tmp_path: Path) -> None:
    plan = kettles(tmp_path, FIXED.replace("blocks: 30", "blocks: 20")).plan
    material = read_material(whole, plan)
    assert verdicts(material) == ["Not decided"]
    assert "is not the one whose hash was stored" in first_screen(material)
    looked = whole.history.of("looked")[-1]
    assert isinstance(plan, Plan) and looked.details["plan"] == plan.hash


def test_a_plan_whose_hash_was_put_into_run_json_is_seen(tmp_path: Path) -> None:
    folder = play(tmp_path, FIXED).folder
    plan = kettles(tmp_path, FIXED.replace("blocks: 30", "blocks: 20")).plan
    assert plan is not None
    folder.update({"plan_hash": plan.hash})
    material = read_material(folder, plan)
    assert material.differences == []
    assert verdicts(material) == ["Not decided"]
    assert "run.json has another plan_hash than the run had when it was begun" in reasons(material)


def test_the_same_trials_in_another_run_are_said(tmp_path: Path) -> None:
    play(tmp_path, FIXED, name="first")
    play(tmp_path, FIXED.replace("blocks: 30", "blocks: 20"), name="second")
    other = FIXED.replace("study: kettles", "study: pots").replace("replicates: 30", "seed: 5")
    play(tmp_path, other, name="third")
    folder = play(tmp_path, FIXED, name="best").folder
    page = first_screen(read_material(folder))
    assert "in other runs of this folder" in page
    assert "first (" in page
    assert "with another plan" in page.split("second")[1].split(";")[0]
    assert "another seed" in page.split("third")[1].split("scenes done")[0]


def test_a_redo_is_counted_and_the_first_verdicts_stay(tmp_path: Path) -> None:
    folder = play(tmp_path, JUDGED).folder
    judges = Judges("puppet", plants=20)
    score(folder, ["state"], judges)
    before = folder.tables.read("verdicts").to_pylist()
    found = [c.estimate for c in read_material(folder).analysis.findings]
    for _ in range(2):
        assert score(folder, ["state"], judges, redo=True).asked == len(before)
    assert folder.tables.read("verdicts").to_pylist() == before
    material = read_material(folder)
    assert [c.estimate for c in material.analysis.findings] == found
    said = " ".join(material.notes)
    assert "state was scored 3 times by puppet; first verdicts are used" in said
    assert f"{2 * len(before):,} verdicts were asked for again" in said


def test_another_judge_than_the_first_decides_nothing(tmp_path: Path) -> None:
    plan = kettles(tmp_path, JUDGED).plan
    judged = {"judged": ["state"], "redo": False}
    past = Past(
        kept=True,
        entries=(
            Entry(1, "", "scoring", judged | {"judges": ["first"]}, "a"),
            Entry(2, "", "scoring", judged | {"judges": ["second"]}, "b"),
        ),
    )
    (doubt,) = history_doubts(past, {"scored": {"state": {"judge": "second"}}}, plan)
    assert "judged first by first, and its scores are now those of second" in doubt.sentence
    # Scored again with the first judge, which asks nothing twice, it decides again.
    meta = {"scored": {"state": {"judge": "first"}}}
    assert not list(history_doubts(past, meta, plan))
    assert "state was also scored by second." in history_notes(past, meta, [])


@pytest.mark.parametrize("odd", [None, 7, "x", [1, {}], {"a": []}])
def test_an_entry_of_anybody_is_no_crash(odd: object) -> None:
    names = ("judges", "judged", "files", "changes", "redone", "differ", "by", "tables", "p")
    kinds = ("begun", "scoring", "scored", "looked", "changed", "found changed", "branched", "?")
    entries = [Entry(i, "", kind, dict.fromkeys(names, odd), "") for i, kind in enumerate(kinds)]
    past = Past(kept=True, entries=tuple(entries))
    meta = {"scored": {"state": {"judge": "x"}}}
    page = Page("A run")
    add_history(page, past)
    assert list(history_doubts(past, meta, None)) is not None
    assert history_notes(past, meta, []) is not None and "found changed" in page.as_markdown()


def test_a_study_that_was_changed_and_played_on_is_seen(tmp_path: Path) -> None:
    folder = play(tmp_path, FIXED, setup=Setup(ray="off", limit=20)).folder
    file = folder.local / "study.yaml"
    file.write_text(file.read_text().replace("turns their coat", "turns his coat"))
    resume(folder, setup=Setup(ray="off", anyway=True))
    material = read_material(folder)
    assert verdicts(material) == ["Not decided"]
    assert "changed while it was played" in reasons(material)


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_history_that_was_bent_decides_nothing(tmp_path: Path, how: str) -> None:
    folder = play(tmp_path, FIXED).folder
    read_material(folder)
    file = folder.local / HISTORY_FILE
    rows = file.read_text().splitlines(keepends=True)
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_text("".join(rows[:-1]))
    else:
        file.write_text("".join(row.replace('"by":"report"', '"by":"nobody"') for row in rows))
    material = read_material(folder)
    assert verdicts(material) == ["Not decided"]
    assert "What was done with this run is not known" in reasons(material)


def test_a_history_that_is_removed_with_its_trace_in_run_json_is_seen(tmp_path: Path) -> None:
    folder = play(tmp_path, FIXED).folder
    (folder.local / HISTORY_FILE).unlink()
    meta = {key: value for key, value in folder.meta().items() if key != "history"}
    (folder.local / "run.json").write_text(json.dumps(meta))
    score(folder, ["marker"])  # writes run.json again, with its checksum
    material = read_material(folder)
    assert material.differences == []
    assert verdicts(material) == ["Not decided"]
    assert "run.json was changed by something else than improv" in reasons(material)


def test_a_run_of_an_older_version_says_that_it_has_no_history(tmp_path: Path) -> None:
    folder = play(tmp_path, FIXED).folder
    (folder.local / HISTORY_FILE).unlink()
    meta = {key: value for key, value in folder.meta().items() if key not in ("history", "cells")}
    (folder.local / "run.json").write_text(json.dumps(meta))
    (folder.local / "checksums.json").unlink()
    material = read_material(folder)
    assert verdicts(material) == ["Shown"]
    assert "This run has no history" in first_screen(material)
    assert not (folder.local / HISTORY_FILE).exists()
