"""A puppet does what it declares, in process and over HTTP, and fails as endpoints fail."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import jsonschema  # type: ignore[import-untyped]
import openai
import pytest

from improv.errors import MachineError
from improv.puppet import (
    NOTES,
    OPPOSITE,
    POLE,
    Dice,
    answer,
    count_tokens,
    fill,
    opposite_chance,
    read,
)
from improv.puppet_server import Bucket, PuppetServer
from improv.record import Draw
from improv.scene import Puppet

HEAD = (
    "THE LAMP\na storm play\n\nThe cast\nMARA, keeper\nBO, guest\n\n* * *\nMARA: Close the door.\n"
)
SCHEMA = {
    "type": "object",
    "properties": {
        "note_to": {"type": "string", "enum": ["Mara", "Bo", "nobody"]},
        "note": {"type": "string", "maxLength": 30},
        "end": {"type": "boolean"},
    },
    "required": ["note_to", "note", "end"],
    "additionalProperties": False,
}


def script(
    text: str = HEAD + "BO:", turn: int = 1, trial: str = "t", **more: Any
) -> dict[str, Any]:
    draw = Draw(trial, "main", turn, "Bo", "line")
    body = {"model": "puppet", "prompt": text, "seed": draw.seed, "user": draw.key}
    return body | {"stop": ["\n"], "max_tokens": 80} | more


def chat(turn: int = 1, **more: Any) -> dict[str, Any]:
    draw = Draw("t", "main", turn, "Bo", "line")
    messages = [
        {"role": "system", "content": "You are BO, a guest. Secret: he broke the lamp."},
        {"role": "user", "content": "MARA: Close the door.\n(Bo, your line.)"},
    ]
    body = {"model": "puppet", "messages": messages, "seed": draw.seed, "user": draw.key}
    return body | {"max_tokens": 80} | more


def line_of(reply: dict[str, Any]) -> str:
    choice = reply["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"]).strip()


def is_opposite(line: str) -> bool:
    return any(s in line for s in OPPOSITE)


def states(spec: Puppet, trial: str, lines: int, head: str = HEAD) -> list[bool]:
    """Play Bo's lines against a Mara who says nothing new; return the states he was in."""
    found = []
    for turn in range(1, lines + 1):
        line = line_of(answer(script(head + "BO:", turn, trial), spec))
        assert is_opposite(line) != any(s in line for s in POLE), f"neither or both: {line!r}"
        found.append(is_opposite(line))
        head += f"BO: {line}\nMARA: Go on.\n"
    return found


def near(found: float, truth: float, n: int) -> bool:
    return abs(found - truth) < 3 * math.sqrt(truth * (1 - truth) / n)


def ask(server: PuppetServer, body: dict[str, Any], **options: Any) -> Any:
    """Send one request through the real client, and return what it makes of the reply."""
    return asyncio.run(with_client(server, lambda c: send(c, body), **options))


async def with_client(
    server: PuppetServer, use: Callable[[openai.AsyncOpenAI], Awaitable[Any]], **options: Any
) -> Any:
    options = {"max_retries": 0, "timeout": 10} | options
    http = openai.DefaultAioHttpClient(limits=httpx2.Limits(max_connections=1000))
    async with openai.AsyncOpenAI(
        base_url=server.url, api_key="none", http_client=http, **options
    ) as client:
        return await use(client)


async def send(client: openai.AsyncOpenAI, body: dict[str, Any]) -> Any:
    route = client.chat.completions if "messages" in body else client.completions
    return await route.create(**body)


# The reply is a function of request and declared process


def test_the_same_draw_gets_the_same_reply_whoever_asks_and_whenever() -> None:
    spec = Puppet(alpha=0.5, spread=1, garble=0.2)
    with PuppetServer(spec) as server:
        for turn in range(1, 9):
            for body in (chat(turn), script(turn=turn)):
                here = answer(body, spec)
                assert answer(json.loads(json.dumps(body)), spec) == here
                there = ask(server, body).model_dump(exclude_unset=True)
                there["usage"]["prompt_tokens_details"]["cached_tokens"] = 0
                assert there == here
                assert here["created"] == 0


def test_seed_attempt_and_trial_each_change_what_is_said() -> None:
    spec = Puppet(alpha=0.5)
    said = {line_of(answer(script(seed=seed), spec)) for seed in range(40)}
    assert len(said) > 15
    again = {
        line_of(answer(script(user=f"t/main/1/line/{attempt}/Bo"), spec)) for attempt in range(40)
    }
    assert len(again) > 15
    ids = {answer(script(seed=seed), spec)["id"] for seed in range(40)}
    assert len(ids) == 40
    several = answer(script(n=20), spec)["choices"]
    assert [c["index"] for c in several] == list(range(20))
    assert len({c["text"] for c in several}) > 8


