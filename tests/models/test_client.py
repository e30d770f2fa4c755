"""The client: the requests it sends, the replies it reads, and how it handles failures."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai
import orjson
import pytest
from pytest_httpserver import HTTPServer

from improv.errors import EndpointError
from improv.models.client import Models
from improv.models.endpoint import check_endpoint
from improv.models.puppet.server import PuppetServer
from improv.models.request import Ask, Prompt, request_body
from improv.records import Call, Draw
from improv.runner.host import STOPS_THE_RUN
from improv.study.model_spec import Model
from improv.study.puppet_spec import Puppet
from tests.support.places import DATA

Serve = Callable[..., PuppetServer]
CHAT = Prompt("chat", ("b1",), messages=({"role": "user", "content": "(Bo, your line.)"},))
CERTIFICATE = DATA / "loopback.pem"
NOBODY = "http://127.0.0.1:9/v1"
SCRIPT = Prompt("script", ("b1",), text="ANA: Hello, Bo.\nBO:", stop=("\n",))


def ask(model: Model, prompt: Prompt = CHAT, turn: int = 1, attempt: int = 0) -> Ask:
    return Ask(Draw("t", "main", turn, "Bo", "line", attempt), model, prompt)


def complete(*asks: Ask) -> list[Call]:
    async def go() -> list[Call]:
        models = Models()
        try:
            return list(await asyncio.gather(*map(models.complete, asks)))
        finally:
            await models.close()

    return asyncio.run(go())


def test_a_reply_is_read_with_its_usage(puppet_server: Serve) -> None:
    server = puppet_server()
    for prompt in (CHAT, SCRIPT):
        (call,) = complete(ask(Model(model="puppet", base_url=server.url), prompt))
        assert call.reply and not call.error
        assert call.prompt_tokens and call.completion_tokens and call.finish_reason == "stop"
        assert call.blocks == ("b1",) and call.mode == prompt.mode
        assert json.loads(call.params)["seed"] == call.draw.seed


def test_in_process_and_on_loopback_a_puppet_says_the_same(puppet_server: Serve) -> None:
    server = puppet_server()
    near, far = complete(
        ask(Model(model="puppet")), ask(Model(model="puppet", base_url=server.url))
    )
    assert near.reply == far.reply
    again, other = complete(ask(Model(model="puppet")), ask(Model(model="puppet"), attempt=1))
    assert again.reply == near.reply and again.draw.seed != other.draw.seed


def test_retries_are_the_clients_and_are_counted(puppet_server: Serve) -> None:
    server = puppet_server(errors={"429": 0.5})
    model = Model(model="puppet", base_url=server.url, timeout=20)
    calls = complete(*(ask(model, turn=i) for i in range(12)))
    answered = [c for c in calls if not c.error]
    assert len(answered) >= 10 and sum(c.retries for c in calls) > 0


@pytest.mark.parametrize(
    ("kind", "error", "retries"),
    [
        ("500", ["status 500"], 1),
        ("drop", ["connection"], 1),
        ("html", ["unreadable"], 1),
        ("broken", ["unreadable"], 1),
        ("empty", ["unreadable"], 1),
        ("hang", ["timeout"], 1),
        ("endless", ["endless", "timeout"], None),
        ("401", ["key"], 0),
        ("quota", ["quota"], 0),
        ("404", ["model"], 0),
    ],
)
def test_bad_days_end_in_an_error_that_says_so(
    puppet_server: Serve, kind: str, error: list[str], retries: int | None
) -> None:
    server = puppet_server(errors={kind: 1.0})
    # Two seconds stand for the two minutes of a real timeout, one retry for six.
    seconds = 2 if "timeout" in error else 60
    model = Model(model="puppet", base_url=server.url, timeout=seconds, retries=1)
    (call,) = complete(ask(model))
    assert call.reply == "" and call.finish_reason == "error"
    assert call.error and call.error_kind in error, call.error_line
    assert retries in (None, call.retries)


def test_nobody_there() -> None:
    (call,) = complete(ask(Model(model="m", base_url=NOBODY, timeout=60, retries=1)))
    assert call.error_line.startswith(f"connection: {NOBODY} broke the connection")


def test_no_key_for_openai_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    (call,) = complete(ask(Model(model="gpt-4.1-mini")))
    assert call.error_line.startswith("key: no key: set OPENAI_API_KEY")


def test_keys_reach_the_endpoint_and_nothing_else(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", "sk-planted-0123456789")
    httpserver.expect_request(
        "/v1/chat/completions", headers={"Authorization": "Bearer sk-planted-0123456789"}
    ).respond_with_json({"error": {"message": "bad key sk-…"}}, status=401)
    model = Model(model="m", base_url=httpserver.url_for("/v1"), api_key_env="PLANTED_API_KEY")
    (call,) = complete(ask(model))
    assert call.error_kind == "key" and "sk-planted" not in repr(call)
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"choices": []},
        {"choices": [{"message": {}}]},
        {"choices": [{"text": 3}]},
        [],
        "text",
    ],
)
def test_a_reply_of_another_shape_is_unreadable(httpserver: HTTPServer, reply: object) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    (call,) = complete(ask(Model(model="m", base_url=httpserver.url_for("/v1"), retries=0)))
    assert call.error_kind == "unreadable", call


def test_an_error_in_place_of_a_reply_counts_as_one_with_a_status(httpserver: HTTPServer) -> None:
    error = {"error": {"message": "overloaded"}}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(error)
    (call,) = complete(ask(Model(model="m", base_url=httpserver.url_for("/v1"), retries=0)))
    assert call.error_kind == "status 503" and "overloaded" in call.error


def test_the_body_is_what_the_endpoint_knows() -> None:
    model = Model(model="m", base_url="http://h/v1", temperature=0.5, extra={"top_k": 5})
    body = request_body(ask(model, SCRIPT))
    assert body["prompt"].endswith("BO:") and body["stop"] == ("\n",) and body["top_k"] == 5
    assert "user" not in body and "messages" not in body
    unseeded = model.model_copy(update={"seeded": False})
    assert "seed" not in request_body(ask(unseeded))
    schema = {"type": "object"}
    structured = Ask(Draw("t", "main", 1, "author", "author"), model, CHAT, schema)
    assert request_body(structured)["response_format"]["json_schema"]["schema"] == schema


@pytest.fixture
def tls_server() -> Iterator[HTTPServer]:
    """A server on loopback with a self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with HTTPServer(ssl_context=context) as server:
        reply = {"choices": [{"message": {"content": "Aye."}}]}
        server.expect_request("/v1/chat/completions").respond_with_json(reply)
        yield server


