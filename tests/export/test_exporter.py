"""The export command: its output, its target and its errors."""

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
    """Run the command; return its standard output, and its whole output with errors."""
    import improv.cli  # noqa: F401

    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == code, done.output
    return " ".join(done.stdout.split()), " ".join(done.output.split())


def test_the_command_writes_to_the_working_folder_and_prints_the_name(
    busy: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said, _ = command("last", "--to", "jsonl", "--runs", busy.root)
    assert f"written: {busy.id}.jsonl" in said and "of 4 scenes" in said
    said, _ = command("last/0", "--to", "markdown", "--branches", "--runs", busy.root)
    assert f"written: {busy.id}-0-markdown (5 scenes, of 5 scenes)" in said
    assert len(list((tmp_path / f"{busy.id}-0-markdown").glob("*.md"))) == 5


def test_every_format_is_overwritten_only_with_force(busy: RunFolder, tmp_path: Path) -> None:
    for to in EXPORT_FORMATS.keys() - {"inspect"}:
        place = str(tmp_path / to)
        command(busy.id, "--to", to, "-o", place, "--runs", busy.root)
        _, wrong = command(busy.id, "--to", to, "-o", place, "--runs", busy.root, code=2)
        assert "exists already; overwrite it with --force" in wrong
        command(busy.id, "--to", to, "-o", place, "--runs", busy.root, "--force")
    mine = tmp_path / "fountain" / "mine.txt"
    mine.write_text("mine")
    export(busy, "fountain", path=tmp_path / "fountain", force=True)
    assert mine.read_text() == "mine", "no file is removed"
    assert not [f for f in tmp_path.rglob("*") if ".tmp" in f.name]


@pytest.mark.parametrize(
    ("wanted", "to", "where", "message"),
    [
        (SceneFilter(), "csv", "x", "csv: is not a format; there are jsonl, hf, inspect"),
        (SceneFilter("99"), "jsonl", "x", "99: is not a finished trial of"),
        (SceneFilter("0~zz"), "jsonl", "x", "0~zz: is not a finished branch of"),
        (
            SceneFilter(condition="x"),
            "hf",
            "x",
            "x: is not a condition of .*; there are as script, in",
        ),
        (SceneFilter(condition="i"), "hf", "x", "i: means several conditions; there are as script"),
        (SceneFilter(scene="boat"), "otel", "x", "boat: is not a scene of .*; there are kettle"),
        (SceneFilter(), "jsonl", "a folder", "a folder: is a folder, but this format is a file"),
        (SceneFilter(), "hf", "a file", "a file: is a file, but this format is a folder"),
        (SceneFilter(), "jsonl", "a file/x", "a file/x: cannot be written"),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(
    busy: RunFolder, tmp_path: Path, wanted: SceneFilter, to: str, where: str, message: str
) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(RunError, match=message):
        export(busy, to, wanted, tmp_path / where)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a file", "a folder"]
    assert (tmp_path / "a file").read_text() == "mine"


def test_an_unknown_run_is_an_error(tmp_path: Path) -> None:
    _, wrong = command("nowhere", "--to", "jsonl", "--runs", str(tmp_path), code=2)
    assert "nowhere: is not a run in" in wrong


def test_a_run_that_is_still_playing_gives_its_scenes_until_now(
    busy: RunFolder, tmp_path: Path
) -> None:
    place = tmp_path / "runs" / busy.id
    place.mkdir(parents=True)
    for file in Path(busy.path).glob("*.*"):
        (place / file.name).write_bytes(file.read_bytes())
    meta = orjson.loads((place / "run.json").read_bytes()) | {"status": "playing", "trials": 7}
    (place / "run.json").write_bytes(orjson.dumps(meta))
    where = str(tmp_path / "x.jsonl")
    _, output = command(busy.id, "--to", "jsonl", "-o", where, "--runs", str(tmp_path / "runs"))
    assert "the run is still playing" in output and "3 planned trials are not played yet" in output
    export(busy, "jsonl", path=tmp_path / "y.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()


def test_exported_scenes_are_those_of_the_run(busy: RunFolder) -> None:
    """Reading the tables side by side gives the same scenes as reading each scene alone."""
    count = 0
    for played in played_scenes(select_scenes(busy, SceneFilter(branches=True))):
        trial, branch = played.row["trial"], played.row["branch"]
        assert tuple(played.turns) == busy.transcripts.read(trial, branch).turns
        read = [(c.draw.turn, c.draw.key.split("/", 2)[2], c.reply) for c in played.calls]
        stored = busy.transcripts.calls(trial, branch)
        assert read == [(c.draw.turn, c.draw.key.split("/", 2)[2], c.reply) for c in stored]
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
    with pytest.raises(RunError, match="of a call's prompt is not in the table of blocks"):
        export(torn, "jsonl", path=tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()
