"""Draws small charts as SVG: what a report shows without any request to anybody. Pure.

Colours are Okabe and Ito's, and no line is told by its colour alone: each is named beside it. A
chart carries a title and a description for those who don't see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 16, 40
_LONGEST = 36
"""Characters of a name beside a row."""
BESIDE = 24
"""The same at the end of a line."""
SAID = 34
"""Characters of what is said beside an estimate."""
LABEL = 14
"""The height of a label."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart: its name, its points in order of x, and whether it moves in steps."""

    name: str
    points: Sequence[tuple[float, float]]
    steps: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    """Its interval: x, low, high."""


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row of a forest: a name, an estimate with its interval, and what is said beside it."""

    name: str
    value: float
    low: float
    high: float
    said: str = ""


def line_chart(title: str, what: str, x: str, y: str, drawn: Sequence[ChartLine]) -> str:
    """Return a chart of lines over a common x as an SVG element; y begins at 0."""
    points = [p for line in drawn for p in line.points]
    points += [(x, high) for line in drawn for x, _, high in line.band]
    if not points:
        return ""
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    top = _ceiling(max(p[1] for p in points))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = (point[0] - first) / ((last - first) or 1)
        return LEFT + wide * across, TOP + high * (1 - point[1] / top)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" width="100%">',
        f"<title>{escape(title)}</title><desc>{escape(what)}</desc>",
    ]
    for i in range(5):
        value = top * i / 4
        _, level = at((first, value))
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{level:.1f}" y2="{level:.1f}" class="grid"/>'
            f'<text x="{LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for moment in _ticks(first, last):
        across, _ = at((moment, 0))
        parts.append(
            f'<text x="{across:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{moment:.3g}</text>'
        )
    parts.append(
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>'
        f'<text x="12" y="{TOP + high / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {TOP + high / 2})">{escape(y)}</text>'
    )
    labels: list[tuple[float, str, str]] = []
    for line, colour, dash in zip(drawn, COLOURS, ("", "5 3", "2 2", "8 2 2 2"), strict=False):
        if not line.points:
            continue
        if line.band:
            edge = [at((x, high)) for x, _, high in line.band]
            edge += [at((x, low)) for x, low, _ in reversed(line.band)]
            corners = " ".join(f"{across:.1f},{level:.1f}" for across, level in edge)
            parts.append(f'<polygon points="{corners}" fill="{colour}" fill-opacity=".12"/>')
        path, before = [], None
        for point in line.points:
            across, level = at(point)
            if line.steps and before is not None:
                path.append(f"L{across:.1f} {before:.1f}")
            path.append(f"{'L' if path else 'M'}{across:.1f} {level:.1f}")
            before = level
        parts.append(
            f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'stroke-dasharray="{dash}"/>'
        )
        labels.append((at(line.points[-1])[1], colour, line.name))
    parts += _labels(labels, LEFT + wide + 6, TOP + high)
    return "".join(parts) + "</svg>"


def _ticks(first: float, last: float) -> list[float]:
    """Return where to write numbers below a chart: whole ones where both ends are."""
    if first.is_integer() and last.is_integer() and last - first >= 4:
        step = math.ceil((last - first) / 6)
        return [float(x) for x in range(int(first), int(last) + 1, step)]
    return [first + (last - first) * i / 4 for i in range(5)] if last > first else [first]


def _labels(named: Sequence[tuple[float, str, str]], across: float, lowest: float) -> list[str]:
    """Write names beside the ends of their lines: (level, colour, name), none over another."""
    placed, free = [], lowest + LABEL
    for level, colour, name in sorted(named, reverse=True):
        free = min(level, free - LABEL)
        placed.append((free, colour, name))
    # Lines that all end at the top have pushed names out of the picture: back down, from there.
    parts, free = [], TOP - LABEL
    for level, colour, name in reversed(placed):
        free = max(level, free + LABEL)
        parts.append(
            f'<text x="{across}" y="{free + 4:.1f}" style="fill:{colour}" '
            f'class="name">{escape(_short(name, BESIDE))}</text>'
        )
    return parts


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def forest_chart(title: str, what: str, x: str, marks: Sequence[ForestRow]) -> str:
    """Return estimates with their intervals, one below the other, around a line at 0, as SVG."""
    known = [m for m in marks if not math.isnan(m.value)]
    if not known:
        return ""
    ends = [0.0, *(e for m in known for e in (m.value, m.low, m.high) if math.isfinite(e))]
    low, high = min(ends), max(ends)
    margin = 0.06 * ((high - low) or 1)
    low, high = low - margin, high + margin
    left, wide = 230, WIDTH - 230 - 190
    tall = TOP + 26 * len(known) + BOTTOM

    def at(value: float) -> float:
        bounded = min(max(value, low), high)
        return left + wide * (bounded - low) / (high - low)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {tall}" role="img" width="100%">',
        f"<title>{escape(title)}</title><desc>{escape(what)}</desc>",
        f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{TOP - 6}" y2="{tall - BOTTOM + 4}" '
        'class="zero"/>',
    ]
    for i, mark in enumerate(known):
        y = TOP + 26 * i + 13
        name = _short(mark.name, _LONGEST)
        parts.append(
            f'<text x="{left - 12}" y="{y + 4}" text-anchor="end" class="name">'
            f"{escape(name)}</text>"
        )
        if math.isfinite(mark.low) and math.isfinite(mark.high):
            parts.append(
                f'<line x1="{at(mark.low):.1f}" x2="{at(mark.high):.1f}" y1="{y}" y2="{y}" '
                f'stroke="{COLOURS[0]}" stroke-width="2"/>'
            )
        parts.append(
            f'<circle cx="{at(mark.value):.1f}" cy="{y}" r="4" fill="{COLOURS[0]}"/>'
            f'<text x="{left + wide + 10}" y="{y + 4}">{escape(_short(mark.said, SAID))}</text>'
        )
    parts += [
        f'<text x="{at(value):.1f}" y="{tall - 22}" text-anchor="middle">{value:g}</text>'
        for value in _round_ticks(low, high)
    ]
    parts.append(
        f'<text x="{left + wide / 2}" y="{tall - 4}" text-anchor="middle">{escape(x)}</text>'
    )
    return "".join(parts) + "</svg>"


def _round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two ends, 0 among them if it lies there."""
    unit = 10 ** math.floor(math.log10(high - low))
    step = next(unit * k for k in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (unit * k) <= 6)
    first = math.ceil(low / step)
    return [round(step * k, 10) for k in range(first, math.floor(high / step) + 1)]


