"""One client for every model: a backend is a URL that speaks the OpenAI API, or a puppet.

Retries are the openai client's own and are only counted here. The request goes through the
client with a body of our own and the reply is read as JSON, because the typed
`chat.completions.create` walks the types of every message: three times the CPU of a whole turn.
Each attempt passes the endpoint's gate, so that one that waits to be repeated is in nobody's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
import orjson
from openai._models import FinalRequestOptions

from improv.errors import EndpointError, MachineError, ModelError
from improv.limiter import Gate, Kind
from improv.prompt import Prompt
from improv.puppet import answer
from improv.record import Call, Draw, Json
from improv.scene import Model, Puppet

MAX_REPLY_BYTES = 4_000_000

EMBEDDED_SAMPLING: Json = {
    "temperature": 0.8, "min_p": 0.05, "repeat_penalty": 1.1,
    "dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2,
}  # fmt: skip
"""What a small model needs to stay alive in a long scene; a scene's own settings go over it."""

STRUCTURED_SAMPLING: Json = {"temperature": 0.7, "min_p": 0.1}
"""The same for a reply by schema. A penalty on repetition would garble names and JSON's own
punctuation, which every reply repeats."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A draw that a scene needs: whose it is, which model makes it, and what that is shown."""

    draw: Draw
    model: Model
    prompt: Prompt
    schema: Json | None = None


Drawer = Callable[[Ask], Awaitable[Call]]
"""Answers a scene's asks: from the journal what was drawn before, from a model what was not."""


class Models:
    """Makes calls to every endpoint that a batch of scenes needs, with one client for each.

    `embedded_url` gives the address of the model that this machine serves, by its name or path.
    `new_gate` makes the gate of an endpoint at its first call; where there is none, `connections`
    attempts may be in flight to each.
    """

    def __init__(
        self,
        embedded_url: Callable[[str], Awaitable[str]] | None = None,
        connections: int = 64,
        new_gate: Callable[[str], Gate] | None = None,
    ) -> None:
        self._embedded_url = embedded_url
        self._connections = connections
        self._new_gate = new_gate
        self._clients: dict[tuple[str, str, float, int], _Client] = {}
        self._gates: dict[str, Gate] = {}
        self._urls: dict[str, str] = {}
        self._halted = asyncio.Event()

    async def complete(self, ask: Ask) -> Call:
        """Make the call. A call that fails for good comes back with `error` set, never raises."""
        body = request_body(ask)
        started = time.time()
        clock = time.perf_counter()
        trip = _Trip()
        found: Json = {}
        error = ""
        endpoint = "puppet"
        try:
            if ask.model.in_process:
                spec = ask.model.puppet or Puppet()
                if spec.latency:
                    await asyncio.sleep(spec.latency)
                found = answer(body, spec)
            else:
                url = await self.address(ask.model)
                endpoint = public(url)
                found = await self._post(url, ask.model, body, trip)
            reply, finish = _reply(found)
        except ModelError as e:
            reply, finish, error = "", "error", f"{e.kind}: {e}"
        except MachineError as e:
            # The model cannot be served here, to this call or any other.
            reply, finish, error = "", "error", f"model: {e}"
        usage = found.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return Call(
            draw=ask.draw,
            model=ask.model.model,
            endpoint=endpoint,
            mode=ask.prompt.mode,
            params=_params(body),
            blocks=ask.prompt.blocks,
            reply=reply,
            finish_reason=finish,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            cached_tokens=_cached(usage, found),
            started=started,
            latency=time.perf_counter() - clock - trip.waited,
            retries=len(trip.retried),
            error=error,
            waited=trip.waited,
            retried=trip.retried,
            served=_served(found),
        )

    async def address(self, model: Model) -> str:
        """Return the URL where `model` is served. Raises MachineError if none is known."""
        if not model.embedded:
            return remote_address(model)
        if model.model not in self._urls:
            if self._embedded_url is None:
                raise MachineError("the embedded model is not being served here")
            self._urls[model.model] = await self._embedded_url(model.model)
        return self._urls[model.model]

    def halt(self) -> None:
        """Send nothing more: what is on the wire may come, what would be repeated fails."""
        self._halted.set()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def _post(self, url: str, model: Model, body: Json, trip: _Trip) -> Json:
        path = "/chat/completions" if "messages" in body else "/completions"
        client = self._client(url, model)
        _TRIP.set(trip)
        try:
            return await client.send_json(path, orjson.dumps(body))
        except (openai.APIError, httpx2.HTTPError) as e:
            if model.embedded and _dropped(e):
                # Its server may have been started anew elsewhere since.
                self._urls.pop(model.model, None)
            raise _failure(e, url, model) from None

    def _client(self, url: str, model: Model) -> _Client:
        key = (url, model.api_key_env, model.timeout, model.retries)
        if key not in self._clients:
            secret = os.environ.get(model.api_key_env, "").strip()
            if not (secret.isascii() and secret.isprintable()):
                # Said without a word of it.
                what = f"the key in {model.api_key_env} holds characters that no key has"
                raise EndpointError(what, kind="key")
            if not secret:
                if urlsplit(url).hostname == "api.openai.com":
                    raise EndpointError(
                        f"no key: set {model.api_key_env}, or play the embedded model", kind="key"
                    )
                secret = "none"  # openai's client insists on one; local servers ignore it.
            limits = httpx2.Limits(
                max_connections=self._connections, max_keepalive_connections=self._connections
            )
            wire = _Wire(
                self._gate(url, model),
                secret,
                model.timeout,
                self._halted,
                limits=limits,
                # Whoever vouched for an address did not vouch for where it may point.
                follow_redirects=False,
            )
            self._clients[key] = _Client(
                self._halted,
                api_key=secret,
                base_url=url,
                timeout=httpx2.Timeout(model.timeout, connect=min(10.0, model.timeout)),
                max_retries=model.retries,
                http_client=wire,
            )
        return self._clients[key]

    def _gate(self, url: str, model: Model) -> Gate:
        endpoint = public(url)
        if endpoint not in self._gates:
            if self._new_gate is None or model.embedded:
                # What this machine serves has slots of its own, and refuses nobody.
                gate = Gate()
                gate.allow(self._connections)
                self._gates[endpoint] = gate
            else:
                self._gates[endpoint] = self._new_gate(endpoint)
        return self._gates[endpoint]


