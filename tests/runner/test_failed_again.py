"""`improv resume --failed`: failed trials are played again, and their first failure is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from improv.storage.runs import open_run
from tests.support.ui import page, read
from tests.support.weather import RawServer, Send, command, http, said

STUDY = """\
study: mended
question: Four scenes.
scenes: [cold-pass]
set: {{turns: 3, author: {{live: false}}, model: {{model: m, base_url: "{url}"}}}}
replicates: 4
"""


def test_failed_trials_are_played_again_and_report_and_viewer_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, answered = [True], list[bytes]()

    def reply(n: int, request: bytes, send: Send) -> bytes:
        body = request.partition(b"\r\n\r\n")[2]
        if broken[0] and n % 3 == 2:
            return http('{"error": {"message": "this model cannot do that"}}', "400 Bad")
        answered.append(body)
        return http(said(f"Line {len(answered)} is mine."))

    with RawServer(reply) as server:
        file = tmp_path / "study.yaml"
        file.write_text(STUDY.format(url=server.url))
        at = ("--runs", str(tmp_path / "r"))
        run = ("--ray", "off", "--trust", "127.0.0.1", *at)
        first = command("run", str(file), "--name", "t", *run, code=1).output
        assert "improv resume t --failed" in first
        folder = open_run(tmp_path / "r", "t")
        failed = folder.tables.failed_trials()
        assert failed and all(row["failure_kind"] == "status 400" for row in failed)
        assert "nothing is owed" in command("resume", "t", *run, code=1).output
        broken[0] = False
        asked = len(server.seen)
        again = command("resume", "t", "--failed", *run, code=0).output
    assert "4 trials done, 0 failed" in again and "stay in the table of failures" in again
    kept = folder.tables.read("failures").to_pylist()
    assert {(k["trial"], k["failure"]) for k in kept} == {
        (f["trial"], f["failure"]) for f in failed
    }
    calls = folder.transcripts.all_calls()
    draws = [call.draw for call in calls]
    assert len(draws) == len(set(draws)) == len(answered) and asked < len(server.seen)
    file = tmp_path / "t.md"
    command("report", "t", "-o", str(file), *at, code=None)
    assert "failed at first and were played again" in file.read_text()
    viewed = read(page(tmp_path / "r", monkeypatch, run="t", trial=failed[0]["trial"]))
    assert "This scene had failed once before it was played again" in viewed
    assert "this model cannot do that" in viewed
