"""The Rate room without a browser: its questions, the stored answers, and what it must not show."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring import human_ratings
from improv.storage.run_folder import RunFolder
from improv.storage.run_ratings import RATINGS_FOLDER
from improv.study.loader import load
from improv.study.measure_spec import measure as spec
from tests.support.ui import HOSTILE, address, bare_run, page, read, shown, well
from tests.support.ui_runs import BLINDED_STUDY
from ui.rate import questions

ANN = human_ratings.judge_name("Ann")


@pytest.fixture
def folder(kettle: Path, tmp_path: Path) -> RunFolder:
    path = kettle.with_name("blinded.yaml")
    path.write_text(BLINDED_STUDY)
    return run(load(path), runs=tmp_path / "runs", name="blind", setup=Setup(ray="off")).folder


def rate(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str = "Ann") -> AppTest:
    app = page(Path(folder.root), monkeypatch, room="rate", run=folder.id)
    return named(app, name)


def named(app: AppTest, name: str) -> AppTest:
    app.text_input(key="rate:typed").set_value(name)
    return well(app.button(key="begin").click().run())


def press(app: AppTest, key: str, after: float = 1.2 * questions.READ) -> AppTest:
    time.sleep(after)
    return well(app.button(key=key).click().run())


def question(app: AppTest) -> str:
    return next(
        b for b in (str(e.proto.body) for e in app.html) if b.startswith('<div class="ask"')
    )


def counted(app: AppTest) -> str:
    (bar,) = app.get("progress")
    return str(bar.proto.text).removesuffix(" rated")


def test_a_person_answers_takes_it_back_and_answers_again(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = rate(folder, monkeypatch)
    assert address(app) == {"run": "blind", "measure": "state"}
    many = len(human_ratings.rating_items(folder, folder.study(), "state"))
    first, start = question(app), counted(app)
    assert start == f"0 of {many}"
    labels = [app.button(key=f"answer-{k}").label for k in (1, 2, 3)]
    shortcuts = [app.button(key=f"answer-{k}").proto.shortcut for k in (0, 1, 2, 3)]
    assert shortcuts == ["0", "1", "2", "3"]
    press(app, "answer-1")
    assert question(app) != first
    ((item, row),) = human_ratings.ratings_of(folder, ANN).items()
    assert row["answer"] == labels[0] and row["latency"] > 0
    assert app.button(key="undo").proto.shortcut.upper() == "U"
    press(app, "undo")
    assert question(app) == first and not human_ratings.ratings_of(folder, ANN)
    press(app, "answer-0")
    assert human_ratings.ratings_of(folder, ANN)[item]["answer"] == human_ratings.CANNOT_TELL
    assert folder.tables.read("verdicts").num_rows == 1 and counted(app) == f"1 of {many}"


def test_a_held_key_answers_one_line(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    app = press(rate(folder, monkeypatch), "answer-1")
    left = question(app)
    app.session_state["rate:since"] = time.monotonic() + 60  # it has not been shown yet
    press(app, "answer-1", after=0)
    assert question(app) == left and len(human_ratings.ratings_of(folder, ANN)) == 1


def test_whoever_comes_back_goes_on_and_whoever_else_begins(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = press(press(rate(folder, monkeypatch), "answer-2"), "answer-1")
    left = question(app)
    again = rate(folder, monkeypatch)
    assert question(again) == left and counted(again).startswith("2 of ")
    press(again, "leave")
    other = named(again, "Ben")
    assert counted(other).startswith("0 of ")
    press(other, "answer-1")
    assert {r["judge"] for r in folder.tables.read("verdicts").to_pylist()} == {ANN, "human:Ben"}
    assert len(list((folder.local / RATINGS_FOLDER).iterdir())) == 2


def test_nothing_on_the_page_tells_a_condition_a_trial_or_a_plant(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = rate(folder, monkeypatch)
    hidden = ["zero-author", "framed-author", "Ines Okafor", "calibration:", "planted"]
    rows = folder.tables.read("trials").to_pylist()
    hidden += [r["trial"] for r in rows] + [r["block"] for r in rows]
    hidden += [i.id for i in human_ratings.rating_items(folder, folder.study(), "state")]
    for _ in range(6):
        text = "".join(str(e.proto) for e in app.main if hasattr(e, "proto")) + shown(app)
        text += str(address(app)) + str(app.main)
        assert "Another person" in text and not [h for h in hidden if h in text]
        press(app, "answer-1")


def test_other_measures_can_be_rated(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Path(folder.root)
    named(page(runs, monkeypatch, room="rate", run="blind", measure="l2l"), "Ann")
    for measure in human_ratings.rated_measures(folder.study()):
        app = named(page(runs, monkeypatch, room="rate", run="blind", measure=measure), "Ann")
        assert spec(measure).words.heading in read(app)
        assert address(app)["measure"] == measure
        if app.button and any(b.key == "answer-1" for b in app.button):
            press(app, "answer-1")
    odd = named(page(runs, monkeypatch, room="rate", run="blind", measure="<b>"), "Ann")
    assert address(odd)["measure"] == "state"


def test_the_last_line_ends_it(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    items = human_ratings.rating_items(folder, folder.study(), "state")
    table = folder.tables.read("trials", columns=["trial", "condition"]).to_pylist()
    order = human_ratings.rater_order(items, {r["trial"]: r["condition"] for r in table}, ANN)
    for item in order[:-1]:
        human_ratings.add_rating(folder, item, ANN, "", 1.0)
    app = press(rate(folder, monkeypatch), "answer-1")
    assert "That was all" in read(app) and f"{len(items)} of {len(items)}" == counted(app)
    press(app, "undo")
    assert "That was all" not in read(app)


def test_what_cannot_be_kept_is_told_and_asked_again(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.local / RATINGS_FOLDER).write_text("in the way")
    app = rate(folder, monkeypatch)
    first = question(app)
    press(app, "answer-1")
    assert "Your answer was not saved" in read(app) and question(app) == first
    (folder.local / RATINGS_FOLDER).unlink()
    press(app, "answer-1")
    assert "Your answer was not saved" not in read(app) and question(app) != first


def test_odd_names_and_runs(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = page(Path(folder.root), monkeypatch, room="rate", run="blind")
    for name in ("", "../../x", "<script>"):
        named(app, name)
        assert "a name has" in read(app) and "<script>" not in shown(app)
    assert not (folder.local / RATINGS_FOLDER).exists()
    bare_run(tmp_path / "runs", "bare")
    assert "No scene is finished" in read(
        page(tmp_path / "runs", monkeypatch, room="rate", run="bare")
    )
    bare_run(tmp_path / "runs", "live", status="playing")
    text = read(page(tmp_path / "runs", monkeypatch, room="rate", run="live"))
    assert "The actors are on" in text
    folder.update({"status": "playing"})
    text = read(page(Path(folder.root), monkeypatch, room="rate", run="blind"))
    assert "Lines can be rated after" in text
    assert "no run" in read(page(tmp_path / "none", monkeypatch, room="rate")).lower()


def test_a_question_is_drawn_whole_and_inert() -> None:
    text = (
        "Ana waits.\n\nWhat was said before:\nBO: Hello.\nANA: Hm.\n\nThe line to judge:\n<line>\n"
        f"ANA: {HOSTILE}\n</line>\n\nWhat does the line show?"
    )
    html = questions.question_html(text)
    assert "<script" not in html and "<img" not in html and "\u202e" not in html
    assert html.count("<blockquote>") == 1 and html.count("<li>") == 2
    assert '<span class="name">Ana</span>' in html and "<h2>What does the line show?</h2>" in html
    assert html.index("What was said") < html.index("<blockquote>") < html.index("<h2>")
