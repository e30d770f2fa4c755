"""How a request travels: the openai client, the endpoint's gate, what comes back and what does not.

An attempt is one HTTP request. Attempts are repeated by the openai client alone, by its own rules;
here each of them passes the gate, is read whole and understood, and its status tells the gate how
busy the endpoint is. Addresses, keys and the words for what went wrong are in `endpoint`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx2
import openai
import orjson
from openai._models import FinalRequestOptions
from openai._vendor.httpx_aiohttp.transport import (
    AiohttpResponseStream,
    AiohttpTransport,
    map_aiohttp_exceptions,
)

from improv.endpoint import dropped, trusted_certificates
from improv.errors import ErrorKind, ModelError
from improv.gate import Gate
from improv.rate_limiter import Kind
from improv.record import Json

MAX_REPLY_BYTES = 4_000_000


@dataclass(slots=True)
class Trip:
    """What became of the attempts of one call: how each ended, and the seconds at the gate."""

    ends: list[str] = field(default_factory=list)
    waited: float = 0.0

    @property
    def retried(self) -> tuple[str, ...]:
        return tuple(self.ends[:-1])


TRIP: ContextVar[Trip] = ContextVar("trip")
Answer = tuple[int, Mapping[str, str], bytes]
"""The status of a response, its headers, and its body, read whole."""
_FOUND = "improv"
_FIRST: ContextVar[httpx2.Response | Exception | None] = ContextVar("first", default=None)
"""What became of a call's first attempt, for the client to go on from."""


@dataclass(frozen=True, slots=True)
class Way:
    """The unchanging part of every request to one path, as httpx2 has it and as aiohttp does.

    `fixed` are its headers but for those that are set each time; `headers` are all of them.
    """

    request: httpx2.Request
    fixed: httpx2.Headers
    url: str
    headers: dict[str, str]
    patience: aiohttp.ClientTimeout


class Wire(openai.DefaultAioHttpClient):
    """The openai client's own HTTP client, with the endpoint's gate before each attempt.

    A reply is read whole and understood here, inside an attempt: one that breaks off, takes too
    long or is no JSON is an attempt that failed, which the openai client then repeats as it
    repeats all others.
    """

    def __init__(
        self, gate: Gate, secret: str, timeout: float, halted: asyncio.Event, **options: Any
    ) -> None:
        super().__init__(verify=trusted_certificates(), **options)
        self._gate_in = gate
        # A key of a few characters ("none", "dummy") is no secret, and may be a word of a reply.
        self._secret = secret if len(secret) > _TELLING else ""
        self._patience = timeout
        self._halted = halted

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **_: Any
    ) -> httpx2.Response:
        """Make an attempt as the openai client asks for it."""

        async def answer() -> Answer:
            # Below the client's redirects, cookies and sign-in, of which we use none.
            transport = self._transport_for_url(request.url)
            response = await transport.handle_async_request(request)
            return response.status_code, response.headers, await _read(response)

        found = await self._attempt(request, answer)
        if isinstance(found, httpx2.Response):
            return found
        return httpx2.Response(200, extensions={_FOUND: found}, request=request)

    async def go(self, way: Way, content: bytes) -> Json | httpx2.Response | None:
        """Make a first attempt: the same request, by the same connections, but without what
        httpx2 makes of it on the way there and back, which is a sixth of a call's CPU.

        Returns the reply, or the response that holds an error; None where a proxy is in the way,
        which only the client knows how to pass. Raises what `send` raises.
        """
        transport = self._transport_for_url(way.request.url)
        if not isinstance(transport, AiohttpTransport) or transport.proxy is not None:
            return None
        if not isinstance(transport.client, aiohttp.ClientSession):
            transport.client = transport.get_client()
        session = transport.client

        async def answer() -> Answer:
            with map_aiohttp_exceptions():
                response = await session.post(
                    way.url,
                    data=content,
                    headers=way.headers,
                    allow_redirects=False,
                    auto_decompress=False,
                    timeout=way.patience,
                )
                return response.status, response.headers, await _read_plainly(response)

        return await self._attempt(way.request, answer)

    async def _attempt(
        self, request: httpx2.Request, answer: Callable[[], Awaitable[Answer]]
    ) -> Json | httpx2.Response:
        """Make one attempt; return the reply, or the response that holds an error."""
        trip, gate, clock = TRIP.get(), self._gate_in, time.perf_counter()
        self._go_on(trip)
        async with gate:
            trip.waited += time.perf_counter() - clock
            self._go_on(trip)
            end, pause = "connection", 0.0
            kind: Kind = "error"
            try:
                async with asyncio.timeout(self._patience):
                    status, headers, content = await answer()
                content = _without(self._secret, content)
                end, kind = str(status), _weather(status)
                pause = _pause(headers) if kind == "limited" else 0.0
                if not 200 <= status < 300:
                    return _told(status, headers, content, request)
                end = "unreadable"
                found = _understood(headers, content, request, self._secret)
                end, kind = "ok", "ok"
                return found
            except (TimeoutError, httpx2.TimeoutException) as e:
                end = "connection" if dropped(e) else "timeout"
                if isinstance(e, httpx2.TimeoutException):
                    raise
                raise httpx2.ReadTimeout("no whole reply", request=request) from None
            except httpx2.DecodingError:
                end = "unreadable"
                raise
            except aiohttp.ClientError:
                # Its own words are left out: they quote what came, which may be anything.
                end = "unreadable"
                what = "answered what is no HTTP"
                raise httpx2.DecodingError(what, request=request) from None
            except ModelError as e:
                end = e.kind
                raise
            finally:
                trip.ends.append(end)
                gate.note(kind, pause)

    def _go_on(self, trip: Trip) -> None:
        if self._halted.is_set():
            trip.ends.append(ErrorKind.HALTED)
            raise ModelError("the run was stopped", kind=ErrorKind.HALTED)


