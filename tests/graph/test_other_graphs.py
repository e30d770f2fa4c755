"""Graphs of other subjects: branches as a tree, roles and their blocks, flips between states."""

from __future__ import annotations

import random
from xml.etree import ElementTree as ET

import networkx as nx

from improv.graph import other_graphs
from improv.graph.branch_tree import branch_lines
from improv.graph.drawing import draw_svg
from improv.graph.layout import node_positions
from tests.support.graph import BLOCKS, CALLS, flipping, row


def test_branches_are_a_tree() -> None:
    rows = [row("main", "", origin="main"), row("b", fork=3, arm="reveal"), row("c", "b", 5)]
    rows[2]["edit"] = '{"scene": {"author": {"live": false}}, "line": "Wait."}'
    graph = other_graphs.branch_graph(rows)
    changes = [graph.nodes[n]["parted"] for n in ("main", "b", "c")]
    assert changes == ["as it was played", "reveal", "line: Wait.; A live author: no"]
    svg = draw_svg([("", graph)])
    assert all(f">{text}</text>" in svg for text in changes), "each line says what it is"
    assert nx.is_arborescence(graph)
    assert graph.edges["b", "c", "b > c: branch"]["spells"] == [(6, 9)]
    x = {node: place[0] for node, place in node_positions(graph).items()}
    assert x["main"] < x["b"] < x["c"], "from left to right by turn"


def test_no_fork_of_a_tree_crosses_the_line_of_another_branch() -> None:
    dice = random.Random(4)
    rows = [
        {
            "trial": "t",
            "branch": "main",
            "parent": "",
            "fork": 0,
            "turns": 12,
            "origin": "main",
            "arm": "",
            "edit": "",
            "status": "done",
        }
    ]
    for i in range(40):
        parent = dice.choice(rows)
        if parent["fork"] < 11:
            fork = dice.randrange(parent["fork"], 12)
            rows.append(
                {
                    **parent,
                    "branch": f"b{i:02}",
                    "parent": parent["branch"],
                    "fork": fork,
                    "origin": dice.choice(["branch", "regeneration"]),
                }
            )
    graph = other_graphs.branch_graph(rows)
    drawn = branch_lines(graph)
    assert sorted(line.node for line in drawn) == sorted(graph)
    assert [line.row for line in drawn] == list(range(len(rows)))
    for line in drawn[1:]:
        assert line.above is not None
        between = drawn[line.above + 1 : line.row]
        assert all(other.fork >= line.fork for other in between)
    ET.fromstring(draw_svg([("", graph)]))


def test_exposure_says_who_saw_which_block() -> None:
    graph = other_graphs.exposure_graph(CALLS, BLOCKS, whole=True)
    assert set(graph.successors("w")) == {"Bo", "author"} and list(graph.successors("n")) == ["Bo"]
    assert graph.edges["w", "Bo", "w > Bo: shown"]["calls"] == 2
    kinds = other_graphs.exposure_graph(CALLS, BLOCKS)
    assert set(kinds.predecessors("Bo")) == {"world", "note"}


def test_flips_are_transitions_between_states() -> None:
    graph = other_graphs.flip_graph(flipping())
    held, broken = (f"Bo (sign:honest/deceitful): {s}" for s in ("honest", "deceitful"))
    assert {(s, t): (d["lines"], d["weight"]) for s, t, d in graph.edges(data=True)} == {
        (held, held): (1, 0.5),
        (held, broken): (1, 0.5),
        (broken, held): (1, 1.0),
    }, "what could not be read breaks the chain"
