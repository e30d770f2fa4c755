"""A server that does not take every request, and says so in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from improv.records import Json
from tests.support.weather import LINE, Send, http, said

Takes = Callable[[Json], str]
"""Returns why a body is refused, "" if it is not."""


class Choosy:
    """A server that refuses requests in words, and answers the others."""

    def __init__(self, takes: Takes, status: str = "400 Bad Request", reply: str = "") -> None:
        self.bodies: list[Json] = []
        self.refused = 0
        self._lock = threading.Lock()
        self._takes, self._status, self._reply = takes, status, reply or said(LINE)

    def __call__(self, n: int, request: bytes, send: Send) -> bytes:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        why = self._takes(body)
        with self._lock:
            self.bodies.append(body)
            self.refused += bool(why)
        if why:
            return http(json.dumps({"error": {"message": why}}), self._status)
        return http(self._reply)


def not_taken(*fields: str) -> Takes:
    return lambda body: next((f"'{f}' is not supported" for f in fields if f in body), "")
