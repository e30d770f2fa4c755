"""Bad weather: everything that an endpoint can do wrong, done by real servers on loopback.

Each ends in a recorded failure of that trial, or in a retry that is recorded too: never in a
hang, a crash, or a line that nobody said.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from improv.client import Models
from improv.launch import Result, resume, run
from improv.puppet_server import PuppetServer
from improv.record import Call, Draw
from improv.request import Ask, Prompt
from improv.scene import Model
from improv.session import Setup
from improv.study import load
from tests.weather_support import SCENE, RawServer, Send, http, said

Serve = Callable[..., PuppetServer]
TIMEOUT = 1.0
"""Seconds that stand for the two minutes of a real timeout."""
LINE = "Then we wait."
HTML = "<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def wait(server: threading.Event, send: Send) -> bytes:
    server.wait(60)
    return b""


def drip(server: threading.Event, send: Send) -> bytes:
    """Always about to say something: each byte in time, the whole never."""
    send(HEAD + b"Content-Length: 100000\r\n\r\n")
    while not server.wait(0.05):
        send(b" ")
    return b""


def late(server: threading.Event, send: Send) -> bytes:
    server.wait(2.5 * TIMEOUT)
    return http(said("Too late."))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def endless(server: threading.Event, send: Send) -> bytes:
    send(CHUNKED + chunk(b'{"choices": [{"text": "'))
    while not server.is_set():
        send(chunk(b"and then, " * 10_000))
    return b""


def always(data: bytes) -> Callable[[threading.Event, Send], bytes]:
    return lambda server, send: data


WEATHER: dict[str, tuple[Callable[[threading.Event, Send], bytes], str, str]] = {
    # what it does: how, why a trial fails of it, why a call is tried again for it ("": it is not)
    "hangs": (wait, "timeout", "timeout"),
    "drips": (drip, "timeout", "timeout"),
    "answers after the deadline": (late, "timeout", "timeout"),
    "drops the connection": (always(b""), "connection", "connection"),
    "drops it within the body": (always(http(said("Th"), length=500)), "connection", "connection"),
    "drops it within a chunk": (always(CHUNKED + b"100\r\n{"), "connection", "connection"),
    "breaks off its JSON": (always(http('{"choices": [{"ind')), "unreadable", "unreadable"),
    "answers nothing": (always(http("")), "unreadable", "unreadable"),
    "has no content": (always(b"HTTP/1.1 204 No\r\n\r\n"), "unreadable", "unreadable"),
    "shows a page": (always(http(HTML, kind="text/html")), "unreadable", "unreadable"),
    "shows a page as JSON": (always(http(HTML)), "unreadable", "unreadable"),
    "shows an error page": (
        always(http(HTML, "502 Bad Gateway", "text/html")),
        "status 502",
        "502",
    ),
    "answers a list": (always(http("[1, 2]")), "unreadable", "unreadable"),
    "speaks no HTTP": (always(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "unreadable", "unreadable"),
    "garbles a chunk": (always(CHUNKED + b"zzzz\r\n"), "unreadable", "unreadable"),
    "garbles its gzip": (
        always(http("garbage", more="Content-Encoding: gzip\r\n")),
        "unreadable",
        "unreadable",
    ),
    "is overloaded": (always(http("{}", "503 Busy")), "status 503", "503"),
    "refuses for now": (
        always(http("{}", "429 Slow", more="retry-after-ms: 50\r\n")),
        "status 429",
        "429",
    ),
    "never ends": (endless, "endless", ""),
    "has no choices": (always(http('{"error": {"message": "busy"}}')), "unreadable", ""),
    "says a number": (always(http('{"choices": [{"text": 5}]}')), "unreadable", ""),
    "does not like the request": (always(http("{}", "400 Bad")), "status 400", ""),
    "points elsewhere": (
        always(http("", "307 Go", more="Location: http://127.0.0.1:9/v1\r\n")),
        "status 307",
        "",
    ),
}

FINE: dict[str, tuple[bytes, str]] = {
    "calls JSON text": (http(said(LINE), kind="text/plain"), LINE),
    "calls JSON a page": (http(said(LINE), kind="text/html; charset=ebcdic"), LINE),
    "packs it": (http(gzip.compress(said(LINE).encode()), more="Content-Encoding: gzip\r\n"), LINE),
    "says nothing": (http(said("")), ""),
    "says null": (http(said(None)), ""),
    "counts beyond reason": (
        http(said(LINE, usage={"prompt_tokens": 10**12, "completion_tokens": -3})),
        LINE,
    ),
    "counts in words": (
        http(said(LINE, usage={"prompt_tokens": "many", "prompt_tokens_details": 3})),
        LINE,
    ),
    "has no usage": (http(said(LINE, usage=None)), LINE),
}


def failing(times: float, how: Callable[[threading.Event, Send], bytes]) -> RawServer:
    """Return a server that fails so many times, and then answers well."""
    server: RawServer

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return how(server.closing, send) if n < times else http(said(LINE))

    server = RawServer(reply)
    return server


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One run in which each trial has a server of its own, and each server does one thing."""
    folder = tmp_path_factory.mktemp("storm")
    (folder / "chairs.yaml").write_text(SCENE)
    levels = {}
    servers: dict[str, RawServer] = {}
    with contextlib.ExitStack() as stack:
        for what, (how, _, _) in WEATHER.items():
            for times in ("once", "always"):
                name = f"{what}, {times}"
                server = failing(1 if times == "once" else 1e9, how)
                servers[name] = stack.enter_context(server)
        for what, (data, _) in FINE.items():
            servers[what] = stack.enter_context(failing(1e9, always(data)))
        for name, server in servers.items():
            retries = 0 if name.endswith("always") else 2
            model = {"model": "m", "base_url": server.url, "timeout": TIMEOUT, "retries": retries}
            levels[name] = {"model": model}
        study = {"study": "storm", "scenes": ["chairs.yaml"], "factors": {"endpoint": levels}}
        file = folder / "storm.yaml"
        file.write_text(json.dumps(study))
        began = time.monotonic()
        result = run(load(file), runs=folder / "runs", setup=Setup(ray="off"))
        seconds = time.monotonic() - began
        found: dict[str, Any] = {"result": result, "seconds": seconds, "servers": servers}
        for row in result.folder.table("trials").to_pylist():
            trial = row["trial"]
            calls = result.folder.calls(trial)
            found[row["condition"]] = (row, calls, result.folder.transcript(trial).lines())
        yield found


