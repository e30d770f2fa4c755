"""A run makes the same tables on one host, on many and on Ray, and also when it is resumed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from improv.errors import RunError
from improv.folder import Folder
from improv.models.puppet.server import PuppetServer
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.stage.stage import Stage
from improv.storage.journal import Journal
from improv.storage.run_folder import RunFolder
from improv.storage.runs import list_runs, open_run
from improv.storage.schemas import CLOCK_COLUMNS, SCHEMAS
from improv.storage.shards import CALLS_PER_PART, Shards
from improv.study.design import with_replicates
from improv.study.loader import load
from improv.study.trial import plan


def tables(folder: RunFolder) -> dict[str, pa.Table]:
    """Every table but for what tells of the machine and the moment."""
    names = [n for n in SCHEMAS if n != "limits"]
    return {n: folder.tables.read(n).drop_columns(list(CLOCK_COLUMNS.get(n, ()))) for n in names}


@pytest.mark.ray
def test_the_same_tables_however_it_is_hosted(
    study_file: Path, tmp_path: Path, local_ray: None
) -> None:
    study = load(study_file)
    setups = [Setup(ray="off"), Setup(ray="off", stages=1), Setup(ray="off", hosts=5, stages=64)]
    setups += [Setup(hosts=h, stages=s) for h, s in ((1, 64), (2, 1), (5, 64))]
    results = [run(study, runs=tmp_path / str(i), setup=s) for i, s in enumerate(setups)]
    assert [(r.done, r.failed, r.owed) for r in results] == [(12, 0, 0)] * len(setups)
    first = tables(results[0].folder)
    # No judge was asked, and nothing failed.
    assert {name for name, table in first.items() if not len(table)} == {"verdicts", "failures"}
    for result in results[1:]:
        for name, table in tables(result.folder).items():
            assert table.equals(first[name]), (name, result.folder.path)


def test_nothing_of_a_stage_is_left_when_its_scene_is_over(
    study_file: Path, tmp_path: Path
) -> None:
    """Without Python's search for circles: a host that plays thousands has no time for it."""
    gc.collect()
    gc.disable()
    try:
        result = run(load(study_file), runs=tmp_path / "runs", setup=Setup(ray="off"))
        left = [thing for thing in gc.get_objects() if isinstance(thing, Stage)]
    finally:
        gc.enable()
    assert result.done == 12 and not left


def test_a_shard_holds_what_was_added_whole_and_in_order(study_file: Path, tmp_path: Path) -> None:
    study = with_replicates(load(study_file), 8)
    played = run(study, runs=tmp_path / "runs", setup=Setup(ray="off")).folder
    shards, columns = Shards(played, "again"), ("trials", "turns", "calls")
    whole = {name: played.tables.read(name).sort_by("trial") for name in columns}
    blocks = played.tables.blocks(played.tables.read("blocks")["id"].to_pylist())
    for row in whole["trials"].to_pylist():
        trial = row["trial"]
        turns = played.transcripts.read(trial).turns
        shards.add(row, turns, played.transcripts.calls(trial), blocks.values())
    assert len(whole["calls"]) > 2 * CALLS_PER_PART and len(shards) == 32
    shutil.rmtree(played.local / "shards", ignore_errors=True)
    with pytest.raises(FileNotFoundError):
        shards.flush()
    assert len(shards) == 32
    (played.local / "shards").mkdir()
    shards.flush()
    assert not len(shards)
    tables = {
        name: pq.read_table(played.local / "shards" / f"again-000000.{name}.parquet")
        for name in (*columns, "blocks")
    }
    for name in columns:
        assert tables[name].equals(whole[name]), name
    assert sorted(tables["blocks"]["id"].to_pylist()) == sorted(blocks)


