"""Writes and reads graphs as GEXF, GraphML, node-link JSON, DOT and a CSV edge list, as bytes.

NetworkX writes the two XML formats, and raises on values that they cannot hold. So lists become
text or spells, None is left out, and characters that XML forbids are replaced. A graph that is read
again equals the one that was written, except for None. Positions are those of layout, so that
Gephi opens a graph as it is drawn.
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
"""The formats of a graph; the last two are pictures."""

_SPELLS, _SERIES = "spells", ("turns",)
"""The attribute that GEXF takes as an edge's times, and those that it takes as values in time."""

_GEXF = "http://www.gexf.net/1.2draft"
_LABEL = "own label"
_JSON = "json:"
"""Prefix of a list that a format holds as text."""
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_bytes(graph: Graph, form: str) -> bytes:
    """Return a graph as the content of a file; `form` is one of FORMATS except the pictures.

    Raises RunError for any other format.
    """
    if form not in _WRITERS:
        raise RunError(f"{form}: not a format of graphs; there are {', '.join(FORMATS)}")
    return _WRITERS[form](graph)


def from_bytes(data: bytes, form: str) -> Graph:
    """Return the graph of a GEXF, GraphML or JSON file. Raises RunError."""
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
            # NetworkX gives every node a label, so that own labels could not be told from these.
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
    """Add the graph's attributes to the file's head, and remove the date: equal graphs have equal
    files."""
    ET.register_namespace("", _GEXF)
    ET.register_namespace("viz", "http://www.gexf.net/1.2draft/viz")
    tree = ET.fromstring(written)
    # Gephi keeps parallel edges apart by their `kind`, which NetworkX does not write.
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


def _from_gexf(content: bytes) -> Graph:
    read = nx.read_gexf(io.BytesIO(content), version="1.2draft")
    graph = Graph()
    about = ET.fromstring(content).find(f"{{{_GEXF}}}meta/{{{_GEXF}}}description")
    if about is not None and about.text:
        graph.graph.update(orjson.loads(about.text))
    for node, data in read.nodes(data=True):
        own = {name: _loaded(v) for name, v in data.items() if name not in ("label", "viz")}
        if _LABEL in own:
            own["label"] = own.pop(_LABEL)
        graph.add_node(node, **own)
    for source, target, data in read.edges(data=True):
        own = {n: _loaded(v) for n, v in data.items() if n not in ("id", "networkx_key")}
        graph.add_edge(source, target, key=data["id"], **own)
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


def _from_graphml(content: bytes) -> Graph:
    read = nx.read_graphml(io.BytesIO(content), force_multigraph=True)
    graph = Graph(
        **{
            name: _loaded(value)
            for name, value in read.graph.items()
            if name not in ("node_default", "edge_default")
        }
    )
    for node, data in read.nodes(data=True):
        graph.add_node(node, **{name: _loaded(value) for name, value in data.items()})
    for source, target, key, data in read.edges(keys=True, data=True):
        own = {name: _loaded(v) for name, v in data.items() if name != "id"}
        graph.add_edge(source, target, key=key, **own)
    return graph


# --- JSON


def _json(graph: Graph) -> bytes:
    data = nx.node_link_data(graph, edges="edges")
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def _from_json(content: bytes) -> Graph:
    read = nx.node_link_graph(orjson.loads(content), directed=True, multigraph=True, edges="edges")
    for _, data in read.nodes(data=True):
        data.update({name: _tuples(value) for name, value in data.items()})
    for _, _, data in read.edges(data=True):
        data.update({name: _tuples(value) for name, value in data.items()})
    return Graph(read)


# --- DOT and CSV, which cannot be read back


def _dot(graph: Graph) -> bytes:
    """Return the graph for Graphviz, with the positions of the picture (`neato -n` keeps them)."""
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
    """Return a quoted DOT string; backslashes are doubled, since they are escapes in a label."""
    flat = " ".join(_text(str(text)).split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'


_COLUMNS = ("source", "target", "kind", "by", "guess", "weight", "lines", "words", "first", "last")


def _csv(graph: Graph) -> bytes:
    """Return one edge per row. `turns` lists the turn of each contact."""
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
    """Return a cell that a spreadsheet does not compute: text may begin like a formula."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return _dumped(value) if isinstance(value, list | tuple | dict) else value


# --- values that formats can hold


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as texts and numbers: lists as JSON, and None left out."""
    plain: dict[str, Any] = {}
    for name, value in data.items():
        if value is None:
            continue
        if isinstance(value, list | tuple | dict | set | frozenset):
            kept = sorted(value) if isinstance(value, set | frozenset) else value
            plain[name] = _text(_JSON + _dumped(kept))
        elif isinstance(value, str):
            # Escaped, so that no text is mistaken for a list.
            plain[name] = _text(_JSON + _dumped(value) if value.startswith(_JSON) else value)
        elif isinstance(value, bool | int | float):
            plain[name] = value
        else:
            # A numpy number.
            plain[name] = value.item() if hasattr(value, "item") else _text(str(value))
    return plain


def _loaded(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_JSON):
        return _tuples(orjson.loads(value[len(_JSON) :]))
    return value


def _tuples(value: Any) -> Any:
    """Return a list of lists as a list of tuples, which JSON does not have."""
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
