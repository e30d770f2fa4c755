"""The one list of measures: who names a measure, names one of it, and it stands there once."""

from __future__ import annotations

import ast
import re

import pytest
from pydantic import ValidationError

from improv.scoring.measures.calibration import PLANT_QUESTIONS
from improv.scoring.measures.questions import QUESTIONS
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.measure_spec import (
    CALIBRATED,
    DERIVED,
    FREE_SCORERS,
    JUDGED_SCORERS,
    MEASURE_NAMES,
    MEASURES,
    PREFERRED,
    PROBABILITY_SCORERS,
    SCORERS,
    Need,
    find_measure,
    version_of,
)
from improv.study.plan import Outcome
from tests.support.places import TOP


def test_each_measure_stands_once_with_all_that_is_said_of_it() -> None:
    names = [m.name for m in MEASURES]
    assert len(set(names)) == len(names)
    assert set(DERIVED) | set(MEASURE_NAMES) == set(names)
    for m in MEASURES:
        low, high = m.unit.range
        assert low < high
        assert re.fullmatch(r"[a-z0-9-]+-\d+", m.version) and m.words.title
        assert not m.words.breaks or m.poles or (m.words.holds and m.words.fails)
        assert not m.judged or m.derived or (m.words.heading and m.words.question)
        # What is derived is in no family's mean, but made with it.
        assert not m.derived or (m.name.partition(":")[0] in MEASURE_NAMES and m.made_by in SCORERS)


def test_a_plan_may_ask_for_every_measure_and_for_no_other() -> None:
    for m in MEASURES:
        assert Outcome(measure=m.name).measure == m.name
    with pytest.raises(ValidationError, match=f"there are {', '.join(MEASURE_NAMES)}"):
        Outcome(measure="charm")


def test_scorers_judges_and_raters_make_the_measures_of_the_list() -> None:
    assert set(QUESTIONS) == {*JUDGED_SCORERS, *PROBABILITY_SCORERS}
    assert set(PLANT_QUESTIONS) == set(CALIBRATED) <= set(JUDGED_SCORERS)
    assert set(SCORERS) == {m.made_by for m in MEASURES}
    assert not set(PROBABILITY_SCORERS) & {*FREE_SCORERS, *JUDGED_SCORERS}
    assert set(PREFERRED) <= set(MEASURE_NAMES)
    assert (version_of("secret"), version_of("secret", judged=True)) == (
        "secret-words-1",
        "secret-1",
    )


def test_measures_that_are_named_in_files_are_of_the_list() -> None:
    """Plans of shipped studies, the documents, and whatever the code looks up by name."""
    shipped = sorted((TOP / "scenes" / "studies").glob("*.yaml"))
    plans = [study.plan for file in shipped if (study := load(file)).plan is not None]
    asked = [name for plan in plans if plan is not None for name in plan.measures()]
    texts = [*(TOP / "docs").glob("*.md"), TOP / "README.md", TOP / "CHANGELOG.md"]
    for file in texts:
        asked += re.findall(r"\bmeasure: ['\"]?([a-z]\w*)", file.read_text(encoding="utf-8"))
    looked_up = {"measure", "spec", "measure_of", "version_of"}
    for file in [*(TOP / "improv").rglob("*.py"), *(TOP / "ui").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                (first, *_) = node.args
                if node.func.id in looked_up and isinstance(first, ast.Constant):
                    asked.append(str(first.value))
    assert len(asked) > len(MEASURE_NAMES)
    unknown = {name for name in asked if name not in SCORERS and find_measure(name) is None}
    assert not unknown


def test_scores_of_a_played_run_are_of_the_list_in_its_ranges() -> None:
    rows = open_run(str(TOP / "runs"), "sample").tables.read("scores").to_pylist()
    assert rows
    for row in rows:
        known = find_measure(row["measure"])
        assert known is not None, row["measure"]
        assert row["value"] is None or known.unit.range[0] <= row["value"] <= known.unit.range[1]
        assert known.needs is not Need.JUDGE or "@" in row["version"]