def test_a_client_that_names_no_draw_still_gets_different_lines_for_different_prompts() -> None:
    spec = Puppet(alpha=0.5)
    bare = {"model": "puppet", "seed": 7}
    said = {line_of(answer({**bare, "prompt": f"{HEAD}MARA: {k}?\nBO:"}, spec)) for k in range(40)}
    assert len(said) > 15
    assert answer({**bare, "prompt": HEAD}, spec) == answer({**bare, "prompt": HEAD}, spec)


# The declared process


def test_four_hundred_chains_give_back_alpha_and_beta() -> None:
    spec = Puppet(alpha=0.2, beta=0.35)
    steps: Counter[tuple[bool, bool]] = Counter()
    for k in range(400):
        chain = [False, *states(spec, f"trial{k}", 12)]
        steps.update(pairwise(chain))
    broke, kept = steps[False, True], steps[False, False]
    recovered, stayed = steps[True, False], steps[True, True]
    assert near(broke / (broke + kept), spec.alpha, broke + kept)
    assert near(recovered / (recovered + stayed), spec.beta, recovered + stayed)


def test_certain_puppets_are_certain_whatever_moves_them() -> None:
    shifts: dict[str, Any] = {"drift": 5, "spread": 3, "effects": {"storm": 9.0}}
    assert states(Puppet(alpha=0, **shifts), "t", 12) == [False] * 12
    assert states(Puppet(alpha=1, beta=0, drift=-5), "t", 12) == [True] * 12
    assert states(Puppet(alpha=1, beta=1), "t", 6) == [True, False] * 3


def test_the_chance_is_the_one_declared() -> None:
    spec = Puppet(
        alpha=0.2, beta=0.3, drift=0.5, effects={"storm": 1.0, "a note": -2.0, "thunder": 9}
    )
    base = math.log(0.2 / 0.8)

    def logit(text: str) -> float:
        p = opposite_chance(read(script(text)), spec)
        return math.log(p / (1 - p))

    plain = HEAD.replace("storm", "quiet")
    assert logit(plain + "BO:") == pytest.approx(base)
    assert logit(HEAD + "BO:") == pytest.approx(base + 1)
    assert logit(HEAD + "(a note to Bo)\nBO:") == pytest.approx(base + 1 - 2)
    # Only what the puppet said counts towards drift, not a line that was written for it.
    played = f"BO: Good evening.\nMARA: {POLE[0]}\nBO: Mara, {POLE[1]}\nBO: {POLE[2]}\n"
    assert logit(plain + played + "BO:") == pytest.approx(base + 2 * 0.5)
    # What others say in the opposite state is theirs; Bo's own last line is what counts.
    assert logit(plain + f"MARA: {OPPOSITE[0]}\nBO:") == pytest.approx(base)
    flipped = read(script(plain + f"BO: Mara, {OPPOSITE[0]}\nMARA: Oh?\nBO:"))
    assert opposite_chance(flipped, spec) == pytest.approx(1 - 0.3)
    silent = read(script(plain + f"BO: {OPPOSITE[0]}\nMARA: Oh?\nBO: …\nMARA: Well?\nBO:"))
    assert opposite_chance(silent, spec) == pytest.approx(1 - 0.3)
    aside = read(script(plain + f"BO: (aside to MARA) {OPPOSITE[0]}\nBO:"))
    assert opposite_chance(aside, spec) == pytest.approx(1 - 0.3)


def test_in_chat_the_assistant_messages_are_the_characters_own_lines() -> None:
    spec = Puppet(alpha=0.01, beta=0.25)
    body = chat()
    assert opposite_chance(read(body), spec) == pytest.approx(0.01)
    body["messages"] += [{"role": "user", "content": f"MARA: {OPPOSITE[3]}"}]
    assert opposite_chance(read(body), spec) == pytest.approx(0.01)
    body["messages"] += [{"role": "assistant", "content": OPPOSITE[3]}]
    assert opposite_chance(read(body), spec) == pytest.approx(0.75)


