"""Plays one check with one seed: the task of a process of `make truth`.

A process imports the task by its module's name, so the task cannot be in the started module.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tools.truth import draws, judges, rates
from tools.truth.planting import Figure

CHECKS = sorted([*rates.CHECKS, *draws.CHECKS, *judges.CHECKS], key=lambda c: c.number)
ROOM = 2.0
"""Standard errors by which a figure of another seed, at a smaller size, may miss its band."""


@dataclass(frozen=True)
class Result:
    """The figures of one check with one seed. `why` is the error if the check raised one."""

    number: int
    seed: int
    figures: tuple[Figure, ...]
    seconds: float
    """Processor time."""
    again: bool
    """Whether the check was played at its smaller size, with a seed that is not the first."""
    why: str = ""

    @property
    def held(self) -> bool:
        return not self.why and all(self.passes(f) for f in self.figures)

    def passes(self, figure: Figure) -> bool:
        """Whether a figure is in its band, or near enough to it for the smaller size."""
        return figure.near(ROOM) if self.again else figure.held


def play_check(number: int, seed: int, again: bool) -> Result:
    """Play check `number` in a temporary folder, at its smaller size if `again`."""
    check = next(c for c in CHECKS if c.number == number)
    began = time.process_time()
    figures: list[Figure] = []
    why = ""
    with tempfile.TemporaryDirectory(prefix="improv-truth-") as root:
        try:
            sizes = check.again if again else check.full
            figures = check.figures(seed, Path(root), **sizes)
        except Exception as e:  # a check that raises has failed, and the others go on
            why = f"{type(e).__name__}: {e}"
    return Result(number, seed, tuple(figures), time.process_time() - began, again, why)
