"""Bad weather at the default settings: what it fails is played again, and nothing twice."""

from __future__ import annotations

import json
import random
import shutil
import threading
from pathlib import Path

from improv.records import MAIN
from improv.runner.launch import resume, run
from improv.runner.owed import to_play_again
from improv.runner.session import Setup
from improv.storage.repair import owe_again
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from tests.support.weather import RawServer, Send, http, said

STUDY = """\
study: weather
scenes: [cold-pass]
set: {{turns: 4, model: {{model: m, base_url: "{url}", timeout: 30, retries: {retries}}}}}
replicates: 3
branches:
  - {{name: b, at: [2], arms: {{as it was: {{}}, other: {{line: The lamp is out.}}}}, draws: 1}}
regenerations:
  - {{at: [1], draws: 1}}
"""


def answer(request: bytes) -> bytes:
    return http(said(f"Line {random.Random(request).random():.9f} is mine."))


def killed_between(folder: RunFolder, place: Path) -> RunFolder:
    """Return a copy of a run whose process was killed after it had taken the failed trials out of
    the turns, and before it took them out of the other tables."""
    shutil.copytree(folder.local, place / "before")
    shutil.copytree(folder.local, place / "after")
    before, after = open_run(place, "before"), open_run(place, "after")
    failed = to_play_again(after)
    owe_again(after, failed, after.journaled())
    for name in ("turns.parquet", "failures.parquet"):
        shutil.copy(after.local / name, before.local / name)
    shutil.copytree(after.local / "journal", before.local / "journal", dirs_exist_ok=True)
    lines = [json.dumps([row["trial"], row["branch"]]) for row in failed]
    (before.local / "journal" / "again.txt").write_text("\n".join(lines))
    return before


def test_what_the_weather_failed_is_played_by_resume(tmp_path: Path) -> None:
    roll, storm, lock = random.Random(4), [True], threading.Lock()
    answered: list[bytes] = []

    def reply(n: int, request: bytes, send: Send) -> bytes:
        with lock:
            bad = roll.random() if storm[0] else 1.0
        if bad < 0.3:
            return http("{}", "429 Slow", more="Retry-After: 0\r\nretry-after-ms: 5\r\n")
        if bad < 0.4:
            return http("oops", "500 Oh")
        if bad < 0.45:
            return http('{"choices"')
        with lock:
            answered.append(request.partition(b"\r\n\r\n")[2])
        return answer(answered[-1])

    with RawServer(reply) as server:
        file = tmp_path / "study.yaml"
        file.write_text(STUDY.format(url=server.url, retries=0))
        setup = Setup(ray="off", trusted=(server.url,))
        first = run(load(str(file)), runs=tmp_path / "r", setup=setup)
        rows = first.folder.tables.read("trials").to_pylist()
        failed = to_play_again(first.folder)
        assert failed and first.owed == 0 and first.exit_code == 1
        assert any("improv resume" in notice for notice in first.notices)
        killed = killed_between(first.folder, tmp_path / "killed")
        storm[0] = False
        again = resume(first.folder, setup=setup)
        made = len(answered)
        healed = resume(killed, setup=setup)
    after = again.folder.tables.read("trials").to_pylist()
    assert (again.failed, again.owed, again.exit_code) == (0, 0, 0)
    assert {(r["trial"], r["branch"]) for r in after} == {(r["trial"], r["branch"]) for r in rows}
    assert len(after) == len(rows) and {r["status"] for r in after} == {"done"}
    assert not to_play_again(again.folder)
    assert again.folder.tables.read("failures").num_rows == len(failed)
    turns = again.folder.tables.read("turns").to_pylist()
    keys = [(t["trial"], t["branch"], t["turn"], t["seq"]) for t in turns]
    assert len(keys) == len(set(keys))
    calls = again.folder.transcripts.all_calls()
    draws = [c.draw for c in calls]
    assert len(draws) == len(set(draws)) and not any(c.error for c in calls)
    assert made == len(draws), "a call that was answered was made again"
    assert resume(again.folder, setup=setup).idle
    assert (healed.failed, healed.owed, healed.folder.tables.read("failures").num_rows) == (
        (0, 0, len(failed))
    )
    same = [healed.folder.tables.read("turns"), again.folder.tables.read("turns")]
    assert same[0].equals(same[1])
    assert sum(r["branch"] == MAIN for r in after) == again.done
