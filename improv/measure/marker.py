"""The marker measure: verbal habits that a program can verify on a line, with no model.

A silent turn has no line to read; it scores missing, never kept.
"""

from __future__ import annotations

import re

from improv.record import Score, Transcript
from improv.scene import Habit, Scene

VERSION = "marker-1"
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?…。！？]+(?=\s|$|[\"”»')])")
_STAGED = re.compile(r"\([^()]*\)")


def habits(transcript: Transcript, scene: Scene) -> list[Score]:
    """Score every improvised line of characters with a habit: 1 kept, 0 broken, None missing.

    The evidence is the line itself, so that the score can be read beside what it read.
    """
    by_name = {c.name: c.habit for c in scene.cast if c.habit is not None}
    scores = []
    for turn in transcript.lines():
        habit = by_name.get(turn.speaker)
        if habit is None:
            continue
        value = float(keeps(habit, turn.text)) if turn.kind == "line" else None
        scores.append(
            Score(
                turn.trial, turn.branch, turn.turn, turn.speaker,
                f"habit:{habit.marker}", VERSION, value, turn.text,
            )
        )  # fmt: skip
    return scores


def keeps(habit: Habit, line: str) -> bool:
    """Whether `line` keeps the habit. Stage business in parentheses is not speech."""
    spoken = _STAGED.sub(" ", line).strip()
    number = habit.value if isinstance(habit.value, int) else 0
    phrases = habit.value if isinstance(habit.value, list) else []
    words = _words(spoken)
    match habit.marker:
        case "never_asks":
            return "?" not in spoken and "？" not in spoken
        case "always_asks":
            return "?" in spoken or "？" in spoken
        case "one_sentence":
            return len(_SENTENCE_END.findall(spoken)) <= 1
        case "at_most_words":
            return len(words) <= number
        case "at_least_words":
            return len(words) >= number
        case "says_any":
            return any(_within(_words(p), words) for p in phrases)
        case "never_says":
            return not any(_within(_words(p), words) for p in phrases)
        case "starts_with":
            return any(words[: len(_words(p))] == _words(p) for p in phrases)
        case "ends_with":
            return any(words[len(words) - len(_words(p)) :] == _words(p) for p in phrases)


def _words(text: str) -> list[str]:
    return [w.replace("’", "'") for w in _WORD.findall(text.casefold())]


def _within(phrase: list[str], words: list[str]) -> bool:
    size = len(phrase)
    return any(words[i : i + size] == phrase for i in range(len(words) - size + 1))
