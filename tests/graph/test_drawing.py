"""Pictures of graphs."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

from improv.graph.drawing import draw_svg, svg_to_png
from improv.graph.figure import MeasuredGraph, draw_graphs
from improv.graph.graph import Graph, build_network
from improv.graph.layout import circle_positions
from tests.support.graph import FERRY, ferry, read, written
from tests.support.ui import HOSTILE


def test_a_picture_is_xml_that_says_what_it_shows() -> None:
    graph = build_network(ferry(), first=0)
    svg = draw_svg([("none & all", graph)], title="The <Ferry>")
    root = ET.fromstring(svg)
    description = root.findtext("{http://www.w3.org/2000/svg}desc") or ""
    assert "Bo to Mara 2" in description
    texts = ["".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Mara", "Bo", "Inès", "the author", "none & all", "The <Ferry>"} <= set(texts)
    assert any("pale" in t for t in texts) and any("dashed" in t for t in texts)
    assert svg == draw_svg([("none & all", graph)], title="The <Ferry>")
    assert not {"script", "image", "foreignObject"} & {e.tag.split("}")[1] for e in root.iter()}


def test_names_of_others_are_text_in_a_picture() -> None:
    graph = Graph(name="x", of="talk", scenes=1)
    graph.add_node(HOSTILE.replace("\x1b", "").replace("\x07", ""), role="character", lines=1)
    root = ET.fromstring(draw_svg([("", graph)]))
    assert not [e for e in root.iter() if e.tag.endswith(("script", "img", "style"))]


def test_a_picture_becomes_png() -> None:
    svg = draw_svg([("", build_network(ferry()))])
    png = svg_to_png(svg)
    assert png.startswith(b"\x89PNG") and len(png) > 5_000
    wide, tall = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    box = [float(x) for x in svg.partition('viewBox="0 0 ')[2].partition('"')[0].split()]
    assert (wide, tall) == (round(2 * box[0]), round(2 * box[1]))


def test_everybody_has_a_position_and_only_the_author_the_top() -> None:
    for many in range(1, 12):
        spots = circle_positions([f"p{i}" for i in range(many)])
        assert len(set(spots.values())) == many
        assert all(math.hypot(x, y) <= 1.001 for x, y in spots.values())
        assert many == 1 or all(abs(x) > 1e-3 or y > 0 for x, y in spots.values())


def test_casts_of_several_scenes_have_panels_of_their_own() -> None:
    two = written(FERRY), written(FERRY, trial="t1", scene="tower", block="tower/0")
    svg = draw_graphs([MeasuredGraph("", build_network(read(*two)), {})])
    assert svg.count(">the author<") == 2 and "tower" in svg
