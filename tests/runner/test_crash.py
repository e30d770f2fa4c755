"""After processes are killed, files are torn and disks are full, a resumed run ends with the tables
of an undisturbed run.

benchmarks/storm (`make storm`) does the same for longer.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from improv.runner.launch import resume
from improv.runner.session import Setup
from improv.storage.repair import tidy
from improv.storage.schemas import TRIAL_TABLES
from improv.storage.shards import Shards
from tests.support.crash import (
    Siege,
    Stand,
    Theatre,
    kill_in_compaction,
    tables,
    tear,
    warm_up,
)
from tests.support.disk import fill, small_disk
from tests.support.patience import until

ON_STAGE = ("--stages", "4")
ON_CLUSTER = ("--stages", "2", "--hosts", "2")


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    warm_up()
    started = Theatre(tmp_path_factory.mktemp("theatre"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    started = Stand()
    yield started
    started.close()


@pytest.fixture
def shards(theatre: Theatre) -> Siege:
    """A run that was killed with all of its trials in shards, and none in its tables yet."""
    siege = theatre.siege(1)
    while not kill_in_compaction(siege, *ON_STAGE, before="turns.parquet"):
        siege = theatre.siege(1)  # another run: this one's calls were counted already
    return siege


@pytest.mark.parametrize("seed", [1, 2])
def test_drivers_are_killed_again_and_again(theatre: Theatre, seed: int) -> None:
    dice, siege = random.Random(seed), theatre.siege(4)
    for _ in range(5):
        driver = siege.drive(*ON_STAGE)
        time.sleep(dice.uniform(0, 1.0))
        siege.blow("driver", driver.kill())
    siege.end(*ON_STAGE)


def test_killed_while_compacting_and_while_compacting_again(theatre: Theatre) -> None:
    dice, siege, struck = random.Random(1), theatre.siege(4), 0
    for _ in range(100):
        if kill_in_compaction(siege, *ON_STAGE, delay=dice.uniform(0, 0.01)):
            struck += 1
        else:  # it was quicker than we
            siege.end()
            siege = theatre.siege(4)
        if struck == 5:
            break
    assert struck == 5
    siege.end(*ON_STAGE)


def test_a_table_that_no_shard_was_joined_into_yet_is_not_missing(shards: Siege) -> None:
    tables = shards.folder.tables
    for name in TRIAL_TABLES[:2]:  # as far as the process came before it was killed
        tables.write(name, tables.read(name))
    shards.note()
    shards.end(*ON_STAGE)
    assert "missing" not in shards.said and not (shards.path / "aside").exists()


def test_a_lost_table_is_missing_beside_shards_of_a_later_session(theatre: Theatre) -> None:
    def in_two_sessions() -> Siege:
        siege = theatre.siege(2)
        assert siege.drive(*ON_STAGE, "--max-calls", "60").wait() == 4
        driver = siege.drive(*ON_STAGE)
        until(lambda: siege.folder.tables.stems() or not driver.alive, every=0.0005)
        driver.kill()
        return siege

    siege = in_two_sessions()
    while not siege.folder.tables.stems():
        siege = in_two_sessions()  # it was quicker than we
    siege.note()
    (siege.path / "scores.parquet").unlink()
    siege.end(*ON_STAGE)
    assert "scores.parquet: is missing" in siege.said


def test_a_torn_shard_and_foreign_files_are_set_aside(shards: Siege) -> None:
    shards.blow("torn shard", tear(shards.path, random.Random(1)))
    (shards.path / "shards" / "notes.txt").write_text("mine")
    (shards.path / "shards" / "folder").mkdir()
    (shards.path / "holiday.parquet").write_bytes(b"PAR1")
    (shards.path / "journal" / "torn.jsonl").write_bytes(b'[["a","b"\x00\xff\n[["x"]]\n{}\n')
    (shards.path / "journal" / ".checkpoints").mkdir()
    (shards.path / "turns.parquet.tmp").write_bytes(b"PAR1")
    shards.end()
    for what in ("notes.txt: is no shard", "holiday.parquet: is no table", "torn or foreign lines"):
        assert what in shards.said.replace("\n", " ")
    assert len(list((shards.path / "aside").iterdir())) == 2 + len(TRIAL_TABLES)


@pytest.mark.parametrize("name", ["turns", "trials", "blocks", "scores"])
@pytest.mark.parametrize("how", ["torn", "missing"])
def test_a_lost_table_is_made_again_of_its_calls(theatre: Theatre, name: str, how: str) -> None:
    siege = theatre.siege(1)
    siege.end(*ON_STAGE)
    asked = theatre.server.asked.copy()
    file = siege.path / f"{name}.parquet"
    if how == "torn":
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.unlink()
    siege.end()
    assert f"{name}.parquet: " in siege.said.replace("\n", "") and "set aside" in siege.said
    assert theatre.server.asked == asked


def test_a_host_thought_dead_goes_on_writing_what_was_cleared_away(shards: Siege) -> None:
    folder = shards.path / "shards"
    written = {name: next(folder.glob(f"*.{name}.parquet")) for name in TRIAL_TABLES}
    late = {written[name]: written[name].read_bytes() for name in TRIAL_TABLES[1:]}
    for file in late:
        file.unlink()
    tidy(shards.folder, shards.folder.journaled())
    for file, data in late.items():
        file.write_bytes(data)
    shards.end()


def test_a_host_thought_dead_writes_what_another_has_played_anew(shards: Siege) -> None:
    folder = shards.path / "shards"
    late = {f"000-late-{file.name}": file.read_bytes() for file in folder.iterdir()}
    for name, data in late.items():
        (folder / name).write_bytes(data)
    shards.end()
    for name, data in late.items():
        (folder / name).write_bytes(data)
    shards.check()
    shards.end()
    assert not list(folder.iterdir())


def test_shards_of_two_flushes_at_once_are_both_whole(theatre: Theatre) -> None:
    siege = theatre.siege(1)
    siege.end(*ON_STAGE)
    folder = siege.folder
    rows = {name: folder.tables.read(name).to_pylist() for name in TRIAL_TABLES}
    other = Shards(folder, "other")
    for branch in ("a", "b"):
        trial = rows["trials"][0] | {"trial": branch}
        other.add(trial, (), (), ())
        threading.Thread(target=other.flush).start()
    assert until(lambda: len(list((siege.path / "shards").glob("*.trials.parquet"))) == 2)
    trials = folder.tables.read("trials")["trial"].to_pylist()
    assert {"a", "b"} <= set(trials)


@pytest.mark.parametrize("how", ["disk", "quota"])
def test_a_full_disk_ends_the_run_which_goes_on_when_there_is_room(
    theatre: Theatre, tmp_path: Path, how: str
) -> None:
    with small_disk(tmp_path / "small", "3m") as mounted:
        if how == "disk" and not mounted:
            pytest.skip("mounting a small disk is not permitted here; the quota's case is played")
        siege = theatre.siege(4, runs=tmp_path / "small")
        driver = siege.drive(*ON_STAGE, largest=20_000 if how == "quota" else None)
        ballast = None
        if how == "disk":
            assert until(lambda: theatre.server.asked.total() > 40)
            with theatre.paused():
                ballast = fill(tmp_path / "small")
        assert driver.wait() == 3
        siege.blow("full disk")
        assert "cannot be written: " in siege.said and "Traceback" not in siege.said
        if ballast is not None:
            assert siege.drive(*ON_STAGE).wait() == 3
            assert "Traceback" not in siege.said
            ballast.unlink()
        siege.end(*ON_STAGE)


def test_a_folder_that_cannot_be_written_is_said_and_goes_on_later(
    theatre: Theatre, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", "8m") as mounted:
        if not mounted:
            pytest.skip("root ignores permissions, and mounting is not permitted here")
        siege = theatre.siege(1, runs=tmp_path / "small")
        driver = siege.drive(*ON_STAGE)
        assert until(lambda: theatre.server.asked.total() > 10)
        siege.blow("driver", driver.kill())
        _remount(tmp_path / "small", "ro")
        assert siege.drive(*ON_STAGE).wait() == 2
        assert "cannot be written, so it cannot be played" in siege.said
        assert "Traceback" not in siege.said
        _remount(tmp_path / "small", "rw")
        siege.end(*ON_STAGE)


def _remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def _more_than(number: int, asked: Counter[str]) -> bool:
    return asked.total() > number


@pytest.mark.ray
@pytest.mark.slow
def test_hosts_a_node_and_the_driver_are_killed_on_a_cluster(
    theatre: Theatre, stand: Stand
) -> None:
    dice, siege = random.Random(3), theatre.siege(5)
    asked = theatre.server.asked
    driver = siege.drive(*ON_CLUSTER, ray=stand.address)
    for _ in range(2):
        enough = asked.total() + 15
        assert until(partial(_more_than, enough, asked))
        siege.blow("host", stand.kill_host(dice))
    siege.blow("driver on a cluster", driver.kill())
    before = asked.total()
    driver = siege.drive(*ON_CLUSTER, ray=stand.address)
    assert until(lambda: asked.total() > before + 15 or not driver.alive)
    stand.kill_node(dice, anew=False)
    siege.blow("node")
    assert driver.wait() in (0, 1)
    siege.end(*ON_STAGE)


@pytest.mark.ray
@pytest.mark.slow
def test_the_head_of_the_cluster_is_killed(theatre: Theatre, stand: Stand) -> None:
    siege = theatre.siege(5)
    driver = siege.drive(*ON_CLUSTER, ray=stand.address)
    assert until(lambda: theatre.server.asked.total() > 30)
    with theatre.paused():
        stand.kill_head()
        assert driver.wait() != 0
    siege.blow("head")
    siege.end(*ON_STAGE)


def test_a_finished_run_stays_as_it_is(theatre: Theatre) -> None:
    siege = theatre.siege(1)
    siege.end(*ON_STAGE)
    before = tables(siege.folder)
    assert resume(siege.folder, setup=Setup(ray="off")).idle
    assert all(before[n].equals(t) for n, t in tables(siege.folder).items())
