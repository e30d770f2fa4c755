"""One endpoint: its address, its key, the checks before a call, and the errors after one.

Nothing here makes a call: `transport` sends requests, and `gate` limits how many are in flight.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

from improv.errors import EndpointError, ErrorKind, ModelError, RunError
from improv.models.agreed import NOTHING_AGREED, Agreed
from improv.models.error_body import endpoint_words, lacks_path, model_remedy, path_remedy
from improv.records import Json
from improv.study.address import PORTS, Address, read_address
from improv.study.model_spec import Model

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""OpenSSL's reasons for an answer that is not TLS, in older and newer versions."""


def remote_address(model: Model) -> str:
    """Return the base URL of a model that is not the embedded one."""
    return model.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


def secret_for(url: str, model: Model) -> str:
    """Return the API key for a URL, "none" where no key is set.

    The embedded model needs no key and gets none. Raises EndpointError of kind KEY if the key
    holds characters that no key has, or if OpenAI is called without a key.
    """
    if model.embedded:
        return "none"
    secret = os.environ.get(model.api_key_env, "").strip()
    if not (secret.isascii() and secret.isprintable()):
        # The message does not quote the key.
        what = f"the key in {model.api_key_env} holds characters that no key has"
        raise EndpointError(what, kind=ErrorKind.KEY)
    if not secret and urlsplit(url).hostname == "api.openai.com":
        what = f"no key: set {model.api_key_env}, or play the embedded model"
        raise EndpointError(what, kind=ErrorKind.KEY)
    return secret or "none"  # The openai client insists on a key; local servers ignore it.


def client_options(address: Address, model: Model) -> dict[str, Any]:
    """Return what an openai client is made with to reach a model at an address. Raises
    EndpointError if there is no key for it, or if the environment names a proxy that is none."""
    url = str(address)
    refuse_odd_proxy(url)
    secret = secret_for(url, model)
    return {
        "api_key": secret,
        "base_url": address.base,
        "default_query": dict([address.query.split("=", 1)]) if address.query else None,
        # Azure's addresses with a version take a key by this name.
        "default_headers": {"api-key": secret} if address.query else None,
        "max_retries": model.retries,
    }


@functools.lru_cache(maxsize=256)
def public_address(url: str) -> str:
    """Return a URL without its user, password and query, so that it may be shown."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}"


SERVER_ROUTES = ("/tokenize", "/props")
"""Routes that llama.cpp has beside those of OpenAI's API, at the server's root."""


def server_root(url: str) -> str | None:
    """Return the root of a server whose API is at /v1; None if it is elsewhere."""
    bare = url.partition("?")[0].rstrip("/")
    return bare.removesuffix("/v1") if bare.endswith("/v1") else None


def refuse_untrusted(models: Sequence[Model], agreed: Agreed) -> None:
    """Raise RunError if a model stands at an address that is none or that nobody agreed to, or
    names a variable that nobody agreed to as its key. Models without an address pass."""
    for model in models:
        if model.embedded or model.in_process:
            continue
        try:
            address = read_address(remote_address(model))
        except ValueError as e:
            where = "OPENAI_BASE_URL" if model.base_url is None else "base_url"
            raise RunError(f"model {model.model}: the address in {where} {e}") from None
        what = agreed.refusal(address) or agreed.key_refusal(model.api_key_env)
        if what:
            raise RunError(f"model {model.model}: {what}")


def check_endpoint(url: str, agreed: Agreed = NOTHING_AGREED) -> None:
    """Open a connection to an address and close it, without a request.

    Raises EndpointError if no call can succeed: nobody agreed to the address, the host name is
    unknown, the port is closed, the server speaks no TLS, or its certificate is not trusted. Other
    failures pass, because they may be temporary.
    """
    agreed.admit(url)
    parts, trusted = urlsplit(url), trusted_certificates()  # no client works without them
    host, scheme = parts.hostname or "", parts.scheme
    if has_proxy(url):
        return  # Only the proxy can reach the address.
    kind = ErrorKind.CONNECTION
    try:
        with socket.create_connection(
            (host, parts.port or PORTS[scheme]), timeout=3.0
        ) as connection:
            if scheme == "https":
                trusted.wrap_socket(connection, server_hostname=host).close()
            return
    except ssl.SSLCertVerificationError as e:
        what, kind = f"{public_address(url)}: {_not_trusted(e)}", ErrorKind.CERTIFICATE
    except ssl.SSLError as e:
        if e.reason not in _NO_TLS:
            return
        what = f"{public_address(url)}: no TLS is spoken there; is its address http://...?"
    except socket.gaierror:
        what = f"{public_address(url)}: there is no machine of that name"
    except ConnectionRefusedError:
        what = (
            f"{public_address(url)}: nothing listens there; start the server, "
            "or name another address"
        )
    except OSError:
        return  # The server may be slow, or the network briefly down.
    raise EndpointError(what, kind=kind)


def has_proxy(url: str) -> bool:
    """Return whether requests to this URL go through a proxy."""
    return bool(_proxy_of(url))


def proxy_of(url: str) -> str:
    """Return the proxy that requests to this URL go through, so that it may be shown; "" if none.

    The environment or the system names the proxy. No proxy can know what this machine serves
    itself, so loopback never goes through one, whatever no_proxy says.
    """
    named = _proxy_of(url)
    return public_address(named if "://" in named else f"http://{named}") if named else ""


def refuse_odd_proxy(url: str) -> None:
    """Raise EndpointError if requests to this URL would go through what is no proxy's address."""
    named = _proxy_of(url)
    if named and urlsplit(named if "://" in named else f"http://{named}").scheme not in _PROXIES:
        what = f"{proxy_of(url)}, which the environment names as proxy, is none: write http://..."
        raise EndpointError(what, kind=ErrorKind.CONNECTION)


