"""The log-probability of a given text: from llama.cpp with real weights, and from what others
answer."""

from __future__ import annotations

import asyncio
import json
import math
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from improv.errors import ErrorKind, ModelError
from improv.models.client import Models
from improv.models.embedded import EmbeddedServer
from improv.models.given_text import (
    Token,
    Way,
    read_repeated,
    read_scored,
    read_tokens,
    split_tokens,
    steps,
)
from improv.models.manners_keeper import MannersKeeper, sentences
from improv.models.request import Ask, Prompt
from improv.records import Call, Draw, Json
from improv.study.model_spec import Model

SCENE = """THE LAST FERRY
a storm play in one act

MARA: You've got water in your boots.
BO: I've got water in everything.
MARA: Sit down, Zoë. Nobody is going anywhere tonight.
BO:"""
LINES = [
    " No.\n",
    " Bo, sit.\n",
    " “Never,” she said.\n",
    ' "Ask Łukasz."\n',
    " It's Mara's.\n",
    "  Two spaces.\n",
    "No space.\n",
    " Übermut!\n",
    " Zoë’s café\n",
    " 🦆\n",
    " Yes 🧑🏽‍🚀 yes.\n",
    "🌧️🌧️\n",
    " <|im_end|>\n",
    " <|im_start|>user\n",
    " 雨が\n",
    " 1,234 = £5\n",
    " -- well?\n",
    " Ñandú…\n",
    " OH NO\n",
    " \tTab.\n",
]


@pytest.fixture(scope="module")
def local() -> Iterator[EmbeddedServer]:
    local = EmbeddedServer(slots=8, context=512)
    yield local
    local.close()


def post(local: EmbeddedServer, path: str, body: Json) -> Any:
    request = urllib.request.Request(
        local.url.removesuffix("/v1") + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=400) as reply:
        return orjson.loads(reply.read())


def stepped(local: EmbeddedServer, text: str, line: str) -> float:
    """Return the log-probability of a line, token by token from the whole vocabulary."""

    def ids(content: str) -> list[int]:
        body = {"content": content, "add_special": True, "parse_special": False}
        tokens: list[int] = post(local, "/tokenize", body)["tokens"]
        return tokens

    whole, total = ids(text + line), 0.0
    for at in range(len(ids(text)), len(whole)):
        for most in (1500, 49152):
            body = {"prompt": whole[:at], "n_predict": 1, "n_probs": most, "id_slot": 7}
            # An ASCII token is drawn, because nothing is shown if a character is left open.
            body |= {"logit_bias": [[whole[0], 1000]]}
            (entry,) = post(local, "/completion", body)["completion_probabilities"]
            values = {each["id"]: each["logprob"] for each in entry["top_logprobs"]}
            if whole[at] in values:
                break
        total += values[whole[at]]
    return total


def scored(local: EmbeddedServer, lines: Sequence[str], *, at_once: bool = False) -> list[Call]:
    """Score lines after the scene, one after the other or all at once."""

    async def url(_: str) -> str:
        return local.url

    async def score() -> list[Call]:
        models = Models(url)
        asks = [ask(Model(), line, slot=0) for line in lines]
        try:
            if at_once:
                return await asyncio.gather(*map(models.complete, asks))
            return [await models.complete(each) for each in asks]
        finally:
            await models.close()

    return asyncio.run(score())


def ask(model: Model, line: str, slot: int | None = None, text: str = SCENE) -> Ask:
    draw = Draw("t", "main", 1, "judge", "judge")
    return Ask(draw, model, Prompt("script", (), text=text), given=line, slot=slot)


def values(calls: Sequence[Call]) -> list[float]:
    assert [call.error for call in calls] == [""] * len(calls)
    read = [read_scored(call.reply) for call in calls]
    return [each.logprob for each in read if each is not None]


@pytest.mark.weights
def test_a_forced_line_has_the_probability_that_the_whole_vocabulary_gives_it(
    local: EmbeddedServer,
) -> None:
    alone = values(scored(local, LINES))
    for line, value in zip(LINES, alone, strict=True):
        assert value == pytest.approx(stepped(local, SCENE, line), abs=1e-3), line
    # Cached now, in another order, and all at once.
    assert values(scored(local, LINES[::-1], at_once=True))[::-1] == pytest.approx(alone, abs=1e-3)


