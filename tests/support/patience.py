"""How long a test waits, on a machine that may be busy or asleep meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

_SLICE = 1.0


class Patience:
    """Seconds that this process has waited. While it was stopped itself, nothing could end in time,
    so of the time between two looks a second counts at most."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked = time.monotonic()

    @property
    def over(self) -> bool:
        now = time.monotonic()
        self._left -= min(now - self._looked, _SLICE)
        self._looked = now
        return self._left < 0


def until(happened: Callable[[], object], patience: float = 240.0, every: float = 0.005) -> bool:
    """Wait until `happened` is true or time is up; return which."""
    waiting = Patience(patience)
    while not happened():
        if waiting.over:
            return False
        time.sleep(every)
    return True
