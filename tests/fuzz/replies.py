"""Replies of an endpoint: statuses, headers, bodies, usage, logprobs, streams and errors, through
the real transport from a server on loopback."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import zlib
from pathlib import Path

from hypothesis import strategies as st

from improv.folder import Folder
from improv.models.client import Models
from improv.models.given_text import read_scored
from improv.models.request import Ask, Prompt
from improv.records import Call
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.journal import Journal, Journaled
from improv.storage.schemas import records_table
from improv.study.loader import load
from tests.fuzz.bend import (
    ODD_TEXTS,
    as_text,
    bend,
    bend_bytes,
    byte_bends,
    codings,
    data_bends,
    encoded,
    odd,
)
from tests.fuzz.outcome import Kind, Words, command
from tests.support.weather import SCENE, RawServer, ask

_said = st.one_of(
    st.sampled_from(
        ["BO: Then we wait.", "(aside) No.", '{"note_to": "Ana", "note": "Wait."}', "ANA:"]
    ),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=60),
    odd,
)
_logprobs = st.fixed_dictionaries(
    {"tokens": st.just(["BO", ": No"]) | odd, "token_logprobs": st.just([None, -1.5]) | odd},
    optional={"content": odd},
)
_choice = st.one_of(
    st.fixed_dictionaries(
        {
            "index": st.just(0),
            "message": st.fixed_dictionaries({"role": st.just("assistant"), "content": _said}),
        },
        optional={
            "finish_reason": st.sampled_from(["stop", "length", None, 5, "x" * 99]),
            "logprobs": odd,
        },
    ),
    st.fixed_dictionaries({"text": st.just("Then we wait.") | _said, "logprobs": _logprobs}),
)
_count = st.sampled_from([0, 1, 7, -1, 2**31, 2**63, 1e9, "7", None, True, [], 0.5])
_usage = st.fixed_dictionaries(
    {"prompt_tokens": _count, "completion_tokens": _count},
    optional={"prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": _count}) | odd},
)
_body = st.one_of(
    st.fixed_dictionaries(
        {"choices": st.lists(_choice, min_size=1, max_size=2), "usage": _usage},
        optional={
            "model": _said,
            "system_fingerprint": odd,
            "error": odd,
            "timings": odd,
            "id": odd,
        },
    ),
    st.fixed_dictionaries(
        {"error": st.fixed_dictionaries({"message": _said, "code": odd, "type": odd})}
    ),
)
_header = st.sampled_from(
    [
        *("Retry-After: 0", "Retry-After: x", "retry-after-ms: nan", "x-should-retry: true"),
        *(
            "Content-Encoding: gzip",
            "Content-Encoding: br",
            "Content-Encoding: deflate",
            "Set-Cookie: a=b",
        ),
        *(
            "Location: http://127.0.0.1:9/",
            "Content-Type: \x7f",
            "X: " + "y" * 9000,
            "Connection: upgrade",
        ),
        *(
            "Transfer-Encoding: gzip",
            "Content-Length: 5",
            "X-Ünï: é",
            "Age",
            ": empty",
            "A: b\r\n c: d",
        ),
    ]
)
_statuses = ["200 OK"] * 9 + [
    "201 Made",
    "204 No",
    "307 Go",
    "400 Bad",
    "401 Key",
    "403 No",
    "404 No",
]
_statuses += [
    "408 Late",
    "409 Busy",
    "413 Big",
    "422 No",
    "429 Slow",
    "500 Oh",
    "503 Busy",
    "999 Odd",
]
_statuses += ["100 Continue", "101 Switch", "", "0 x", "abc"]
replies = st.fixed_dictionaries(
    {
        "body": _body,
        "bends": data_bends,
        "coding": codings,
        "bytes": byte_bends | st.just([]),
        "status": st.sampled_from(_statuses),
        "headers": st.lists(_header, max_size=2) | st.just([]),
        "framing": st.sampled_from(
            ["length"] * 4 + ["chunked", "short", "long", "none", "sse", "gzip", "bomb"]
        ),
        "wire": byte_bends | st.just([]) | st.just([]),
        "how": st.sampled_from(["call", "call", "call", "logprob", "scene"]),
    }
)


class _Mouth:
    """A server that answers one sentence to everybody, until it is given another."""

    def __init__(self) -> None:
        self.reply = b""
        self.server = RawServer(lambda number, request, send: self.reply).__enter__()


@functools.cache
def _mouth() -> _Mouth:
    return _Mouth()


def wire_bytes(words: Words) -> bytes:
    """Return the whole reply as it goes over the wire."""
    text = as_text(bend(words["body"], words["bends"]), "json")
    body = bend_bytes(encoded(text, words["coding"]), words["bytes"])
    headers, framing = list(words["headers"]), words["framing"]
    if framing in ("gzip", "bomb"):
        body = gzip.compress(body if framing == "gzip" else body + b" " * 60_000_000)
        headers.append("Content-Encoding: gzip")
    if "Content-Encoding: deflate" in headers:
        body = zlib.compress(body)
    if framing == "sse":
        body = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    if framing == "chunked":
        middle = len(body) // 2
        parts = [p for p in (body[:middle], body[middle:]) if p]
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
        headers.append("Transfer-Encoding: chunked")
    elif framing != "none":
        size = {"short": len(body) // 2, "long": len(body) + 9}.get(framing, len(body))
        headers.append(f"Content-Length: {size}")
    head = "\r\n".join([f"HTTP/1.1 {words['status']}", "Connection: close", *headers])
    return bend_bytes(head.encode() + b"\r\n\r\n" + body, words["wire"])


def try_reply(words: Words, place: Path, shared: Path) -> None:
    mouth = _mouth()
    mouth.reply = wire_bytes(words)
    if words["how"] == "scene":
        _try_scene(mouth.server.url, place)
        return
    call = asyncio.run(_call(mouth.server.url, scored=words["how"] == "logprob"))
    if words["how"] == "logprob":
        read_scored(call.reply)
    _keep(call, place)


async def _call(url: str, *, scored: bool) -> Call:
    models = Models()
    call = ask(url, timeout=1.0, retries=0)
    if scored:
        prompt = Prompt("script", ("b1",), text="BO: No.\nANA: Then")
        call = Ask(call.draw, call.model, prompt, given=" we wait.")
    try:
        return await models.complete(call)
    finally:
        await models.close()


def _keep(call: Call, place: Path) -> None:
    """Write a call into a journal and a table, which must hold it as it is."""
    records_table("calls", [call])
    (place / "journal").mkdir()
    folder = Folder(place, "journal")
    journal = Journal(folder, "host.jsonl")
    journal.append(call, [])
    journal.close()
    assert list(Journaled(folder).refresh().calls()) == [call], "the journal holds another call"


def _try_scene(url: str, place: Path) -> None:
    """Play a scene with a live author in which every reply is this one."""
    file = place / "scene.yaml"
    model = {"model": "puppet", "base_url": url, "timeout": 1.0, "retries": 0}
    more = {"author": {"live": True, "may": ["note", "cue", "end"]}, "model": model}
    file.write_text(SCENE + "".join(f"{k}: {json.dumps(v)}\n" for k, v in more.items()))
    run(load(file), runs=place / "runs", name="x", setup=Setup(ray="off", trusted=()))
    shown = [p.name for p in (place / "runs").iterdir()]
    command("show", f"{shown[0]}/0", "--prompts", "--notes", "--runs", str(place / "runs"))


REPLY = Kind("reply", "replies of endpoints", replies, try_reply, quick=15)
