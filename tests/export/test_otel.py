"""Traces: the message type of a collector reads them, and all names are in the conventions."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from improv.export.exporter import export
from improv.export.otel import provider
from improv.export.selection import SceneFilter
from improv.records import Draw, Json
from improv.storage.run_folder import RunFolder
from tests.support.call import made_call
from tests.support.export import busy_run


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return busy_run(tmp_path_factory.mktemp("busy"))


@pytest.fixture(scope="module")
def traces(busy: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    place = tmp_path_factory.mktemp("otel") / "traces.otlp.jsonl"
    export(busy, "otel", path=place)
    return [orjson.loads(line) for line in place.read_bytes().splitlines()]


def spans(trace: Json) -> list[Json]:
    return list(trace["resourceSpans"][0]["scopeSpans"][0]["spans"])


def attributes_of(span: Json) -> dict[str, Any]:
    """Return a span's attributes by name."""
    pairs = {}
    for pair in span["attributes"]:
        ((kind, value),) = pair["value"].items()
        pairs[pair["key"]] = int(value) if kind == "intValue" else value
    return pairs


def read(trace: Json) -> Any:
    """Read a trace as a collector does: OTLP's JSON has ids in hex, protobuf's in base64."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    for span in spans(trace):
        for name in ("traceId", "spanId", "parentSpanId"):
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return ParseDict(trace, trace_service_pb2.ExportTraceServiceRequest())


def test_a_collector_reads_a_trace_for_each_scene(busy: RunFolder, traces: list[Json]) -> None:
    assert len(traces) == 4
    seen = set()
    for trace in traces:
        message = read(orjson.loads(orjson.dumps(trace)))
        of_scene = message.resource_spans[0].scope_spans[0].spans
        ids = {s.span_id for s in of_scene}
        assert len(ids) == len(of_scene) and all(len(i) == 8 for i in ids)
        (trace_id,) = {s.trace_id for s in of_scene}
        assert len(trace_id) == 16
        seen.add(trace_id)
        (root,) = [s for s in of_scene if not s.parent_span_id]
        assert root.name == "invoke_workflow kettle" and of_scene[0] == root
        by_id = {s.span_id: s for s in of_scene}
        for span in of_scene:
            parent = by_id.get(span.parent_span_id, root)
            begin, end = parent.start_time_unix_nano, parent.end_time_unix_nano
            assert begin <= span.start_time_unix_nano <= span.end_time_unix_nano <= end
    assert len(seen) == 4


def test_every_name_is_in_the_conventions(traces: list[Json]) -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as known

    names = {v for k, v in vars(known).items() if k.startswith("GEN_AI") and isinstance(v, str)}
    operations = {str(o.value) for o in known.GenAiOperationNameValues}
    used: set[str] = set()
    for trace in traces:
        for span in spans(trace):
            pairs = attributes_of(span)
            used |= pairs.keys()
            used |= {p["key"] for event in span["events"] for p in event["attributes"]}
            assert pairs["gen_ai.operation.name"] in operations
            assert span["name"].startswith(pairs["gen_ai.operation.name"])
    assert {u for u in used if u.startswith("gen_ai.")} <= names
    assert {u.split(".")[0] for u in used} <= {"gen_ai", "improv", "server", "error"}
    assert {
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.usage.input_tokens",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.evaluation.name",
        "gen_ai.agent.name",
        "gen_ai.conversation.id",
        "gen_ai.request.seed",
        "gen_ai.response.finish_reasons",
    } <= used


def test_calls_are_children_of_the_agents_that_made_them(
    busy: RunFolder, traces: list[Json]
) -> None:
    for trace in traces:
        of_scene = spans(trace)
        by_id = {s["spanId"]: s for s in of_scene}
        root = attributes_of(of_scene[0])
        recorded = [
            c for c in busy.transcripts.calls(root["improv.study.trial"]) if c.draw.branch == "main"
        ]
        calls = [s for s in of_scene if s["kind"] == 3]
        assert len(calls) == len(recorded)
        inputs = 0
        for span in calls:
            mine, agent = attributes_of(span), attributes_of(by_id[span["parentSpanId"]])
            assert agent["gen_ai.operation.name"] == "invoke_agent"
            assert agent["gen_ai.agent.name"] == mine["gen_ai.agent.name"]
            inputs += mine["gen_ai.usage.input_tokens"]
            (said,) = orjson.loads(mine["gen_ai.output.messages"])
            assert said["role"] == "assistant" and said["finish_reason"] == "stop"
            prompt = orjson.loads(mine["gen_ai.input.messages"])
            chat = mine["gen_ai.operation.name"] == "chat"
            assert prompt[0]["role"] == ("system" if chat else "user")
            assert all(m["parts"][0]["type"] == "text" for m in prompt)
        assert inputs == sum(c.prompt_tokens or 0 for c in recorded)
        assert {attributes_of(s)["gen_ai.agent.name"] for s in calls} >= {"Ana", "Bo", "author"}
        again = [s for s in calls if attributes_of(s)["improv.attempt"] == 1]
        if again:
            parents = [s["parentSpanId"] for s in calls]
            assert parents.count(again[0]["parentSpanId"]) > 1, "one invocation, several calls"
    conditions = {attributes_of(spans(t)[0])["improv.condition"] for t in traces}
    assert conditions == {"in chat", "as script"}


def test_scores_are_events_of_their_line(busy: RunFolder, traces: list[Json]) -> None:
    root = attributes_of(spans(traces[0])[0])
    rows = busy.tables.read("scores", trial=root["improv.study.trial"]).to_pylist()
    expected = sorted((r["turn"], r["measure"]) for r in rows if r["branch"] == "main")
    events = []
    for span in spans(traces[0]):
        for event in span["events"]:
            assert event["name"] == "gen_ai.evaluation.result"
            events.append(
                (attributes_of(span)["improv.turn"], attributes_of(event)["gen_ai.evaluation.name"])
            )
            missing = attributes_of(event).get("gen_ai.evaluation.score.label") == "missing"
            assert missing != ("gen_ai.evaluation.score.value" in attributes_of(event))
    assert sorted(events) == expected


def test_traces_are_the_same_every_time_and_branches_have_their_own(
    busy: RunFolder, traces: list[Json], tmp_path: Path
) -> None:
    export(busy, "otel", SceneFilter(branches=True), tmp_path / "all.jsonl")
    every = [orjson.loads(line) for line in (tmp_path / "all.jsonl").read_bytes().splitlines()]
    mains = [t for t in every if attributes_of(spans(t)[0])["improv.study.branch"] == "main"]
    assert mains == traces
    assert len(every) == 20
    made = sum(s["kind"] == 3 for t in every for s in spans(t))
    assert made == len(busy.tables.read("calls")), "no call is in two traces"


def test_the_provider_is_that_of_the_endpoint() -> None:
    def asked(model: str, endpoint: str) -> str:
        draw = Draw("t", "main", 1, "Ana", "line")
        return provider(made_call(draw, model=model, endpoint=endpoint))

    assert asked("puppet", "puppet") == "improv.puppet"
    assert asked("embedded", "http://127.0.0.1:4/v1") == "llama.cpp"
    assert asked("gpt-4.1", "https://api.openai.com/v1") == "openai"
    assert asked("m", "https://x.openai.azure.com/v1") == "azure.ai.openai"
    assert asked("grok", "https://api.x.ai/v1") == "x_ai"
    assert asked("m", "https://evil-api.x.ai.example/v1") == "openai"
    assert asked("m", "not an address") == "openai"
