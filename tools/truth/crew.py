"""One check with one seed: the task that a process of `make truth` takes.

A process finds it here by its name, which it could not if this were the module that was started.
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
"""Errors that a figure of another seed, at a smaller size, may lie beside its band."""


@dataclass(frozen=True)
class Made:
    """What came of one check with one seed; `why` where it could not be made."""

    number: int
    seed: int
    figures: tuple[Figure, ...]
    seconds: float
    """Of a core: how long it takes where nothing else runs."""
    again: bool
    why: str = ""

    @property
    def held(self) -> bool:
        return not self.why and all(self.well(f) for f in self.figures)

    def well(self, figure: Figure) -> bool:
        return figure.near(ROOM) if self.again else figure.held


def make(number: int, seed: int, again: bool) -> Made:
    check = next(c for c in CHECKS if c.number == number)
    began = time.process_time()
    figures: list[Figure] = []
    why = ""
    with tempfile.TemporaryDirectory(prefix="improv-truth-") as root:
        try:
            sizes = check.again if again else check.full
            figures = check.figures(seed, Path(root), **sizes)
        except Exception as e:  # a check that breaks is a failed one, and the others go on
            why = f"{type(e).__name__}: {e}"
    return Made(number, seed, tuple(figures), time.process_time() - began, again, why)
