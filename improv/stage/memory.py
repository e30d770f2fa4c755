"""What the cast remembers from one session of a scene to the next.

A session ends when an event wakes the cast. Before the characters forget it, they write diaries, or
the author writes the bible (what holds true): turns of kind "memory", which are no lines of the
scene.
"""

from __future__ import annotations

from collections import defaultdict

from improv.models.request import Ask, Drawer
from improv.records import Block, Call, Draw, Turn
from improv.stage import prompts
from improv.stage.character import MIN_DIARY_TOKENS
from improv.study import scene
from improv.text import one_line
from improv.wrapping import own_words

_AUTHOR = "author"


def starts_session(whole: scene.Scene, turn: int) -> bool:
    """Whether a session begins at `turn` in which the cast does not remember everything."""
    return whole.memory != "all" and any(e.wake and e.turn == turn for e in whole.events)


class Memory:
    """The entries written so far, by the name of the writer ("author" for the bible)."""

    def __init__(self, whole: scene.Scene, blocks: dict[str, Block]) -> None:
        self._cast = [c.name for c in whole.cast]
        self._entries: defaultdict[str, list[str]] = defaultdict(list)
        self.keeper: Keeper | None = None
        if whole.memory == "bible" and any(e.wake for e in whole.events):
            self.keeper = Keeper(whole, blocks)

    def add(self, row: Turn) -> None:
        """Add an entry: a new one, or one that a branch shares with its parent."""
        if row.text:
            self._entries[row.speaker].append(row.text)
        if self.keeper is not None and row.speaker == _AUTHOR:
            self.keeper.recall(row.raw)

    def text(self, whole: scene.Scene, name: str) -> str:
        """Return what a character remembers when it wakes: one entry a line, the oldest first."""
        if whole.memory == "bible":
            return "\n".join(filter(None, [one_line(whole.author.bible), *self._entries[_AUTHOR]]))
        writer = {"diary": name, "another's diary": self._next(name)}.get(whole.memory, "")
        return "\n".join(self._entries.get(writer, ()))

    def readers(self, kind: scene.MemorySpec, writer: str) -> tuple[str, ...]:
        """Return the characters that remember what `writer` wrote."""
        if kind == "bible":
            return tuple(self._cast)
        if kind == "diary":
            return (writer,)
        return tuple(n for n in self._cast if self._next(n) == writer)

    def _next(self, name: str) -> str:
        return self._cast[(self._cast.index(name) + 1) % len(self._cast)]


class Keeper:
    """The author as the writer of the bible, with a thread of its own, which gets no notes."""

    def __init__(self, whole: scene.Scene, blocks: dict[str, Block]) -> None:
        model = whole.model_of(_AUTHOR)
        self._called = whole.author.called
        self._model_spec = model.model_copy(
            update={"max_tokens": max(model.max_tokens, MIN_DIARY_TOKENS)}
        )
        self._mode = self._model_spec.plays_in
        self.thread = prompts.Thread.begin(self._mode, prompts.keeper_head(whole), blocks)

    async def write(self, draw: Drawer, identity: Draw) -> Call:
        """Ask the author's model what holds true after a session. Raises ModelError."""
        fork = self.thread.fork()
        if self._mode == "chat":
            prompt = fork.ask(prompts.bible_question())
        else:
            fork.show(prompts.bible_question())
            prompt = fork.ask(prompts.author_cue(self._called), ("\n",))
        return await draw(Ask(identity, self._model_spec, prompt))

    def recall(self, reply: str) -> None:
        """Add a question that was asked, and its answer, to the thread."""
        self.thread.show(prompts.bible_question())
        own = own_words(reply)
        answer = prompts.author_answer(self._called, self._mode, one_line(own)[:2000])
        self.thread.said(answer, own)
