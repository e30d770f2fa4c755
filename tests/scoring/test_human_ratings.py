"""Ratings by people: the questions, the stored answers, and their use in an analysis."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow.fs as pafs
import pytest

from improv.analysis.loader import analyse_run
from improv.errors import RunError
from improv.report.material import read_material
from improv.report.run_report import report
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.scoring import human_ratings
from improv.scoring.judge_models import Judges
from improv.scoring.measures.judge_item import Item
from improv.scoring.scorer import score
from improv.storage.run_folder import RunFolder
from improv.storage.run_ratings import RATINGS_FOLDER, rating_file_name
from improv.study.loader import load
from improv.study.plan import PLAYED_LINES

OFF = Setup(ray="off")
ANN, BEN = human_ratings.judge_name("Ann"), human_ratings.judge_name("Ben")
STUDY = """\
study: rated
question: Can anybody tell?
scenes: [kettle.yaml]
set:
  turns: 6
  author: {live: false}
factors:
  author:
    none: {author: {frame: ""}}
    framed: {author: {frame: Ines Okafor never lets a character turn.}}
replicates: 3
"""


@pytest.fixture
def folder(kettle: Path) -> RunFolder:
    path = kettle.with_name("rated.yaml")
    path.write_text(STUDY)
    return run(load(path), runs=kettle.parent / "runs", name="rated", setup=OFF).folder


def asked_of(folder: RunFolder, measure: str = "state") -> list[Item]:
    return human_ratings.rating_items(folder, folder.study(), measure)


def truly(item: Item) -> str:
    """The option that a plant's truth is, or the first for a line that was played."""
    if item.truth is not None:
        return item.options[item.values.index(item.truth)]
    return next(o for o in item.options if o != human_ratings.CANNOT_TELL)


@pytest.mark.parametrize(
    ("typed", "judge"),
    [
        ("Ann", "human:Ann"),
        ("  Ann \t Lee ", "human:Ann Lee"),
        ("山田", "human:山田"),
        ("Zoë O’Hara-2", "human:Zoë O’Hara-2"),
    ],
)
def test_a_raters_name_is_a_judge(typed: str, judge: str) -> None:
    assert human_ratings.judge_name(typed) == judge


@pytest.mark.parametrize(
    "typed", ["", " ", "a" * 41, "../../etc", "a/b", "a:b", "<b>", "a\u202eb\n;"]
)
def test_an_invalid_name_is_refused(typed: str) -> None:
    with pytest.raises(RunError, match="a name has"):
        human_ratings.judge_name(typed)


def test_no_name_leads_out_of_the_folder_and_no_two_share_a_file() -> None:
    names = ["..", ".", "...", "Ann", "ann", "ANN", "Änn", "A nn", "A.nn", "con", "x" * 40, "山田"]
    files = [rating_file_name(human_ratings.judge_name(n)) for n in names]
    assert len({f.lower() for f in files}) == len(names)
    for file in files:
        assert Path(file).name == file
        assert file.isascii() and file.endswith(".jsonl") and len(file) < 60


def test_a_rater_is_asked_what_a_judge_is(folder: RunFolder) -> None:
    result = score(folder, ["state"], Judges("puppet"))
    assert not result.stopped
    rows = {r["item"]: r for r in folder.tables.read("verdicts").to_pylist()}
    items = asked_of(folder)
    played = [i for i in items if i.truth is None]
    assert played and all(i.id in rows for i in played)
    for item in played:
        assert item.text == rows[item.id]["prompt"]
        text, options = human_ratings.question_parts(item)
        assert text in item.text
        where = [item.text.index(f"- {o}") for o, _ in options]
        assert where == sorted(where) and len(options) == len(item.options) - 1
        assert human_ratings.CANNOT_TELL not in dict(options)


