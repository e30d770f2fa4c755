"""Improv's error for a call that failed for good: of this call only, or of every call.

`endpoint` puts an error into words, and `refusal` reads the endpoint's own. This module adds what
only the run knows: whether the endpoint has answered other calls, so that its key is good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import httpx2
import openai

from improv.errors import EndpointError, ErrorKind, ModelError
from improv.models.endpoint import call_error, public_address
from improv.models.refusal import (
    STOPS,
    concerns_days,
    concerns_key,
    concerns_prompt,
    names_bad_key,
)
from improv.study.model_spec import Model

_FIRST_ANSWER = 5.0
"""Seconds in which an endpoint may answer another call, before a 403 counts as that of its key."""


async def final_error(
    error: openai.APIError | httpx2.HTTPError,
    url: str,
    model: Model,
    answered: asyncio.Event,
    answered_before: Callable[[str], bool] | None = None,
) -> ModelError:
    """Return improv's error for a client's.

    `answered` is set if the endpoint has answered in this session, and `answered_before` tells
    whether it has in an earlier one.
    """
    final = call_error(error, url, model)
    if not isinstance(error, openai.APIStatusError):
        return final
    status, content = error.status_code, error.response.content
    if why := error.response.headers.get(STOPS):
        what = f"{final}: {why}; `improv resume` plays what is owed once there is room again"
        return EndpointError(what, kind=ErrorKind.QUOTA)
    if status == 400 and names_bad_key(content) and not answered.is_set():
        return EndpointError(f"{final}: check {model.api_key_env}", kind=ErrorKind.KEY)
    if status != 403:
        return final
    what = str(final).removesuffix(f": check {model.api_key_env}")
    if not concerns_prompt(content):
        if concerns_days(content):
            return EndpointError(what, kind=ErrorKind.QUOTA)
        if concerns_key(content) or not await _has_answered(url, answered, answered_before):
            return final
    return ModelError(what, kind=ErrorKind("status 403"))


async def _has_answered(
    url: str, answered: asyncio.Event, answered_before: Callable[[str], bool] | None
) -> bool:
    """Return whether an endpoint has answered any call of the run. The first calls of a session are
    waited for."""
    if answered.is_set():
        return True
    if answered_before is not None and await asyncio.to_thread(
        answered_before, public_address(url)
    ):
        answered.set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_ANSWER):
            await answered.wait()
    return answered.is_set()
