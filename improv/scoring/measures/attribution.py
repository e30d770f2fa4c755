"""Blind attribution: who said this line? Characters that speak alike cannot be told apart."""

from __future__ import annotations

import re

from improv.records import Transcript
from improv.scoring.measures.judge_item import Item, harmless, item, own_lines, persona, shown_line
from improv.scoring.measures.judge_prompts import WHO
from improv.study.measure_spec import version_of
from improv.study.scene import CharacterSpec, Scene

_VERSION = version_of("attribution")
_MASK = "[name]"


def attribution_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return a question for each own line. The options are the cast; the speaker scores 1."""
    if len(scene.cast) < 2:
        return []
    described = "\n\n".join(_described(c) for c in scene.cast)
    questions = []
    for c in scene.cast:
        options: dict[str, float | None] = {
            # Names as the prompt shows them, so that an answer equals one of the options.
            harmless(each.name): float(each.name == c.name)
            for each in scene.cast
        }
        for turn in own_lines(transcript, c.name)[0]:
            line = masked(shown_line(turn.text), scene)
            questions.append(
                item(
                    turn,
                    "attribution",
                    _VERSION,
                    WHO,
                    options,
                    evidence={"line": line},
                    cast=described,
                    line=line,
                )
            )
    return questions


def masked(line: str, scene: Scene) -> str:
    """Return a line with every name of the cast masked, whole words in any case."""
    names = sorted((n for c in scene.cast for n in (c.name, *c.aliases)), key=len, reverse=True)
    return re.sub(
        "|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in names), _MASK, line, flags=re.IGNORECASE
    )


def _described(c: CharacterSpec) -> str:
    samples = "".join(f"\n- {line}" for line in c.samples[:2])
    return persona(c) + (f"\nSays things like:{samples}" if samples else "")