def test_every_planned_trial_is_there_once_with_its_turns(played: RunFolder) -> None:
    trials = played.tables.read("trials").to_pylist()
    assert [t["trial"] for t in trials] == [t.id for t in plan(played.study())]
    turns = Counter(
        t["trial"] for t in played.tables.read("turns").to_pylist() if t["turn"] and t["speaker"]
    )
    assert set(turns.values()) == {6} and len(turns) == 12
    meta = played.meta()
    assert (meta["status"], meta["done"], meta["failed"]) == ("done", 12, 0)
    assert meta["versions"]["mesa"] and meta["trials_hash"]


def test_calls_list_their_blocks_and_blocks_are_stored_once(played: RunFolder) -> None:
    calls = played.tables.read("calls").to_pylist()
    ids = played.tables.read("blocks")["id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert {b for c in calls for b in c["blocks"]} <= set(ids)
    none = {
        t["trial"] for t in played.tables.read("trials").to_pylist() if "none" in t["condition"]
    }
    frames = {
        b["id"]
        for b in played.tables.read("blocks").to_pylist()
        if b["kind"] in ("frame", "author")
    }
    assert frames and not any(frames & set(c["blocks"]) for c in calls if c["trial"] in none)


def test_scores_say_missing_where_there_is_no_line(study_file: Path, tmp_path: Path) -> None:
    patch = {"model": {"model": "puppet", "puppet": {"mute": 1.0}}, "author": {"live": False}}
    folder = run(load(study_file, patch), runs=tmp_path / "r", setup=Setup(ray="off")).folder
    values = folder.tables.read("scores")["value"].to_pylist()
    assert values and set(values) == {None}
    assert set(folder.tables.read("turns")["kind"].to_pylist()) == {
        "written",
        "direction",
        "silence",
    }


def test_a_failed_trial_is_a_row_with_its_reason(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"400": 0.1})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    result = run(study, runs=tmp_path / "r", setup=Setup(ray="off"))
    assert result.failed and result.done and result.done + result.failed == 12
    rows = [r for r in result.folder.tables.read("trials").to_pylist() if r["status"] == "failed"]
    assert all("answered 400" in r["failure"] and r["failure_turn"] >= 1 for r in rows)
    assert all(r["failure_kind"] == "status 400" for r in rows)


def test_a_refused_key_stops_the_run_and_owes_the_trials(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"401": 1.0})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    result = run(study, runs=tmp_path / "r", setup=Setup(ray="off", stages=2))
    assert result.owed == 12 and "401" in result.stopped
    server.spec = server.spec.model_copy(update={"errors": {}})
    again = resume(result.folder, setup=Setup(ray="off"))
    assert (again.done, again.failed, again.owed) == (12, 0, 0)


