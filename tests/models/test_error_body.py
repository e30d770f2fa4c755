"""What endpoints say of errors, in whatever form, and what to do about it."""

from __future__ import annotations

import json

import pytest

from improv.models.error_body import MOST_WORDS, endpoint_words, path_remedy
from tests.support.weather import RawServer, ask, complete, http

ROLES = "only user and assistant roles are supported"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": ROLES}}, ROLES),
        ({"error": ROLES}, ROLES),
        ({"detail": ROLES}, ROLES),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "not permitted"}]},
            "body.seed: not permitted",
        ),
        ([{"error": {"code": 400, "message": ROLES}}], ROLES),
        ({"object": "error", "message": ROLES, "code": 400}, ROLES),
        ({"title": "Bad", "detail": ROLES, "status": 400}, ROLES),
        (
            {"error": {"message": "Provider error", "metadata": {"raw": '{"error": "full"}'}}},
            "Provider error: full",
        ),
        ({"code": 7, "status": "bad"}, "code 7, status bad"),
        ("a text", "a text"),
        (None, ""),
    ],
)
def test_the_words_of_an_error_are_found(body: object, words: str) -> None:
    assert endpoint_words(json.dumps(body).encode()) == words


def test_plain_text_and_pages_have_words_too() -> None:
    assert endpoint_words(b"prompt is too long:\n 5000 tokens") == "prompt is too long: 5000 tokens"
    page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>Try&nbsp;later</h1></body>"
    assert endpoint_words(page) == "502 Bad Gateway · Try later"
    assert len(endpoint_words(b"a" * 100_000)) == MOST_WORDS
    assert endpoint_words(b"\xff\x1b[31mred") == "red"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        ("400 Bad Request", {"error": "no such template"}, "answered 400: no such template"),
        ("422 Unprocessable", {"detail": "no such day"}, "answered 422: no such day"),
        ("401 Unauthorized", {"error": "bad token"}, "bad token: check OPENAI_API_KEY"),
        ("403 Forbidden", {"detail": "not in your plan"}, "not in your plan: check OPENAI_API_KEY"),
        (
            "404 Not Found",
            {"error": {"message": "model 'odd' not found, try pulling it first"}},
            "try: ollama pull odd",
        ),
        ("404 Not Found", {"error": "The model does not exist."}, "is 'odd' served there?"),
        ("404 Not Found", "404 page not found", "nothing answers /chat/completions there"),
        ("404 Not Found", {"detail": "Not Found"}, "nothing answers /chat/completions there"),
        ("405 Method Not Allowed", "", "nothing answers /chat/completions there"),
        ("501 Unsupported", "<html><title>No POST</title>", "No POST: nothing answers"),
    ],
)
def test_a_call_says_what_the_endpoint_said(status: str, body: object, words: str) -> None:
    answer = http(body if isinstance(body, str) else json.dumps(body), status)
    with RawServer(lambda n, request, send: answer) as server:
        (call,) = complete(ask(server.url, model="odd", retries=2))
    assert words in call.error
    assert len(server.seen) == 1, "none of these passes by itself"


@pytest.mark.parametrize(
    ("end", "remedy"),
    [
        ("/v1", "is it the address of an OpenAI-compatible endpoint?"),
        ("", "does the address lack /v1? try http://127.0.0.1:"),
    ],
)
def test_an_address_that_ends_too_early(end: str, remedy: str) -> None:
    answer = http("404 page not found", "404 Not Found", "text/plain")
    with RawServer(lambda n, request, send: answer) as server:
        (call,) = complete(ask(server.url.removesuffix("/v1") + end, model="odd"))
    assert remedy in call.error and call.error_kind == "model"


def test_an_address_that_ends_too_late() -> None:
    remedy = path_remedy("http://here/v1/chat/completions", "/chat/completions")
    assert remedy.endswith("leave /chat/completions out of the address, because improv adds it")
