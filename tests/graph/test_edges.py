"""The edges of a conversation: who addresses, answers and mentions whom."""

from __future__ import annotations

import numpy as np
from networkx.utils import graphs_equal

from improv.graph.drawing import draw_svg
from improv.graph.edges import find_edges, windows
from improv.graph.graph import build_network
from improv.graph.metrics import (
    figures,
)
from tests.support.graph import FERRY, edges, ferry, read, written


def test_the_graph_of_a_scene_has_every_contact() -> None:
    graph = build_network(ferry(), first=0)
    assert edges(graph) == {
        ("Mara", "Bo", "addresses", "name"): 1,
        ("Bo", "Mara", "addresses", "order"): 2,
        ("Mara", "Inès", "addresses", "said"): 1,
        ("Inès", "Bo", "addresses", "name"): 1,
        # Mara called Bo by name, so that his answer is no guess. Then Inès spoke to nobody, and
        # Mara answered her outright.
        ("Bo", "Mara", "answers", "name"): 1,
        ("Mara", "Inès", "answers", "said"): 1,
        # Inès spoke to nobody after Bo, who had spoken to Mara: her line answers nobody. Later she
        # was addressed outright, but answers Bo, who spoke right before.
        ("Inès", "Bo", "answers", "name"): 1,
        ("Inès", "Mara", "mentions", "name"): 1,
        ("Mara", "Bo", "mentions", "name"): 1,
        ("author", "Bo", "note", "said"): 1,
        ("author", "Mara", "cue", "said"): 1,
    }
    assert dict(graph.nodes(data=True))["Bo"] == {
        "role": "character",
        "scenes": 1,
        "lines": 2,
        "words": 8,
        "open": 0,
    }
    assert graph.nodes["author"]["role"] == "author"


def test_written_lines_count_only_on_request() -> None:
    assert ("Mara", "Bo", "addresses", "name") not in edges(build_network(ferry()))
    # Turn 1 still answers the written line.
    assert edges(build_network(ferry()))["Bo", "Mara", "answers", "name"] == 1


def test_guesses_can_be_left_out() -> None:
    graph = build_network(ferry(), guesses=False)
    assert all(not data["guess"] and data["by"] != "order" for _, _, data in graph.edges(data=True))
    assert ("Bo", "Mara", "addresses", "order") not in edges(graph)
    guessed = {(s, t) for s, t, d in build_network(ferry()).edges(data=True) if d["guess"]}
    assert guessed == {("Bo", "Mara")}


def test_edges_know_when_they_were() -> None:
    lines = [(t, "Mara", "Bo, row!", "Bo", "name", []) for t in (1, 2, 4)]
    data = build_network(read(written(lines)))["Mara"]["Bo"]["Mara > Bo: addresses name"]
    assert data["spells"] == [(1, 3), (4, 5)]
    assert data["turns"] == [(1, 1, 2), (1, 2, 3), (1, 4, 5)]
    assert (data["first"], data["last"], data["lines"], data["weight"]) == (1, 4, 3, 3.0)


def test_a_condition_is_an_average_over_its_scenes() -> None:
    two = written(FERRY), written(FERRY[:4], trial="t1", block="ferry/1")
    graph = build_network(read(*two))
    assert graph["Bo"]["Mara"]["Bo > Mara: addresses order"]["weight"] == 1.5
    assert graph["Bo"]["Mara"]["Bo > Mara: addresses order"]["lines"] == 3


def test_two_scenes_may_have_somebody_of_one_name() -> None:
    two = written(FERRY), written(FERRY, trial="t1", scene="tower", block="tower/0")
    graph = build_network(read(*two))
    assert {"Mara (ferry)", "Mara (tower)", "author"} <= set(graph)
    assert not any("(ferry)" in s and "(tower)" in t for s, t in graph.edges())
    weight = graph["Bo (ferry)"]["Mara (ferry)"]["Bo (ferry) > Mara (ferry): addresses order"]
    assert weight["weight"] == 2.0, "a scene is not thinned by scenes that it could not be in"


def test_a_silence_says_nothing_and_passes_the_turn() -> None:
    lines = [
        (1, "Mara", "Bo, row!", "Bo", "name", []),
        (2, "Bo", "", "", "none", []),
        (3, "Inès", "He is asleep.", "", "none", []),
    ]
    assert edges(build_network(read(written(lines)))) == {("Mara", "Bo", "addresses", "name"): 1}


def test_an_answer_says_how_late_it_comes() -> None:
    lines = [
        (1, "Mara", "Bo, row!", "Bo", "name", []),
        (2, "Inès", "Somebody ought to.", "", "none", []),
        (3, "Bo", "All right.", "Mara", "order", []),
    ]
    data = build_network(read(written(lines)), kinds=("answers",))["Bo"]["Mara"]
    assert next(iter(data.values()))["latency"] == 2.0


def test_names_in_a_line_are_mentions_except_the_addressee() -> None:
    def mentioned(text: str, to: str = "Inès", by: str = "order") -> set[str]:
        graph = build_network(read(written([(1, "Bo", text, to, by, [])])), kinds=("mentions",))
        return {target for _, target in graph.edges()}

    assert mentioned("I told Mara that.") == {"Mara"}
    assert mentioned("I told MAM that, Inès.") == {"Mara"}
    assert mentioned("Mara's boat.") == {"Mara"}
    assert mentioned("Mara, row!", "Mara", "name") == set()
    assert mentioned("Maracas!") == mentioned("Bo knows Bo.") == set()


def test_every_single_line_can_be_an_edge() -> None:
    graph = build_network(ferry(), each=True, first=0)
    assert graph.number_of_edges() == sum(edges(build_network(ferry(), first=0)).values())
    assert {d["lines"] for _, _, d in graph.edges(data=True)} == {1}


def test_windows_are_edges_of_their_own() -> None:
    graph = build_network(ferry(), window=3)
    assert {d["window"] for _, _, d in graph.edges(data=True)} == {1, 4}
    assert windows(7, 3) == [(1, 3), (4, 6), (7, 7)]


def test_the_order_of_rows_does_not_matter() -> None:
    rows, place = written(FERRY)
    assert graphs_equal(
        build_network(read((rows, place))), build_network(read((rows[::-1], place)))
    )


def test_a_conversation_without_lines_has_no_contacts() -> None:
    empty = read(written([]))
    assert len(find_edges(empty)) == 0 and len(build_network(empty)) == 0
    assert all(np.isnan(v).all() for v in figures(empty).values())
    assert draw_svg([("", build_network(empty))])
