"""All failures of an endpoint that we know, made by real servers on loopback.

Each failure ends in a recorded failure of the trial or in a recorded retry, never in a hang, a
crash, or a line that the model did not write."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from improv.models.client import Models
from improv.records import Call
from improv.runner.launch import Result, run
from improv.runner.session import Setup
from improv.study.loader import load
from tests.support.weather import LINE, SCENE, TIMEOUT, RawServer, Send, ask, http, said

HTML = "<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def wait(server: threading.Event, send: Send) -> bytes:
    server.wait(60)
    return b""


def drip(server: threading.Event, send: Send) -> bytes:
    """Send each byte in time, but never the whole reply."""
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
    # name: the reply, the kind of the trial's failure, the kind of the retry ("": no retry)
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
    "fails in a 200": (always(http('{"error": {"message": "busy"}}')), "status 502", "502"),
    "has no choices": (always(http('{"choices": []}')), "unreadable", "unreadable"),
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
UNCOUNTED = {"counts beyond reason", "counts in words", "has no usage"}
"""Answers whose tokens are estimated."""


def timeout_for(what: str) -> float:
    """Return the timeout in seconds: short only if the endpoint must time out, because a busy
    machine is slow too."""
    name = what.removesuffix(", once").removesuffix(", always")
    return TIMEOUT if name in WEATHER and WEATHER[name][1] == "timeout" else 60.0


def failing(times: float, how: Callable[[threading.Event, Send], bytes]) -> RawServer:
    """Return a server that fails the first `times` requests, and then answers well."""
    server: RawServer

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return how(server.closing, send) if n < times else http(said(LINE))

    server = RawServer(reply)
    return server


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Play a run in which each trial has its own server, and each server fails in its own way."""
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
            model = {"model": "m", "base_url": server.url, "timeout": timeout_for(name)}
            levels[name] = {"model": model | {"retries": retries}}
        study = {"study": "storm", "scenes": ["chairs.yaml"], "factors": {"endpoint": levels}}
        file = folder / "storm.yaml"
        file.write_text(json.dumps(study))
        result = run(load(file), runs=folder / "runs", setup=Setup(ray="off"))
        outcomes: dict[str, Any] = {"result": result, "servers": servers}
        for row in result.folder.tables.read("trials").to_pylist():
            trial = row["trial"]
            calls = result.folder.transcripts.calls(trial)
            outcomes[row["condition"]] = (row, calls, result.folder.transcripts.read(trial).lines())
        yield outcomes


def test_the_storm_is_over_and_every_trial_is_there_once(storm: dict[str, Any]) -> None:
    result: Result = storm["result"]
    rows = result.folder.tables.read("trials").to_pylist()
    assert sorted(r["condition"] for r in rows) == sorted(storm["servers"])
    assert (result.owed, result.kind, result.exit_code) == (0, "", 1)
    assert not [r for r in rows if r["failure_kind"] == "internal"]


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
        # A retry would get the same answer, or would cost as much again.
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
    assert all(c.estimated == (what in UNCOUNTED) and c.prompt_tokens for c in calls)
    assert what in UNCOUNTED or {c.prompt_tokens for c in calls} == {7}


def test_errors_say_the_address_and_what_was_wrong_with_it(storm: dict[str, Any]) -> None:
    def why(what: str) -> str:
        return str(storm[f"{what}, always"][0]["failure"])

    url = storm["servers"]["hangs, always"].url
    assert f"{url} did not answer within 4 s" in why("hangs")
    assert "text/html that is not JSON: '<!doctype html>" in why("shows a page")
    assert "a reply of more than 4 MB" in why("never ends")
    assert "307, a redirection, which improv does not follow" in why("points elsewhere")
    assert "answered 502: busy" in why("fails in a 200")
    assert "a reply without a choice" in why("has no choices")


@pytest.fixture(scope="module")
def later() -> dict[str, tuple[str, Call]]:
    """Each failure at the second call of a client, which is sent in another way than the first.

    Maps the name of the failure to the endpoint's address and the second call.
    """

    async def second(server: RawServer, retries: int, timeout: float) -> Call:
        models = Models()
        try:
            assert not (await models.complete(ask(server.url, timeout=60))).error
            return await models.complete(ask(server.url, 2, timeout=timeout, retries=retries))
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
                    servers[f"{what}, {times}"] = (server, retries, timeout_for(what))
            for what, (data, _) in FINE.items():
                servers[what] = (stack.enter_context(turning(always(data), False)), 0, 60.0)
            calls = await asyncio.gather(*(second(*case) for case in servers.values()))
            named = zip(servers.items(), calls, strict=True)
            return {what: (server.url, call) for (what, (server, *_)), call in named}

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
    assert (call.error, call.reply, call.estimated) == ("", text, what in UNCOUNTED)
    assert what in UNCOUNTED or call.prompt_tokens == 7
