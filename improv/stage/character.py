"""A character on the stage: a Mesa agent with a thread of what it has seen and heard.

It decides nothing of when it speaks (the stage does) nor of what its words do (hearing and the
stage do); it asks its model for a line when it is cued.
"""

from __future__ import annotations

from collections.abc import Sequence

import mesa

from improv.models.request import Ask, Drawer, Prompt
from improv.records import Block, Call, Draw
from improv.stage import prompts
from improv.stage.reply import CleanLine, clean
from improv.stage.rules import Rules, draw_until_allowed
from improv.study import scene

MIN_DIARY_TOKENS = 200
"""Tokens that whoever writes down what will be remembered may use, at least."""


class Character(mesa.Agent):  # type: ignore[misc]
    """One member of the cast while a scene is played."""

    def __init__(
        self, stage: mesa.Model, whole: scene.Scene, who: scene.Character, blocks: dict[str, Block]
    ) -> None:
        super().__init__(stage)
        self.who = who
        self.name = who.name
        self.plays = whole.model_of(who.name)
        self.present = not who.offstage
        self.last_spoke = -1
        self.mode = self.plays.plays_in
        self._head = prompts.character_head(whole, who, self.mode)
        self._blocks = blocks
        self.thread = prompts.Thread.begin(self.mode, self._head, blocks)

    def recall(self, block: Block, reply: str) -> None:
        """Take in again a line that was this character's own."""
        self.cue()
        self.thread.said(block, reply)

    def cue(self) -> None:
        """Take in the cue of a line that nobody asks for. (A script's cue is part of the line.)"""
        if self.mode == "chat":
            self.thread.show(prompts.line_cue(self.mode, self.name))

    def wake(self, memory: str) -> None:
        """Forget the scene so far, and remember `memory` instead."""
        self.thread = prompts.Thread.begin(self.mode, self._head, self._blocks)
        if memory.strip():
            self.thread.show(prompts.memory_block(self.name, memory))

    async def speak(
        self, draw: Drawer, identity: Draw, rules: Rules, cast: Sequence[str]
    ) -> tuple[Call, CleanLine]:
        """Ask the model for this character's next line, again where a rule has it drawn again.

        Raises ModelError.
        """
        shown = self._asked()

        async def once(again: Draw) -> tuple[Call, CleanLine]:
            call = await draw(Ask(again, self.plays, shown))
            return call, clean(call.reply, self.name, cast)

        return await draw_until_allowed(rules, identity, once)

    async def answer(self, question: Block, draw: Drawer, identity: Draw) -> Call:
        """Ask the model what this character answers off the record: a fork of its thread is asked,
        and it will not remember. Raises ModelError."""
        aside = self.thread.fork()
        aside.show(question)
        return await draw(Ask(identity, self.plays, self._asked(aside)))

    async def write(self, draw: Drawer, identity: Draw) -> Call:
        """Ask the model for this character's diary of a session that is over. Raises ModelError."""
        page = self.thread.fork()
        page.show(prompts.diary_question(self.name))
        shown = page.ask(prompts.diary_cue(self.mode, self.name), self._stop)
        # Facts need more room than a line of dialogue.
        roomy = self.plays.model_copy(
            update={"max_tokens": max(self.plays.max_tokens, MIN_DIARY_TOKENS)}
        )
        return await draw(Ask(identity, roomy, shown))

    def _asked(self, thread: prompts.Thread | None = None) -> Prompt:
        cue = prompts.line_cue(self.mode, self.name)
        return (thread or self.thread).ask(cue, self._stop)

    @property
    def _stop(self) -> tuple[str, ...]:
        return ("\n",) if self.mode == "script" else ()
