"""One endpoint: its address, the key it is sent, whether it may be called and answers, what failed.

How a request travels there is in `transport`, and how many at once in `gate`. Nothing here makes a
call.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

from improv.errors import EndpointError, ErrorKind, ModelError, RunError
from improv.study.model_spec import Model

_HERE = ("localhost", "127.0.0.1", "::1")
_OPENAI = "api.openai.com"
_PORTS = {"http": 80, "https": 443}
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL, older and newer, calls an answer that is no TLS."""


def remote_address(model: Model) -> str:
    """Return the URL of a model that this machine does not serve itself."""
    return model.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


def secret_for(url: str, model: Model) -> str:
    """Return the key that is sent to an address. Raises EndpointError where it can be none."""
    secret = os.environ.get(model.api_key_env, "").strip()
    if not (secret.isascii() and secret.isprintable()):
        # Said without a word of it.
        what = f"the key in {model.api_key_env} holds characters that no key has"
        raise EndpointError(what, kind=ErrorKind.KEY)
    if not secret and urlsplit(url).hostname == "api.openai.com":
        what = f"no key: set {model.api_key_env}, or play the embedded model"
        raise EndpointError(what, kind=ErrorKind.KEY)
    return secret or "none"  # openai's client insists on one; local servers ignore it.


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


def refuse_strangers(models: Sequence[Model], trusted: Sequence[str]) -> None:
    """Raise RunError where a study would have us call an address that nobody here named.

    A study may come from anybody; its word alone sends no key and no text anywhere.
    """
    known = {_OPENAI, _host(os.environ.get("OPENAI_BASE_URL", "")), *map(_host, trusted)}
    known |= {_host(t.strip()) for t in os.environ.get("IMPROV_TRUST", "").split(",")}
    for model in models:
        address = remote_address(model)
        host = _host(address)
        if not host or not address.startswith(("http://", "https://")):
            raise RunError(
                f"model {model.model}: {public(address)!r} is not an address; write it like "
                "http://127.0.0.1:8000/v1 (as base_url, or in OPENAI_BASE_URL)"
            )
        if host == _OPENAI and not address.startswith("https:"):
            what = f"model {model.model}: {public(address)} would send the key unencrypted"
            raise RunError(f"{what}; write https://{_OPENAI}/v1")
        if host not in known and host not in _HERE:
            raise RunError(
                f"model {model.model}: the study would send what is played, and the key in "
                f"{model.api_key_env}, to {public(address)}. If you trust that "
                f"address, say --trust {host} (or set IMPROV_TRUST)."
            )


def check_endpoint(url: str) -> None:
    """Raise EndpointError where it is certain that nobody answers at an address: its name is
    unknown, nothing listens there, or not with a certificate that is trusted. Asks nothing."""
    parts, trusted = urlsplit(url), trusted_certificates()  # without which no client is made
    host, scheme = parts.hostname or "", parts.scheme
    if has_proxy(url):
        return  # The proxy knows the way.
    kind = ErrorKind.CONNECTION
    try:
        with socket.create_connection((host, parts.port or _PORTS[scheme]), timeout=3.0) as door:
            if scheme == "https":
                trusted.wrap_socket(door, server_hostname=host).close()
            return
    except ssl.SSLCertVerificationError as e:
        what, kind = f"{public(url)}: {_not_trusted(e)}", ErrorKind.CERTIFICATE
    except ssl.SSLError as e:
        if e.reason not in _NO_TLS:
            return
        what = f"{public(url)}: no TLS is spoken there; is its address http://...?"
    except socket.gaierror:
        what = f"{public(url)}: there is no machine of that name"
    except ConnectionRefusedError:
        what = f"{public(url)}: nothing listens there; start the server, or name another address"
    except OSError:
        return  # It may be slow, or the network away for a moment.
    raise EndpointError(what, kind=kind)


def has_proxy(url: str) -> bool:
    """Return whether the environment names a proxy by which an address is called."""
    parts, proxies = urlsplit(url), getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    return bool(named) and not proxy_bypass(parts.hostname or "")


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """Return whom TLS trusts, read once: 30 ms, that each client would take for plain HTTP too.

    Raises EndpointError where the environment names what cannot be read.
    """
    try:
        return httpx2.create_ssl_context()
    except OSError as e:
        file = os.environ.get("SSL_CERT_FILE", "not set")
        what = f"no certificates can be read, SSL_CERT_FILE is {file}: {e.strerror or e}"
        raise EndpointError(what, kind=ErrorKind.CERTIFICATE) from None


def failure(error: Exception, url: str, model: Model) -> ModelError:
    """Return what went wrong with a call: an EndpointError if it would be so with any other."""
    where = public(url)
    if isinstance(error.__cause__, httpx2.DecodingError):
        return ModelError(f"{where} {error.__cause__}", kind=ErrorKind.UNREADABLE)
    if what := _not_trusted(error):
        return EndpointError(f"{where}: {what}", kind=ErrorKind.CERTIFICATE)
    if dropped(error):
        return ModelError(f"{where} broke the connection", kind=ErrorKind.CONNECTION)
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelError(
            f"{where} did not answer within {model.timeout:g} s", kind=ErrorKind.TIMEOUT
        )
    if isinstance(error, openai.APIStatusError):
        status, code = error.status_code, str(getattr(error, "code", "") or "")[:60]
        what = f"{where} answered {status}" + (f" ({code})" if code else "")
        if code == "insufficient_quota" or status == 402:
            return EndpointError(f"{what}: the account has no credit left", kind=ErrorKind.QUOTA)
        if status in (401, 403):
            return EndpointError(f"{what}: check {model.api_key_env}", kind=ErrorKind.KEY)
        if status == 404:
            return EndpointError(f"{what}: is '{model.model}' served there?", kind=ErrorKind.MODEL)
        if 300 <= status < 400:
            what += ", a redirection, which is not followed: give the address that it leads to"
        detail = _detail(error)
        return ModelError(f"{what}{detail}", kind=ErrorKind(f"status {status}"))
    return ModelError(f"{where} broke the connection", kind=ErrorKind.CONNECTION)


def dropped(error: BaseException | None) -> bool:
    """Whether nobody listened, a connection was closed on us, or no TLS came about: aiohttp's
    transport reports all of them as timeouts, and only the cause of the cause tells."""
    while error is not None:
        if (
            isinstance(error, ConnectionError | ssl.SSLError)
            or type(error).__name__ == "ServerDisconnectedError"
        ):
            return True
        error = error.__cause__
    return False


def _not_trusted(error: BaseException | None) -> str:
    """Return why an endpoint's certificate is not trusted; "" where that is not what is wrong."""
    while error is not None:
        # aiohttp's error of this kind does not say what OpenSSL's, its cause, does.
        if isinstance(error, ssl.SSLCertVerificationError) and hasattr(error, "verify_message"):
            return (
                f"its certificate is not trusted ({error.verify_message}): where it is your own "
                "or your organisation's, name the file of who signed it in SSL_CERT_FILE"
            )
        error = error.__cause__
    return ""


def _detail(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return f": {str(message)[:300]}" if message else ""


def _host(address: str) -> str:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return parts.hostname or "" if parts.port != 0 else ""
    except ValueError:
        return ""
