"""The address of an endpoint, which is read in one way only, and refused where it could be read in
two.

Programs disagree about `127.1`, `http://a@b`, a backslash or a host that ends with a dot. An
address is compared with what was agreed, so there is one spelling of each. Nothing here decides
who may be asked: that is in models.agreed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

PORTS = {"http": 80, "https": 443}
EXAMPLE = "http://127.0.0.1:8000/v1"
_MOST = 500
_WHOLE = re.compile(r"(?P<scheme>https?)://(?P<place>[^/]*)(?P<path>/.*)?", re.IGNORECASE)
_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label of this kind makes some programs read the host as an IPv4 address."""
_VERSION = re.compile(r"api-version=[A-Za-z0-9.-]{1,40}")
_SEGMENT = re.compile(r"[A-Za-z0-9._~:+-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's address in its one spelling; `str()` gives that, without a default port."""

    scheme: str
    host: str
    port: int
    path: str
    """"" or "/v1": no slash at the end."""
    query: str = ""
    """"" or "api-version=2024-10-21", which Azure's addresses have; no other query is one."""

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.place}"

    @property
    def place(self) -> str:
        """Host and port, without the port that the scheme has anyway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def base(self) -> str:
        """The address without its query: what stands before the path of a request."""
        return self.origin + self.path

    def __str__(self) -> str:
        return f"{self.base}?{self.query}" if self.query else self.base


def read_address(text: str) -> Address:
    """Return the address that `text` is. Raises ValueError, which quotes nothing of `text`."""
    if len(text) > _MOST or not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError(
            f"is not an address of at most {_MOST} plain ASCII characters; write it like "
            f"{EXAMPLE}, and a name of other letters in its xn-- form"
        )
    text, query = _without_version(text)
    for mark, what in _NEVER.items():
        if mark in text:
            raise ValueError(f"{what}; write it like {EXAMPLE}")
    if "://" not in text:
        raise ValueError(f"has no http:// or https:// before it; write it like {EXAMPLE}")
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        raise ValueError(f"is not an address; write it like {EXAMPLE}")
    scheme, path = whole["scheme"].lower(), (whole["path"] or "").rstrip("/")
    host, port = read_host_and_port(whole["place"])
    segments = path.split("/")[1:]
    if not all(_SEGMENT.fullmatch(s) and s.strip(".") for s in segments):
        raise ValueError("has a path with an empty or dotted part, or an odd character in it")
    return Address(scheme, host, port or PORTS[scheme], path, query)


def _without_version(text: str) -> tuple[str, str]:
    """Return an address without its query, if that is the version of an API, and the query."""
    address, mark, query = text.partition("?")
    return (address, query) if mark and _VERSION.fullmatch(query) else (text, "")


_NEVER = {
    "?": "has a query, and what stands there may be a key: a key belongs in the environment "
    "variable that api_key_env names",
    "#": "has a fragment (#...), which no server ever sees",
    "\\": "has a backslash",
    "%": "has a % in it, which programs read differently",
}


def read_host_and_port(text: str) -> tuple[str, int | None]:
    """Return host and port of `host` or `host:port`. Raises ValueError, as read_address does."""
    if "@" in text:
        raise ValueError(
            "has a user or a password in it: a key belongs in the environment variable that "
            f"api_key_env names; write it like {EXAMPLE}"
        )
    place = _PLACE.fullmatch(text)
    if place is None:
        raise ValueError(f"has no host that can be read; write it like {EXAMPLE}")
    port = int(place["port"]) if place["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError("has a port that is none: ports go from 1 to 65535")
    return _read_host(place["host"].lower()), port


def _read_host(text: str) -> str:
    """Return a host in its one spelling. Raises ValueError for one that could be two."""
    if text.startswith("["):
        try:
            ip = ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise ValueError("has no IPv6 address between its brackets") from None
        if ip.ipv4_mapped is not None or ip.sixtofour is not None or ip.teredo is not None:
            raise ValueError("hides an IPv4 address in an IPv6 one; write the IPv4 address")
        return ip.compressed
    labels = text.split(".")
    if text.endswith("."):
        raise ValueError("has a host that ends with a dot; leave the dot out")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            what = "has a host of numbers that is no plain IPv4 address such as 127.0.0.1"
            raise ValueError(what) from None
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is no name such as models.example")
    return text
