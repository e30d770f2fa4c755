"""The list of measures: each measure is in it once, and all parts of improv use its names."""

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


def test_each_measure_is_listed_once_with_all_its_words() -> None:
    names = [m.name for m in MEASURES]
    assert len(set(names)) == len(names)
    assert set(DERIVED) | set(MEASURE_NAMES) == set(names)
    for m in MEASURES:
        low, high = m.unit.range
        assert low < high
        assert re.fullmatch(r"[a-z0-9-]+-\d+", m.version) and m.words.title
        assert not m.words.breaks or m.poles or (m.words.holds and m.words.fails)
        assert not m.judged or m.derived or (m.words.heading and m.words.question)
        # A derived measure is in no mean of its family, but the same scorer computes it.
        assert not m.derived or (m.name.partition(":")[0] in MEASURE_NAMES and m.made_by in SCORERS)


def test_a_plan_can_name_every_measure_and_no_other() -> None:
    for m in MEASURES:
        assert Outcome(measure=m.name).measure == m.name
    with pytest.raises(ValidationError, match=f"there are {', '.join(MEASURE_NAMES)}"):
        Outcome(measure="charm")


def test_scorers_judges_and_raters_use_the_measures_of_the_list() -> None:
    assert set(QUESTIONS) == {*JUDGED_SCORERS, *PROBABILITY_SCORERS}
    assert set(PLANT_QUESTIONS) == set(CALIBRATED) <= set(JUDGED_SCORERS)
    assert set(SCORERS) == {m.made_by for m in MEASURES}
    assert not set(PROBABILITY_SCORERS) & {*FREE_SCORERS, *JUDGED_SCORERS}
    assert set(PREFERRED) <= set(MEASURE_NAMES)
    assert (version_of("secret"), version_of("secret", judged=True)) == (
        "secret-words-1",
        "secret-1",
    )


def test_measures_named_in_files_are_in_the_list() -> None:
    """The files are the plans of shipped studies, the documents, and the code that looks up
    names."""
    shipped = sorted((TOP / "scenes" / "studies").glob("*.yaml"))
    plans = [study.plan for file in shipped if (study := load(file)).plan is not None]
    names_used = [name for plan in plans if plan is not None for name in plan.measures()]
    texts = [*(TOP / "docs").glob("*.md"), TOP / "README.md", TOP / "CHANGELOG.md"]
    for file in texts:
        names_used += re.findall(r"\bmeasure: ['\"]?([a-z]\w*)", file.read_text(encoding="utf-8"))
    looked_up = {"measure", "spec", "measure_of", "version_of"}
    for file in [*(TOP / "improv").rglob("*.py"), *(TOP / "ui").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                (first, *_) = node.args
                if node.func.id in looked_up and isinstance(first, ast.Constant):
                    names_used.append(str(first.value))
    assert len(names_used) > len(MEASURE_NAMES)
    unknown = {name for name in names_used if name not in SCORERS and find_measure(name) is None}
    assert not unknown


def test_scores_of_a_played_run_are_in_the_list_and_in_range() -> None:
    rows = open_run(str(TOP / "runs"), "sample").tables.read("scores").to_pylist()
    assert rows
    for row in rows:
        known = find_measure(row["measure"])
        assert known is not None, row["measure"]
        assert row["value"] is None or known.unit.range[0] <= row["value"] <= known.unit.range[1]
        assert known.needs is not Need.JUDGE or "@" in row["version"]