def test_the_storm_is_over_and_every_trial_is_there_once(storm: dict[str, Any]) -> None:
    result: Result = storm["result"]
    rows = result.folder.table("trials").to_pylist()
    assert sorted(r["condition"] for r in rows) == sorted(storm["servers"])
    assert (result.owed, result.kind, result.exit_code) == (0, "", 1)
    assert not [r for r in rows if r["failure_kind"] == "internal"]
    assert storm["seconds"] < 30


@pytest.mark.parametrize("what", WEATHER)
def test_an_endpoint_that_always(what: str, storm: dict[str, Any]) -> None:
    row, calls, lines = storm[f"{what}, always"]
    _, kind, _ = WEATHER[what]
    assert (row["status"], row["failure_kind"], row["failure_turn"]) == ("failed", kind, 1)
    assert row["failure"].startswith("Ana: ") or row["failure"].startswith("Bo: ")
    assert len(row["failure"]) < 500
    (call,) = calls
    assert call.error and call.reply == "" and call.retries == 0 and lines == []
    assert len(storm["servers"][f"{what}, always"].seen) == 1


@pytest.mark.parametrize("what", WEATHER)
def test_an_endpoint_that_once(what: str, storm: dict[str, Any]) -> None:
    row, calls, lines = storm[f"{what}, once"]
    _, kind, reason = WEATHER[what]
    asked = len(storm["servers"][f"{what}, once"].seen)
    if not reason:
        # Another try would be answered as the first was, or would cost as much again.
        assert (row["status"], row["failure_kind"], asked) == ("failed", kind, 1)
        return
    assert (row["status"], row["retries"], asked) == ("done", 1, 3)
    assert [(c.retries, c.retried, c.error) for c in calls] == [(1, (reason,), ""), (0, (), "")]
    assert [t.text for t in lines] == [LINE, LINE]


