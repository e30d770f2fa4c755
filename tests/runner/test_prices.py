"""A price on the command: kept with the run, and known to whoever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from improv.errors import RunError
from improv.models.budget import Budget
from improv.report.material import read_material
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.model_spec import Price, read_price
from tests.support.choosy import Choosy, not_taken
from tests.support.weather import SCENE, RawServer, command


def scene(tmp_path: Path, url: str) -> Path:
    file = tmp_path / "chairs.yaml"
    file.write_text(f"{SCENE}model: {{model: odd, base_url: '{url}'}}\n")
    return file


def test_a_price_on_the_command_answers_for_a_budget_and_is_kept(tmp_path: Path) -> None:
    with RawServer(Choosy(not_taken())) as raw:
        words = [
            "run",
            str(scene(tmp_path, raw.url)),
            "--runs",
            str(tmp_path / "r"),
            "--ray",
            "off",
        ]
        words += ["--name", "t", "--max-cost", "5"]
        asked = command(*words, code=2)
        assert "--price IN,OUT" in asked.output and "odd" in asked.output
        assert "2.5,10" in command(*words, "--price", "cheap", code=2).output
        command(*words, "--price", "1000,2000")
        folder = open_run(tmp_path / "r", "t")
        # 7 and 3 tokens a call, as the server counts them.
        assert read_material(folder).costs == {"odd": pytest.approx(2 * (0.007 + 0.006))}
        command("resume", "t", "--runs", str(tmp_path / "r"), "--ray", "off")


def test_a_price_can_be_given_when_a_run_is_resumed_and_set_right(tmp_path: Path) -> None:
    with RawServer(Choosy(not_taken())) as raw:
        study = load(scene(tmp_path, raw.url))
        first = run(study, runs=tmp_path / "r", setup=Setup(ray="off", budget=Budget(calls=1)))
        bounded = Setup(ray="off", budget=Budget(cost=5.0))
        with pytest.raises(RunError, match="--price IN,OUT"):
            resume(first.folder, setup=bounded)
        for price in (Price(prompt=1, completion=1), read_price("1000,2000,0")):
            again = resume(
                first.folder, setup=Setup(ray="off", budget=Budget(cost=5.0), price=price)
            )
            assert (again.done, again.owed) == (1, 0)
    assert read_material(first.folder).costs == {"odd": pytest.approx(2 * (0.007 + 0.006))}
    assert first.folder.meta()["price"] == {"prompt": 1000.0, "completion": 2000.0, "cached": 0.0}


def test_a_price_of_the_study_counts_before_one_of_the_command(tmp_path: Path) -> None:
    with RawServer(Choosy(not_taken())) as raw:
        file = scene(tmp_path, raw.url)
        free = file.read_text().replace("odd,", "odd, price: {prompt: 0, completion: 0},")
        file.write_text(free)
        setup = Setup(ray="off", price=Price(prompt=9, completion=9))
        folder = run(load(file), runs=tmp_path / "r", setup=setup).folder
    assert read_material(folder).costs == {"odd": 0.0}


@pytest.mark.parametrize("words", ["1", "1,2,3,4", "a,b", "-1,2", "nan,1", ""])
def test_what_is_no_price_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"such as 2\.5,10"):
        read_price(words)
