"""A zoo of endpoints on loopback, each with one manner: what plays, what is judged, what is told.

Through each endpoint go two scenes, one of them with a live author, and then a judge. The table has
the trials played, the author's notes heard, the verdicts read, the requests beyond one for each
answered call, and what improv says. Run: python -m benchmarks.endpoints
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.author_replies import NOTE, SHAPES
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.study.loader import load

Json = dict[str, Any]
Answer = tuple[int, Any]
"""A status, and a JSON value or a text."""

SCENE = """\
title: Two Chairs
premise: Ana and Bo wait.
cast:
  - name: Ana
    role: who waits
    traits: [{pole: honest, opposite: deceitful, kind: moral}]
  - {name: Bo, role: who hurries}
opening:
  - {who: Ana, line: "Bo, sit down."}
turns: 4
"""
STUDY = """\
study: zoo
replicates: %d
scenes: [chairs.yaml]
set: {model: {model: odd, base_url: "%s", temperature: 0.7, top_p: 0.9, timeout: 20}}
factors:
  author:
    none: {author: {live: false}}
    live: {author: {live: true, may: [note], every: 1, knows: [transcript], samples: []}}
"""
REPLICATES = {"answers one at a time": 16, "takes two in parallel": 16, "ignores schemas": 15}
"""How often the scene is played where something learned or a share has to show; elsewhere once."""
MOST_WASTED = 0.05
"""Requests that an endpoint with a limit of parallel requests may refuse, of those answered."""
LEAST_HEARD = 0.95
"""Notes that have to get across where an endpoint ignores schemas."""
LINE = "Then we wait for the train."


@dataclass
class Zoo:
    """What one server remembers: how many requests it got, and how many it has at once."""

    count: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


Manner = Callable[[Json, Zoo], Answer]


def said(text: Any, finish: str = "stop", usage: Json | None = None, **message: Any) -> Answer:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    tokens = {"prompt_tokens": 100, "completion_tokens": 12} | (usage or {})
    return 200, {"model": "odd", "choices": [choice], "usage": tokens}


def words(body: Json) -> str:
    """Return what a well-behaved model answers: a line, an author's note, or a verdict."""
    last = str(body["messages"][-1]["content"])
    if "with one of these words" in last:
        options = re.findall(r"^- ([^:\n]+)", last, re.MULTILINE)
        return json.dumps({"answer": options[0]})
    note = {"note_to": "Ana", "note": "Look at the clock."}
    return json.dumps(note) if "Answer in JSON" in last else LINE


def plain(body: Json, zoo: Zoo) -> Answer:
    return said(words(body))


def refuses(*fields: str, status: int = 400, says: str = "'{}' is not supported") -> Manner:
    def manner(body: Json, zoo: Zoo) -> Answer:
        name = next((f for f in fields if f in body), None)
        error = {"error": {"message": says.format(name), "param": name}}
        return plain(body, zoo) if name is None else (status, error)

    return manner


def refuses_where(wrong: Callable[[Json], bool], says: str, status: int = 400) -> Manner:
    def manner(body: Json, zoo: Zoo) -> Answer:
        return (status, {"error": {"message": says}}) if wrong(body) else plain(body, zoo)

    return manner


def thinks(body: Json, zoo: Zoo, mark: bool = False) -> Answer:
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10_000
    spent = limit <= 300
    usage = {"completion_tokens_details": {"reasoning_tokens": min(limit, 300)}}
    finish = "length" if spent else "stop"
    if mark:
        return said("<think>Hm, " + ("" if spent else f"so.</think>{words(body)}"), finish)
    return said(None if spent else words(body), finish, usage, reasoning_content="Hm, so.")


def at_most(places: int, status: int, words: str) -> Manner:
    """An endpoint that does so many at once, and refuses one more."""

    def manner(body: Json, zoo: Zoo) -> Answer:
        if zoo.at_once > places:
            return status, {"error": {"message": words}}
        time.sleep(0.05)
        return plain(body, zoo)

    return manner


def ignores_schemas() -> Manner:
    """An endpoint whose author writes its JSON as it likes."""
    name = re.compile(f"{NOTE['note_to']}|rufina ortega|RUFINA")
    shapes = itertools.cycle(name.sub("Ana", shape) for shape in SHAPES)
    asks = '"note_to"'

    def manner(body: Json, zoo: Zoo) -> Answer:
        return said(next(shapes)) if asks in schema(body) + str(body) else plain(body, zoo)

    return manner