@pytest.mark.parametrize("what", FINE)
def test_an_endpoint_that_is_odd_but_sound_and(what: str, storm: dict[str, Any]) -> None:
    row, calls, lines = storm[what]
    _, text = FINE[what]
    assert (row["status"], row["retries"]) == ("done", 0)
    assert [t.text for t in lines] == [text] * 2
    assert {t.kind for t in lines} == {"line" if text else "silence"}
    assert all(c.prompt_tokens in (None, 7) for c in calls)


def test_errors_say_the_address_and_what_was_wrong_with_it(storm: dict[str, Any]) -> None:
    def why(what: str) -> str:
        return str(storm[f"{what}, always"][0]["failure"])

    url = storm["servers"]["hangs, always"].url
    assert f"{url} did not answer within 1 s" in why("hangs")
    assert "text/html that is not JSON: '<!doctype html>" in why("shows a page")
    assert "a reply of more than 4 MB" in why("never ends")
    assert "307, a redirection, which is not followed" in why("points elsewhere")
    assert "no choices: {'message': 'busy'}" in why("has no choices")


# --- one call


def ask(url: str, turn: int = 1, **more: Any) -> Ask:
    prompt = Prompt("chat", ("b1",), messages=({"role": "user", "content": "(Bo, your line.)"},))
    model = Model.model_validate({"model": "puppet", "base_url": url} | more)
    return Ask(Draw("t", "main", turn, "Bo", "line"), model, prompt)


def complete(*asks: Ask, connections: int = 64) -> list[Call]:
    async def go() -> list[Call]:
        models = Models(connections=connections)
        try:
            return list(await asyncio.gather(*map(models.complete, asks)))
        finally:
            await models.close()

    return asyncio.run(go())


@pytest.fixture(scope="module")
def later() -> dict[str, tuple[str, Call]]:
    """Each thing that an endpoint can do, done to the second call of a client, which goes another
    way than the first: by what it does, the endpoint's address and that call."""

    async def second(server: RawServer, retries: int) -> Call:
        models = Models()
        try:
            assert not (await models.complete(ask(server.url, timeout=TIMEOUT))).error
            return await models.complete(ask(server.url, 2, timeout=TIMEOUT, retries=retries))
        finally:
            await models.close()

    def turning(how: Callable[[threading.Event, Send], bytes], once: bool) -> RawServer:
        server: RawServer

        def reply(n: int, request: bytes, send: Send) -> bytes:
            bad = n == 1 if once else n >= 1
            return how(server.closing, send) if bad else http(said(LINE))

        server = RawServer(reply)
        return server

    async def go() -> dict[str, tuple[str, Call]]:
        with contextlib.ExitStack() as stack:
            servers = {}
            for what, (how, _, _) in WEATHER.items():
                for times, retries in (("always", 0), ("once", 2)):
                    server = stack.enter_context(turning(how, times == "once"))
                    servers[f"{what}, {times}"] = (server, retries)
            for what, (data, _) in FINE.items():
                servers[what] = (stack.enter_context(turning(always(data), False)), 0)
            calls = await asyncio.gather(*(second(*given) for given in servers.values()))
            named = zip(servers.items(), calls, strict=True)
            return {what: (server.url, call) for (what, (server, _)), call in named}

    return asyncio.run(go())


@pytest.mark.parametrize("what", WEATHER)
def test_a_later_call_fails_as_the_first_does(
    what: str, later: dict[str, tuple[str, Call]], storm: dict[str, Any]
) -> None:
    _, kind, reason = WEATHER[what]
    url, call = later[f"{what}, always"]
    assert call.error_kind == kind and call.reply == "" and call.retries == 0
    first, _, _ = storm[f"{what}, always"]
    known = storm["servers"][f"{what}, always"].url
    assert first["failure"].split(": ", 1)[1].replace(known, url) == call.error
    url, call = later[f"{what}, once"]
    if reason:
        assert (call.reply, call.retried, call.error) == (LINE, (reason,), "")
    else:
        assert call.error_kind == kind and not call.retries


@pytest.mark.parametrize("what", FINE)
def test_a_later_call_is_read_as_the_first_is(
    what: str, later: dict[str, tuple[str, Call]]
) -> None:
    _, text = FINE[what]
    _, call = later[what]
    assert (call.error, call.reply) == ("", text) and call.prompt_tokens in (None, 7)


