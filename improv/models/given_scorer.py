"""Scores given texts at endpoints: finds out once in which way one does it, and makes the requests.

The bodies and the reading of answers are in `given_text`. The client gives a function that sends a
body; retries, limits and errors are the client's own. What was found out goes to the keeper of
manners, and so into run.json.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx2
import openai
import orjson

from improv.errors import ErrorKind, ModelError
from improv.models.endpoint import SERVER_ROUTES, public_address, server_root
from improv.models.given_text import (
    GAPS,
    UNSCORED,
    Scored,
    Step,
    Token,
    Way,
    forced_body,
    hidden_bodies,
    read_beside,
    read_forced,
    read_repeated,
    read_tokens,
    repeat_body,
    split_tokens,
    steps,
    tokenize_body,
)
from improv.models.manners import Lesson
from improv.models.manners_keeper import Keeper, MannersKeeper, Place
from improv.models.transport import Client, Trip
from improv.records import Json
from improv.study.model_spec import Model

Send = Callable[[str, Json | None], Awaitable[Json]]
"""Sends a body to a path and returns the answer; without a body it only gets what is there. Raises
the errors of the openai client, and ModelError. "/tokenize" and "/props" are llama.cpp's own."""

_FORM = ("given text",)
_NO_SUCH_ROUTE = (400, 404, 405, 415, 422, 500, 501)
"""The statuses with which a server says that it has no such route, or takes no such request."""
_TRIED = ("THE TIDE\n\nANA:", " One, two, three and four.")
"""The text with which an endpoint is tried."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How an endpoint scores a text, and how many texts it may score at once.

    `slots` is None if nobody needs to care. `addressed` says that a call may name its slot.
    """

    way: Way
    slots: int | None = None
    addressed: bool = False


PUPPET_SCORING = Scoring(Way.ECHO)
EMBEDDED_SCORING = Scoring(Way.GRAMMAR, 1, addressed=True)
"""One text at a time: llama.cpp computes several sequences in one batch, and its rounding then
depends on the others. Four lines at once had log-probabilities up to .23 nats from those of the
lines alone, which are the same to the last digit each time, whatever is cached."""


def sender(client: Client, url: str, model: Model, trip: Trip) -> Send:
    """Return what sends the requests of one call to a model. The fields in its `extra` cannot
    change what is scored."""
    extra = {name: value for name, value in model.extra.items() if value is not None}

    async def send(path: str, body: Json | None) -> Json:
        if path not in SERVER_ROUTES:
            content = orjson.dumps({**extra, "model": model.model, **(body or {})})
            return await client.send_json(path, content, trip)
        root = server_root(url)
        if root is None:
            what = f"{public_address(url)} {UNSCORED}"
            raise ModelError(what, kind=ErrorKind.UNSCORED)
        if body is None:
            return await client.get_json(root + path, trip)
        content = orjson.dumps({"model": model.model, **body})
        return await client.send_json(root + path, content, trip)

    return send


