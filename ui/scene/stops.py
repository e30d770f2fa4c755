"""Where one may want to stop in a scene: breaks, failures, the author's moves, what is searched,
bookmarks. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from improv.records import Json, Turn
from ui.shared import score_words

ACTING = ("note", "cue", "move", "end")
"""What an author does that changes something."""
MOST = 60
"""Bookmarks that an address holds."""


def breaks(scores: Iterable[Json]) -> list[int]:
    """Return the turns with a line that breaks something."""
    return sorted({s["turn"] for s in scores if score_words.broken(s)})


def moves(turns: Iterable[Turn]) -> list[int]:
    """Return the turns before which the author did something."""
    return sorted({t.turn for t in turns if any(a.kind in ACTING for a in t.acts)})


def failures(turns: Iterable[Turn], row: Json) -> list[int]:
    """Return the turns at which something went wrong: a call that ended the scene, an author's
    reply that could not be read, a line that was withheld."""
    found = {
        t.turn for t in turns if any(a.kind == "unread" for a in t.acts) or "withheld" in t.cuts
    }
    if row["status"] == "failed" and row["failure_turn"]:
        found.add(row["failure_turn"])
    return sorted(found)


def hits(turns: Iterable[Turn], wanted: str, *, margin: bool) -> list[int]:
    """Return the turns that hold a text in any case: said, done, or, with the margin, written in
    it. A turn before the first is the opening, 0."""
    asked = " ".join(wanted.casefold().split())
    if not asked:
        return []
    found = set()
    for t in turns:
        texts = [t.text] if margin or not t.off_record else []
        texts += [f"{a.to} {a.text}" for a in t.acts] if margin else []
        if any(asked in " ".join(text.casefold().split()) for text in texts):
            found.add(t.turn)
    return sorted(found)


def after(places: Sequence[int], now: int) -> int | None:
    """Return the next of these turns after `now`, the first again after the last."""
    return next((p for p in places if p > now), places[0] if places else None)


def before(places: Sequence[int], now: int) -> int | None:
    """Return the one before `now`, the last again before the first."""
    return next((p for p in reversed(places) if p < now), places[-1] if places else None)


def marks(text: str, last: int) -> list[int]:
    """Read bookmarks from an address, "3.7.12"; what is no turn is left out."""
    words = text[: MOST * 5].split(".")
    found = {int(w) for w in words if w.isascii() and w.isdecimal() and len(w) < 6}
    return sorted(n for n in found if 0 < n <= last)[:MOST]


def written(places: Iterable[int]) -> str:
    """Return bookmarks as an address has them."""
    return ".".join(map(str, sorted(set(places))))
