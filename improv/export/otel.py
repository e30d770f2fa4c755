"""Makes traces by OpenTelemetry's conventions for generative AI, in OTLP's JSON encoding.

A scene is a trace: a workflow that invokes agents (the cast and the author), each of which calls
its model once, or several times if a rule has a line drawn again. The conventions are in
development; the names are those of v1.41 and of the later repository semantic-conventions-genai
(https://opentelemetry.io/docs/specs/semconv/gen-ai/). The encoding is that of
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Ids are hashes, and times are
those of the calls, so that the same run gives the same traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import orjson

from improv.export.block_store import BlockStore
from improv.export.messages import agent_lines, chat_messages, script_prompt
from improv.export.selection import PlayedScene
from improv.records import MAIN, Block, Call, Json, digest

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
_INTERNAL, _CLIENT = 1, 3
_ERROR = 2
_SENT = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
_PROVIDERS = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}


def scene_trace(played: PlayedScene, store: BlockStore, run: Json, version: str) -> Json:
    """Return a scene's trace as an ExportTraceServiceRequest.

    The trace of a branch has only the calls that it does not share. Raises RunError where blocks
    are missing.
    """
    shown = store.blocks_of(b for call in played.own for b in call.blocks)
    said = {who: agent_lines(played, *who) for who in dict.fromkeys(map(_thread, played.own))}
    spans = _Spans(played, f"{run['run']}/{played.name}")
    for _, calls in groupby(played.own, key=lambda c: (c.draw.turn, *_thread(c))):
        attempts = list(calls)
        agent = spans.agent(attempts)
        for call in attempts:
            spans.call(call, agent, _prompt(call, shown, said[_thread(call)]))
    spans.workflow(run)
    resource = {"service.name": "improv", "service.version": version}
    scope = {"name": "improv", "version": version}
    scope_spans = {"scope": scope, "spans": spans.spans, "schemaUrl": SCHEMA_URL}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(resource)},
                "scopeSpans": [scope_spans],
                "schemaUrl": SCHEMA_URL,
            }
        ]
    }


def attributes(pairs: Mapping[str, Any]) -> list[Json]:
    """Return attributes in OTLP's form, without those that are None or empty."""
    return [{"key": k, "value": _value(v)} for k, v in pairs.items() if v is not None and v != ""]


class _Spans:
    """The spans of one trace. The methods take times in seconds since the epoch."""

    def __init__(self, played: PlayedScene, name: str) -> None:
        self._played = played
        self._trace = digest(f"trace {name}", 16)
        self._root = self._id("scene")
        self._common = {
            "gen_ai.conversation.id": played.name,
            "improv.study.trial": played.row["trial"],
            "improv.study.branch": played.row["branch"],
        }
        self.spans: list[Json] = []

    def workflow(self, run: Json) -> None:
        """Add the span of the scene, from its first call to the end of its last call."""
        row, calls = self._played.row, self._played.own
        levels = {f"improv.level.{pair['name']}": pair["value"] for pair in row["levels"]}
        pairs = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": row["scene"],
            "improv.run": run["run"],
            "improv.study": run["study"],
            "improv.study.scene": row["scene"],
            "improv.condition": row["condition"],
            "improv.block": row["block"],
            "improv.replicate": row["replicate"],
            "improv.origin": row["origin"],
            "improv.fork": row["fork"] if row["branch"] != MAIN else None,
        }
        begin, end = _span(calls)
        scene = [s for s in self._played.scores if s["turn"] is None]
        self._add(
            name=f"invoke_workflow {row['scene']}",
            kind=_INTERNAL,
            id=self._root,
            parent="",
            begin=begin,
            end=end,
            pairs=self._common | pairs | levels,
            events=_score_events(scene, end),
        )
        self.spans.insert(0, self.spans.pop())

    def agent(self, calls: Sequence[Call]) -> str:
        """Add the span of the agent that made these calls; return the span's id."""
        draw = calls[0].draw
        id = self._id(draw.turn, draw.role, draw.purpose, "agent")
        pairs = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": provider(calls[-1]),
            "gen_ai.agent.name": draw.role,
            "gen_ai.agent.id": f"{draw.trial}/{draw.role}",
            "gen_ai.request.model": calls[-1].model,
            "improv.turn": draw.turn,
            "improv.purpose": draw.purpose,
            "error.type": calls[-1].error_kind,
        }
        begin, end = _span(calls)
        scores = []
        if draw.purpose == "line":
            scores = [
                s
                for s in self._played.scores
                if s["turn"] == draw.turn and s["character"] == draw.role
            ]
        self._add(
            name=f"invoke_agent {draw.role}",
            kind=_INTERNAL,
            id=id,
            parent=self._root,
            begin=begin,
            end=end,
            pairs=self._common | pairs,
            events=_score_events(scores, end),
            error=calls[-1].error_line,
        )
        return id

    def call(self, call: Call, parent: str, prompt: Sequence[Json]) -> None:
        """Add the span of one call to a model, from its sending to its whole reply."""
        said = {
            "role": "assistant",
            "parts": [*_reasoning(call), {"type": "text", "content": call.reply}],
            "finish_reason": call.finish_reason or "error",
        }
        operation = "chat" if call.mode == "chat" else "text_completion"
        pairs = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider(call),
            "gen_ai.request.model": call.model,
            "gen_ai.agent.name": call.draw.role,
            "gen_ai.response.model": call.served,
            "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
            "gen_ai.usage.input_tokens": call.prompt_tokens,
            "gen_ai.usage.output_tokens": call.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
            "gen_ai.input.messages": orjson.dumps(prompt).decode(),
            "gen_ai.output.messages": "" if call.error else orjson.dumps([said]).decode(),
            "improv.reasoning_tokens": call.reasoning_tokens,
            "improv.attempt": call.draw.attempt,
            "improv.waited": call.waited,
            "improv.retries": call.retries,
            "error.type": call.error_kind,
        }
        pairs |= self._common | _params(call) | _server(call.endpoint)
        draw = call.draw
        id = self._id(draw.turn, draw.role, draw.purpose, draw.attempt)
        self._add(
            name=f"{operation} {call.model}",
            kind=_CLIENT,
            id=id,
            parent=parent,
            begin=call.started,
            end=call.started + call.latency,
            pairs=pairs,
            events=(),
            error=call.error_line,
        )

    def _id(self, *parts: object) -> str:
        return digest("/".join(map(str, ("span", self._trace, *parts))), 8)

    def _add(
        self,
        name: str,
        kind: int,
        id: str,
        parent: str,
        begin: float,
        end: float,
        pairs: Mapping[str, Any],
        events: Iterable[Json] = (),
        error: str = "",
    ) -> None:
        span: Json = {
            "traceId": self._trace,
            "spanId": id,
            "parentSpanId": parent,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": _nano(begin),
            "endTimeUnixNano": _nano(end),
            "attributes": attributes(pairs),
            "events": list(events),
            "status": {"code": _ERROR, "message": error} if error else {},
        }
        self.spans.append(span)


