"""The puppet as an HTTP server on loopback: the OpenAI API with latency, a rate cap and errors.

The replies come from `player`; this module delays, limits, fails and counts them. `PuppetServer`
runs in a thread of its own, for tests. `serve_puppet` blocks, for a process of its own
(`python -m improv.models.puppet.server --port 8000`).
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Self

import orjson
from aiohttp import web

from improv.errors import MachineError
from improv.models.puppet.batch_desk import BatchDesk
from improv.models.puppet.player import ShownRequest, answer, count_tokens, read_request
from improv.models.puppet.schema_filler import Dice
from improv.output import clean_output
from improv.records import Json
from improv.study.puppet_spec import Puppet

_HOST = "127.0.0.1"
_LATE_SECONDS = 5.0
"""Additional seconds of a "late" reply."""
_ERROR_KINDS = ("quota", "hang", "drop", "html", "broken", "empty", "endless", "late")
"""The errors that are not just an HTTP status. "quota" is OpenAI's 429 for an empty account."""
_JSON_HEADERS = {"Content-Type": "application/json"}
_CACHED_THREADS = 4096
"""The number of threads whose last prompt the prefix cache holds."""


class PuppetServer:
    """An HTTP server for a puppet. As a context manager it runs in a thread of its own.

    `requests` counts all requests for a reply, and `answered` those that got a good one, which a
    provider would charge for. `asked` counts the answered ones by `user` (a draw's key), and
    `failed` the others by kind ("429", "hang", "rate", ...). `peak` is the maximum number in flight
    at once. `spec` may be replaced while the server runs. At most `requests_per_second` requests
    pass, in bursts of at most one second's worth; with None all pass. A batch takes
    `batch_seconds`.
    """

    def __init__(
        self,
        spec: Puppet | None = None,
        *,
        port: int = 0,
        requests_per_second: float | None = None,
        late: float = _LATE_SECONDS,
        batch_seconds: float = 0.2,
    ) -> None:
        self.spec = spec or Puppet()
        for kind in self.spec.errors:
            if kind not in _ERROR_KINDS and not (kind.isdecimal() and 400 <= int(kind) <= 599):
                raise ValueError(
                    f"'{kind}' is no error of a puppet: a status, or {', '.join(_ERROR_KINDS)}"
                )
        self.port = port
        self.late = late
        self.requests = self.answered = self.in_flight = self.peak = 0
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._cache = PrefixCache()
        self._bucket = TokenBucket(requests_per_second) if requests_per_second else None
        self.batches = BatchDesk(self._answer_in_batch, batch_seconds)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        return f"http://{_HOST}:{self.port}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start to listen, in a thread of its own. Raises MachineError if the port is taken."""
        listening = threading.Event()
        errors: list[MachineError] = []

        def serve() -> None:
            try:
                asyncio.run(self.run(listening.set))
            except MachineError as error:
                errors.append(error)
            finally:
                listening.set()

        self._thread = threading.Thread(target=serve, name="puppet", daemon=True)
        self._thread.start()
        listening.wait()
        if errors:
            raise errors[0]

    def stop(self) -> None:
        """Close all connections, also with requests in flight, and wait for the thread."""
        if self._loop is not None and self._closing is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._closing.set)
        if self._thread is not None:
            self._thread.join()

    async def run(self, listening: Callable[[], object]) -> None:
        """Serve until closed; call `listening` as soon as the address is known. Raises MachineError
        if the port is taken."""
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        # A handler is cancelled when its client disconnects. This ends hanging and endless replies.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.05)
        await runner.setup()
        try:
            try:
                site = web.TCPSite(runner, _HOST, self.port, backlog=4096)
                await site.start()
            except OSError as error:
                what = f"port {self.port} cannot be listened on ({error.strerror}): choose another"
                raise MachineError(what) from None
            self.port = runner.addresses[0][1]
            for number in (signal.SIGINT, signal.SIGTERM):
                if threading.current_thread() is threading.main_thread():
                    self._loop.add_signal_handler(number, self._closing.set)
            listening()
            await self._closing.wait()
        finally:
            await runner.cleanup()

    def stats(self) -> Json:
        return {
            "requests": self.requests,
            "answered": self.answered,
            "in_flight": self.in_flight,
            "peak": self.peak,
            "failed": self.failed,
            "asked": self.asked,
        }

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                return await self._complete(request, "messages")
            case "POST", "/v1/completions":
                return await self._complete(request, "prompt")
            case "GET", "/v1/models":
                model = {"id": "puppet", "object": "model", "created": 0, "owned_by": "improv"}
                return _json({"object": "list", "data": [model]})
            case "GET", "/health":
                return _json({"status": "ok"})
            case "GET", "/stats":
                return _json(self.stats())
            case method, path if path.startswith(("/v1/files", "/v1/batches")):
                return await self.batches.handle(request, method, path)
        return _error(404, f"there is no {request.method} {request.path} here", "not_found")

    async def _complete(self, request: web.BaseRequest, needs: str) -> web.StreamResponse:
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._reply(request, needs)
        finally:
            self.in_flight -= 1

    async def _reply(self, request: web.BaseRequest, needs: str) -> web.StreamResponse:
        arrived = time.monotonic()
        try:
            body = orjson.loads(await request.read())
            if not isinstance(body, dict) or body.get(needs) is None:
                raise ValueError(f"the request has no '{needs}'")
            if body.get("stream"):
                raise ValueError("a puppet does not stream")
            shown = read_request(body)
            reply = answer(body, self.spec)
        except (ValueError, TypeError, KeyError) as error:
            self.failed["400"] += 1
            return _error(400, f"unreadable request: {error}", None)
        if self._bucket and (wait := self._bucket.take(time.monotonic())):
            self.failed["rate"] += 1
            return _rate_limited(wait)
        self._seen[shown.key] += 1
        dice = Dice("error", shown.key, self._seen[shown.key])
        kind = _error_kind(self.spec, dice.roll("kind"))
        if kind is not None:
            self.failed[kind] += 1
            failed = await self._fail(kind, request, dice)
            if failed is not None:
                return failed
        if self.spec.latency:
            # Counted from the arrival, so that the latency includes our own work on the reply.
            await asyncio.sleep(arrived + self.spec.latency - time.monotonic())
        usage = reply["usage"]
        cached = self._cache.cached_tokens(shown, usage["prompt_tokens"])
        usage["prompt_tokens_details"]["cached_tokens"] = cached
        self.answered += 1
        self.asked[str(body.get("user") or "")] += 1
        return _json(reply)

    def _answer_in_batch(self, body: Json) -> tuple[int, Json]:
        """Answer a request of a batch: a status, and a body. Of the declared errors, those with a
        status are made."""
        self.requests += 1
        key = str(body.get("user") or "")
        try:
            shown, reply = read_request(body), answer(body, self.spec)
        except (ValueError, TypeError, KeyError) as error:
            self.failed["400"] += 1
            return 400, {"error": {"message": f"unreadable request: {error}"}}
        self._seen[shown.key] += 1
        kind = _error_kind(self.spec, Dice("error", shown.key, self._seen[shown.key]).roll("kind"))
        if kind is not None and kind.isdecimal():
            self.failed[kind] += 1
            message, code = _MESSAGES.get(kind, ("The server had an error. Try again.", None))
            return int(kind), {"error": {"message": message, "code": code}}
        self.answered += 1
        self.asked[key] += 1
        return 200, reply

    async def _fail(
        self, kind: str, request: web.BaseRequest, dice: Dice
    ) -> web.StreamResponse | None:
        """Fail as an endpoint fails. Returns None if a good reply follows."""
        match kind:
            case "late":
                await asyncio.sleep(self.late)
                return None
            case "hang":
                await _for_ever()
            case "drop":
                if request.transport is not None:
                    request.transport.close()
                await _for_ever()
            case "html":
                return web.Response(text=_HTML, content_type="text/html")
            case "broken":
                return web.Response(
                    body=b'{"id": "chatcmpl-1", "choices": [{"ind', headers=_JSON_HEADERS
                )
            case "empty":
                return web.Response(body=b"", headers=_JSON_HEADERS)
            case "endless":
                return await _endless(request)
            case "quota":
                return _no_credit(429)
            case "402":
                return _no_credit(402)
            case "429":
                return _rate_limited(0.05 + 0.95 * dice.roll("wait"))
        message, code = _MESSAGES.get(kind, ("The server had an error. Try again.", None))
        return _error(int(kind), message, code)


