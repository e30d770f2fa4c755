"""A run says what was not delivered: by kind and by arm, while it is played and in its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from improv.analysis.decision import DoubtKind
from improv.analysis.delivery import read_delivery
from improv.analysis.loader import analyse_run
from improv.records import Json
from improv.storage.runs import open_run
from tests.support.weather import RawServer, Send, command, http, said

STUDY = """\
study: whisper
question: Does a live author change anything?
scenes: [cold-pass]
set: {turns: 4}
factors:
  author:
    none: {author: {frame: "", live: false}}
    live: {author: {live: true, may: [note, cue], every: 1, knows: [transcript], samples: []}}
replicates: 2
plan:
  hypothesis: A live author lowers breaks.
  outcome: {of: broken, measure: sign}
  contrasts:
    - {name: live against none, plus: {author: live}, minus: {author: none}}
  blocks: 6
"""
NOTE = '{"note_to": "RUFINA", "note": "Look at the lamp.", "next": "anybody"}'
Answers = Callable[[Json], str]


def prompt_of(body: Json) -> str:
    return "\n".join(message["content"] for message in body["messages"])


def counted(text: str | None, body: Json, **more: object) -> str:
    """Return a reply of a server that counts the tokens of its prompts."""
    usage = {"prompt_tokens": len(prompt_of(body)) // 4, "completion_tokens": 5}
    return said(text, **({"usage": usage} | more))


def answering(answers: Answers) -> Callable[[int, bytes, Send], bytes]:
    def reply(n: int, request: bytes, send: Send) -> bytes:
        return http(answers(json.loads(request.partition(b"\r\n\r\n")[2])))

    return reply


def play(tmp_path: Path, answers: Answers, what: str = "", *more: str, code: int = 0) -> str:
    file = tmp_path / "whisper.yaml"
    file.write_text(STUDY)
    with RawServer(answering(answers)) as server:
        done = command(
            *("run", what or str(file), "--model", "odd", "--base-url", server.url, *more),
            *("--runs", str(tmp_path / "runs"), "--name", "t", "--ray", "off"),
            code=code,
        )
    return " ".join(done.output.split())


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")


def test_an_author_that_is_not_heard_decides_nothing(tmp_path: Path) -> None:
    def answers(body: Json) -> str:
        told = "response_format" in body
        if told:
            assert '"note_to": the name of the one character' in prompt_of(body)
        return counted("I would whisper to Rufina." if told else "It is late.", body)

    output = play(tmp_path, answers, code=1)
    assert "4 trials done, 8 of 8 author replies not delivered" in output
    assert "0 failed in" not in output
    assert output.count("8 of 8 author replies (live: 8 of 8) hold no JSON") == 1
    arms = read_delivery(open_run(tmp_path / "runs", "t"))
    assert arms["live"].undelivered("author") == 8 and not arms["none"].faults
    page = tmp_path / "t.html"
    command("report", "t", "--runs", str(tmp_path / "runs"), "-o", str(page))
    text = page.read_text(encoding="utf-8")
    assert "Nothing is decided. The author was not heard (live: 8 of 8" in text
    assert "What was not delivered" in text and "Not decided" in text
    # Nothing is owed, and the run is as it was.
    again = command("resume", "t", "--runs", str(tmp_path / "runs"), "--ray", "off", code=1)
    assert "not delivered" in again.output


def test_an_author_that_writes_in_its_own_way_is_heard(tmp_path: Path) -> None:
    def answers(body: Json) -> str:
        wrapped = f"<think>A note?</think>Gladly!\n```json\n{NOTE}\n```"
        return counted(wrapped if "response_format" in body else "It is late.", body)

    output = play(tmp_path, answers)
    assert "4 trials done, 0 failed" in output and "author replies" not in output
    folder = open_run(tmp_path / "runs", "t")
    calls = [c for c in folder.transcripts.all_calls() if c.draw.purpose == "author"]
    assert {c.cuts for c in calls} == {("reasoning", "prose", "fence", "words")}
    acts = folder.tables.read("turns", columns=["trial", "branch", "acts"])["acts"].to_pylist()
    notes = [a for each in acts for a in each if a["kind"] == "note"]
    assert len(notes) == 8 and {a["to"] for a in notes} == {"Rufina"}
    blocks = folder.tables.read("blocks").to_pylist()
    assert not [b for b in blocks if "A note?" in b["text"]], "reasoning is in nobody's prompt"


@pytest.mark.parametrize(
    ("message", "finish", "why"),
    [
        ({"content": "", "reasoning_content": "Okay, so"}, "length", "were only reasoning"),
        ({"content": "<think>Okay, so"}, "length", "were only reasoning"),
        ({"content": None, "refusal": "I will not."}, "stop", "were refused by the model"),
        ({"content": None, "tool_calls": [{}]}, "tool_calls", "were calls of tools"),
        ({"content": ""}, "stop", "were empty"),
    ],
)
def test_a_scene_of_silence_is_no_success(
    message: Json, finish: str, why: str, tmp_path: Path
) -> None:
    def answers(body: Json) -> str:
        choices = [{"message": {"role": "assistant", **message}, "finish_reason": finish}]
        return counted("", body, choices=choices)

    output = play(tmp_path, answers, "cold-pass", "--turns", "4", code=1)
    assert "1 trials done, 4 of 4 lines not delivered" in output
    assert f"4 of 4 lines {why}" in output


def test_a_prompt_that_is_cut_without_a_word_is_told(tmp_path: Path) -> None:
    def answers(body: Json) -> str:
        size = len(prompt_of(body)) // 4
        usage = {"prompt_tokens": size if size <= 512 else 258, "completion_tokens": 5}
        return said(f"It is {size} o'clock.", usage=usage)

    output = play(tmp_path, answers, "cold-pass", "--turns", "8")
    assert "of 8 lines had prompts that may have been cut" in output and "num_ctx" in output


def test_a_number_that_never_changes_is_no_count_of_a_prompt(tmp_path: Path) -> None:
    def answers(body: Json) -> str:
        return said("It is late.", usage={"prompt_tokens": 100, "completion_tokens": 5})

    output = play(tmp_path, answers, "cold-pass", "--turns", "8")
    assert "1 trials done, 0 failed" in output and "have been cut" not in output


def test_a_window_that_was_full_from_the_first_call_on_is_told(tmp_path: Path) -> None:
    def answers(body: Json) -> str:
        return said("It is late.", usage={"prompt_tokens": 512, "completion_tokens": 5})

    output = play(tmp_path, answers, "cold-pass", "--turns", "8")
    assert "lines had prompts that may have been cut" in output


def test_an_analysis_without_the_calls_says_that_it_does_not_know_the_author_was_heard(
    tmp_path: Path,
) -> None:
    play(
        tmp_path, lambda body: counted(NOTE if "Answer in JSON" in prompt_of(body) else "Go.", body)
    )
    folder = open_run(tmp_path / "runs", "t")
    assert not [d for d in analyse_run(folder).analysis.doubts if d.kind is DoubtKind.UNHEARD]
    (folder.local / "calls.parquet").unlink()
    (doubt,) = [d for d in analyse_run(folder).analysis.doubts if d.kind is DoubtKind.UNHEARD]
    assert "Whether the author was heard is not known" in doubt.sentence


def test_prompts_that_are_counted_are_not_told(tmp_path: Path) -> None:
    output = play(tmp_path, lambda body: counted("It is late.", body), "cold-pass", "--turns", "8")
    assert "1 trials done, 0 failed" in output and "have been cut" not in output


def test_another_model_than_the_one_asked_for_is_told(tmp_path: Path) -> None:
    def answers(body: Json) -> str:
        return counted("It is late.", body, model="even-70b")

    output = play(tmp_path, answers, "cold-pass", "--turns", "2")
    assert "2 of 2 lines were given by another model than the one asked for" in output
