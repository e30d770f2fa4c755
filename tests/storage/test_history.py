"""The history of a run: what is left out, changed, cut off or copied back from before shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from improv.storage.history import HISTORY_FILE
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from tests.support.looks import play


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with four looks in its history."""
    folder = play(tmp_path_factory.mktemp("history")).folder
    for _ in range(4):
        folder.record("looked", by="report", blocks=30, p=True)
    return folder


@pytest.fixture
def copied(played: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of that run which a test may bend."""
    target = tmp_path / "a"
    target.mkdir()
    for file in played.local.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    return open_run(tmp_path, "a")


def lines(folder: RunFolder) -> list[str]:
    return (folder.local / HISTORY_FILE).read_text().splitlines()


def write(folder: RunFolder, rows: list[str]) -> None:
    (folder.local / HISTORY_FILE).write_text("".join(f"{row}\n" for row in rows))


def test_a_history_has_what_was_done_in_its_order(played: RunFolder) -> None:
    past = played.history
    assert past.kept and not past.problems
    assert [e.what for e in past.entries] == ["begun", "played", "ended", *["looked"] * 4]
    assert [e.number for e in past.entries] == list(range(1, 8))
    begun = past.entries[0].details
    assert begun["plan"] == played.meta()["plan_hash"] and begun["blocks"] == 30
    assert played.checksums.differences() == []


def change_one(rows: list[str]) -> list[str]:
    return [row.replace('"p":true', '"p":false') if i == 4 else row for i, row in enumerate(rows)]


def renumber(rows: list[str]) -> list[str]:
    """Leave out a look and close the gap in the numbers."""
    kept = [json.loads(row) for i, row in enumerate(rows) if i != 4]
    return [json.dumps(row | {"number": i}) for i, row in enumerate(kept, start=1)]


BENDS: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "an entry is left out": (lambda rows: [*rows[:4], *rows[5:]], "was left out"),
    "an entry is changed": (change_one, "was changed"),
    "an entry is left out and the rest renumbered": (renumber, "was changed"),
    "the end is cut": (lambda rows: rows[:-1], "ends after 6 entries; run.json says 7"),
    "all is cut": (lambda rows: [], "ends after 0 entries"),
    "two entries are exchanged": (
        lambda rows: [*rows[:3], rows[4], rows[3], *rows[5:]],
        "left out",
    ),
    "a line is garbled": (lambda rows: [*rows[:5], rows[5][:40], rows[6]], "was left out"),
    "another history": (lambda rows: [rows[0]] * 7, "was left out"),
}


@pytest.mark.parametrize("bend", BENDS)
def test_what_was_bent_is_said(copied: RunFolder, bend: str) -> None:
    change, said = BENDS[bend]
    write(copied, change(lines(copied)))
    assert any(said in problem for problem in copied.history.problems), copied.history.problems


def test_a_history_that_is_gone_is_said(copied: RunFolder) -> None:
    (copied.local / HISTORY_FILE).unlink()
    (problem,) = copied.history.problems
    assert "is missing, and run.json says that it has 7 entries" in problem


def test_run_json_without_its_count_differs_from_its_checksum(copied: RunFolder) -> None:
    file = copied.local / "run.json"
    meta = json.loads(file.read_text())
    del meta["history"]
    file.write_text(json.dumps(meta))
    assert any("does not say how many" in problem for problem in copied.history.problems)
    assert any("run.json: is not as improv wrote it" in d for d in copied.checksums.differences())


def test_tables_that_were_written_by_hand_with_their_checksums_are_said(copied: RunFolder) -> None:
    table = copied.tables.read("trials")
    copied.tables.write("trials", table.slice(4))
    assert copied.checksums.differences() == []
    (problem,) = copied.history.problems
    assert "trials.parquet: was written after the last entry" in problem


def test_a_killed_look_loses_nothing(copied: RunFolder) -> None:
    """The entry is there, and run.json does not say so yet."""
    before = (
        (copied.local / "run.json").read_bytes(),
        (copied.local / "checksums.json").read_bytes(),
    )
    copied.record("looked", by="report", blocks=30, p=True)
    (copied.local / "run.json").write_bytes(before[0])
    (copied.local / "checksums.json").write_bytes(before[1])
    with (copied.local / HISTORY_FILE).open("a") as sink:
        sink.write('{"number": 9, "what": "loo')  # and the next one was torn
    assert copied.history.problems == ()
    copied.record("looked", by="report", blocks=30, p=True)
    assert copied.history.problems == ()
    assert [e.number for e in copied.history.entries] == list(range(1, 10))


def test_many_may_look_at_once_while_run_json_changes(copied: RunFolder) -> None:
    def look() -> None:
        for _ in range(5):
            copied.record("looked", by="viewer", blocks=30, p=True)

    def update() -> None:
        for i in range(5):
            copied.update({f"key {threading.get_ident()} {i}": i})

    threads = [threading.Thread(target=do) for do in (look, update, look, update)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meta = copied.meta()
    assert len(copied.history.of("looked")) == 14
    assert sum(key.startswith("key ") for key in meta) == 10
    assert copied.history.problems == () and copied.checksums.differences() == []


def test_a_run_of_an_older_version_has_no_history_and_gets_none(copied: RunFolder) -> None:
    meta = copied.meta()
    del meta["history"]
    (copied.local / "run.json").write_text(json.dumps(meta))
    (copied.local / HISTORY_FILE).unlink()
    copied.record("looked", by="report", blocks=30, p=True)
    past = copied.history
    assert not past.kept and past.problems == ()
    assert not (copied.local / HISTORY_FILE).exists()
