"""A puppet's JSON replies follow the schema of the request."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from improv.models.puppet.player import OPPOSITE, POLE, answer
from improv.models.puppet.schema_filler import NOTES, Dice, fill_schema
from improv.models.puppet.server import PuppetServer
from improv.study.puppet_spec import Puppet
from tests.support.puppet import SCHEMA, ask, chat, line_of, near, script


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
    values = [fill_schema(schema, Dice("x", k)) for k in range(60)]
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