def test_effects_and_drift_move_what_is_played() -> None:
    def breaks(spec: Puppet, lines: int = 6) -> float:
        played = [states(spec, f"{k}", lines) for k in range(100)]
        return sum(map(sum, played)) / (100 * lines)

    plain = breaks(Puppet(alpha=0.2, beta=1))
    assert breaks(Puppet(alpha=0.2, beta=1, effects={"Close the door": 2.0})) > plain + 0.1
    assert breaks(Puppet(alpha=0.2, beta=1, effects={"Open the door": 2.0})) == plain
    assert breaks(Puppet(alpha=0.2, beta=1, drift=-1.0)) < plain - 0.04


def test_spread_is_a_trait_of_the_trial_and_normal() -> None:
    spec = Puppet(alpha=0.5, spread=2)

    def z(trial: str, turn: int, user: bool = True, head: str = HEAD) -> float:
        body = script(head + "BO:", turn, trial)
        if not user:
            del body["user"]
        p = opposite_chance(read(body), spec)
        return math.log(p / (1 - p)) / 2

    assert z("a", 1) == z("a", 9) != z("b", 1)
    found = sorted(z(f"{k}", 1) for k in range(1000))
    assert abs(sum(found) / 1000) < 0.1
    assert 0.93 < math.sqrt(sum(v * v for v in found) / 1000) < 1.07
    assert found[158] == pytest.approx(-1, abs=0.15)
    # Without a draw's name the beginning of the prompt stands for the trial.
    long = HEAD + "x" * 200 + "\n"
    assert z("a", 1, False, long) == z("b", 1, False, long + "MARA: And?\n")
    assert z("a", 1, False) != z("a", 1, False, "Another play. " + HEAD)


def test_a_puppet_speaks_the_sentences_it_was_given() -> None:
    spec = Puppet(alpha=0.5, pole=["Aye, so it is."], opposite=["No, it is not."])
    said = {line_of(answer(script(seed=k), spec)) for k in range(40)}
    assert said == {
        "Aye, so it is.",
        "Mara, listen. Aye, so it is.",
        "No, it is not.",
        "Mara, listen. No, it is not.",
    }


def test_built_in_sentences_can_be_told_apart_by_one_word() -> None:
    assert all(re.search(r"\balways\b", s) and "never" not in s for s in POLE)
    assert all(re.search(r"\bnever\b", s) and "always" not in s for s in OPPOSITE)
    assert len(set(POLE + OPPOSITE)) >= 24


def test_lines_are_often_spoken_to_somebody_who_is_there() -> None:
    talk = HEAD + "CY: Who is it?\nBO: Me.\n(Time: it is late.)\nNote: no.\nBO:"
    said = [line_of(answer(script(talk, seed=k), Puppet())) for k in range(200)]
    called = Counter(line.split(",")[0] for line in said if re.match(r"\w+,", line))
    assert set(called) - {"Nobody", "There"} == {"Mara", "Cy"}
    assert 60 < called["Mara"] + called["Cy"] < 140
    # A card's sample lines stand before the scene: who speaks in them is not there.
    card = "From another scene:\nDEE: Hello.\n\n* * *\nMARA: Well?\nBO:"
    assert not any("Dee" in line_of(answer(script(card, seed=k), Puppet())) for k in range(100))
    alone = [line_of(answer(script("* * *\nBO:", seed=k), Puppet())) for k in range(40)]
    assert set(alone) <= set(POLE + OPPOSITE)


# Bounds, logprobs, JSON


def test_stop_strings_and_max_tokens_are_obeyed() -> None:
    whole = answer(script(), Puppet())
    assert whole["choices"][0]["finish_reason"] == "stop"
    text = whole["choices"][0]["text"]
    assert text == f" {text.strip()}"
    cut = answer(script(max_tokens=3), Puppet())
    assert cut["choices"][0]["finish_reason"] == "length"
    assert text.startswith(cut["choices"][0]["text"])
    assert count_tokens(cut["choices"][0]["text"]) == 3 == cut["usage"]["completion_tokens"]
    exact = answer(script(max_tokens=count_tokens(text)), Puppet())
    assert exact["choices"][0]["finish_reason"] == "stop"
    word = text.split()[2]
    stopped = answer(script(stop=word), Puppet())["choices"][0]
    assert stopped["text"] == text[: text.index(word)]
    assert stopped["finish_reason"] == "stop"


