"""The transport: sends the attempts of a call through the gate, and reads the responses.

An attempt is one HTTP request. Only the openai client repeats attempts, by its own rules. Each
attempt passes the gate, its reply is read whole and parsed, and its status tells the gate how busy
the endpoint is. Addresses, keys and error messages are in `endpoint`.

The first attempt of a call is nearly always the last one. It is sent by aiohttp directly, because
the client prepares and checks each attempt again. CPU of the whole program per call, measured three
times by benchmarks/overhead.py on two busy cores: 1.1, 0.8 and 1.2 ms; if every attempt goes
through the client's `post`: 3.4, 3.2 and 2.8 ms (openai 3.52, httpx2 2.16).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from improv.errors import EndpointError, ErrorKind, ModelError
from improv.models.endpoint import (
    SERVER_ROUTES,
    connection_dropped,
    has_proxy,
    on_loopback,
    public_address,
    server_root,
    trusted_certificates,
)
from improv.models.gate import Gate
from improv.models.manners import refuses_form
from improv.models.redaction import Redactor
from improv.models.refusal import (
    LONGEST_WAIT,
    STOPS,
    asked_wait,
    concerns_crowd,
    error_bytes,
    error_inside,
    lacks_choice,
    why_stop,
)
from improv.models.reply_body import read_body, read_plainly
from improv.models.reply_json import parse_json
from improv.models.tally import AttemptKind
from improv.records import Json
from improv.study.address import Address

MOST_LIMITED = 100
"""429s that a call waits out, at most. Further ones use up its retries, so it ends some time."""


@dataclass(slots=True)
class Trip:
    """The attempts of one call: how each ended, and the seconds that they waited at the gate.

    `first` is the error of a first attempt that failed, until the client takes it.
    """

    ends: list[str] = field(default_factory=list)
    waited: float = 0.0
    limited: int = 0
    """How many 429s were waited out."""
    first: httpx2.Response | Exception | None = None

    @property
    def retried(self) -> tuple[str, ...]:
        return tuple(self.ends[:-1])


_TRIP: ContextVar[Trip] = ContextVar("trip")
Answer = tuple[int, Mapping[str, str], bytes]
"""The status of a response, its headers, and its whole body."""
_REPLY = "improv"
"""The key in a response's extensions for its parsed reply."""


@dataclass(frozen=True, slots=True)
class Template:
    """The part that is the same in all requests to one path: address, headers and timeout."""

    request: httpx2.Request
    url: str
    headers: dict[str, str]
    timeout: aiohttp.ClientTimeout

    @classmethod
    def from_request(cls, sent: httpx2.Request) -> Template:
        """Return the template of a request that the client has built and sent."""
        headers = dict(sent.headers.items()) | {_RETRIES: "0"}
        headers.pop("content-length", None)
        connect = sent.extensions.get("timeout", {}).get("connect")
        # `_attempt` already limits the whole attempt; a second timer would only cost time.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        bare = httpx2.Request(sent.method, sent.url, headers=headers)
        return cls(bare, str(sent.url), headers, timeout)


