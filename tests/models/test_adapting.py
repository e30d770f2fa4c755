"""A refused request is changed and sent again, once for all calls that are like it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from improv.models.agreed import agreed_at
from improv.models.client import Models
from improv.models.request import Ask, Prompt
from improv.records import Call, Draw, Json
from improv.study.address import read_address
from improv.study.model_spec import Model
from tests.support.choosy import Choosy, not_taken
from tests.support.weather import LINE, RawServer, Send, complete, http


def ask(url: str, turn: int = 1, prompt: Prompt | None = None, **more: Any) -> Ask:
    messages = ({"role": "system", "content": "Bo."}, {"role": "user", "content": "(Your line.)"})
    model = Model.model_validate({"model": "odd", "base_url": url} | more)
    draw = Draw("t", "main", turn, "Bo", "line")
    return Ask(draw, model, prompt or Prompt("chat", ("b1",), messages=messages))


def play(server: Choosy, *, count: int = 1, **more: Any) -> list[Call]:
    with RawServer(server) as raw:
        return complete(*(ask(raw.url, turn, **more) for turn in range(1, count + 1)))


def test_one_call_is_refused_for_each_thing_that_is_not_taken() -> None:
    server = Choosy(not_taken("max_tokens", "temperature", "seed"))
    calls = play(server, count=20, temperature=0.2)
    assert [c.reply for c in calls] == [LINE] * 20
    assert server.refused == 3
    assert sorted(c.retries for c in calls) == [0] * 19 + [3]
    for call in calls:
        sent = json.loads(call.params)
        assert sent["max_completion_tokens"] == 80 and "temperature" not in sent
        assert sent["adapted"] == ["max_completion_tokens", "no temperature", "no seed"]


@pytest.mark.parametrize("status", ["400 Bad", "422 Unprocessable", "500 Jinja exception"])
def test_a_model_without_a_system_role_is_told_by_the_user(status: str) -> None:
    def takes(body: Json) -> str:
        system = body["messages"][0]["role"] == "system"
        return "jinja: System role not supported" if system else ""

    server = Choosy(takes, status)
    (call,) = play(server)
    assert call.reply == LINE and server.refused == 1
    assert server.bodies[-1]["messages"] == [{"role": "user", "content": "Bo.\n\n(Your line.)"}]


def test_what_is_refused_in_every_form_teaches_nothing_and_keeps_its_words() -> None:
    server = Choosy(lambda body: "no such system is supported here, whatever seed you send")
    calls = play(server, count=2)
    assert all("no such system" in c.error for c in calls)
    # The second call begins with the plain request again.
    assert [b["messages"][0]["role"] for b in server.bodies].count("system") == 2


def test_a_refusal_of_the_prompt_is_not_a_refusal_of_the_form() -> None:
    server = Choosy(lambda body: "The content violates our policy")
    (call,) = play(server)
    assert (len(server.bodies), call.error_kind) == (1, "status 400")


def test_stop_strings_that_are_not_taken_are_kept_here() -> None:
    reply = json.dumps({"choices": [{"text": f" {LINE}\nANA: Mine.", "finish_reason": "length"}]})
    server = Choosy(not_taken("stop"), reply=reply)
    prompt = Prompt("script", ("b1",), text="BO:", stop=("\n",))
    (call,) = play(server, prompt=prompt)
    assert call.reply == f" {LINE}"


def test_null_in_extra_leaves_a_field_out() -> None:
    server = Choosy(not_taken("max_tokens"))
    (call,) = play(server, extra={"max_tokens": None, "reasoning_effort": "low"})
    assert call.reply == LINE and not server.refused
    assert server.bodies[0]["reasoning_effort"] == "low"


def thinks(body: Json) -> bytes:
    """Think for 300 tokens, and say the line if any are left."""
    spent = body["max_tokens"] <= 300
    message = {"role": "assistant", "content": None if spent else LINE, "reasoning_content": "Hm."}
    details = {"reasoning_tokens": min(300, body["max_tokens"])}
    usage = {"prompt_tokens": 9, "completion_tokens": 80, "completion_tokens_details": details}
    choice = {"message": message, "finish_reason": "length" if spent else "stop"}
    return http(json.dumps({"choices": [choice], "usage": usage}))


class Thinker(Choosy):
    def __call__(self, n: int, request: bytes, send: Send) -> bytes:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        self.bodies.append(body)
        return thinks(body)


def test_a_model_that_thinks_is_given_room_for_it() -> None:
    server = Thinker(not_taken())
    calls = play(server, count=10)
    assert [(c.reply, c.reasoning, c.reasoning_tokens) for c in calls] == [(LINE, "Hm.", 300)] * 10
    assert [b["max_tokens"] for b in server.bodies].count(80) == 1
    assert sorted(c.retried for c in calls)[-1] == ("reasoning",)
    assert all(json.loads(c.params)["adapted"] == ["room for reasoning"] for c in calls)


def test_the_room_for_reasoning_can_be_set() -> None:
    server = Thinker(not_taken())
    (call,) = play(server, reasoning_tokens=500)
    assert call.reply == LINE and [b["max_tokens"] for b in server.bodies] == [580]
    server = Thinker(not_taken())
    (call,) = play(server, reasoning_tokens=0)
    assert call.reply == "" and [b["max_tokens"] for b in server.bodies] == [80]


def test_room_shrinks_for_a_prompt_that_leaves_less() -> None:
    def takes(body: Json) -> str:
        if body["max_tokens"] <= 200:
            return ""
        return "maximum context length is 1200 tokens: 1000 in the messages, the rest is too much"

    (call,) = play(Choosy(takes), reasoning_tokens=4000)
    assert call.reply == LINE and json.loads(call.params)["max_tokens"] == 200


def test_a_context_that_leaves_little_room_refuses_few_of_many_calls() -> None:
    def takes(body: Json) -> str:
        if body["max_tokens"] <= 1000:
            return ""
        return "maximum context length is 2000 tokens: 1000 in the messages, the rest is too much"

    server = Choosy(takes)
    calls = play(server, count=10, reasoning_tokens=4000)
    assert [c.reply for c in calls] == [LINE] * 10
    assert [b["max_tokens"] for b in server.bodies].count(4080) == 1


def test_roles_take_turns_in_a_request_that_nobody_refused() -> None:
    server = Choosy(not_taken())
    messages = (
        {"role": "system", "content": "You are Ana."},
        {"role": "assistant", "content": "Bo, sit down."},
        {"role": "user", "content": "BO: No."},
    )
    with RawServer(server) as raw:
        one = ask(raw.url)
        prompt = dataclasses.replace(one.prompt, messages=messages)
        (call,) = complete(dataclasses.replace(one, prompt=prompt))
    roles = [message["role"] for message in server.bodies[0]["messages"]]
    assert roles == ["system", "user", "assistant", "user"] and call.reply == LINE


def test_the_version_in_an_address_is_sent_with_every_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-azure")
    path = "/openai/deployments/odd"
    with RawServer(Choosy(not_taken("seed"))) as raw:
        address = raw.url.replace("/v1", f"{path}?api-version=2024-10-21")
        agreed = agreed_at([address])

        async def go() -> list[Call]:
            models = Models(agreed=agreed)
            calls = [await models.complete(ask(address, turn)) for turn in (1, 2)]
            await models.close()
            return calls

        calls = asyncio.run(go())
    assert [c.reply for c in calls] == [LINE, LINE]
    assert {c.endpoint for c in calls} == {raw.url.replace("/v1", path)}
    assert len(raw.seen) == 3
    for request in raw.seen:
        line, _, head = request.partition(b"\r\n")
        assert line.split() == [
            b"POST",
            f"{path}/chat/completions?api-version=2024-10-21".encode(),
            b"HTTP/1.1",
        ]
        assert b"api-key: sk-of-azure\r\n" in head


@pytest.mark.parametrize("query", ["key=sk-1", "api-version=1&key=sk-1", "api-version=", "x"])
def test_no_other_query_is_part_of_an_address(query: str) -> None:
    with pytest.raises(ValueError, match="has a query"):
        read_address(f"https://models.example/v1?{query}")