def test_usage_counts_words_and_marks() -> None:
    assert count_tokens("Bo, it's late.\n\nGo!") == 9
    usage = answer(script(n=3), Puppet())["usage"]
    assert usage["prompt_tokens"] == count_tokens(HEAD + "BO:")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_logprobs_sum_to_what_the_process_says_in_both_styles() -> None:
    spec = Puppet(alpha=0.2)
    with PuppetServer(spec) as server:
        talk = ask(server, chat(logprobs=True, top_logprobs=3)).choices[0]
        text = ask(server, script(logprobs=2)).choices[0]
        assert ask(server, chat()).choices[0].logprobs is None
    tokens = talk.logprobs.content
    assert "".join(t.token for t in tokens) == talk.message.content
    assert bytes(b for t in tokens for b in t.bytes).decode() == talk.message.content
    assert all(len(t.top_logprobs) == 3 and t.top_logprobs[0].token == t.token for t in tokens)
    assert "".join(text.logprobs.tokens) == text.text
    assert all(len(each) == 2 for each in text.logprobs.top_logprobs)
    starts = text.logprobs.text_offset
    assert [text.text[i] for i in starts] == [t[0] for t in text.logprobs.tokens]
    for line, given in (
        (talk.message.content, sum(t.logprob for t in tokens)),
        (text.text, sum(text.logprobs.token_logprobs)),
    ):
        state = 0.2 if is_opposite(line) else 0.8
        assert given == pytest.approx(math.log(state / 12 * 0.5))


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        {
            "$defs": {
                "who": {"enum": ["Mara", "Bo"]},
                "act": {
                    "oneOf": [
                        {
                            "type": "object",
                            "properties": {
                                "kind": {"const": "note"},
                                "to": {"$ref": "#/$defs/who"},
                            },
                            "required": ["kind", "to"],
                            "additionalProperties": False,
                        },
                        {
                            "type": "object",
                            "properties": {"kind": {"const": "end"}},
                            "required": ["kind"],
                            "additionalProperties": False,
                        },
                    ]
                },
            },
            "type": "object",
            "properties": {
                "acts": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 4,
                    "items": {"$ref": "#/$defs/act"},
                },
                "mood": {"type": ["string", "null"], "maxLength": 5},
            },
            "required": ["acts"],
        },
        {
            "type": "array",
            "items": {"enum": [1, 2, 3]},
            "uniqueItems": True,
            "minItems": 3,
            "maxItems": 3,
        },
        {
            "type": "object",
            "properties": {
                "score": {"type": "integer", "minimum": 1, "maximum": 5},
                "p": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
                "cold": {"type": "integer", "maximum": -3},
                "long": {"type": "string", "minLength": 300, "maxLength": 310},
                "maybe": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            },
            "required": ["score", "p", "cold", "long", "maybe", "unsaid"],
        },
        {
            "$defs": {
                "tree": {
                    "type": "object",
                    "properties": {"left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
                    "required": ["left"],
                }
            },
            "$ref": "#/$defs/tree",
        },
    ],
    ids=["author", "defs", "array", "numbers", "recursive"],
)
def test_replies_follow_the_schema_asked_for(schema: dict[str, Any]) -> None:
    values = [fill(schema, Dice("x", k)) for k in range(60)]
    for value in values:
        jsonschema.validate(value, schema)
    assert len({json.dumps(v) for v in values}) > 2


def test_an_author_is_answered_in_json_in_both_modes() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}
    with PuppetServer() as server:
        spoken = ask(server, chat(response_format=form)).choices[0].message.content
        written = ask(server, script(extra_body={"json_schema": SCHEMA})).choices[0].text
    for text in (spoken, written):
        jsonschema.validate(json.loads(text), SCHEMA)
    notes = [
        json.loads(line_of(answer(script(seed=k, json_schema=SCHEMA), Puppet())))
        for k in range(300)
    ]
    assert {n["note"] for n in notes} == {n for n in NOTES if len(n) <= 30}
    assert len({n["note_to"] for n in notes}) == 3
    assert 15 < sum(n["end"] for n in notes) < 65
    assert (
        answer(script(json_schema=SCHEMA, max_tokens=4), Puppet())["choices"][0]["finish_reason"]
        == "length"
    )


# Bad lines


def test_a_mute_puppet_says_nothing_as_often_as_declared() -> None:
    said = [answer(script(seed=k), Puppet(mute=0.3)) for k in range(500)]
    silent = [r for r in said if line_of(r) == ""]
    assert near(len(silent) / 500, 0.3, 500)
    assert silent[0]["choices"][0]["text"] == ""
    assert silent[0]["usage"]["completion_tokens"] == 0


