"""OpenAI's files and batches, as the puppet's server offers them.

A batch is answered as a whole when its time has come. Files and batches are kept in memory, and
are lost when the server ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from improv.records import Json, digest

_PAGE = 20
"""Batches on a page of the list, if the request does not say how many."""


@dataclass
class _Batch:
    id: str
    requests: bytes
    made: float
    metadata: Json
    status: str = "validating"
    output: str | None = None
    errors: Json | None = None
    counts: dict[str, int] = field(default_factory=dict)


class BatchDesk:
    """Takes files and batches. `answer` answers one request of a batch.

    A batch takes `seconds`; with infinity it never ends. `refusal` is the code with which batches
    fail as a whole, "" for none, and `largest` the number of requests above which a batch fails
    because there is no room. With `cancelled` batches end as if somebody had cancelled them.
    """

    def __init__(self, answer: Callable[[Json], tuple[int, Json]], seconds: float) -> None:
        self._answer = answer
        self.seconds = seconds
        self.refusal = ""
        self.largest: int | None = None
        self.cancelled = False
        self.outage = 0
        """How many of the next looks at a batch are answered with status 503."""
        self.sizes: list[int] = []
        """How many requests each batch had."""
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    @property
    def made(self) -> int:
        """The number of batches."""
        return len(self._batches)

    def add_foreign(self, name: str) -> None:
        """Add a batch of another client, which has the given name and no requests."""
        self._add(b"", {"improv": name})

    async def handle(self, request: web.BaseRequest, method: str, path: str) -> web.Response:
        """Answer a request to /v1/files or /v1/batches."""
        match method, path.removeprefix("/v1/").split("/"):
            case "POST", ["files"]:
                return await self._keep_file(request)
            case "GET", ["files", id, "content"] if id in self._files:
                return web.Response(body=self._files[id])
            case "POST", ["batches"]:
                return self._make(orjson.loads(await request.read()))
            case "GET", ["batches"]:
                return self._list(request)
            case "GET", ["batches", _] if self.outage > 0:
                self.outage -= 1
                return _json({"error": {"message": "unavailable"}}, 503)
            case "GET", ["batches", id] if id in self._batches:
                return _json(self._shown(self._batches[id]))
            case "POST", ["batches", id, "cancel"] if id in self._batches:
                self._batches[id].status = "cancelled"
                return _json(self._shown(self._batches[id]))
        return _json({"error": {"message": f"there is no {method} {path} here"}}, 404)

    async def _keep_file(self, request: web.BaseRequest) -> web.Response:
        form = await request.post()
        file = form.get("file")
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            return _json({"error": {"message": "a file with the purpose 'batch' is needed"}}, 400)
        return _json({"id": self._add_file(file.file.read()), "object": "file"})

    def _add_file(self, content: bytes) -> str:
        id = f"file-{len(self._files):06d}"
        self._files[id] = content
        return id

    def _make(self, body: Any) -> web.Response:
        content = self._files.get(body.get("input_file_id"))
        if content is None:
            return _json({"error": {"message": "there is no such file"}}, 400)
        self.sizes.append(content.count(b"\n"))
        return _json(self._shown(self._add(content, body.get("metadata") or {})))

    def _add(self, requests: bytes, metadata: Json) -> _Batch:
        id = f"batch_{digest(str(len(self._batches)))}"
        batch = self._batches[id] = _Batch(id, requests, time.monotonic(), metadata)
        batch.counts = {"total": requests.count(b"\n"), "completed": 0, "failed": 0}
        return batch

    def _list(self, request: web.BaseRequest) -> web.Response:
        newest = [*reversed(self._batches.values())]
        ids = [batch.id for batch in newest]
        after = request.query.get("after", "")
        first = ids.index(after) + 1 if after in ids else 0
        size = int(request.query.get("limit", _PAGE))
        page = [self._shown(batch) for batch in newest[first : first + size]]
        return _json({"object": "list", "data": page, "has_more": first + size < len(newest)})

    def _shown(self, batch: _Batch) -> Json:
        """Return a batch as the API shows it; finish it if its time has come."""
        due = time.monotonic() - batch.made >= self.seconds
        if batch.status in ("validating", "in_progress"):
            batch.status = "in_progress"
            if due:
                self._finish(batch)
        return {
            "id": batch.id,
            "object": "batch",
            "status": batch.status,
            "output_file_id": batch.output,
            "error_file_id": None,
            "errors": batch.errors,
            "metadata": batch.metadata,
            "request_counts": batch.counts,
        }

    def _finish(self, batch: _Batch) -> None:
        size = batch.requests.count(b"\n")
        if self.cancelled:
            batch.status = "cancelled"
            return
        full = self.largest is not None and size > self.largest
        if self.refusal or full:
            code = "token_limit_exceeded" if full else self.refusal
            batch.status = "failed"
            batch.errors = {"data": [{"code": code, "message": f"the batch is refused: {code}"}]}
            return
        lines = []
        for line in batch.requests.splitlines():
            row = orjson.loads(line)
            status, body = self._answer(row["body"])
            response = {"status_code": status, "request_id": batch.id, "body": body}
            lines.append({"custom_id": row["custom_id"], "response": response, "error": None})
        # The API promises no order.
        lines.sort(key=lambda line: digest(line["custom_id"]))
        batch.output = self._add_file(b"\n".join(map(orjson.dumps, lines)) + b"\n")
        batch.status = "completed"
        batch.counts = {"total": size, "completed": size, "failed": 0}


def _json(data: Any, status: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json"}
    return web.Response(body=orjson.dumps(data), status=status, headers=headers)
