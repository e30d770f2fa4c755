"""Batches: requests that are sent many in one file, and answered within a day at a lower price.

The endpoint needs OpenAI's files and batches. A request waits here until no other has come for a
moment, because the scenes of a host then all wait for replies, and all their requests go as one
batch. So a scene advances one call a batch, and thousands of scenes advance together.

A batch is paid for when it is sent. So its requests are recorded before that, with a name that the
endpoint keeps as well, and its id afterwards. A later session finds the batch again, by its id or,
if the process was killed in between, by its name, and asks for nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import openai
import orjson
from openai.types import Batch

from improv.errors import EndpointError, ErrorKind, ModelError
from improv.models.endpoint import (
    client_options,
    on_loopback,
    public_address,
    trusted_certificates,
)
from improv.models.redaction import Redactor
from improv.models.reply_json import parse_json
from improv.records import Json
from improv.study.address import Address
from improv.study.model_spec import Model

T = TypeVar("T")

MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000
"""The most requests and bytes in the file of one batch: OpenAI's limits, which are 50,000 and 200
MB, and a little room."""
_QUIET = 0.5
"""Seconds without a new request after which what waits is sent."""
_POLL = (0.25, 30.0)
"""Seconds between two looks at a batch, at first and at most."""
_POLL_GROWTH = 1.5
_WEATHER = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)
"""Errors of a look at a batch that another look may not meet. The batch itself goes on."""
_LONGEST_BATCH = 36 * 3600.0
"""Seconds after which a batch is given up. The endpoint ends one after a day."""
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_FULL = frozenset({"token_limit_exceeded", "rate_limit_exceeded"})
"""Codes of a refusal that only says that too much waits at the endpoint already."""
_NAME = "improv"
"""The key of a batch's metadata that holds its name."""
_LONGEST_LINE = 4_000_000
"""Bytes of one answer in an output file."""