class Client(openai.AsyncOpenAI):
    """The openai client, but that it builds the unchanging part of a request once for each path.

    Address and headers are the same for every draw; building them anew was a third of a call's
    CPU. What may differ, the body and the count of retries, is set each time. A test compares
    what this sends with what the client itself would.
    """

    def __init__(self, wire: Wire, halted: asyncio.Event, **options: Any) -> None:
        super().__init__(http_client=wire, **options)
        self._halted = halted
        self._wire = wire
        self._ways: dict[str, Way] = {}

    async def send_json(self, path: str, content: bytes) -> Json:
        """Do what `post` does with a body of our own.

        The first attempt, which is nearly always the last, goes out without the client's
        bookkeeping, which is a tenth of a call's CPU. One that did not go well is handed to the
        client as what became of its own first attempt: what follows is its decision.
        """
        if path in self._ways:
            try:
                found = await self._wire.go(self._ways[path], content)
            except Exception as e:
                # Whatever it is, the client knows what is tried again and what is not.
                _FIRST.set(e)
            else:
                if isinstance(found, dict):
                    return found
                _FIRST.set(found)
        options = FinalRequestOptions.construct(
            method="post",
            url=path,
            headers=_HEADERS,
            content=content,
            # Never sent to this vendor, yet the client draws a new one for each call.
            idempotency_key="",
        )
        response = await self.request(httpx2.Response, options)
        reply: Json = response.extensions[_FOUND]
        return reply

    async def _send_request(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        first = _FIRST.get()
        if first is None:
            return await super()._send_request(request, **how)
        _FIRST.set(None)
        if isinstance(first, Exception):
            raise first
        return first

    async def _sleep_for_retry(self, **why: Any) -> None:
        """Wait as the client does, which may be two minutes, but not once the run is stopped."""
        waits = [super()._sleep_for_retry(**why), self._halted.wait()]
        tasks = [asyncio.ensure_future(w) for w in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _build_request(self, options: Any, *, retries_taken: int = 0) -> httpx2.Request:
        if options.url not in self._ways:
            whole = super()._build_request(options, retries_taken=retries_taken)
            kept = [(k, v) for k, v in whole.headers.raw if not _left_out(k.lower())]
            self._ways[options.url] = _way(whole, httpx2.Headers(kept))
        way = self._ways[options.url]
        whole, fixed = way.request, way.fixed
        request = httpx2.Request(
            whole.method,
            whole.url,
            headers=fixed,
            # A stream, because for `content` the client works out its headers once more.
            stream=httpx2.ByteStream(options.content),
            extensions=whole.extensions,
        )
        request.headers.encoding = fixed.encoding
        request.headers[_RETRIES] = str(retries_taken)
        request.read()
        return request


def _way(whole: httpx2.Request, fixed: httpx2.Headers) -> Way:
    connect = whole.extensions.get("timeout", {}).get("connect")
    return Way(
        whole,
        fixed,
        str(whole.url),
        dict(fixed.items()) | {_RETRIES: "0"},
        # Of the whole attempt there is a clock already; a second would be wound for each.
        aiohttp.ClientTimeout(total=None, sock_connect=connect),
    )


def _left_out(header: bytes) -> bool:
    """Whether a header is set each time, or only tells the vendor of this machine: the eight of
    those are half of all headers, and each is looked at again at every step of the way."""
    telling = header.startswith(b"x-stainless-") and header != b"x-stainless-raw-response"
    return telling or header == b"content-length"


_RETRIES = "x-stainless-retry-count"
_HEADERS = {"x-stainless-raw-response": "stream", "content-type": "application/json"}
"""The first tells the client to leave the body unread: we read it, up to a limit."""


async def _read(response: httpx2.Response) -> bytes:
    """Read a reply's body, up to a limit."""
    try:
        # Below httpx2's own iterators, which cost more than all else that is done to a reply.
        plain = "content-encoding" not in response.headers
        body = response.stream if plain else response.aiter_bytes()
        assert isinstance(body, AsyncIterable)
        return await _gathered(body)
    finally:
        await response.aclose()


async def _read_plainly(response: aiohttp.ClientResponse) -> bytes:
    """Read a body as `_read` does, without httpx2 where nothing is packed."""
    if "content-encoding" in response.headers:
        stream = AiohttpResponseStream(response)
        return await _read(httpx2.Response(200, headers=response.raw_headers, stream=stream))
    try:
        return await _gathered(response.content.iter_any())
    finally:
        response.release()


async def _gathered(body: AsyncIterable[bytes]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            what = f"a reply of more than {MAX_REPLY_BYTES // 1_000_000} MB"
            raise ModelError(what, kind=ErrorKind.ENDLESS)
        chunks.append(chunk)
    return b"".join(chunks)


def _without(secret: str, content: bytes) -> bytes:
    """Return what an endpoint answered with the key that it was sent taken out."""
    if not secret:
        return content
    if b"\\u" in content or b"\\/" in content:
        with contextlib.suppress(orjson.JSONDecodeError):
            # Written so that each character looks only one way.
            content = orjson.dumps(orjson.loads(content))
    return content.replace(secret.encode(), b"[key]")


def _understood(
    headers: Mapping[str, str], content: bytes, request: httpx2.Request, secret: str
) -> Json:
    """Read a reply as a JSON object. Raises httpx2.DecodingError, which is tried again."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        kind = headers.get("content-type", "no content type")
        kind = kind.replace(secret, "[key]")[:100] if secret else kind[:100]
        start = content[:80].decode("utf-8", "replace")
        what = f"answered {kind} that is not JSON: {start!r}"
        raise httpx2.DecodingError(what, request=request) from None
    if not isinstance(found, dict):
        raise httpx2.DecodingError("answered no object", request=request)
    return found


def _told(
    status: int, headers: Mapping[str, str], content: bytes, request: httpx2.Request
) -> httpx2.Response:
    """Return an error with its text; one that says that no credit is left is not tried again."""
    kept = {k.lower(): v for k, v in headers.items() if k.lower() not in _OF_THE_WIRE}
    if b"insufficient_quota" in content:
        kept["x-should-retry"] = "false"
    return httpx2.Response(status, headers=kept, content=content, request=request)


_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
_TELLING = 5
"""Characters that a key has more than."""


def _pause(headers: Mapping[str, str]) -> float:
    """Return the seconds that a 429 asks us to wait; a date is left to the openai client."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            return min(max(float(headers.get(name, "")) * unit, 0.0), 120.0)
    return 0.0


def _weather(status: int) -> Kind:
    """Return what a status says of an endpoint's load: "ok", "limited" or "error"."""
    if status == 429:
        return "limited"
    return "error" if status >= 500 or status in (408, 409) else "ok"
