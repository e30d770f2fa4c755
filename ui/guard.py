"""What the viewer's server answers: its own pages, to a browser that shows them, and nobody else.

A page of another site can make a browser send requests to this machine. The guard stands before
Streamlit and looks at each request: which host it names (a stranger's name can be made to lead
here), which page sent it, and what it would do. It also takes the page's token from where a browser
can put it to where the rooms can read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.shared.permission import HEADER

_PROTOCOLS = "sec-websocket-protocol"
PREFIX = "improv."
"""A page writes its token, after this, into the only header of a WebSocket that a page can write.
page_head.js has the same word."""

_CORE = ("health", "host-config", "stream", "bidi-components")
"""What the pages need of Streamlit's own addresses. Others are for programs that steer a page."""

_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'self'; object-src 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
"""No page frames the viewer, embeds what it sends, holds its window, or learns its addresses."""


class Guard:
    """Streamlit behind a door. `hosts` are the names under which the viewer was started."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif why := self._refusal(scope):
            await _refuse(why, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(_with_token(scope), receive, send)
        else:
            await self._app(_without_token(scope), receive, _sealed(send))

    def _refusal(self, scope: Scope) -> str:
        """Return why a request is not answered, "" where it is."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or _host_name(hosts[0]) not in self._hosts:
            names = " and ".join(sorted(self._hosts))
            return f"This viewer answers under {names} only; open the address that it printed."
        # A browser names the page that opens a WebSocket always, other programs need none.
        named = scope["type"] == "websocket" or origins
        if named and origins != [f"http://{hosts[0]}"]:
            return "This viewer answers its own pages only, not those of another address."
        core, _, rest = scope["path"].lstrip("/").partition("/")
        if core == "_stcore" and rest.partition("/")[0] not in _CORE:
            return "This viewer is for a browser; nothing else is served here."
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            return "This viewer is for reading; there is nothing to send to it."
        return ""


def _host_name(host: str) -> str:
    """Return the name in a Host header, without the port, "" where it is not one."""
    try:
        parts = urlsplit(f"//{host}")
        # Reading the port checks it.
        good = parts.netloc == host and "@" not in host and (parts.port is None or parts.port > 0)
    except ValueError:
        return ""
    return (parts.hostname or "") if good else ""


def _without_token(scope: Scope) -> Scope:
    """Return a request without a token's header: only the guard writes it."""
    name = HEADER.lower().encode()
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != name]}


def _with_token(scope: Scope) -> Scope:
    """Return the handshake of a WebSocket with the page's token in a header of its own.

    Streamlit reads the protocols by their place, so the token is taken out of them.
    """
    scope = _without_token(scope)
    headers = MutableHeaders(scope=scope)
    words = [word.strip() for line in headers.getlist(_PROTOCOLS) for word in line.split(",")]
    tokens = [word.removeprefix(PREFIX) for word in words if word.startswith(PREFIX)]
    others = [word for word in words if not word.startswith(PREFIX)]
    if tokens:
        headers[_PROTOCOLS] = ", ".join(others)
        headers[HEADER] = tokens[0]
        scope["subprotocols"] = others
    return scope


def _sealed(send: Send) -> Send:
    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sealed


async def _refuse(why: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # the request to connect
        await send({"type": "websocket.close", "code": 1008, "reason": why})
    else:
        await PlainTextResponse(why + "\n", status_code=403)(scope, receive, _sealed(send))
