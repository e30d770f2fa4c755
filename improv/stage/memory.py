"""What is remembered from one session of a scene to the next, and by whom.

A session ends when an event wakes the cast. Before they forget it, diaries are written, or the
author writes down what holds: turns of kind "memory", which are no lines of the scene.
"""

from __future__ import annotations

from collections import defaultdict

from improv.models.request import Ask, Drawer
from improv.records import Block, Call, Draw, Turn
from improv.stage import prompts
from improv.stage.character import MIN_DIARY_TOKENS
from improv.study import scene
from improv.text import one_line

_AUTHOR = "author"


def starts_session(whole: scene.Scene, turn: int) -> bool:
    """Whether a session begins at `turn` of which nobody remembers all that was before."""
    return whole.memory != "all" and any(e.wake and e.turn == turn for e in whole.events)


class Memory:
    """What was written down so far, by name of the writer ("author" for the bible)."""

    def __init__(self, whole: scene.Scene, blocks: dict[str, Block]) -> None:
        self._cast = [c.name for c in whole.cast]
        self._entries: defaultdict[str, list[str]] = defaultdict(list)
        self.keeper: Keeper | None = None
        if whole.memory == "bible" and any(e.wake for e in whole.events):
            self.keeper = Keeper(whole, blocks)

    def keep(self, row: Turn) -> None:
        """Take in an entry, new or relived."""
        if row.text:
            self._entries[row.speaker].append(row.text)
        if self.keeper is not None and row.speaker == _AUTHOR:
            self.keeper.recall(row.raw)

    def of(self, whole: scene.Scene, name: str) -> str:
        """Return what a character wakes with: entries one a line, the oldest first."""
        if whole.memory == "bible":
            return "\n".join(filter(None, [one_line(whole.author.bible), *self._entries[_AUTHOR]]))
        writer = {"diary": name, "another's diary": self._next(name)}.get(whole.memory, "")
        return "\n".join(self._entries.get(writer, ()))

    def readers(self, kind: scene.Memory, writer: str) -> tuple[str, ...]:
        """Return who wakes with what `writer` has written."""
        if kind == "bible":
            return tuple(self._cast)
        if kind == "diary":
            return (writer,)
        return tuple(n for n in self._cast if self._next(n) == writer)

    def _next(self, name: str) -> str:
        return self._cast[(self._cast.index(name) + 1) % len(self._cast)]


class Keeper:
    """The author as who writes down what holds: a thread of its own, which nobody whispers to."""

    def __init__(self, whole: scene.Scene, blocks: dict[str, Block]) -> None:
        given = whole.model_of(_AUTHOR)
        self._called = whole.author.called
        self._plays = given.model_copy(
            update={"max_tokens": max(given.max_tokens, MIN_DIARY_TOKENS)}
        )
        self._mode = self._plays.plays_in
        self.thread = prompts.Thread.begin(self._mode, prompts.keeper_head(whole), blocks)

    async def write(self, draw: Drawer, identity: Draw) -> Call:
        """Ask the author's model what holds after a session. Raises ModelError."""
        page = self.thread.fork()
        if self._mode == "chat":
            shown = page.ask(prompts.bible_question())
        else:
            page.show(prompts.bible_question())
            shown = page.ask(prompts.author_cue(self._called), ("\n",))
        return await draw(Ask(identity, self._plays, shown))

    def recall(self, reply: str) -> None:
        """Take in what was asked and answered."""
        self.thread.show(prompts.bible_question())
        said = prompts.author_answer(self._called, self._mode, one_line(reply)[:2000])
        self.thread.said(said, reply)
