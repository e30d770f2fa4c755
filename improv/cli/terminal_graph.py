"""What `improv graph` prints: figures beside their null models, and networks compared."""

from __future__ import annotations

import math

from improv.cli import terminal
from improv.graph.build import GraphResult
from improv.graph.comparison import Comparison
from improv.graph.figure import MeasuredGraph
from improv.graph.metrics import FIGURES
from improv.graph.null_model import NullComparison
from improv.report.numbers import number, p_said, shown

ROOMY = 150
"""Columns of a terminal that has room to say what each figure is."""
SHOWN = 12
"""Graphs whose figures are printed; the files have all."""


def print_graphs(found: GraphResult) -> None:
    """Print what the graphs hold and measure, and the comparison that was asked for."""
    for made in found.graphs[:SHOWN]:
        _one(found.title, made)
    if len(found.graphs) > SHOWN:
        terminal.say(f"and {len(found.graphs) - SHOWN} graphs more, which the files have")
    if found.comparison is not None:
        _comparison(found.comparison)


def _one(title: str, made: MeasuredGraph) -> None:
    graph = made.graph
    name = " · ".join(text for text in (title, made.name) if text)
    count = f"{len(graph)} nodes, {graph.number_of_edges()} edges"
    scenes = int(graph.graph.get("scenes", 0))
    of = f", of {scenes:,} scene{'s' if scenes != 1 else ''}" if scenes else ""
    terminal.say(f"{name}: {count}{of}")
    rows = [_row(name, one) for name, one in made.figures.items() if not _unknown(one)]
    if rows:
        told = terminal.width() >= ROOMY
        names = ("figure", "mean [interval]", "if shuffled [95%]", "p")
        terminal.table(
            (*names, "what it is") if told else names,
            [(*row, FIGURES[row[0]]) if told else row for row in rows],
        )


def _row(name: str, one: NullComparison) -> tuple[str, ...]:
    value = one.value
    mean = number(value.value) if math.isnan(value.low) else shown(value)
    if one.fixed:
        return name, mean, "the same", ""
    null = f"{number(one.null)} [{number(one.low)}, {number(one.high)}]"
    return name, mean, null, number(one.p)


def _unknown(one: NullComparison) -> bool:
    return math.isnan(one.value.value)


def _comparison(found: Comparison) -> None:
    terminal.say(f"\n{found.a} less {found.b}, {found.units} {found.unit}")
    if found.dropped:
        terminal.say(f"{len(found.dropped)} {found.unit} were left out: played under one alone")
    if math.isnan(found.p):
        terminal.say(f"The networks: not tested, {found.why or 'there is nothing to test'}.")
    else:
        terminal.say(f"The networks as wholes: {p_said(found.p)} (permutation).")
    rows = [
        (f"{d.source} > {d.target}", number(d.a), number(d.b), shown(d.estimate), number(d.p))
        for d in sorted(found.pairs, key=lambda d: (math.isnan(d.p), d.p, -abs(d.estimate.value)))
    ]
    if rows:
        terminal.table(("edge", "a", "b", "a less b [interval]", "p, all edges"), rows)
    if found.figures:
        terminal.table(
            ("figure", "a less b [interval]", "p", "p (Benjamini–Hochberg)"),
            [(c.name, shown(c.estimate), number(c.p), number(c.adjusted)) for c in found.figures],
        )