@dataclass(slots=True)
class _Trip:
    """What became of the attempts of one call: how each ended, and the seconds at the gate."""

    ends: list[str] = field(default_factory=list)
    waited: float = 0.0

    @property
    def retried(self) -> tuple[str, ...]:
        return tuple(self.ends[:-1])


_TRIP: ContextVar[_Trip] = ContextVar("trip")
_FOUND = "improv"


class _Wire(openai.DefaultAioHttpClient):
    """The openai client's own HTTP client, with the endpoint's gate before each attempt.

    A reply is read whole and understood here, inside an attempt: one that breaks off, takes too
    long or is no JSON is an attempt that failed, which the openai client then repeats as it
    repeats all others.
    """

    def __init__(
        self, gate: Gate, secret: str, timeout: float, halted: asyncio.Event, **options: Any
    ) -> None:
        super().__init__(**options)
        self._gate_in = gate
        # A key of a few characters ("none", "dummy") is no secret, and may be a word of a reply.
        self._secret = secret if len(secret) > _TELLING else ""
        self._patience = timeout
        self._halted = halted

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        trip, gate, clock = _TRIP.get(), self._gate_in, time.perf_counter()
        async with gate:
            trip.waited += time.perf_counter() - clock
            if self._halted.is_set():
                trip.ends.append("halted")
                raise ModelError("the run was stopped", kind="halted")
            end = "connection"
            kind: Kind = "error"
            try:
                async with asyncio.timeout(self._patience):
                    response = await super().send(request, stream=True, **options)
                    content = await _read(response)
                content = _without(self._secret, content)
                end, kind = str(response.status_code), _weather(response.status_code)
                if not response.is_success:
                    return _told(response, content, request)
                end = "unreadable"
                response.extensions[_FOUND] = _understood(response, content, request, self._secret)
                end, kind = "ok", "ok"
                return response
            except (TimeoutError, httpx2.TimeoutException) as e:
                end = "connection" if _dropped(e) else "timeout"
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
                gate.note(kind)


