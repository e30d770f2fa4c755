"""Retries of a call: how many, how long it waits, and which requests are never repeated."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable

import pytest

from improv.models.client import Models
from improv.models.transport import MOST_LIMITED
from improv.records import Call
from tests.support.weather import LINE, RawServer, Send, Serve, ask, complete, http, said


def test_each_retry_is_recorded_with_its_reason() -> None:
    bad = [http("{}", "429 Slow", more="retry-after-ms: 20\r\n"), http("{}", "500 Oh")]

    def reply(n: int, request: bytes, send: Send) -> bytes:
        return bad[n] if n < len(bad) else http(said(LINE))

    with RawServer(reply) as server:
        (call,) = complete(ask(server.url))
    assert (call.retries, call.retried, call.error) == (2, ("429", "500"), "")
    counts = [r.split(b"x-stainless-retry-count: ")[1][:1] for r in map(bytes.lower, server.seen)]
    assert counts == [b"0", b"0", b"1"], "the 429 used up no retry"


def test_a_call_is_tried_as_often_as_its_model_says() -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http("{}", "500 Oh", more="retry-after-ms: 10\r\n")

    for retries in (0, 3):
        with RawServer(reply) as server:
            (call,) = complete(ask(server.url, retries=retries))
        assert (len(server.seen), call.retries) == (retries + 1, retries)
        assert call.error_kind == "status 500" and call.retried == ("500",) * retries


def test_a_429_uses_up_no_retry_and_is_not_waited_out_for_ever() -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        limited = http("{}", "429 Slow", more="retry-after-ms: 1\r\n")
        return http(said(LINE)) if n == 40 else limited

    with RawServer(reply) as server:
        (call,) = complete(ask(server.url, retries=1))
        assert (call.reply, call.error, call.retried) == (LINE, "", ("429",) * 40)

    def full(n: int, request: bytes, send: Send) -> bytes:
        return http("{}", "429 Slow", more="retry-after-ms: 1\r\n")

    for retries, asked in ((0, 1), (1, MOST_LIMITED + 2)):
        with RawServer(full) as server:
            (call,) = complete(ask(server.url, retries=retries))
            assert (call.error_kind, len(server.seen)) == ("status 429", asked)


def test_a_wait_that_the_endpoint_asks_for_is_kept_and_is_no_wait_for_leave() -> None:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        wait = http("{}", "429 Slow", more="Retry-After: 1\r\n")
        return http(said(LINE)) if n else wait

    with RawServer(reply) as server:
        (call,) = complete(ask(server.url))
    assert call.waited < 1 <= call.latency


def test_waiting_for_leave_is_no_latency(puppet_server: Serve) -> None:
    server = puppet_server(latency=0.2)
    began = time.monotonic()
    calls = complete(*(ask(server.url, turn=i) for i in range(5)), connections=1)
    took = time.monotonic() - began
    assert server.peak == 1
    assert max(c.waited for c in calls) >= 0.75
    assert min(c.latency for c in calls) >= 0.2
    # The calls run one after the other. If latencies contained the waits, they would add up to
    # three times the whole.
    assert sum(c.latency for c in calls) < 2 * took


def test_a_halted_client_sends_nothing_more_and_does_not_wait_to_repeat() -> None:
    """A Retry-After may be two minutes; a stop of the run does not wait for it."""

    asked = threading.Event()

    def reply(n: int, request: bytes, send: Send) -> bytes:
        asked.set()
        return http("{}", "429 Slow", more="Retry-After: 100\r\n")

    async def go(server: RawServer) -> tuple[Call, Call]:
        models = Models()
        early = asyncio.create_task(models.complete(ask(server.url)))
        assert await asyncio.to_thread(asked.wait, 60)
        await asyncio.sleep(0.5)  # by then the call is mostly refused and waits
        models.halt()
        async with asyncio.timeout(60):
            calls = await early, await models.complete(ask(server.url, turn=2))
        await models.close()
        return calls

    with RawServer(reply) as server:
        calls = asyncio.run(go(server))
    assert [c.error_line for c in calls] == ["halted: the run was stopped"] * 2
    assert len(server.seen) == 1


def test_a_redirection_is_not_followed() -> None:
    """The user trusts an address, and not the one that it redirects to."""
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
    monkeypatch.setenv("PLANTED_API_KEY", key)
    with RawServer(lambda n, request, send: answer(key)) as server:
        (call,) = complete(ask(server.url, retries=0, api_key_env="PLANTED_API_KEY"))
    assert f"Bearer {key}".encode() in server.seen[0]
    assert call.error or call.reply == "I know [key]."
    assert "planted" not in repr(call)