def at_first(answer: Answer, count: int = 2) -> Manner:
    return lambda body, zoo: answer if zoo.count <= count else plain(body, zoo)


def always(status: int, what: Any) -> Manner:
    return lambda body, zoo: (status, what)


def reasons_in_little_context(body: Json, zoo: Zoo) -> Answer:
    size, limit = len(str(body["messages"])) // 4, body["max_tokens"]
    if size + limit <= 2048:
        return thinks(body, zoo)
    words = (
        f"This model's maximum context length is 2048 tokens. However, you requested "
        f"{size + limit} tokens ({size} in the messages, {limit} in the completion)."
    )
    return 400, {"object": "error", "message": words, "code": 400}


def system(body: Json) -> bool:
    return any(m["role"] == "system" for m in body["messages"])


def out_of_turn(body: Json) -> bool:
    return any((m["role"] == "user") == bool(i % 2) for i, m in enumerate(body["messages"]))


def schema(body: Json) -> str:
    return json.dumps(body.get("response_format", {}))


MANNERS: dict[str, Manner] = {
    "takes everything": plain,
    "wants max_completion_tokens": refuses(
        "max_tokens", says="Unsupported parameter: '{}'. Use 'max_completion_tokens' instead."
    ),
    "takes no limit of tokens": refuses("max_tokens", "max_completion_tokens"),
    "takes no temperature but its own": refuses("temperature"),
    "takes no top_p": refuses("top_p"),
    "takes temperature or top_p": refuses_where(
        lambda b: "temperature" in b and "top_p" in b,
        "`temperature` and `top_p` cannot both be specified for this model.",
    ),
    "takes no seed": refuses("seed", says="Unrecognized request argument supplied: {}"),
    "takes no seed, says 422": refuses(
        "seed", status=422, says="body.{}: Extra inputs are not permitted"
    ),
    "takes only what it must": refuses("max_tokens", "temperature", "top_p", "seed"),
    "has no system role": refuses_where(system, "System role not supported"),
    "has a template that raises": refuses_where(
        system, "jinja2: System role not supported", status=500
    ),
    "wants roles that alternate": refuses_where(
        out_of_turn, "Conversation roles must alternate user/assistant/user/assistant/..."
    ),
    "wants alternating after the system": refuses_where(
        lambda b: out_of_turn({"messages": [m for m in b["messages"] if m["role"] != "system"]}),
        "After the (optional) system message(s), user and assistant roles should be alternating.",
    ),
    "wants the user first": refuses_where(
        lambda b: b["messages"][0]["role"] != "user",
        "A conversation must start with a user message",
    ),
    "takes no response_format": refuses("response_format"),
    "takes json_object only": refuses_where(
        lambda b: "json_schema" in schema(b), "This response_format type is unavailable now"
    ),
    "takes json_schema or text": refuses_where(
        lambda b: bool(b.get("response_format")),
        "'response_format.type' must be 'json_schema' or 'text': failed to parse grammar",
    ),
    "refuses maxLength": refuses_where(
        lambda b: "maxLength" in schema(b), "Invalid schema: 'maxLength' is not permitted."
    ),
    "refuses additionalProperties": refuses_where(
        lambda b: "additionalProperties" in schema(b), 'Unknown name "additionalProperties"'
    ),
    "takes at most 60 tokens": refuses_where(
        lambda b: b.get("max_tokens", 0) > 60, "max_tokens is too large, it must be at most 60"
    ),
    "caps max_tokens below its context": refuses_where(
        lambda b: b.get("max_tokens", 0) > 64,
        "`max_tokens` must be less than or equal to `64`, as it is less than the `context_window`",
    ),
    "reasons in a field of its own": thinks,
    "reasons in little context": reasons_in_little_context,
    "reasons between marks": lambda body, zoo: thinks(body, zoo, mark=True),
    "reasons, and takes no max_tokens": lambda body, zoo: (
        refuses("max_tokens")(body, zoo) if "max_tokens" in body else thinks(body, zoo)
    ),
    "wraps JSON in a fence": lambda body, zoo: said(f"```json\n{words(body)}\n```"),
    "says its content in parts": lambda body, zoo: said([{"type": "text", "text": words(body)}]),
    "counts no tokens": lambda body, zoo: (200, plain(body, zoo)[1] | {"usage": None}),
    "answers one at a time": at_most(1, 503, "busy"),
    "takes two in parallel": at_most(2, 429, "Max parallel request limit reached"),
    "ignores schemas": ignores_schemas(),
    "thinks in other marks": lambda body, zoo: said(f"[THINK]Hm, so.[/THINK]{words(body)}"),
    "has null choices at first": at_first((200, {"choices": None})),
    "has an error inside at first": at_first(
        (200, {"error": {"message": "Provider returned error", "code": 502}})
    ),
    "ends with an error at first": at_first(said("Then we", "error")),
    "is busy at first": at_first((429, {"error": {"message": "slow down"}})),
    "fails at first": at_first((502, "<html>Bad gateway</html>")),
    "has no choices at first": at_first((200, {"choices": []})),
    "has spent its quota": always(
        429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    ),
    "knows no such key": always(401, {"error": {"message": "Incorrect API key provided"}}),
    "serves no such model": always(404, {"error": {"message": "model 'odd' not found"}}),
    "refuses every prompt": always(400, {"error": {"message": "The content violates a policy"}}),
}
CANNOT = set(list(MANNERS)[-4:])
"""Those with which nothing can be played: what counts is that the reason is told."""


