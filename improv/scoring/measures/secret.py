"""Secrets: whether each line keeps its speaker's secret, and the turn that gives it away.

A judge decides, or a count of words: a line gives the secret away if it has enough of the words
that occur in the secret alone. The count is crude: it misses paraphrases and irony.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import orjson

from improv.records import Score, Transcript
from improv.scoring.measures.judge_item import Item, item, lines_before, own_lines, shown_line
from improv.scoring.measures.judge_prompts import SECRET
from improv.study.measure_spec import version_of
from improv.study.scene import CharacterSpec, Scene

_VERSION = version_of("secret")
_JUDGED_VERSION = version_of("secret", judged=True)
_SHARE = 0.5
"""A line gives a secret away if it has this share of the secret's own words, and at least two."""
_WORD = re.compile(r"[^\W\d_]{4,}")
_PLAIN = """
about after again been before being both could does down each even every from have having
here herself himself into itself just like made make many more most much must never only
other over same shall should since some such than that their them then there these they
this those through told under until very were what when where which while will with would
your yours
"""
_COMMON = frozenset(_PLAIN.split())


def secret_items(transcript: Transcript, scene: Scene) -> list[Item]:
    """Return a question for each own line of a character with a secret: 1 kept, 0 given away."""
    return [
        item(
            turn,
            "secret",
            _JUDGED_VERSION,
            SECRET,
            {"kept": 1.0, "given away": 0.0, "unreadable": None},
            evidence={"line": shown_line(turn.text)},
            name=c.name.upper(),
            secret=shown_line(c.secret),
            before=lines_before(transcript, turn),
            line=f"{c.name.upper()}: {shown_line(turn.text)}",
        )
        for c in scene.cast
        if c.secret
        for turn in own_lines(transcript, c.name)[0]
    ]


def secret_scores(transcript: Transcript, scene: Scene) -> list[Score]:
    """Score each own line of a character with a secret by the words that only the secret has.

    If a secret has fewer than two such words, the scores of its holder's lines are missing.
    """
    scores = []
    for c in scene.cast:
        if not c.secret:
            continue
        words = telltale_stems(c, scene)
        needed = max(2, math.ceil(_SHARE * len(words)))
        lines, silences = own_lines(transcript, c.name)
        for turn in sorted([*lines, *silences], key=lambda t: t.turn):
            matches = sorted(words & set(_stems(turn.text)))
            readable = turn.kind == "line" and len(words) >= 2
            value = float(len(matches) < needed) if readable else None
            evidence = orjson.dumps(
                {"words": matches, "of": len(words), "line": turn.text}
            ).decode()
            scores.append(
                Score(
                    trial=turn.trial,
                    branch=turn.branch,
                    turn=turn.turn,
                    character=c.name,
                    measure="secret",
                    version=_VERSION,
                    value=value,
                    evidence=evidence,
                )
            )
    return scores + disclosure_scores(scores)


def telltale_stems(c: CharacterSpec, scene: Scene) -> set[str]:
    """Return the stems of a secret that occur neither in public text (premise, world, roles,
    opening) nor in the holder's own card, which it may quote freely."""
    public = [scene.premise, scene.place, *scene.world, c.card, c.goal, *c.samples]
    public += [f"{each.name} {each.role}" for each in scene.cast]
    public += [o.line or o.direction or "" for o in scene.opening]
    known = {stem for text in public for stem in _stems(text)}
    return set(_stems(c.secret)) - known


def disclosure_scores(scores: Iterable[Score]) -> list[Score]:
    """Return, from the scores of lines, the turn at which each secret was first given away.

    A secret that was kept is censored at its holder's last line; `given_away` in the evidence tells
    the two apart. If no line was readable, the score is missing.
    """
    by_holder: dict[tuple[str, str, str], list[Score]] = {}
    for s in scores:
        if s.measure == "secret" and s.turn is not None:
            by_holder.setdefault((s.trial, s.branch, s.character), []).append(s)
    disclosures = []
    for (trial, branch, who), mine in by_holder.items():
        turns = sorted(s.turn for s in mine if s.value == 0 and s.turn is not None)
        last = max(s.turn or 0 for s in mine)
        missing = sum(s.value is None for s in mine)
        value = float(turns[0] if turns else last) if missing < len(mine) else None
        evidence = {"given_away": bool(turns), "last": last, "missing": missing}
        disclosures.append(
            Score(
                trial=trial,
                branch=branch,
                turn=None,
                character=who,
                measure="secret:turn",
                version=mine[0].version,
                value=value,
                evidence=orjson.dumps(evidence).decode(),
            )
        )
    return disclosures


def _stems(text: str) -> list[str]:
    """Return the stems of a text's content words: their first six letters."""
    return [w[:6] for w in _WORD.findall(text.casefold()) if w not in _COMMON]
