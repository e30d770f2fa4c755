"""An API key is sent to its own endpoint and is stored nowhere. A run is refused before it starts
if its endpoint cannot answer."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from improv.errors import EndpointError
from improv.runner.launch import run
from improv.storage.runs import open_run
from improv.storage.schemas import SCHEMAS
from improv.study.loader import load
from tests.support.run import HOSTED, KEY, OFF, Serve, chairs, improv
from tests.support.spellings import SPELLINGS
from tests.support.ui import page, shown
from tests.support.weather import RawServer, Send, command, http, said


def tell_tale(n: int, request: bytes, send: Send) -> bytes:
    """Answer as badly as an endpoint may: with the key, in every place and every spelling."""
    key = request.lower().split(b"authorization: bearer ")[1].split(b"\r\n")[0].decode()
    assert key == KEY
    spelled = "".join(f"\\u{ord(c):04x}" for c in key)
    text = said(f"I know {key}.", model=key, system_fingerprint=key)
    match n % 30:
        case 0:
            return http(f"<h1>Bad key {key}</h1>", kind="text/html", more=f"X-Key: {key}\r\n")
        case 1:
            return http(f"no JSON {key}", kind=f"text/{key}")
        case 2:
            return http(json.dumps({"error": {"message": key, "code": key}}), "500 Oh")
        case 3:
            return http(text.replace("/", "\\/"), more=f"Set-Cookie: key={key}\r\n")
        case 4:
            return http(text.replace(key, spelled))
        case 5:
            return http(json.dumps({"error": f"bad key: {key}"}))
        case 6:
            return http(json.dumps({"error": {"message": key, "code": key}}), "400 Bad")
        case 7:
            return http(f'{{"error": {{"message": "{spelled}"}}}}', f"400 {key}")
        case 8:
            return http("", "307 Go", more=f"Location: http://127.0.0.1:9/{key}\r\n")
        case 9:
            return f"HTTP/1.1 200 OK\r\n{key} \0: {key}\r\n\r\n".encode()
        case 10:
            return f"{key}\r\n\r\n".encode()
    return http(text)


def every_byte(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with contextlib.suppress(OSError):
                yield file, file.read_bytes()


@pytest.mark.parametrize("hosted", HOSTED)
def test_a_planted_key_reaches_the_endpoint_and_nothing_else(
    hosted: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    with RawServer(tell_tale) as server, tempfile.TemporaryDirectory(dir="/tmp") as ray:
        # A key is often read from a file, with the newline at its end.
        env = os.environ | {"OPENAI_API_KEY": f"{KEY}\n", "RAY_TMPDIR": ray, "OPENAI_LOG": "debug"}
        file = chairs(tmp_path, server.url, 20)
        words = ("run", str(file), "--runs", str(runs), "--name", "one", *hosted)
        child = improv(*words, env=env, umask=0)
        out, err = child.communicate(timeout=600)
        assert child.returncode == 1, (out, err)
        logs = list(every_byte(Path(ray)))
    assert len(server.seen) > 30
    folder = open_run(runs, "one")
    failed = {r["failure_kind"] for r in folder.tables.read("trials").to_pylist()}
    assert {"status 400", "status 307"} <= failed
    replies = [c.reply for c in folder.transcripts.all_calls()]
    assert "I know [key]." in replies
    for word in ("show", "report"):
        more = ("-o", str(tmp_path / "page.html")) if word == "report" else ()
        out += command(word, "one", "--runs", str(runs), *more).output
    out += command("show", "one/0", "--prompts", "--notes", "--runs", str(runs)).output
    if hosted:
        # One trial of each way to end: a page takes a second.
        ends = {r["failure_kind"]: r["trial"] for r in folder.tables.read("trials").to_pylist()}
        quoting = next(
            c.draw.trial for c in folder.transcripts.all_calls() if c.reply == "I know [key]."
        )
        for trial in {*ends.values(), quoting}:
            app = page(runs, monkeypatch, run="one", trial=trial)
            out += shown(app) + str(app)
        assert "I know (key)." in out, "the viewer showed nothing to look at"
    secrets = [KEY, KEY.replace("/", "\\/"), KEY.partition("/")[2]]
    assert not [s for s in secrets if s in out + err]
    for name in SCHEMAS:
        written = repr(folder.tables.read(name).to_pylist())
        assert not [s for s in secrets if s in written], name
    for path, data in [*every_byte(tmp_path), *logs]:
        assert not [s for s in secrets if s.encode() in data], path
    if not hosted:
        assert any("session_" in str(path) for path, _ in logs), "Ray left no logs to look at"
    # Private to the user, whatever the umask.
    for path in [runs / "one", *(runs / "one").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def spelled_out(n: int, request: bytes, send: Send) -> bytes:
    """Answer with the key in one spelling after the other, in one place after the other."""
    spelled = [*SPELLINGS.values()][n % len(SPELLINGS)](KEY)
    error = json.dumps({"error": {"message": spelled, "code": spelled}})
    match n // len(SPELLINGS):
        case 0:
            reason = spelled.encode("ascii", "ignore").decode().replace("\n", " ")
            return http(error, f"500 {reason}", more=f"X-Request-Id: {KEY}\r\n")
        case 1:
            return http(f"<h1>{spelled}</h1>", "500 Oh", "text/html", f"Retry-After: {KEY}\r\n")
        case 2:
            return http(spelled, kind="text/plain")
        case 3:
            return http(json.dumps({"error": spelled, spelled: spelled}))
    return http(said(f"I know {spelled}, Bo.", model=spelled, system_fingerprint=spelled))


def test_a_key_in_any_spelling_is_found_nowhere(tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "runs"))
    env = os.environ | {"OPENAI_API_KEY": KEY, "OPENAI_LOG": "debug"}
    with RawServer(spelled_out) as server:
        file = chairs(tmp_path, server.url, 5 * len(SPELLINGS))
        file.write_text(file.read_text().replace('"puppet",', '"puppet", "retries": 0,'))
        child = improv("run", str(file), *runs, "--name", "one", "--ray", "off", env=env)
        written = "".join(child.communicate(timeout=400))
    folder = open_run(tmp_path / "runs", "one")
    calls = list(folder.transcripts.all_calls())
    assert len(server.seen) == len(calls) == 10 * len(SPELLINGS)
    assert sum("[key]" in call.reply for call in calls) == 6 * len(SPELLINGS)
    assert sum("[key]" in call.error for call in calls) > 2.9 * len(SPELLINGS)
    for form in ("jsonl", "markdown"):
        command("export", "one", "--to", form, "-o", str(tmp_path / form), *runs)
    written += command("report", "one", *runs, "-o", str(tmp_path / "page.html")).output
    written += command("show", "one/200", "--prompts", "--notes", *runs).output
    for name in SCHEMAS:
        rows = folder.tables.read(name).to_pylist()
        written += str(rows) + json.dumps(rows, default=str, ensure_ascii=False)
    whole = written.encode() + b"".join(data for _, data in every_byte(tmp_path))
    for what, spell in SPELLINGS.items():
        for spelled in (spell(KEY), spell(KEY)[2:-4]):
            assert spelled.encode() not in whole, what


def test_an_invalid_key_is_not_quoted(
    puppet_server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted\nX-Evil: 1")
    with pytest.raises(EndpointError, match="OPENAI_API_KEY holds characters that no key") as error:
        run(load(file), runs=tmp_path / "r", setup=OFF)
    assert "planted" not in str(error.value)
    assert server.requests == 0 and not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("http://127.0.0.1:9/v1", "nothing listens there"),
        ("http://nowhere.invalid/v1", "no machine of that name"),
        ("https://api.openai.com/v1", "no key: set OPENAI_API_KEY"),
    ],
)
def test_an_endpoint_that_cannot_answer_stops_the_run_before_it_starts(
    address: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    runs = ("--runs", str(tmp_path / "r"))
    file = str(chairs(tmp_path, None, 1))
    output = command("run", file, *runs, "--base-url", address, code=1).output
    assert word in output.replace("\n", " ")
    assert not (tmp_path / "r").exists()