def test_a_certificate_is_trusted_only_where_it_is_vouched_for(tls_server: HTTPServer) -> None:
    url = tls_server.url_for("/v1")
    (call,) = complete(ask(Model(model="m", base_url=url, retries=0)))
    assert call.error_kind == "certificate" and "SSL_CERT_FILE" in call.error
    assert call.error_kind in STOPS_THE_RUN
    with pytest.raises(EndpointError, match=r"not trusted.*SSL_CERT_FILE"):
        check_endpoint(url)
    assert not tls_server.log
    # The trusted certificates are read once per process.
    code = (
        "from tests.models.test_client import Model, ask, complete, check_endpoint\n"
        f"check_endpoint({url!r})\n"
        f"(call,) = complete(ask(Model(model='m', base_url={url!r})))\n"
        "print(call.reply, call.error)"
    )
    env = os.environ | {"SSL_CERT_FILE": str(CERTIFICATE)}
    vouched = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
    )
    assert vouched.stdout.split() == ["Aye."], vouched.stderr
    assert len(tls_server.log) == 1


def test_certificates_that_cannot_be_read_are_said_before_anything_starts(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pem"
    code = f"from improv.models.endpoint import check_endpoint; check_endpoint({NOBODY!r})"
    env = os.environ | {"SSL_CERT_FILE": str(nowhere)}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
    )
    assert f"SSL_CERT_FILE is {nowhere}: No such file" in process.stderr


