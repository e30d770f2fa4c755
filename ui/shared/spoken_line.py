"""One row of a transcript as the rooms Multiverse and Stage door show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A row of a transcript, as far as a branch or a scene that is being played shows it."""

    turn: int
    kind: str
    speaker: str
    text: str
    aside: bool
    edited: bool