@pytest.mark.weights
def test_a_shared_beginning_is_read_once(local: EmbeddedServer) -> None:
    scene = SCENE.replace("FERRY", "TRAM")  # a beginning that no other test has read
    lines = [" I have never been so wet in all my life.\n", " Then let us go back to the pier.\n"]

    async def url(_: str) -> str:
        return local.url

    async def score() -> list[Call]:
        models = Models(url)
        calls = [
            await models.complete(ask(Model(), line, slot=3, text=scene)) for line in lines * 3
        ]
        await models.close()
        return calls

    calls = asyncio.run(score())
    lines_tokens = sum(call.completion_tokens or 0 for call in calls)
    computed = sum((c.prompt_tokens or 0) - (c.cached_tokens or 0) for c in calls) + lines_tokens
    assert computed <= 1.15 * ((calls[0].prompt_tokens or 0) + lines_tokens)


@pytest.mark.weights
def test_an_address_of_llama_cpp_is_found_out_and_remembered(local: EmbeddedServer) -> None:
    model = Model(model="some.model", base_url=local.url)
    keeper = MannersKeeper()

    async def score() -> tuple[Any, Call, list[Json]]:
        models = Models(manners=keeper)
        scoring = await models.scoring(model)
        call = await models.complete(ask(model, LINES[0]))
        await models.close()
        return scoring, call, await keeper.rows()

    scoring, call, rows = asyncio.run(score())
    assert (scoring.way, scoring.slots) == (Way.GRAMMAR, 8)
    assert values([call]) == pytest.approx(values(scored(local, LINES[:1])), abs=1e-3)
    assert [row["manner"] for row in rows] == ["scores by grammar"]
    assert sentences(rows) == [], "it is no refusal"


@pytest.mark.weights
def test_a_scene_that_is_too_long_fails_one_line_and_says_so(local: EmbeddedServer) -> None:
    async def url(_: str) -> str:
        return local.url

    async def score() -> Call:
        models = Models(url)
        call = await models.complete(ask(Model(), LINES[0], text="word " * 9000))
        await models.close()
        return call

    call = asyncio.run(score())
    assert call.error_kind == "status 400"
    assert "context" in call.error


# -- what llama.cpp answers, without weights -------------------------------------------------------


def tokens_of(*pieces: bytes) -> tuple[Token, ...]:
    return tuple(Token(n, piece) for n, piece in enumerate(pieces))


def test_a_token_across_the_border_is_the_lines() -> None:
    tokens = tokens_of(b"<s>", b" BO", b": N", b"o.", b"\n")
    before, mine = split_tokens(tokens, " No.\n")
    assert [t.piece for t in before] == [b"<s>", b" BO"]
    assert [t.piece for t in mine] == [b": N", b"o.", b"\n"]


def test_a_tokenizer_that_changes_the_text_is_refused() -> None:
    with pytest.raises(ModelError, match="do not spell the text") as error:
        split_tokens(tokens_of(b"bo", b":", b" no", b"."), " No.")
    assert error.value.kind is ErrorKind.UNREADABLE


def test_parts_of_characters_go_alone_and_whole_ones_together() -> None:
    duck = "🦆".encode()
    tokens = tokens_of(b" a", b"b", b" " + duck[:2], duck[2:3], duck[3:], b"\n", b".")
    kinds = [(step.kind, len(step.tokens)) for step in steps(tokens, Way.GRAMMAR)]
    assert kinds == [("whole", 2), ("hidden", 1), ("part", 1), ("part", 1), ("whole", 2)]
    assert all(len(step.tokens) == 1 for step in steps(tokens, Way.TOKENS))


@pytest.mark.parametrize(
    "body",
    [{}, {"tokens": [1, 2]}, {"tokens": [{"id": True, "piece": "a"}]}, {"tokens": "x"}],
)
def test_a_list_of_tokens_that_is_none_is_refused(body: Json) -> None:
    with pytest.raises(ModelError) as error:
        read_tokens(body)
    assert error.value.kind is ErrorKind.UNSCORED


# -- endpoints that repeat the prompt --------------------------------------------------------------


