"""Going on: what is refused because it has changed, who may play, Ctrl-C, strangers, and keys."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from improv.budget import Budget
from improv.errors import EndpointError, RunError, StudyError
from improv.launch import branch, resume, run
from improv.lock import RunLock
from improv.puppet_server import PuppetServer
from improv.session import Setup
from improv.store import RunFolder, open_run
from improv.study import load, read_edit
from improv.tables import SCHEMAS
from improv.trial import plan
from tests.ui_support import page, shown
from tests.weather_support import SCENE, RawServer, Send, command, http, said

Serve = Callable[..., PuppetServer]
OFF = Setup(ray="off")
TEN = Setup(ray="off", budget=Budget(calls=10))


def chairs(folder: Path, url: str | None, replicates: int = 10, **more: Any) -> Path:
    """Write a study of trials of six calls each."""
    (folder / "chairs.yaml").write_text(SCENE.replace("turns: 2", "turns: 6"))
    file = folder / "study.yaml"
    model: dict[str, Any] = {"model": "puppet"} | ({"base_url": url} if url else {})
    study = {"study": "chairs", "scenes": ["chairs.yaml"], "set": {"model": model}}
    file.write_text(json.dumps(study | {"replicates": replicates} | more, indent=1))
    return file


@pytest.fixture
def begun(puppet_server: Serve, tmp_path: Path) -> RunFolder:
    """A run of ten trials of which ten calls were made."""
    file = chairs(tmp_path, puppet_server().url)
    source = {"file": str(file), "patch": {}, "replicates": None}
    return run(load(file), runs=tmp_path / "runs", setup=TEN, source=source).folder


def change(folder: RunFolder, **changes: Any) -> None:
    folder.update(changes)


# --- what has changed


def test_a_run_whose_study_was_edited_is_refused_with_the_difference(begun: RunFolder) -> None:
    file = Path(begun.path, "study.yaml")
    file.write_text(file.read_text().replace("who hurries", "who dawdles"))
    runs = ("--runs", begun.root, "--ray", "off")
    told = command("resume", *runs, code=2).output
    assert "has changed since it was begun" in told and "--anyway" in told
    assert "\n-" in told and "who hurries" in told and "\n+" in told and "who dawdles" in told
    assert "+++ study.yaml now" in told
    assert begun.meta()["status"] == "stopped", "a refusal changes nothing"
    again = command("resume", *runs, "--anyway")
    assert "10 trials done, 0 failed" in again.output
    assert any("who dawdles" in b["text"] for b in begun.table("blocks").to_pylist())


def test_a_run_whose_own_study_file_was_edited_is_refused_too(
    begun: RunFolder, tmp_path: Path
) -> None:
    scene = tmp_path / "chairs.yaml"
    scene.write_text(scene.read_text().replace("Bo, sit down.", "Bo, stand up."))
    with pytest.raises(RunError, match=r"(?s)\+.*Bo, stand up.*--anyway"):
        resume(begun, setup=OFF)
    # Without its file, or with one that is no study any more, the run has its own copy.
    scene.write_text("title: [")
    assert resume(begun, setup=OFF).done == 10


def test_options_of_the_run_are_no_change(puppet_server: Serve, tmp_path: Path) -> None:
    url = puppet_server().url
    file = chairs(tmp_path, None)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    more = ("--turns", "3", "--replicates", "4", "--limit", "3", "--base-url", url)
    command("run", str(file), *runs, *more, "--max-calls", "5", code=4)
    assert "3 trials done, 0 failed" in command("resume", *runs).output


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"versions": {"improv-theatre": "0.0.1"}}, r"improv: version 0\.0\.1 then, [\d.]+ now"),
        ({"program": "0123456789abcdef"}, "its code was 0123456789abcdef then, [0-9a-f]{16} now"),
        ({"plan": "another"}, "would play other trials than were planned"),
        ({"served": {"puppet": "http://10.0.0.9/v1"}}, r"model puppet: http://10\.0\.0\.9/v1 then"),
    ],
)
def test_a_run_of_another_program_or_model_is_refused(
    changes: dict[str, Any], told: str, begun: RunFolder
) -> None:
    change(begun, **changes)
    with pytest.raises(RunError, match=told):
        resume(begun, setup=OFF)
    assert resume(begun, setup=Setup(ray="off", anyway=True)).done == 10


def test_a_run_that_would_talk_to_another_address_is_refused(
    puppet_server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = puppet_server(), puppet_server()
    file = chairs(tmp_path, None)
    text = file.read_text().replace('"puppet"', '"tiny"')
    file.write_text(text)
    monkeypatch.setenv("OPENAI_BASE_URL", one.url)
    folder = run(load(file), runs=tmp_path / "runs", setup=TEN).folder
    monkeypatch.setenv("OPENAI_BASE_URL", other.url)
    with pytest.raises(RunError, match=f"model tiny: {one.url} then, {other.url} now"):
        resume(folder, setup=OFF)
    assert other.requests == 0
    assert resume(folder, setup=Setup(ray="off", anyway=True)).done == 10
    assert other.answered == 50


def test_one_name_at_two_addresses_is_watched_at_both(puppet_server: Serve, tmp_path: Path) -> None:
    one, other = puppet_server(), puppet_server()
    levels = {
        n: {"model": {"model": "puppet", "base_url": s.url}} for n, s in (("a", one), ("b", other))
    }
    file = chairs(tmp_path, None, 2, factors={"where": levels})
    folder = run(load(file), runs=tmp_path / "r", setup=OFF).folder
    assert folder.meta()["served"] == {"puppet": " and ".join(sorted([one.url, other.url]))}
    # A branch looks at one trial's model alone, which is no change.
    for trial in ("0", "1"):
        assert branch(folder, trial, 3, setup=OFF).branches


@pytest.mark.parametrize(("errors", "code"), [({}, 0), ({"400": 0.2}, 1)])
def test_resuming_a_finished_run_does_nothing_and_says_so(
    errors: dict[str, float], code: int, puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(errors=errors)
    file = chairs(tmp_path, server.url)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    command("run", str(file), *runs, code=code)
    requests = server.requests
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "r").rglob("*.parquet")}
    told = command("resume", *runs, code=code).output
    assert "Nothing was owed: every planned trial is there." in told
    assert "still owed" not in told and server.requests == requests
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "r").rglob("*.parquet")} == before


# --- who plays it


def improv(*words: str, **more: Any) -> subprocess.Popen[str]:
    """Start the command as a shell would: in a process group of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", "improv.cli", *words], start_new_session=True, **pipes, **more
    )