def test_each_retry_is_recorded_with_its_reason() -> None:
    bad = [http("{}", "429 Slow", more="retry-after-ms: 20\r\n"), http("{}", "500 Oh")]

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return bad[n] if n < len(bad) else http(said(LINE))

    with RawServer(reply) as server:
        (call,) = complete(ask(server.url))
    assert (call.retries, call.retried, call.error) == (2, ("429", "500"), "")
    counts = [r.split(b"x-stainless-retry-count: ")[1][:1] for r in map(bytes.lower, server.seen)]
    assert counts == [b"0", b"1", b"2"]


def test_a_call_is_tried_as_often_as_its_model_says() -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http("{}", "429 Slow", more="retry-after-ms: 10\r\n")

    for retries in (0, 3):
        with RawServer(reply) as server:
            (call,) = complete(ask(server.url, retries=retries))
        assert (len(server.seen), call.retries) == (retries + 1, retries)
        assert call.error_kind == "status 429" and call.retried == ("429",) * retries


def test_a_wait_that_the_endpoint_asks_for_is_kept_and_is_no_wait_for_leave() -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        wait = http("{}", "429 Slow", more="Retry-After: 1\r\n")
        return http(said(LINE)) if n else wait

    with RawServer(reply) as server:
        (call,) = complete(ask(server.url))
    assert call.latency >= 1 and call.waited < 0.5


def test_waiting_for_leave_is_no_latency(puppet_server: Serve) -> None:
    server = puppet_server(latency=0.2)
    calls = complete(*(ask(server.url, turn=i) for i in range(5)), connections=1)
    assert server.peak == 1
    assert max(c.waited for c in calls) >= 0.75
    assert all(0.2 <= c.latency < 0.6 for c in calls)


def test_a_halted_client_sends_nothing_more_and_does_not_wait_to_repeat() -> None:
    """A Retry-After may be two minutes; whoever stops a run does not wait for it."""

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http("{}", "429 Slow", more="Retry-After: 100\r\n")

    async def go(server: RawServer) -> tuple[Call, Call]:
        models = Models()
        early = asyncio.create_task(models.complete(ask(server.url)))
        await asyncio.sleep(0.5)
        models.halt()
        async with asyncio.timeout(2):
            calls = await early, await models.complete(ask(server.url, turn=2))
        await models.close()
        return calls

    with RawServer(reply) as server:
        calls = asyncio.run(go(server))
    assert [c.error_line for c in calls] == ["halted: the run was stopped"] * 2
    assert len(server.seen) == 1


