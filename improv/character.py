"""A character on the stage: a Mesa agent with a thread of what it has seen and heard.

It decides nothing of when it speaks (the stage does) nor of what its words do (hearing and the
stage do); it asks its model for a line when it is cued.
"""

from __future__ import annotations

import mesa

from improv import prompt, scene
from improv.model import Ask, Drawer
from improv.record import Block, Call, Draw


class Character(mesa.Agent):  # type: ignore[misc]
    """One member of the cast while a scene is played."""

    def __init__(
        self, stage: mesa.Model, whole: scene.Scene, who: scene.Character, book: dict[str, Block]
    ) -> None:
        super().__init__(stage)
        self.who = who
        self.name = who.name
        self.plays = whole.model_of(who.name)
        self.present = not who.offstage
        self.last_spoke = -1
        self.mode = self.plays.plays_in
        self._head = prompt.character_head(whole, who, self.mode)
        self._book = book
        self.thread = prompt.Thread.begin(self.mode, self._head, book)

    def recall(self, block: Block, reply: str) -> None:
        """Take in again a line that was this character's own."""
        self.cue()
        self.thread.said(block, reply)

    def cue(self) -> None:
        """Take in the cue of a line that nobody asks for. (A script's cue is part of the line.)"""
        if self.mode == "chat":
            self.thread.show(prompt.line_cue(self.mode, self.name))

    def wake(self, memory: str) -> None:
        """Forget the scene so far, and remember `memory` instead."""
        self.thread = prompt.Thread.begin(self.mode, self._head, self._book)
        if memory.strip():
            self.thread.show(prompt.memory(self.name, memory))

    async def act(self, draw: Drawer, identity: Draw) -> Call:
        """Ask the model for this character's next line. Raises ModelError."""
        stop = ("\n",) if self.mode == "script" else ()
        shown = self.thread.ask(prompt.line_cue(self.mode, self.name), stop)
        return await draw(Ask(identity, self.plays, shown))

    async def answer(self, question: str, draw: Drawer, identity: Draw) -> Call:
        """Ask the model what this character answers off the record. Raises ModelError."""
        self.thread.show(prompt.probe(self.name, question))
        return await self.act(draw, identity)
