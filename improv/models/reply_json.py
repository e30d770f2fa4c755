"""Parses the JSON that an endpoint answers, as far as it can be meant. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from improv.study.plain_data import MAX_DEPTH, deeper_than

_HALF = re.compile("[\ud800-\udfff]")
_INT64_DIGITS = 18


def parse_json(content: bytes) -> Any:
    """Return the value in a body; half an emoji in its text becomes U+FFFD. Raises ValueError where
    it is no JSON or is nested more than MAX_DEPTH deep, which no endpoint means and which could not
    be written again.

    An endpoint that cuts a reply after so many tokens may cut between the two halves of an emoji.
    What is left is still a reply, but orjson refuses it, as JSON should not hold it.
    """
    value = _value(content)
    if content.count(b"[") + content.count(b"{") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return value


def _value(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as e:
        try:
            text = content.decode("utf-8", "replace")
            return _whole(json.loads(text, parse_int=_number, parse_constant=_no_number))
        except (ValueError, RecursionError):
            raise e from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INT64_DIGITS else float(digits)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(v) for v in value]
    if isinstance(value, dict):
        return {_whole(k): _whole(v) for k, v in value.items()}
    return value
