"""improv from Python: tables without copies, scenes, reports, graphs and branches."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import networkx as nx
import pandas as pd
import pyarrow as pa
import pytest

import improv
from improv.api.results import Report
from improv.errors import RunError
from improv.storage.schemas import SCHEMAS
from tests.conftest import KETTLE
from tests.support.places import TOP
from tests.support.ui import HOSTILE

TEXTS = ("trial", "text", "speaker")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> improv.Run:
    """The demonstration, played by puppets in a running event loop, as in a notebook's cell."""
    runs = tmp_path_factory.mktemp("python") / "runs"
    study = improv.load_study("demo", model="puppet", replicates=3, turns=6)

    async def cell() -> improv.Run:
        return improv.run(study, runs=runs, name="demo", ray="off")

    return asyncio.run(cell())


@pytest.fixture(scope="module")
def report(demo: improv.Run) -> Report:
    return demo.report()


# --- tables


def addresses(column: Any) -> list[int]:
    """Return the addresses of all buffers of an Arrow column, those of lists and structs too."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [b.address for chunk in chunks for b in chunk.buffers() if b is not None]


def test_all_forms_of_a_table_share_its_memory(demo: improv.Run) -> None:
    turns = demo.turns
    table, frame = turns.arrow(), turns.pandas()
    assert turns.arrow() is table and len(frame) == len(turns) == table.num_rows > 50
    for name in table.column_names:  # texts, numbers, and lists of structs
        here = addresses(table[name])
        assert addresses(pa.chunked_array(frame[name].array.__arrow_array__())) == here, name
        assert here
    streamed = pa.table(turns)  # by the PyCapsule interface, as polars and others read it
    assert all(addresses(streamed[n]) == addresses(table[n]) for n in table.column_names)
    assert pa.schema(turns) == table.schema
    assert pd.DataFrame.from_arrow(turns.select(*TEXTS)).equals(
        pd.DataFrame.from_arrow(table.select(TEXTS))
    )


def test_duckdb_reads_arrows_own_memory(demo: improv.Run) -> None:
    turns = demo.turns.select("turn")
    relation = turns.duckdb()
    total = relation.sum("turn").fetchall()[0][0]
    assert total == sum(turns.arrow()["turn"].to_pylist())
    # DuckDB has no copy: it sees a write to Arrow's memory.
    numbers = turns.arrow()["turn"].chunk(0)
    ctypes.c_int32.from_address(numbers.buffers()[1].address + 4 * numbers.offset).value += 1000
    assert relation.sum("turn").fetchall()[0][0] == total + 1000
    assert demo.turns.select("turn").duckdb().sum("turn").fetchall()[0][0] == total


def test_a_relation_outlives_its_table(demo: improv.Run) -> None:
    relation = duckdb.connect().sql("select 1")
    for _ in range(3):
        relation = demo.turns.duckdb().filter("kind = 'line'")
    assert (
        relation.count("*").fetchall()[0][0]
        == demo.sql("select count(*) from turns where kind = 'line'").fetchall()[0][0]
    )


def test_tables_can_be_joined_by_their_names(demo: improv.Run) -> None:
    rows = demo.sql("""
        select condition, count(distinct trial) from turns join trials using (trial, branch)
        group by 1 order by 1
    """).fetchall()
    assert rows == [("live author", 6), ("no author", 6)]
    with pytest.raises(duckdb.Error):
        demo.sql("select nothing from nowhere")


def test_every_table_of_a_run_is_there(demo: improv.Run) -> None:
    for name, schema in SCHEMAS.items():
        table = getattr(demo, name)
        assert isinstance(table, improv.Table) and table.arrow().schema.names == schema.names
        assert len(table) == len(table.arrow()) == len(list(table))
        assert table._repr_html_() and name in repr(table)
    assert len(demo.trials) == 12 and len(demo.calls) > 72 and len(demo.scores) > 0


def test_columns_and_rows_of_a_table(demo: improv.Run) -> None:
    lines = demo.turns.select("speaker", "text")
    assert lines.columns == lines.arrow().column_names == ["speaker", "text"]
    assert next(iter(lines)).keys() == {"speaker", "text"}
    one = demo.turns.of(0)
    said = [turn.text for turn in demo.transcript(0)]
    assert one.select("text").arrow()["text"].to_pylist() == said == [r["text"] for r in one]
    with pytest.raises(RunError, match="no column of turns; there are trial, branch"):
        demo.turns.select("txt")
    with pytest.raises(RunError, match="is not a finished trial"):
        demo.turns.of(99)
    with pytest.raises(RunError, match="belong to no trial"):
        demo.blocks.of(0)


def test_without_duckdb_the_error_names_the_package(
    demo: improv.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for ask in (demo.turns.duckdb, lambda: demo.sql("select 1")):
        with pytest.raises(RunError, match=r"pip install 'improv-theatre\[duckdb\]'"):
            ask()


# --- a run and its parts


def test_a_run_can_be_opened_again(demo: improv.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = demo.folder.root
    assert demo.result is not None and (demo.result.done, demo.result.owed) == (12, 0)
    assert improv.open_run("dem", runs=runs).id == improv.open_run(f"{runs}/demo").id == "demo"
    assert [run.id for run in improv.list_runs(runs)] == ["demo"]
    monkeypatch.setenv("IMPROV_RUNS", runs)
    assert improv.open_run().meta["status"] == "done"
    assert improv.resume().result.idle  # type: ignore[union-attr]
    assert improv.open_run().study.scenes == ["cold-pass", "parlour"]
    with pytest.raises(RunError, match="is not a run"):
        improv.open_run("nowhere")


def test_a_dry_run_asks_nothing(demo: improv.Run) -> None:
    estimated = improv.dry_run(demo.study)
    total = estimated.rows[-1]
    assert estimated.estimate.trials == 12 and total["name"] == "total"
    assert total["calls"]["low"] <= len(demo.calls) <= total["calls"]["high"]
    assert "unknown" in repr(estimated) and "12 trials" in estimated._repr_html_()


def test_settings_are_those_of_the_command(kettle: Path) -> None:
    runs = kettle.parent / "runs"
    study = improv.load_study(kettle, replicates=4)
    stopped = improv.run(study, runs=runs, ray="off", stages=1, max_calls=12)
    assert stopped.result is not None and stopped.result.kind == "budget"
    with pytest.raises(TypeError, match="rays"):
        improv.run(study, runs=runs, rays="off")
    resumed = stopped.resume(setup=improv.Setup(ray="off"))
    assert resumed.result is not None and resumed.result.done == 4
    with pytest.raises(improv.StudyError, match="replicatez"):
        improv.load_study(kettle, replicatez=2)


def test_a_scene_is_read(demo: improv.Run) -> None:
    script = demo.transcript("1")
    assert len(script.lines()) == 6 and script.turns == tuple(script)
    assert {t.speaker for t in script.lines("Rufina")} <= {"Rufina"}
    text = str(script)
    assert all(turn.text in text for turn in script)
    assert all(turn.speaker.upper() in text for turn in script.lines())
    assert script.markdown().startswith("# ") and script.fountain().startswith("Title:")
    live = next(
        demo.transcript(i)
        for i in range(12)
        if demo.transcript(i).row["condition"] == "live author"
    )
    notes = [act.text for turn in live for act in turn.acts if act.kind == "note"]
    assert notes and all(note in str(live) and note in live._repr_html_() for note in notes)
    assert notes[0] not in live.markdown(notes=False)


def test_a_report_has_its_numbers_as_rows(demo: improv.Run, report: Report) -> None:
    rows = pd.DataFrame(report.contrasts)
    assert report.analysis.plan is not None
    assert list(rows["contrast"]) == [c.name for c in report.analysis.plan.contrasts]
    assert set(rows["n"]) == {report.analysis.findings[0].estimate.n}
    assert len(report.sentences) == len(rows) and rows["contrast"][0] in report.html()
    assert rows["contrast"][0] in report.markdown()
    both = improv.compare(demo)
    assert both.contrasts == report.contrasts and "side by side" in both.html()
    with pytest.raises(RunError, match="no runs"):
        improv.compare()


def test_a_late_plan_decides_nothing(demo: improv.Run, report: Report, tmp_path: Path) -> None:
    assert all(row["decided"] is not None for row in report.contrasts)
    late = tmp_path / "late.yaml"
    late.write_text(
        "study: late\nscenes: [cold-pass, parlour]\nfactors:\n  author:\n"
        "    no author: {author: {live: false}}\n    live author: {author: {live: true}}\n"
        "plan:\n  hypothesis: It does.\n  outcome: {of: broken, measure: habit}\n  blocks: 6\n"
        "  contrasts: [{name: late, plus: {author: live author}, minus: {author: no author}}]\n"
    )
    exploratory = demo.report(by=late)
    assert [row["contrast"] for row in exploratory.contrasts] == ["late"]
    assert exploratory.contrasts[0]["decided"] is None and "Not decided" in exploratory.sentences[0]


def test_pictures_are_files_of_their_own(demo: improv.Run, report: Report, tmp_path: Path) -> None:
    graphs = demo.graphs(by="condition", null=False)
    for picture in (report.survival(), report.drift(), graphs.picture()):
        assert ET.fromstring(picture._repr_svg_()).tag == "{http://www.w3.org/2000/svg}svg"
        picture.save(str(tmp_path / "x.svg"))
        assert (tmp_path / "x.svg").read_text() == picture.svg
    with pytest.raises(RunError, match="cannot be written"):
        graphs.picture().save(str(tmp_path / "no" / "x.svg"))


def test_graphs_are_networkxs_own(demo: improv.Run, tmp_path: Path) -> None:
    whole, one = demo.graph(), demo.graph(0, kinds=("addresses",))
    assert isinstance(whole, nx.MultiDiGraph) and {"author", "Rufina"} <= set(whole)
    assert {d["kind"] for _, _, d in one.edges(data=True)} == {"addresses"}
    graphs = demo.graphs(by="condition")
    assert list(graphs) == ["no author", "live author"] and len(graphs) == 2
    assert "author" not in graphs["no author"] and "author" in graphs["live author"]
    assert graphs.figures["live author"]["balance"].value.value > 0.5
    written = graphs.save(str(tmp_path / "talk.gexf"), str(tmp_path / "talk.svg"))
    assert [Path(w).name for w in written] == [
        "talk-no-author.gexf",
        "talk-live-author.gexf",
        "talk.svg",
    ]
    apart = demo.graphs(condition="live author", against="no author", null=False)
    assert apart.comparison is not None and apart.comparison.units == 6
    with pytest.raises(RunError, match="2 graphs"):
        demo.graph(by="condition")


def test_a_scene_is_branched(demo: improv.Run) -> None:
    parent = demo.transcript(2)
    edits: list[Any] = [{"line": "The lamp is out."}, ["author.frame=She never lies."]]
    for edit in edits:
        grown = demo.branch("2@3", edit=edit, draws=2)
        assert len(grown) == 2
        for script in grown:
            kept = [t.text for t in parent if t.turn < 3]
            assert [t.text for t in script if t.turn < 3] == kept and len(script.lines()) == 6
    assert [t.text for t in demo.branch("2@3", edit=edits[0])[0].lines()][2] == "The lamp is out."
    again = demo.branch("2@3", again=True)[0]
    assert demo.transcript(again.name).turns == again.turns and "~" in again.name
    for place in ("2", "@3", "2@x", "99@1", "2@77"):
        with pytest.raises(RunError):
            demo.branch(place)


def test_a_run_is_scored(demo: improv.Run) -> None:
    scored = demo.score("secret")
    assert set(scored.measures) == {"secret", "secret:turn"}
    assert "secret" in demo.scores.select("measure").arrow()["measure"].to_pylist()
    with pytest.raises(RunError, match="needs a judge"):
        demo.score("state")


def test_a_run_is_exported(demo: improv.Run, tmp_path: Path) -> None:
    demo.export("fountain", tmp_path / "scripts", scene="parlour")
    written = list((tmp_path / "scripts").rglob("*.fountain"))
    assert len(written) == 6 and all(file.read_text().startswith("Title:") for file in written)
    with pytest.raises(RunError, match="wav"):
        demo.export("wav", tmp_path / "sound")


# --- text that others wrote


class Seen(HTMLParser):
    """The tags of a page and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside += [value or "" for name, value in attrs if name == "srcdoc"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


HARMLESS = {"div", "p", "b", "i", "br", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> improv.Run:
    """A run whose lines, titles and conditions hold hostile markup."""
    folder = tmp_path_factory.mktemp("hostile")
    line = f"{HOSTILE} $\\href{{javascript:alert(1)}}{{x}}$"
    scene = KETTLE.replace("The kettle hums.", '"</td><img src=x onerror=alert(1)>"')
    scene = scene.replace('"Ana, does it boil?"', repr_yaml(line))
    scene = scene.replace("title: The Kettle", "title: '<img src=x onerror=alert(2)>'")
    (folder / "kettle.yaml").write_text(scene)
    (folder / "study.yaml").write_text(
        "study: unkind\nquestion: '<script>alert(3)</script>'\nscenes: [kettle.yaml]\n"
        "factors:\n  author:\n"
        "    '<img src=x onerror=alert(4)>': {author: {live: false}}\n"
    )
    return improv.run(folder / "study.yaml", runs=folder / "runs", ray="off")


def repr_yaml(text: str) -> str:
    """Return a text as a YAML string in double quotes."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


def shown(run: improv.Run) -> Iterator[str]:
    yield run._repr_html_()
    yield run.transcript(0)._repr_html_()
    for name in SCHEMAS:
        yield getattr(run, name)._repr_html_()
    yield run.turns.of(0)._repr_html_()
    yield improv.dry_run(run.study)._repr_html_()


def test_text_of_others_is_escaped_in_a_notebook(hostile: improv.Run) -> None:
    for page in shown(hostile):
        seen = Seen(page)
        assert set(seen.tags) <= HARMLESS, seen.tags
        assert page.startswith('<div class="tex2jax_ignore mathjax_ignore"')
        assert not {"\x1b", "\x07", "\u202e"} & set(page)
    script = Seen(hostile.transcript(0)._repr_html_())
    assert "<script>" in script.text and "javascript:alert(1)" in script.text
    assert "\x1b" not in str(hostile.transcript(0))


def test_a_report_is_shown_in_a_frame_that_runs_nothing(hostile: improv.Run) -> None:
    written = hostile.report()._repr_html_()
    frame = Seen(written)
    assert frame.tags == ["iframe"] and len(frame.inside) == 1
    page = Seen(frame.inside[0])
    assert not {"script", "img", "iframe"} & set(page.tags)
    assert written.startswith("<iframe sandbox srcdoc=")
    graph = hostile.graphs(null=False)._repr_svg_()
    tags = {element.tag.split("}")[1] for element in ET.fromstring(graph).iter()}
    assert not {"script", "image", "a", "foreignObject"} & tags


# --- in a notebook's loop

STOPPED = """\
import asyncio, os, signal, sys
import improv

pressed = []
def watch(progress):
    if not pressed:
        pressed.append(os.kill(os.getpid(), signal.SIGINT))

async def cell():
    study = improv.load_study(sys.argv[1], replicates=60)
    return improv.run(study, runs=sys.argv[2], name="one", ray="off", stages=2, watch=watch)

# As in a kernel: the loop runs, and Ctrl-C raises inside the cell.
loop = asyncio.new_event_loop()
result = loop.run_until_complete(cell()).result
print(result.kind, result.done, result.owed)
"""


def test_a_notebooks_stop_button_ends_a_run_in_order(kettle: Path) -> None:
    runs = str(kettle.parent / "runs")
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(kettle), runs],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    kind, played, owed = done.stdout.split()
    assert kind == "halted" and int(played) >= 1 and int(owed) >= 1
    assert int(played) + int(owed) == 60
    result = improv.open_run(runs=runs).resume(ray="off").result
    assert result is not None and result.done == 60