def test_a_killed_run_goes_on_and_asks_nothing_twice(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server()
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    whole = run(study, runs=tmp_path / "whole", setup=Setup(ray="off")).folder
    server.asked.clear()
    # So slow that it is killed long before it ends.
    server.spec = server.spec.model_copy(update={"latency": 0.3})
    root = tmp_path / "killed"
    command = [sys.executable, "-m", "improv.cli", "run", str(study_file), "--model", "puppet"]
    command += ["--base-url", server.url, "--ray", "off", "--runs", str(root), "--stages", "3"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
        while server.answered < 60 + sum(1 for _ in whole.tables.read("calls").to_pylist()):
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    folder = open_run(root, "last")
    assert folder.meta()["status"] == "playing"
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    before = {call.draw.key for call in folder.journaled().calls()}
    asked = Counter(server.asked)
    assert len(before) >= 50
    result = resume(folder, setup=Setup(ray="off"))
    assert (result.done, result.failed, result.owed) == (12, 0, 0)
    for name, table in tables(whole).items():
        assert table.equals(tables(folder)[name]), name
    assert all(server.asked[key] == asked[key] for key in before)


def test_resuming_a_finished_run_does_nothing(played: RunFolder) -> None:
    before = tables(played)
    result = resume(played, setup=Setup(ray="off"))
    assert (result.done, result.owed) == (12, 0)
    assert all(before[n].equals(t) for n, t in tables(played).items())


def test_a_torn_journal_line_is_owed_again(played: RunFolder) -> None:
    call = played.transcripts.calls(played.transcripts.trial("0")["trial"])[0]
    journal = Journal(Folder(Path(played.path, "journal")), "host.jsonl")
    for _ in range(3):
        journal.append(call, [])
    journal.close()
    assert list(played.journaled().calls()) == [call] * 3
    file = Path(played.path, "journal", "host.jsonl")
    file.write_bytes(file.read_bytes()[:-10])
    assert list(played.journaled().calls()) == [call] * 2


def test_folders_are_private_and_names_cannot_leave(played: RunFolder) -> None:
    assert stat.S_IMODE(Path(played.path).stat().st_mode) == 0o700
    for name in ("../x", "/etc", "a/b", "", ".hidden", "x" * 200):
        with pytest.raises(RunError):
            open_run(played.root, name)


def test_runs_are_found_by_id_beginning_and_last(study_file: Path, tmp_path: Path) -> None:
    for name in ("one-a", "two-b"):
        run(load(study_file), runs=tmp_path / "r", name=name, setup=Setup(ray="off", limit=1))
    root = tmp_path / "r"
    assert {f.id for f in list_runs(root)} == {"one-a", "two-b"}
    assert open_run(root, "one").id == "one-a"
    with pytest.raises(RunError, match="is not a run in"):
        open_run(root, "three")
    assert list_runs(tmp_path / "nowhere") == []


def test_any_pyarrow_filesystem_can_be_read(played: RunFolder) -> None:
    uri = Path(played.root).as_uri()
    assert open_run(uri, played.id).tables.read("turns").equals(played.tables.read("turns"))


def test_tables_are_what_other_readers_want(played: RunFolder) -> None:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(Path(played.path, "turns.parquet"))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert not any(
        pa.types.is_dictionary(f.type) or pa.types.is_map(f.type) for f in file.schema_arrow
    )
    rows = file.read(columns=["trial", "turn"]).to_pylist()
    assert rows == sorted(rows, key=lambda r: (r["trial"], r["turn"]))
    meta = orjson.loads(Path(played.path, "run.json").read_bytes())
    assert meta["trials"] == 12 and not list(Path(played.path, "shards").iterdir())


def test_one_trial_is_read_alone(played: RunFolder) -> None:
    row = played.transcripts.trial("3")
    transcript = played.transcripts.read(row["trial"])
    assert {t.trial for t in transcript.turns} == {row["trial"]}
    assert [t.turn for t in transcript.lines()] == [1, 2, 3, 4, 5, 6]
    assert played.transcripts.trial(row["trial"][:6])["index"] == 3
    with pytest.raises(RunError):
        played.transcripts.trial("nope")


@pytest.mark.weights
def test_the_real_weights_play_a_scene(kettle: Path, tmp_path: Path) -> None:
    patch = {"model": "embedded", "turns": 2, "author": {"live": True, "may": ["note"]}}
    study = with_replicates(load(kettle, patch), 1)
    result = run(study, runs=tmp_path / "r", setup=Setup(ray="off"))
    assert result.done == 1, result.folder.tables.read("trials")["failure"]
    calls = result.folder.tables.read("calls").to_pylist()
    assert [c["role"] for c in calls] == ["author", "Bo", "Ana"]
    assert all(c["model"] == "embedded" and c["prompt_tokens"] > 100 for c in calls)
    lines = [
        t for t in result.folder.tables.read("turns").to_pylist() if t["turn"] and t["speaker"]
    ]
    assert len(lines) == 2 and any(t["text"] for t in lines)
    assert all("\n" not in t["text"] for t in lines)
    assert orjson.loads(calls[0]["reply"])["note_to"] in ("Ana", "Bo", "nobody")
