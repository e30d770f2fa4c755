"""Graphs as files, and back: GEXF, GraphML, node-link JSON, DOT, a CSV edge list. Pure: bytes out.

NetworkX writes the two XML formats, and raises on what they cannot hold: here lists become text or
spells, what is None is left out, and characters that XML forbids are taken away. What is read
again is equal to what was written (but for such a None). Positions come from layout, so that Gephi
opens a graph as it was drawn.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import networkx as nx
import orjson

from improv.errors import RunError
from improv.graph.graph import Graph
from improv.graph.layout import node_colours, node_positions

FORMATS = ("gexf", "graphml", "json", "dot", "csv", "svg", "png")
"""What a graph can be written as; the last two are pictures."""

_SPELLS, _SERIES = "spells", ("turns",)
"""What GEXF knows as an edge's times, and which attributes are values in time."""

_GEXF = "http://www.gexf.net/1.2draft"
_LABEL = "own label"
_JSON = "json:"
"""Before a list that a format holds as text."""
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_bytes(graph: Graph, form: str) -> bytes:
    """Return a graph as a file of the given format, one of FORMATS but the pictures.

    Raises RunError for any other.
    """
    if form not in _WRITERS:
        raise RunError(f"{form}: not a format of graphs; there are {', '.join(FORMATS)}")
    return _WRITERS[form](graph)


def from_bytes(data: bytes, form: str) -> Graph:
    """Return the graph that a GEXF, GraphML or JSON file holds. Raises RunError."""
    if form not in _READERS:
        raise RunError(f"{form}: cannot be read as a graph; {', '.join(_READERS)} can")
    try:
        return _READERS[form](data)
    except (nx.NetworkXException, ET.ParseError, ValueError, KeyError, TypeError) as e:
        raise RunError(f"not a graph in {form}: {e}") from None


# --- GEXF, with times


def _gexf(graph: Graph) -> bytes:
    made = Graph(mode="dynamic", name=_text(str(graph.graph.get("name", ""))))
    drawn, hues = node_positions(graph), node_colours(graph)
    for node, data in graph.nodes(data=True):
        x, y = drawn[node]
        red, green, blue = (int(hues[node][i : i + 2], 16) for i in (1, 3, 5))
        look = {
            "color": {"r": red, "g": green, "b": blue, "a": 1.0},
            # Gephi's y points up.
            "position": {"x": 300.0 * x, "y": -300.0 * y, "z": 0.0},
            "size": 20.0,
        }
        known = _plain(data)
        if "label" in known:
            # NetworkX makes every node a label, and would not say which were there.
            known[_LABEL] = known["label"]
        made.add_node(_text(str(node)), **known, viz=look)
    for source, target, key, data in graph.edges(keys=True, data=True):
        timed = {name: data[name] for name in (_SPELLS, *_SERIES) if data.get(name)}
        rest = {name: value for name, value in data.items() if name not in (_SPELLS, *_SERIES)}
        name = _text(str(key))
        made.add_edge(
            _text(str(source)), _text(str(target)), key=name, id=name, **_plain(rest), **timed
        )
    sink = io.BytesIO()
    nx.write_gexf(made, sink, version="1.2draft")
    return _described(sink.getvalue(), graph)


def _described(written: bytes, graph: Graph) -> bytes:
    """Say in the file's head what the graph is, and no date: one graph, one file."""
    ET.register_namespace("", _GEXF)
    ET.register_namespace("viz", "http://www.gexf.net/1.2draft/viz")
    tree = ET.fromstring(written)
    # By this Gephi keeps several edges of one pair apart; NetworkX knows nothing of it.
    drawn = tree.iter(f"{{{_GEXF}}}edge")
    for element, (_, _, data) in zip(drawn, graph.edges(data=True), strict=True):
        if "kind" in data:
            element.set("kind", _text(f"{data['kind']} {data.get('by', '')}".strip()))
    meta = tree.find(f"{{{_GEXF}}}meta")
    assert meta is not None
    meta.attrib.pop("lastmodifieddate", None)
    for child in list(meta):
        meta.remove(child)
    ET.SubElement(meta, f"{{{_GEXF}}}creator").text = "improv"
    about = ET.SubElement(meta, f"{{{_GEXF}}}description")
    about.text = _text(_dumped(graph.graph))
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(tree) + b"\n"


def _from_gexf(data: bytes) -> Graph:
    read = nx.read_gexf(io.BytesIO(data), version="1.2draft")
    graph = Graph()
    about = ET.fromstring(data).find(f"{{{_GEXF}}}meta/{{{_GEXF}}}description")
    if about is not None and about.text:
        graph.graph.update(orjson.loads(about.text))
    for node, found in read.nodes(data=True):
        own = {name: _loaded(v) for name, v in found.items() if name not in ("label", "viz")}
        if _LABEL in own:
            own["label"] = own.pop(_LABEL)
        graph.add_node(node, **own)
    for source, target, found in read.edges(data=True):
        own = {n: _loaded(v) for n, v in found.items() if n not in ("id", "networkx_key")}
        graph.add_edge(source, target, key=found["id"], **own)
    return graph


# --- GraphML


