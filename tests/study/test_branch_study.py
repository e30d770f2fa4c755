"""Branches, regenerations and probes of a study: they are played, stored, and checked when read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from improv.errors import StudyError
from improv.models.puppet.server import PuppetServer
from improv.records import MAIN
from improv.runner.launch import resume, run
from improv.study.loader import load
from improv.study.trial import plan
from tests.support.branch import OFF, differences, rows

BRANCHING = """\
study: counterfactuals
scenes: [kettle.yaml]
set: {turns: 5}
replicates: 1
branches:
  - name: freeze
    at: [2, 4]
    draws: 2
    turns: 1
    arms:
      as it was: {}
      another author: {scene: {author: {frame: Una never spares anybody.}}}
      a bomb: {line: "The kettle is a bomb."}
regenerations:
  - {at: [1, 5], draws: 2}
  - {at: every}
probes:
  - {name: boil, of: Ana, ask: "Does it boil?", expect: ["no"], at: every}
  - {name: where, ask: "Where are you?", at: [3], draws: 2}
"""


def test_a_study_plays_its_branches_regenerations_and_probes(kettle: Path, tmp_path: Path) -> None:
    file = kettle.with_name("branching.yaml")
    file.write_text(BRANCHING)
    result = run(load(file), runs=tmp_path / "runs", setup=OFF)
    folder = result.folder
    trials = rows(folder, "trials")
    assert (result.done, result.failed, result.owed) == (1, 0, 0)
    assert Counter((r["origin"], r["status"]) for r in trials) == {
        ("main", "done"): 1,
        ("branch", "done"): 2 * 3 * 2,
        ("regeneration", "done"): 2 * 2 + 3,
        ("probe", "done"): 6 + 3 * 2,
    }
    turns = rows(folder, "turns")
    for r in (r for r in trials if r["origin"] == "branch"):
        own = [t for t in turns if (t["trial"], t["branch"]) == (r["trial"], r["branch"])]
        drawn = [t for t in own if t["kind"] == "line" and t["cuts"] != ["edited"]]
        frozen = r["fork"] + ("bomb" in r["arm"])
        # Every arm draws the same number of turns after the same fork.
        assert frozen in (2, 4) and {t["turn"] for t in drawn} == {frozen + 1}, r["arm"]
    assert Counter(r["arm"] for r in trials if r["origin"] == "branch") == dict.fromkeys(
        ["freeze: as it was", "freeze: another author", "freeze: a bomb"], 4
    )
    # A probe is in its own rows only.
    texts = {r["id"]: r["text"] for r in rows(folder, "blocks")}
    probes = {r["branch"] for r in trials if r["origin"] == "probe"}
    answers = {t["text"] for t in turns if t["kind"] == "probe"}
    assert {t["branch"] for t in turns if t["kind"] == "probe"} == probes and answers
    for call in rows(folder, "calls"):
        is_probe = any("no part of the scene" in texts[b] for b in call["blocks"])
        assert is_probe == (call["purpose"] == "probe") == (call["branch"] in probes)
    for r in trials:
        kinds = {t.kind for t in folder.transcripts.read(r["trial"], r["branch"]).turns}
        assert ("probe" in kinds) == (r["branch"] in probes)
        assert not [
            t
            for t in folder.transcripts.read(r["trial"], r["branch"]).lines()
            if t.branch in probes
        ]
    scored = rows(folder, "scores")
    assert {s["branch"] for s in scored if s["branch"] in probes} == set()
    assert differences(folder) == []
    assert resume(folder, setup=OFF).idle


def arms(at: str, edit: str) -> str:
    return f"branches:\n  - name: x\n    at: {at}\n    arms:\n      a: {edit}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("branches: [{name: x, at: [2, 6]}]", "4:30: branches.0.at.1: no scene goes on after"),
        ("regenerations: [{at: [7]}]", "4:23: regenerations.0.at.0: no scene has a turn 7 (the"),
        ("probes: [{name: x, ask: Who, at: [9]}]", "probes.0.at.0: no scene has a turn 9"),
        ("probes: [{name: x, ask: Who, at: [1], of: Anna}]", "probes.0.of: nobody in 'The "),
        ("regenerations: [{at: [0]}]", "4:17: regenerations.0: 'at' needs turns, each 1 or later"),
        ("regenerations: [{at: often}]", "4:22: regenerations.0.at"),
        ("branches: [{name: x, at: [], arms: {}}]", "4:12: branches.0: 'at' needs turns, each 0"),
        ("branches: [{name: x, at: [1], arm: {}}]", "not a field (did you mean 'arms'?)"),
        (
            "branches: [{name: x, at: [1]}, {name: x, at: [2]}]",
            "4:39: branches.1.name: other branches",
        ),
        (arms("[1]", "{lin: Hello.}"), "8:11: branches.0.arms.a.lin: not a field (did you mean"),
        (
            arms("[1]", "{scene: {author: {framee: x}}}"),
            "8:28: branches.0.arms.a.scene.author.framee: not a field (did you mean 'frame'?)",
        ),
        (
            arms("[1]", "{scene: {cast: {Anna: {}}}}"),
            "8:26: branches.0.arms.a.scene.cast.Anna: nobody is called 'Anna' (did you mean",
        ),
        (arms("[1]", "{scene: {cast: {Ana: {card: []}}}}"), "arms.a.scene.cast.Ana.card: "),
        (
            arms("[1]", "{memory: {Zed: Nothing.}}"),
            "branches.0.arms.a.memory.Zed: nobody is called 'Zed'; the cast is Ana, Bo, Cy",
        ),
        (
            arms("[0, 1]", "{line: Hello.}"),
            "8:17: branches.0.arms.a.line: the written opening cannot be edited",
        ),
        (
            arms("[4]", "{scene: {turns: 4}}"),
            "branches.0.arms.a.scene.turns: nothing is left to play after turn 4 of 4",
        ),
        (
            arms("[4]", "{scene: {opening: []}}"),
            "branches.0.arms.a.scene.opening: an edit cannot change the written opening",
        ),
    ],
)
def test_a_branching_that_fits_no_scene_is_an_error_with_its_place(
    kettle: Path, text: str, message: str
) -> None:
    file = kettle.with_name("s.yaml")
    file.write_text(f"study: s\nscenes: [kettle.yaml]\nreplicates: 1\n{text}\n")
    with pytest.raises(StudyError) as e:
        load(file)
    assert message in str(e.value)
    assert all(p.file == str(file) and p.line >= 4 for p in e.value.problems)


def test_every_means_each_turn_at_which_all_arms_can_branch(kettle: Path) -> None:
    from improv.study.branch import planned_branches

    file = kettle.with_name("s.yaml")
    two = "{as it was: {}, edited: {line: Boo.}}"
    file.write_text(
        f"study: s\nscenes: [kettle.yaml]\nbranches: [{{name: x, at: every, arms: {two}}}]\n"
        "regenerations: [{at: [2, 2, 3]}]\n"
    )
    study = load(file)
    branches = planned_branches(study, plan(study)[0])
    assert Counter((b.arm, b.begins) for b in branches if b.arm) == {
        (f"x: {arm}", turn + 1): 1 for arm in ("as it was", "edited") for turn in range(1, 6)
    }
    assert [b.fork for b in branches if not b.arm] == [1, 2]


def test_a_scene_that_ended_or_failed_before_the_turn_leaves_a_row_that_says_so(
    kettle: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    file = kettle.with_name("branching.yaml")
    file.write_text(
        "study: s\nscenes: [kettle.yaml]\nset: {turns: 8, author: {may: [end], every: 1}}\n"
        "replicates: 12\nbranches: [{name: x, at: [1, 7]}]\nregenerations: [{at: [8]}]\n"
        "probes: [{name: p, of: Bo, ask: Well, at: [8]}]\n"
    )
    server = puppet_server(errors={"400": 0.04})
    study = load(file, {"model": {"model": "puppet", "base_url": server.url}})
    result = run(study, runs=tmp_path / "runs", setup=OFF)
    assert result.owed == 0 and result.failed
    trials = rows(result.folder, "trials")
    turns = {r["trial"]: r["turns"] for r in trials if r["branch"] == MAIN}
    early = 0
    for r in (r for r in trials if r["branch"] != MAIN):
        needed = r["fork"] + (r["origin"] == "regeneration")
        unreached = r["failure_kind"] == "unreached"
        assert unreached == (turns[r["trial"]] < needed), r
        early += unreached
        if unreached:
            assert f"cannot be entered at turn {needed}" in r["failure"]
            assert (r["status"], r["calls"], r["turns"]) == ("failed", 0, 0)
    assert 0 < early < len(trials) / 2
    assert {r["failure_kind"] for r in trials} == {"", "unreached", "status 400"}
    assert differences(result.folder) == []
    assert resume(result.folder, setup=OFF).idle
