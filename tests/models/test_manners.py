"""The table of manners: which change of a request the words of a refusal ask for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from improv.models.manners import (
    ALTERNATING,
    BEGINS,
    adapt,
    alternate,
    fitting_limit,
    known,
    lesson,
    refusal_words,
    shared_schema,
)
from improv.models.manners_keeper import MannersKeeper, Place, sentences
from improv.records import Json

SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": "string", "maxLength": 160},
        "to": {"type": "string", "enum": ["Ana", "Bo"], "minLength": 1, "pattern": "^[AB]"},
    },
    "required": ["note", "to"],
    "additionalProperties": False,
}
STRICT = {"name": "reply", "strict": True, "schema": SCHEMA}
BODY: Json = {
    "model": "m",
    "messages": (
        {"role": "system", "content": "You are Ana."},
        {"role": "user", "content": "BO: Sit down.\n(Ana, your line.)"},
    ),
    "max_tokens": 80,
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["\n"],
    "response_format": {"type": "json_schema", "json_schema": STRICT},
}
REFUSALS = [
    # What endpoints say, as their users have reported it, and the row that it is about.
    (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "max_completion_tokens",
    ),
    (
        "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default "
        "(1) value is supported.",
        "no temperature",
    ),
    ("invalid temperature: only 1 is allowed for this model", "no temperature"),
    (
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        "no temperature",
    ),
    ("`top_p` is deprecated for this model.", "no top_p"),
    ("Unsupported parameter: 'stop' is not supported with this model.", "no stop"),
    ("Unrecognized request argument supplied: seed", "no seed"),
    ("property 'seed' is unsupported", "no seed"),
    ("body.seed Extra inputs are not permitted extra_forbidden", "no seed"),
    ("System role not supported", "no system role"),
    (
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "no system role",
    ),
    ("Developer instruction is not enabled for models/gemma-3-27b-it", "no system role"),
    (
        'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
        "parameter",
        "no system role",
    ),
    ("Only user and assistant roles are supported!", "no system role"),
    (
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "no system role",
    ),
    (
        "A conversation must start with a user message. Try again with a conversation that "
        "starts with a user message.",
        "no system role",
    ),
    ("This response_format type is unavailable now", "any JSON object"),
    ("Invalid schema for response_format 'reply': 'enum' is not permitted.", "any JSON object"),
    (
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this "
        "model.",
        "any JSON object",
    ),
    ("This model does not support response format `json_schema`.", "any JSON object"),
    (
        'Invalid JSON payload received. Unknown name "additionalProperties" at '
        "'generation_config.response_schema': Cannot find field.",
        "open schema",
    ),
    (
        "max_tokens is too large: 80. This model supports at most 64 completion tokens, whereas "
        "you provided 80.",
        "at most 64 tokens",
    ),
    (
        "`max_tokens` must be less than or equal to `64`, the maximum value for `max_tokens` is "
        "less than the `context_window` for this model",
        "at most 64 tokens",
    ),
    ("failed to parse grammar for json_schema", "any JSON object"),
]


@pytest.mark.parametrize(("words", "manner"), REFUSALS)
def test_a_refusal_in_an_endpoints_words_is_about_one_row(words: str, manner: str) -> None:
    learned = lesson(words, BODY)
    assert learned is not None and learned.manner == manner and known(manner)
    body, changed = adapt(BODY, [manner])
    assert changed == (manner,) and body != BODY
    # What was changed once is not what a second refusal in the same words is about.
    again = lesson(words, body)
    assert again is None or again.manner != manner


@pytest.mark.parametrize(
    "words",
    [
        "The prompt was refused by our policy on content.",
        "This model's maximum context length is 60 tokens. However, you requested 180 tokens (100 "
        "in the messages, 80 in the completion).",
        "Rate limit reached for max_tokens",
        "",
    ],
)
def test_what_no_change_would_cure_teaches_nothing(words: str) -> None:
    assert lesson(words, BODY) is None


def test_a_list_of_what_is_taken_names_nothing_that_is_refused() -> None:
    words = "seed is not supported. Supported parameters: temperature, top_p, max_tokens"
    learned = lesson(words, BODY)
    assert learned is not None and learned.manner == "no seed"


def test_what_the_user_wrote_under_extra_is_not_taken_away() -> None:
    assert lesson("Unsupported parameter: seed", BODY, own=("seed",)) is None
    assert lesson("Unsupported parameter: min_p", BODY | {"min_p": 0.1}, own=("min_p",)) is None


def test_changes_are_made_in_one_order_whatever_was_learned_first() -> None:
    names = ["no schema", "no seed", "max_completion_tokens", "no system role", "at most 50 tokens"]
    body, changed = adapt(BODY, names)
    assert (body, changed) == adapt(BODY, reversed(names))
    assert body["max_completion_tokens"] == 50 and "max_tokens" not in body
    assert not {"seed", "response_format"} & set(body)
    (message,) = body["messages"]
    assert message == {
        "role": "user",
        "content": "You are Ana.\n\n" + BODY["messages"][1]["content"],
    }


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_roles_take_turns_in_every_request() -> None:
    opened = (
        said("system", "S"),
        said("assistant", "a"),
        said("assistant", "b"),
        said("user", "c"),
    )
    body, changed = adapt({"messages": opened}, ())
    assert changed == (ALTERNATING,)
    assert body["messages"] == (
        said("system", "S"),
        said("user", BEGINS),
        said("assistant", "a\nb"),
        said("user", "c"),
    )
    # Without a system role its words come first, so nothing else has to.
    body, _ = adapt({"messages": opened}, ["no system role"])
    assert body["messages"] == (said("user", "S"), said("assistant", "a\nb"), said("user", "c"))
    assert adapt({"messages": alternate(opened)}, ())[1] == ()


def test_a_schema_keeps_what_strict_modes_share() -> None:
    plain = shared_schema(SCHEMA)
    assert plain["properties"] == {
        "note": {"type": "string"},
        "to": {"type": "string", "enum": ["Ana", "Bo"]},
    }
    assert plain["required"] == ["note", "to"] and plain["additionalProperties"] is False
    # A field that has the name of a keyword stays.
    named = {"type": "object", "properties": {"pattern": {"type": "string", "minLength": 1}}}
    assert shared_schema(named)["properties"] == {"pattern": {"type": "string"}}


def test_room_for_reasoning_gives_way_to_a_long_prompt() -> None:
    body = BODY | {"max_tokens": 4080}
    for words in (
        "This model's maximum context length is 8192 tokens. However, you requested 10080 tokens "
        "(6000 in the messages, 4080 in the completion).",
        "'max_tokens' or 'max_completion_tokens' is too large: 4080. This model's maximum context "
        "length is 8192 tokens and your request has 6000 input tokens (4080 > 8192 - 6000).",
    ):
        assert fitting_limit(words, body, 80) == 2192
        assert fitting_limit(words, BODY, 80) is None  # the line alone is not what is too long
    assert fitting_limit("context length is 6010 tokens, 6000 in the messages", body, 80) is None


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "no seed", "param": "seed"}},
        {"error": "no seed: seed"},
        {"detail": [{"loc": ["body", "seed"], "msg": "Extra", "input": "a system role"}]},
        [{"error": {"message": "seed"}}],
        "seed",
    ],
)
def test_the_words_of_an_error_are_read_in_any_form_without_what_it_repeats(error: Any) -> None:
    words = refusal_words(error)
    assert "seed" in words and "system" not in words


def test_what_a_session_learned_is_known_to_the_next() -> None:
    asyncio.run(learn_and_know())


async def learn_and_know() -> None:
    first, place = MannersKeeper(), Place("http://127.0.0.1:1/v1", "m")
    learned = lesson("seed is not supported", BODY)
    assert learned is not None
    assert await first.meet(place, ("seed",)) == (True, ())
    await first.met(place, ("seed",), (learned,))
    rows = await first.rows()
    second = MannersKeeper([*rows, rows[0] | {"manner": "of tomorrow"}])
    assert (await second.meet(place, ("seed",)))[1] == (learned,)
    (sentence,) = sentences(rows)
    assert "m at http://127.0.0.1:1/v1" in sentence and "no seed" in sentence
