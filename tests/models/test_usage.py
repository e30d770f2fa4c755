"""Endpoints that count no tokens, or count what cannot be, and replies with half an emoji."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from improv.errors import ErrorKind
from improv.models.budget import Budget, estimated_tokens
from improv.models.reply_json import parse_json
from improv.runner.launch import ESTIMATED, resume, run
from improv.runner.session import Setup
from improv.study.loader import load
from tests.support.weather import LINE, RawServer, Send, ask, command, complete, http, said

SCENE = """\
title: T
premise: P
turns: 30
model: {{model: m, base_url: "{url}", price: {{prompt: 1000, completion: 1000}}}}
cast:
  - {{name: Ana, role: r}}
  - {{name: Bo, role: r}}
"""

ABSURD = [
    None,
    {},
    [],
    "many",
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": -5, "completion_tokens": -1},
    {"prompt_tokens": "7", "completion_tokens": "3"},
    {"prompt_tokens": 10**18, "completion_tokens": 10**18},
    {"prompt_tokens": 10**30, "completion_tokens": 1e300},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": True, "completion_tokens": 2.5},
    {"prompt_tokens": 7},
]


def served(reply: bytes) -> RawServer:
    def answer(n: int, request: bytes, send: Send) -> bytes:
        return http(reply)

    return RawServer(answer)


@pytest.mark.parametrize("usage", ABSURD, ids=str)
def test_a_usage_that_cannot_be_is_estimated(usage: object) -> None:
    text = "word " * 60
    with served(said(text, usage=usage).encode()) as server:
        (call,) = complete(ask(server.url))
    assert call.estimated and not call.error
    assert call.completion_tokens == estimated_tokens([text]) >= 60
    if usage != {"prompt_tokens": 7}:
        assert call.prompt_tokens == estimated_tokens(["(Bo, your line.)"])


def test_a_usage_that_can_be_is_kept() -> None:
    with served(said(LINE).encode()) as server:
        (call,) = complete(ask(server.url))
    assert (call.prompt_tokens, call.completion_tokens, call.estimated) == (7, 3, False)
    with served(said("", usage={"prompt_tokens": 7, "completion_tokens": 0}).encode()) as server:
        (call,) = complete(ask(server.url))
    assert (call.prompt_tokens, call.completion_tokens, call.estimated) == (7, 0, False)


def test_a_call_that_failed_used_nothing() -> None:
    with served(b"<html>") as server:
        (call,) = complete(ask(server.url, retries=0))
    assert (call.error_kind, call.prompt_tokens, call.estimated) == ("unreadable", None, False)


@pytest.mark.parametrize("budget", [("--max-cost", "0.01"), ("--max-tokens", "50")])
@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -1, "completion_tokens": 10**18}])
def test_a_budget_holds_where_nobody_counts(
    tmp_path: Path, budget: tuple[str, str], usage: object
) -> None:
    with served(said("word " * 60, usage=usage).encode()) as server:
        (tmp_path / "scene.yaml").write_text(SCENE.format(url=server.url))
        words = ("run", str(tmp_path / "scene.yaml"), "--ray", "off", "--trust", server.url)
        done = command(*words, "--runs", str(tmp_path / "r"), *budget, code=4)
        assert len(server.seen) == 1
    assert done.output.count("estimated by length") == 2, "once while it plays, once at the end"


def test_estimates_are_kept_and_said_in_the_report(tmp_path: Path) -> None:
    with served(said(LINE, usage=None).encode()) as server:
        (tmp_path / "scene.yaml").write_text(SCENE.format(url=server.url).replace("30", "2"))
        study = load(str(tmp_path / "scene.yaml"))
        setup = Setup(ray="off", trusted=(server.url,), budget=Budget(calls=1))
        result = run(study, runs=tmp_path / "r", name="one", setup=setup)
        assert result.kind == ErrorKind.BUDGET and ESTIMATED in result.notices
        # The journal keeps that the first call is estimated.
        resume(result.folder, setup=Setup(ray="off", trusted=(server.url,)))
    calls = result.folder.transcripts.all_calls()
    assert [c.estimated for c in calls] == [True, True]
    page = tmp_path / "one.md"
    command("report", "one", "--runs", str(tmp_path / "r"), "-o", str(page))
    assert "estimated by length" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("\\ud83d", "\ufffd"),
        ("Well \\uD83D\\u0020then \\ude00.", "Well \ufffd then \ufffd."),
        ("\\ud83d\\ude00", "\U0001f600"),
    ],
)
def test_half_an_emoji_is_a_reply(text: str, reply: str) -> None:
    with served(said("TEXT").replace("TEXT", text).encode()) as server:
        (call,) = complete(ask(server.url, retries=0))
        assert len(server.seen) == 1
    assert (call.reply, call.error) == (reply, "")


def test_half_an_emoji_in_bytes_and_keys_is_json() -> None:
    assert parse_json(b'{"a": "\xed\xa0\xbd"}')["a"].strip("\ufffd") == ""
    assert parse_json(b'{"\\ud83d": ["\\ude00"]}') == {"\ufffd": ["\ufffd"]}
    for bad in (b"", b"<html>", b'{"a": NaN, "b": "\\ud83d"}', b"[" * 100_000, b"\xff\xfe{"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(bad)
    assert json.dumps(parse_json(b'["\\ud83d", ' + b"9" * 5000 + b"]"))
