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
        mode = self.plays.plays_in
        self.thread = prompt.Thread.begin(mode, prompt.character_head(whole, who, mode), book)

    async def act(self, draw: Drawer, identity: Draw) -> Call:
        """Ask the model for this character's next line. Raises ModelError."""
        mode = self.plays.plays_in
        stop = ("\n",) if mode == "script" else ()
        shown = self.thread.ask(prompt.line_cue(mode, self.name), stop)
        return await draw(Ask(identity, self.plays, shown))
