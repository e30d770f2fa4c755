"""The shipped studies: each is valid, is played with puppets, and gets a report.

`make studies` does the same at full size and under more seeds.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from improv.analysis.decision import DoubtKind
from improv.report.material import read_material
from improv.report.run_report import report
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.study.design import with_replicates
from improv.study.loader import load
from improv.study.plan import EquivalenceSpec
from improv.study.trial import models_of, plan
from tests.support.places import TOP
from tools.studies import Played, Row, faults_of, page, rehearsed, smaller, truths

ROOT = TOP
STUDIES = ROOT / "scenes" / "studies"
NAMES = sorted(f.stem for f in STUDIES.glob("*.yaml") if f.stem != "demo")
CHEAP = ("apparent-deception", "physics")


def test_the_twelve_studies_ship() -> None:
    assert len(NAMES) == 12


@pytest.mark.parametrize("name", NAMES)
def test_a_study_says_what_it_tests_and_what_would_count_against_it(name: str) -> None:
    study = load(STUDIES / f"{name}.yaml")
    assert study.plan is not None and study.name == name
    assert study.plan.controls, "nothing in it would catch a false positive"
    assert len(study.about) > 300 and "against" in study.about.lower()
    assert study.question.endswith("?")
    asked = study.plan.outcome
    assert bool(study.plan.contrasts) == (asked.of != "phrasing")
    for control in study.plan.controls:
        if isinstance(control.check, EquivalenceSpec):
            assert control.check.margin <= 0.2
    # As many blocks are played as the plan says.
    slugs = len(study.scenes)
    assert study.plan.blocks == slugs * study.replicates


@pytest.mark.parametrize("name", NAMES)
def test_planted_truths_play_with_puppets_and_leave_the_plan_alone(name: str) -> None:
    file = STUDIES / f"{name}.yaml"
    written = load(file)
    assert {"effect", "nothing"} <= set(truths(name))
    puppets = []
    for truth in truths(name):
        study = with_replicates(load(file, planted=truth), 1)
        assert study.plan == written.plan and study.conditions == written.conditions
        assert all(model.in_process for model in models_of(plan(study)))
        puppets.append({scene.model.model_dump_json() for _, _, scene in study.cells})
    assert all(a != b for a, b in pairwise(puppets)), "what is planted differs from nothing"


@pytest.mark.parametrize("name", CHEAP)
def test_a_small_study_plays_and_is_reported_without_a_leak(name: str, tmp_path: Path) -> None:
    whole = load(STUDIES / f"{name}.yaml", planted="effect")
    assert whole.plan is not None
    study = smaller(whole, whole.plan, 1)
    assert study.plan is not None
    result = run(study, runs=tmp_path / "runs", setup=Setup("off"))
    assert (result.failed, result.owed, result.broken) == (0, 0, 0)
    material = read_material(result.folder)
    assert material.exposure.clean and material.exposure.prompts
    assert material.analysis.planned
    few = {DoubtKind.PARTIAL, DoubtKind.CONTROL, DoubtKind.TOO_FEW}
    assert {doubt.kind for doubt in material.analysis.doubts} <= few
    assert [c.name for c in material.analysis.findings] == [c.name for c in study.plan.contrasts]
    assert all(c.estimate.n for c in material.analysis.findings)
    assert len(material.analysis.checks) == len(study.plan.controls)
    page = report(material)
    assert study.plan.hash in page.as_markdown()
    assert study.plan.hypothesis.split()[0] in page.as_markdown()
    assert "<script" not in page.as_html()


def test_what_is_planted_is_found_and_nothing_is_not() -> None:
    # Below eight blocks no sign-flip test of three contrasts can reject anything.
    there = rehearsed("twenty-questions", "effect", 1, replicates=8)
    assert not there.faults and there.calls and there.branches == 8 * 4 * 10
    assert len(there.rows) == 4 and all(row.right for row in there.rows)
    gone = rehearsed("twenty-questions", "nothing", 1, replicates=8)
    assert not gone.faults
    assert not any(row.found for row in gone.rows if row.kind == "contrast")


def test_what_two_seeds_show_is_a_fault_and_what_one_of_two_shows_is_marked() -> None:
    def played(seed: int, shown: bool) -> Played:
        row = Row("contrast", "one against other", "0.1 [0, 0.2]", 0.03, shown, False)
        return Played("a-study", "nothing", seed, (row,))

    assert not faults_of([played(1, False), played(2, True)])
    assert len(faults_of([played(1, True), played(2, True)])) == 1
    assert len(faults_of([played(1, True)])) == 1
    text = "\n".join(page([played(1, False), played(2, True)]))
    assert text.count("**found**") == 1 and "1 of 2 runs found something" in text
    leaky = Played("a-study", "nothing", 1, (), faults=("an arm saw another's text: 1 leaks",))
    assert len(faults_of([leaky, played(2, False)])) == 1
    assert "1 leaks" in "\n".join(page([leaky, played(2, False)]))