class SentBatch(Protocol):
    """A batch that was sent, or was about to be."""

    @property
    def name(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def requests(self) -> tuple[str, ...]:
        """The ids of the requests in it."""

    @property
    def id(self) -> str:
        """Its id, "" if the process died before the endpoint gave it one."""


class BatchRecord(Protocol):
    """Where batches are recorded. Every method may raise OSError."""

    def sending(self, name: str, endpoint: str, requests: tuple[str, ...]) -> None:
        """Record a batch before it is sent."""

    def sent(self, name: str, id: str) -> None:
        """Record the id that the endpoint gave to a batch."""

    def earlier(self) -> Iterable[SentBatch]:
        """Return the batches that other hosts of the run recorded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint answered to one request: a status, and a JSON body."""

    status: int
    body: Json


@dataclass(slots=True)
class _Waiting:
    """A request that waits for its answer."""

    id: str
    line: bytes
    answer: asyncio.Future[Answer]


_UNANSWERED = Answer(503, {"error": {"message": "the batch was over before it came to this"}})
"""What stands for an answer that a batch does not hold: another batch may."""


class _NoRoom(Exception):
    """A batch that was refused because too much waits at the endpoint already."""


class Batches:
    """The batches of one model at one endpoint, for the requests to one path.

    `client` reaches the endpoint. `record` keeps what was sent. `halted` ends every wait.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        path: str,
        *,
        record: BatchRecord,
        redactor: Redactor,
        halted: asyncio.Event,
        quiet: float = _QUIET,
        poll: tuple[float, float] = _POLL,
    ) -> None:
        self._client = client
        self._path = path
        self._record = record
        self._redactor = redactor
        self._halted = halted
        self._quiet = quiet
        self._poll = poll
        self._endpoint = public_address(str(client.base_url).rstrip("/"))
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._arrived = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._collector: asyncio.Task[None] | None = None
        self._earlier: dict[str, SentBatch] | None = None
        self._open: dict[str, tuple[int, int]] = {}
        """Batch → its requests, and how many of them the endpoint has answered."""
        self._answers: dict[str, asyncio.Task[dict[str, Answer]]] = {}
        """Of each batch of an earlier session that is waited for: its answers by request."""

    async def send(self, key: str, body: bytes, *, again: int = 0) -> Answer:
        """Send a request with the next batch and return its answer.

        `key` names the request, and `again` counts its earlier attempts: a request that an earlier
        session sent is not sent again, its answer is waited for. Raises ModelError of kind HALTED
        if calls are halted, EndpointError if the endpoint takes no batches, BatchError if the batch
        ended without an answer, and the errors of the openai client.
        """
        request = _request_id(key, body, again)
        if (batch := self._requests_of_earlier().pop(request, None)) is not None:
            answers = await self._or_halted(self._earlier_answers(batch))
            if request in answers:
                return answers[request]
            # The batch was never made, or it was over before it came to this request.
        line = orjson.dumps({"custom_id": request, "method": "POST", "url": f"/v1{self._path}"})
        # The body is JSON already: it is put in as it is.
        line = line[:-1] + b',"body":' + body + b"}\n"
        if len(line) > MAX_BYTES:
            what = f"a request of {len(line):,} bytes fits into no batch"
            raise ModelError(what, kind=ErrorKind("status 413"))
        waiting = _Waiting(request, line, asyncio.get_running_loop().create_future())
        if self._waiting and (
            len(self._waiting) >= MAX_REQUESTS or self._bytes + len(line) > MAX_BYTES
        ):
            self._send_waiting()
        self._waiting.append(waiting)
        self._bytes += len(line)
        self._arrived += 1
        if self._collector is None or self._collector.done():
            self._collector = asyncio.create_task(self._collect())
        return await self._or_halted(waiting.answer)

    def has_sent(self, key: str, body: bytes) -> bool:
        """Return whether an earlier session sent this request."""
        return _request_id(key, body, 0) in self._requests_of_earlier()

    @property
    def standing(self) -> tuple[int, int, int]:
        """How many batches are waited for, their requests, and how many of these are answered."""
        counts = [*self._open.values()]
        return len(counts), sum(n for n, _ in counts), sum(done for _, done in counts)

    async def close(self) -> None:
        """End every wait. What was sent goes on at the endpoint."""
        tasks = [*self._tasks, *self._answers.values()]
        tasks += [self._collector] if self._collector is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self._client.close()

    # -- sending ---------------------------------------------------------------------------

    async def _collect(self) -> None:
        """Send what waits once no request has come for a moment."""
        seen = -1
        while seen != self._arrived:
            seen = self._arrived
            await asyncio.sleep(self._quiet)
        self._send_waiting()

    def _send_waiting(self) -> None:
        requests, self._waiting, self._bytes = self._waiting, [], 0
        if requests and not self._halted.is_set():
            task = asyncio.create_task(self._play(requests))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _play(self, requests: list[_Waiting]) -> None:
        """Send a batch and hand out its answers."""
        try:
            answers = await self._answers_of(requests)
        except Exception as error:
            # Any error is that of every request of the batch; their scenes know what to do.
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request in requests:
            if not request.answer.done():
                request.answer.set_result(answers.get(request.id, _UNANSWERED))

    async def _answers_of(self, requests: list[_Waiting]) -> dict[str, Answer]:
        """Send requests as one batch, or as several one after the other if the endpoint has no room
        for so many, and return their answers."""
        while True:
            try:
                return await self._finished(await self._send_batch(requests))
            except _NoRoom:
                if len(requests) > 1:
                    half = len(requests) // 2
                    answers = await self._answers_of(requests[:half])
                    return answers | await self._answers_of(requests[half:])
                await asyncio.sleep(self._poll[1])

    async def _send_batch(self, requests: list[_Waiting]) -> Batch:
        content = b"".join(request.line for request in requests)
        name = hashlib.blake2b(content, digest_size=16).hexdigest()
        ids = tuple(request.id for request in requests)
        self._record.sending(name, self._endpoint, ids)
        try:
            file = await self._client.files.create(file=("batch.jsonl", content), purpose="batch")
        except openai.APIStatusError as e:
            if e.status_code in (404, 405, 501):
                what = f"{self._endpoint} takes no batches (it answered {e.status_code} to a file)"
                raise EndpointError(f"{what}: play without --batch", kind=ErrorKind.MODEL) from None
            raise
        batch = await self._client.batches.create(
            input_file_id=file.id,
            endpoint=f"/v1{self._path}",  # type: ignore[arg-type]  # one of two of its literals
            completion_window="24h",
            metadata={_NAME: name},
        )
        self._record.sent(name, batch.id)
        return batch

    # -- waiting ---------------------------------------------------------------------------

    async def _finished(self, batch: Batch) -> dict[str, Answer]:
        """Wait until a batch is over and return its answers. Raises ModelError if it failed."""
        try:
            batch = await self._over(batch)
        finally:
            self._open.pop(batch.id, None)
        if batch.status == "failed":
            raise self._refusal(batch)
        answers: dict[str, Answer] = {}
        # Later files win: an output is worth more than an error about the same request.
        for file in (batch.error_file_id, batch.output_file_id):
            if file:
                answers |= {request: answer async for request, answer in self._answers_in(file)}
        if batch.status == "cancelled" and not answers:
            what = f"batch {batch.id} was cancelled at {self._endpoint}"
            raise ModelError(what, kind=ErrorKind.HALTED)
        return answers

    async def _over(self, batch: Batch) -> Batch:
        """Look at a batch until it is over, and return it."""
        pause, now = self._poll[0], asyncio.get_running_loop().time
        end = now() + _LONGEST_BATCH
        while batch.status not in _OVER:
            self._open[batch.id] = _counts(batch)
            await asyncio.sleep(pause)
            pause = min(pause * _POLL_GROWTH, self._poll[1])
            try:
                batch = await self._client.batches.retrieve(batch.id)
            except _WEATHER:
                if now() > end:
                    raise
        return batch

    async def _answers_in(self, file: str) -> AsyncIterator[tuple[str, Answer]]:
        """Yield the answers in an output file. A line that cannot be read is left out: its request
        has no answer."""
        async with self._client.files.with_streaming_response.content(file) as response:
            async for line in _lines(response.iter_bytes()):
                with contextlib.suppress(ValueError):
                    yield _read_answer(self._redactor.in_json(parse_json(line)))

    def _refusal(self, batch: Batch) -> Exception:
        """Return the error of a batch that the endpoint refused as a whole."""
        errors = (batch.errors.data if batch.errors else None) or []
        said = self._redactor("; ".join(e.message for e in errors if e.message))
        if any(e.code in _FULL for e in errors):
            return _NoRoom(said)
        what = f"{self._endpoint} refused a batch: {said[:300] or 'it gave no reason'}"
        return EndpointError(what, kind=ErrorKind.MODEL)

    async def _or_halted(self, answer: asyncio.Future[T]) -> T:
        """Wait for an answer. Raises ModelError as soon as calls are halted."""
        halted = asyncio.ensure_future(self._halted.wait())
        waits: set[asyncio.Future[Any]] = {answer, halted}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            halted.cancel()
        if answer.done():
            return answer.result()
        answer.cancel()
        raise ModelError("the run was stopped", kind=ErrorKind.HALTED)

    # -- earlier sessions ------------------------------------------------------------------

    def _requests_of_earlier(self) -> dict[str, SentBatch]:
        """Return the batch of each request that earlier sessions sent and that was not asked for
        since."""
        if self._earlier is None:
            self._earlier = {
                request: batch
                for batch in self._record.earlier()
                if batch.endpoint == self._endpoint
                for request in batch.requests
            }
        return self._earlier

    def _earlier_answers(self, batch: SentBatch) -> asyncio.Future[dict[str, Answer]]:
        """Return the task that waits for a batch of an earlier session. All its requests share
        it."""
        if batch.name not in self._answers:
            self._answers[batch.name] = asyncio.create_task(self._found_again(batch))
        # A scene that is cancelled must not end the wait of the others.
        return asyncio.shield(self._answers[batch.name])

    async def _found_again(self, batch: SentBatch) -> dict[str, Answer]:
        """Return the answers of a batch of an earlier session; none if it was never made, or if it
        failed as a whole."""
        found = await self._find(batch)
        if found is None:
            return {}
        try:
            return await self._finished(found)
        except (ModelError, _NoRoom):
            return {}

    async def _find(self, batch: SentBatch) -> Batch | None:
        """Return what the endpoint knows of a batch, None if it knows nothing."""
        if batch.id:
            with contextlib.suppress(openai.NotFoundError):
                return await self._client.batches.retrieve(batch.id)
            return None
        # The process died before the id was recorded: all batches are looked through by name.
        async for found in self._client.batches.list(limit=100):
            if (found.metadata or {}).get(_NAME) == batch.name:
                return found
        return None


def batch_client(address: Address, model: Model) -> openai.AsyncOpenAI:
    """Return a client for the files and batches of a model. The address was agreed to. Raises
    EndpointError as `client_options` does."""
    http = openai.DefaultAioHttpClient(
        verify=trusted_certificates(),
        follow_redirects=False,
        trust_env=not on_loopback(address.host),  # for proxies, which are for other machines
    )
    return openai.AsyncOpenAI(http_client=http, **client_options(address, model))


def _request_id(key: str, body: bytes, again: int) -> str:
    """Return the name of a request in its batch. The same call of another session has the same."""
    return hashlib.blake2b(b"%s\n%d\n%s" % (key.encode(), again, body), digest_size=16).hexdigest()


def _counts(batch: Batch) -> tuple[int, int]:
    """Return a batch's requests, and how many are answered; 0 where the endpoint does not say."""
    counts = batch.request_counts
    total, *answered = (getattr(counts, name, 0) for name in ("total", "completed", "failed"))
    return total or 0, sum(n or 0 for n in answered)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of a file that arrives in pieces; leave out lines that are too long."""
    rest = b""
    skipping = False
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line and not skipping:
                yield line
            skipping = False
        if len(rest) > _LONGEST_LINE:
            rest, skipping = b"", True
    if rest and not skipping:
        yield rest


def _read_answer(row: Any) -> tuple[str, Answer]:
    """Return the request and the answer in a line of an output file. Raises ValueError."""
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        raise ValueError("a line without custom_id")
    response, error = row.get("response"), row.get("error")
    if isinstance(response, dict) and isinstance(response.get("body"), dict):
        status = response.get("status_code")
        return row["custom_id"], Answer(status if type(status) is int else 200, response["body"])
    if isinstance(error, dict):
        # Of requests that were not answered in time, and of those that the endpoint lost.
        return row["custom_id"], Answer(503, {"error": error})
    raise ValueError("a line without an answer")
