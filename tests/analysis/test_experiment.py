"""What an experiment adds to a scene: contexts, phrasings, rules, structure, planned moves.

Replies come from a function or from a puppet in this process. Each played scene is also entered
again, as a branch does, and must be the same.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from improv.errors import StudyError
from improv.models.client import Models
from improv.models.request import Ask
from improv.records import FIRST_REGENERATION, MAIN, REDRAW_STEP, Call, Transcript
from improv.runner.launch import run
from improv.runner.replay import replay
from improv.runner.session import Setup
from improv.scoring.measures.predicates import marker_scores
from improv.stage.stage import Stage
from improv.study.branch import regenerate
from improv.study.edit import Edit
from improv.study.loader import load
from improv.study.overrides import merge
from improv.study.puppet_spec import Puppet
from improv.study.scene import Scene
from improv.study.trial import Trial
from tests.support.stage import (
    BUSY,
    QUIET,
    Played,
    bare,
    grown,
    improvised,
    improvised_alike,
    play,
    relived,
    shown,
    trial,
    words,
)

CONTEXTS = {
    "brief": {
        "name": "Ines Okafor",
        "frame": "Ines Okafor never lets a character turn. She writes what she means.",
        "brief": "Keep them who they are.",
    },
    "placebo": {
        "heading": "About the kettle",
        "called": "the house",
        "frame": "The kettle came from a market. Its handle was mended twice with wire.",
        "matches": "brief",
    },
    "notes": {
        "heading": "Notes for the evening",
        "called": "the director",
        "frame": "Nobody turns into somebody else.",
        "brief": "See that nobody turns.",
    },
}
LAW = {"says": "Nobody says sugar.", "marker": "never_says", "value": ["sugar"]}
SIGN = {"pole": "honest", "opposite": "deceitful", "kind": "moral"}
AUTHORSHIP = re.compile(r"\b(?:author|writer|wr[io]te|written|novel|book|pen)", re.I)


def patched(scene: Scene, *patches: dict[str, Any]) -> Scene:
    data: Any = scene.model_dump(mode="json")
    for patch in patches:
        data = merge(data, patch)
    return Scene.model_validate(data)


def asked(done: Played, *purposes: str) -> list[Ask]:
    return [a for a in done.asks if a.draw.purpose in (purposes or ("line",))]


# -- contexts and phrasings ---------------------------------------------------------------------


def test_a_context_is_laid_over_the_author_once_and_for_all(scene: Scene) -> None:
    made = patched(scene, {"author": {"contexts": CONTEXTS, "context": "placebo"}})
    author = made.author
    assert (author.name, author.called, author.heading) == ("", "the house", "About the kettle")
    assert author.frame.startswith("The kettle came") and author.brief == ""
    assert author.context == "" and author.live and author.bible == scene.author.bible
    assert Scene.model_validate(made.model_dump(mode="json")) == made
    assert patched(made, {"author": {"context": "brief"}}).author.name == "Ines Okafor"


@pytest.mark.parametrize("mode", ["chat", "script"])
def test_no_arm_has_a_word_of_another_or_of_authorship_that_its_data_has_not(
    scene: Scene, mode: str
) -> None:
    rule = {"law": {**LAW, "enforced": "reminder", "every": 2}}
    base = {"author": {"contexts": CONTEXTS, "may": ["note"]}, "model": {"mode": mode}}
    shown = {}
    for name, live in [(n, v) for n in CONTEXTS for v in (False, True)]:
        arm = {"author": {"context": name, "live": live}, "rules": rule}
        done = play(trial(patched(scene, base), arm), improvised)
        shown[name, live] = "\n".join(words(a.prompt) for a in done.asks)
        whispered = f"(A note from {CONTEXTS[name].get('called', 'the author')} to "
        assert whispered in shown[name, live]
        for other in set(CONTEXTS) - {name}:
            assert CONTEXTS[other]["frame"] not in shown[name, live]
    for name in ("placebo", "notes"):
        for live in (False, True):
            match = AUTHORSHIP.search(shown[name, live])
            assert not match, (name, live, match)
    assert AUTHORSHIP.search(shown["brief", False])


def test_prompts_of_arms_differ_in_the_frame_only(scene: Scene) -> None:
    heads = []
    for name in CONTEXTS:
        arm = {"author": {"contexts": CONTEXTS, "context": name, "live": False}}
        done = play(trial(scene, arm), improvised_alike)
        heads.append([[done.stage.blocks[b] for b in a.prompt.blocks] for a in done.asks])
    for one, other in pairwise(heads):
        for mine, theirs in zip(one, other, strict=True):
            apart = [(a, b) for a, b in zip(mine, theirs, strict=True) if a != b]
            assert [(a.kind, b.kind) for a, b in apart] == [("frame", "frame")]


def test_menus_are_no_part_of_a_trial_and_what_is_chosen_is(scene: Scene) -> None:
    menus = {"author": {"contexts": CONTEXTS}, "phrasings": ["They wait.", "Waiting is all."]}
    assert trial(scene, menus).id == trial(scene).id
    ids = {trial(scene, menus, {"phrasing": k}).id for k in (0, 1)}
    ids |= {trial(scene, menus, {"author": {"context": n}}).id for n in CONTEXTS}
    assert len(ids | {trial(scene).id}) == 6
    second = trial(scene, menus, {"phrasing": 1}).scene
    assert (second.premise, second.phrasing) == ("Waiting is all.", None)
    assert "Waiting is all." in words(play(trial(second), improvised).asks[0].prompt)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            "author: {context: placbo, contexts: {placebo: {}}}",
            r"author.context: no context is called 'placbo' \(did you mean 'placebo'\?\)",
        ),
        ("author: {context: x}", "author.context: no context is called 'x'; there is none"),
        ("author: {contexts: {x: {frme: y}}, context: x}", r"contexts.x.frme: not a field"),
        ("author: {contexts: {x: {matches: y}}}", "author.contexts.x.matches: no context"),
        ("author: {planned: {move: dream, turn: 2}}", "planned.move: no move is called 'dream'"),
        ("author: {planned: {on_break_of: Bo}}", "cast.1: Bo has neither a trait with a sign"),
        ("author: {planned: {turn: 2, on_break_of: Ana}}", "give either 'turn' or 'on_break_of'"),
        ("author: {planned: {on_break_of: Zoe}}", "planned.on_break_of: nobody is called 'Zoe'"),
        ("phrasing: 2\nphrasings: [a, b]", "phrasing: there is no phrasing 2: there are 2"),
        ("structure: beats", "structure: 'beats' needs 'beats'"),
        (
            "memory: diary\nevents: [{turn: 2, wake: true}, {turn: 2, wake: true}]",
            "a turn can begin one session only",
        ),
        ("envelope: {of: Zoe, ask: What}", "envelope.of: nobody is called 'Zoe'"),
        (
            "envelope: {of: Bo, ask: What, kept: author}\nauthor: {live: false}",
            "envelope.kept: the scene has no live author",
        ),
        ("rules: {law: {says: x, marker: never_says}}", "'never_says' needs a value"),
        ("rules: {law: {says: x, marker: never_asks, of: Zoe}}", "rules.law.of: nobody is called"),
    ],
)
def test_what_does_not_fit_is_said_when_it_is_read(kettle: Any, patch: str, message: str) -> None:
    study = kettle.with_name("s.yaml")
    lines = "\n".join(f"  {line}" for line in patch.splitlines())
    study.write_text(f"study: s\nscenes: [kettle.yaml]\nset:\n{lines}\n")
    with pytest.raises(StudyError, match=message):
        load(study)


# -- outside-text -------------------------------------------------------------------------------
SWEET = Puppet(
    alpha=0.3, beta=0.5, pole=["I take it plain.", "Plain for me."], opposite=["More sugar!"]
)


def by_puppet(t: Trial, spec: Puppet = SWEET) -> tuple[Stage, list[Call]]:
    models, calls = Models(), []

    async def draw(ask: Ask) -> Call:
        model = ask.model.model_copy(update={"puppet": spec})
        calls.append(await models.complete(Ask(ask.draw, model, ask.prompt, ask.schema)))
        return calls[-1]

    stage = Stage(t)
    asyncio.run(stage.play(draw))
    return stage, calls


def enforced(how: str, **more: Any) -> dict[str, Any]:
    return {"rules": {"law": {**LAW, "enforced": how, **more}}, "turns": 20}


def test_a_filter_lets_nothing_pass_and_counts_what_it_had_drawn_again(scene: Scene) -> None:
    redrawn = broken = 0
    for seed in range(8):
        t = trial(scene, QUIET, enforced("filter"), seed=seed)
        stage, calls = by_puppet(t)
        scores = marker_scores(Transcript(t.id, MAIN, tuple(stage.turns)), t.scene)
        broken += sum(s.value == 0 for s in scores if s.measure == "rule:law")
        counts = {x.turn: int(c.split()[1]) for x in stage.turns for c in x.cuts if "redrawn" in c}
        redrawn += sum(counts.values())
        attempts = Counter(c.draw.turn for c in calls)
        assert all(n == counts.get(turn, 0) + 1 for turn, n in attempts.items())
        for turn, n in attempts.items():
            mine = [c for c in calls if c.draw.turn == turn]
            assert [c.draw.attempt for c in mine] == list(range(n))
            assert len({c.blocks for c in mine}) == 1
    assert broken == 0 and redrawn > 20


def test_a_line_that_is_never_right_is_withheld_and_forgotten(scene: Scene) -> None:
    t = trial(scene, QUIET, enforced("filter", redraws=2, of="Bo"), {"turns": 4})
    done = play(t, lambda ask: "Sugar, please.")
    bo, ana = (
        next(x for x in done.stage.turns if x.turn and x.speaker == n) for n in ("Bo", "Ana")
    )
    assert (bo.kind, bo.text, bo.raw) == ("silence", "", "Sugar, please.")
    assert bo.cuts == ("redrawn 2", "withheld")
    assert (ana.kind, ana.cuts) == ("line", ())
    later = [a for a in done.asks if a.draw.turn > bo.turn]
    assert any({"role": "assistant", "content": "…"} in a.prompt.messages for a in later)
    relived(t, done)


def test_a_sham_filter_draws_again_by_dice_and_changes_no_distribution(scene: Scene) -> None:
    def shares(how: str) -> tuple[float, float]:
        said, again = [], 0
        for seed in range(60):
            stage, calls = by_puppet(
                trial(scene, QUIET, enforced(how, sham_rate=0.3), seed=seed), SWEET
            )
            said += [keeps_law(x.text) for x in stage.turns if x.turn and x.kind == "line"]
            again += sum(c.draw.attempt > 0 for c in calls)
        return sum(said) / len(said), again / len(said)

    plain, none = shares("no")
    sham, some = shares("sham")
    assert none == 0 and some == pytest.approx(0.3 / 0.7, abs=0.06)
    assert sham == pytest.approx(plain, abs=0.06)


def keeps_law(line: str) -> bool:
    return "sugar" not in line


def test_a_reminder_is_a_note_to_those_present_whom_the_rule_binds(scene: Scene) -> None:
    t = trial(scene, QUIET, {"rules": {"law": {**LAW, "enforced": "reminder", "every": 3}}})
    done = play(t, improvised_alike)
    assert [a.draw.purpose for a in done.asks] == ["line"] * 6
    noted = {x.turn: [a.to for a in x.acts if a.kind == "note"] for x in done.stage.turns if x.acts}
    assert noted == {1: ["Ana", "Bo"], 4: ["Ana", "Bo", "Cy"]}
    assert "A note from the author to Bo: Nobody says sugar." in words(done.asks[0].prompt)
    relived(t, done)


def test_a_rule_that_is_not_shown_is_in_no_prompt_and_scored_all_the_same(scene: Scene) -> None:
    for is_shown in (True, False):
        law = {**LAW, "shown": is_shown, "of": "Bo"}
        t = trial(scene, QUIET, {"rules": {"law": law}})
        done = play(t, lambda ask: "Sugar!" if ask.draw.turn < 3 else "No.")
        assert ("- Nobody says sugar." in words(done.asks[0].prompt)) == is_shown
        scores = marker_scores(Transcript(t.id, MAIN, tuple(done.stage.turns)), t.scene)
        mine = [(s.character, s.value) for s in scores if s.measure == "rule:law"]
        assert mine == [("Bo", 0.0), ("Bo", 1.0)]


def test_what_a_filter_had_drawn_again_is_relived_and_so_are_redraws_of_regenerations(
    scene: Scene,
) -> None:
    def now_and_then(ask: Ask) -> str:
        k = ask.draw.attempt % FIRST_REGENERATION + ask.draw.attempt // REDRAW_STEP
        return "Sugar!" if k < ask.draw.turn % 3 else f"Plain, at {ask.draw.turn}."

    t = trial(scene, BUSY, QUIET, {"rules": {"law": {**LAW, "enforced": "filter"}}})
    done = play(t, now_and_then)
    assert [a.draw.attempt for a in done.asks if a.draw.turn == 2] == [0, 1, 2]
    relived(t, done)
    for k in (0, 1):
        b = regenerate(t.id, MAIN, 2, draws=2)[k]
        again = play(t, now_and_then, b, done)
        first = FIRST_REGENERATION + k
        assert again.asks[0].draw.attempt == first
        assert [a.draw.attempt - first for a in again.asks][1:] in (
            [REDRAW_STEP],
            [REDRAW_STEP, 2 * REDRAW_STEP],
        )
        assert all(a.prompt == shown(done.asks)[2, a.draw.role] for a in again.asks)
        assert again.stage.own_turns[-1].text.startswith("Plain")


# -- signs, structure, the audience, planned moves ----------------------------------------------


def test_signs_are_scored_beside_habits(scene: Scene) -> None:
    sign = {**SIGN, "sign": {"marker": "says_any", "value": ["always"]}}
    t = trial(scene, QUIET, {"cast": {"Ana": {"traits": [sign, SIGN]}}})
    said = {2: "I always wait.", 5: ""}
    done = play(t, lambda ask: said.get(ask.draw.turn, "Never. Or?"))
    scores = marker_scores(Transcript(t.id, MAIN, tuple(done.stage.turns)), t.scene)
    own = [(s.turn, s.measure, s.value, s.evidence) for s in scores if s.character == "Ana"]
    assert own == [
        (2, "habit:never_asks", 1.0, "I always wait."),
        (5, "habit:never_asks", None, ""),
        (2, "sign:honest/deceitful", 1.0, "I always wait."),
        (5, "sign:honest/deceitful", None, ""),
    ]
    assert "always" not in words(done.asks[0].prompt)


def test_beats_come_at_their_turns_and_an_outline_before_them(scene: Scene) -> None:
    beats = [{"turn": 4, "text": "The lid lifts."}, {"turn": 2, "text": "The gas fails."}]
    first = {}
    for structure in ("free", "beats", "outline"):
        t = trial(scene, QUIET, {"beats": beats, "structure": structure})
        done = play(t, improvised_alike)
        first[structure] = words(done.asks[0].prompt)
        played = [
            (x.turn, x.text)
            for x in done.stage.turns
            if x.text in ("The lid lifts.", "The gas fails.")
        ]
        assert played == (
            [(2, "The gas fails."), (4, "The lid lifts.")] if structure == "beats" else []
        )
        relived(t, done)
    assert first["beats"] == first["free"] and "The lid lifts." not in first["free"]
    outline = "What happens, in this order\n1. The gas fails.\n2. The lid lifts.\n\n"
    assert first["outline"].replace(outline, "") == first["free"]


def test_the_audience_calls_out_for_all_to_hear(scene: Scene) -> None:
    event = {"turn": 2, "audience": "A goose!", "direction": "A pause."}
    done = play(trial(scene, QUIET, {"events": [event]}), improvised_alike)
    assert "(A pause.)\n(From the audience: A goose!)" in words(done.asks[1].prompt)


MOVES = {
    "moves": {"dream": "It was a dream.", "letter": "A letter falls."},
    "contexts": CONTEXTS,
}


@pytest.mark.parametrize("move", ["dream", ""])
def test_a_planned_move_is_made_at_its_turn_and_nothing_has_a_time_zero_too(
    scene: Scene, move: str
) -> None:
    t = trial(scene, QUIET, {"author": {**MOVES, "planned": {"move": move, "turn": 3}}})
    done = play(t, improvised_alike)
    marks = [(x.turn, a.to, a.text) for x in done.stage.turns for a in x.acts if a.kind == "move"]
    assert marks == [(3, move, MOVES["moves"].get(move, ""))]
    assert [x.text for x in done.stage.turns].count("It was a dream.") == bool(move)
    relived(t, done)


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("live", [True, False])
def test_a_planned_move_follows_the_first_break_and_is_relived(
    scene: Scene, when: str, live: bool
) -> None:
    sign = {**SIGN, "sign": {"marker": "never_says", "value": ["lie"]}}
    planned = {"move": "dream", "on_break_of": "Ana"}
    author = {**MOVES, "planned": planned, "live": live, "when": when}
    t = trial(scene, BUSY, {"cast": {"Ana": {"traits": [sign]}}, "author": author})

    def reply(ask: Ask) -> str:
        lies = ask.draw.role == "Ana" and ask.draw.turn > 2
        return "I lie." if lies else improvised(ask)

    for seed in range(3):
        seeded = trial(t.scene, seed=seed)
        done = play(seeded, reply)
        broke = next(x.turn for x in done.stage.turns if x.text == "I lie.")
        made = [(x.turn, a.to) for x in done.stage.turns for a in x.acts if a.kind == "move"]
        # A live author may have had the same idea.
        assert (broke + 1, "dream") in made or broke == t.scene.turns
        assert live or made == [(broke + 1, "dream")]
        relived(seeded, done)
    late = {"author": {"planned": {**planned, "within": 1}}, "order": "round-robin"}
    assert not [a for x in play(trial(t.scene, late, QUIET), reply).stage.turns for a in x.acts]


def test_a_move_may_be_planned_for_a_branch(scene: Scene) -> None:
    t = trial(scene, QUIET, {"author": MOVES})
    parent = play(t, improvised_alike)
    edit = Edit(scene={"author": {"planned": {"move": "letter", "turn": 5}}})
    arm = play(t, improvised_alike, grown(t, parent, 3, edit), parent)
    assert [(x.turn, x.text) for x in arm.stage.own_turns if x.acts] == [(5, "A letter falls.")]
    child = play(t, improvised_alike, grown(t, arm, 5), arm)
    assert bare(child.stage.turns) == bare(arm.stage.turns)


# -- whole runs ---------------------------------------------------------------------------------
STUDY = """\
study: outside
scenes: [kettle.yaml]
set:
  turns: 8
  rules: {law: {says: Nobody says sugar., marker: never_says, value: [sugar]}}
  author: {moves: {dream: It was a dream.}, planned: {move: dream, on_break_of: Ana}}
  memory: diary
  envelope: {of: Ana, ask: "What is in the kettle?", options: [tea, rain]}
  events: [{turn: 4, wake: true, direction: Tuesday.}]
  model: {model: puppet, puppet: {alpha: 0.4, opposite: ["Is there more sugar?"]}}