class _Client(openai.AsyncOpenAI):
    """The openai client, but that it builds the unchanging part of a request once for each path.

    Address and headers are the same for every draw; building them anew was a third of a call's
    CPU. What may differ, the body and the count of retries, is set each time. A test compares
    what this sends with what the client itself would.
    """

    def __init__(self, halted: asyncio.Event, **options: Any) -> None:
        super().__init__(**options)
        self._halted = halted
        self._templates: dict[str, tuple[httpx2.Request, httpx2.Headers]] = {}
        self._options: dict[str, FinalRequestOptions] = {}

    async def send_json(self, path: str, content: bytes) -> Json:
        """Do what `post` does with a body of our own, its options built once for each path."""
        if path not in self._options:
            self._options[path] = FinalRequestOptions.construct(
                method="post",
                url=path,
                headers=_HEADERS,
                # Never sent to this vendor, yet the client draws a new one for each call.
                idempotency_key="",
            )
        options = self._options[path].model_copy()
        options.content = content
        response = await self.request(httpx2.Response, options)
        found: Json = response.extensions[_FOUND]
        return found

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
        if options.url not in self._templates:
            whole = super()._build_request(options, retries_taken=retries_taken)
            kept = [(k, v) for k, v in whole.headers.raw if not _left_out(k.lower())]
            self._templates[options.url] = (whole, httpx2.Headers(kept))
        whole, fixed = self._templates[options.url]
        request = httpx2.Request(
            whole.method,
            whole.url,
            headers=fixed,
            # A stream, because for `content` the client works out its headers once more.
            stream=httpx2.ByteStream(options.content),
            extensions=whole.extensions,
        )
        request.headers.encoding = fixed.encoding
        request.headers["x-stainless-retry-count"] = str(retries_taken)
        request.read()
        return request


def _left_out(header: bytes) -> bool:
    """Whether a header is set each time, or only tells the vendor of this machine: the eight of
    those are half of all headers, and each is looked at again at every step of the way."""
    telling = header.startswith(b"x-stainless-") and header != b"x-stainless-raw-response"
    return telling or header == b"content-length"


def request_body(ask: Ask) -> Json:
    """Return the request's JSON: the prompt, the sampling, the draw's own seed."""
    model, prompt = ask.model, ask.prompt
    body: Json = {"model": model.model}
    if model.embedded:
        body |= EMBEDDED_SAMPLING if ask.schema is None else STRUCTURED_SAMPLING
    if prompt.mode == "chat":
        body["messages"] = prompt.messages
    else:
        body["prompt"] = prompt.text
    body["max_tokens"] = model.max_tokens
    if prompt.stop:
        body["stop"] = prompt.stop
    if model.temperature is not None:
        body["temperature"] = model.temperature
    if model.top_p is not None:
        body["top_p"] = model.top_p
    if model.seeded:
        body["seed"] = ask.draw.seed
    if ask.schema is not None:
        # llama.cpp reads `json_schema` on its completions route, and only there.
        if prompt.mode == "chat":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": ask.schema},
            }
        else:
            body["json_schema"] = ask.schema
    if model.puppet is not None or model.model == "puppet":
        # A puppet's spread over trials, and its counting of draws, hang on who is asking.
        body["user"] = ask.draw.key
    return body | model.extra


_HEADERS = {"x-stainless-raw-response": "stream", "content-type": "application/json"}
"""The first tells the client to leave the body unread: we read it, up to a limit."""


async def _read(response: httpx2.Response) -> bytes:
    """Read a reply's body, up to a limit."""
    chunks: list[bytes] = []
    size = 0
    try:
        # Below httpx2's own iterators, which cost more than all else that is done to a reply.
        plain = "content-encoding" not in response.headers
        body = response.stream if plain else response.aiter_bytes()
        assert isinstance(body, AsyncIterable)
        async for chunk in body:
            size += len(chunk)
            if size > MAX_REPLY_BYTES:
                what = f"a reply of more than {MAX_REPLY_BYTES // 1_000_000} MB"
                raise ModelError(what, kind="endless")
            chunks.append(chunk)
    finally:
        await response.aclose()
    return b"".join(chunks)