@dataclass(slots=True)
class _Tally:
    """The tokens of several requests, as one call has them."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    served: Json = field(default_factory=dict)

    def add(self, response: Json) -> None:
        usage = response.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get("prompt_tokens_details")
        details = details if isinstance(details, dict) else {}
        self.prompt += _count(usage.get("prompt_tokens"))
        self.completion += _count(usage.get("completion_tokens"))
        self.cached += _count(details.get("cached_tokens"))
        self.served = {k: response[k] for k in ("model", "system_fingerprint") if k in response}

    def response(self, scored: Scored) -> Json:
        return self.served | {
            "choices": [{"text": scored.as_text(), "finish_reason": "scored"}],
            "usage": {
                "prompt_tokens": self.prompt,
                "completion_tokens": self.completion,
                "prompt_tokens_details": {"cached_tokens": self.cached},
            },
        }


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


_Tokens = tuple[tuple[Token, ...], tuple[Token, ...]]
_TRIAL_ERRORS = (openai.APIStatusError, openai.APIConnectionError, ModelError)


class GivenScorer:
    """Scores texts for one host, and remembers how each place does it."""

    def __init__(self, keeper: Keeper | None = None) -> None:
        self._keeper = keeper or MannersKeeper()
        self._known: dict[Place, Scoring] = {}
        self._locks: dict[Place, asyncio.Lock] = {}
        self._rooms: dict[Place, asyncio.Semaphore] = {}

    async def scoring(self, place: Place, send: Send) -> Scoring:
        """Return how a place scores a text; find it out at the first call.

        Raises ModelError of kind UNSCORED if it does not, and the errors of `send`.
        """
        async with self._locks.setdefault(place, asyncio.Lock()):
            if place not in self._known:
                self._known[place] = await self._find_out(place, send)
            return self._known[place]

    def know(self, place: Place, scoring: Scoring) -> None:
        """Take as known how a place scores a text."""
        self._known.setdefault(place, scoring)

    async def score(
        self, place: Place, text: str, given: str, send: Send, slot: int | None = None
    ) -> Json:
        """Return a response whose reply is the log-probability of `given` after `text`.

        `slot` is the place in the memory of llama.cpp where the beginning of the text is expected.
        Raises ModelError, and the errors of `send`.
        """
        scoring = await self.scoring(place, send)
        tally = _Tally()
        if not scoring.way.forces:
            response = await send("/completions", repeat_body(text + given, scoring.way))
            tally.add(response)
            return tally.response(read_repeated(response, text + given, given, scoring.way))
        room = self._rooms.setdefault(place, asyncio.Semaphore(scoring.slots or 1))
        async with room:
            scored = await _force(text, given, scoring, send, slot, tally)
        return tally.response(scored)

    async def _find_out(self, place: Place, send: Send) -> Scoring:
        _, lessons = await self._keeper.meet(place, _FORM)
        known = next((way for way in Way for each in lessons if each.manner == way), None)
        learned: tuple[Lesson, ...] = ()
        try:
            tried = await self._tokens(send)
            for way in sorted(Way, key=lambda way: way != known):
                if way.forces and tried is None:
                    continue
                try:
                    await self._try(way, tried, send)
                except _TRIAL_ERRORS as e:
                    if not _lacks(e):
                        raise
                    continue
                learned = (Lesson(way),)
                return Scoring(way, await _slots(send) if way.forces else None)
        finally:
            await self._keeper.met(place, _FORM, learned)
        what = f"{place.model} at {place.endpoint} {UNSCORED}"
        raise ModelError(what, kind=ErrorKind.UNSCORED)

    async def _tokens(self, send: Send) -> _Tokens | None:
        """Return the tokens of the text with which an endpoint is tried, as llama.cpp lists them;
        None if the endpoint does not."""
        text, given = _TRIED
        try:
            return split_tokens(
                read_tokens(await send("/tokenize", tokenize_body(text + given))), given
            )
        except _TRIAL_ERRORS as e:
            if not _lacks(e):
                raise
            return None

    async def _try(self, way: Way, tokens: _Tokens | None, send: Send) -> None:
        """Score a short text in a way. Raises an error if the endpoint does not know the way."""
        text, given = _TRIED
        if tokens is None or not way.forces:
            response = await send("/completions", repeat_body(text + given, way))
            values = [read_repeated(response, text + given, given, way).logprob]
        else:
            before, mine = tokens
            step = steps(mine, way)[0]
            response = await send("/completions", forced_body(before, step, way))
            values = read_forced(response, step.tokens)
        # After sampling a forced token is certain: its log-probability is 0 if that is returned.
        if not min(values) < -1e-4:
            what = f"this endpoint {UNSCORED}; what it returns are not the model's probabilities"
            raise ModelError(what, kind=ErrorKind.UNSCORED)


async def _force(
    text: str, given: str, scoring: Scoring, send: Send, slot: int | None, tally: _Tally
) -> Scored:
    """Return the score of a text that llama.cpp is made to draw."""
    named: Json = {"id_slot": slot} if scoring.addressed and slot is not None else {}
    response = await send("/tokenize", tokenize_body(text + given))
    before, mine = split_tokens(read_tokens(response), given)

    async def draw(body: Json) -> Json:
        response = await send("/completions", body | named)
        tally.add(response)
        return response

    values: list[float] = []
    for step in steps(mine, scoring.way):
        values += await _score_step([*before, *mine[: len(values)]], step, scoring.way, draw)
    return Scored(math.fsum(values), len(values))


async def _score_step(
    before: Sequence[Token], step: Step, way: Way, draw: Callable[[Json], Awaitable[Json]]
) -> list[float]:
    """Return the log-probability of each token of a step after the tokens `before`."""
    values: list[float] = []
    if step.kind == "hidden":
        (hidden,) = step.tokens
        for gap in GAPS:
            body, other = hidden_bodies(before, hidden, gap)
            beside = read_beside(await draw(body), hidden, other)
            if beside is not None:
                alone = Step("whole", (other,))
                raw = read_forced(await draw(forced_body(before, alone, Way.TOKENS)), (other,))
                return [raw[0] + beside + gap]
        what = f"this endpoint {UNSCORED}; it draws the first part of a character against a bias"
        raise ModelError(what, kind=ErrorKind.UNSCORED)
    while len(values) < len(step.tokens):
        # A server may have a limit of its own for the tokens of one reply.
        left = Step(step.kind, step.tokens[len(values) :])
        drawn = await draw(forced_body([*before, *step.tokens[: len(values)]], left, way))
        values += read_forced(drawn, left.tokens)
    return values


async def _slots(send: Send) -> int:
    """Return how many texts a llama.cpp server keeps in memory at once; 1 if it does not say."""
    try:
        slots = (await send("/props", None)).get("total_slots")
    except (openai.APIError, httpx2.HTTPError, ModelError):
        return 1
    return slots if isinstance(slots, int) and 0 < slots < 10_000 else 1


def _lacks(error: Exception) -> bool:
    """Return whether an error says that an endpoint does not know a way, and not that it fails."""
    if isinstance(error, ModelError):
        return error.kind in (ErrorKind.UNSCORED, ErrorKind.UNREADABLE)
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _NO_SUCH_ROUTE
    # A page for people, say, where a server knows no such route.
    return isinstance(error.__cause__, httpx2.DecodingError)