def test_garble_is_what_small_models_write() -> None:
    clean = set(POLE + OPPOSITE) | {f"Mara, {s}" for s in POLE + OPPOSITE}
    clean |= {f"Mara, listen. {s}" for s in POLE + OPPOSITE}
    some = [line_of(answer(script(seed=k, stop=None), Puppet(garble=0.3))) for k in range(500)]
    bad = [line for line in some if line not in clean]
    assert near(len(bad) / 500, 0.3, 500)
    for sign in (
        "BO: BO: ",
        '"',
        "\nMARA: ",
        "## ",
        "As an AI language model",
        '{"speaker"',
        "\x1b[31m",
        "<|im_end|>",
        "(turning away, ",
        "[Your line here]",
        "- - -",
    ):
        assert any(sign in line for line in bad), sign
    broken = Puppet(garble=1)
    for k in range(20):
        text = line_of(answer(script(seed=k, json_schema=SCHEMA), broken))
        with pytest.raises(ValueError):
            json.loads(text)


# The server


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
            ask(server, chat(), timeout=0.2)
        server.spec = Puppet(errors={"drop": 1})
        started = time.perf_counter()
        # Over aiohttp the client calls this a timeout, of which only the cause says better.
        with pytest.raises(openai.APIConnectionError) as dropped:
            ask(server, chat())
        assert "disconnected" in str(dropped.value.__cause__)
        assert time.perf_counter() - started < 5
        server.spec = Puppet(errors={"endless": 1})

        async def give_up(client: openai.AsyncOpenAI) -> None:
            # The client's own timeout bounds each read, and these never wait long.
            await asyncio.wait_for(send(client, chat()), 0.5)

        with pytest.raises(TimeoutError):
            asyncio.run(with_client(server, give_up, timeout=0.2))
        deadline = time.monotonic() + 5
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
    with PuppetServer(Puppet(errors={"late": 1}), late=0.4) as server:
        with pytest.raises(openai.APITimeoutError):
            ask(server, chat(), timeout=0.1)
        started = time.perf_counter()
        assert line_of(ask(server, chat()).model_dump())
        assert time.perf_counter() - started > 0.4
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
    with PuppetServer(Puppet(latency=0.2)) as server:

        async def crowd(client: openai.AsyncOpenAI) -> float:
            started = time.perf_counter()
            await asyncio.gather(*(send(client, script(turn=k)) for k in range(500)))
            return time.perf_counter() - started

        took = asyncio.run(with_client(server, crowd, timeout=60))
        # One after another they would take 100 s; how far below it is the client's CPU, mostly.
        assert took < 20
        assert server.peak > 250
        assert server.answered == 500


def test_a_bucket_holds_a_second_and_fills_at_its_rate() -> None:
    bucket = Bucket(4)
    assert [bucket.take(100.0) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert bucket.take(100.125) == pytest.approx(0.125)
    assert bucket.take(100.25) == 0
    assert [bucket.take(200.0) > 0 for _ in range(6)] == [False] * 4 + [True] * 2


def test_a_rate_cap_lets_through_what_it_should() -> None:
    rate = 20
    with PuppetServer(requests_per_second=rate) as server:

        async def hurry(client: openai.AsyncOpenAI, calls: int = 60) -> tuple[list[Any], float]:
            started = time.perf_counter()
            found = await asyncio.gather(
                *(send(client, script(turn=k)) for k in range(calls)), return_exceptions=True
            )
            return found, time.perf_counter() - started

        found, took = asyncio.run(with_client(server, hurry))
        refused = [e for e in found if isinstance(e, openai.RateLimitError)]
        assert rate <= server.answered <= rate + rate * took + 1
        assert len(refused) == server.failed["rate"] == 60 - server.answered > 0
        assert 0 < float(refused[0].response.headers["retry-after-ms"]) <= 1000 / rate
        # A client that waits as it is told gets through in the end.
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
    command = [sys.executable, "-m", "improv.puppet", "--latency", "0.01", "--spec"]
    process = subprocess.Popen(
        [*command, '{"alpha": 1}'],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/v1", url)
        assert found is not None
        there = PuppetServer(port=int(url.split(":")[2].split("/")[0]))
        assert is_opposite(line_of(ask(there, script()).model_dump()))
        stats = json.load(urllib.request.urlopen(f"{found[1]}/stats"))
        assert (stats["requests"], stats["answered"]) == (1, 1)
        assert stats["asked"] == {script()["user"]: 1}
        health = json.load(urllib.request.urlopen(f"{found[1]}/health"))
        assert health == {"status": "ok"}
    finally:
        process.terminate()
        assert process.wait(10) == 0
