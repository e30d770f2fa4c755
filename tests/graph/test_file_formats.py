"""Files of graphs: what is written can be read back or raises; the command writes them."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree as ET

import networkx as nx
import numpy as np
import orjson
import pytest
from networkx.utils import graphs_equal
from typer.testing import CliRunner

from improv.cli import app
from improv.errors import RunError
from improv.graph import other_graphs
from improv.graph.build import (
    GraphRequest,
    GraphResult,
    build_graphs,
    graph_files,
    load_conversation,
)
from improv.graph.file_formats import FORMATS, as_bytes, from_bytes
from improv.graph.graph import Graph, build_network
from improv.storage.run_folder import RunFolder
from tests.support.graph import (
    BLOCKS,
    CALLS,
    FERRY,
    edges,
    ferry,
    flipping,
    read,
    row,
    written,
)
from tests.support.ui import HOSTILE

ODD = ("Bo & <Bo>", 'O\'Neil "x"', "李明 🎭")
"""Names that a format must escape."""


def odd() -> Graph:
    """Return a graph with None, lists, numpy numbers and unusual characters."""
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
        "scene": lambda: build_network(ferry(), name="The Ferry"),
        "opening": lambda: build_network(ferry(), first=0, guesses=False),
        "windows": lambda: build_network(ferry(), window=2),
        "each": lambda: build_network(ferry(), each=True),
        "two": lambda: build_network(read(*two)),
        "tree": lambda: other_graphs.branch_graph(rows, "grown"),
        "shown": lambda: other_graphs.exposure_graph(CALLS, BLOCKS, "seen", whole=True),
        "flips": lambda: other_graphs.flip_graph(flipping(), "turning"),
        "names": lambda: build_network(read(written(renamed), cast=[(name, ()) for name in ODD])),
    }[made]()
    if made == "names":
        assert (ODD[1], ODD[2], "mentions", "name") in edges(graph)
    back = from_bytes(as_bytes(graph, form), form)
    assert graphs_equal(graph, back)
    assert as_bytes(graph, form) == as_bytes(back, form), "the same graph, the same bytes"


@pytest.mark.parametrize("form", ["gexf", "graphml", "json"])
def test_others_read_the_same_graph(form: str, tmp_path: Path) -> None:
    """NetworkX's own readers read an equal graph."""
    graph = build_network(ferry(), first=0)
    file = tmp_path / f"ferry.{form}"
    file.write_bytes(as_bytes(graph, form))
    if form == "json":
        back = nx.node_link_graph(orjson.loads(file.read_bytes()), edges="edges")
    else:
        back = {"gexf": nx.read_gexf, "graphml": nx.read_graphml}[form](file)
    assert back.is_directed() and back.is_multigraph() and list(back) == list(graph)
    wanted, read = (
        [
            (s, t, d["kind"], d["by"], d["guess"], d["weight"], d["first"], d["last"])
            for s, t, d in g.edges(data=True)
        ]
        for g in (graph, back)
    )
    assert sorted(read) == sorted(wanted)
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
    root = ET.fromstring(as_bytes(build_network(ferry()), "gexf"))
    name = "{http://www.gexf.net/1.2draft}"
    graph = root.find(f"{name}graph")
    assert graph is not None and graph.get("mode") == "dynamic" and graph.get("timeformat")
    edges = list(root.iter(f"{name}edge"))
    assert all(e.find(f"{name}spells/{name}spell") is not None for e in edges)
    assert len({e.get("kind") for e in edges}) > 3
    assert len({e.get("id") for e in edges}) == len(edges)
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


# --- the command


def test_a_run_becomes_graphs_of_every_format(played: RunFolder, tmp_path: Path) -> None:
    runner = CliRunner()
    base = ["graph", played.id, "--runs", played.root]
    outputs = [str(tmp_path / f"kettle.{form}") for form in FORMATS]
    result = runner.invoke(app, [*base, "--no-null", *(x for o in outputs for x in ("-o", o))])
    assert result.exit_code == 0, result.output
    assert "3 nodes" in result.output or "4 nodes" in result.output
    graph = from_bytes((tmp_path / "kettle.gexf").read_bytes(), "gexf")
    assert graphs_equal(graph, from_bytes((tmp_path / "kettle.graphml").read_bytes(), "graphml"))
    assert {"Ana", "Bo", "author"} <= set(graph)
    lines = sum(
        t.kind == "line"
        for i in range(12)
        for t in played.transcripts.read(played.transcripts.trial(str(i))["trial"]).turns
    )
    assert sum(d.get("lines", 0) for _, d in graph.nodes(data=True)) == lines

    result = runner.invoke(
        app, [*base, "--by", "condition", "--no-null", "-o", str(tmp_path / "by.json")]
    )
    assert result.exit_code == 0 and len(list(tmp_path.glob("by-*.json"))) == 4
    result = runner.invoke(app, [f"{base[0]}", f"{played.id}/0", *base[2:]])
    assert result.exit_code == 0 and "if shuffled" in result.output and "balance" in result.output


def test_conditions_are_compared_by_the_command(played: RunFolder) -> None:
    names = load_conversation(played).conditions
    built = build_graphs(played, GraphRequest(condition=names[0], against=names[1], null=False))
    assert built.comparison is not None and built.comparison.units == 3
    assert not math.isnan(built.comparison.p)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (GraphRequest(kinds=("kisses",)), "no kind of edge"),
        (GraphRequest(by="moon"), "graphs are by"),
        (GraphRequest(against="x"), "--condition"),
        (GraphRequest(first=5, last=2), "there are none"),
        (GraphRequest(condition="no such"), "is no condition"),
        (GraphRequest(scene="no such"), "no scene of this run"),
    ],
)
def test_an_impossible_request_raises(played: RunFolder, asked: GraphRequest, why: str) -> None:
    with pytest.raises(RunError, match=why):
        build_graphs(played, asked)


def test_an_ending_that_is_no_format_is_refused() -> None:
    with pytest.raises(RunError, match=r"end it in \.gexf"):
        list(graph_files(GraphResult("x", []), "x.xls"))
