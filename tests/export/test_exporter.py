"""The command that takes scenes out of a run: what it says, where it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from improv.cli.options import app
from improv.errors import RunError
from improv.export.exporter import EXPORT_FORMATS, export
from improv.export.selection import SceneFilter, played_scenes, select_scenes
from improv.storage.run_folder import RunFolder
from tests.support.export import busy_run


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return busy_run(tmp_path_factory.mktemp("busy"))


def command(*words: str, code: int = 0) -> tuple[str, str]:
    """Run the command; return what it says, and what it complains about."""
    import improv.cli  # noqa: F401

    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == code, done.output
    return " ".join(done.stdout.split()), " ".join(done.output.split())


def test_the_command_writes_beside_you_and_says_what(
    busy: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said, _ = command("last", "--to", "jsonl", "--runs", busy.root)
    assert f"written: {busy.id}.jsonl" in said and "of 4 scenes" in said
    said, _ = command("last/0", "--to", "markdown", "--branches", "--runs", busy.root)
    assert f"written: {busy.id}-0-markdown (5 scenes, of 5 scenes)" in said
    assert len(list((tmp_path / f"{busy.id}-0-markdown").glob("*.md"))) == 5


def test_every_form_can_be_written_again_only_if_that_is_said(
    busy: RunFolder, tmp_path: Path
) -> None:
    for to in EXPORT_FORMATS.keys() - {"inspect"}:
        place = str(tmp_path / to)
        command(busy.id, "--to", to, "-o", place, "--runs", busy.root)
        _, wrong = command(busy.id, "--to", to, "-o", place, "--runs", busy.root, code=2)
        assert "is there already; --force writes over it" in wrong
        command(busy.id, "--to", to, "-o", place, "--runs", busy.root, "--force")
    mine = tmp_path / "fountain" / "mine.txt"
    mine.write_text("mine")
    export(busy, "fountain", path=tmp_path / "fountain", force=True)
    assert mine.read_text() == "mine", "nothing is ever removed"
    assert not [f for f in tmp_path.rglob("*") if ".tmp" in f.name]


@pytest.mark.parametrize(
    ("wanted", "to", "where", "told"),
    [
        (SceneFilter(), "csv", "x", "csv: nothing is exported so; there are jsonl, hf, inspect"),
        (SceneFilter("99"), "jsonl", "x", "99: is not a finished trial of"),
        (SceneFilter("0~zz"), "jsonl", "x", "0~zz: is not a finished branch of"),
        (
            SceneFilter(condition="x"),
            "hf",
            "x",
            "x: is no condition of .*; there are as script, in",
        ),
        (SceneFilter(condition="i"), "hf", "x", "i: means several conditions; there are as script"),
        (SceneFilter(scene="boat"), "otel", "x", "boat: is no scene of .*; there are kettle"),
        (SceneFilter(), "jsonl", "a folder", "a folder: is a folder, and this writes a file"),
        (SceneFilter(), "hf", "a file", "a file: is a file, and this writes a folder"),
        (SceneFilter(), "jsonl", "a file/x", "a file/x: cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    busy: RunFolder, tmp_path: Path, wanted: SceneFilter, to: str, where: str, told: str
) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(RunError, match=told):
        export(busy, to, wanted, tmp_path / where)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a file", "a folder"]
    assert (tmp_path / "a file").read_text() == "mine"


def test_an_unknown_run_is_one(tmp_path: Path) -> None:
    _, wrong = command("nowhere", "--to", "jsonl", "--runs", str(tmp_path), code=2)
    assert "nowhere: is not a run in" in wrong


def test_a_run_that_is_still_played_gives_what_it_holds(busy: RunFolder, tmp_path: Path) -> None:
    place = tmp_path / "runs" / busy.id
    place.mkdir(parents=True)
    for file in Path(busy.path).glob("*.*"):
        (place / file.name).write_bytes(file.read_bytes())
    meta = orjson.loads((place / "run.json").read_bytes()) | {"status": "playing", "trials": 7}
    (place / "run.json").write_bytes(orjson.dumps(meta))
    where = str(tmp_path / "x.jsonl")
    _, told = command(busy.id, "--to", "jsonl", "-o", where, "--runs", str(tmp_path / "runs"))
    assert "the run is still playing" in told and "3 planned trials are not played yet" in told
    export(busy, "jsonl", path=tmp_path / "y.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()


def test_what_comes_out_is_what_the_run_holds(busy: RunFolder) -> None:
    """Scenes that are read side by side are those that are read one by one."""
    count = 0
    for played in played_scenes(select_scenes(busy, SceneFilter(branches=True))):
        trial, branch = played.row["trial"], played.row["branch"]
        assert tuple(played.turns) == busy.transcripts.read(trial, branch).turns
        found = [(c.draw.turn, c.draw.key.split("/", 2)[2], c.reply) for c in played.calls]
        stored = busy.transcripts.calls(trial, branch)
        assert found == [(c.draw.turn, c.draw.key.split("/", 2)[2], c.reply) for c in stored]
        scores = busy.tables.read("scores", trial=trial).to_pylist()
        assert len(played.scores) == sum(s["branch"] == branch for s in scores)
        count += 1
    assert count == len(busy.tables.read("trials"))


def test_a_lost_block_is_named(busy: RunFolder, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    place = tmp_path / "runs" / busy.id
    place.mkdir(parents=True)
    for file in Path(busy.path).glob("*.*"):
        (place / file.name).write_bytes(file.read_bytes())
    blocks = busy.tables.read("blocks")
    pq.write_table(blocks.slice(0, len(blocks) // 2), place / "blocks.parquet")
    torn = RunFolder(busy.fs, str(place), str(place.parent))
    with pytest.raises(RunError, match="which a call showed, is not in the table of blocks"):
        export(torn, "jsonl", path=tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()