_PROXIES = ("http", "https", "socks5", "socks5h")


def _proxy_of(url: str) -> str:
    parts, proxies = urlsplit(url), getproxies()
    host = parts.hostname or ""
    named = proxies.get(parts.scheme) or proxies.get("all") or ""
    return "" if not named or on_loopback(host) or proxy_bypass(host) else named


def on_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or number alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """Return the TLS context with the trusted certificates, read once for all clients.

    Reading takes 30 ms, and every new client would read them again, even for plain HTTP. Raises
    EndpointError if SSL_CERT_FILE names a file that cannot be read.
    """
    try:
        return httpx2.create_ssl_context()
    except OSError as e:
        file = os.environ.get("SSL_CERT_FILE", "not set")
        what = f"no certificates can be read, SSL_CERT_FILE is {file}: {e.strerror or e}"
        raise EndpointError(what, kind=ErrorKind.CERTIFICATE) from None


def call_error(error: Exception, url: str, model: Model) -> ModelError:
    """Turn a client's error into improv's: EndpointError if every further call would fail too,
    ModelError if only this call failed."""
    where, proxy = public_address(url), proxy_of(url)
    around = ""
    if proxy:
        where += f" (through the proxy {proxy})"
        around = f"; if no proxy is needed there, set no_proxy={urlsplit(url).hostname}"
        if proxy.startswith("socks"):
            around += "; improv speaks to http and https proxies only"
    if isinstance(error.__cause__, httpx2.DecodingError):
        what = f"{where} {error.__cause__}"
        if "text/html" in what and not urlsplit(url).path:
            what += f": {path_remedy(public_address(url), 'a call of a model')}"
        return ModelError(what, kind=ErrorKind.UNREADABLE)
    if what := _not_trusted(error):
        return EndpointError(f"{where}: {what}", kind=ErrorKind.CERTIFICATE)
    if connection_dropped(error):
        return ModelError(f"{where} broke the connection{around}", kind=ErrorKind.CONNECTION)
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelError(
            f"{where} did not answer within {model.timeout:g} s{around}", kind=ErrorKind.TIMEOUT
        )
    if isinstance(error, openai.APIStatusError):
        return _status_error(error, where, url, model)
    return ModelError(f"{where} broke the connection{around}", kind=ErrorKind.CONNECTION)


def status_error(url: str, status: int, body: Json) -> openai.APIStatusError:
    """Return the error that the openai client would raise for an answer with an error status."""
    response = httpx2.Response(status, json=body, request=httpx2.Request("POST", url))
    error = body.get("error")
    return openai.APIStatusError(
        f"status {status}", response=response, body=error if isinstance(error, dict) else body
    )


def _status_error(error: openai.APIStatusError, where: str, url: str, model: Model) -> ModelError:
    """Return the error of a status, with the endpoint's own words and what to do about it."""
    status, code = error.status_code, str(getattr(error, "code", "") or "")[:60]
    content = error.response.content
    words = endpoint_words(content)
    what = f"{where} answered {status}" + (f" ({code})" if code else "")
    said = f"{what}: {words}" if words else what
    if code == "insufficient_quota" or status == 402:
        return EndpointError(f"{said}: the account has no credit left", kind=ErrorKind.QUOTA)
    if status == 407:
        said += ": the proxy wants a name and a password; write http_proxy=http://NAME:PASSWORD@..."
        return EndpointError(said, kind=ErrorKind.CONNECTION)
    if status in (401, 403):
        return EndpointError(f"{said}: check {model.api_key_env}", kind=ErrorKind.KEY)
    if status in (404, 405, 501):
        asked = urlsplit(str(error.request.url)).path.removeprefix(urlsplit(url).path.rstrip("/"))
        remedy = (
            path_remedy(public_address(url), asked)
            if lacks_path(status, content)
            else model_remedy(url, model.model, words)
        )
        return EndpointError(f"{said}: {remedy}", kind=ErrorKind.MODEL)
    if 300 <= status < 400:
        said += ", a redirection, which improv does not follow: set the address that it leads to"
    return ModelError(said, kind=ErrorKind(f"status {status}"))


def connection_dropped(error: BaseException | None) -> bool:
    """Return whether an error means that a connection was refused, closed, or failed in TLS.

    aiohttp's transport reports all three as timeouts, so the chain of causes is searched.
    """
    while error is not None:
        if (
            isinstance(error, ConnectionError | ssl.SSLError)
            or type(error).__name__ == "ServerDisconnectedError"
        ):
            return True
        error = error.__cause__
    return False


def _not_trusted(error: BaseException | None) -> str:
    """Return why an endpoint's certificate is not trusted, "" if the error is a different one."""
    while error is not None:
        # aiohttp's own certificate error has no message; its cause, OpenSSL's error, has one.
        if isinstance(error, ssl.SSLCertVerificationError) and hasattr(error, "verify_message"):
            return (
                f"its certificate is not trusted ({error.verify_message}): if it is your own "
                "or your organisation's, set SSL_CERT_FILE to the file of the issuer's certificate"
            )
        error = error.__cause__
    return ""
