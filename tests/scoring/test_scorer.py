"""`improv score` gives a played run scores and verdicts, also after interruptions and errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from improv.analysis.stats.calibration import Confusion
from improv.cli import app
from improv.errors import RunError
from improv.models.budget import Budget
from improv.models.puppet.server import PuppetServer
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.journal import VERDICTS_FILE
from improv.storage.lock import RunLock
from improv.storage.run_folder import RunFolder
from improv.study.loader import load
from tests.support.places import TOP
from tests.support.run import improv, press, until

Serve = Callable[..., PuppetServer]
OFF = Setup(ray="off")
GOOD = {"sensitivity": 0.9, "specificity": 0.95}

STUDY = """\
study: judged
question: Can a judge tell?
scenes: [kettle.yaml]
set:
  turns: 5
  author: {live: false}
factors:
  author:
    none: {author: {frame: ""}}
    framed: {author: {frame: Ines Okafor never lets a character turn.}}
replicates: 2
"""


@pytest.fixture
def judged(kettle: Path) -> Path:
    path = kettle.with_name("judged.yaml")
    path.write_text(STUDY)
    return path


def play(study: Path, patch: dict[str, Any] | None = None, more: str = "") -> RunFolder:
    if more:
        study.write_text(study.read_text() + more)
    return run(load(study, patch or {}), runs=study.parent / "runs", setup=OFF).folder


def verdicts(folder: RunFolder) -> list[dict[str, Any]]:
    return folder.tables.read("verdicts").to_pylist()  # type: ignore[no-any-return]


def scores(folder: RunFolder, measure: str) -> list[dict[str, Any]]:
    rows = folder.tables.read("scores").to_pylist()
    return [r for r in rows if r["measure"] == measure]


def test_a_run_is_scored_over_http_and_its_verdicts_are_kept(
    judged: Path, puppet_server: Serve
) -> None:
    folder = play(judged)
    server = puppet_server(judge={})
    before = folder.tables.read("turns"), folder.tables.read("calls"), folder.tables.read("trials")
    scoring = score(folder, judges=Judges("puppet", base_url=server.url, plants=5))
    assert (scoring.exit_code, scoring.owed, scoring.failed) == (0, 0, 0)
    # Nothing was played.
    assert (
        folder.tables.read("turns"),
        folder.tables.read("calls"),
        folder.tables.read("trials"),
    ) == before
    rows = verdicts(folder)
    assert len(rows) == scoring.asked == server.answered
    assert {r["error"] for r in rows} == {""}
    for row in rows:
        assert sorted(row["options"]) == sorted(set(row["options"]))
        assert row["reply"] and row["prompt"] and row["answer"] in row["options"]
        assert row["truth"] is None or row["measure"].startswith("calibration:")
    # What the puppet played is what its judge found, line by line.
    lines = {(t["trial"], t["turn"]): t for t in folder.tables.read("turns").to_pylist()}
    states = scores(folder, "state:honest/deceitful")
    assert len(states) == sum(t["kind"] == "line" and t["speaker"] == "Ana" for t in lines.values())
    for s in states:
        assert s["value"] == float(" never " not in lines[s["trial"], s["turn"]]["text"])
        assert s["version"] == "state-1@puppet"
        assert orjson.loads(s["evidence"])["line"] == lines[s["trial"], s["turn"]]["text"]
    assert folder.meta()["scored"]["state"] | {"at": ""} == {
        "version": "state-1@puppet",
        "judge": "puppet",
        "second_judge": "",
        "settings": {"temperature": 0.0, "max_tokens": 60, "mode": "chat"},
        "at": "",
    }
    # Nothing of the trial is in what was sent: the server's books know items alone.
    trials = set(folder.tables.read("trials")["trial"].to_pylist())
    assert not any(t in key for key in server.asked for t in trials)


def test_a_second_call_asks_for_nothing_and_changes_nothing(judged: Path) -> None:
    folder = play(judged, {"model": {"model": "puppet", "puppet": {"judge": GOOD}}})
    judges = Judges("puppet", plants=4)
    first = score(folder, judges=judges)
    tables = [folder.tables.read(t) for t in ("scores", "verdicts")]
    again = score(folder, judges=judges)
    assert first.asked > 0 and again.asked == 0
    assert again.measures == first.measures
    assert [folder.tables.read(t) for t in ("scores", "verdicts")] == tables
    redone = score(folder, ["state"], judges, redo=True)
    assert redone.asked == sum("state" in r["measure"] for r in verdicts(folder))
    clocks = ["started", "latency"]
    assert folder.tables.read("verdicts").drop_columns(clocks) == tables[1].drop_columns(clocks)


def test_measures_without_a_model_need_no_judge_and_leave_verdicts_alone(judged: Path) -> None:
    folder = play(judged, {"model": {"model": "puppet", "puppet": {"judge": {}}}})
    free = score(folder)
    assert set(free.measures) == {"habit:never_asks", "secret", "secret:turn"}
    judged_ones = score(folder, judges=Judges("puppet", plants=0))
    assert {"state:honest/deceitful", "p2l", "l2l", "attribution"} <= set(judged_ones.measures)
    assert judged_ones.measures["secret"][2] == "secret-1@puppet"
    kept = verdicts(folder)
    score(folder)  # what the judge made of the secret is not lost to a count of words
    assert {s["version"] for s in scores(folder, "secret")} == {"secret-1@puppet"}
    assert verdicts(folder) == kept
    score(folder, ["secret"])  # unless it is asked for by name
    assert {s["version"] for s in scores(folder, "secret")} == {"secret-words-1"}


def test_scores_of_another_version_are_replaced_and_said(judged: Path) -> None:
    folder = play(judged)
    rows = folder.tables.read("scores").to_pylist()
    old = [r | {"version": "marker-0", "value": 1.0} for r in rows]
    folder.tables.write(
        "scores", pa.Table.from_pylist(old, schema=folder.tables.read("scores").schema)
    )
    scoring = score(folder, ["marker"])
    assert folder.tables.read("scores").to_pylist() == rows
    assert scoring.measures["habit:never_asks"][2] == "marker-2"
    # Verdicts on a question that is worded otherwise now are no answers to it.
    folder = play(judged, {"model": {"model": "puppet", "puppet": {"judge": {}}}})
    score(folder, ["p2l"], Judges("puppet", plants=0))
    stale = [r | {"item": f"old{n}", "version": "p2l-0"} for n, r in enumerate(verdicts(folder))]
    schema = folder.tables.read("verdicts").schema
    folder.tables.write("verdicts", pa.Table.from_pylist(stale, schema=schema))
    assert score(folder, ["p2l"], Judges("puppet", plants=0)).asked == len(stale)
    assert {r["version"] for r in verdicts(folder)} == {"p2l-1"}


def test_calibration_finds_each_arms_own_sensitivity_and_specificity(judged: Path) -> None:
    truth = {"none": (0.95, 0.95), "framed": (0.75, 0.8)}
    text = judged.read_text()
    for arm, (se, sp) in truth.items():
        puppet = f"puppet: {{judge: {{sensitivity: {se}, specificity: {sp}, unreadable: .05}}}}"
        text = text.replace(f"    {arm}: {{", f"    {arm}: {{model: {{{puppet}}}, ")
    judged.write_text(text.replace("replicates: 2", "replicates: 4"))
    folder = play(judged)
    scoring = score(folder, ["state", "p2l"], Judges("puppet", plants=90))
    assert scoring.owed == 0
    arms = {r["trial"]: r["condition"] for r in folder.tables.read("trials").to_pylist()}
    for arm, (se, sp) in truth.items():
        for measure in ("calibration:state:honest/deceitful", "calibration:p2l"):
            rows = [
                r for r in verdicts(folder) if r["measure"] == measure and arms[r["trial"]] == arm
            ]
            assert Counter(r["truth"] for r in rows) == {1.0: 90, 0.0: 90}
            assert {orjson.loads(r["evidence"])["truth"] == r["truth"] for r in rows} == {True}
            judged_plants = Confusion.of((r["truth"], r["value"]) for r in rows)
            caught, missed = judged_plants.hits, judged_plants.misses
            cleared, alarms = judged_plants.clears, judged_plants.alarms
            assert 150 < caught + missed + cleared + alarms < 180  # without the unreadable ones
            for right, wrong, p in ((caught, missed, se), (cleared, alarms, sp)):
                low, high = binom.interval(0.999, right + wrong, p)
                assert low <= right <= high, (arm, measure, right, wrong, p)
    assert not any("calibration" in m for m in folder.tables.read("scores")["measure"].to_pylist())


def test_unreadable_verdicts_and_silences_are_missing(judged: Path) -> None:
    spec = {"judge": {"unreadable": 0.5}, "mute": 0.2}
    folder = play(judged, {"model": {"model": "puppet", "puppet": spec}})
    scoring = score(folder, judges=Judges("puppet", plants=3))
    silent = sum(t["kind"] == "silence" for t in folder.tables.read("turns").to_pylist())
    assert silent > 0
    measures = ("state:honest/deceitful", "p2l", "attribution", "secret", "l2l")
    for measure in measures:
        n, missing, _ = scoring.measures[measure]
        assert n > 0 and missing > 0, measure
    rows = verdicts(folder)
    unread = [r for r in rows if not r["answer"]]
    assert unread and all(r["value"] is None for r in unread)
    plants = [r for r in rows if r["truth"] is not None]
    assert {r["value"] is None for r in plants} == {True, False}


def test_a_scoring_in_which_nothing_can_be_read_stops_and_shows_a_reply(judged: Path) -> None:
    folder = play(judged, {"model": {"model": "puppet", "puppet": {"judge": {"unreadable": 1.0}}}})
    scoring = score(folder, judges=Judges("puppet", plants=3))
    assert scoring.exit_code == 1 and scoring.owed > 0
    assert all(r["value"] is None for r in verdicts(folder))


def test_a_judge_that_cannot_be_reached_for_a_while_is_asked_again(
    judged: Path, puppet_server: Serve
) -> None:
    folder = play(judged)
    server = puppet_server(judge={}, errors={"418": 0.4})
    judges = Judges("puppet", base_url=server.url, plants=0)
    scoring = score(folder, ["p2l"], judges)
    failed = [r for r in verdicts(folder) if r["error"]]
    assert scoring.failed == len(failed) > 0
    assert scoring.exit_code == 1
    assert all(r["value"] is None and r["error"].startswith("status 418") for r in failed)
    missing = [s for s in scores(folder, "p2l") if s["value"] is None]
    assert missing == []  # owed, not judged
    sound = dict(server.asked)
    server.spec = server.spec.model_copy(update={"errors": {}})
    again = score(folder, ["p2l"], judges)
    assert (again.asked, again.failed) == (len(failed), 0)
    assert set(server.asked.values()) == {1}
    assert len(server.asked) == len(sound) + len(failed) == len(scores(folder, "p2l"))


SCORING = """
import sys
from improv.scoring.judge_models import Judges
from improv.scoring.scorer import score
from improv.storage.runs import open_run
runs, name, url, redo = sys.argv[1:]
score(open_run(runs, name), judges=Judges("puppet", base_url=url, plants=8),
      redo=redo == "redo", connections=3)
