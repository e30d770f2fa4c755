"""How a request travels: the openai client, the endpoint's gate, what comes back and what does not.

An attempt is one HTTP request. Attempts are repeated by the openai client alone, by its own rules;
here each of them passes the gate, is read whole and understood, and its status tells the gate how
busy the endpoint is. Addresses, keys and the words for what went wrong are in `endpoint`.

A call's first attempt, which is nearly always its last, goes out by aiohttp itself, because the
client prepares, checks and unpacks each attempt anew. CPU per call of the whole program, as
benchmarks/overhead.py measures it, three times in turn on two busy cores: 1.1, .8 and 1.2 ms;
3.4, 3.2 and 2.8 ms where every attempt is the client's `post` (openai 3.52, httpx2 2.16).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from improv.errors import ErrorKind, ModelError
from improv.models.endpoint import connection_dropped, has_proxy, trusted_certificates
from improv.models.gate import Gate
from improv.models.rate_limiter import AttemptKind
from improv.records import Json

_MAX_REPLY_BYTES = 4_000_000


@dataclass(slots=True)
class Trip:
    """What became of the attempts of one call: how each ended, and the seconds at the gate.

    `first` is what became of a first attempt that did not go well, until the client has it.
    """

    ends: list[str] = field(default_factory=list)
    waited: float = 0.0
    first: httpx2.Response | Exception | None = None

    @property
    def retried(self) -> tuple[str, ...]:
        return tuple(self.ends[:-1])


_TRIP: ContextVar[Trip] = ContextVar("trip")
Answer = tuple[int, Mapping[str, str], bytes]
"""The status of a response, its headers, and its body, read whole."""
_REPLY = "improv"
"""Where a response holds the reply that was read out of it."""


@dataclass(frozen=True, slots=True)
class Template:
    """The unchanging part of every request to one path: its address, and all of its headers."""

    request: httpx2.Request
    url: str
    headers: dict[str, str]
    timeout: aiohttp.ClientTimeout

    @classmethod
    def of(cls, sent: httpx2.Request) -> Template:
        """Take it from a request that the client has built and sent."""
        headers = dict(sent.headers.items()) | {_RETRIES: "0"}
        headers.pop("content-length", None)
        connect = sent.extensions.get("timeout", {}).get("connect")
        # Of the whole attempt there is a clock already; a second would be wound for each.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        bare = httpx2.Request(sent.method, sent.url, headers=headers)
        return cls(bare, str(sent.url), headers, timeout)


class Wire(openai.DefaultAioHttpClient):
    """The openai client's own HTTP client, with the endpoint's gate before each attempt.

    A reply is read whole and understood here, inside an attempt: one that breaks off, takes too
    long or is no JSON is an attempt that failed, which the openai client then repeats as it
    repeats all others.
    """

    def __init__(
        self,
        gate: Gate,
        secret: str,
        *,
        timeout: float,
        connections: int,
        halted: asyncio.Event,
    ) -> None:
        super().__init__(
            verify=trusted_certificates(),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            # Whoever vouched for an address did not vouch for where it may point.
            follow_redirects=False,
        )
        self._to_endpoint = gate
        # A key of a few characters ("none", "dummy") is no secret, and may be a word of a reply.
        self._secret = secret if len(secret) > _TELLING else ""
        self._seconds = timeout
        self._connections = connections
        self._halted = halted
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        """Make an attempt as the openai client asks for it, or give it the first one's end."""
        trip = _TRIP.get()
        if trip.first is not None:
            first, trip.first = trip.first, None
            if isinstance(first, Exception):
                raise first
            return first
        for header in [h for h in request.headers if _of_this_machine(h)]:
            del request.headers[header]

        async def answer() -> Answer:
            response = await super(Wire, self).send(request, stream=True, **options)
            return response.status_code, response.headers, await _read(response)

        reply = await self._attempt(request, answer)
        if isinstance(reply, httpx2.Response):
            return reply
        return httpx2.Response(200, extensions={_REPLY: reply}, request=request)

    async def send_first(self, template: Template, content: bytes) -> Json | httpx2.Response:
        """Make a first attempt: the request that the client would send, by aiohttp itself.

        Returns the reply, or the response that holds an error. Raises what `send` raises.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=trusted_certificates(), limit=self._connections)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        session = self._session

        async def answer() -> Answer:
            response = await session.post(
                template.url,
                data=content,
                headers=template.headers,
                allow_redirects=False,
                timeout=template.timeout,
            )
            return response.status, response.headers, await _read_plainly(response)

        return await self._attempt(template.request, answer)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
        await super().aclose()

    async def _attempt(
        self, request: httpx2.Request, answer: Callable[[], Awaitable[Answer]]
    ) -> Json | httpx2.Response:
        """Make one attempt; return the reply, or the response that holds an error."""
        trip, gate, clock = _TRIP.get(), self._to_endpoint, time.perf_counter()
        self._go_on(trip)
        async with gate:
            trip.waited += time.perf_counter() - clock
            self._go_on(trip)
            end, pause = "connection", 0.0
            kind: AttemptKind = "error"
            try:
                async with asyncio.timeout(self._seconds):
                    status, headers, content = await answer()
                content = _without(self._secret, content)
                end, kind = str(status), _weather(status)
                pause = _pause(headers) if kind == "limited" else 0.0
                if not 200 <= status < 300:
                    return _told(status, headers, content, request)
                end = "unreadable"
                reply = _understood(headers, content, request, self._secret)
                end, kind = "ok", "ok"
                return reply
            except (TimeoutError, aiohttp.ClientConnectionError, httpx2.TimeoutException) as e:
                end = "connection" if connection_dropped(e) else "timeout"
                if isinstance(e, httpx2.TimeoutException):
                    raise
                if isinstance(e, aiohttp.ClientConnectionError):
                    # What the client's own transport makes of it.
                    raise httpx2.ConnectTimeout(str(e), request=request) from e
                raise httpx2.ReadTimeout("no whole reply", request=request) from None
            except aiohttp.ClientPayloadError as e:
                raise httpx2.ReadError(str(e), request=request) from e
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
    """The openai client, but that a call's first attempt goes without it, and that it can be
    stopped. A test compares what this sends with what the client itself would."""

    def __init__(self, wire: Wire, halted: asyncio.Event, **options: Any) -> None:
        super().__init__(http_client=wire, **options)
        self._halted = halted
        self._wire = wire
        self._templates: dict[str, Template] = {}

    async def send_json(self, path: str, content: bytes, trip: Trip) -> Json:
        """Do what `post` does with a body of our own, and note in `trip` what came of it.

        A first attempt that did not go well is handed to the client as what became of its own:
        what follows is its decision. So is the first call to a path, from whose request the
        others take address and headers; and all of them where a proxy is in the way, which the
        client knows how to pass.
        """
        _TRIP.set(trip)
        if path in self._templates:
            try:
                first = await self._wire.send_first(self._templates[path], content)
            except Exception as e:
                # Whatever it is, the client knows what is tried again and what is not.
                trip.first = e
            else:
                if isinstance(first, dict):
                    return first
                trip.first = first
        response = await self.post(
            path, content=content, cast_to=httpx2.Response, options={"headers": _HEADERS}
        )
        if path not in self._templates and not has_proxy(str(response.request.url)):
            self._templates[path] = Template.of(response.request)
        reply: Json = response.extensions[_REPLY]
        return reply

    async def _sleep_for_retry(self, **why: Any) -> None:
        """Wait as the client does, which may be two minutes, but not once the run is stopped.

        The one private name of a library that improv uses: nothing public wakes a client that
        waits. A test says so where it goes by another name.
        """
        waits = [super()._sleep_for_retry(**why), self._halted.wait()]
        tasks = [asyncio.ensure_future(w) for w in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _of_this_machine(header: str) -> bool:
    """Whether a header only tells the vendor of this machine: eight of them, half of all."""
    return header.startswith("x-stainless-") and header != _RETRIES


_RETRIES = "x-stainless-retry-count"
_HEADERS = {"content-type": "application/json"}


class _Chunks(httpx2.AsyncByteStream):
    """A body of aiohttp's, for httpx2 to unpack."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_chunked(_CHUNK):
            yield chunk

    async def aclose(self) -> None:
        self._response.release()


_CHUNK = 16 * 1024
"""Bytes that are unpacked at once: packed, a few may be a thousand times as many."""


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
        stream = _Chunks(response)
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
        if size > _MAX_REPLY_BYTES:
            what = f"a reply of more than {_MAX_REPLY_BYTES // 1_000_000} MB"
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


def _weather(status: int) -> AttemptKind:
    """Return what a status says of an endpoint's load: "ok", "limited" or "error"."""
    if status == 429:
        return "limited"
    return "error" if status >= 500 or status in (408, 409) else "ok"
