"""The tools of the Scene room without a browser: jumps, marks, search, scores, branches, files."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from improv.records import MAIN, Act, Json, Turn
from improv.runner.branching import branch
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.runs import open_run
from improv.storage.schemas import SCHEMAS
from improv.study.edit import Edit
from improv.study.loader import load
from tests.support.ui import (
    address,
    bare_run,
    page,
    puppet_run,
    read,
    shown,
    style,
    vandal_run,
    well,
)
from tests.support.ui_runs import broken_run
from ui.scene import score_strip, stops, toolbar
from ui.shared import run_data, score_words

OFF = Setup(ray="off")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    puppet_run(folder)
    vandal_run(folder)
    broken_run(folder)
    made = run(
        load("cold-pass", {"model": "puppet", "turns": 6}), runs=folder, name="tree", setup=OFF
    ).folder
    branch(made, "0", 3, edit=Edit(line="Nobody sold me anything."), setup=OFF)
    branch(made, "0", 5, again=True, setup=OFF)
    score(made, judges=Judges(first="puppet", plants=2))
    return folder


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click()
    return well(app.run())


# --- jumps


def test_jumps_lead_from_break_to_break_and_round(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="broken")
    seen = []
    for _ in range(5):
        press(app, "jump-break")
        seen.append(address(app)["turn"])
    assert seen == ["3", "7", "8", "12", "3"]
    press(app, "jump-move")
    assert address(app)["turn"] == "4"
    press(app, "jump-move")
    assert address(app)["turn"] == "9"


def test_a_jump_to_a_failure_crosses_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bare_run(tmp_path, "two", trials=3)
    table = vandal_run(tmp_path, "source").tables.read("trials")
    (row,) = table.to_pylist()
    how = [("done", None), ("failed", 5), ("failed", 2)]
    rows = [
        {
            **row,
            "trial": f"t{i}",
            "index": i,
            "status": s,
            "failure_turn": at,
            "turns": 2,
            "calls": 0,
        }
        for i, (s, at) in enumerate(how)
    ]
    folder.tables.write("trials", table.from_pylist(rows, schema=table.schema))
    lines = [Turn(f"t{i}", MAIN, n, 0, "line", "Rufina", "Hm.") for i in range(3) for n in (1, 2)]
    turns = open_run(tmp_path, "source").tables.read("turns")
    made = [
        {
            **turns.slice(0, 1).to_pylist()[0],
            "trial": t.trial,
            "turn": t.turn,
            "text": t.text,
            "kind": "line",
            "speaker": "Rufina",
        }
        for t in lines
    ]
    folder.tables.write("turns", turns.from_pylist(made, schema=turns.schema))
    for name in ("calls", "blocks", "scores"):
        folder.tables.write(name, SCHEMAS[name].empty_table())
    app = page(tmp_path, monkeypatch, run="two", trial="t0")
    seen = []
    for _ in range(3):
        press(app, "jump-failure")
        seen.append((address(app)["trial"], address(app)["turn"]))
    assert seen == [("t1", "5"), ("t2", "2"), ("t1", "5")]


def test_only_what_there_is_can_be_jumped_to(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="broken")
    keys = {b.key for b in app.button}
    assert {"jump-break", "jump-move"} <= keys
    assert "jump-failure" not in keys
    app = page(runs, monkeypatch, run="vandal", audience="1")
    keys = {b.key for b in app.button}
    assert "jump-failure" in keys
    assert not {"jump-break", "jump-move"} & keys, "what an audience does not see"


def test_stops() -> None:
    turns = [
        Turn("t", MAIN, 1, 0, "line", "A", "One", acts=(Act("unread", text="{"),)),
        Turn("t", MAIN, 2, 0, "silence", "B", "", cuts=("redrawn 2", "withheld")),
        Turn("t", MAIN, 3, 0, "line", "A", "ONE  more", acts=(Act("nothing"), Act("cue", "B"))),
        Turn("t", MAIN, 3, 1, "memory", "A", "one secret"),
    ]
    row: Json = {"status": "failed", "failure_turn": 4}
    assert stops.failures(turns, row) == [1, 2, 4]
    assert stops.moves(turns) == [3]
    assert stops.hits(turns, "one", margin=True) == [1, 3]
    assert stops.hits(turns, " one MORE ", margin=False) == [3]
    assert stops.hits(turns, "secret", margin=False) == []
    assert stops.hits(turns, " ", margin=True) == []
    assert stops.hits(
        [Turn("t", MAIN, 0, 0, "written", "A", "Die Straße")], "STRASSE", margin=False
    )
    assert (stops.after([3, 7], 3), stops.after([3, 7], 7), stops.after([], 1)) == (7, 3, None)
    assert (stops.before([3, 7], 7), stops.before([3, 7], 3)) == (3, 7)
    assert stops.bookmarks("3.x.99.7.3.-1.²", 12) == [3, 7]
    assert stops.bookmarks_text({7, 3}) == "3.7"


# --- bookmarks and search


def test_bookmarks_are_kept_in_the_address(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="broken", turn="7", marks="3.99.x")
    assert address(app)["marks"] == "3"
    press(app, "bookmark")
    assert address(app)["marks"] == "3.7"
    assert "#turn-3 .no::after,.play #turn-7 .no::after{content" in style(app)
    assert re.search(r'data-jump="7" aria-current="true"', shown(app))
    assert app.button(key="bookmark").label == "Remove bookmark"
    press(app, "bookmark")
    assert address(app)["marks"] == "3"


def test_another_trial_has_bookmarks_of_its_own(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="puppet", turn="4", marks="2")
    here = address(app)["trial"]
    control = app.segmented_control(key="sibling")
    other = next(
        r["trial"]
        for r in open_run(runs, "puppet").tables.read("trials").to_pylist()
        if r["block"] == open_run(runs, "puppet").transcripts.trial(here)["block"]
        and r["trial"] != here
    )
    control.set_value(other)
    well(app.run())
    assert address(app) == {"run": "puppet", "trial": other, "turn": "4"}


def test_search_leads_from_hit_to_hit(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="broken", turn="2")
    app.text_input(key="find").set_value("line 1")
    well(app.run())
    assert address(app)["find"] == "line 1"
    assert address(app)["turn"] == "10", "the next turn that has it"
    assert "2 of 4 turns" in read(app)
    press(app, "hit-on")
    assert address(app)["turn"] == "11"
    press(app, "hit-back")
    press(app, "hit-back")
    assert address(app)["turn"] == "1"
    app = page(runs, monkeypatch, run="broken", find="<b>")
    assert "12 turns" in read(app)
    app = page(runs, monkeypatch, run="broken", find="nothing like it")
    assert "no match" in read(app)
    app = page(runs, monkeypatch, run="broken", find="a lamp", audience="1")
    assert "no match" in read(app), "the margin is closed"


# --- scores


def test_the_strip_has_a_row_for_each_measure_and_says_where_it_breaks(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(runs, monkeypatch, run="broken", turn="6")
    drawn = next(b for b in map(str, (e.proto.body for e in app.html)) if 'class="tally"' in b)
    assert 'aria-label="Eliseo, habit: never asks: 6 scores, breaks at turns 3, 7"' in drawn
    assert 'aria-label="Rufina, sign: blunt or flattering: 1 scores, no break, 1 missing"' in drawn
    assert "The author, acts: before turns 4, 9" in drawn
    assert 'data-last="12" data-turns="1 3 5 7 9 11"' in drawn
    assert ".tally{--at:0.45833;--cursor:1}" in style(app)
    (table,) = [d.value for d in app.dataframe]
    assert len(table) == 12, "the same as a table, with that of the whole scene"
    assert set(table["in words"]) >= {"kept", "broken", "missing", "neither", "given away"}
    app.toggle(key="margin").set_value(False)
    well(app.run())
    assert 'class="tally"' not in shown(app)


def test_a_strip_of_a_thousand_turns_is_small() -> None:
    scores = [
        {"turn": n, "character": "A", "measure": "habit:x", "value": float(n % 3 > 0)}
        for n in range(1, 1001)
    ]
    drawn = score_strip.tally([], scores, 1000, margin=True)
    assert drawn.count("<span") == 2
    assert len(drawn) < 60_000
    assert score_strip.tally([], [], 10, margin=True) == ""


def test_behind_a_line_stands_every_score_with_its_evidence(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behind(turn: int) -> str:
        app = page(runs, monkeypatch, run="broken", turn=str(turn), behind="1")
        assert "<i>No" not in shown(app)
        return " ".join(read(app).split())

    assert "✗ habit: never asks: broken" in behind(3)
    assert "– sign: blunt or flattering: missing" in behind(4)
    assert "· trait, by a judge: hopeful or despairing: neither" in behind(6)
    text = behind(8)
    assert "✗ trait, by a judge: hopeful or despairing: despairing" in text
    assert "<i>No</i>" in text
    assert "sure 0.25" in text
    assert "likelier than from its opposite (nats): -3.5" in behind(10)
    text = behind(12)
    assert "✗ the secret: given away" in text
    assert "words gold, mule" in text
    text = behind(0)
    assert "Scores of the whole scene" in text
    assert "given away yes" in text


def test_what_a_judge_was_asked_and_said_stands_behind_the_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_run(runs, "tree")
    verdict = next(
        v
        for v in folder.tables.read("verdicts").to_pylist()
        if v["branch"] == MAIN and v["turn"] == 4 and v["measure"].startswith("state")
    )
    app = page(runs, monkeypatch, run="tree", turn="4", behind="1")
    text = " ".join(read(app).split())
    assert f"puppet on {score_words.measure_name(verdict['measure'])}: {verdict['answer']}" in text
    assert " ".join(verdict["prompt"].split())[:400] in text
    assert "calibration" not in text


def test_marks_in_the_margin_name_what_broke(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read(page(runs, monkeypatch, run="broken"))
    assert "Eliseo breaks a habit" in text
    assert "Rufina breaks a trait" in text
    assert "despairing, not hopeful" in text
    assert "Rufina gives a secret away" in text
    assert "-3.5" not in text, "a likelihood breaks nothing"


def test_words_for_scores() -> None:
    def words(measure: str, value: float | None) -> tuple[str, str]:
        return score_words.verdict({"measure": measure, "value": value, "turn": 1})

    assert words("probe:name", 0.0) == ("✗", "wrong")
    assert words("p2l", 1.0) == ("✓", "no contradiction")
    assert words("l2l", 0.75) == ("·", "0.75")
    assert words("secret:turn", 1.0) == ("·", "1")
    assert words("sign:odd", 0.0) == ("·", "0")
    assert score_words.ordered(["stylometry", "rule:b", "habit:a", "sign:x/y"]) == [
        "habit:a",
        "sign:x/y",
        "rule:b",
        "stylometry",
    ]
    assert not score_words.broken({"measure": "likelihood", "value": -2.0, "turn": 3})
    assert not score_words.broken({"measure": "secret:turn", "value": 0.0, "turn": None})
    assert score_words.evidence({"evidence": "{torn"}) == [("", "{torn")]


# --- branches


def test_a_branch_is_read_with_what_it_shares(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_run(runs, "tree")
    trial = folder.transcripts.trial("0")["trial"]
    main = page(runs, monkeypatch, run="tree")
    assert "2 branches grow from this scene" in " ".join(read(main).split())
    grown = next(r for r in folder.transcripts.branches(trial) if r["origin"] == "branch")
    app = page(runs, monkeypatch, run="tree", trial=trial, branch=grown["branch"][:6], turn="3")
    assert address(app)["branch"] == grown["branch"]
    text = " ".join(read(app).split())
    assert "A branch of the scene as it was first played" in text
    assert "Nobody sold me anything." in text
    assert f'multiverse?run=tree&amp;trial={trial}&amp;branch={grown["branch"]}"' in shown(app)
    shared = [t.text for t in folder.transcripts.read(trial).turns if t.turn == 2]
    assert all(line in text for line in shared)
    app.button(key="next").click()
    well(app.run())
    assert address(app)["branch"] == grown["branch"]


def test_behind_a_shared_line_stands_the_parents_call(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_run(runs, "tree")
    trial = folder.transcripts.trial("0")["trial"]
    grown = next(r for r in folder.transcripts.branches(trial) if r["origin"] == "branch")
    for turn, owner in ((2, MAIN), (5, grown["branch"])):
        app = page(
            runs,
            monkeypatch,
            run="tree",
            trial=trial,
            branch=grown["branch"],
            turn=str(turn),
            behind="1",
        )
        call = next(
            c
            for c in folder.transcripts.calls(trial, grown["branch"])
            if c.draw.turn == turn and c.draw.purpose == "line"
        )
        assert call.draw.branch == owner
        assert str(call.draw.seed) in read(app)
        assert "Scores" in read(app)


def test_a_branch_that_is_not_there_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(runs, monkeypatch, run="tree", branch="<b>nowhere")
    assert "This trial has no branch “<b>nowhere”" in read(app)
    assert "branch" not in address(app)
    assert "from here on, improvised" in read(app)


# --- downloads


def test_a_scene_can_be_taken_home(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPROV_RUNS", str(runs))
    made = run_data.find_run("broken")
    play = run_data.play(made, run_data.trial_rows(made)[0])
    whole, bare = (toolbar._folio(made, play, margin=m) for m in (True, False))
    forms = {name: make for name, (_, _, make) in toolbar._FORMS.items()}
    assert "[[Note to Rufina: A lamp.]]" in str(forms["Fountain"](whole))
    assert "A lamp." not in str(forms["Fountain"](bare))
    assert "**Eliseo**: Line 1, straße \\<b\\>." in str(forms["Markdown"](whole))
    document = orjson.loads(forms["JSON"](whole))
    assert document["facts"]["Run"] == "broken"
    assert len(document["scores"]) == 12
    app = page(runs, monkeypatch, run="broken")
    assert {b.label for b in app.get("download_button")} >= {"Fountain", "Markdown", "JSON"}
