"""A strip of scores over the turns of a scene: a row of small marks for each measure. Pure.

Heights tell what colours would: a break stands tall, what is kept lies low, what could not be read
is a line on the floor. A row is three drawings however long the scene, so that a thousand turns
cost what ten do; the script of the page finds the turn that was clicked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from urllib.parse import quote

from improv.records import Json, Turn
from improv.study.measure_spec import NEITHER
from ui.scene import stops
from ui.shared import score_words
from ui.shared.html import one_line, safe

HIGH, WIDE = 20, 10
"""A row's height and a turn's width, in units of the drawing."""
ROWS = 12


def tally(turns: Sequence[Turn], scores: Sequence[Json], last: int, *, margin: bool) -> str:
    """Return the strip, or nothing where there is nothing to show. `last` is the last turn."""
    by = sorted(
        (s for s in scores if s["turn"]), key=lambda s: (s["measure"], s["character"], s["turn"])
    )
    rows = {
        key: list(found) for key, found in groupby(by, lambda s: (s["measure"], s["character"]))
    }
    order = score_words.ordered(measure for measure, _ in rows)
    keys = sorted(rows, key=lambda key: (order.index(key[0]), key[1]))
    drawn = [_row(key[1], score_words.name(key[0]), rows[key], last) for key in keys[:ROWS]]
    if margin and (acting := stops.moves(turns)):
        drawn.append(_acts(acting, last))
    if not drawn or not last:
        return ""
    left = len(keys) - ROWS
    more = f'<p class="quiet">{left} more stand in the table below.</p>' if left > 0 else ""
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
    """Return a mark in the middle of its turn: slim where there are few, close where there are
    many."""
    wide = WIDE * min(0.8, 0.12 + last / 150)
    left = (turn - 0.5) * WIDE - wide / 2
    return f"M{left:.1f} {HIGH}v{-high:g}h{wide:.1f}v{high:g}z"


def _strip(
    who: str, what: str, told: str, turns: Sequence[int], paths: Mapping[str, str], last: int
) -> str:
    drawn = "".join(_drawing(name, d, last) for name, d in paths.items())
    where = " ".join(map(str, sorted(set(turns))))
    name = safe(f"{one_line(who, 40)}, {one_line(what, 80)}: {told}")
    return (
        f'<div class="row"><p class="what"><strong>{safe(one_line(who, 24))}</strong> '
        f'{safe(one_line(what, 60))}</p><div class="marks" data-last="{last}" data-turns="{where}" '
        f'role="img" aria-label="{name}" title="{name}">{drawn}</div></div>'
    )


def _drawing(name: str, path: str, last: int) -> str:
    """Return marks as a mask, through which the page's own colour shows: a page of Streamlit has no
    SVG of its own, and a drawing as a picture has no colour of the theme's."""
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
