"""The Runs room without a browser: the rows of the table and their links."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from improv.models.budget import token_cost
from improv.records import MAIN, Score, Turn
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.trial import plan
from tests.support.ui import (
    HOSTILE,
    address,
    bare_run,
    keep,
    page,
    puppet_run,
    shown,
    the_study,
    vandal_run,
    well,
)
from ui.runs import data

PRICE = {"prompt": 3.0, "completion": 12.0}


def priced_run(runs: Path, name: str) -> RunFolder:
    model = {"model": "puppet", "price": PRICE}
    study = load("cold-pass", {"model": model, "turns": 4})
    return run(study, runs=runs, name=name, setup=Setup(ray="off")).folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    puppet_run(folder)
    vandal_run(folder)
    priced_run(folder, "priced")
    return folder


def rows(app: AppTest) -> dict[str, str]:
    """Return run → the text of its row."""
    cells_by_run = {}
    for row in re.findall(r"<tr class=.*?</tr>", shown(app), re.DOTALL):
        name = re.search(r'class="id">([^<]*)<', row)
        assert name
        cells_by_run[name[1]] = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", row)).split())
    return cells_by_run


def test_each_run_has_a_row_that_says_how_it_stands(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(page(runs, monkeypatch, room="runs"))
    assert set(table) == {"puppet", "vandal", "priced"}
    assert "demo 2 scenes, 2 conditions" in table["puppet"]
    assert "✓ done puppet 4" in table["puppet"]
    assert "1 failed" in table["vandal"]
    assert all("Graph Multiverse Compare" in row for row in table.values())


def test_mean_scores_are_those_of_the_lines(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(page(runs, monkeypatch, room="runs"))
    scores = open_run(runs, "puppet").tables.read("scores").to_pylist()
    for family in ("habit", "rule"):
        values = [
            s["value"] for s in scores if s["measure"].startswith(family) and s["value"] is not None
        ]
        assert f"{family} {sum(values) / len(values):.2f}" in table["puppet"]
    assert "habit 0.00" in table["vandal"], "what is missing counts as nothing"


def test_cost_is_what_the_calls_cost_and_unknown_without_a_price(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(page(runs, monkeypatch, room="runs"))
    folder = open_run(runs, "priced")
    price = folder.study().cells[0][2].model.price
    assert price is not None
    paid = sum(
        token_cost(c.prompt_tokens, c.completion_tokens, c.cached_tokens, price)
        for c in folder.transcripts.all_calls()
    )
    assert paid > 0
    assert f"${paid:,.4f}" in table["priced"]
    assert "unknown" in table["puppet"]
    assert "$" not in table["puppet"]


def test_a_row_leads_to_the_rooms_of_its_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = shown(page(runs, monkeypatch, room="runs"))
    first = open_run(runs, "puppet").transcripts.trial("0")["trial"]
    assert f'href="scene?run=puppet&amp;trial={first}" target="_self" data-room="scene"' in drawn
    for room in ("graph", "multiverse", "compare"):
        assert f'href="{room}?run=puppet" target="_self" data-room="{room}"' in drawn


def test_a_run_that_is_played_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bare_run(tmp_path, "now", status="playing", trials=2)
    app = page(tmp_path, monkeypatch, room="runs")
    assert "being played" in rows(app)["now"]
    assert "0 of 2" in rows(app)["now"]
    trial = plan(the_study())[0].id
    turns = [Turn(trial, MAIN, 1, 0, "line", "Rufina", "Sit down.")]
    score = Score(trial, MAIN, 1, "Rufina", "habit:never_asks", "marker-2", 1.0, "Sit down.")
    keep(folder, turns, scores=[score])
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3)
    well(app.run())
    assert "1 of 2" in rows(app)["now"]
    assert 'aria-valuenow="50"' in shown(app)
    assert "habit 1.00" in rows(app)["now"]


def test_a_scoring_is_seen_though_the_run_was_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = priced_run(tmp_path, "again")
    app = page(tmp_path, monkeypatch, room="runs")
    assert "secret 0.25" not in rows(app)["again"]
    trial = folder.transcripts.trial("0")["trial"]
    scores = [Score(trial, MAIN, n, "Ana", "secret", "v", float(n == 1), "") for n in (1, 2, 3, 4)]
    folder.tables.write_verdicts(scores, [])
    well(app.run())
    assert "secret 0.25" in rows(app)["again"]


def test_an_empty_house_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(tmp_path / "none", monkeypatch, room="runs")
    assert "The house is dark" in shown(app)
    assert "improv demo" in shown(app)


def test_many_runs_are_found_by_words_and_turned_by_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(25):
        bare_run(tmp_path, f"run-{n:02}", status="stopped" if n == 3 else "done")
    app = page(tmp_path, monkeypatch, room="runs")
    assert len(rows(app)) == 20
    assert next(iter(rows(app))) == "run-24", "the newest first"
    app.pagination(key="page").set_value(2)
    well(app.run())
    assert list(rows(app)) == [f"run-{n:02}" for n in range(4, -1, -1)]
    assert address(app) == {"page": "2"}
    app.text_input(key="seek").set_value("STOPPED run")
    well(app.run())
    assert list(rows(app)) == ["run-03"]
    assert address(app) == {"seek": "STOPPED run"}
    app = page(tmp_path, monkeypatch, room="runs", seek="nowhere")
    assert "No run matches." in shown(app)
    app = page(tmp_path, monkeypatch, room="runs", page="99")
    assert len(rows(app)) == 5, "the last page"


def test_what_others_named_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bare_run(tmp_path, "odd")
    folder.update({"study": HOSTILE, "models": [HOSTILE], "stopped": HOSTILE, "status": HOSTILE})
    drawn = shown(page(tmp_path, monkeypatch, room="runs"))
    assert "&lt;script&gt;" in drawn
    for bad in ("<script", "<img", 'onerror="', "\u202e", "\x1b"):
        assert bad not in drawn


def test_a_torn_run_does_not_close_the_lobby(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bare_run(tmp_path, "torn")
    Path(folder.path, "study.yaml").write_bytes(b"\xff\xfe: [price: 3")
    bare_run(tmp_path, "whole")
    assert set(rows(page(tmp_path, monkeypatch, room="runs"))) == {"torn", "whole"}


def test_a_mean_leaves_out_branches_but_not_probes(tmp_path: Path) -> None:
    folder = priced_run(tmp_path, "branched")
    table = folder.tables.read("trials").to_pylist()
    grown = [{**table[0], "branch": b, "origin": o} for b, o in (("b", "branch"), ("p", "probe"))]
    trials = folder.tables.read("trials")
    folder.tables.write("trials", trials.from_pylist([*table, *grown], schema=trials.schema))
    t = table[0]["trial"]
    scores = [
        Score(t, MAIN, 1, "Rufina", "sign:a/b", "v", 1.0, ""),
        Score(t, "b", 2, "Rufina", "sign:a/b", "v", 0.0, ""),
        Score(t, "p", 1, "Rufina", "probe:name", "v", 0.0, ""),
    ]
    folder.tables.write_verdicts(scores, [])
    means = {m.family: m.value for m in data._means(folder, grown=True)}
    assert means == {"sign": 1.0, "probe": 0.0}


def test_back_from_a_link_that_says_little_leads_back(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, room="scene", run="puppet")
    assert "trial" in address(app), "completed"
    # What the browser sends after Back: the address as it was first asked for.
    app.query_params.clear()
    app.query_params["run"] = "puppet"
    well(app.run())
    assert address(app) == {"run": "puppet"}, "completed once only, or Back would lead nowhere"
    app.button(key="next").click()
    well(app.run())
    assert set(address(app)) == {"run", "trial", "turn"}
