"""Which addresses may be sent prompts and a key: those that were agreed when the command was given.

A study, a run folder or a card may come from anybody, so none of them decides this. The command
line, the environment and two fixed rules do, once; the answer is frozen and travels with the jobs.
The first door looks at everything that a study names, before anything is sent. The last is in
transport, which asks here again before it opens a client.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from improv.errors import EndpointError, ErrorKind, RunError
from improv.study.address import PORTS, Address, read_address, read_host_and_port

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OPENAI = Address("https", "api.openai.com", PORTS["https"], "")
_PLAIN_PATH = re.compile(r"(?:(?:/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}/v1)?")
"""The paths that servers of models have. With any other, what listens there may be no such
server, and a request to it may do anything."""
KEY_NAME = re.compile(r"(?:[A-Za-z0-9_]*_)?API_KEY|HF_TOKEN")
"""The names that keys for models have. AWS_SECRET_ACCESS_KEY, say, is for something else."""
_VARIABLE = "env:"


@dataclass(frozen=True, slots=True)
class Grant:
    """A place that somebody agreed to: a host, and as much of the address as was said."""

    host: str
    port: int | None = None
    scheme: str = ""
    path: str = ""

    def covers(self, address: Address) -> bool:
        same = self.host == address.host and self.port in (None, address.port)
        if not same or self.scheme not in ("", address.scheme):
            return False
        # On this machine a path may be another program's business.
        return address.host not in LOOPBACK or self.path in ("", address.path)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What was agreed at the command: places, and variables whose values may be sent as keys.

    Without any grant there are still this machine, at the paths of servers of models, and OpenAI.
    """

    grants: frozenset[Grant] = frozenset()
    variables: frozenset[str] = frozenset()

    def refusal(self, address: Address) -> str:
        """Return why nothing may be sent to an address, or "" if something may."""
        openai = address.host == _OPENAI.host
        if openai and address.origin != _OPENAI.origin:
            return f"{address} would send the key unencrypted; write {_OPENAI}/v1"
        if any(grant.covers(address) for grant in self.grants):
            return ""
        if not openai and address.host not in LOOPBACK:
            return (
                f"the study would send what is played, and the key, to {address}. If you trust "
                f"that address, say --trust {address.place} (or set IMPROV_TRUST)."
            )
        if _PLAIN_PATH.fullmatch(address.path):
            return ""
        return (
            f"the study would send requests to {address}, and its path is not one that servers of "
            "models have, which end with /v1. If you know what answers there, say --trust "
            f"{address} (or set IMPROV_TRUST)."
        )

    def key_refusal(self, variable: str) -> str:
        """Return why the value of a variable may not be sent as a key, or "" if it may."""
        if KEY_NAME.fullmatch(variable) or variable in self.variables:
            return ""
        return (
            f"the study would send the value of {variable} as a key, and that is no name for the "
            f"key of a model, such as OPENAI_API_KEY. If it is one, say --trust "
            f"{_VARIABLE}{variable} (or set IMPROV_TRUST)."
        )

    def admit(self, url: str, variable: str = "") -> Address:
        """Return the address that a URL is. Raises EndpointError unless something may be sent to
        it, with the value of that variable as the key."""
        try:
            address = read_address(url)
        except ValueError as e:
            raise EndpointError(f"an address {e}", kind=ErrorKind.UNTRUSTED) from None
        what = self.refusal(address) or (self.key_refusal(variable) if variable else "")
        if what:
            raise EndpointError(what, kind=ErrorKind.UNTRUSTED)
        return address


NOTHING_AGREED = Agreed()


def agreed_at(words: Iterable[str] = ()) -> Agreed:
    """Return what a command agrees to: by its words (--trust, --base-url), and by IMPROV_TRUST and
    OPENAI_BASE_URL in its environment. Raises RunError for a word that cannot be read."""
    named = [("--trust or --base-url", word) for word in words]
    named += [("IMPROV_TRUST", word) for word in os.environ.get("IMPROV_TRUST", "").split(",")]
    grants, variables = set(), set()
    for source, word in named:
        word = word.strip()
        if word.startswith(_VARIABLE):
            variables.add(word.removeprefix(_VARIABLE))
        elif word:
            try:
                grants.add(_grant(word))
            except ValueError as e:
                # The word itself may hold a password.
                raise RunError(f"{source}: what is said there {e}") from None
    with contextlib.suppress(ValueError):  # A model that stands there is refused, with the reason.
        grants.add(_grant(os.environ.get("OPENAI_BASE_URL", "")))
    return Agreed(frozenset(grants), frozenset(variables))


def _grant(word: str) -> Grant:
    if "://" in word:
        address = read_address(word)
        return Grant(address.host, address.port, address.scheme, address.path)
    host, port = read_host_and_port(word)
    return Grant(host, port)
