"""The Compare room without a browser: the report's numbers, and the very scenes behind each."""

from __future__ import annotations

import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import streamlit as st
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df as as_frame
from streamlit.testing.v1 import AppTest

from improv.analysis import cache
from improv.analysis.cache import cache_findings
from improv.analysis.inference import Findings
from improv.analysis.loader import RunAnalysis, analyse_run
from improv.report.numbers import estimate_text as said
from improv.scoring import human_ratings
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from tests.support.ui import address, bare_run, page, puppet_run, read, shown, vandal_run, well
from tests.support.ui_runs import STAGE_RUN, stage_run
from ui.compare import chart
from ui.compare import data as compare_data
from ui.compare.data import SCENE_KINDS
from ui.shared import chart_colours, run_data


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    stage_run(folder)
    return folder


@pytest.fixture(scope="module")
def weighed(runs: Path) -> RunAnalysis:
    return analyse_run(open_run(runs, STAGE_RUN))


@pytest.fixture
def own(runs: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run that a test may change."""
    return open_run(shutil.copytree(runs, tmp_path / "runs"), STAGE_RUN)


def room(runs: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    return page(runs, monkeypatch, room="compare", **({"run": STAGE_RUN} | query))


def charts(app: AppTest) -> list[list[dict[str, Any]]]:
    """The rows of each chart."""
    elements = app.get("vega_lite_chart")
    assert all(c.proto.alt for c in elements)
    return [as_frame(c.proto.data.data).to_dict("records") for c in elements]


def tables(app: AppTest) -> list[list[dict[str, Any]]]:
    return [d.value.to_dict("records") for d in app.dataframe]


def links(app: AppTest, room: str) -> list[str]:
    return re.findall(rf'href="({room}\?[^"]*)"', shown(app))


def test_the_planned_result_is_the_reports(
    runs: Path, monkeypatch: pytest.MonkeyPatch, weighed: RunAnalysis
) -> None:
    app = room(runs, monkeypatch)
    text, analysis = read(app), weighed.analysis
    assert "author-context" in text and weighed.study.question in text
    assert analysis.plan is not None and analysis.plan.hypothesis in text
    assert "Played by puppets" in text
    for contrast, row in zip(analysis.findings, tables(app)[0], strict=True):
        assert row["contrast"] == contrast.name
        assert row["estimate [interval]"] == said(contrast.estimate)
        assert contrast.name in row["in words"] and "Not decided" in row["in words"]
    assert "6 of 300 planned blocks are there" in text
    first, arms, *_ = charts(app)
    assert [r["name"] for r in first] == [c.name for c in analysis.findings]
    drawn = [(r["value"], r["low"], r["high"]) for r in arms]
    assert drawn == [(a.value.value, a.value.low, a.value.high) for a in analysis.arms]
    assert "48" in text and "clean" in text


def test_curves_and_chains_are_drawn_with_tables(
    runs: Path, monkeypatch: pytest.MonkeyPatch, weighed: RunAnalysis
) -> None:
    app, analysis = room(runs, monkeypatch), weighed.whole()
    for title in ("Time to the first break", "Drift over turns", "Flips and returns"):
        assert title in read(app)
    survival, drift = charts(app)[2:4]
    for rows, curves in ((survival, analysis.survival), (drift, analysis.drift)):
        assert {r["i"] for r in rows} <= set(range(len(curves)))
        for r in rows[:20]:
            points = {int(p[0]): p for p in curves[r["i"]].points}
            assert r["value"] == points[int(r["turn"])][1]
    # Of eight conditions those of the plan are drawn first, and all stand in the tables.
    assert len({r["i"] for r in drift}) == 4
    (picked,) = (m for m in app.multiselect if m.label == "Conditions to draw")
    assert set(picked.value) <= set(analysis.compared)
    whole = next(t for t in tables(app) if t and "mean score" in t[0])
    assert {r["condition"] for r in whole} == {c.name for c in analysis.drift}
    assert shown(app).count("data:image/svg+xml") == len(analysis.chains) == 8
    every = [t for t in tables(app) if t and "share of opposite" in t[0]]
    assert [r["scenes"] for r in every[0]] == [c.chain.scenes for c in analysis.chains]


def test_behind_a_contrast_stand_its_blocks(
    runs: Path, monkeypatch: pytest.MonkeyPatch, weighed: RunAnalysis
) -> None:
    contrast = weighed.analysis.findings[0]
    app = room(runs, monkeypatch, contrast=contrast.name)
    assert address(app)["contrast"] == contrast.name
    assert f"{contrast.blocks} blocks: the first side" in read(app)
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', shown(app))
    apart = [float(re.findall(r"<td>([^<]*)</td>", r)[2].replace("−", "-")) for r in rows[:6]]
    assert sum(apart) / 6 == pytest.approx(contrast.estimate.value, abs=0.005)
    assert apart == sorted(apart, key=lambda a: -abs(a))
    link = next(w for w in links(app, "compare") if "block=" in w)
    assert "contrast=" in link
    well(app.button(key="close").click().run())
    assert "contrast" not in address(app)


@pytest.mark.parametrize("kind", ["", *SCENE_KINDS])
def test_behind_a_condition_stand_its_very_scenes(
    runs: Path, monkeypatch: pytest.MonkeyPatch, weighed: RunAnalysis, kind: str
) -> None:
    analysis = weighed.whole()
    at = next(i for i, c in enumerate(analysis.chains) if c.chain.counts.n01 and c.chain.counts.n10)
    cell, counts = analysis.chains[at].cell, analysis.chains[at].chain.counts
    monkeypatch.setenv("IMPROV_RUNS", str(runs))
    scenes = compare_data.scenes(run_data.find_run(STAGE_RUN), cell, kind)
    trials = weighed.tables.trials
    known = trials[trials["condition"] == cell]["trial"].tolist()
    assert {s.trial for s in scenes} <= set(known) and all(s.cell == cell for s in scenes)
    scores = weighed.tables.scored("sign")
    broken = scores[scores["trial"].isin(known) & (scores["value"] == 0)]
    first = broken.groupby("trial", observed=True)["turn"].min().to_dict()
    expected = {
        "": len(known),
        "break": len(first),
        "never": len(known) - len(first),
        "line": len(broken),
        "fall": counts.n01,
        "back": counts.n10,
    }
    assert len(scenes) == expected[kind]
    if kind == "break":
        assert {s.trial: s.turn for s in scenes} == first
    if kind == "line":
        turn = scenes[0].turn
        few = compare_data.scenes(run_data.find_run(STAGE_RUN), cell, kind, turn)
        assert few and len(few) == int((broken["turn"] == turn).sum())
    app = room(runs, monkeypatch, condition=cell, of=kind)
    ways = links(app, "scene")
    assert all(f"trial={s.trial}" in "".join(ways) for s in scenes[:20])
    if kind in ("break", "line"):
        assert "behind=1" in "".join(ways) and '<li><p><span class="name">' in shown(app)


def test_a_block_stands_side_by_side(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = room(runs, monkeypatch)
    box = next(s for s in app.selectbox if s.label.startswith("Block"))
    assert box.label == "Block (6)" and app.button(key="block-before").disabled
    well(app.button(key="block-next").click().run())
    block = address(app)["block"]
    folder = open_run(runs, STAGE_RUN)
    rows = [r for r in folder.tables.read("trials").to_pylist() if r["block"] == block]
    table = shown(app)[shown(app).index('<div class="abreast"') :]
    four = [r for r in rows if f"trial={r['trial']}" in table]
    assert len(rows) == 8 and len(four) == 4
    for row in four:
        line = folder.transcripts.read(row["trial"]).lines()[0]
        assert line.text.split()[0] in read(app)
    broken = {
        (s["trial"], s["turn"])
        for r in four
        for s in folder.tables.read("scores", trial=r["trial"]).to_pylist()
        if s["measure"].startswith("sign") and s["value"] == 0
    }
    assert table.count('<td class="broke">') == len(broken)
    odd = room(runs, monkeypatch, block="<b>no</b>")
    assert "There is no block" in read(odd) and "<b>no" not in shown(odd)


def test_nothing_there_is_nothing_opened(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for query in ({"condition": "nobody"}, {"condition": "x", "of": "zzz", "turn": "-1"}):
        assert "The scenes behind it" not in read(room(runs, monkeypatch, **query))
    app = room(runs, monkeypatch, contrast="<script>alert(1)</script>", sheet="9999999999")
    assert "This number has no list of blocks" in read(app) and "<script" not in shown(app)


def test_an_unplanned_number_has_scenes_too(
    runs: Path, monkeypatch: pytest.MonkeyPatch, weighed: RunAnalysis
) -> None:
    analysis = weighed.whole()
    name = next(c.name for c in analysis.exploratory if not math.isnan(c.estimate.value))
    app = room(runs, monkeypatch, contrast=name)
    assert "6 blocks: the first side" in read(app)


def test_what_is_kept_is_what_was_found(
    own: RunFolder,
) -> None:
    folder = own
    study = folder.study()
    findings = Findings(analyse_run(folder).whole(), analyse_run(folder).judges)
    before = cache.run_state(folder)
    assert cache.read_findings(folder, study) is None
    cache.write_findings(folder, findings, "another")
    assert cache.read_findings(folder, study) is None
    cache.write_findings(folder, findings, before)
    file = folder.local / cache.FINDINGS_FILE
    file.unlink()
    cache_findings(folder)
    # NaN is not itself, so that the words are compared: every float is written whole.
    assert repr(cache.read_findings(folder, study)) == repr(findings)
    fields = orjson.loads(file.read_bytes().replace(b"NaN", b"null").replace(b"Infinity", b"9"))
    assert file.stat().st_mode & 0o077 == 0 and fields["findings"]["analysis"]["plan"] is None

    for torn in (
        b"",
        b"{",
        b"[]",
        b'{"state": 1}',
        b'{"state": "%s", "findings": {}}' % before.encode(),
        b"[" * 200_000,
    ):
        file.write_bytes(torn)
        assert cache.read_findings(folder, study) is None
    cache.write_findings(folder, findings, before)
    (item, *_) = human_ratings.rating_items(folder, study, "state")
    human_ratings.add_rating(folder, item, human_ratings.judge_name("Ann"), "", 1.0)
    assert cache.read_findings(folder, study) is None and cache.run_state(folder) != before
    score(folder, ["marker"], Judges())
    assert cache.run_state(folder) != before

    # A folder that cannot be written is read all the same.
    file.unlink()
    file.mkdir()
    cache.write_findings(folder, findings, cache.run_state(folder))
    assert file.is_dir()


def test_what_is_kept_is_shown_without_the_tables(
    own: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = own, Path(own.root)
    plain = read(room(home, monkeypatch))
    weighed = analyse_run(folder)
    analysis = weighed.whole()
    cache.write_findings(folder, Findings(analysis, weighed.judges), cache.run_state(folder))
    st.cache_resource.clear()
    assert read(room(home, monkeypatch)) == plain
    # It is the kept that was read: what it says is shown, until the run is another.
    first = replace(analysis.findings[0], name="what is kept")
    changed = replace(analysis, findings=(first, *analysis.findings[1:]))
    cache.write_findings(folder, Findings(changed, weighed.judges), cache.run_state(folder))
    st.cache_resource.clear()
    assert tables(room(home, monkeypatch))[0][0]["contrast"] == "what is kept"
    os.utime(folder.local / "scores.parquet")
    assert tables(room(home, monkeypatch))[0][0]["contrast"] == analysis.findings[0].name


def test_a_rating_is_seen_at_once(own: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, home = own, Path(own.root)
    assert "human:Ann" not in read(room(home, monkeypatch))
    for item in human_ratings.rating_items(folder, folder.study(), "state"):
        if item.truth is not None:
            answer = item.options[item.values.index(item.truth)]
            human_ratings.add_rating(folder, item, human_ratings.judge_name("Ann"), answer, 1.0)
    text = read(room(home, monkeypatch))
    assert "human:Ann" in text and "can judge" in text


def test_odd_runs_have_a_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vandal_run(tmp_path)
    app = room(tmp_path, monkeypatch, run="vandal")
    assert "<script>" not in shown(app) and "One block, side by side" in read(app)
    puppet_run(tmp_path)
    assert "One block, side by side" in read(room(tmp_path, monkeypatch, run="puppet"))
    bare_run(tmp_path, "bare")
    assert "No scene is finished" in read(room(tmp_path, monkeypatch, run="bare"))
    bare_run(tmp_path, "live", status="playing")
    well(room(tmp_path, monkeypatch, run="live"))


def test_charts_can_be_read_without_their_colours(weighed: RunAnalysis) -> None:
    analysis = weighed.whole()
    drawn = [(i, c.name, c) for i, c in enumerate(analysis.survival)]
    spec = chart.curves(drawn, None, chart_colours.LIGHT, y="share", steps=True)
    lines, points = spec["layer"][1], spec["layer"][2]
    assert len({tuple(d) for d in lines["encoding"]["strokeDash"]["scale"]["range"]}) == 8
    assert len(set(points["encoding"]["shape"]["scale"]["range"])) == 8
    assert all(math.isfinite(p["low"]) for p in spec["data"]["values"])