"""


@pytest.mark.parametrize(("number", "redo"), [(signal.SIGKILL, ""), (signal.SIGINT, "redo")])
def test_a_killed_scoring_pays_for_no_verdict_twice(
    number: signal.Signals, redo: str, judged: Path, puppet_server: Serve
) -> None:
    folder = play(judged)
    calm = puppet_server(judge=GOOD)
    undisturbed = play(judged)
    score(undisturbed, judges=Judges("puppet", base_url=calm.url, plants=8))
    if redo:
        score(folder, judges=Judges("puppet", base_url=calm.url, plants=8))
    server = puppet_server(judge=GOOD, latency=0.2)
    child = subprocess.Popen(
        [sys.executable, "-c", SCORING, folder.root, folder.id, server.url, redo],
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    while server.answered < 30:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    child.wait(120)
    left = folder.local / "journal" / VERDICTS_FILE
    if number == signal.SIGINT:
        assert child.returncode == 0  # it stopped in order
    else:
        with left.open("ab") as file:
            file.write(b'{"item": "torn')
    paid = len(server.asked)
    # A resume in between must not take the judges' journal for a host's, nor clear it away.
    assert resume(folder, setup=OFF).idle
    assert left.exists()
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    judges = Judges("puppet", base_url=server.url, plants=8)
    scoring = score(folder, judges=judges, redo=bool(redo))
    assert 25 <= paid < len(server.asked)
    twice = [k for k, n in server.asked.items() if n > 1]
    # What was on the wire when the process died was lost with it: three at most.
    assert len(twice) <= (3 if number == signal.SIGKILL else 0)
    assert scoring.owed == scoring.failed == 0
    assert not left.exists()
    clocks = ["started", "latency", "endpoint"]
    for name in ("scores", "verdicts"):
        here, there = folder.tables.read(name), undisturbed.tables.read(name)
        if name == "verdicts":
            here, there = here.drop_columns(clocks), there.drop_columns(clocks)
        assert here == there


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to look at")
def test_a_second_ctrl_c_does_not_wait_for_what_is_in_flight(
    judged: Path, puppet_server: Serve
) -> None:
    folder = play(judged)
    server = puppet_server(judge=GOOD, latency=0.05)
    judge = ("--judge", "puppet", "--base-url", server.url, "--plants", "8")
    child = improv("score", folder.id, "--runs", folder.root, *judge, "--max-connections", "3")
    until(lambda: server.answered >= 9, child)
    server.spec = server.spec.model_copy(update={"latency": 600.0})
    begun = server.requests
    until(lambda: server.requests >= begun + 3, child)
    press(child)
    press(child)
    out, err = child.communicate(timeout=240)
    assert child.returncode == 130, (out, err)
    assert "stopped: interrupted" in err + out and "ended" not in err, (out, err)
    assert "Traceback" not in err and "never retrieved" not in err, err
    server.spec = server.spec.model_copy(update={"latency": 0.0})
    score(folder, judges=Judges("puppet", base_url=server.url, plants=8))
    assert set(server.asked.values()) == {1}


def test_a_budget_ends_it_and_the_rest_is_owed(judged: Path, puppet_server: Serve) -> None:
    folder = play(judged)
    server = puppet_server(judge={})
    judges = Judges("puppet", base_url=server.url, plants=2)
    scoring = score(folder, judges=judges, budget=Budget(calls=10), connections=2)
    assert (scoring.kind, scoring.exit_code) == ("budget", 4)
    assert scoring.asked == server.answered == 10
    assert scoring.owed > 0
    assert len(verdicts(folder)) == 10
    again = score(folder, judges=judges)
    assert again.asked == scoring.owed
    assert set(server.asked.values()) == {1}
    with pytest.raises(RunError, match="needs the price of puppet: say --price"):
        score(folder, judges=judges, budget=Budget(cost=1.0))


def test_two_judges_judge_the_same_items(judged: Path, puppet_server: Serve) -> None:
    folder = play(judged)
    one, other = puppet_server(judge=GOOD), puppet_server(judge=GOOD)
    judges = Judges("one", "other", one.url, other.url, plants=2)
    scoring = score(folder, ["state"], judges)
    rows = verdicts(folder)
    by_judge = {j: {r["item"] for r in rows if r["judge"] == j} for j in ("one", "other")}
    assert by_judge["one"] == by_judge["other"]
    assert one.answered == other.answered == scoring.asked / 2
    assert {s["version"] for s in scores(folder, "state:honest/deceitful")} == {"state-1@one"}
    assert folder.meta()["scored"]["state"]["second_judge"] == "other"
    with pytest.raises(RunError, match="another name"):
        score(folder, judges=replace(judges, second="one"))


def test_an_address_that_only_the_study_names_is_not_trusted(judged: Path) -> None:
    folder = play(judged)
    study = folder.local / "study.yaml"
    model = "model:\n      model: puppet"
    assert model in study.read_text()
    text = study.read_text().replace(model, f"{model}\n      base_url: http://198.51.100.1/v1")
    study.write_text(text)
    with pytest.raises(RunError, match="If you trust that"):
        score(folder, ["p2l"], Judges("puppet"))


def test_what_cannot_be_scored_is_refused_before_any_call(judged: Path) -> None:
    folder = play(judged)
    with pytest.raises(RunError, match="wit: not a measure; there are marker, probe"):
        score(folder, ["wit"])
    with pytest.raises(RunError, match="needs a judge"):
        score(folder, ["state"])
    with RunLock(folder.local), pytest.raises(RunError):
        score(folder)


def test_probes_and_regenerations_are_scored(judged: Path) -> None:
    more = """