class TokenBucket:
    """A token bucket: `rate` tokens a second, and at most one second's worth at once."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.left = self.size = max(1.0, rate)
        self.at = -math.inf

    def take(self, now: float) -> float:
        """Take a token at `now` and return 0, or return the seconds until there is one."""
        self.left = min(self.size, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return (1 - self.left) / self.rate
        self.left -= 1
        return 0.0


class PrefixCache:
    """The prefix cache of an endpoint that keeps the last prompt of each thread."""

    def __init__(self, threads: int = _CACHED_THREADS) -> None:
        self._threads = threads
        self._last: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def cached_tokens(self, shown: ShownRequest, tokens: int) -> int:
        """Return how many tokens the prompt shares with the start of its thread's last prompt, and
        keep the prompt. `tokens` is the length of the prompt."""
        before, counted = self._last.pop(shown.thread, ("", 0))
        self._last[shown.thread] = (shown.prompt, tokens)
        if len(self._last) > self._threads:
            self._last.popitem(last=False)
        if shown.prompt.startswith(before):  # nearly all threads only grow
            return counted
        return count_tokens(before[: _prefix_length(before, shown.prompt)])


def serve_puppet(spec: Puppet | None = None, port: int = 0, **options: Any) -> None:
    """Write the address on one line, and serve until interrupted. Raises MachineError if the port
    is taken."""
    server = PuppetServer(spec, port=port, **options)

    def print_url() -> None:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()

    asyncio.run(server.run(print_url))


def main() -> None:
    """Read the command line of `python -m improv.models.puppet.server`."""
    clean_output()
    parser = argparse.ArgumentParser(
        prog="python -m improv.models.puppet.server", description=__doc__
    )
    parser.add_argument(
        "--port", type=int, default=0, help="the port to listen on; 0 takes a free one"
    )
    parser.add_argument("--spec", default="{}", help="the declared process, as JSON")
    parser.add_argument("--latency", type=float, help="seconds before each reply")
    parser.add_argument(
        "--requests-per-second", type=float, help="maximum rate; requests above it get status 429"
    )
    args = parser.parse_args()
    spec = Puppet.model_validate_json(args.spec)
    if args.latency is not None:
        spec = Puppet.model_validate({**spec.model_dump(), "latency": args.latency})
    serve_puppet(spec, args.port, requests_per_second=args.requests_per_second)


_HTML = "<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1><hr>nginx\n"
_MESSAGES: dict[str, tuple[str, str | None]] = {
    "401": ("Incorrect API key provided.", "invalid_api_key"),
    "403": ("You may not use this model.", "forbidden"),
    "404": ("The model 'puppet' does not exist.", "model_not_found"),
    "503": ("The engine is currently overloaded, please try again later.", None),
}
_TYPES = {401: "authentication_error", 402: "insufficient_quota", 429: "requests"}


def _error_kind(spec: Puppet, roll: float) -> str | None:
    for kind, chance in spec.errors.items():
        roll -= chance
        if roll < 0:
            return kind
    return None


def _prefix_length(one: str, other: str) -> int:
    """Return the length of the longest common prefix of two texts."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _json(data: Any, status: int = 200, headers: dict[str, str] = _JSON_HEADERS) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, headers=headers)


def _error(
    status: int, message: str, code: str | None, headers: dict[str, str] | None = None
) -> web.Response:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": None, "code": code}
    return _json({"error": error}, status, _JSON_HEADERS | (headers or {}))


def _rate_limited(wait: float) -> web.Response:
    """Return a 429 with both of OpenAI's headers: milliseconds, and whole seconds rounded up."""
    waits = {
        "retry-after-ms": str(math.ceil(wait * 1000)),
        "Retry-After": str(math.ceil(wait)),
    }
    return _error(429, "Rate limit reached for requests.", "rate_limit_exceeded", waits)


def _no_credit(status: int) -> web.Response:
    what = "You exceeded your current quota, please check your plan and billing details."
    error = {"message": what, "type": "insufficient_quota", "param": None}
    return _json({"error": error | {"code": "insufficient_quota"}}, status)


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers=_JSON_HEADERS)
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b'{"id": "chatcmpl-1", "choices": [{"text": "')
    while True:
        await response.write(b"and then, " * 100)
        await asyncio.sleep(0.01)


async def _for_ever() -> NoReturn:
    """Wait until cancelled: when the client disconnects or the server closes."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")


if __name__ == "__main__":
    main()
