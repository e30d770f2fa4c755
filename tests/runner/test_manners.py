"""What a run learns of the manners of its models: once for all hosts, kept in run.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from improv.export.exporter import export
from improv.models.budget import Budget
from improv.records import Json
from improv.runner.launch import resume, run
from improv.runner.replay import replay
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.study.loader import load
from tests.support.choosy import Choosy, not_taken
from tests.support.weather import LINE, SCENE, RawServer, said

OPENED_BY_ITSELF = SCENE.replace(
    '  - {who: Ana, line: "Bo, sit down."}',
    '  - {who: Ana, line: "Bo."}\n  - {who: Ana, line: "Sit."}',
)


def study(tmp_path: Path, url: str, replicates: int = 12) -> Path:
    (tmp_path / "chairs.yaml").write_text(OPENED_BY_ITSELF)
    file = tmp_path / "study.yaml"
    file.write_text(
        f"study: chairs\nscenes: [chairs.yaml]\nreplicates: {replicates}\n"
        f"set: {{model: {{model: odd, base_url: '{url}', temperature: 0.5}}}}\n"
    )
    return file


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param(Setup(ray="off", hosts=3), id="in this process"),
        pytest.param(Setup(hosts=3), marks=pytest.mark.ray, id="on Ray"),
    ],
)
def test_all_hosts_of_a_run_have_one_call_refused(
    setup: Setup, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if setup.ray != "off":
        request.getfixturevalue("local_ray")
    server = Choosy(not_taken("temperature", "seed"))
    with RawServer(server) as raw:
        played = run(load(study(tmp_path, raw.url)), runs=tmp_path / "runs", setup=setup)
    assert (played.done, played.failed) == (12, 0) and server.refused == 2
    rows = played.folder.meta()["manners"]
    assert [(r["endpoint"], r["model"], r["manner"]) for r in rows] == [
        (raw.url, "odd", "no seed"),
        (raw.url, "odd", "no temperature"),
    ]
    assert rows[0]["because"] == "'seed' is not supported"
    (notice,) = [n for n in played.notices if "odd" in n]
    assert "no seed" in notice and "temperature" in notice
    assert all(check.difference == "" for check in replay(played.folder))
    # The scene is opened by two lines of one character.
    roles = [[m["role"] for m in body["messages"]] for body in server.bodies]
    assert all(set(r[1::2]) == {"user"} and set(r[2::2]) <= {"assistant"} for r in roles)


def test_a_resumed_run_begins_with_what_it_has_learned(tmp_path: Path) -> None:
    server = Choosy(not_taken("seed"))
    with RawServer(server) as raw:
        bounded = Setup(ray="off", budget=Budget(calls=3))
        first = run(load(study(tmp_path, raw.url)), runs=tmp_path / "runs", setup=bounded)
        assert first.owed and server.refused == 1
        again = resume(first.folder, setup=Setup(ray="off"))
    assert (again.done, again.owed, server.refused) == (12, 0, 1)
    assert not [n for n in again.notices if "odd" in n]  # the first session has said it


def test_an_export_has_the_messages_as_they_were_sent(tmp_path: Path) -> None:
    def takes(body: Json) -> str:
        return "no system role is supported" if body["messages"][0]["role"] == "system" else ""

    thought = {"role": "assistant", "content": LINE, "reasoning_content": "Hm, a chair."}
    server = Choosy(takes, reply=said("", choices=[{"message": thought, "finish_reason": "stop"}]))
    with RawServer(server) as raw:
        file = study(tmp_path, raw.url, 1)
        folder = run(load(file), runs=tmp_path / "runs", setup=Setup(ray="off")).folder
    export(folder, "otel", path=tmp_path / "traces.jsonl")
    trace = json.loads((tmp_path / "traces.jsonl").read_text())
    sent, replies = [], []
    for span in trace["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        texts = {a["key"]: a["value"].get("stringValue") for a in span["attributes"]}
        if "gen_ai.input.messages" in texts:
            messages = json.loads(texts["gen_ai.input.messages"])
            sent.append([(m["role"], m["parts"][0]["content"]) for m in messages])
            replies += json.loads(texts["gen_ai.output.messages"])
    bodies = [b["messages"] for b in server.bodies if b["messages"][0]["role"] == "user"]
    assert sent == [[(m["role"], m["content"]) for m in messages] for messages in bodies]
    assert all(r["parts"][0] == {"type": "reasoning", "content": "Hm, a chair."} for r in replies)
    # What a model thought is shown to nobody.
    assert not any("Hm" in text for messages in sent for _, text in messages)


def test_judges_adapt_and_what_they_learn_is_kept(tmp_path: Path) -> None:
    verdict = said(json.dumps({"answer": "neither"}))
    server = Choosy(not_taken("max_tokens", "temperature"), reply=verdict)
    with RawServer(server) as raw:
        folder = run(
            load(study(tmp_path, raw.url, 2)), runs=tmp_path / "runs", setup=Setup(ray="off")
        ).folder
        assert server.refused == 2
        scored = score(folder, ["attribution"], Judges("odd", plants=0))
    assert scored.asked and not scored.failed and server.refused == 2
    assert len(folder.meta()["manners"]) == 2
