"""A strip of scores over the turns of a scene: a row of small marks for each measure. Pure.

Heights carry the meaning, not colours alone: a break is a tall mark, a kept character a low one, a
missing score a thin line. A row has at most three drawings for a scene of any length, so a thousand
turns cost as much as ten. The page's script finds the turn that was clicked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from urllib.parse import quote

from improv.records import Json, Turn
from improv.study.measure_spec import NEITHER
from ui.scene import stops
from ui.shared import score_words
from ui.shared.html import safe, short_line

HIGH, WIDE = 20, 10
"""The height of a row and the width of a turn, in units of the SVG."""
ROWS = 12


def tally(turns: Sequence[Turn], scores: Sequence[Json], last: int, *, margin: bool) -> str:
    """Return the strip, "" where there is no score and no act. `last` is the last turn."""
    by = sorted(
        (s for s in scores if s["turn"]), key=lambda s: (s["measure"], s["character"], s["turn"])
    )
    rows = {
        key: list(group) for key, group in groupby(by, lambda s: (s["measure"], s["character"]))
    }
    order = score_words.ordered(measure for measure, _ in rows)
    keys = sorted(rows, key=lambda key: (order.index(key[0]), key[1]))
    drawn = [_row(key[1], score_words.measure_name(key[0]), rows[key], last) for key in keys[:ROWS]]
    if margin and (acting := stops.moves(turns)):
        drawn.append(_acts(acting, last))
    if not drawn or not last:
        return ""
    left = len(keys) - ROWS
    more = f'<p class="quiet">The table of scores has {left} more.</p>' if left > 0 else ""
    return (
        '<details class="tally" open><summary>Scores over the turns</summary>'
        f'<div class="rows" tabindex="0" role="group" aria-label="Scores over the turns">'
        f"{''.join(drawn)}{more}</div></details>"
    )


def _row(who: str, what: str, scores: Sequence[Json], last: int) -> str:
    shares = all(s["value"] is None or 0 <= s["value"] <= 1 for s in scores)
    known = [s["value"] for s in scores if s["value"] is not None]
    low, high = (0.0, 1.0) if shares else (min(known), max(known))
    marks: dict[str, list[str]] = {"held": [], "broke": [], "missing": []}
    for s in scores:
        at, value = s["turn"], s["value"]
        if value is None:
            marks["missing"].append(_bar(at, 1.5, last))
        elif score_words.broken(s):
            marks["broke"].append(_bar(at, HIGH - 1, last))
        elif score_words.can_break(s["measure"]):
            marks["held"].append(_bar(at, 6 if value > NEITHER else 10, last))
        else:
            share = (value - low) / (high - low) if high > low else 0.5
            marks["held"].append(_bar(at, 2 + share * (HIGH - 4), last))
    paths = {name: "".join(bars) for name, bars in marks.items() if bars}
    return _strip(who, what, _summary(scores), [s["turn"] for s in scores], paths, last)


def _acts(turns: Sequence[int], last: int) -> str:
    paths = {"acts": "".join(_bar(t, 12, last) for t in turns)}
    return _strip("The author", "acts", f"before {_turns(turns)}", turns, paths, last)


def _bar(turn: int, high: float, last: int) -> str:
    """Return the path of a mark in the middle of its turn: narrow in a short scene, wide in a long
    one."""
    wide = WIDE * min(0.8, 0.12 + last / 150)
    left = (turn - 0.5) * WIDE - wide / 2
    return f"M{left:.1f} {HIGH}v{-high:g}h{wide:.1f}v{high:g}z"


def _strip(
    who: str, what: str, summary: str, turns: Sequence[int], paths: Mapping[str, str], last: int
) -> str:
    drawn = "".join(_drawing(name, d, last) for name, d in paths.items())
    where = " ".join(map(str, sorted(set(turns))))
    name = safe(f"{short_line(who, 40)}, {short_line(what, 80)}: {summary}")
    return (
        f'<div class="row"><p class="what"><strong>{safe(short_line(who, 24))}</strong> '
        f"{safe(short_line(what, 60))}</p>"
        f'<div class="marks" data-last="{last}" data-turns="{where}" role="img" '
        f'aria-label="{name}" title="{name}">{drawn}</div></div>'
    )


def _drawing(name: str, path: str, last: int) -> str:
    """Return marks as a CSS mask over the theme's colour. Streamlit removes inline SVG, and an SVG
    in an image cannot use the colours of the theme."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {last * WIDE} {HIGH}" '
        f'preserveAspectRatio="none"><path d="{path}"/></svg>'
    )
    url = f"url(data:image/svg+xml,{quote(svg, safe='')})"
    return f'<span class="{name}" style="mask-image:{url};-webkit-mask-image:{url}"></span>'


def _summary(scores: Sequence[Json]) -> str:
    broke = [s["turn"] for s in scores if score_words.broken(s)]
    missing = sum(s["value"] is None for s in scores)
    parts = [f"{len(scores)} scores"]
    if score_words.can_break(scores[0]["measure"]):
        parts.append(f"breaks at {_turns(broke)}" if broke else "no break")
    else:
        known = [s["value"] for s in scores if s["value"] is not None]
        parts += [f"mean {sum(known) / len(known):.2g}"] if known else []
    return ", ".join(parts + ([f"{missing} missing"] if missing else []))


def _turns(turns: Sequence[int]) -> str:
    shown = ", ".join(map(str, turns[:12])) + (" …" if len(turns) > 12 else "")
    return f"turn{'' if len(turns) == 1 else 's'} {shown}"