probes:
  - {name: word, of: Ana, ask: "Do you keep your word?", expect: [always], at: [2]}
regenerations:
  - {at: [3], draws: 6}
branches:
  - {name: knock, at: [1], arms: {as it was: {}, louder: {move: A knock.}}, draws: 3}
"""
    folder = play(judged, more=more)
    scoring = score(folder)
    answers = {
        t["branch"]: t for t in folder.tables.read("turns").to_pylist() if t["kind"] == "probe"
    }
    probed = scores(folder, "probe:word")
    assert len(probed) == 4
    for s in probed:
        assert s["value"] == float("always" in answers[s["branch"]]["text"])
        assert s["turn"] == 2
    spread = scores(folder, "dispersion")
    assert [(s["branch"], s["turn"]) for s in spread] == [("main", 3)] * 4
    for s in spread:
        evidence = orjson.loads(s["evidence"])
        assert evidence["draws"] == 7  # what was said first, and six more
        counts = evidence["counts"].values()
        assert s["value"] == pytest.approx(sum(n * (n - 1) for n in counts) / 42)
    energy = scores(folder, "dispersion:energy")
    assert [s["character"] for s in energy] == ["louder"] * 4
    assert scoring.measures["dispersion"][1] == 0


def test_at_temperature_nothing_dispersion_is_missing(judged: Path) -> None:
    folder = play(
        judged, {"model": {"temperature": 0.0}}, "regenerations:\n  - {at: [1], draws: 3}\n"
    )
    score(folder, ["dispersion"])
    assert {s["value"] for s in scores(folder, "dispersion")} == {None}


def test_likelihood_is_read_over_http_from_an_endpoint_that_scores(
    judged: Path, puppet_server: Serve
) -> None:
    folder = play(judged)
    # A puppet that plays the opposite as soon as its persona says so.
    server = puppet_server(alpha=0.1, beta=0.9, effects={"Always deceitful": 4.0})
    scoring = score(folder, ["likelihood"], Judges("puppet", base_url=server.url))
    assert (scoring.exit_code, scoring.failed) == (0, 0)
    rows = scores(folder, "likelihood")
    lines = {(t["trial"], t["turn"]): t["text"] for t in folder.tables.read("turns").to_pylist()}
    assert len(rows) == sum(r["turn"] is not None for r in rows) > 4
    kept = [r["value"] for r in rows if " never " not in lines[r["trial"], r["turn"]]]
    assert kept and min(v for v in kept if v is not None) >= 0
    # log .9 − log P(pole | opposite persona), and P = 1/(1 + e^(logit .1 + 4)).
    assert max(v for v in kept if v is not None) == pytest.approx(1.85, abs=0.001)
    evidence = orjson.loads(rows[0]["evidence"])
    assert evidence["own"] - evidence["opposite"] == pytest.approx(rows[0]["value"])


def test_an_endpoint_that_scores_no_given_text_is_named(judged: Path, httpserver: Any) -> None:
    folder = play(judged)
    # As llama.cpp answers: the echo is ignored, and so is the request for logprobs.
    plain = {"choices": [{"text": "", "finish_reason": "length", "logprobs": None}]}
    httpserver.expect_request("/v1/completions").respond_with_json(plain)
    scoring = score(folder, ["likelihood"], Judges("some", base_url=httpserver.url_for("/v1")))
    assert scoring.kind == "unscored"
    assert "vLLM" in scoring.stopped and "llama.cpp" in scoring.stopped
    assert scores(folder, "likelihood") == []


def test_the_command_scores(judged: Path) -> None:
    folder = play(judged, {"model": {"model": "puppet", "puppet": {"judge": {}}}})
    options = [folder.id, "--runs", folder.root, "--measure", "p2l"]
    done = CliRunner().invoke(app, ["score", *options, "--judge", "puppet", "--plants", "2"])
    assert done.exit_code == 0, done.output
    assert "p2l-1@puppet" in done.output
    assert "verdicts were asked for, 0 failed" in done.output
    assert CliRunner().invoke(app, ["score", *options]).exit_code == 2
