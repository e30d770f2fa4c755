"""The report on a run: its results, what is missing, and how the endpoints behaved."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.exposure import Leak
from improv.analysis.stats.interval import Estimate
from improv.models.puppet.server import PuppetServer
from improv.report.charts import ChartLine, line_chart, thin_points
from improv.report.comparison import comparison_page
from improv.report.doubts import undecided_reasons
from improv.report.material import Material, read_material
from improv.report.numbers import estimate_text
from improv.report.page import Page
from improv.report.run_report import report
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.design import with_replicates
from improv.study.loader import load
from tests.support.weather import command


def page_of(folder: RunFolder) -> Page:
    return report(read_material(folder))


@pytest.fixture(scope="module")
def sloppy(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """A shipped study, small, with a planted effect that few blocks can see."""
    whole = load("scenes/studies/sloppy-author.yaml", planted="effect")
    assert whole.plan is not None
    (control,) = whole.plan.controls
    assert control.equivalence is not None
    # So few blocks show that the placebo is none within a wide margin alone.
    wide = control.equivalence.model_copy(update={"margin": 0.3})
    controls = [control.model_copy(update={"equivalence": wide})]
    few = {"blocks": 21, "looks": None, "controls": controls}
    study = replace(with_replicates(whole, 3), plan=whole.plan.model_copy(update=few))
    result = run(study, runs=tmp_path_factory.mktemp("sloppy"), setup=Setup(ray="off"))
    assert not result.failed
    return read_material(result.folder)


def test_a_page_counts_what_is_there_and_what_is_missing(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"400": 0.1, "500": 0.05})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    result = run(study, runs=tmp_path / "r", setup=Setup(ray="off"))
    assert result.failed
    page = page_of(result.folder)
    text = page.as_markdown()
    assert "Does the author matter to a kettle?" in text
    missing = re.findall(r"\| ([^|]+) \| status 400 \| (\d+) \| (\d+) \|", text)
    assert sum(int(n) for _, n, _ in missing) == result.failed
    assert {of for _, _, of in missing} == {"3"}
    retried = sum(len(c["retried"]) for c in result.folder.tables.read("calls").to_pylist())
    assert retried and f"500 × {retried}" in text
    assert result.folder.meta()["trials_hash"] in text
    html = page.as_html()
    assert html.count("Limit of http") == 1 and "The limit on calls in flight" in html


def test_a_page_asks_nobody_for_anything_and_shows_text_as_text(played: RunFolder) -> None:
    whole = read_material(played)
    meta = whole.meta | {"study": "<script>alert(1)</script> [x](http://evil)"}
    page = report(replace(whole, meta=meta, question="Is <b>it</b> true? ![](http://evil/x.png)"))
    html = page.as_html()
    assert "<script" not in html and "<b>" not in html and "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=", html)
    assert not re.search(r"(?<!\\)[\[\]<]", page.as_markdown())


def test_the_planned_result_stands_first_with_interval_and_decision(sloppy: Material) -> None:
    page = report(sloppy).as_markdown()
    heads = re.findall(r"^## (.+)$", page, re.M)
    assert heads[0] == "Planned result"
    assert heads[-1] == "How to reproduce"
    assert {"The plan", "What was played", "Controls", "Who saw what", "Cost"} <= set(heads)
    result = page.split("## ")[1]
    sentences = re.findall(
        r"^- (.+?): (.+?) \\\[(.+?), (.+?)\\\], p .+?, (p \(Holm\) .+?), (\d+) blocks\. (\w+)",
        result,
        re.M,
    )
    contrasts = {c.name: c for c in sloppy.analysis.findings}
    assert [name for name, *_ in sentences] == list(contrasts) and len(contrasts) == 3
    for name, *numbers, holm, units, decision in sentences:
        value, low, high = (float(n.replace("−", "-")) for n in numbers)
        assert low < value < high and value == pytest.approx(
            contrasts[name].estimate.value, abs=1e-3
        )
        assert units == "21" and "Holm" in holm
        assert decision != "Shown" or contrasts[name].adjusted <= 0.05
    assert contrasts["sloppy against careful"].rejected
    # Whose lines these are is said.
    assert "what is found here was planted" in page
    # The risk of a first break, condition by condition, against the first one of the study.
    _, hazards = page.split(
        f"Log hazard ratios of the first break against {sloppy.analysis.reference}"
    )
    rows = re.findall(r"^\| (?!condition|---)(.+?) \|", hazards.split("\n## ")[0], re.M)
    assert len(rows) == len(sloppy.analysis.arms) - 1
    hashes = re.findall(rf"\| ([^|]+) \| {sloppy.analysis.plan.hash} \|", page)
    assert hashes == ["hash of this plan", "hash stored before the first call"]


def test_a_doubt_that_several_contrasts_share_is_said_once(sloppy: Material) -> None:
    names = [contrast.name for contrast in sloppy.analysis.findings]
    shared = [Doubt(DoubtKind.LENGTH, "It goes with length.", name) for name in names]
    own = Doubt(DoubtKind.LENGTH, "It goes with turns.", names[1])
    doubted = replace(sloppy, analysis=replace(sloppy.analysis, doubts=(*shared, own)))
    assert undecided_reasons(doubted)[-2:] == [
        f"{', '.join(names[:-1])} and {names[-1]} are not decided. It goes with length.",
        f"{names[1]} is not decided. It goes with turns.",
    ]


def test_nothing_is_decided_by_an_embedded_model_a_late_plan_or_a_leak(sloppy: Material) -> None:
    leak = Leak(
        "sloppy", "t", "main", "character:Ana", "context", "careful", "a page that was not theirs"
    )
    missing = Doubt(DoubtKind.MISSING_SCORES, "A third is missing.", cell="sloppy")
    undecided = {
        "a demonstration": replace(sloppy, meta=sloppy.meta | {"models": ["embedded"]}),
        "What it finds is exploratory": replace(
            sloppy, analysis=replace(sloppy.analysis, planned=False)
        ),
        "found 1 leak;": replace(sloppy, exposure=replace(sloppy.exposure, leaked=1, leaks=[leak])),
        "Nothing is decided. A third": replace(
            sloppy, analysis=replace(sloppy.analysis, doubts=(missing,))
        ),
    }
    for said, material in undecided.items():
        page = report(material).as_markdown()
        decided = re.findall(r"^- .* Not decided[.:]", page, re.M)
        assert said in page and len(decided) == 3
        assert "Shown at" not in page and "Not shown at" not in page


def test_runs_of_one_plan_stand_side_by_side_and_others_are_exploratory(
    sloppy: Material, played: RunFolder
) -> None:
    twice = comparison_page([sloppy, replace(sloppy, run="again")]).as_markdown()
    assert "One plan, several runs" in twice
    rows = re.findall(r"^\| (\S+) \| \S+ \\\[", twice.split("## sloppy against none")[1], re.M)
    assert rows[1:3] == [sloppy.run, "again"]
    leaky = replace(sloppy, exposure=replace(sloppy.exposure, leaked=1))
    assert (
        "Nothing is decided. The exposure check found 1 leak"
        in comparison_page([sloppy, leaky]).as_markdown()
    )
    assert "no plan in common" in comparison_page([sloppy, read_material(played)]).as_markdown()


def test_a_chart_draws_every_point_within_its_frame() -> None:
    points = [(float(i), float(i % 7)) for i in range(50)]
    svg = line_chart(
        "T", "what", "seconds", "n", [ChartLine("a & b", points, steps=True), ChartLine("c", [])]
    )
    root = ET.fromstring(svg)
    (path,) = root.iter("path")
    places = [tuple(map(float, p.split())) for p in re.split("[ML]", path.attrib["d"]) if p]
    assert len(places) == 2 * len(points) - 1  # each step has a corner
    assert all(0 <= x <= 720 and 0 <= y <= 240 for x, y in places)
    assert root.find("title") is not None and "a & b" in "".join(root.itertext())
    assert line_chart("T", "w", "x", "y", []) == ""


def test_thinning_keeps_the_highest_and_the_lowest() -> None:
    points = [(float(i), 5.0) for i in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[1234] = (1234.0, 0.0)
    kept = thin_points(points)
    assert len(kept) <= 610 and {points[4321], points[1234]} <= set(kept)
    assert kept == sorted(kept)


def test_the_command_writes_a_page(
    played: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = command("report", played.id, "--runs", played.root).output
    for name in (f"{played.id}.html", f"{played.id}.md"):
        assert f"written: {name}" in output and "How to reproduce" in Path(name).read_text()


def test_a_place_where_nothing_can_be_written_is_told_before_the_work(
    played: RunFolder, tmp_path: Path
) -> None:
    words = ("--runs", played.root, "-o")
    (tmp_path / "file").touch()
    for name in (tmp_path / "no" / "page.html", tmp_path / "file" / "page.html", tmp_path):
        for what in (("report", "--plan", "no.yaml"), ("compare",), ("graph",)):
            output = command(what[0], played.id, *words, str(name), *what[1:], code=2).output
            assert "cannot be written" in output
    # The look touches nothing: not what is there, and not a pipe that somebody reads.
    os.mkfifo(tmp_path / "pipe.md")
    there, new = tmp_path / "there.md", tmp_path / "new.md"
    there.write_text("mine")
    for file in (there, new, tmp_path / "pipe.md"):
        command("report", played.id, *words, str(file), "--plan", "no.yaml", code=2)
    assert there.read_text() == "mine" and not new.exists()


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("", "0.5 [no interval]"),
        ("no interval from so few blocks", "0.5 [no interval from so few blocks]"),
        ("Se + Sp may well be below 1", "0.5 [no interval: Se + Sp may well be below 1]"),
    ],
)
def test_a_number_without_an_interval_says_why(why: str, text: str) -> None:
    assert estimate_text(replace(Estimate.unknown(why, unit="blocks"), value=0.5)) == text


def test_networks_of_three_and_more_are_shown_without_guesses_too(played: RunFolder) -> None:
    material = read_material(played)
    page = report(material).as_markdown().split("## Who speaks to whom")[1].split("\n## ")[0]
    assert (
        page.count("| condition |") == 2 and "what both tables do not share is no finding" in page
    )
    assert material.talk.shares and all(0 <= share <= 1 for share in material.talk.shares.values())
    assert f"{next(iter(material.talk.shares))} " in page
    # Two need no guess.
    alone = replace(material, talk=replace(material.talk, outright=()))
    assert "by these lines alone" not in report(alone).as_markdown()
