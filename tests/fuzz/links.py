"""Deep links of the viewer: addresses of its rooms over good and damaged runs, and what the guard
before them is asked."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from improv.errors import ImprovError
from improv.files import shipped
from tests.fuzz import run_folders
from tests.fuzz.bend import ODD_TEXTS
from tests.fuzz.outcome import Kind, Words
from tests.support.ui import components, in_room
from ui.guard import Guard
from ui.shared import address, permission

_values = st.one_of(
    st.sampled_from(
        ["x", "y", "0", "1", "3", "7", "main", "last", "in chat", "as script", "Ana", "all"]
    ),
    st.sampled_from(
        ["habit:never_asks", "1e9", "-1", "99999999999", "x/0", "0@2", "Ana→Bo", "nan"]
    ),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=12),
)
_rooms = st.sampled_from(sorted(address.ROOMS))
_query = _rooms.flatmap(
    lambda room: st.fixed_dictionaries(
        {
            "room": st.just(room),
            "run": st.sampled_from(["x", "x", "x", "y", "", "nobody", "../x"]),
            "query": st.dictionaries(st.sampled_from(address.PARTS[room]), _values, max_size=4),
            "next": st.dictionaries(st.sampled_from(address.PARTS[room]), _values, max_size=2),
            "damages": st.just([]) | st.just([]) | run_folders.damages,
        }
    )
)
_raw = st.one_of(
    st.text(max_size=20), st.sampled_from(["localhost:8501", "[::1", "a@b", "x:99999", "::"])
)
_guard = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["/", "/scene", "/_stcore/stream", "//_stcore/x", "/%00"]) | _raw,
        "type": st.sampled_from(["http", "websocket"]),
        "method": st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "ODD"]),
        "headers": st.lists(
            st.tuples(
                st.sampled_from(
                    ["host", "origin", "sec-websocket-protocol", "x-improv-token", "x"]
                ),
                _raw,
            ).map(list),
            max_size=4,
        ),
    }
)
links = st.one_of(_query, _query, _guard)


def try_link(words: Words, place: Path, shared: Path) -> None:
    if "path" in words:
        asyncio.run(_try_guard(words))
    else:
        _try_room(words, place, shared)


def _try_room(words: Words, place: Path, shared: Path) -> None:
    """Draw a room at an address, and then at another one."""
    parts = {**words["query"], "run": words["run"]} if "run" in address.PARTS[words["room"]] else {}
    _try_address(words["room"], parts)
    runs = shared
    if words["damages"]:
        runs = place / "runs"
        shutil.copytree(shared / "y", runs / "x")
        for damage in words["damages"]:
            run_folders.damage_run(runs / "x", damage)
    os.environ["IMPROV_RUNS"] = str(runs)
    os.environ[permission.TOKEN] = "a-token"
    app = AppTest.from_file(str(shipped("ui") / "app.py"), default_timeout=60)
    app._bidi_component_manager = components()
    for queries in (parts, {**parts, **words["next"]}):
        for name, value in queries.items():
            app.query_params[name] = value.encode("utf-8", "replace").decode()
        _well(in_room(app, words["room"]).run())


def _try_address(room: str, parts: Words) -> None:
    """A link that improv writes leads where it was meant to."""
    if all(value.isprintable() for value in parts.values()):
        query = parse_qs(urlsplit(address.address(room, **parts)).query)
        assert query == {name: [value] for name, value in parts.items() if value}


def _well(app: AppTest) -> None:
    for shown in app.exception:
        raise AssertionError(f"the room shows {shown.message} {shown.stack_trace}"[:3000])
    if app.error:
        raise ImprovError(" ".join(str(e.value) for e in app.error) or "?")


@functools.cache
def _guarded() -> Guard:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a room"})
        else:
            await send({"type": "websocket.accept", "headers": []})

    return Guard(answer, ["localhost", "127.0.0.1"])


async def _try_guard(words: Words) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(n.encode(), v.encode("latin-1", "replace")) for n, v in words["headers"]]
    scope = {"type": words["type"], "path": words["path"], "headers": headers}
    await _guarded()({**scope, "method": words["method"], "query_string": b""}, receive, send)
    assert sent, "the guard has answered nothing"
    if sent[0].get("status") == 403 or sent[0].get("code") == 1008:
        raise ImprovError(str(sent[-1].get("body") or sent[-1].get("reason")))


def prepare(shared: Path) -> None:
    run_folders.prepare(shared / "made")
    for name in ("x", "y"):
        shutil.copytree(shared / "made" / "busy.run", shared / name)


LINK = Kind(
    "link",
    "links into the viewer's rooms, over whole and damaged runs",
    links,
    try_link,
    prepare,
    quick=5,
)
