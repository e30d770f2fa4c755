"""What the tests of bad endpoints share: a server that answers any bytes, and the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socketserver
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from typer.testing import CliRunner, Result

from improv.cli import app
from improv.models.client import Models
from improv.models.puppet.server import PuppetServer
from improv.models.request import Ask, Prompt
from improv.records import Call, Draw
from improv.study.model_spec import Model

SCENE = """\
title: Two Chairs
premise: Ana and Bo wait.
cast:
  - {name: Ana, role: who waits}
  - {name: Bo, role: who hurries}
opening:
  - {who: Ana, line: "Bo, sit down."}
turns: 2
"""

Send = Callable[[bytes], None]
Reply = Callable[[int, bytes, Send], bytes]
"""Takes the number of the request (from 0), the request, and how to send some of the answer
already; returns the rest of it, after which the connection is closed."""


class RawServer:
    """Listens on loopback and answers whatever bytes it is told to, each request on a thread.

    `closing` is set when the server ends, for replies that wait for ever.
    """

    def __init__(self, reply: Reply, host: str = "127.0.0.1") -> None:
        self.seen: list[bytes] = []
        self.closing = threading.Event()
        raw = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    request, length = b"", 0
                    while (line := self.rfile.readline()) not in (b"\r\n", b""):
                        request += line
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    if not request:
                        return  # somebody only looked whether anybody is here
                    request += b"\r\n" + self.rfile.read(length)
                    raw.seen.append(request)
                    self.wfile.write(reply(len(raw.seen) - 1, request, self._send))

            def _send(self, part: bytes) -> None:
                self.wfile.write(part)
                self.wfile.flush()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Server((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


def http(
    body: bytes | str,
    status: str = "200 OK",
    kind: str = "application/json",
    more: str = "",
    length: int | None = None,
) -> bytes:
    """Return an HTTP reply as bytes; `length` may differ from that of the body."""
    data = body.encode() if isinstance(body, str) else body
    size = len(data) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
    return f"{head}Connection: close\r\n{more}\r\n".encode() + data


def said(text: str | None, **more: object) -> str:
    """Return the JSON of a sound chat reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return json.dumps({"choices": [choice | {"finish_reason": "stop"}], "usage": usage} | more)


def command(*words: str, code: int | None = 0) -> Result:
    """Run the `improv` command in this process. Its text is in `output`."""
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert code is None or done.exit_code == code, (done.exit_code, done.output)
    return done


Serve = Callable[..., PuppetServer]
TIMEOUT = 4.0
"""Seconds that stand for the two minutes of a real timeout."""
LINE = "Then we wait."


def ask(url: str, turn: int = 1, **more: Any) -> Ask:
    prompt = Prompt("chat", ("b1",), messages=({"role": "user", "content": "(Bo, your line.)"},))
    model = Model.model_validate({"model": "puppet", "base_url": url} | more)
    return Ask(Draw("t", "main", turn, "Bo", "line"), model, prompt)


def complete(*asks: Ask, connections: int = 64) -> list[Call]:
    async def go() -> list[Call]:
        models = Models(connections=connections)
        try:
            return list(await asyncio.gather(*map(models.complete, asks)))
        finally:
            await models.close()

    return asyncio.run(go())