def test_every_condition_is_asked_about_alike(folder: RunFolder) -> None:
    items = asked_of(folder)
    table = folder.tables.read("trials", columns=["trial", "condition"]).to_pylist()
    conditions = {r["trial"]: r["condition"] for r in table}
    kinds = Counter((conditions[i.trial], i.truth) for i in items)
    assert set(kinds.values()) <= {
        PLAYED_LINES,
        human_ratings.RATED_PLANTS,
        min(kinds.values()),
    }
    for truth in (None, 0.0, 1.0):
        assert kinds["none", truth] == kinds["framed", truth] > 0
    orders = [human_ratings.rater_order(items, conditions, judge) for judge in (ANN, BEN)]
    assert orders[0] == human_ratings.rater_order(items[::-1], conditions, ANN) != orders[1]
    for order in orders:
        assert sorted(i.id for i in order) == sorted(i.id for i in items)
        # Whoever stops half way has done half of everything.
        half = Counter((conditions[i.trial], i.truth) for i in order[: len(order) // 2])
        assert all(abs(half[kind] - many / 2) <= 1.5 for kind, many in kinds.items())


def test_a_rating_is_a_verdict_until_it_is_taken_back(folder: RunFolder) -> None:
    first, second, *_ = asked_of(folder)
    state = folder.ratings.state()
    human_ratings.add_rating(folder, first, ANN, truly(first), 2.5)
    human_ratings.add_rating(folder, second, ANN, "", 1.0)
    assert folder.ratings.state() != state
    rows = {r["item"]: r for r in folder.tables.read("verdicts").to_pylist()}
    assert set(rows) == {first.id, second.id}
    row = rows[first.id]
    place = (first.trial, first.branch, first.turn, first.character, first.measure)
    assert tuple(row[c] for c in ("trial", "branch", "turn", "character", "measure")) == place
    assert (row["judge"], row["answer"], row["latency"]) == (ANN, truly(first), 2.5)
    assert row["value"] == first.values[first.options.index(truly(first))]
    assert rows[second.id]["value"] is None and not rows[second.id]["error"]
    assert folder.tables.read("verdicts", trial=first.trial, columns=["item"]).num_rows >= 1

    human_ratings.retract_rating(folder, first.id, ANN)
    assert set(human_ratings.ratings_of(folder, ANN)) == {second.id}
    # Rated twice, the last word counts; another's words are another's.
    other = next(o for o in first.options if o not in (truly(first), human_ratings.CANNOT_TELL))
    human_ratings.add_rating(folder, first, ANN, truly(first), 1.0)
    human_ratings.add_rating(folder, first, ANN, other, 1.0)
    human_ratings.add_rating(folder, first, BEN, truly(first), 1.0)
    rows_of = [
        (r["judge"], r["answer"])
        for r in folder.tables.read("verdicts").to_pylist()
        if r["item"] == first.id
    ]
    assert sorted(rows_of) == [(ANN, other), (BEN, truly(first))]


def test_torn_and_foreign_lines_are_passed_over(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, *_ = asked_of(folder)
    human_ratings.add_rating(folder, first, ANN, truly(first), 1.0)
    home = folder.local / RATINGS_FOLDER
    file = home / rating_file_name(ANN)
    whole = file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0 and whole.endswith(b"\n")
    row = orjson.loads(whole)
    foreign: list[object] = [
        3,
        [],
        {"item": 3, "judge": ANN},
        row | {"judge": "gpt"},
        row | {"turn": "x"},
        {"item": "x"},
        {k: v for k, v in row.items() if k != "value"},
        row | {"more": 1},
    ]
    (home / "odd.jsonl").write_bytes(b"\n".join(orjson.dumps(r) for r in foreign) + b"\n\xff\xfe\n")
    (home / "notes.txt").write_bytes(whole.replace(b"Ann", b"Cyd"))
    (home / "dir.jsonl").mkdir()
    file.write_bytes(whole + whole[: len(whole) // 2])  # a crash in the middle of a line
    human_ratings.add_rating(folder, second, ANN, truly(second), 1.0)
    assert set(human_ratings.ratings_of(folder, ANN)) == {first.id, second.id}
    assert {r["judge"] for r in folder.tables.read("verdicts").to_pylist()} == {ANN}
    (home / "gone.jsonl").symlink_to(home / "nowhere")
    with pytest.raises(RunError, match=r"gone\.jsonl: is a symbolic link"):
        folder.tables.read("verdicts")


def test_two_raters_and_two_windows_write_at_once(folder: RunFolder) -> None:
    items = asked_of(folder)
    jobs = [(judge, item) for item in items for judge in (ANN, ANN, BEN)]
    with ThreadPoolExecutor(12) as pool:
        list(
            pool.map(lambda j: human_ratings.add_rating(folder, j[1], j[0], truly(j[1]), 0.1), jobs)
        )
    counts = Counter(r["judge"] for r in folder.tables.read("verdicts").to_pylist())
    assert counts == {ANN: len(items), BEN: len(items)}
    lines = b"".join(f.read_bytes() for f in (folder.local / RATINGS_FOLDER).iterdir()).splitlines()
    assert len([orjson.loads(line) for line in lines if line]) == len(jobs)


def test_what_cannot_be_kept_is_said(folder: RunFolder, tmp_path: Path) -> None:
    first = asked_of(folder)[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home = folder.local / RATINGS_FOLDER
    home.symlink_to(elsewhere)
    with pytest.raises(RunError, match="is a symbolic link"):
        human_ratings.add_rating(folder, first, ANN, truly(first), 1.0)
    assert not list(elsewhere.iterdir())
    home.unlink()
    home.mkdir()
    (home / rating_file_name(ANN)).symlink_to(elsewhere / "file")
    with pytest.raises(RunError, match="is a symbolic link"):
        human_ratings.add_rating(folder, first, ANN, truly(first), 1.0)
    (home / rating_file_name(ANN)).unlink()
    home.rmdir()
    home.write_text("no folder")
    with pytest.raises(RunError, match="is a file, where a folder"):
        human_ratings.add_rating(folder, first, ANN, truly(first), 1.0)
    assert folder.tables.read("verdicts").num_rows == 0 and folder.ratings.state() == "[]"

    base, store = (
        folder.path.rpartition("/")[0],
        pafs.SubTreeFileSystem("/", pafs.LocalFileSystem()),
    )
    far = RunFolder(store, f"{base.lstrip('/')}/{folder.id}", "s3://somewhere")
    assert asked_of(far)[0].id == first.id  # it can be read there
    with pytest.raises(RunError, match="played in a local folder"):
        human_ratings.add_rating(far, first, ANN, truly(first), 1.0)


def test_ratings_enter_calibration_and_agreement(folder: RunFolder) -> None:
    score(folder, ["state"], Judges("puppet"))
    before = {(j.judge, j.measure) for j in analyse_run(folder).judges}
    said = {r["item"]: r["answer"] for r in folder.tables.read("verdicts").to_pylist()}
    for item in asked_of(folder):
        # Ann knows all plants, and says what the puppet says; Ben always says the same.
        plant = item.truth is not None
        human_ratings.add_rating(folder, item, ANN, truly(item) if plant else said[item.id], 1.0)
        human_ratings.add_rating(folder, item, BEN, truly(replace(item, truth=None)), 1.0)
    judges = {j.judge: j for j in analyse_run(folder).judges if j.measure == "state"}
    assert set(judges) == {"puppet", ANN, BEN} and len(before) == 1
    assert judges[ANN].able and not judges[BEN].able
    confusion = judges[ANN].pooled
    assert (confusion.misses, confusion.alarms, confusion.unread) == (0, 0, 0)
    assert confusion.opposite == confusion.pole == 2 * human_ratings.RATED_PLANTS
    assert not math.isnan(judges[ANN].agreement.value)
    for item in asked_of(folder):
        human_ratings.retract_rating(folder, item.id, BEN)
    (two,) = (j for j in analyse_run(folder).judges if j.judge == ANN)
    assert two.agreement.value == pytest.approx(1.0)
    page = report(read_material(folder)).as_html()
    assert ANN in page and BEN not in page and "Krippendorff" in page


def test_a_rated_run_is_scored_and_resumed_as_before(folder: RunFolder) -> None:
    items = asked_of(folder)
    for item in items:
        human_ratings.add_rating(folder, item, ANN, truly(item), 1.0)
    scores = folder.tables.read("scores")
    files = {f.name: f.read_bytes() for f in (folder.local / RATINGS_FOLDER).iterdir()}
    assert resume(folder, setup=OFF).idle
    assert folder.tables.read("scores").equals(scores)
    for judges in (Judges(), Judges("puppet")):
        assert not score(folder, ["state"] if judges.first else [], judges).stopped
        rows = folder.tables.read("verdicts").to_pylist()
        assert sum(r["judge"] == ANN for r in rows) == len(items)
    assert all("human" not in s["version"] for s in folder.tables.read("scores").to_pylist())
    assert {f.name: f.read_bytes() for f in (folder.local / RATINGS_FOLDER).iterdir()} == files
    # What a scoring has put into the table can still be taken back.
    human_ratings.retract_rating(folder, items[0].id, ANN)
    rows = folder.tables.read("verdicts").to_pylist()
    assert sum(r["judge"] == ANN for r in rows) == len(items) - 1
