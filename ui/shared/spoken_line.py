"""One row of a transcript as the rooms Multiverse and Stage door show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """The fields of a transcript's row that a branch, or a scene being played, shows."""

    turn: int
    kind: str
    speaker: str
    text: str
    aside: bool
    edited: bool
