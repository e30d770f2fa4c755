"""The page on a run: what is there, what is missing, how the endpoints behaved."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from improv.chart import Line, lines, thinned
from improv.launch import run
from improv.puppet_server import PuppetServer
from improv.report import Page, report
from improv.session import Setup
from improv.store import RunFolder
from improv.study import load


def page_of(folder: RunFolder) -> Page:
    tables = [folder.table(name).to_pylist() for name in ("trials", "calls", "limits")]
    return report(folder.id, folder.meta(), folder.study().question, *tables)


def test_a_page_counts_what_is_there_and_what_is_missing(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"400": 0.1, "500": 0.05})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    found = run(study, runs=tmp_path / "r", setup=Setup(ray="off"))
    assert found.failed
    page = page_of(found.folder)
    text = page.as_markdown()
    assert "Does the author matter to a kettle?" in text
    missing = re.findall(r"\| ([^|]+) \| status 400 \| (\d+) \| (\d+) \|", text)
    assert sum(int(n) for _, n, _ in missing) == found.failed
    assert {of for _, _, of in missing} == {"3"}
    retried = sum(len(c["retried"]) for c in found.folder.table("calls").to_pylist())
    assert retried and f"500 × {retried}" in text
    assert found.folder.meta()["plan"] in text
    html = page.as_html()
    assert html.count("<svg") == 1 and "The limit on calls in flight" in html


def test_a_page_asks_nobody_for_anything_and_shows_text_as_text(played: RunFolder) -> None:
    meta = played.meta() | {"study": "<script>alert(1)</script> [x](http://evil)"}
    trials = played.table("trials").to_pylist()
    page = report("run", meta, "Is <b>it</b> true? ![](http://evil/x.png)", trials, [], [])
    html = page.as_html()
    assert "<script" not in html and "<b>" not in html and "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=", html)
    assert not re.search(r"(?<!\\)[\[\]<]", page.as_markdown())


def test_a_chart_draws_every_point_within_its_frame() -> None:
    points = [(float(i), float(i % 7)) for i in range(50)]
    svg = lines("T", "what", "seconds", "n", [Line("a & b", points, steps=True), Line("c", [])])
    root = ET.fromstring(svg)
    (path,) = root.iter("path")
    places = [tuple(map(float, p.split())) for p in re.split("[ML]", path.attrib["d"]) if p]
    assert len(places) == 2 * len(points) - 1  # each step has a corner
    assert all(0 <= x <= 720 and 0 <= y <= 240 for x, y in places)
    assert root.find("title") is not None and "a & b" in "".join(root.itertext())
    assert lines("T", "w", "x", "y", []) == ""


def test_thinning_keeps_the_highest_and_the_lowest() -> None:
    points = [(float(i), 5.0) for i in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[1234] = (1234.0, 0.0)
    kept = thinned(points)
    assert len(kept) <= 610 and {points[4321], points[1234]} <= set(kept)
    assert kept == sorted(kept)


@pytest.mark.parametrize("name", ["page.html", "page.md"])
def test_the_command_writes_a_page(played: RunFolder, tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "improv.cli", "report", played.id, "--runs", played.root]
    where = tmp_path / name
    done = subprocess.run([*command, "-o", str(where)], capture_output=True, text=True, check=True)
    assert "written" in done.stdout
    assert "How to reproduce" in where.read_text()
    gone = subprocess.run([*command, "-o", str(tmp_path / "no" / name)], capture_output=True)
    assert gone.returncode == 2 and b"cannot be written" in gone.stderr
