"""Lets the scenes of one process use their replies one after the other. client makes the calls."""

from __future__ import annotations

import asyncio
import collections


class Turnstile:
    """Lets one scene use its reply, and then lets the event loop run once before the next scene.

    Without it, replies that arrive together are processed together, and the scenes send their next
    requests only when all of them are processed. Such groups of scenes never separate, and each
    scene waits for its whole group.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._turning = False

    async def go_through(self) -> None:
        """Wait for this scene's moment. The first scene in a turn of the loop need not wait."""
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn)
            return
        moment = loop.create_future()
        self._waiting.append(moment)
        await moment

    def _turn(self) -> None:
        while self._waiting:
            moment = self._waiting.popleft()
            if not moment.done():
                moment.set_result(None)
                asyncio.get_running_loop().call_soon(self._turn)
                return
        self._turning = False
