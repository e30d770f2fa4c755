"""Graphs of who speaks to whom: what is an edge, what they measure, what is chance, and files."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import networkx as nx
import numpy as np
import orjson
import pyarrow as pa
import pytest
from networkx.utils import graphs_equal
from scipy import stats
from typer.testing import CliRunner

from improv.cli import app
from improv.errors import RunError
from improv.graph import others
from improv.graph.compare import Vectors, before_after, changes, compare, compared, vectors
from improv.graph.contacts import contacts, windows
from improv.graph.figures import (
    FIGURES,
    FIXED,
    figures,
    modularity,
    pagerank,
    reciprocity,
    transitivity,
)
from improv.graph.files import FORMATS, as_bytes, from_bytes
from improv.graph.layout import circle, places
from improv.graph.made import Made, drawn
from improv.graph.network import Graph, collapsed, network
from improv.graph.null import LOT, beside, shuffled
from improv.graph.people import groups, standings, triads
from improv.graph.picture import as_png, picture
from improv.graph.tree import lines
from improv.graphing import Asked, Graphed, files, graphed, read_talk
from improv.record import seed_of
from improv.store import RunFolder
from improv.tables import SCHEMAS
from tests.graph_support import FERRY, ferry, made_marks, planted, read, written
from tests.ui_support import HOSTILE

Edge = tuple[str, str, str, str]


def edges(graph: Graph) -> Counter[Edge]:
    """(source, target, kind, by) → how many."""
    return Counter({(s, t, d["kind"], d["by"]): d["lines"] for s, t, d in graph.edges(data=True)})


# --- what is an edge


def test_a_scene_is_a_graph_of_everything_that_was_between_its_people() -> None:
    graph = network(ferry(), first=0)
    assert edges(graph) == {
        ("Mara", "Bo", "addresses", "name"): 1,
        ("Bo", "Mara", "addresses", "order"): 2,
        ("Mara", "Inès", "addresses", "said"): 1,
        ("Inès", "Bo", "addresses", "name"): 1,
        # Mara called Bo by name, so that his answer is no guess; to nobody Inès spoke next, and
        # Mara turned to her outright.
        ("Bo", "Mara", "answers", "name"): 1,
        ("Mara", "Inès", "answers", "said"): 1,
        # Inès spoke to nobody after Bo, who had spoken to Mara: that answers nobody. Later she
        # was spoken to outright, and turns to Bo instead, who spoke right before.
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


def test_what_was_written_beforehand_counts_only_if_asked_for() -> None:
    assert ("Mara", "Bo", "addresses", "name") not in edges(network(ferry()))
    # And yet turn 1 answers it.
    assert edges(network(ferry()))["Bo", "Mara", "answers", "name"] == 1


def test_guesses_can_be_left_out() -> None:
    graph = network(ferry(), guesses=False)
    assert all(not data["guess"] and data["by"] != "order" for _, _, data in graph.edges(data=True))
    assert ("Bo", "Mara", "addresses", "order") not in edges(graph)
    guessed = {(s, t) for s, t, d in network(ferry()).edges(data=True) if d["guess"]}
    assert guessed == {("Bo", "Mara")}


def test_edges_know_when_they_were() -> None:
    lines = [(t, "Mara", "Bo, row!", "Bo", "name", []) for t in (1, 2, 4)]
    data = network(read(written(lines)))["Mara"]["Bo"]["Mara > Bo: addresses name"]
    assert data["spells"] == [(1, 3), (4, 5)]
    assert data["turns"] == [(1, 1, 2), (1, 2, 3), (1, 4, 5)]
    assert (data["first"], data["last"], data["lines"], data["weight"]) == (1, 4, 3, 3.0)


def test_a_condition_is_an_average_over_its_scenes() -> None:
    two = written(FERRY), written(FERRY[:4], trial="t1", block="ferry/1")
    graph = network(read(*two))
    assert graph["Bo"]["Mara"]["Bo > Mara: addresses order"]["weight"] == 1.5
    assert graph["Bo"]["Mara"]["Bo > Mara: addresses order"]["lines"] == 3


def test_two_scenes_may_have_somebody_of_one_name() -> None:
    two = written(FERRY), written(FERRY, trial="t1", scene="tower", block="tower/0")
    graph = network(read(*two))
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
    assert edges(network(read(written(lines)))) == {("Mara", "Bo", "addresses", "name"): 1}


def test_an_answer_says_how_late_it_comes() -> None:
    lines = [
        (1, "Mara", "Bo, row!", "Bo", "name", []),
        (2, "Inès", "Somebody ought to.", "", "none", []),
        (3, "Bo", "All right.", "Mara", "order", []),
    ]
    data = network(read(written(lines)), kinds=("answers",))["Bo"]["Mara"]
    assert next(iter(data.values()))["latency"] == 2.0


def test_names_in_a_line_are_mentions_but_for_whoever_is_spoken_to() -> None:
    def mentioned(text: str, to: str = "Inès", by: str = "order") -> set[str]:
        graph = network(read(written([(1, "Bo", text, to, by, [])])), kinds=("mentions",))
        return {target for _, target in graph.edges()}

    assert mentioned("I told Mara that.") == {"Mara"}
    assert mentioned("I told MAM that, Inès.") == {"Mara"}
    assert mentioned("Mara's boat.") == {"Mara"}
    assert mentioned("Mara, row!", "Mara", "name") == set()
    assert mentioned("Maracas!") == mentioned("Bo knows Bo.") == set()


def test_every_single_line_can_be_an_edge() -> None:
    graph = network(ferry(), each=True, first=0)
    assert graph.number_of_edges() == sum(edges(network(ferry(), first=0)).values())
    assert {d["lines"] for _, _, d in graph.edges(data=True)} == {1}


def test_windows_are_edges_of_their_own() -> None:
    graph = network(ferry(), window=3)
    assert {d["window"] for _, _, d in graph.edges(data=True)} == {1, 4}
    assert windows(7, 3) == [(1, 3), (4, 6), (7, 7)]


def test_the_order_of_rows_does_not_matter() -> None:
    rows, place = written(FERRY)
    assert graphs_equal(network(read((rows, place))), network(read((rows[::-1], place))))


# --- what it measures


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
    found = groups(to, seed=1)
    louvain = nx.community.modularity(graph, [set(g) for g in found], weight="weight")
    assert modularity(to[None])[0] >= louvain - 1e-9, "all divisions were tried"
    assert sum(triads(to).values()) == math.comb(len(to), 3)


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
    found = {name: values[0] for name, values in figures(read(written(lines))).items()}
    assert found["taken"] == 1 / 4 and found["usurped"] == 2 / 4 and found["claimed"] == 1 / 4
    assert found["floor"] == 6 / 5
    assert found["answered"] == 1 / 3
    assert found["author"] == 1 / 6 and found["overruled"] == 1 / 3
    assert found["latency"] == pytest.approx((1 + 1) / 2), "Bo answers Mara, Mara nobody's No"
    assert found["balance"] == pytest.approx(1)


def test_a_round_holds_no_surprise_and_a_window_only_its_own_lines() -> None:
    names = ("Mara", "Bo", "Inès")
    lines = [(t + 1, names[t % 3], "So.", "", "none", []) for t in range(12)]
    lines += [(13 + t, "Mara", "Me.", "", "none", []) for t in range(6)]
    talk = read(written(lines))
    assert figures(talk, last=12)["surprise"][0] == 0
    assert figures(talk, last=12)["floor"][0] == 1
    assert figures(talk, first=14)["floor"][0] == 5
    assert figures(talk, first=99)["balance"][0] != figures(talk)["balance"][0]


def test_where_everybody_stands() -> None:
    found = {one.name: one for one in standings(ferry(), seed=1, first=0, draws=20)}
    assert list(found) == ["Mara", "Bo", "Inès"]
    assert (found["Mara"].out, found["Mara"].into) == (2, 2)
    assert found["Bo"].notes == 1
    assert sum(one.pagerank for one in found.values()) == pytest.approx(1, abs=1e-3)
    low, middle, high = found["Bo"].pagerank_null
    assert low <= middle <= high
    flat = collapsed(network(ferry(), first=0))
    between = nx.betweenness_centrality(flat)
    assert found["Bo"].betweenness == pytest.approx(between["Bo"])


# --- chance


def test_the_null_model_keeps_how_much_everybody_says() -> None:
    talk = planted(np.random.default_rng(3), 30, cast=4)
    mixed = shuffled(talk, 1)
    for column in ("who", "to"):
        for scene in range(0, talk.scenes, 7):
            rows = talk.lines.scene == scene
            before, after = (getattr(t.lines, column)[rows] for t in (talk, mixed))
            assert sorted(before) == sorted(after)
    assert (mixed.lines.who != mixed.lines.to).all(), "nobody speaks to himself"
    assert (mixed.lines.who != talk.lines.who).mean() > 0.5
    pairs = [Counter(zip(t.lines.who, t.lines.to, strict=True)) for t in (talk, mixed)]
    assert pairs[0] != pairs[1]


def test_a_written_opening_is_not_shuffled() -> None:
    talk = ferry()
    mixed = shuffled(talk, 5)
    assert mixed.lines.who[0] == talk.lines.who[0]
    assert sorted(mixed.mentions[:, 1]) == sorted(talk.mentions[:, 1])


def test_null_models_drawn_together_are_those_drawn_alone() -> None:
    talk = planted(np.random.default_rng(4), 150, cast=4)
    assert LOT // len(talk.lines) < 25, "they are drawn in several lots"
    together = beside(talk, seed=6, draws=25)
    alone = [figures(shuffled(talk, seed_of("null", 6, i))) for i in range(25)]
    for name in set(FIGURES) - FIXED:
        means = [np.nanmean(found[name]) for found in alone if np.isfinite(found[name]).any()]
        assert together[name].draws == len(means)
        if means:
            assert together[name].null == pytest.approx(np.mean(means)), name
            assert together[name].low == pytest.approx(np.quantile(means, 0.025)), name


def test_a_talk_several_times_over_is_itself_each_time() -> None:
    talk = ferry()
    more = talk.times(3)
    assert more.scenes == 3 * talk.scenes and len(more.lines) == 3 * len(talk.lines)
    for i in range(3):
        mask = np.arange(more.scenes) // talk.scenes == i
        assert repr(more.only(mask)) == repr(talk)


def test_what_is_random_looks_so_beside_the_null_and_what_is_not_does_not() -> None:
    chance = np.random.default_rng(11)
    names = ("reciprocity", "answered", "usurped", "floor", "transitivity")
    below = Counter(dict.fromkeys(names, 0))
    for i in range(50):
        # A talk of the null model itself.
        talk = shuffled(planted(chance, 6, conditions=1), i)
        found = beside(talk, seed=i, draws=39)
        below.update(name for name in names if found[name].p <= 0.05)
    assert all(n <= 8 for n in below.values()), below
    lines = [(t + 1, ("Mara", "Bo", "Inès")[t % 3], "So.", "", "none", []) for t in range(15)]
    fixed = beside(read(written(lines)), seed=1, draws=99)
    assert fixed["surprise"].p <= 0.02 and fixed["surprise"].low > fixed["surprise"].value.value
    assert fixed["balance"].fixed and fixed["balance"].p == 1


def test_a_sample_of_scenes_is_compared_with_itself() -> None:
    talk = shuffled(planted(np.random.default_rng(5), 400, conditions=1, lines=10), 2)
    found = beside(talk, seed=3, draws=60, most=60)
    assert found["reciprocity"].p > 0.02
    assert abs(found["reciprocity"].value.value - found["reciprocity"].null) < 0.05


# --- two networks


def one_edge(seed: int, blocks: int, more: float) -> float:
    """The p of the planted edge alone."""
    talk = planted(np.random.default_rng(seed), blocks, more=more, spread=0.0)
    given = vectors(talk)
    at = [i for i, pair in enumerate(given.pairs.tolist()) if pair == [1, 2]]
    alone = Vectors(given.rows[:, at], given.pairs[at])
    return compared(talk, alone, "c0", "c1", seed=seed, draws=399).p


def test_a_true_null_is_rejected_in_three_to_seven_of_a_hundred() -> None:
    rejected = 0
    for seed in range(400):
        talk = planted(np.random.default_rng([7, seed]), 24, spread=1.5)
        found = compared(talk, vectors(talk), "c0", "c1", seed=seed, draws=399)
        rejected += found.p <= 0.05
    assert 12 <= rejected <= 28, rejected


def test_a_planted_difference_is_found_with_the_power_that_is_expected() -> None:
    blocks, lines, more = 20, 16, 0.75
    # Each of 16 lines is the first's by a chance of 1/3, and then to the second by p.
    share = [1 / (1 + math.exp(-x)) / 3 for x in (more, 0.0)]
    apart = lines * (share[0] - share[1])
    spread = math.sqrt(lines * sum(p * (1 - p) for p in share))
    away = apart / (spread / math.sqrt(blocks))
    edge = stats.t.ppf(0.975, blocks - 1)
    expected = stats.nct.sf(edge, blocks - 1, away) + stats.nct.cdf(-edge, blocks - 1, away)
    assert 0.3 < expected < 0.7, "a size at which power could be missed both ways"
    found = sum(one_edge(seed, blocks, more) <= 0.05 for seed in range(240)) / 240
    assert abs(found - expected) < 0.08, (found, expected)


def test_the_planted_edge_is_the_one_that_is_named() -> None:
    talk = planted(np.random.default_rng(2), 60, more=1.6)
    found = compare(talk, "c0", "c1", seed=1)
    assert found.p < 0.01 and found.units == 60 and not found.dropped
    least = min(found.pairs, key=lambda d: d.p)
    assert (least.source, least.target) == ("p0", "p1") and least.p < 0.01
    assert least.a > least.b and least.estimate.low > 0
    assert sum(d.p < 0.05 for d in found.pairs) <= 3
    other = compare(talk, "c1", "c0", seed=1)
    assert other.p < 0.01 and {c.name for c in found.figures} <= set(FIGURES)


def test_a_block_without_its_partner_is_dropped_and_named() -> None:
    two = written(FERRY), written(FERRY, trial="t1", condition="live", block="ferry/1")
    found = compare(read(*two), "none", "live")
    assert found.units == 0 and math.isnan(found.p)
    assert found.dropped == ("ferry/0", "ferry/1") and found.why


def test_a_change_at_the_mark_is_told_from_a_drift() -> None:
    talk = planted(np.random.default_rng(4), 60, conditions=1, lines=24, more=2.5, turn=1)
    found = before_after(talk, made_marks, seed=1, draws=199)
    assert found.p <= 0.01 and found.units == 60
    named = min(found.pairs, key=lambda d: d.p)
    assert (named.source, named.target) == ("p0", "p1") and named.a > named.b
    # The same marks, dealt to the wrong scenes, mean nothing.
    chance = np.random.default_rng(9)
    low = 0
    for i in range(40):
        trials = list(made_marks)
        dealt = dict(zip(trials, chance.permutation(list(made_marks.values())), strict=True))
        low += before_after(talk, dealt, seed=i, draws=39).p <= 0.05
    assert low <= 6


def test_marks_at_one_turn_cannot_be_told_from_time() -> None:
    talk = planted(np.random.default_rng(4), 10, conditions=2)
    marks = dict.fromkeys(talk.trials, 6)
    assert "same turn" in before_after(talk, marks).why
    # But arms can be compared in how they changed.
    found = compared(talk, changes(talk, marks), "c0", "c1", seed=1)
    assert 0.01 < found.p <= 1 and found.units == 10


# --- other graphs


def row(branch: str, parent: str = "main", fork: int = 0, **more: object) -> dict[str, object]:
    base = {"trial": "t", "branch": branch, "parent": parent, "fork": fork, "turns": 8}
    return base | {"origin": "branch", "arm": "", "edit": "", "status": "done"} | more


def test_branches_are_a_tree() -> None:
    rows = [row("main", "", origin="main"), row("b", fork=3, arm="reveal"), row("c", "b", 5)]
    rows[2]["edit"] = '{"scene": {"author": {"live": false}}, "line": "Wait."}'
    graph = others.branches(rows)
    told = [graph.nodes[n]["parted"] for n in ("main", "b", "c")]
    assert told == ["as it was played", "reveal", "line: Wait.; A live author: no"]
    svg = picture([("", graph)])
    assert all(f">{text}</text>" in svg for text in told), "each line says what it is"
    assert nx.is_arborescence(graph)
    assert graph.edges["b", "c", "b > c: branch"]["spells"] == [(6, 9)]
    x = {node: place[0] for node, place in places(graph).items()}
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
    graph = others.branches(rows)
    drawn = lines(graph)
    assert sorted(line.node for line in drawn) == sorted(graph)
    assert [line.row for line in drawn] == list(range(len(rows)))
    for line in drawn[1:]:
        assert line.above is not None
        between = drawn[line.above + 1 : line.row]
        assert all(other.fork >= line.fork for other in between)
    ET.fromstring(picture([("", graph)]))


CALLS = pa.table({"role": ["Bo", "Bo", "author"], "blocks": [["w", "n"], ["w"], ["w", "s"]]})
BLOCKS = pa.table(
    {
        "id": ["w", "n", "s"],
        "kind": ["world", "note", "author"],
        "text": ["Rain.", "Slower.", "The end."],
    }
)


def test_exposure_says_who_saw_which_block() -> None:
    graph = others.exposure(CALLS, BLOCKS, whole=True)
    assert set(graph.successors("w")) == {"Bo", "author"} and list(graph.successors("n")) == ["Bo"]
    assert graph.edges["w", "Bo", "w > Bo: shown"]["calls"] == 2
    kinds = others.exposure(CALLS, BLOCKS)
    assert set(kinds.predecessors("Bo")) == {"world", "note"}


def flipping() -> pa.Table:
    values = [1.0, 1.0, 0.0, None, 0.0, 1.0]
    rows = [
        {
            "trial": "t",
            "branch": "main",
            "turn": i,
            "character": "Bo",
            "measure": "sign:honest/deceitful",
            "version": "1",
            "value": v,
            "evidence": "",
        }
        for i, v in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["scores"])


def test_flips_are_ways_between_states() -> None:
    graph = others.flips(flipping())
    held, broken = (f"Bo (sign:honest/deceitful): {s}" for s in ("honest", "deceitful"))
    assert {(s, t): (d["lines"], d["weight"]) for s, t, d in graph.edges(data=True)} == {
        (held, held): (1, 0.5),
        (held, broken): (1, 0.5),
        (broken, held): (1, 1.0),
    }, "what could not be read breaks the chain"


# --- files

ODD = ("Bo & <Bo>", 'O\'Neil "x"', "李明 🎭")
"""Names that a format would have to escape."""


def odd() -> Graph:
    """A graph of somebody else's: with None, lists, numpy's numbers and characters of all kinds."""
    graph = Graph(name="odd", of="talk", kinds=["addresses"])
    graph.add_node("李明", role="character", lines=3, tags=["a", "b"], none=None)
    graph.add_node("O'Neil", role="character", lines=np.int64(2), text=HOSTILE[:200])
    graph.add_edge("李明", "O'Neil", key="one", kind="addresses", weight=1.0, extra=None)
    graph.add_edge("李明", "O'Neil", key="two", kind="answers", weight=np.float64(0.5), pair=(1, 2))
    return graph


@pytest.mark.parametrize("form", ["gexf", "graphml", "json"])
@pytest.mark.parametrize(
    "made", ["scene", "opening", "windows", "each", "two", "tree", "shown", "flips", "names"]
)
def test_a_graph_comes_back_from_its_file(form: str, made: str) -> None:
    """Nodes, edges, their order, all attributes and all times."""
    two = written(FERRY), written(FERRY, trial="t1", scene="tower", block="tower/0")
    rows = [row("main", "", origin="main"), row("b", fork=3), row("c", "b", 5)]
    known = dict(zip(("Mara", "Bo", "Inès"), ODD, strict=True))
    renamed = [
        (t, known[who], f"{text} {ODD[2]}?", known.get(to, ""), by, [])
        for t, who, text, to, by, _ in FERRY
    ]
    graph = {
        "scene": lambda: network(ferry(), name="The Ferry"),
        "opening": lambda: network(ferry(), first=0, guesses=False),
        "windows": lambda: network(ferry(), window=2),
        "each": lambda: network(ferry(), each=True),
        "two": lambda: network(read(*two)),
        "tree": lambda: others.branches(rows, "grown"),
        "shown": lambda: others.exposure(CALLS, BLOCKS, "seen", whole=True),
        "flips": lambda: others.flips(flipping(), "turning"),
        "names": lambda: network(read(written(renamed), cast=[(name, ()) for name in ODD])),
    }[made]()
    if made == "names":
        assert (ODD[1], ODD[2], "mentions", "name") in edges(graph)
    back = from_bytes(as_bytes(graph, form), form)
    assert graphs_equal(graph, back)
    assert as_bytes(graph, form) == as_bytes(back, form), "the same graph, the same bytes"


@pytest.mark.parametrize("form", ["gexf", "graphml", "json"])
def test_others_read_the_same_graph(form: str, tmp_path: Path) -> None:
    """By NetworkX's own readers, as in anybody's script."""
    graph = network(ferry(), first=0)
    file = tmp_path / f"ferry.{form}"
    file.write_bytes(as_bytes(graph, form))
    if form == "json":
        back = nx.node_link_graph(orjson.loads(file.read_bytes()), edges="edges")
    else:
        back = {"gexf": nx.read_gexf, "graphml": nx.read_graphml}[form](file)
    assert back.is_directed() and back.is_multigraph() and list(back) == list(graph)
    wanted, found = (
        [
            (s, t, d["kind"], d["by"], d["guess"], d["weight"], d["first"], d["last"])
            for s, t, d in g.edges(data=True)
        ]
        for g in (graph, back)
    )
    assert sorted(found) == sorted(wanted)
    if form == "gexf":
        spells = [[tuple(spell) for spell in d["spells"]] for _, _, d in back.edges(data=True)]
        assert spells == [d["spells"] for _, _, d in graph.edges(data=True)]


@pytest.mark.parametrize("form", [f for f in FORMATS if f not in ("svg", "png")])
def test_none_lists_and_odd_characters_are_written(form: str) -> None:
    data = as_bytes(odd(), form)
    assert data and b"\x1b" not in data
    if form in ("gexf", "graphml"):
        ET.fromstring(data)
        back = from_bytes(data, form)
        assert "none" not in back.nodes["李明"] and back.nodes["李明"]["tags"] == ["a", "b"]
        assert set(back["李明"]["O'Neil"]) == {"one", "two"}


def test_gexf_has_times_and_kinds_for_gephi() -> None:
    root = ET.fromstring(as_bytes(network(ferry()), "gexf"))
    name = "{http://www.gexf.net/1.2draft}"
    graph = root.find(f"{name}graph")
    assert graph is not None and graph.get("mode") == "dynamic" and graph.get("timeformat")
    found = list(root.iter(f"{name}edge"))
    assert all(e.find(f"{name}spells/{name}spell") is not None for e in found)
    assert len({e.get("kind") for e in found}) > 3
    assert len({e.get("id") for e in found}) == len(found)
    series = [a for a in root.iter(f"{name}attribute") if a.get("title") == "turns"]
    assert len(series) == 1


def test_a_broken_file_is_named() -> None:
    with pytest.raises(RunError, match="not a graph in gexf"):
        from_bytes(b"<gexf>", "gexf")
    with pytest.raises(RunError, match="cannot be read as a graph"):
        from_bytes(b"", "svg")
    with pytest.raises(RunError, match="not a format"):
        as_bytes(odd(), "xls")


def test_an_edge_list_is_no_formula() -> None:
    graph = Graph(name="x", of="talk")
    graph.add_edge("=1+1", "Bo", key="k", kind="addresses", weight=1.0)
    assert as_bytes(graph, "csv").decode().splitlines()[1].startswith("'=1+1,Bo,addresses")


# --- pictures


def test_a_picture_is_xml_that_says_what_it_shows() -> None:
    graph = network(ferry(), first=0)
    svg = picture([("none & all", graph)], title="The <Ferry>")
    root = ET.fromstring(svg)
    told = root.findtext("{http://www.w3.org/2000/svg}desc") or ""
    assert "Bo to Mara 2" in told
    texts = ["".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Mara", "Bo", "Inès", "the author", "none & all", "The <Ferry>"} <= set(texts)
    assert any("pale" in t for t in texts) and any("dashed" in t for t in texts)
    assert svg == picture([("none & all", graph)], title="The <Ferry>")
    assert not {"script", "image", "foreignObject"} & {e.tag.split("}")[1] for e in root.iter()}


def test_names_of_others_are_text_in_a_picture() -> None:
    graph = Graph(name="x", of="talk", scenes=1)
    graph.add_node(HOSTILE.replace("\x1b", "").replace("\x07", ""), role="character", lines=1)
    root = ET.fromstring(picture([("", graph)]))
    assert not [e for e in root.iter() if e.tag.endswith(("script", "img", "style"))]


def test_a_picture_becomes_png() -> None:
    svg = picture([("", network(ferry()))])
    png = as_png(svg)
    assert png.startswith(b"\x89PNG") and len(png) > 5_000
    wide, tall = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    box = [float(x) for x in svg.partition('viewBox="0 0 ')[2].partition('"')[0].split()]
    assert (wide, tall) == (round(2 * box[0]), round(2 * box[1]))


def test_everybody_has_a_place_and_nobody_the_authors() -> None:
    for many in range(1, 12):
        spots = circle([f"p{i}" for i in range(many)])
        assert len(set(spots.values())) == many
        assert all(math.hypot(x, y) <= 1.001 for x, y in spots.values())
        assert many == 1 or all(abs(x) > 1e-3 or y > 0 for x, y in spots.values())


def test_casts_of_several_scenes_have_panels_of_their_own() -> None:
    two = written(FERRY), written(FERRY, trial="t1", scene="tower", block="tower/0")
    svg = drawn([Made("", network(read(*two)), {})])
    assert svg.count(">the author<") == 2 and "tower" in svg


# --- the command


def test_a_run_becomes_graphs_of_every_format(played: RunFolder, tmp_path: Path) -> None:
    runner = CliRunner()
    base = ["graph", played.id, "--runs", played.root]
    outputs = [str(tmp_path / f"kettle.{form}") for form in FORMATS]
    told = runner.invoke(app, [*base, "--no-null", *(x for o in outputs for x in ("-o", o))])
    assert told.exit_code == 0, told.output
    assert "3 nodes" in told.output or "4 nodes" in told.output
    graph = from_bytes((tmp_path / "kettle.gexf").read_bytes(), "gexf")
    assert graphs_equal(graph, from_bytes((tmp_path / "kettle.graphml").read_bytes(), "graphml"))
    assert {"Ana", "Bo", "author"} <= set(graph)
    lines = sum(
        t.kind == "line"
        for i in range(12)
        for t in played.transcript(played.trial(str(i))["trial"]).turns
    )
    assert sum(d.get("lines", 0) for _, d in graph.nodes(data=True)) == lines

    told = runner.invoke(
        app, [*base, "--by", "condition", "--no-null", "-o", str(tmp_path / "by.json")]
    )
    assert told.exit_code == 0 and len(list(tmp_path.glob("by-*.json"))) == 4
    told = runner.invoke(app, [f"{base[0]}", f"{played.id}/0", *base[2:]])
    assert told.exit_code == 0 and "if shuffled" in told.output and "balance" in told.output


def test_conditions_are_compared_by_the_command(played: RunFolder) -> None:
    names = read_talk(played).conditions
    found = graphed(played, Asked(condition=names[0], against=names[1], null=False))
    assert found.comparison is not None and found.comparison.units == 3
    assert not math.isnan(found.comparison.p)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(kinds=("kisses",)), "no kind of edge"),
        (Asked(by="moon"), "graphs are by"),
        (Asked(against="x"), "--condition"),
        (Asked(first=5, last=2), "there are none"),
        (Asked(condition="no such"), "is no condition"),
        (Asked(scene="no such"), "no scene of this run"),
    ],
)
def test_what_cannot_be_done_is_said(played: RunFolder, asked: Asked, why: str) -> None:
    with pytest.raises(RunError, match=why):
        graphed(played, asked)


def test_an_ending_that_is_no_format_is_refused() -> None:
    with pytest.raises(RunError, match=r"end it in \.gexf"):
        list(files(Graphed("x", []), "x.xls"))


def test_contacts_of_a_talk_without_lines_are_none() -> None:
    empty = read(written([]))
    assert len(contacts(empty)) == 0 and len(network(empty)) == 0
    assert all(np.isnan(v).all() for v in figures(empty).values())
    assert picture([("", network(empty))])
