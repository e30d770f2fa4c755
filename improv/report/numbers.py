"""Numbers as text: an estimate with its interval, a p, a count with its unit."""

from __future__ import annotations

import math

from improv.analysis.stats.contrast import Contrast
from improv.analysis.stats.interval import Estimate


def estimate_text(e: Estimate) -> str:
    """Return an estimate with its interval as text, or the reason why there is none."""
    if math.isnan(e.value):
        return f"— ({e.why})" if e.why else "—"
    if math.isnan(e.low) or math.isnan(e.high):
        full = e.why if e.why.startswith("no interval") else f"no interval: {e.why}"
        return f"{number(e.value)} [{full.removesuffix(': ')}]"
    return f"{number(e.value)} [{number(e.low)}, {number(e.high)}]"


def number(value: float) -> str:
    value += 0.0  # −0 becomes 0
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.3g}".replace("-", "−") if abs(value) < 100 else f"{value:,.0f}"


def p_text(p: float, what: str = "") -> str:
    name = f"p ({what})" if what else "p"
    return f"{name} < .001" if p < 0.001 else f"{name} = {number(p)}"


def unit_count(e: Estimate) -> str:
    """Return the number of an estimate's units of replication, with the unit."""
    return f"{e.n} {e.unit.removesuffix('s') if e.n == 1 else e.unit}"


def contrast_units(c: Contrast) -> str:
    return unit_count(c.estimate)
