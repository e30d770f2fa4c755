"""The graphs of a run's conditions for a report: of all lines, and of those that need no guess.

In a scene of three or more most addressees are guesses. A claim about such a graph should hold for
the lines alone that say or name whom they address. This module reads a run by the doors of `build`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from improv.graph.build import (
    GraphRequest,
    condition_order,
    conversation_graphs,
    load_conversation,
)
from improv.graph.figure import MeasuredGraph
from improv.storage.run_folder import RunFolder

PAIR = 2
"""People of a cast in which the addressee needs no guess."""


@dataclass(frozen=True, slots=True)
class ConditionGraphs:
    """The graph of each condition of a run: of all lines, and without guessed addressees.

    `outright` is empty if no scene has three people or more. `shares` maps the name of a condition
    to the share of its lines to somebody that say or name whom.
    """

    graphs: Sequence[MeasuredGraph] = ()
    outright: Sequence[MeasuredGraph] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


def condition_graphs(folder: RunFolder) -> ConditionGraphs:
    """Return the graph of each condition of a run, with its figures. Raises RunError."""
    conversation, order = load_conversation(folder), condition_order(folder)
    graphs = conversation_graphs(conversation, GraphRequest(by="condition"), order)
    if all(len(conversation.cast(slug)) <= PAIR for slug in set(conversation.slug.tolist())):
        return ConditionGraphs(graphs)
    request = GraphRequest(by="condition", guesses=False)
    outright = conversation_graphs(conversation, request, order)
    sure = {measured.name: _addressed(measured) for measured in outright}
    shares = {m.name: sure.get(m.name, 0) / _addressed(m) for m in graphs if _addressed(m)}
    return ConditionGraphs(graphs, outright, shares)


def _addressed(measured: MeasuredGraph) -> int:
    """Return the number of lines to somebody."""
    edges = measured.graph.edges(data=True)
    return sum(int(data["lines"]) for _, _, data in edges if data["kind"] == "addresses")
