"""What an endpoint refuses: a call that waits, is tried again, fails alone, or stops the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from improv.models.refusal import asked_wait, error_inside, lacks_choice, spoken_span, why_stop
from improv.records import Call
from tests.support.weather import LINE, RawServer, Send, ask, complete, http, said

Answer = Callable[[int, bytes], bytes]


def calls(answer: Answer, n: int = 1, **model: Any) -> list[Call]:
    def reply(number: int, request: bytes, send: Send) -> bytes:
        return answer(number, request)

    with RawServer(reply) as server:
        return complete(*(ask(server.url, turn, **model) for turn in range(1, n + 1)))


def error(message: str, code: object = None, **more: object) -> str:
    return json.dumps({"error": {"message": message, "code": code} | more})


QUICK = "retry-after-ms: 5\r\n"
BROKEN = {
    "a code in a 200": (error("Provider returned error", 502), "502"),
    "a code as text": (error("busy", "503"), "503"),
    "a limit in a 200": (error("slow down", "rate_limit_exceeded"), "429"),
    "an error without a code": (json.dumps({"error": "upstream went away"}), "502"),
    "an error of the choice": (
        json.dumps({"choices": [{"error": {"code": 502, "message": "x"}, "message": {}}]}),
        "502",
    ),
    "an error after half a line": (
        json.dumps({"choices": [{"message": {"content": "Half"}, "finish_reason": "error"}]}),
        "502",
    ),
    "words of its own": (json.dumps({"code": 500, "msg": "inner", "success": False}), "500"),
    "no choice": (json.dumps({"choices": []}), "unreadable"),
    "null for choices": (json.dumps({"choices": None}), "unreadable"),
    "null for the choice": (json.dumps({"choices": [None]}), "unreadable"),
    "null for the message": (json.dumps({"choices": [{"message": None}]}), "unreadable"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_reply_that_is_none_is_tried_again_as_its_error_says(what: str) -> None:
    body, end = BROKEN[what]
    (call,) = calls(lambda n, _: http(said(LINE) if n else body, more=QUICK))
    assert (call.reply, call.error, call.retried) == (LINE, "", (end,))


def test_an_error_inside_a_reply_that_no_retry_helps_fails_its_call_only() -> None:
    body = error("the prompt exceeds the context length", "context_length_exceeded")
    (call,) = calls(lambda n, _: http(body))
    assert (call.error_kind, call.retried) == ("status 400", ())
    assert "exceeds the context length" in call.error


SPENT = {
    "a wait of minutes": (error("Limit reached"), "retry-after: 518\r\n", "8 min 38 s"),
    "a wait in words": (error("Please try again in 8m38s."), "", "8 min 38 s"),
    "a wait until a date": (error("x"), "retry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\n", " d "),
    "a day without a wait": (error("Rate limit exceeded: free-models-per-day"), "", "is spent"),
}


@pytest.mark.parametrize("what", SPENT)
def test_an_allowance_that_is_spent_for_hours_stops_the_run_with_its_words(what: str) -> None:
    body, header, why = SPENT[what]
    (call,) = calls(lambda n, _: http(body, "429 Slow", more=header))
    assert call.error_kind == "quota" and not call.retried
    assert why in call.error and "improv resume" in call.error
    if what != "a wait until a date":
        assert json.loads(body)["error"]["message"] in call.error


def test_a_limit_of_days_with_a_short_wait_is_waited_out_once() -> None:
    body = error("tokens per day (TPD): try again in 0.02s")
    (call,) = calls(lambda n, _: http(said(LINE)) if n else http(body, "429 Slow"))
    assert (call.reply, call.retried) == (LINE, ("429",))


@pytest.mark.parametrize("seconds", [70.0, 76.0])
def test_what_refuses_everything_for_longer_than_a_minute_stops_the_run(seconds: float) -> None:
    assert bool(why_stop(None, b"{}", seconds)) == (seconds > 75)
    assert not why_stop(10.0, b"{}", 84.0) and why_stop(10.0, b"{}", 86.0)


def test_a_prompt_that_moderation_refuses_fails_alone_even_as_the_first() -> None:
    body = error("Your input was flagged: violence", 403)
    (call,) = calls(lambda n, _: http(body, "403 Forbidden"))
    assert call.error_kind == "status 403" and "OPENAI_API_KEY" not in call.error


def test_a_403_without_words_is_its_prompts_if_another_call_is_answered() -> None:
    def by_turn(n: int, request: bytes) -> bytes:
        return http("{}", "403 Forbidden") if n == 0 else http(said(LINE))

    kinds = sorted(call.error_kind for call in calls(by_turn, 2))
    assert kinds == ["", "status 403"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("401 No", "Incorrect API key provided"),
        ("403 No", "Your authentication token is invalid"),
        ("400 Bad", "API key not valid. Please pass a valid API key."),
    ],
)
def test_a_wrong_key_stops_the_run(status: str, words: str) -> None:
    (call,) = calls(lambda n, _: http(error(words), status))
    assert call.error_kind == "key" and "OPENAI_API_KEY" in call.error


@pytest.mark.parametrize(
    ("headers", "words", "seconds"),
    [
        ({"retry-after": "2"}, "", 2.0),
        ({"retry-after-ms": "1500"}, "", 1.5),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "-3"}, "", 0.0),
        ({}, "Please retry in 27.3s.", 27.3),
        ({}, '{"retryDelay": "41s"}', 41.0),
        ({}, "Try again in 1h2m3s", 3723.0),
        ({}, "Please wait 2 minutes and 5 seconds before the next", 125.0),
        ({}, "Try again later. Model gpt-4o", None),
        ({}, "available again in 350ms", 0.35),
    ],
)
def test_a_wait_is_read_from_header_and_words(
    headers: dict[str, str], words: str, seconds: float | None
) -> None:
    asked = asked_wait(headers, words.encode(), 0.0)
    assert asked == (None if seconds is None else pytest.approx(seconds))


def test_a_sound_reply_holds_no_error() -> None:
    for reply in (
        {"choices": [{"text": ""}]},
        {"error": None, "choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
        {"error": {}, "choices": [{"message": {"content": "x"}, "error": None}]},
    ):
        assert error_inside(reply) is None and not lacks_choice(reply)
    assert spoken_span(90061) == "1 d 1 h" and spoken_span(59.6) == "1 min"
