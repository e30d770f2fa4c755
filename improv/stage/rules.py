"""Outside-text: rules that are enforced from outside the scene, on the line that was drawn.

A filter verifies every line and has those that break a rule drawn again; a sham filter has lines
drawn again by chance, so that what a filter does to a scene is not confused with what it costs.
Both know only what was drawn and who drew it when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

from improv.records import Call, Draw, seed_of
from improv.stage.reply import CleanLine
from improv.study.predicate import keeps
from improv.study.scene import EVERYBODY, Rule, Scene

Rules = tuple[tuple[str, Rule], ...]
"""Rules by name, in the order of the scene."""

WITHHELD = "withheld"
"""The cut of a line that was drawn until a filter would have no more of it."""


def binding_rules(scene: Scene, name: str, *enforced: str) -> Rules:
    """Return the rules that bind a character and are enforced in one of these ways."""
    if not scene.rules:
        return ()
    return tuple(
        (key, rule)
        for key, rule in scene.rules.items()
        if rule.enforced in enforced and rule.of in (EVERYBODY, name)
    )


async def draw_until_allowed(
    rules: Rules, identity: Draw, once: Callable[[Draw], Awaitable[tuple[Call, CleanLine]]]
) -> tuple[Call, CleanLine]:
    """Draw a line until the rules let it pass, each time as another attempt of the same draw.

    The line's cuts say how often it was drawn again. One that a filter has refused more than
    `redraws` times is withheld: a silence, said by nobody. A sham filter withholds nothing.
    """
    refused: Counter[str] = Counter()
    while True:
        times = refused.total()
        again = identity.redrawn(times)
        call, line = await once(again)
        objecting = (
            (name, rule)
            for name, rule in rules
            if _refuses(name, rule, line, again)
            and not (rule.enforced == "sham" and refused[name] >= rule.redraws)
        )
        name, rule = next(objecting, ("", None))
        if rule is None:
            return call, _told(line, times)
        if refused[name] >= rule.redraws:
            return call, CleanLine("", (*_told(line, times).cuts, WITHHELD))
        refused[name] += 1


def _refuses(name: str, rule: Rule, line: CleanLine, draw: Draw) -> bool:
    if not line.text:
        return False  # nothing was said, and so nothing that breaks a rule
    if rule.enforced == "sham":
        return (seed_of("sham", draw.key, name) + 0.5) / 2**31 < rule.sham_rate
    return not keeps(rule, line.text)


def _told(line: CleanLine, times: int) -> CleanLine:
    return replace(line, cuts=(*line.cuts, f"redrawn {times}")) if times else line