def provider(call: Call) -> str:
    """Return the provider that served a call, by its name in the conventions.

    An unknown provider is "openai", since the call used that interface.
    """
    if call.model == "puppet" or call.endpoint == "puppet":
        return "improv.puppet"
    if call.model == "embedded":
        return "llama.cpp"
    host = _host(call.endpoint)[0]
    return next(
        (p for name, p in _PROVIDERS.items() if host == name or host.endswith(f".{name}")), "openai"
    )


def _thread(call: Call) -> tuple[str, str]:
    """Return the role and the purpose of a call; the author has a thread for each purpose."""
    return call.draw.role, call.draw.purpose


def _prompt(call: Call, shown: Mapping[str, Block], said: Sequence[Any]) -> list[Json]:
    if call.mode == "script":
        return [_message("user", script_prompt(call, shown))]
    return [_message(m["role"], m["content"]) for m in chat_messages(call, shown, said)]


def _reasoning(call: Call) -> list[Json]:
    return [{"type": "reasoning", "content": call.reasoning}] if call.reasoning else []


def _message(role: str, text: str) -> Json:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _params(call: Call) -> Json:
    """Return the parameters of the request as attributes."""
    with suppress(orjson.JSONDecodeError):
        sent = orjson.loads(call.params)
        if isinstance(sent, dict):
            numbers: Json = {
                name: float(sent[key])
                for key, name in _SENT.items()
                if isinstance(sent.get(key), int | float)
            }
            stop = sent.get("stop")
            structured = sent.get("response_format") is not None
            return numbers | {
                "gen_ai.request.max_tokens": sent.get("max_tokens")
                or sent.get("max_completion_tokens"),
                "gen_ai.request.seed": sent.get("seed"),
                "gen_ai.request.top_k": sent.get("top_k"),
                "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
                "gen_ai.output.type": "json" if structured else "text",
            }
    return {}


def _server(endpoint: str) -> Json:
    host, port = _host(endpoint)
    return {"server.address": host, "server.port": port} if host else {}


def _host(endpoint: str) -> tuple[str, int]:
    with suppress(ValueError):
        parts = urlsplit(endpoint)
        if parts.hostname:
            return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    return "", 0


def _span(calls: Sequence[Call]) -> tuple[float, float]:
    begin = min((c.started for c in calls), default=0.0)
    return begin, max((c.started + c.latency for c in calls), default=begin)


def _score_events(scores: Iterable[Json], at: float) -> Iterable[Json]:
    """Yield scores as events; a missing score has no value."""
    for row in scores:
        pairs = {
            "gen_ai.evaluation.name": row["measure"],
            "gen_ai.evaluation.score.value": row["value"],
            "gen_ai.evaluation.score.label": "missing" if row["value"] is None else None,
            "gen_ai.evaluation.explanation": row["evidence"],
            "improv.stage.character": row["character"],
        }
        yield {
            "name": "gen_ai.evaluation.result",
            "timeUnixNano": _nano(at),
            "attributes": attributes(pairs),
        }


def _nano(seconds: float) -> str:
    return str(round(seconds * 1e9))


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(v) for v in value]}}
    return {"stringValue": str(value)}