@contextmanager
def serving(manner: Manner) -> Iterator[tuple[str, Zoo]]:
    zoo = Zoo()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with zoo.lock:
                zoo.count += 1
                zoo.at_once += 1
            status, what = manner(body, zoo)
            with zoo.lock:
                zoo.at_once -= 1
            if isinstance(what, dict) and what.get("usage"):
                what["usage"]["prompt_tokens"] = len(str(body["messages"])) // 4
            data = (what if isinstance(what, str) else json.dumps(what)).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.send_header("retry-after-ms", "50")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", zoo
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Row:
    """What came of one endpoint."""

    name: str
    played: tuple[int, int]
    notes: tuple[int, int]
    judged: tuple[int, int]
    wasted: int
    answered: int
    told: str

    @property
    def whole(self) -> bool:
        parts = (self.played, self.judged)
        heard = self.notes[0] >= LEAST_HEARD * self.notes[1]
        learned = self.name not in REPLICATES or self.wasted < MOST_WASTED * self.answered
        return heard and learned and all(count == of and of for count, of in parts)

    @property
    def right(self) -> bool:
        return bool(self.told) if self.name in CANNOT else self.whole

    def __str__(self) -> str:
        cells = (f"{count}/{of}" for count, of in (self.played, self.notes, self.judged))
        mark = "" if self.right else " (!)"
        wasted = f"{self.wasted} of {self.answered + self.wasted}"
        return f"| {self.name}{mark} | {' | '.join(cells)} | {wasted} | {self.told[:150]} |"


def play(name: str, folder: Path) -> Row:
    """Play, and judge, through one endpoint."""
    with serving(MANNERS[name]) as (url, zoo):
        (folder / "chairs.yaml").write_text(SCENE)
        replicates = REPLICATES.get(name, 1)
        (folder / "study.yaml").write_text(STUDY % (replicates, url))
        result = run(load(folder / "study.yaml"), runs=folder / "runs", setup=Setup(ray="off"))
        told = list(result.notices) + ([result.stopped] if result.stopped else [])
        tables = result.folder.tables
        told += [row["failure"] for row in tables.read("trials").to_pylist() if row["failure"]]
        acts = [
            act["kind"] for turn in tables.read("turns").to_pylist() for act in turn["acts"] or ()
        ]
        judged, verdicts = (0, 0), 0
        if result.done:
            scored = score(result.folder, ["attribution"], Judges("odd", plants=0))
            counts = [(n, n - missing) for n, missing, _ in scored.measures.values()]
            judged = (sum(read for _, read in counts), sum(n for n, _ in counts))
            verdicts = scored.asked - scored.failed
            told += [scored.stopped] if scored.stopped else []
        answered = sum(not row["error"] for row in tables.read("calls").to_pylist())
    return Row(
        name,
        (result.done, 2 * replicates),
        (acts.count("note"), 4 * replicates),
        judged,
        zoo.count - answered - verdicts,
        answered + verdicts,
        next(iter(told), ""),
    )


def main() -> int:
    os.environ.setdefault("OPENAI_API_KEY", "none")
    print("| the endpoint | played | notes | judged | wasted | told |")
    print("|---|---|---|---|---|---|")
    rows = []
    for name in MANNERS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(play(name, Path(folder)))
        print(rows[-1], flush=True)
    wrong = [row.name for row in rows if not row.right]
    heard, of = next(row.notes for row in rows if row.name == "ignores schemas")
    print(f"\nnotes of an author through an endpoint that ignores schemas: {heard} of {of}")
    print(f"\n{len(rows)} endpoints, {len(rows) - len(wrong)} as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
