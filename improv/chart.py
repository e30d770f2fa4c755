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
LEFT, RIGHT, TOP, BOTTOM = 52, 110, 16, 40
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its name, its points in order of x, and whether it moves in steps."""

    name: str
    points: Sequence[tuple[float, float]]
    steps: bool = False


def lines(title: str, what: str, x: str, y: str, drawn: Sequence[Line]) -> str:
    """Return a chart of lines over a common x as an SVG element; y begins at 0."""
    points = [p for line in drawn for p in line.points]
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
        moment = first + (last - first) * i / 4
        across, _ = at((moment, 0))
        parts.append(
            f'<text x="{across:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{moment:.3g}</text>'
        )
    parts.append(
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>'
        f'<text x="12" y="{TOP + high / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {TOP + high / 2})">{escape(y)}</text>'
    )
    taken: list[float] = []
    for line, colour, dash in zip(drawn, COLOURS, ("", "5 3", "2 2", "8 2 2 2"), strict=False):
        if not line.points:
            continue
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
        label = at(line.points[-1])[1]
        while any(abs(label - other) < 14 for other in taken):
            label += 14 if label < TOP + high / 2 else -14
        taken.append(label)
        parts.append(
            f'<text x="{LEFT + wide + 6}" y="{label + 4:.1f}" fill="{colour}" '
            f'class="name">{escape(line.name)}</text>'
        )
    return "".join(parts) + "</svg>"


def thinned(points: Sequence[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
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
