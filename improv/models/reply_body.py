"""Reads the body of a response, up to a limit, from httpx2 or from aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

import aiohttp
import httpx2

from improv.errors import ErrorKind, ModelError

MAX_REPLY_BYTES = 4_000_000
"""Bytes of a whole answer. A longer one is an error, and the rest is not read."""


class _Chunks(httpx2.AsyncByteStream):
    """A body that aiohttp receives, as a stream that httpx2 can decompress."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_chunked(_CHUNK):
            yield chunk

    async def aclose(self) -> None:
        self._response.release()


_CHUNK = 16 * 1024
"""Bytes decompressed at once: a few compressed bytes may expand a thousand times."""


async def read_body(response: httpx2.Response) -> bytes:
    """Return the body of a response. Raises ModelError if it is larger than the limit."""
    try:
        # Not by httpx2's iterators, which cost more than all other work on a reply.
        plain = "content-encoding" not in response.headers
        body = response.stream if plain else response.aiter_bytes()
        assert isinstance(body, AsyncIterable)
        return await _gathered(body)
    finally:
        await response.aclose()


async def read_plainly(response: aiohttp.ClientResponse) -> bytes:
    """Return a body as `read_body` does, but without httpx2 if the body is not compressed."""
    if "content-encoding" in response.headers:
        stream = _Chunks(response)
        return await read_body(httpx2.Response(200, headers=response.raw_headers, stream=stream))
    try:
        return await _gathered(response.content.iter_any())
    finally:
        response.release()


async def _gathered(body: AsyncIterable[bytes]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            what = f"a reply of more than {MAX_REPLY_BYTES // 1_000_000} MB"
            raise ModelError(what, kind=ErrorKind.ENDLESS)
        chunks.append(chunk)
    return b"".join(chunks)
