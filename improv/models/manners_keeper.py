"""Keeps what was learned of the manners of each model, for all hosts of a run.

A call of a form that a model was never sent goes first, and the others of its form wait for what
it learns: so a thousand scenes have one call refused, not a thousand. The rows of the manners are
in `manners`; `client` sends the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from improv.models.given_text import WAY_WORDS
from improv.models.manners import Lesson, describe, known
from improv.records import Json

LONGEST_WAIT = 10.0
"""Seconds that calls wait for the first one of their form. A refusal comes within a second or two;
a slow server may take minutes for a reply."""
_MOST_ROWS = 1000

Form = tuple[str, ...]
"""The fields of a request and the role of its first message: what an endpoint may refuse."""


@dataclass(frozen=True, slots=True)
class Place:
    """A model at an endpoint, whose manners are learned together."""

    endpoint: str
    model: str


class Keeper(Protocol):
    """A MannersKeeper in this process, or what calls one on Ray. It never raises."""

    async def meet(self, place: Place, form: Form) -> tuple[bool, tuple[Lesson, ...]]: ...

    async def met(self, place: Place, form: Form, lessons: tuple[Lesson, ...]) -> None: ...

    async def rows(self) -> list[Json]: ...


@dataclass(slots=True)
class _Meeting:
    """The first call of its form, until it is over."""

    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def end(self) -> None:
        """Wait until the call is over, for LONGEST_WAIT at most."""
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await self.over.wait()
        except TimeoutError:
            self.over.set()  # nobody else waits as long again


class MannersKeeper:
    """What is known of each place: an object in this process, or a Ray actor that hosts call.

    `rows` are those of run.json, which an earlier session has learned.
    """

    def __init__(self, rows: Iterable[Json] = ()) -> None:
        self._lessons: dict[Place, dict[str, Lesson]] = {}
        self._meetings: dict[tuple[Place, Form], _Meeting] = {}
        self._latest: dict[Place, _Meeting] = {}
        for row in rows:
            place = Place(row["endpoint"], row["model"])
            if known(row["manner"]):
                lessons = self._lessons.setdefault(place, {})
                lessons[row["manner"]] = Lesson(row["manner"], row.get("because", ""))

    async def meet(self, place: Place, form: Form) -> tuple[bool, tuple[Lesson, ...]]:
        """Return whether this call is the first of its form, and what is known of the place.

        Whoever goes first says with `met` that the call is over. The others return when it is over,
        or after LONGEST_WAIT.
        """
        while (meeting := self._meetings.get((place, form))) is None:
            # What the first call of another form learns is mostly about this form too.
            before = self._latest.get(place)
            if before is None or before.over.is_set():
                self._latest[place] = self._meetings[place, form] = _Meeting()
                return True, self._of(place)
            await before.end()
        await meeting.end()
        return False, self._of(place)

    async def met(self, place: Place, form: Form, lessons: tuple[Lesson, ...]) -> None:
        """Keep what a call has learned, and let the others of its form go."""
        kept = self._lessons.setdefault(place, {})
        for lesson in lessons:
            kept.setdefault(lesson.manner, lesson)
        meeting = self._meetings.setdefault((place, form), _Meeting())
        meeting.over.set()

    async def rows(self) -> list[Json]:
        """Return all that is known, as run.json has it."""
        found = [
            {
                "endpoint": place.endpoint,
                "model": place.model,
                "manner": lesson.manner,
                "because": lesson.because,
            }
            for place, lessons in self._lessons.items()
            for lesson in lessons.values()
        ]
        return sorted(found, key=lambda row: (row["endpoint"], row["model"], row["manner"]))[
            :_MOST_ROWS
        ]

    def _of(self, place: Place) -> tuple[Lesson, ...]:
        return tuple(self._lessons.get(place, {}).values())


def sentences(rows: Sequence[Json]) -> list[str]:
    """Return what improv does for the models of a run, a sentence for each."""
    clauses: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["manner"] in WAY_WORDS:
            continue  # what it can do, and not what it does not take
        clauses.setdefault((row["model"], row["endpoint"]), []).append(describe(row["manner"]))
    return [
        f"{model} at {endpoint} does not take every request: improv {', and '.join(what)}"
        for (model, endpoint), what in clauses.items()
    ]
