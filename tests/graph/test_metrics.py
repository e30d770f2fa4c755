"""The measures of a graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from improv.graph.centrality import measure_centrality
from improv.graph.graph import build_network
from improv.graph.metrics import (
    figures,
    modularity,
    pagerank,
    reciprocity,
    transitivity,
)
from tests.support.graph import ferry, read, written


def random_matrix(seed: int, size: int = 6) -> np.ndarray:
    chance = np.random.default_rng(seed)
    made = chance.poisson(1.2, (size, size)).astype(float)
    np.fill_diagonal(made, 0)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_a_matrix_are_networkx_own(seed: int) -> None:
    to = random_matrix(seed)
    graph = nx.from_numpy_array(to, create_using=nx.DiGraph)
    rank = nx.pagerank(graph, tol=1e-12)
    assert np.allclose(pagerank(to[None])[0], [rank[i] for i in range(len(to))], atol=1e-4)
    pairs = [(min(to[i, j], to[j, i]), to[i, j]) for i in range(len(to)) for j in range(len(to))]
    assert reciprocity(to[None])[0] == pytest.approx(
        sum(a for a, _ in pairs) / sum(b for _, b in pairs)
    )
    groups = nx.community.louvain_communities(graph, weight="weight", seed=1)
    louvain = nx.community.modularity(graph, groups, weight="weight")
    assert modularity(to[None])[0] >= louvain - 1e-9, "all divisions were tried"


def test_transitivity_counts_chains_that_are_closed() -> None:
    closed = np.zeros((1, 3, 3))
    closed[0, [0, 1, 0], [1, 2, 2]] = 1
    assert transitivity(closed)[0] == 1
    closed[0, 0, 2] = 0
    assert transitivity(closed)[0] == 0


def test_a_large_cast_is_divided_in_two() -> None:
    to = np.zeros((1, 10, 10))
    to[0, :5, :5] = to[0, 5:, 5:] = 1
    assert modularity(to)[0] == pytest.approx(0.5)


def test_the_figures_of_an_order() -> None:
    lines = [
        (1, "Mara", "Bo!", "Bo", "name", []),
        (2, "Bo", "Yes?", "Mara", "order", []),  # taken
        (3, "Inès", "No.", "", "none", []),  # usurped
        (4, "Inès", "Never.", "", "none", []),  # she keeps the floor
        (5, "Mara", "Inès!", "Inès", "name", []),  # claimed
        (6, "Bo", "Me.", "", "none", [("cue", "Bo", "")]),  # usurped, by the author's cue
    ]
    values = {name: column[0] for name, column in figures(read(written(lines))).items()}
    assert values["taken"] == 1 / 4 and values["usurped"] == 2 / 4 and values["claimed"] == 1 / 4
    assert values["floor"] == 6 / 5
    assert values["answered"] == 1 / 3
    assert values["author"] == 1 / 6 and values["overruled"] == 1 / 3
    assert values["latency"] == pytest.approx((1 + 1) / 2), "Bo answers Mara, Mara nobody's No"
    assert values["balance"] == pytest.approx(1)


def test_a_round_holds_no_surprise_and_a_window_only_its_own_lines() -> None:
    names = ("Mara", "Bo", "Inès")
    lines = [(t + 1, names[t % 3], "So.", "", "none", []) for t in range(12)]
    lines += [(13 + t, "Mara", "Me.", "", "none", []) for t in range(6)]
    talk = read(written(lines))
    assert figures(talk, last=12)["surprise"][0] == 0
    assert figures(talk, last=12)["floor"][0] == 1
    assert figures(talk, first=14)["floor"][0] == 5
    assert figures(talk, first=99)["balance"][0] != figures(talk)["balance"][0]


def test_the_centrality_of_everybody() -> None:
    people = {
        person.name: person for person in measure_centrality(ferry(), seed=1, first=0, draws=20)
    }
    assert list(people) == ["Mara", "Bo", "Inès"]
    assert (people["Mara"].out, people["Mara"].into) == (2, 2)
    assert people["Bo"].notes == 1
    assert sum(one.pagerank for one in people.values()) == pytest.approx(1, abs=1e-3)
    low, middle, high = people["Bo"].pagerank_null
    assert low <= middle + 1e-9 and middle <= high + 1e-9
    flat = nx.DiGraph()
    flat.add_nodes_from(people)
    network = build_network(ferry(), first=0)
    flat.add_edges_from(
        (a, b) for a, b, edge in network.edges(data=True) if edge["kind"] == "addresses"
    )
    between = nx.betweenness_centrality(flat)
    assert people["Bo"].betweenness == pytest.approx(between["Bo"])
