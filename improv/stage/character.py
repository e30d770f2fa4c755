"""A character on the stage: a Mesa agent with a thread of what it has seen and heard.

It asks its model for a line when it is cued. The stage decides when it speaks and who hears it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mesa

from improv.models.request import Ask, Drawer, Prompt
from improv.records import Block, Call, Draw
from improv.stage import prompts
from improv.stage.reply import CleanLine, clean
from improv.stage.rules import Rules, draw_until_allowed
from improv.study import scene

MIN_DIARY_TOKENS = 200
"""Minimum `max_tokens` for a diary and for the author's bible."""


class Character(mesa.Agent):  # type: ignore[misc]
    """One member of the cast while a scene is played."""

    def __init__(
        self,
        stage: mesa.Model,
        whole: scene.Scene,
        spec: scene.CharacterSpec,
        blocks: dict[str, Block],
    ) -> None:
        super().__init__(stage)
        self.spec = spec
        self.name = spec.name
        self.model_spec = whole.model_of(spec.name)
        self.present = not spec.offstage
        self.last_spoke = -1
        self.mode = self.model_spec.plays_in
        self._head = prompts.character_head(whole, spec, self.mode)
        self._blocks = blocks
        self.thread = prompts.Thread.begin(self.mode, self._head, blocks)

    def recall(self, block: Block, reply: str) -> None:
        """Add a line of this character's own that is not drawn anew, with its cue."""
        self.cue()
        self.thread.said(block, reply)

    def cue(self) -> None:
        """Add the cue of a line that no model is asked for. In a script it is part of the line."""
        if self.mode == "chat":
            self.thread.show(prompts.line_cue(self.mode, self.name))

    def wake(self, memory: str) -> None:
        """Begin a new thread, with `memory` in place of the scene so far."""
        self.thread = prompts.Thread.begin(self.mode, self._head, self._blocks)
        if memory.strip():
            self.thread.show(prompts.memory_block(self.name, memory))

    async def speak(
        self,
        draw: Drawer,
        identity: Draw,
        rules: Rules,
        cast: Sequence[str],
        aliases: Mapping[str, Sequence[str]],
    ) -> tuple[Call, CleanLine]:
        """Draw this character's next line, and draw it again if one of `rules` refuses it.

        `cast` is every name of the scene, and `aliases` their further names, with which the reply
        is cleaned. Raises ModelError.
        """
        prompt = self._line_prompt(self.thread)

        async def draw_once(attempt: Draw) -> tuple[Call, CleanLine]:
            call = await draw(Ask(attempt, self.model_spec, prompt))
            return call, clean(call.reply, self.name, cast, aliases)

        return await draw_until_allowed(rules, identity, draw_once)

    async def answer(self, question: Block, draw: Drawer, identity: Draw) -> Call:
        """Ask this character a question off the record: on a fork of its thread, so that it does
        not remember the question. Raises ModelError."""
        fork = self.thread.fork()
        fork.show(question)
        return await draw(Ask(identity, self.model_spec, self._line_prompt(fork)))

    async def write(self, draw: Drawer, identity: Draw) -> Call:
        """Ask the model for this character's diary of a session that is over. Raises ModelError."""
        fork = self.thread.fork()
        fork.show(prompts.diary_question(self.name))
        prompt = fork.ask(prompts.diary_cue(self.mode, self.name), self._stop)
        # Facts need more room than a line of dialogue.
        roomy = self.model_spec.model_copy(
            update={"max_tokens": max(self.model_spec.max_tokens, MIN_DIARY_TOKENS)}
        )
        return await draw(Ask(identity, roomy, prompt))

    def _line_prompt(self, thread: prompts.Thread) -> Prompt:
        return thread.ask(prompts.line_cue(self.mode, self.name), self._stop)

    @property
    def _stop(self) -> tuple[str, ...]:
        return ("\n",) if self.mode == "script" else ()
