"""`improv power`: puppets play a study's planted truth, and the test of the plan is tried on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from improv.analysis.units import Tables
from improv.errors import RunError
from improv.runner.power import Rehearsed, powers, rehearse
from improv.study.design import Study
from improv.study.loader import load
from tests.conftest import KETTLE
from tests.support.weather import command

STUDY = """\
study: kettles
scenes: [kettle.yaml]
set:
  turns: 5
  author: {live: false, frame: ""}
  cast:
    Ana:
      traits:
        - pole: honest
          opposite: deceitful
          kind: moral
          sign: {marker: never_says, value: [never]}
factors:
  author:
    none: {}
    framed: {author: {frame: Nobody turns their coat.}}
    again: {author: {frame: Nobody turns a coat.}}
plan:
  hypothesis: A frame holds characters.
  outcome: {measure: sign}
  contrasts:
    - {name: framed, plus: {author: framed}, minus: {author: none}}
  blocks: 40
planted:
  effect: {model: {model: puppet, puppet: {alpha: 0.3, effects: {turns their coat: -2.0}}}}
  nothing: {model: {model: puppet, puppet: {alpha: 0.3}}}
  somebody: {model: {model: m, base_url: "http://127.0.0.1:9/v1"}}
"""
CONTRASTS = STUDY[STUDY.index("  contrasts:") : STUDY.index("  blocks:")]
SECOND = "    - {name: again, plus: {author: again}, minus: {author: none}}\n"


def written(folder: Path, study: str = STUDY) -> Path:
    (folder / "kettle.yaml").write_text(KETTLE)
    (folder / "kettles.yaml").write_text(study)
    return folder / "kettles.yaml"


@pytest.fixture(scope="module")
def kettles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("power"))


@pytest.fixture(scope="module")
def pool(kettles: Path) -> Tables:
    """What puppets played with an effect: 150 blocks."""
    return rehearse(load(kettles, planted="effect"), blocks=150)


def power_by_size(contrasts: list[Rehearsed], name: str = "framed") -> list[float]:
    (contrast,) = (r for r in contrasts if r.name == name)
    return [p.power.value for p in contrast.sizes]


def planning(kettles: Path, study: str) -> Study:
    """The same study with another plan."""
    file = kettles.with_name("another.yaml")
    file.write_text(study)
    return load(file, planted="effect")


def test_power_grows_with_the_number_of_blocks(kettles: Path, pool: Tables) -> None:
    study = load(kettles, planted="effect")
    contrasts = powers(study, pool, [10, 30, 90], repetitions=500)
    small, middle, large = power_by_size(contrasts)
    assert 0.05 < small < middle - 0.1 and middle < large - 0.1
    (contrast,) = contrasts
    for share in contrast.sizes:
        assert share.repetitions == 500 and share.power.unit == "repetitions"
        # The Monte-Carlo error of a share of 500.
        assert share.power.low <= share.power.value <= share.power.high
        error = (share.power.value * (1 - share.power.value) / 500) ** 0.5
        assert share.power.high - share.power.low == pytest.approx(2 * 1.96 * error, abs=0.01)
    assert powers(study, pool, [10, 30, 90], repetitions=500) == contrasts
    assert powers(study, pool, [10, 30, 90], repetitions=500, seed=1) != contrasts


def test_with_nothing_planted_power_is_the_rate_of_false_alarms(kettles: Path) -> None:
    study = load(kettles, planted="nothing")
    shares = power_by_size(powers(study, rehearse(study, blocks=200), [10, 20], repetitions=1000))
    assert all(0.01 < share < 0.08 for share in shares), shares


def test_each_of_several_contrasts_has_its_part_of_alpha(kettles: Path, pool: Tables) -> None:
    one = power_by_size(powers(load(kettles, planted="effect"), pool, [40], repetitions=500))
    both = powers(
        planning(kettles, STUDY.replace("  blocks: 40", f"{SECOND}  blocks: 40")),
        pool,
        [40],
        repetitions=500,
    )
    assert power_by_size(both)[0] < one[0] - 0.03
    assert power_by_size(both, "again")[0] < 0.1


@pytest.mark.parametrize("outcome", ["{of: time, measure: sign}", "{measure: sign, unit: scene}"])
def test_outcomes_that_are_not_paired_repeat_the_analysis_itself(
    kettles: Path, pool: Tables, outcome: str
) -> None:
    study = planning(kettles, STUDY.replace("outcome: {measure: sign}", f"outcome: {outcome}"))
    (contrast,) = powers(study, pool, [8, 80], repetitions=100)
    assert [p.repetitions for p in contrast.sizes] == [10, 10]
    small, large = (p.power.value for p in contrast.sizes)
    assert small < 0.6 <= large


@pytest.mark.parametrize(
    ("changes", "planted", "why"),
    [
        ({}, "somebody", "power is estimated with puppets"),
        ({"plan:": "about: |"}, "effect", "has no plan"),
        (
            {"{measure: sign}": "{of: phrasing, measure: sign, factor: author}", CONTRASTS: ""},
            "effect",
            "its plan has no contrasts",
        ),
    ],
)
def test_a_contrast_without_power_is_refused_before_any_play(
    tmp_path: Path, changes: dict[str, str], planted: str, why: str
) -> None:
    text = STUDY
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(RunError, match=why):
        rehearse(load(written(tmp_path, text), planted=planted), blocks=4)


def test_the_command_prints_a_table_and_leaves_no_run_behind(
    kettles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words: list[Any] = ["power", kettles, "-n", 5, "-n", 25, "--pool", 30, "--repetitions", 100]
    printed = command(*map(str, words)).output
    assert "5 blocks" in printed and "25 blocks" in printed
    cells = re.findall(r"(\d\.\d\d) \[(\d\.\d\d), (\d\.\d\d)\]", printed)
    assert len(cells) == 2 and all(low <= share <= high for share, low, high in cells)
    assert "framed" in printed and "100 studies" in printed and "'effect'" in printed
    assert command(*map(str, words)).output.split("contrast")[1] == printed.split("contrast")[1]
    assert list(tmp_path.iterdir()) == []
    assert "efect" in command("power", str(kettles), "--planted", "efect", code=2).output
