"""The puppet server: errors, latency, a rate cap and a cache as real endpoints have them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest

from improv.errors import MachineError
from improv.models.puppet.player import (
    count_tokens,
)
from improv.models.puppet.server import PuppetServer, TokenBucket
from improv.study.puppet_spec import Puppet
from tests.support.places import TOP
from tests.support.puppet import (
    HEAD,
    ask,
    chat,
    is_opposite,
    line_of,
    near,
    script,
    send,
    with_client,
)


@pytest.mark.parametrize(
    ("kind", "error", "status", "code"),
    [
        ("429", openai.RateLimitError, 429, "rate_limit_exceeded"),
        ("quota", openai.RateLimitError, 429, "insufficient_quota"),
        ("402", openai.APIStatusError, 402, "insufficient_quota"),
        ("401", openai.AuthenticationError, 401, "invalid_api_key"),
        ("404", openai.NotFoundError, 404, "model_not_found"),
        ("500", openai.InternalServerError, 500, None),
        ("503", openai.InternalServerError, 503, None),
    ],
)
def test_a_status_reaches_the_client_as_openai_sends_it(
    kind: str, error: type[openai.APIStatusError], status: int, code: str | None
) -> None:
    with PuppetServer(Puppet(errors={kind: 1})) as server:
        with pytest.raises(error) as caught:
            ask(server, chat())
    assert caught.value.status_code == status
    assert caught.value.code == code
    if kind == "429":
        wait = float(caught.value.response.headers["retry-after-ms"])
        assert 50 <= wait <= 1000
        assert caught.value.response.headers["retry-after"] == "1"
    assert (server.requests, server.answered, server.asked) == (1, 0, {})
    assert server.failed == {kind: 1}


def test_hanging_dropping_and_endless_replies_end_only_with_the_client() -> None:
    with PuppetServer() as server:
        server.spec = Puppet(errors={"hang": 1})
        with pytest.raises(openai.APITimeoutError):
            ask(server, chat(), timeout=2)
        server.spec = Puppet(errors={"drop": 1})
        # With aiohttp the client reports this as a timeout; only the cause names the real error.
        with pytest.raises(openai.APIConnectionError) as dropped:
            ask(server, chat())
        assert "disconnected" in str(dropped.value.__cause__)
        server.spec = Puppet(errors={"endless": 1})

        async def give_up(client: openai.AsyncOpenAI) -> None:
            # The client's own timeout limits each read, and no read of these takes long.
            await asyncio.wait_for(send(client, chat()), 2)

        with pytest.raises(TimeoutError):
            asyncio.run(with_client(server, give_up, timeout=60))
        deadline = time.monotonic() + 60
        while server.in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.in_flight == 0
        assert (server.requests, server.answered) == (3, 0)


def test_replies_that_are_no_json() -> None:
    with PuppetServer(Puppet(errors={"html": 1})) as server:
        page = ask(server, chat())
        assert isinstance(page, str)
        assert page.startswith("<!doctype html>")
        server.spec = Puppet(errors={"broken": 1})
        with pytest.raises(json.JSONDecodeError, match="Unterminated"):
            ask(server, chat())
        server.spec = Puppet(errors={"empty": 1})
        with pytest.raises(json.JSONDecodeError, match="Expecting value"):
            ask(server, chat())
        assert server.answered == 0


def test_a_late_reply_is_a_sound_one() -> None:
    with PuppetServer(Puppet(errors={"late": 1}), late=2.0) as server:
        with pytest.raises(openai.APITimeoutError):
            ask(server, chat(), timeout=0.5)
        started = time.perf_counter()
        assert line_of(ask(server, chat(), timeout=60).model_dump())
        assert time.perf_counter() - started > 2.0
        assert server.answered == 1


def test_a_retry_of_the_same_draw_may_succeed() -> None:
    with PuppetServer(Puppet(errors={"500": 0.5})) as server:

        async def all_of_them(client: openai.AsyncOpenAI) -> None:
            client = client.with_options(max_retries=20)
            await asyncio.gather(*(send(client, script(turn=k)) for k in range(1, 9)))

        asyncio.run(with_client(server, all_of_them))
        assert server.answered == 8
        assert server.asked == Counter(script(turn=k)["user"] for k in range(1, 9))
        assert server.requests == 8 + server.failed["500"] > 8


def test_errors_come_as_often_as_declared() -> None:
    spec = Puppet(errors={"500": 0.2, "429": 0.1})
    with PuppetServer(spec) as server:

        async def many(client: openai.AsyncOpenAI) -> None:
            calls = (send(client, script(turn=k)) for k in range(400))
            await asyncio.gather(*calls, return_exceptions=True)

        asyncio.run(with_client(server, many))
    assert near(server.failed["500"] / 400, 0.2, 400)
    assert near(server.failed["429"] / 400, 0.1, 400)
    assert server.answered == 400 - server.failed.total()


def test_every_reply_takes_the_declared_latency() -> None:
    with PuppetServer(Puppet(latency=0.3)) as server:

        async def once(client: openai.AsyncOpenAI) -> float:
            started = time.perf_counter()
            await send(client, script())
            return time.perf_counter() - started

        assert asyncio.run(with_client(server, once)) >= 0.3


def test_five_hundred_calls_wait_together() -> None:
    with PuppetServer(Puppet(latency=4.0)) as server:

        async def crowd(client: openai.AsyncOpenAI) -> None:
            await asyncio.gather(*(send(client, script(turn=k)) for k in range(500)))

        asyncio.run(with_client(server, crowd, timeout=120))
        assert server.peak > 250
        assert server.answered == 500


def test_a_bucket_holds_a_second_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(4)
    assert [bucket.take(100.0) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert bucket.take(100.125) == pytest.approx(0.125)
    assert bucket.take(100.25) == 0
    assert [bucket.take(200.0) > 0 for _ in range(6)] == [False] * 4 + [True] * 2


def test_a_rate_cap_lets_through_what_it_should() -> None:
    rate = 20
    with PuppetServer(requests_per_second=rate) as server:

        async def hurry(client: openai.AsyncOpenAI, calls: int = 200) -> tuple[list[Any], float]:
            started = time.perf_counter()
            replies = await asyncio.gather(
                *(send(client, script(turn=k)) for k in range(calls)), return_exceptions=True
            )
            return replies, time.perf_counter() - started

        replies, took = asyncio.run(with_client(server, hurry))
        refused = [e for e in replies if isinstance(e, openai.RateLimitError)]
        assert rate <= server.answered <= rate + rate * took + 1
        assert len(refused) == server.failed["rate"] == 200 - server.answered > 0
        assert 0 < float(refused[0].response.headers["retry-after-ms"]) <= 1000 / rate
        # A client that waits for each Retry-After gets all its replies.
        patient, _ = asyncio.run(
            with_client(server, lambda c: hurry(c, 10), max_retries=100, timeout=60)
        )
        assert all(line_of(reply.model_dump()) for reply in patient)


def test_a_thread_that_grows_finds_its_beginning_cached() -> None:
    with PuppetServer() as server:

        def cached(text: str, trial: str = "t") -> int:
            usage = ask(server, script(text, trial=trial)).usage
            return int(usage.prompt_tokens_details.cached_tokens)

        assert cached(HEAD + "BO:") == 0
        assert cached(HEAD + "BO: Yes.\nMARA: No?\nBO:") == count_tokens(HEAD + "BO:")
        assert cached(HEAD + "BO:", "another trial") == 0
        assert cached(HEAD + "BO: Well.\nBO:") == count_tokens(HEAD + "BO:")
        assert cached("A note on top.\n" + HEAD + "BO:") == 0


def test_bad_requests_are_refused_with_a_reason() -> None:
    with PuppetServer() as server:
        for body, reason in (
            (script(prompt=["a", "b"]), "one string"),
            (script(stream=True), "does not stream"),
        ):
            with pytest.raises(openai.BadRequestError, match=reason):
                ask(server, body)
        with pytest.raises(openai.NotFoundError, match="/v1/embeddings"):
            asyncio.run(
                with_client(server, lambda c: c.embeddings.create(model="puppet", input="x"))
            )
        models = asyncio.run(with_client(server, lambda c: c.models.list()))
        assert [m.id for m in models.data] == ["puppet"]
    with pytest.raises(ValueError, match="'htlm' is no error"):
        PuppetServer(Puppet(errors={"htlm": 1}))


def test_a_taken_port_is_said_plainly_and_a_closed_server_frees_it() -> None:
    with PuppetServer() as server:
        with pytest.raises(MachineError, match=f"port {server.port}"):
            PuppetServer(port=server.port).start()
    with PuppetServer(port=server.port) as again:
        assert line_of(ask(again, chat()).model_dump())


def test_as_a_process_it_tells_its_address_and_its_books(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "improv.models.puppet.server", "--latency", "0.01", "--spec"]
    process = subprocess.Popen(
        [*command, '{"alpha": 1}'],
        stdout=subprocess.PIPE,
        text=True,
        cwd=TOP,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/v1", url)
        assert address is not None
        there = PuppetServer(port=int(url.split(":")[2].split("/")[0]))
        assert is_opposite(line_of(ask(there, script()).model_dump()))
        stats = json.load(urllib.request.urlopen(f"{address[1]}/stats"))
        assert (stats["requests"], stats["answered"]) == (1, 1)
        assert stats["asked"] == {script()["user"]: 1}
        health = json.load(urllib.request.urlopen(f"{address[1]}/health"))
        assert health == {"status": "ok"}
    finally:
        process.terminate()
        assert process.wait(60) == 0
