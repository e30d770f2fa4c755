"""Whether a stated secret is kept: line by line, and the turn at which it is given away.

With a judge, or without: then a line gives it away that holds enough of the words which only the
secret has. That is crude. It misses paraphrases, and is deaf to irony.
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
"""A line gives a secret away if it holds this share of its own words, and two at least."""
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
    """Return a question for each own line of those who have a secret: 1 kept, 0 given away."""
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
    """Score each own line of those who have a secret by the words that only the secret has.

    A secret of fewer than two such words cannot be found this way: its lines are missing.
    """
    scores = []
    for c in scene.cast:
        if not c.secret:
            continue
        words = telltale_stems(c, scene)
        needed = max(2, math.ceil(_SHARE * len(words)))
        lines, silences = own_lines(transcript, c.name)
        for turn in sorted([*lines, *silences], key=lambda t: t.turn):
            found = sorted(words & set(_stems(turn.text)))
            readable = turn.kind == "line" and len(words) >= 2
            value = float(len(found) < needed) if readable else None
            evidence = orjson.dumps({"words": found, "of": len(words), "line": turn.text}).decode()
            scores.append(
                Score(
                    turn.trial, turn.branch, turn.turn, c.name, "secret", _VERSION, value, evidence
                )
            )
    return scores + disclosure_scores(scores)


def telltale_stems(c: CharacterSpec, scene: Scene) -> set[str]:
    """Return the stems of a secret that nothing public holds: premise, world, roles, opening, and
    the holder's own card, from which it may speak freely."""
    public = [scene.premise, scene.place, *scene.world, c.card, c.goal, *c.samples]
    public += [f"{each.name} {each.role}" for each in scene.cast]
    public += [o.line or o.direction or "" for o in scene.opening]
    known = {stem for text in public for stem in _stems(text)}
    return set(_stems(c.secret)) - known


def disclosure_scores(scores: Iterable[Score]) -> list[Score]:
    """Return, from the scores of lines, the turn at which each secret was first given away.

    One that never was is censored at its holder's last line: `given_away` in the evidence says
    which. Where no line could be read the turn is missing.
    """
    by_holder: dict[tuple[str, str, str], list[Score]] = {}
    for s in scores:
        if s.measure == "secret" and s.turn is not None:
            by_holder.setdefault((s.trial, s.branch, s.character), []).append(s)
    found = []
    for (trial, branch, who), mine in by_holder.items():
        turns = sorted(s.turn for s in mine if s.value == 0 and s.turn is not None)
        last = max(s.turn or 0 for s in mine)
        missing = sum(s.value is None for s in mine)
        value = float(turns[0] if turns else last) if missing < len(mine) else None
        evidence = {"given_away": bool(turns), "last": last, "missing": missing}
        found.append(
            Score(
                trial,
                branch,
                None,
                who,
                "secret:turn",
                mine[0].version,
                value,
                orjson.dumps(evidence).decode(),
            )
        )
    return found


def _stems(text: str) -> list[str]:
    """Return a text's words of content, cut so that most of their forms are one."""
    return [w[:6] for w in _WORD.findall(text.casefold()) if w not in _COMMON]