factors:
  rule:
    filter: {rules: {law: {enforced: filter}}}
    sham: {rules: {law: {enforced: sham, sham_rate: 0.5}}}
    reminder: {rules: {law: {enforced: reminder}}}
branches:
  - {name: again, at: [3, 5], draws: 1, arms: {as it was: {}}}
regenerations: [{at: [4, 6], draws: 2}]
probes: [{name: tea, ask: "Tea or rain?", at: [0, 4]}]
replicates: 2
"""


def test_a_run_with_all_of_it_replays_and_a_filter_holds_in_every_branch(kettle: Any) -> None:
    file = kettle.with_name("outside.yaml")
    file.write_text(STUDY)
    result = run(load(file), runs=kettle.parent / "runs", setup=Setup(ray="off"))
    assert (result.failed, result.owed) == (0, 0)
    folder = result.folder
    assert [c.difference for c in replay(folder) if c.difference] == []
    condition = {
        (r["trial"], r["branch"]): r["condition"] for r in folder.tables.read("trials").to_pylist()
    }
    scores = [r for r in folder.tables.read("scores").to_pylist() if r["measure"] == "rule:law"]
    broken = Counter(condition[r["trial"], r["branch"]] for r in scores if r["value"] == 0)
    assert broken["filter"] == 0 and broken["sham"] > 0 and broken["reminder"] > 0
    calls = folder.tables.read("calls").to_pylist()
    keys = Counter(
        (r["trial"], r["branch"], r["turn"], r["role"], r["purpose"], r["attempt"]) for r in calls
    )
    assert set(keys.values()) == {1}
    assert any(r["attempt"] > REDRAW_STEP for r in calls)
    kinds = Counter(r["kind"] for r in folder.tables.read("turns").to_pylist())
    assert kinds["memory"] >= 2 * 6 and kinds["envelope"] == 6