def chain_figure(
    title: str, pole: str, opposite: str, alpha: str, beta: str, rates: tuple[float, float] = (0, 0)
) -> str:
    """Return a two-state chain as SVG: two circles and the two arrows between them, as wide as
    the `rates` of α and β are high."""
    down, up = (1.6 + 5 * min(max(r, 0.0), 1.0) if r == r else 1.6 for r in rates)
    what = f"From {pole} to {opposite} {alpha}; back {beta}."
    return (
        '<svg viewBox="0 0 420 130" role="img" width="100%" style="max-width:30rem">'
        f"<title>{escape(title)}</title><desc>{escape(what)}</desc>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="11" '
        'markerHeight="11" orient="auto" markerUnits="userSpaceOnUse">'
        f'<path d="M0 0L8 4L0 8z" fill="{COLOURS[0]}"/></marker></defs>'
        f'<circle cx="80" cy="65" r="44" fill="none" stroke="{COLOURS[2]}" stroke-width="2"/>'
        f'<circle cx="340" cy="65" r="44" fill="none" stroke="{COLOURS[1]}" stroke-width="2" '
        'stroke-dasharray="5 3"/>'
        f'<text x="80" y="69" text-anchor="middle" class="name">{escape(pole[:14])}</text>'
        f'<text x="340" y="69" text-anchor="middle" class="name">{escape(opposite[:14])}</text>'
        f'<path d="M122 45Q210 5 296 43" fill="none" stroke="{COLOURS[0]}" '
        f'stroke-width="{down:.1f}" '
        'marker-end="url(#tip)"/>'
        f'<path d="M298 87Q210 127 124 88" fill="none" stroke="{COLOURS[0]}" '
        f'stroke-width="{up:.1f}" '
        'marker-end="url(#tip)"/>'
        f'<text x="210" y="18" text-anchor="middle">{escape(alpha)}</text>'
        f'<text x="210" y="124" text-anchor="middle">{escape(beta)}</text></svg>'
    )


def thin_points(
    points: Sequence[tuple[float, float]], most: int = 600
) -> list[tuple[float, float]]:
    """Return at most about `most` points that keep each stretch's lowest and highest."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept: list[tuple[float, float]] = []
    for i in range(0, len(points), size):
        stretch = points[i : i + size]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def _ceiling(value: float) -> float:
    """Return a round number at or above `value` that four steps divide well."""
    if value <= 0:
        return 1.0
    unit = 10 ** math.floor(math.log10(value))
    return next(float(k * unit) for k in (1, 2, 4, 8, 10, 20) if k * unit >= value)