def _reply(found: Json) -> tuple[str, str]:
    """Read text and finish reason from a chat or completions reply. Raises ModelError."""
    try:
        choice = found["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
    except (KeyError, IndexError, TypeError):
        what = "the reply has no choices" + (
            f": {str(found['error'])[:200]}" if "error" in found else ""
        )
        raise ModelError(what, kind="unreadable") from None
    if text is not None and not isinstance(text, str):
        raise ModelError("the reply's text is not text", kind="unreadable")
    return text or "", str(choice.get("finish_reason") or "")


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
    response: httpx2.Response, content: bytes, request: httpx2.Request, secret: str
) -> Json:
    """Read a reply as a JSON object. Raises httpx2.DecodingError, which is tried again."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        kind = response.headers.get("content-type", "no content type")
        kind = kind.replace(secret, "[key]")[:100] if secret else kind[:100]
        start = content[:80].decode("utf-8", "replace")
        what = f"answered {kind} that is not JSON: {start!r}"
        raise httpx2.DecodingError(what, request=request) from None
    if not isinstance(found, dict):
        raise httpx2.DecodingError("answered no object", request=request)
    return found


def _told(response: httpx2.Response, content: bytes, request: httpx2.Request) -> httpx2.Response:
    """Return an error with its text; one that says that no credit is left is not tried again."""
    headers = {k: v for k, v in response.headers.items() if k not in _OF_THE_WIRE}
    if b"insufficient_quota" in content:
        headers["x-should-retry"] = "false"
    return httpx2.Response(response.status_code, headers=headers, content=content, request=request)


_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
_TELLING = 5
"""Characters that a key has more than."""
_MOST = 2**31 - 1


def _weather(status: int) -> Kind:
    """Return what a status says of an endpoint's load: "ok", "limited" or "error"."""
    if status == 429:
        return "limited"
    return "error" if status >= 500 or status in (408, 409) else "ok"


def _failure(error: Exception, url: str, model: Model) -> ModelError:
    where = public(url)
    if isinstance(error.__cause__, httpx2.DecodingError):
        return ModelError(f"{where} {error.__cause__}", kind="unreadable")
    if _dropped(error):
        return ModelError(f"{where} broke the connection", kind="connection")
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelError(f"{where} did not answer within {model.timeout:g} s", kind="timeout")
    if isinstance(error, openai.APIStatusError):
        status, code = error.status_code, str(getattr(error, "code", "") or "")[:60]
        what = f"{where} answered {status}" + (f" ({code})" if code else "")
        if code == "insufficient_quota" or status == 402:
            return EndpointError(f"{what}: the account has no credit left", kind="quota")
        if status in (401, 403):
            return EndpointError(f"{what}: check {model.api_key_env}", kind="key")
        if status == 404:
            return EndpointError(f"{what}: is '{model.model}' served there?", kind="model")
        if 300 <= status < 400:
            what += ", a redirection, which is not followed: give the address that it leads to"
        detail = _detail(error)
        return ModelError(f"{what}{detail}", kind=f"status {status}")
    return ModelError(f"{where} broke the connection", kind="connection")


def _dropped(error: BaseException | None) -> bool:
    """Whether nobody listened, or a connection was closed on us: aiohttp's transport reports
    both as timeouts, and only the cause of the cause tells."""
    while error is not None:
        if isinstance(error, ConnectionError) or type(error).__name__ == "ServerDisconnectedError":
            return True
        error = error.__cause__
    return False


def _detail(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return f": {str(message)[:300]}" if message else ""


def remote_address(model: Model) -> str:
    """Return the URL of a model that this machine does not serve itself."""
    return model.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


@functools.lru_cache(maxsize=256)
def public(url: str) -> str:
    """Return an address that may be shown: never its user, password or query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _params(body: Json) -> str:
    """Return the request without its prompt, as JSON: what a draw was sampled with."""
    shown = {
        k: v for k, v in body.items() if k not in ("messages", "prompt", "user", "json_schema")
    }
    if isinstance(shown.get("response_format"), dict):
        shown["response_format"] = "json_schema"
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()


def _count(value: Any) -> int | None:
    counts = isinstance(value, int) and not isinstance(value, bool)
    return value if counts and 0 <= value <= _MOST else None  # what a table's column can hold


def _served(found: Json) -> str:
    """Return which model an endpoint says that it was, and its fingerprint where it has one."""
    told = (found.get("model"), found.get("system_fingerprint"))
    return " ".join(t for t in told if isinstance(t, str))[:200]


def _cached(usage: Json, found: Json) -> int | None:
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        return _count(details.get("cached_tokens"))
    timings = found.get("timings")
    return _count(timings.get("cache_n")) if isinstance(timings, dict) else None
