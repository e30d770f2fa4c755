"""How a judge is asked: by the command, by the study's `judge`, or by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from improv.errors import RunError
from improv.models.budget import Budget
from improv.scoring.judge_models import Judges, judge_models, with_study_judge
from improv.study.design import Study
from improv.study.loader import load
from improv.study.model_spec import Model, Price
from improv.study.snapshot import read_study, write_study
from tests.support.weather import SCENE

BLOCK = """\
judge: {model: wise, base_url: "http://127.0.0.1:9/v1", max_tokens: 900, reasoning_tokens: 2000}
"""


def study(tmp_path: Path, block: str = BLOCK) -> Study:
    """Return a study as its run folder keeps it."""
    (tmp_path / "chairs.yaml").write_text(SCENE)
    file = tmp_path / "study.yaml"
    player = "{model: odd, temperature: 0.9, max_tokens: 70, base_url: 'http://127.0.0.1:9/v1'}"
    file.write_text(f"study: s\nscenes: [chairs.yaml]\nset: {{model: {player}}}\n{block}")
    return read_study(write_study(load(file)), "study.yaml")


def asked(judges: Judges, of: Study, cost: float | None = None) -> Model:
    return next(iter(judge_models(judges, of, Budget(cost=cost)).values()))


def test_the_judge_of_a_study_is_asked_as_the_study_says(tmp_path: Path) -> None:
    judge = asked(Judges("wise"), study(tmp_path))
    assert (judge.max_tokens, judge.reasoning_tokens, judge.temperature) == (900, 2000, 0.0)
    assert judge.base_url == "http://127.0.0.1:9/v1"
    warm = BLOCK.replace("max_tokens: 900", "temperature: 1")
    judge = asked(Judges("wise"), study(tmp_path, warm))
    assert (judge.max_tokens, judge.temperature) == (60, 1.0)


def test_what_the_command_says_counts_first(tmp_path: Path) -> None:
    judge = asked(Judges("wise", max_tokens=40, temperature=0.5), study(tmp_path))
    assert (judge.max_tokens, judge.temperature) == (40, 0.5)


def test_a_player_judges_at_its_address_and_not_at_its_temperature(tmp_path: Path) -> None:
    judge = asked(Judges("odd"), study(tmp_path))
    assert (judge.max_tokens, judge.temperature) == (60, 0.0)
    assert judge.base_url == "http://127.0.0.1:9/v1"


def test_the_judge_of_a_study_is_asked_where_a_measure_that_was_named_needs_one(
    tmp_path: Path,
) -> None:
    of = study(tmp_path)
    assert with_study_judge(Judges(), of, ["attribution"]).first == "wise"
    assert with_study_judge(Judges("odd"), of, ["attribution"]).first == "odd"
    for free in ([], ["marker"]):
        assert with_study_judge(Judges(), of, free).first == ""
    assert with_study_judge(Judges(), study(tmp_path, ""), ["attribution"]).first == ""


def test_a_price_on_the_command_answers_for_a_budget(tmp_path: Path) -> None:
    of = study(tmp_path)
    with pytest.raises(RunError, match="--price IN,OUT"):
        asked(Judges("wise"), of, cost=1.0)
    price = Price(prompt=1, completion=2)
    assert asked(Judges("wise", price=price), of, cost=1.0).price == price
