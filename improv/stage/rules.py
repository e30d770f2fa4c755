"""Rules that are enforced from outside the scene, on the line that was drawn.

A filter checks every line and draws a line that breaks a rule again. A sham filter draws lines
again at random: the control that separates what a filter does from what redraws do. Both read only
the line and the identity of its draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

from improv.records import Call, Draw, seed_of
from improv.stage.reply import CleanLine
from improv.study.predicate import satisfies
from improv.study.scene import EVERYBODY, Rule, Scene
from improv.wrapping import own_words

Rules = tuple[tuple[str, Rule], ...]
"""Rules by name, in the order of the scene."""

WITHHELD = "withheld"
"""The cut of a line that a filter refused more often than the rule allows redraws."""


def binding_rules(scene: Scene, name: str, *enforced: str) -> Rules:
    """Return the rules that bind the character `name` and are `enforced` in one of these ways."""
    if not scene.rules:
        return ()
    return tuple(
        (key, rule)
        for key, rule in scene.rules.items()
        if rule.enforced in enforced and rule.of in (EVERYBODY, name)
    )


async def draw_until_allowed(
    rules: Rules, identity: Draw, draw_once: Callable[[Draw], Awaitable[tuple[Call, CleanLine]]]
) -> tuple[Call, CleanLine]:
    """Draw a line until no rule refuses it, each time as another attempt of the same draw.

    The line's cuts say how often it was drawn again. A line that a filter has refused more than
    `redraws` times is withheld: the turn is a silence. A sham filter withholds nothing.
    """
    refused: Counter[str] = Counter()
    while True:
        times = refused.total()
        attempt = identity.redrawn(times)
        call, line = await draw_once(attempt)
        refusing = (
            (name, rule)
            for name, rule in rules
            if _refuses(name, rule, line, attempt)
            and not (rule.enforced == "sham" and refused[name] >= rule.redraws)
        )
        name, rule = next(refusing, ("", None))
        if rule is None:
            return call, _with_redraws(line, times)
        if refused[name] >= rule.redraws:
            return call, CleanLine("", (*_with_redraws(line, times).cuts, WITHHELD))
        refused[name] += 1


def _refuses(name: str, rule: Rule, line: CleanLine, draw: Draw) -> bool:
    if not line.text:
        return False  # a silence breaks no rule
    if rule.enforced == "sham":
        return (seed_of("sham", draw.key, name) + 0.5) / 2**31 < rule.sham_rate
    return not satisfies(rule, line.text)


def _with_redraws(line: CleanLine, times: int) -> CleanLine:
    return replace(line, cuts=(*line.cuts, f"redrawn {times}")) if times else line


def remembered_reply(reply: str, cuts: tuple[str, ...]) -> str:
    """Return the reply as its speaker remembers it: without its reasoning, and empty if the line
    was withheld."""
    if WITHHELD in cuts:
        return ""
    return own_words(reply) if "reasoning" in cuts else reply
