"""Proxies of the environment: which calls go through one, and what is said if it breaks them."""

from __future__ import annotations

import asyncio

import pytest
from pytest_httpserver import HTTPServer

from improv.models.agreed import agreed_at
from improv.models.client import Models
from improv.models.endpoint import check_endpoint
from improv.records import Call
from tests.support.weather import Serve, ask, complete


def test_a_proxy_of_the_environment_is_passed(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First and later calls, to a host name that only the proxy can resolve."""
    reply = {"choices": [{"message": {"content": "x"}}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(reply)
    monkeypatch.setenv("http_proxy", httpserver.url_for(""))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    agreed = agreed_at(["models.invalid"])
    check_endpoint("http://models.invalid/v1", agreed)

    async def one_after_another() -> list[str]:
        models = Models(agreed=agreed)
        errors = [
            (await models.complete(ask("http://models.invalid/v1", i))).error for i in range(3)
        ]
        await models.close()
        return errors

    assert asyncio.run(one_after_another()) == [""] * 3 and len(httpserver.log) == 3
    assert {request.host for request, _ in httpserver.log} == {"models.invalid"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_this_machine_serves_is_not_asked_through_a_proxy(
    host: str, puppet_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = puppet_server().url.replace("127.0.0.1", host)
    check_endpoint(url)
    for call in complete(*(ask(url, turn) for turn in range(3))):
        assert call.error == "" and call.reply


@pytest.mark.parametrize(
    ("proxy", "named"),
    [
        ("http://user:secret@127.0.0.1:9", "through the proxy http://127.0.0.1:9)"),
        ("127.0.0.1:9", "through the proxy http://127.0.0.1:9)"),
        ("socks5://127.0.0.1:9", "http and https proxies only"),
        ("gopher://127.0.0.1:9", "gopher://127.0.0.1:9, which the environment names"),
    ],
)
def test_a_proxy_that_breaks_a_call_is_named(
    proxy: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("IMPROV_TRUST", "models.invalid")

    async def one() -> Call:
        models = Models(agreed=agreed_at([]))
        try:
            return await models.complete(ask("http://models.invalid/v1", retries=0))
        finally:
            await models.close()

    error = asyncio.run(one()).error
    assert named in error and "secret" not in error
