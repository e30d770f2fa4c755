"""The Graph room without a browser: its content, its addresses, and text that stays inert."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from improv.graph.figure import MeasuredGraph
from improv.graph.file_formats import from_bytes
from improv.graph.graph import Graph, build_network
from improv.storage.runs import open_run
from tests.support.graph import company_run, ferry
from tests.support.ui import HOSTILE, address, bare_run, page, read, shown, vandal_run, well
from ui.graph import chart as graph_chart
from ui.graph import view
from ui.graph.chart import Arrow
from ui.shared import chart_colours


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    company_run(folder)
    return folder


def room(runs: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    return page(runs, monkeypatch, room="graph", **query)


def chart(app: AppTest) -> dict[str, Any]:
    """The series of the chart that is drawn."""
    (element,) = app.get("echarts_chart")
    spec = orjson.loads(element.proto.spec)
    series: dict[str, Any] = spec["baseOption"]["series"][0]
    return series


def arrows(app: AppTest) -> dict[tuple[str, str], float]:
    return {(e["source"], e["target"]): e["value"] for e in chart(app)["edges"]}


def spoken(runs: Path, trial: str) -> list[tuple[int, str, str, str]]:
    """The improvised lines that are spoken to somebody: (turn, from, to, how known)."""
    folder = open_run(runs, "company")
    turns = folder.transcripts.read(folder.transcripts.trial(trial)["trial"]).turns
    return [
        (t.turn, t.speaker, t.addressed, t.by) for t in turns if t.kind == "line" and t.addressed
    ]


def people(app: AppTest) -> list[dict[str, Any]]:
    frames = [d.value for d in app.dataframe]
    rows: list[dict[str, Any]] = next(f for f in frames if "PageRank" in f).to_dict("records")
    return rows


def test_a_scene_is_shown_with_its_arrows_lines_and_centralities(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = room(runs, monkeypatch, run="company", trial="0")
    text = read(app)
    assert "The Honey Job" in text and "Who speaks to whom" in text
    lines = spoken(runs, "0")
    drawn = {pair: n for pair, n in arrows(app).items() if pair[0] != "author"}
    assert drawn == {
        pair: sum((a, b) == pair for _, a, b, _ in lines)
        for pair in {(a, b) for _, a, b, _ in lines}
    }
    assert sum(person["speaks to (out)"] for person in people(app)) == len(lines)
    widest = max(drawn, key=lambda pair: (drawn[pair], pair))
    first = chart(app)["edges"][0]
    assert drawn[widest] == drawn[first["source"], first["target"]], "it opens on the widest arrow"
    assert 'data-room="scene"' in shown(app)


def test_an_edge_of_the_address_lists_its_lines(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, item, other, _ = spoken(runs, "0")[-1]
    app = room(runs, monkeypatch, run="company", trial="0", edge=f"{item}>{other}")
    assert address(app)["edge"] == f"{item}>{other}"
    assert app.selectbox(key="net:edge").value == f"{item}>{other}"
    assert f"turn={turn}" in shown(app)
    folder = open_run(runs, "company")
    said = next(
        t.text
        for t in folder.transcripts.read(folder.transcripts.trial("0")["trial"]).turns
        if t.turn == turn and t.kind == "line"
    )
    assert said in read(app)
    app = room(runs, monkeypatch, run="company", trial="0", edge="Nobody>Nowhere")
    assert "edge" not in address(app)


def test_a_range_of_turns_and_the_opening(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = room(runs, monkeypatch, run="company", trial="0", **{"from": "3", "to": "6"})
    few = [x for x in spoken(runs, "0") if 3 <= x[0] <= 6]
    assert sum(n for (a, _), n in arrows(app).items() if a != "author") == len(few)
    assert app.slider(key="net:turns").value == (3, 6)
    app.slider(key="net:turns").set_value((0, 10))
    well(app.run())
    assert address(app).get("from") == "0" and "to" not in address(app)
    assert sum(n for (a, _), n in arrows(app).items() if a != "author") > len(spoken(runs, "0"))


def test_guesses_can_be_left_out(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = room(runs, monkeypatch, run="company", trial="0")
    app.toggle(key="net:guesses").set_value(False)
    well(app.run())
    assert address(app)["sure"] == "1"
    sure = [x for x in spoken(runs, "0") if x[3] in ("said", "name")]
    assert sum(n for (a, _), n in arrows(app).items() if a != "author") == len(sure)


def test_a_condition_is_an_average_over_its_scenes(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = room(runs, monkeypatch, run="company", trial="0", condition="live")
    assert "the average of live" in read(app)
    folder = open_run(runs, "company")
    trials = [
        str(r["index"])
        for r in folder.tables.read("trials").to_pylist()
        if r["condition"] == "live"
    ]
    lines = [x for trial in trials for x in spoken(runs, trial)]
    total = sum(n for (a, _), n in arrows(app).items() if a != "author")
    assert total == pytest.approx(len(lines) / 3)
    assert any(source == "author" for source, _ in arrows(app))
    assert "honey-job/" in read(app), "lines say which scene they are of"


def test_the_difference_of_two_conditions(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = room(runs, monkeypatch, run="company", trial="0", condition="live", against="none")
    text = read(app)
    assert "live less none" in text and "3 blocks" in text and "p = " in text
    drawn = chart(app)["edges"]
    assert {e["lineStyle"]["type"] for e in drawn} <= {"solid", "dashed"}
    assert all((e["value"] < 0) == (e["lineStyle"]["type"] == "dashed") for e in drawn)
    live, none = (
        arrows(room(runs, monkeypatch, run="company", trial="0", condition=c))
        for c in ("live", "none")
    )
    for e in drawn:
        pair = e["source"], e["target"]
        assert e["value"] == pytest.approx(live.get(pair, 0) - none.get(pair, 0))
    app.selectbox(key="net:condition").set_value("")
    well(app.run())
    assert not {"condition", "against"} & set(address(app))


def test_answers_and_mentions_are_graphs_too(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = room(runs, monkeypatch, run="company", trial="0")
    before = arrows(app)
    app.segmented_control(key="net:kind").set_value("answers")
    well(app.run())
    assert address(app)["kind"] == "answers" and arrows(app) != before


def test_everything_can_be_taken_along(runs: Path) -> None:
    graph = build_network(ferry())
    made = MeasuredGraph("The Ferry", graph, {})
    for form in ("gexf", "graphml", "json"):
        loaded = from_bytes(view._written(made, form, ("addresses",)), form)
        assert set(loaded) == set(graph)
    assert view._written(made, "svg", ("addresses",)).startswith(b"<svg")
    assert view._written(made, "png", ("addresses",)).startswith(b"\x89PNG")


def test_a_chart_is_of_text_and_has_words_for_those_who_do_not_see_it() -> None:
    graph = Graph(of="talk")
    odd = HOSTILE[:60]
    graph.add_node(odd, role="character", lines=1)
    graph.add_node("Bo", role="character", lines=3)
    arrows = [Arrow(odd, "Bo", 2.0, 0.0, 2)]
    spec = graph_chart.arrows_spec(graph, arrows, "", chart_colours.LIGHT, apart=False)
    label = spec["baseOption"]["series"][0]["data"][0]["label"]["formatter"]
    assert "{" not in label and "\u202e" not in label and len(label) < 60
    assert "to Bo 2" in graph_chart.arrows_alt("x", arrows)
    assert "nobody speaks" in graph_chart.arrows_alt("x", [])
    tooltip = spec["baseOption"]["series"][0]["edges"][0]["tooltip"]["formatter"]
    assert "<" not in tooltip and tooltip.endswith("to Bo: 2 a scene")
    guessed = spec["baseOption"]["series"][0]["edges"][0]["lineStyle"]["opacity"]
    sure = graph_chart.arrows_spec(
        graph, [Arrow(odd, "Bo", 2.0, 2.0, 2)], "", chart_colours.LIGHT, apart=False
    )
    assert guessed < sure["baseOption"]["series"][0]["edges"][0]["lineStyle"]["opacity"]


def test_odd_runs_have_a_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vandal_run(tmp_path)
    app = room(tmp_path, monkeypatch, run="vandal")
    assert "<script>" not in shown(app).replace("&lt;script&gt;", "")
    assert ("Rufina", "Eliseo") in arrows(app)
    bare_run(tmp_path, "bare")
    assert "No scene is finished" in read(room(tmp_path, monkeypatch, run="bare"))


def test_a_scene_is_drawn_at_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = room(runs, monkeypatch, run="company", trial="1")
    start = time.process_time()
    app.slider(key="net:turns").set_value((2, 9))
    well(app.run())
    assert time.process_time() - start < 10  # of the processor; about half a second