def until(what: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_taken_over(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.1)
    file = chairs(tmp_path, server.url)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    child = improv("run", str(file), "--name", "one", *runs, "--stages", "2")
    try:
        until(lambda: server.answered >= 8, child)
        told = command("resume", "one", *runs, code=2).output
        assert f"process {child.pid}" in told and "plays this run since" in told
        told = command("branch", "one/0@1", "--runs", str(tmp_path / "r"), code=2).output
        assert "plays this run since" in told
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()
    asked = dict(server.asked)
    journaled = {c.draw.key for c in open_run(tmp_path / "r", "one").journaled().calls()}
    told = command("resume", "one", *runs).output
    assert "took over from" in told and str(child.pid) in told
    assert "10 trials done, 0 failed" in told
    assert journaled and all(server.asked[key] == asked[key] == 1 for key in journaled)


# --- Ctrl-C

HOSTED = [
    pytest.param(("--ray", "off"), id="off"),
    pytest.param((), id="ray", marks=pytest.mark.ray),
]


def resumed_as_printed(out: str) -> None:
    """Do what the command told to do."""
    line = next(line for line in out.splitlines() if line.startswith("go on with:"))
    words = shlex.split(line.removeprefix("go on with:"))
    assert words[:2] == ["improv", "resume"]
    told = command(*words[1:], "--ray", "off").output
    assert "10 trials done, 0 failed" in told and "owed" not in told


@pytest.mark.parametrize("hosted", HOSTED)
def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(
    hosted: tuple[str, ...], puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=1.0)
    file = chairs(tmp_path, server.url)
    root = tmp_path / "a runs folder whose name is too long for a line of a terminal to hold it"
    child = improv("run", str(file), "--runs", str(root), *hosted, "--stages", "4")
    until(lambda: server.requests >= 9 and server.in_flight == 4, child)
    # As a terminal does: to every process of the group.
    os.killpg(child.pid, signal.SIGINT)
    asked = server.requests
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, (out, err)
    assert "Finishing what is in flight; Ctrl-C again stops at once." in err
    assert "stopped: interrupted" in err and "Traceback" not in err
    assert server.answered == server.requests == asked, "something was asked after Ctrl-C"
    folder = open_run(root, "last")
    saved = {c.draw.key for c in [*folder.journaled().calls(), *folder.all_calls()]}
    assert saved == set(server.asked), "what was in flight was paid for and is kept"
    assert folder.meta()["status"] == "stopped"
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    resumed_as_printed(out)
    assert len(server.asked) == 60 and set(server.asked.values()) == {1}


@pytest.mark.parametrize("hosted", HOSTED)
def test_ctrl_c_twice_stops_at_once(
    hosted: tuple[str, ...], puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    slow = server.spec.model_copy(update={"latency": 60.0})
    runs = ("--runs", str(tmp_path / "r"), "--stages", "4")
    server.spec = server.spec.model_copy(update={"latency": 0.05})
    child = improv("run", str(file), *runs, *hosted)
    until(lambda: server.answered >= 8, child)
    server.spec = slow
    until(lambda: server.in_flight >= 4, child)
    time.sleep(0.3)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert child.poll() is None, "it waits for what is in flight"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and time.monotonic() - began < 20
    assert "Traceback" not in err and "never retrieved" not in err, err
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    folder = open_run(tmp_path / "r", "last")
    journaled = {c.draw.key for c in [*folder.journaled().calls(), *folder.all_calls()]}
    assert len(journaled) >= 8
    resumed_as_printed(out)
    assert set(server.asked.values()) == {1}


def test_ctrl_c_does_not_wait_for_what_is_to_be_tried_again(tmp_path: Path) -> None:
    """An endpoint that is full may ask for two minutes, which is when people press Ctrl-C."""

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http("{}", "429 Slow", more="Retry-After: 100\r\n")

    with RawServer(reply) as server:
        file = chairs(tmp_path, server.url)
        child = improv("run", str(file), "--runs", str(tmp_path / "r"), "--ray", "off")
        until(lambda: len(server.seen) >= 8, child)
        time.sleep(0.3)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 130 and time.monotonic() - began < 10
    assert "0 trials done, 0 failed, 10 still owed" in out


def test_ctrl_c_before_anything_is_played(begun: RunFolder) -> None:
    """Here while it waits to learn whether another machine plays the run."""
    holder = Path(begun.path, "holder.json")
    with RunLock(begun.local):
        text = holder.read_text()
    there = json.loads(text)["host"]
    holder.write_text(text.replace(f'"host": "{there}"', '"host": "another"'))
    Path(begun.path, "lock").unlink()
    child = improv("resume", "--runs", begun.root, "--ray", "off")
    until(Path(begun.path, "lock").exists, child)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, (out, err)
    assert "interrupted; what was played is kept" in err and "Traceback" not in err


# --- keys

KEY = "sk-planted/0123456789-abcdefghij"


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
            return http(json.dumps({"error": f"bad key: {key}"}))  # a failed trial
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
        out, err = child.communicate(timeout=120)
        assert child.returncode == 1, (out, err)
        logs = list(every_byte(Path(ray)))
    assert len(server.seen) > 30
    folder = open_run(runs, "one")
    failed = {r["failure_kind"] for r in folder.table("trials").to_pylist()}
    assert {"unreadable", "status 400", "status 307"} <= failed
    replies = [c.reply for c in folder.all_calls()]
    assert "I know [key]." in replies
    for word in ("show", "report"):
        more = ("-o", str(tmp_path / "page.html")) if word == "report" else ()
        out += command(word, "one", "--runs", str(runs), *more).output
    out += command("show", "one/0", "--prompts", "--notes", "--runs", str(runs)).output
    if hosted:
        # One trial of each way to end: a page takes a second.
        ends = {r["failure_kind"]: r["trial"] for r in folder.table("trials").to_pylist()}
        told = next(c.draw.trial for c in folder.all_calls() if c.reply == "I know [key].")
        for trial in {*ends.values(), told}:
            app = page(runs, monkeypatch, run="one", trial=trial)
            out += shown(app) + str(app)
        assert "I know (key)." in out, "the viewer showed nothing to look at"
    secrets = [KEY, KEY.replace("/", "\\/"), KEY.partition("/")[2]]
    assert not [s for s in secrets if s in out + err]
    for name in SCHEMAS:
        written = repr(folder.table(name).to_pylist())
        assert not [s for s in secrets if s in written], name
    for path, data in [*every_byte(tmp_path), *logs]:
        assert not [s for s in secrets if s.encode() in data], path
    if not hosted:
        assert any("session_" in str(path) for path, _ in logs), "Ray left no logs to look at"
    # Private to the user, whatever the umask.
    for path in [runs / "one", *(runs / "one").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def test_a_key_that_is_none_is_not_quoted(
    puppet_server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted\nX-Evil: 1")
    with pytest.raises(EndpointError, match="OPENAI_API_KEY holds characters that no key") as told:
        run(load(file), runs=tmp_path / "r", setup=OFF)
    assert "planted" not in str(told.value)
    assert server.requests == 0 and not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("http://127.0.0.1:9/v1", "nothing listens there"),
        ("http://nowhere.invalid/v1", "no machine of that name"),
        ("https://api.openai.com/v1", "no key: set OPENAI_API_KEY"),
    ],
)
def test_who_cannot_answer_is_found_out_before_anything_starts(
    address: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    runs = ("--runs", str(tmp_path / "r"))
    file = str(chairs(tmp_path, None, 1))
    told = command("run", file, *runs, "--base-url", address, code=1).output
    assert word in told.replace("\n", " ")
    assert not (tmp_path / "r").exists()


def test_a_run_whose_server_has_gone_is_left_as_it_was(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    stopped = run(load(file), runs=tmp_path / "r", setup=Setup("off", budget=Budget(3)))
    before = stopped.folder.meta()
    server.stop()
    with pytest.raises(EndpointError, match="nothing listens there"):
        resume(stopped.folder, setup=OFF)
    assert stopped.owed and stopped.folder.meta() == before


# --- strangers


@pytest.fixture
def stranger() -> Iterator[Any]:
    """A machine that nobody vouched for; `met` becomes true where anything connects to it."""
    with socket.create_server(("127.0.0.2", 0)) as listening:
        met = threading.Event()

        def listen() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                met.set()
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        url = f"http://127.0.0.2:{listening.getsockname()[1]}/v1"
        yield url, met
        listening.shutdown(socket.SHUT_RDWR)


def everywhere(url: str) -> dict[str, dict[str, Any]]:
    """Return all the places of a study that may name an address."""
    model = {"model": "puppet", "base_url": url}
    evil = {"scene": {"model": model}}
    fork = {"name": "b", "at": [1]}
    return {
        "scene": {"set": {"model": model}},
        "cast": {"set": {"cast": {"Bo": {"model": model}}}},
        "author": {"set": {"author": {"live": True, "model": model}}},
        "level": {"factors": {"f": {"good": {}, "bad": {"model": model}}}},
        "branch": {"branches": [fork | {"arms": {"a": {}, "b": evil}}]},
    }


@pytest.mark.parametrize("where", everywhere(""))
def test_a_study_sends_nothing_to_whom_nobody_vouched_for(
    where: str, stranger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, met = stranger
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    file = chairs(tmp_path, None, 2, **everywhere(url)[where])
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    told = command("run", str(file), *runs, code=2).output
    assert f"to {url}" in told and "--trust 127.0.0.2" in told and KEY not in told
    assert not (tmp_path / "r").exists() and not met.is_set()
    command("validate", str(file))
    command("run", str(file), "--dry-run")
    assert not met.is_set()


def test_whoever_is_trusted_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http(said("Here."))

    with RawServer(reply, host="127.0.0.2") as server:
        file = chairs(tmp_path, server.url, 1)
        runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
        told = command("run", str(file), *runs, "--trust", "127.0.0.2", "--max-calls", "2", code=4)
        # A folder's word is no more than a study's: whoever goes on says it again.
        assert "--trust 127.0.0.2" in told.output
        assert "--trust 127.0.0.2" in command("resume", *runs, code=2).output
        assert len(server.seen) == 2
        command("resume", *runs, "--trust", server.url)
        monkeypatch.setenv("IMPROV_TRUST", "somebody.example, 127.0.0.2")
        command("run", str(file), *runs)
        monkeypatch.delenv("IMPROV_TRUST")
        command("run", str(chairs(tmp_path, None)), *runs, "--base-url", server.url)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://[::1/v1",
        "http://localhost:99999/v1",
        "http://127.0.0.1\\.evil.example/v1",
        "https://api.openai.com.evil.example/v1",
        "http://evil.example#127.0.0.1/v1",
    ],
)
def test_an_address_that_only_looks_known_is_refused(url: str, tmp_path: Path) -> None:
    file = chairs(tmp_path, url, 1)
    with pytest.raises((RunError, StudyError)):
        run(load(file), runs=tmp_path / "r", setup=OFF)
    assert not (tmp_path / "r").exists()


def test_an_address_of_ones_own_that_is_none_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    file = chairs(tmp_path, None, 1)
    file.write_text(file.read_text().replace('"puppet"', '"tiny"'))
    with pytest.raises(RunError, match="write it like http://"):
        run(load(file), runs=tmp_path / "r", setup=OFF)


def test_a_strangers_run_folder_sends_nothing_either(begun: RunFolder, stranger: Any) -> None:
    url, met = stranger
    model = {"model": "puppet", "base_url": url}
    edit = json.dumps({"scene": {"model": model}})
    some = {"parent": "main", "fork": 1, "origin": "branch", "number": 0, "edit": edit}
    planned = plan(begun.study())[3].id
    change(begun, branches=[some | {"trial": planned}])
    with pytest.raises(RunError, match=r"--trust 127\.0\.0\.2"):
        resume(begun, setup=OFF)
    change(begun, branches=[])
    resume(begun, setup=OFF)
    words = read_edit(["model.model=puppet", f"model.base_url={url}"])
    with pytest.raises(RunError, match=r"--trust 127\.0\.0\.2"):
        branch(begun, "0", 2, edit=words, setup=OFF)
    assert not met.is_set()


EVIL = {
    "a tag on a list": 'study: !!python/object/apply:os.system ["touch {mark}"]\n',
    "a tag on a mapping": "cells: !!python/object:os.stat_result {{}}\n",
    "a tag on a text": "question: !!python/name:os.system ''\n",
    "a tag of its own": "cells: !evil [1]\n",
}


@pytest.mark.parametrize("what", EVIL)
def test_yaml_of_a_stranger_runs_nothing(what: str, begun: RunFolder, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = EVIL[what].format(mark=mark)
    file = Path(begun.path, "study.yaml")
    key = evil.partition(":")[0]
    kept = [line for line in file.read_text().splitlines() if not line.startswith(f"{key}:")]
    whole = evil + ("\n".join(kept) if key != "cells" else "study: x\n")
    file.write_text(whole)
    told = command("resume", "--runs", begun.root, "--ray", "off", code=2).output
    assert "is not known here" in told and not mark.exists()
    (tmp_path / "evil.yaml").write_text(evil)
    assert "is not known here" in command("validate", str(tmp_path / "evil.yaml"), code=2).output
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../x", "..", "/etc", "a/../../x", "a\\b", "", "-x", "x" * 101])
def test_no_name_leads_out_of_its_folder(name: str, begun: RunFolder, tmp_path: Path) -> None:
    for use in (
        lambda: open_run(begun.root, name),
        lambda: run(load(tmp_path / "study.yaml"), runs=tmp_path / "new", name=name, setup=OFF),
        lambda: begun.trial(f"{name}/x"),
        lambda: branch(begun, f"0~{name}/x", 1, setup=OFF),
    ):
        with pytest.raises(RunError):
            use()
    assert not (tmp_path / "x").exists() and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "link",
    [
        "shards",
        "journal",
        "journal/limits.jsonl",
        "run.json",
        "turns.parquet",
        "aside",
        "lock",
        "study.yaml.tmp",
        "journal/study.yaml",
    ],
)
def test_links_in_a_strangers_folder_lead_nowhere(
    link: str, begun: RunFolder, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious.jsonl").write_text("precious")
    place = Path(begun.path, link)
    target = victim
    if place.is_file():
        target = victim / "copy"
        target.write_bytes(place.read_bytes())
        place.unlink()
    elif place.is_dir():
        for file in place.iterdir():
            file.rename(victim / file.name)
        place.rmdir()
    elif "." in link:
        target = victim / "precious.jsonl"
    place.symlink_to(target)
    before = {f: f.read_bytes() for f in victim.iterdir()}
    with pytest.raises(RunError, match="a link, or no plain file"):
        resume(begun, setup=OFF)
    assert {f: f.read_bytes() for f in victim.iterdir()} == before


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": "many"},
        {"trials": None},
        {"session": []},
        {"branches": [{"evil": 1}]},
        {"branches": 7},
        {"served": 3},
        {"versions": []},
        {"source": {"file": 3, "patch": [1]}},
        {"source": {"file": "/dev/zero"}},
        {"source": 5},
        {"plan": {}},
        {"seconds": "long"},
        {
            "branches": [
                {
                    "trial": "t",
                    "parent": "main",
                    "fork": 1,
                    "origin": "branch",
                    "number": 0,
                    "edit": "no JSON",
                }
            ]
        },
    ],
)
def test_nonsense_in_run_json_is_an_answer_or_no_matter(
    changes: dict[str, Any], begun: RunFolder
) -> None:
    change(begun, **changes)
    told = command("resume", "--runs", begun.root, "--ray", "off", code=None)
    assert told.exit_code in (0, 2)
    told_why = ("10 trials done", "run.json", "has changed since")
    assert any(words in told.output for words in told_why)


SECRET = "hunter2-correct-horse"
PRIVATE = {
    "text": SECRET,
    "settings": f"token: {SECRET}\nuser: {SECRET}\n",
    "a list": f"- {SECRET}\n- {SECRET}\n",
    "an ini": f"[default]\naws_secret_access_key = {SECRET}\n",
    "shadow": f"root:{SECRET}:19000:0:99999:7:::\nme:{SECRET}:1:0:1:7:::\n",
    "bytes": f"\x00\x01{SECRET}",
    "broken": f"a: [{SECRET}\n  b: {{{SECRET}",
    "a key": f"-----BEGIN KEY-----\n{SECRET}\n-----END KEY-----\n",
    "nested": f"title: {{password: {SECRET}}}\ncast: {{password: {SECRET}}}\n",
}


@pytest.mark.parametrize("what", PRIVATE)
def test_a_file_that_is_no_scene_is_not_quoted(what: str, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text(PRIVATE[what])
    inner = tmp_path / "given" / "study"
    inner.mkdir(parents=True)
    for i, path in enumerate([str(private), "../../private"]):
        file = inner / f"{i}.yaml"
        file.write_text(json.dumps({"study": "s", "scenes": [path]}))
        for words in (("validate", str(file)), ("run", str(file), "--runs", str(tmp_path / "r"))):
            assert SECRET not in command(*words, code=2).output
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("scene", ["/dev/zero", "/proc/self/environ", "..", "/", "/dev/stdin"])
def test_what_is_no_file_is_no_scene(
    scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps({"study": "s", "scenes": [scene]}))
    assert KEY not in command("validate", str(file), code=2).output


def test_a_model_file_that_is_none_stops_the_run_with_an_answer(tmp_path: Path) -> None:
    fake = tmp_path / "fake.gguf"
    fake.write_text(SECRET * 100)
    file = chairs(tmp_path, None, 3)
    file.write_text(file.read_text().replace('"puppet"', json.dumps(str(fake))))
    told = command("run", str(file), "--runs", str(tmp_path / "r"), "--ray", "off", code=1).output
    assert "fake.gguf: llama.cpp cannot serve it" in told and SECRET not in told
    assert "0 trials done, 0 failed, 3 still owed" in told
    meta = orjson.loads(Path(open_run(tmp_path / "r", "last").path, "run.json").read_bytes())
    assert meta["status"] == "stopped"