class Wire(openai.DefaultAioHttpClient):
    """The HTTP client below the openai client, with the endpoint's gate before each attempt.

    A reply is read and parsed inside the attempt. So an attempt fails if its reply breaks off,
    takes too long or is no JSON, and the openai client repeats it like any other failed attempt.
    """

    def __init__(
        self,
        gate: Gate,
        redactor: Redactor,
        *,
        address: Address,
        timeout: float,
        connections: int,
        halted: asyncio.Event,
        patient: bool = True,
    ) -> None:
        super().__init__(
            verify=trusted_certificates(),
            trust_env=not on_loopback(address.host),  # for proxies, which are for other machines
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            # The user trusts this address, and not the one that it may redirect to.
            follow_redirects=False,
        )
        self._to_endpoint = gate
        root = server_root(address.base)
        own = () if root is None else tuple(root + route for route in SERVER_ROUTES)
        self._addresses = (f"{address.base}/", *own)
        self._redactor = redactor
        _LOG.addFilter(redactor)
        self._seconds = timeout
        self._connections = connections
        self._halted = halted
        self._patient = patient
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        """Make an attempt for the openai client, or give it the result of the first attempt."""
        trip = _TRIP.get()
        if trip.first is not None:
            first, trip.first = trip.first, None
            if isinstance(first, Exception):
                raise first
            return first
        for header in [h for h in request.headers if _describes_machine(h)]:
            del request.headers[header]

        async def answer() -> Answer:
            response = await super(Wire, self).send(request, stream=True, **options)
            return response.status_code, response.headers, await read_body(response)

        reply = await self._attempt(request, answer)
        if isinstance(reply, httpx2.Response):
            return reply
        return httpx2.Response(200, extensions={_REPLY: reply}, request=request)

    async def send_first(self, template: Template, content: bytes) -> Json | httpx2.Response:
        """Make a first attempt: send the request that the client would send, with aiohttp.

        Returns the reply, or the response with an error status. Raises the errors of `send`.
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
            return response.status, response.headers, await read_plainly(response)

        return await self._attempt(template.request, answer)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
        _LOG.removeFilter(self._redactor)
        await super().aclose()

    async def _attempt(
        self, request: httpx2.Request, answer: Callable[[], Awaitable[Answer]]
    ) -> Json | httpx2.Response:
        """Make one attempt; return the reply, or the response with an error status.

        A 429, or a 503 that says "busy", tells that the endpoint is well and has no room, so it is
        waited out here and uses up none of the client's retries. A model without retries has no
        patience either. If no wait helps, the response says so in the header STOPS.
        """
        trip, standing = _TRIP.get(), self._to_endpoint.standing
        while True:
            reply = await self._try(request, answer)
            if isinstance(reply, dict) or _load_kind(reply) != "limited":
                return reply
            asked = asked_wait(reply.headers, reply.content, time.time())
            refused_for = standing.refused_for(time.monotonic())
            if why := why_stop(asked, reply.content, refused_for):
                reply.headers[STOPS] = why
                reply.headers["x-should-retry"] = "false"
            if not self._waits_out(reply, trip):
                return reply
            delay = asked or _backoff(trip.limited)
            trip.limited += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._halted.wait()

    def _waits_out(self, reply: httpx2.Response, trip: Trip) -> bool:
        hopeless = reply.headers.get("x-should-retry") == "false"
        return not hopeless and self._patient and trip.limited < MOST_LIMITED

    async def _try(
        self, request: httpx2.Request, answer: Callable[[], Awaitable[Answer]]
    ) -> Json | httpx2.Response:
        if not str(request.url).startswith(self._addresses):
            # The last door: whoever built the request, it goes where it was agreed, or nowhere.
            what = f"{public_address(str(request.url))} is not where this client may send anything"
            raise EndpointError(what, kind=ErrorKind.UNTRUSTED)
        trip, gate, clock = _TRIP.get(), self._to_endpoint, time.perf_counter()
        self._check_halted(trip)
        async with gate as rank:
            trip.waited += time.perf_counter() - clock
            self._check_halted(trip)
            end, pause, crowded = "connection", 0.0, False
            kind: AttemptKind = "error"
            began = time.monotonic()
            number = gate.standing.begin(began)
            try:
                async with asyncio.timeout(self._seconds):
                    status, headers, content = await answer()
                reply = self._read_answer(status, headers, content, request)
                if isinstance(reply, httpx2.Response):
                    end, kind = str(reply.status_code), _load_kind(reply)
                    if kind == "limited":
                        crowded = concerns_crowd(reply.status_code, reply.content)
                        gate.standing.crowded |= crowded
                        asked = asked_wait(reply.headers, reply.content, time.time())
                        pause = min(asked or 0.0, LONGEST_WAIT)
                else:
                    end, kind = "ok", "ok"
                    gate.standing.answered.set()
                return reply
            except (TimeoutError, aiohttp.ClientConnectionError, httpx2.TimeoutException) as e:
                end = "connection" if connection_dropped(e) else "timeout"
                kind = "timeout" if end == "timeout" else "error"
                if isinstance(e, httpx2.TimeoutException):
                    raise
                if isinstance(e, aiohttp.ClientConnectionError):
                    # The client's own transport raises this error too.
                    raise httpx2.ConnectTimeout(str(e), request=request) from e
                raise httpx2.ReadTimeout("no whole reply", request=request) from None
            except aiohttp.ClientPayloadError as e:
                raise httpx2.ReadError(str(e), request=request) from e
            except httpx2.DecodingError:
                end = "unreadable"
                raise
            except aiohttp.ClientError:
                # aiohttp's message is left out, because it quotes the response.
                end = "unreadable"
                what = "answered what is no HTTP"
                raise httpx2.DecodingError(what, request=request) from None
            except ModelError as e:
                end = e.kind
                raise
            finally:
                trip.ends.append(end)
                ended = time.monotonic()
                served = gate.standing.end(number, kind, ended)
                seconds = ended - began if kind == "ok" else 0.0
                crowd = rank if crowded else 0
                gate.note(kind, pause, seconds, self._seconds, crowd=crowd, served=served)

    def _read_answer(
        self,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        request: httpx2.Request,
    ) -> Json | httpx2.Response:
        """Return the reply of an answer, or a response with the status of its error. Raises
        httpx2.DecodingError if it holds neither a reply nor an error."""
        if 200 <= status < 300:
            reply = _parse_reply(headers, content, request, self._redactor)
            inside = error_inside(reply)
            if inside is None:
                if lacks_choice(reply):
                    raise httpx2.DecodingError("answered a reply without a choice", request=request)
                return reply
            # The endpoint had sent its status before something behind it failed.
            status, content = inside, error_bytes(reply)
        return _error_response(status, headers, content, request, self._redactor)

    def _check_halted(self, trip: Trip) -> None:
        if self._halted.is_set():
            trip.ends.append(ErrorKind.HALTED)
            raise ModelError("the run was stopped", kind=ErrorKind.HALTED)


class Client(openai.AsyncOpenAI):
    """The openai client, with two changes: the first attempt of a call is sent without it, and a
    wait before a retry can be ended. A test compares its requests with those of the openai client.
    """

    def __init__(self, wire: Wire, halted: asyncio.Event, **options: Any) -> None:
        super().__init__(http_client=wire, **options)
        self._halted = halted
        self._wire = wire
        self._templates: dict[str, Template] = {}

    async def send_json(self, path: str, content: bytes, trip: Trip) -> Json:
        """Post `content` and return the JSON reply; record the attempts in `trip`.

        If the first attempt fails, the client gets its error as that of its own first attempt, and
        decides what follows. The first call to a path goes through the client as a whole, because
        later calls copy address and headers from its request. If there is a proxy, all calls do,
        because the client knows how to use it. Raises the errors of the openai client.
        """
        _TRIP.set(trip)
        if path in self._templates:
            try:
                first = await self._wire.send_first(self._templates[path], content)
            except Exception as e:
                # Any error: the client decides which ones it repeats.
                trip.first = e
            else:
                if isinstance(first, dict):
                    return first
                trip.first = first
        response = await self.post(
            path, content=content, cast_to=httpx2.Response, options={"headers": _HEADERS}
        )
        if path not in self._templates and not has_proxy(str(response.request.url)):
            self._templates[path] = Template.from_request(response.request)
        reply: Json = response.extensions[_REPLY]
        return reply

    async def get_json(self, url: str, trip: Trip) -> Json:
        """Get the JSON that is at an address. Raises the errors of the openai client."""
        _TRIP.set(trip)
        response = await self.get(url, cast_to=httpx2.Response)
        reply: Json = response.extensions[_REPLY]
        return reply

    async def _sleep_for_retry(self, **why: Any) -> None:
        """Wait before a retry as the client does, up to two minutes, or until calls are halted.

        This is the only private name of a library that improv uses, because no public one wakes a
        waiting client. A test fails if the library renames it.
        """
        waits = [super()._sleep_for_retry(**why), self._halted.wait()]
        tasks = [asyncio.ensure_future(w) for w in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _describes_machine(header: str) -> bool:
    """Return whether a header only describes this machine, as eight headers do, half of all."""
    return header.startswith("x-stainless-") and header != _RETRIES


_RETRIES = "x-stainless-retry-count"
_HEADERS = {"content-type": "application/json"}


def _parse_reply(
    headers: Mapping[str, str], content: bytes, request: httpx2.Request, redactor: Redactor
) -> Json:
    """Return a body parsed as a JSON object, without keys. Raises httpx2.DecodingError if it is
    none, which the client answers with a new attempt."""
    try:
        reply = parse_json(content)
    except ValueError:
        # Keys are taken out first: half of one would not be known again.
        kind = redactor(headers.get("content-type", "no content type"))[:100]
        start = redactor(content[:_QUOTED].decode("utf-8", "replace"))[:80]
        what = f"answered {kind} that is not JSON: {start!r}"
        raise httpx2.DecodingError(what, request=request) from None
    if not isinstance(reply, dict):
        raise httpx2.DecodingError("answered no object", request=request)
    redacted: Json = redactor.in_json(reply)
    return redacted


def _error_response(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    request: httpx2.Request,
    redactor: Redactor,
) -> httpx2.Response:
    """Return a response with an error status, without keys; forbid a retry if the account has no
    credit. Of its headers the client needs only what they say of retries."""
    kept_headers = {name: redactor(headers[name]) for name in _RETRY_HEADERS if name in headers}
    hopeless = status == 501 or (status >= 500 and refuses_form(content))
    if b"insufficient_quota" in content or hopeless:
        kept_headers["x-should-retry"] = "false"
    try:
        content = orjson.dumps(redactor.in_json(parse_json(content)))
    except ValueError:
        content = redactor(content[:_QUOTED].decode("utf-8", "replace")).encode()
    return httpx2.Response(status, headers=kept_headers, content=content, request=request)


_QUOTED = 4_000
"""Bytes of an answer that is no JSON of which anything is kept."""
_RETRY_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")
_LOG = logging.getLogger("httpx2")
"""Where httpx2 writes the reason of every status, as the endpoint says it."""


def _backoff(n: int) -> float:
    """Return the seconds before the attempt after `n` 429s that ask for no wait, as the client."""
    return min(0.5 * 2.0 ** min(n, 8), 8.0) * random.uniform(0.75, 1.0)


def _load_kind(reply: httpx2.Response) -> AttemptKind:
    """Return what an error says about the endpoint's load: "ok", "limited" or "error"."""
    status = reply.status_code
    if status == 429 or concerns_crowd(status, reply.content):
        return "limited"
    return "error" if status >= 500 or status in (408, 409) else "ok"
