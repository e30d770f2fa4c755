"""The turns that a reader can jump to: breaks, failures, the author's moves, search hits,
bookmarks.

Pure: turns and scores in, turn numbers out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from improv.records import Json, Turn
from ui.shared import score_words

ACTING = ("note", "cue", "move", "end")
"""Kinds of an author's acts that have an effect."""
_MOST = 60
"""Most bookmarks in an address."""


def break_turns(scores: Iterable[Json]) -> list[int]:
    """Return the turns with a break."""
    return sorted({s["turn"] for s in scores if score_words.broken(s)})


def moves(turns: Iterable[Turn]) -> list[int]:
    """Return the turns before which the author acted."""
    return sorted({t.turn for t in turns if any(a.kind in ACTING for a in t.acts)})


def failures(turns: Iterable[Turn], row: Json) -> list[int]:
    """Return the turns with a failure: a call that ended the scene, an author's reply that could
    not be read, or a line that was withheld."""
    turns_failed = {
        t.turn for t in turns if any(a.kind == "unread" for a in t.acts) or "withheld" in t.cuts
    }
    if row["status"] == "failed" and row["failure_turn"]:
        turns_failed.add(row["failure_turn"])
    return sorted(turns_failed)


def hits(turns: Iterable[Turn], wanted: str, *, margin: bool) -> list[int]:
    """Return the turns whose text contains `wanted`, in any letter case; with `margin` also the
    turns whose acts contain it. Turn 0 is the opening."""
    needle = " ".join(wanted.casefold().split())
    if not needle:
        return []
    hit_turns = set()
    for t in turns:
        texts = [t.text] if margin or not t.off_record else []
        texts += [f"{a.to} {a.text}" for a in t.acts] if margin else []
        if any(needle in " ".join(text.casefold().split()) for text in texts):
            hit_turns.add(t.turn)
    return sorted(hit_turns)


def after(places: Sequence[int], now: int) -> int | None:
    """Return the first of `places` after `now`; after the last one, the first."""
    return next((p for p in places if p > now), places[0] if places else None)


def before(places: Sequence[int], now: int) -> int | None:
    """Return the last of `places` before `now`; before the first one, the last."""
    return next((p for p in reversed(places) if p < now), places[-1] if places else None)


def bookmarks(text: str, last: int) -> list[int]:
    """Return the bookmarks of an address such as "3.7.12", without numbers that are no turn."""
    words = text[: _MOST * 5].split(".")
    numbers = {int(w) for w in words if w.isascii() and w.isdecimal() and len(w) < 6}
    return sorted(n for n in numbers if 0 < n <= last)[:_MOST]


def bookmarks_text(places: Iterable[int]) -> str:
    """Return bookmarks as text for an address."""
    return ".".join(map(str, sorted(set(places))))