def test_a_redirection_is_not_followed() -> None:
    """Whoever vouched for an address did not vouch for where it points."""
    with RawServer(lambda n, request, send: http(said(LINE))) as other:
        where = f"Location: {other.url}/chat/completions\r\n"
        with RawServer(lambda n, request, send: http("", "307 Go", more=where)) as server:
            (call,) = complete(ask(server.url))
    assert call.error_kind == "status 307" and other.seen == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda key: http("no JSON", kind=f"text/{key}"),
        lambda key: http(f"<h1>{key}</h1>", kind="text/html"),
        lambda key: http(json.dumps({"error": {"message": key, "code": key}}), f"422 {key}"),
        lambda key: http(json.dumps({"error": key})),
        lambda key: http(said(f"I know {key}.", model=key).replace("/", "\\/")),
        lambda key: http("", "307 Go", more=f"Location: http://127.0.0.1:9/{key}\r\n"),
        lambda key: f"HTTP/1.1 200 OK\r\n{key} \0: {key}\r\n\r\n".encode(),
    ],
    ids=["type", "page", "error", "choices", "reply", "place", "header"],
)
def test_no_call_quotes_the_key(
    answer: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-planted/0123456789"
    monkeypatch.setenv("PLANTED_KEY", key)
    with RawServer(lambda n, request, send: answer(key)) as server:
        (call,) = complete(ask(server.url, retries=0, api_key_env="PLANTED_KEY"))
    assert f"Bearer {key}".encode() in server.seen[0]
    assert call.error or call.reply == "I know [key]."
    assert "planted" not in repr(call)


# --- whole runs


def chairs(folder: Path, url: str, replicates: int, **model: Any) -> Path:
    """Write a study of so many trials of two calls each."""
    (folder / "chairs.yaml").write_text(SCENE)
    file = folder / "study.yaml"
    spec = {"model": "puppet", "base_url": url} | model
    study = {"study": "chairs", "scenes": ["chairs.yaml"], "set": {"model": spec}}
    file.write_text(json.dumps(study | {"replicates": replicates}))
    return file


def during(server: PuppetServer, answered: int, then: Callable[[], None]) -> threading.Thread:
    """Do something once a server has answered so often."""

    def watch() -> None:
        end = time.monotonic() + 60
        while server.answered < answered and time.monotonic() < end:
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_model_that_vanishes_half_way(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server(latency=0.05)
    file = chairs(tmp_path, server.url, 30, retries=1)
    gone = during(server, 20, server.stop)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", stages=8))
    gone.join()
    rows = result.folder.table("trials").to_pylist()
    assert len(rows) == 30 and result.done + result.failed == 30 and result.owed == 0
    assert 5 <= result.done <= 20
    failed = [r for r in rows if r["status"] == "failed"]
    assert {r["failure_kind"] for r in failed} == {"connection"}
    spoken = Counter(t["trial"] for t in result.folder.table("turns").to_pylist() if t["turn"])
    assert all(spoken[r["trial"]] == (2 if r["status"] == "done" else r["turns"]) for r in rows)
    assert sum(spoken.values()) <= server.answered


def test_a_model_that_comes_back_in_time_is_not_missed(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.05)
    file = chairs(tmp_path, server.url, 20)

    def restart() -> None:
        server.stop()
        time.sleep(0.7)
        server.start()

    restarted = during(server, 12, restart)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", stages=8))
    restarted.join()
    assert (result.done, result.failed) == (20, 0)
    reasons = {r for c in result.folder.all_calls() for r in c.retried}
    assert reasons == {"connection"}


def test_every_weather_at_once(puppet_server: Serve, tmp_path: Path) -> None:
    errors = {"429": 0.15, "500": 0.08, "html": 0.04, "broken": 0.04, "hang": 0.03}
    server = puppet_server(errors=errors)
    file = chairs(tmp_path, server.url, 60, timeout=2, retries=4)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off"))
    rows = result.folder.table("trials").to_pylist()
    assert len({r["trial"] for r in rows}) == len(rows) == 60 and result.owed == 0
    # Five attempts, each of which fails with .34: one call in two hundred is given up.
    assert result.failed <= 3
    known = {"status 429", "status 500", "unreadable", "timeout"}
    assert all(r["failure_kind"] in known for r in rows if r["status"] == "failed")
    assert max(server.asked.values()) == 1, "a call that was answered was asked again"
    draws = Counter(c.draw for c in result.folder.all_calls())
    assert max(draws.values()) == 1
    retried = Counter(r for c in result.folder.all_calls() for r in c.retried)
    assert {"429", "500", "unreadable", "timeout"} <= set(retried)
    errors_seen = sum(server.failed.values())
    assert sum(retried.values()) + result.failed == errors_seen
    lines = {t.text for r in rows for t in result.folder.transcript(r["trial"]).lines()}
    assert not any("html" in line or "{" in line for line in lines)


@pytest.mark.parametrize("kind", ["quota", "402", "401", "403", "404"])
def test_what_no_retry_can_cure_stops_the_run_at_once(
    kind: str, puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(latency=0.03)
    file = chairs(tmp_path, server.url, 30)
    bad = server.spec.model_copy(update={"errors": {kind: 1.0}})
    turned = during(server, 20, lambda: setattr(server, "spec", bad))
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", stages=4))
    turned.join()
    # One request for each scene that was playing, and nothing after.
    assert 1 <= sum(server.failed.values()) <= 4
    assert result.failed == 0 and result.owed + result.done == 30 and result.owed
    expected = {"quota": "quota", "402": "quota", "404": "model"}.get(kind, "key")
    assert (result.kind, result.exit_code) == (expected, 1)
    assert server.url in result.stopped
    saved = {c.draw.key for c in result.folder.journaled().calls() if not c.error}
    saved |= {c.draw.key for c in result.folder.all_calls()}
    assert saved == set(server.asked)
    server.spec = server.spec.model_copy(update={"errors": {}})
    again = resume(result.folder, setup=Setup(ray="off"))
    assert (again.done, again.failed, again.owed) == (30, 0, 0)
    assert len(server.asked) == 60 and max(server.asked.values()) == 1