def test_https_where_no_tls_is_spoken_is_said(httpserver: HTTPServer) -> None:
    with pytest.raises(EndpointError, match="is its address http://"):
        check_endpoint(httpserver.url_for("/v1").replace("http://", "https://"))
    assert not httpserver.log


def test_latency_is_waited_for_together(puppet_server: Serve) -> None:
    server = puppet_server(latency=0.3)
    model = Model(model="puppet", base_url=server.url)
    calls = complete(*(ask(model, turn=i) for i in range(30)))
    assert all(c.latency >= 0.3 for c in calls)
    assert max(c.started for c in calls) - min(c.started for c in calls) < 0.3 * 10


def test_a_draw_is_its_identity() -> None:
    one = Draw("t", "main", 1, "Bo", "line")
    assert one.seed == Draw("t", "main", 1, "Bo", "line").seed
    others = [
        Draw("u", "main", 1, "Bo", "line"),
        Draw("t", "b", 1, "Bo", "line"),
        Draw("t", "main", 2, "Bo", "line"),
        Draw("t", "main", 1, "Ana", "line"),
        Draw("t", "main", 1, "Bo", "author"),
        Draw("t", "main", 1, "Bo", "line", 1),
    ]
    assert len({d.seed for d in [one, *others]}) == 7
    assert Puppet().alpha == 0.1 and 0 <= one.seed < 2**31


def test_what_is_sent_is_what_the_openai_client_would_send(httpserver: HTTPServer) -> None:
    """A request from a template may differ from the client's only in the order of headers."""
    reply = {"choices": [{"message": {"content": "x"}}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    url = httpserver.url_for("/v1")
    one, two = ask(Model(model="m", base_url=url)), ask(Model(model="m", base_url=url), turn=2)

    async def one_after_another() -> None:
        # Only the second is built from a template, which the first one leaves.
        models = Models()
        assert all([not (await models.complete(a)).error for a in (one, two)])
        await models.close()

    async def plainly() -> None:
        http = openai.DefaultAioHttpClient()
        timeout = httpx2.Timeout(120.0, connect=10.0)
        async with openai.AsyncOpenAI(
            api_key="none", base_url=url, http_client=http, timeout=timeout
        ) as client:
            await client.post(
                "/chat/completions",
                content=orjson.dumps(request_body(two)),
                cast_to=httpx2.Response,
                options={"headers": {"content-type": "application/json"}},
            )

    asyncio.run(one_after_another())
    asyncio.run(plainly())
    first, ours, theirs = (request for request, _ in httpserver.log)
    assert ours.json == theirs.json == json.loads(orjson.dumps(request_body(two)))
    # Without the client's telemetry: the description of this machine, and the name of its class.
    kept = ("X-Stainless-Retry-Count",)
    headers = [
        {k: v for k, v in r.headers.items() if k in kept or not k.startswith(("X-Stain", "User-A"))}
        for r in (first, ours, theirs)
    ]
    assert headers[1] == headers[2]
    assert {"Authorization", "Content-Type", *kept} <= headers[0].keys()
    for request in (first, ours):
        assert [k for k, _ in request.headers if k.startswith("X-Stain")] == [*kept]


def test_a_stopped_run_can_wake_the_openai_client() -> None:
    """This is the only private name of a library that improv uses. If openai renames it, a stopped
    run waits for every Retry-After, and improv/models/transport.py needs another way."""
    wait = getattr(openai.AsyncOpenAI, "_sleep_for_retry", None)
    assert asyncio.iscoroutinefunction(wait)