def _graphml(graph: Graph) -> bytes:
    made = Graph(**_plain(graph.graph))
    for node, data in graph.nodes(data=True):
        made.add_node(_text(str(node)), **_plain(data))
    for source, target, key, data in graph.edges(keys=True, data=True):
        made.add_edge(_text(str(source)), _text(str(target)), key=_text(str(key)), **_plain(data))
    sink = io.BytesIO()
    nx.write_graphml_xml(made, sink)
    return sink.getvalue()


def _from_graphml(data: bytes) -> Graph:
    read = nx.read_graphml(io.BytesIO(data), force_multigraph=True)
    graph = Graph(
        **{
            name: _loaded(value)
            for name, value in read.graph.items()
            if name not in ("node_default", "edge_default")
        }
    )
    for node, found in read.nodes(data=True):
        graph.add_node(node, **{name: _loaded(value) for name, value in found.items()})
    for source, target, key, found in read.edges(keys=True, data=True):
        own = {name: _loaded(v) for name, v in found.items() if name != "id"}
        graph.add_edge(source, target, key=key, **own)
    return graph


# --- JSON


def _json(graph: Graph) -> bytes:
    data = nx.node_link_data(graph, edges="edges")
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def _from_json(data: bytes) -> Graph:
    read = nx.node_link_graph(orjson.loads(data), directed=True, multigraph=True, edges="edges")
    for _, found in read.nodes(data=True):
        found.update({name: _tuples(value) for name, value in found.items()})
    for _, _, found in read.edges(data=True):
        found.update({name: _tuples(value) for name, value in found.items()})
    return Graph(read)


# --- DOT and CSV, which are not read again


def _dot(graph: Graph) -> bytes:
    """The graph for Graphviz, with the positions of the picture (`neato -n` keeps them)."""
    drawn, hues = node_positions(graph), node_colours(graph)
    most = max((d.get("weight", 1.0) for _, _, d in graph.edges(data=True)), default=1.0) or 1.0
    lines = [f"digraph {_quoted(graph.graph.get('name') or 'graph')} {{"]
    for node in graph:
        x, y = drawn[node]
        lines.append(
            f'  {_quoted(node)} [pos="{200 * x:.1f},{-200 * y:.1f}", color="{hues[node]}"];'
        )
    for source, target, data in graph.edges(data=True):
        weight = float(data.get("weight", 1.0))
        style = "dashed" if data.get("guess") else "solid"
        lines.append(
            f"  {_quoted(source)} -> {_quoted(target)} [label={_quoted(data.get('kind', ''))}, "
            f'weight="{weight:g}", penwidth="{0.5 + 4 * weight / most:.2f}", style="{style}"];'
        )
    return "\n".join([*lines, "}"]).encode() + b"\n"


def _quoted(text: object) -> str:
    """Return a DOT string: a backslash would be an escape in a label."""
    flat = " ".join(_text(str(text)).split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'


_COLUMNS = ("source", "target", "kind", "by", "guess", "weight", "lines", "words", "first", "last")


def _csv(graph: Graph) -> bytes:
    """One edge a row. `turns` has the turns in which it was there, each as often as it was."""
    sink = io.StringIO()
    rows = csv.writer(sink, lineterminator="\n")
    more = sorted(
        {name for _, _, d in graph.edges(data=True) for name in d} - {*_COLUMNS, _SPELLS, *_SERIES}
    )
    rows.writerow([*_COLUMNS, "turns", *more])
    for source, target, data in graph.edges(data=True):
        turns = " ".join(
            " ".join([str(turn)] * int(count)) for count, turn, _ in data.get("turns", [])
        )
        known = {"source": source, "target": target, **data}
        cells = [known.get(name) for name in _COLUMNS]
        rows.writerow([_cell(c) for c in [*cells, turns, *(data.get(name) for name in more)]])
    return sink.getvalue().encode()


def _cell(value: object) -> object:
    """Return what a spreadsheet shows and does not reckon: a text may begin like a formula."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return _dumped(value) if isinstance(value, list | tuple | dict) else value


# --- what formats can hold


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as texts and numbers: lists as JSON, and nothing for what is None."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if value is None:
            continue
        if isinstance(value, list | tuple | dict | set | frozenset):
            kept = sorted(value) if isinstance(value, set | frozenset) else value
            found[name] = _text(_JSON + _dumped(kept))
        elif isinstance(value, str):
            # So that no text is mistaken for a list.
            found[name] = _text(_JSON + _dumped(value) if value.startswith(_JSON) else value)
        elif isinstance(value, bool | int | float):
            found[name] = value
        else:
            # A number of numpy's.
            found[name] = value.item() if hasattr(value, "item") else _text(str(value))
    return found


def _loaded(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_JSON):
        return _tuples(orjson.loads(value[len(_JSON) :]))
    return value


def _tuples(value: Any) -> Any:
    """JSON has no tuples: a list of lists was one of tuples."""
    if isinstance(value, list):
        return [tuple(v) if isinstance(v, list) else v for v in value]
    return value


def _dumped(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


_WRITERS: dict[str, Callable[[Graph], bytes]] = {
    "gexf": _gexf,
    "graphml": _graphml,
    "json": _json,
    "dot": _dot,
    "csv": _csv,
}
_READERS: dict[str, Callable[[bytes], Graph]] = {
    "gexf": _from_gexf,
    "graphml": _from_graphml,
    "json": _from_json,
}
