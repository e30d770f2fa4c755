"""The lengths of a study's contexts: a placebo is as long as the text that it replaces."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from improv.errors import MachineError, StudyError
from improv.models.puppet.player import count_tokens
from improv.runner.context_lengths import APART, BY_WORDS, lengths
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.study.design import Study
from improv.study.loader import load

OFF = Setup(ray="off")


def contexts(file: Path, brief: int, placebo: int, model: dict[str, Any] | None = None) -> Study:
    """Return a planned study whose two contexts have these numbers of words."""
    words = {
        "brief": {"name": "Ines Okafor", "frame": " ".join(["author"] * brief)},
        "placebo": {
            "heading": "About the kettle",
            "frame": " ".join(["kettle"] * placebo),
            "matches": "brief",
        },
    }
    text = file.read_text()
    for level, name in (("none", "placebo"), ("live", "brief")):
        text = re.sub(rf"    {level}: .*", f"    {level}: {{author: {{context: {name}}}}}", text)
    file.write_text(text)
    return load(file, {"author": {"contexts": words, "live": False}, "model": model or "puppet"})


def test_a_placebo_of_the_wrong_length_is_refused_in_a_planned_study(
    planned: Path, tmp_path: Path
) -> None:
    (row,) = lengths(contexts(planned, 100, 102))
    assert (row["context"], row["matches"], row["by"]) == ("placebo", "brief", BY_WORDS)
    headed = "About the kettle\n" + " ".join(["kettle"] * 102)
    assert row["tokens"] == count_tokens(headed) and row["of"] > 100
    assert row["apart"] == pytest.approx(row["tokens"] / row["of"] - 1)
    far = contexts(planned, 100, 130)
    with pytest.raises(StudyError, match=r"the context 'placebo' has .* planned study allows 10%"):
        run(far, runs=tmp_path / "r", setup=OFF)
    assert not (tmp_path / "r").exists(), "nothing is begun"
    (row,) = lengths(dataclasses.replace(far, plan=None))
    assert row["apart"] > 0.2


def test_a_placebo_of_an_empty_context_is_refused(planned: Path) -> None:
    study = contexts(planned, 0, 30)
    # A context with only a heading and a name has no frame.
    with pytest.raises(StudyError, match="which it has to match, 0:"):
        lengths(study)


def test_lengths_are_counted_by_the_endpoints_tokenizer(
    planned: Path, httpserver: HTTPServer
) -> None:
    requests: list[dict[str, Any]] = []

    def tokenize(request: Request) -> Response:
        requests.append(json.loads(request.data))
        text = requests[-1]["prompt"]
        # To this tokenizer "kettle" is two tokens, any other word one.
        count = len(text.split()) + text.split().count("kettle")
        reply = {"tokens": [7] * count} if "llama" in request.path else {"count": count}
        return Response(json.dumps(reply), content_type="application/json")

    for root in ("/vllm", "/llama"):
        httpserver.expect_request(f"{root}/tokenize").respond_with_handler(tokenize)
        model = {"model": "some-model", "base_url": httpserver.url_for(f"{root}/v1")}
        (row,) = lengths(contexts(planned, 100, 51, model))
        assert row["by"] == "tokens of some-model"
        assert (row["tokens"], row["of"]) == (4 + 102, 105)
        with pytest.raises(StudyError, match=f"tokens of some-model.* allows {APART:.0%}"):
            lengths(contexts(planned, 100, 100, model))
    assert {r["model"] for r in requests} == {"some-model"}


@pytest.mark.parametrize(
    "answer",
    [
        Response("no such route", 404),
        Response("<html>", 200),
        Response('{"count": 0}', 200),
        Response('{"tokens": 5}', 200),
        Response("[]", 200),
        Response('{"count": "x"}', 200),
        Response('{"count": Infinity}', 200),
        Response("[" * 200_000, 200),
    ],
)
def test_words_are_counted_where_an_endpoint_cannot_count_tokens(
    planned: Path, httpserver: HTTPServer, answer: Response
) -> None:
    httpserver.expect_request("/tokenize").respond_with_response(answer)
    model = {"model": "m", "base_url": httpserver.url_for("/v1")}
    (row,) = lengths(contexts(planned, 60, 60, model))
    assert row["by"] == BY_WORDS


def test_the_key_is_not_sent_to_a_redirects_target(
    planned: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-mine-0123456789")
    seen: list[str] = []

    def elsewhere(request: Request) -> Response:
        seen.append(request.headers.get("Authorization", ""))
        return Response('{"count": 5}', content_type="application/json")

    httpserver.expect_request("/elsewhere").respond_with_handler(elsewhere)
    moved = Response("", 302, headers={"Location": httpserver.url_for("/elsewhere")})
    httpserver.expect_request("/tokenize").respond_with_response(moved)
    model = {"model": "m", "base_url": httpserver.url_for("/v1")}
    (row,) = lengths(contexts(planned, 60, 60, model))
    assert row["by"] == BY_WORDS and not seen


def test_a_tokenizer_that_gives_up_half_way_is_a_message(
    planned: Path, httpserver: HTTPServer
) -> None:
    good = Response('{"count": 5}', content_type="application/json")
    httpserver.expect_ordered_request("/tokenize").respond_with_response(good)
    httpserver.expect_ordered_request("/tokenize").respond_with_data("down", status=503)
    model = {"model": "m", "base_url": httpserver.url_for("/v1")}
    with pytest.raises(MachineError, match="no longer counts tokens: HTTP Error 503"):
        lengths(contexts(planned, 60, 60, model))


@pytest.mark.weights
def test_the_embedded_model_counts_with_its_own_tokenizer(planned: Path) -> None:
    (row,) = lengths(contexts(planned, 40, 45, {"model": "embedded"}))
    assert row["by"] == "tokens of embedded"
    # A word that begins with a space is one token of SmolLM2, and a heading has some more.
    assert 40 <= row["of"] <= 60 and abs(row["apart"]) <= APART