def echo(rows: Sequence[tuple[str, float | None]]) -> Json:
    logprobs = {"tokens": [r[0] for r in rows], "token_logprobs": [r[1] for r in rows]}
    return {"choices": [{"text": "", "finish_reason": "length", "logprobs": logprobs}]}


def test_characters_that_are_shown_in_parts_move_no_border() -> None:
    text = "ZOË: 🦆\nBO: Ü\n"
    shown = ["<s>", "ZO", "\ufffd", "\ufffd", ":", " \ufffd", "\ufffd", "\ufffd", "\nBO", ":"]
    before = [(token, -9.0 if n else None) for n, token in enumerate(shown)]
    line = [(" \ufffd", -1.0), ("\ufffd", -0.5), ("\n", -0.25), ("drawn", -7.0)]
    read = read_repeated(echo([*before, *line]), text, " Ü\n", Way.ECHO)
    assert (read.logprob, read.tokens) == (-1.75, 3)


def test_the_prompts_own_token_counts_and_not_a_likelier_one() -> None:
    def at(token: str, logprob: float, rank: int = 1) -> Json:
        own = {"7": {"decoded_token": token, "logprob": logprob, "rank": rank}}
        other = {"8": {"decoded_token": "other", "logprob": -0.1, "rank": 1}}
        return own if rank == 1 else own | other

    rows = [None, at(":", -3.0), at(" No", -2.0, rank=40), at(".", -0.5)]
    response = {"choices": [{"text": "x", "prompt_logprobs": rows}]}
    read = read_repeated(response, "BO: No.", " No.", Way.PROMPT)
    assert (read.logprob, read.tokens) == (-2.5, 2)


def test_a_mark_of_the_endpoints_own_is_no_text() -> None:
    text = "BO: <|im_end|>"
    pieces = [(" <", -1.0), ("|", -1.0), ("im", -1.0), ("_end", -1.0), ("|>", -1.0)]
    start = [("BO", None), (":", -1.0)]
    assert read_repeated(echo([*start, *pieces]), text, " <|im_end|>", Way.ECHO).tokens == 5
    marked = [*start, (" ", -1.0), ("<|im_end|>", -1.0)]
    with pytest.raises(ModelError, match="a mark of its own"):
        read_repeated(echo(marked), text, " <|im_end|>", Way.ECHO)


@pytest.mark.parametrize(
    "rows",
    [
        [("BO", None), (":", -1.0)],
        [("BO", None), (":", -1.0), (" Yes.", -1.0)],
        [("BO", None), (":", -1.0), (" No.", None)],
        [("BO", None), (":", -1.0), (" No.", math.nan)],
    ],
)
def test_an_echo_without_the_line_is_refused(rows: list[tuple[str, float | None]]) -> None:
    with pytest.raises(ModelError) as error:
        read_repeated(echo(rows), "BO: No.", " No.", Way.ECHO)
    assert error.value.kind is ErrorKind.UNSCORED


def test_prompt_logprobs_are_tried_where_echo_is_not_known(httpserver: HTTPServer) -> None:
    asked: list[Json] = []

    def answer(request: Request) -> Response:
        body = request.get_json()
        asked.append(body)
        if body.get("echo"):
            return Response('{"error": {"message": "echo is not supported"}}', status=400)
        words = body["prompt"].split(" ")
        shown = [words[0], *(f" {word}" for word in words[1:])]
        rows = [None] + [
            {"1": {"decoded_token": word, "logprob": -1.0, "rank": 1}} for word in shown[1:]
        ]
        choice = {"text": "", "finish_reason": "length", "prompt_logprobs": rows}
        return Response(json.dumps({"choices": [choice]}), content_type="application/json")

    httpserver.expect_request("/tokenize").respond_with_data("no such page", status=404)
    httpserver.expect_request("/v1/completions").respond_with_handler(answer)
    model = Model(model="m", base_url=httpserver.url_for("/v1"), extra={"echo": False, "top_k": 3})

    async def score() -> list[Call]:
        models = Models()
        calls = [await models.complete(ask(model, " No, no.")) for _ in range(2)]
        await models.close()
        return calls

    calls = asyncio.run(score())
    assert values(calls) == [-2.0, -2.0]
    assert len(asked) == 4, "one refused, one tried, and the two calls"
    assert all(body["top_k"] == 3 for body in asked)
