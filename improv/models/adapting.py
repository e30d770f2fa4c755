"""Sends a call as its model wants it: reads a refusal, changes the request, and sends it again.

The table of changes is in `manners`. What was learned goes to the keeper of the run once a changed
request was answered; a request that is refused in every form teaches nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import openai

from improv.models.manners import (
    ROOM,
    Lesson,
    adapt,
    fitting_limit,
    lesson,
    refusal_words,
    with_limit,
)
from improv.models.manners_keeper import Form, Keeper, MannersKeeper, Place
from improv.models.reasoning import cut_by_reasoning, reasoning_tokens
from improv.models.reply_json import parse_json
from improv.models.request import Ask, request_body
from improv.models.transport import Trip
from improv.records import Json

_REFUSES = (400, 422, 500, 501)
"""The statuses with which servers refuse a form of request. Some raise 500 where their chat
template fails."""
_MOST_CHANGES = 12
_LEFT = 0.75
"""The part of the room for a reply that later requests ask for."""

Post = Callable[[Json], Awaitable[Json]]
"""Sends a body and returns the response. Raises the errors of the openai client."""


@dataclass(slots=True)
class Request:
    """The request of one call: what was sent last, and the manners that changed it.

    `plain` is the request before any change. A call that goes `alone` is the first of its form to
    a model; the others wait for what is learned from it.
    """

    ask: Ask
    trip: Trip
    body: Json = field(default_factory=dict)
    adapted: tuple[str, ...] = ()
    alone: bool = False
    plain: Json = field(init=False)

    def __post_init__(self) -> None:
        self.plain = self.body = self.body or request_body(self.ask)


class Adapter:
    """Sends the calls of one host, and remembers what it has learned of each place."""

    def __init__(self, keeper: Keeper | None = None) -> None:
        self._keeper = keeper or MannersKeeper()
        self._known: dict[Place, dict[str, Lesson]] = {}
        self._met: set[tuple[Place, Form]] = set()
        self._fits: dict[Place, int] = {}
        """The tokens that a reply was seen to have room for in the context, and less: the prompts
        of a scene grow, and not each is to be refused."""

    async def send(self, place: Place, request: Request, post: Post) -> Json:
        """Return the response to a request, in the first form that its model takes.

        Raises the error of the openai client for the last form.
        """
        self._known.setdefault(place, {})
        form = _form(request.plain)
        goes_first = False
        if (place, form) not in self._met:
            clock = time.perf_counter()
            goes_first = await self._ask_keeper(place, form)
            request.trip.waited += time.perf_counter() - clock
        request.alone = goes_first
        answered: list[Lesson] = []
        try:
            return await self._send(place, request, post, answered)
        finally:
            if goes_first or answered:
                self._met.add((place, form))
                await self._keeper.met(place, form, tuple(answered))

    async def _ask_keeper(self, place: Place, form: Form) -> bool:
        goes_first, lessons = await self._keeper.meet(place, form)
        self._known[place].update((each.manner, each) for each in lessons)
        if not goes_first:
            self._met.add((place, form))
        return goes_first

    async def _send(
        self, place: Place, request: Request, post: Post, answered: list[Lesson]
    ) -> Json:
        """Send the request, changed as often as its refusals say how; put what an answer has
        confirmed into `answered`. A call that goes alone has nobody else to learn from."""
        known, learned = self._known[place], dict[str, Lesson]()
        least = request.ask.model.max_tokens
        limit = self._fits.get(place)
        asked_keeper = request.alone
        for changes in range(_MOST_CHANGES + 1):
            self._write(request, {*known, *learned}, limit)
            try:
                response = await post(request.body)
            except openai.APIStatusError as error:
                if error.status_code not in _REFUSES or changes == _MOST_CHANGES:
                    raise
                if not asked_keeper:
                    # Another host may have learned it since.
                    asked_keeper, before = True, len(known)
                    await self._ask_keeper(place, _form(request.plain))
                    if len(known) > before and self._differs(request, {*known, *learned}):
                        continue
                words = _words(error)
                if new := lesson(words, request.body, request.ask.model.extra):
                    learned[new.manner] = new
                    continue
                limit = fitting_limit(words, request.body, least)
                if limit is None:
                    raise
                self._fits[place] = int(_LEFT * limit)
                continue
            if room := self._room(request, response):
                learned[ROOM] = room
                request.trip.ends[-1] = "reasoning"
            answered += [each for each in learned.values() if each.manner not in known]
            known |= learned
            if room is None or changes == _MOST_CHANGES:
                return response
        raise AssertionError("the last change is the last one")

    def _write(self, request: Request, names: set[str], limit: int | None) -> None:
        # Also where nothing was learned: roles take turns in every request.
        request.body, request.adapted = _adapted(request, names)
        if limit is not None:
            request.body = with_limit(request.body, max(limit, request.ask.model.max_tokens))

    def _differs(self, request: Request, names: set[str]) -> bool:
        return _adapted(request, names)[0] != request.body

    def _room(self, request: Request, response: Json) -> Lesson | None:
        """Return the lesson of a reply that reasoning has cut, unless there is room already."""
        ask = request.ask
        if ROOM in request.adapted or not cut_by_reasoning(response):
            return None
        if _with_room(request) == request.plain:
            return None
        spent = reasoning_tokens(response)
        what = "reasoning" if spent is None else f"{spent:,} tokens of reasoning"
        return Lesson(ROOM, f"{what} used up the {ask.model.max_tokens} tokens of a line")


def _with_room(request: Request) -> Json:
    return request_body(request.ask, reasons=True)


def _adapted(request: Request, names: set[str]) -> tuple[Json, tuple[str, ...]]:
    """Return a request changed by all manners of these names, and the names that changed it."""
    body = _with_room(request) if ROOM in names else request.plain
    has_room = body != request.plain
    body, adapted = adapt(body, names)
    return body, (*adapted, ROOM) if has_room else adapted


def _form(body: Json) -> Form:
    messages = body.get("messages")
    return (*sorted(body), messages[0]["role"] if messages else "")


def _words(error: openai.APIStatusError) -> str:
    content = error.response.content
    try:
        return refusal_words(parse_json(content))
    except ValueError:
        return refusal_words(content.decode("utf-8", "replace"))
