"""Draws small charts as SVG, without external resources. No file is read or written.

Colours are Okabe and Ito's; each line also has its name beside it. A chart has a title and a
description for readers who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 150, 16, 40
_NAME_LENGTH = 36
"""Maximum characters of a name beside a row."""
_LINE_NAME_LENGTH = 24
"""Maximum characters of a name at the end of a line."""
_TEXT_LENGTH = 34
"""Maximum characters of the text beside an estimate."""
_LABEL_HEIGHT = 14
"""Height of a label in pixels."""
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
    """One row of a forest chart: a name, an estimate with its interval, and the text beside it."""

    name: str
    value: float
    low: float
    high: float
    text: str = ""


def line_chart(title: str, what: str, x: str, y: str, drawn: Sequence[ChartLine]) -> str:
    """Return lines over a common x as an SVG element, "" without points; y begins at 0."""
    points = [p for line in drawn for p in line.points]
    points += [(x, high) for line in drawn for x, _, high in line.band]
    if not points:
        return ""
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    top = _ceiling(max(p[1] for p in points))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = (point[0] - first) / ((last - first) or 1)
        return _LEFT + width * across, _TOP + height * (1 - point[1] / top)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" width="100%">',
        f"<title>{escape(title)}</title><desc>{escape(what)}</desc>",
    ]
    for i in range(5):
        value = top * i / 4
        _, level = at((first, value))
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{level:.1f}" y2="{level:.1f}" '
            'class="grid"/>'
            f'<text x="{_LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for moment in _ticks(first, last):
        across, _ = at((moment, 0))
        parts.append(
            f'<text x="{across:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{moment:.3g}</text>'
        )
    parts.append(
        f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>'
        f'<text x="12" y="{_TOP + height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {_TOP + height / 2})">{escape(y)}</text>'
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
    parts += _labels(labels, _LEFT + width + 6, _TOP + height)
    return "".join(parts) + "</svg>"


def _ticks(first: float, last: float) -> list[float]:
    """Return the ticks of the x axis: whole numbers if both ends are whole."""
    if first.is_integer() and last.is_integer() and last - first >= 4:
        step = math.ceil((last - first) / 6)
        return [float(x) for x in range(int(first), int(last) + 1, step)]
    return [first + (last - first) * i / 4 for i in range(5)] if last > first else [first]


def _labels(named: Sequence[tuple[float, str, str]], across: float, lowest: float) -> list[str]:
    """Return names, from (level, colour, name), beside the ends of their lines without overlap."""
    placed, free = [], lowest + _LABEL_HEIGHT
    for level, colour, name in sorted(named, reverse=True):
        free = min(level, free - _LABEL_HEIGHT)
        placed.append((free, colour, name))
    # If all lines end near the top, names were pushed out of the picture: move them down again.
    parts, free = [], _TOP - _LABEL_HEIGHT
    for level, colour, name in reversed(placed):
        free = max(level, free + _LABEL_HEIGHT)
        parts.append(
            f'<text x="{across}" y="{free + 4:.1f}" style="fill:{colour}" '
            f'class="name">{escape(_short(name, _LINE_NAME_LENGTH))}</text>'
        )
    return parts


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def forest_chart(title: str, what: str, x: str, marks: Sequence[ForestRow]) -> str:
    """Return a forest chart as SVG, "" without estimates: intervals in rows, and a line at 0."""
    known = [m for m in marks if not math.isnan(m.value)]
    if not known:
        return ""
    ends = [0.0, *(e for m in known for e in (m.value, m.low, m.high) if math.isfinite(e))]
    low, high = min(ends), max(ends)
    margin = 0.06 * ((high - low) or 1)
    low, high = low - margin, high + margin
    left, wide = 230, _WIDTH - 230 - 190
    tall = _TOP + 26 * len(known) + _BOTTOM

    def at(value: float) -> float:
        bounded = min(max(value, low), high)
        return left + wide * (bounded - low) / (high - low)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {tall}" role="img" width="100%">',
        f"<title>{escape(title)}</title><desc>{escape(what)}</desc>",
        f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{_TOP - 6}" y2="{tall - _BOTTOM + 4}" '
        'class="zero"/>',
    ]
    for i, mark in enumerate(known):
        y = _TOP + 26 * i + 13
        name = _short(mark.name, _NAME_LENGTH)
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
            f'<text x="{left + wide + 10}" y="{y + 4}">'
            f"{escape(_short(mark.text, _TEXT_LENGTH))}</text>"
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
    """Return round numbers between two ends, 0 included if it is between them."""
    unit = 10 ** math.floor(math.log10(high - low))
    step = next(unit * k for k in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (unit * k) <= 6)
    first = math.ceil(low / step)
    return [round(step * k, 10) for k in range(first, math.floor(high / step) + 1)]


def chain_figure(
    title: str, pole: str, opposite: str, alpha: str, beta: str, rates: tuple[float, float] = (0, 0)
) -> str:
    """Return a two-state chain as SVG: two circles with two arrows between them, whose widths are
    the `rates` (α, β)."""
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
    """Return about `most` points or fewer: the lowest and highest point of each stretch."""
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
    """Return a round number, at least `value`, that divides well into four steps."""
    if value <= 0:
        return 1.0
    unit = 10 ** math.floor(math.log10(value))
    return next(float(k * unit) for k in (1, 2, 4, 8, 10, 20) if k * unit >= value)
