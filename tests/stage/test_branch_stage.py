"""Branches on the stage alone: the shared turns are entered again, and edits change what follows.

Replies come from a function, so that every prompt can be compared with that of the parent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from improv.errors import StudyError
from improv.models.request import Ask
from improv.records import FIRST_REGENERATION, MAIN, Act, Call
from improv.stage.branch_stage import create_stage
from improv.study.branch import Branch, branched, past, regenerate
from improv.study.edit import Edit
from improv.study.overrides import merge
from improv.study.scene import Scene
from tests.support.call import made_call
from tests.support.stage import (
    BUSY,
    ORDERS,
    STEADY,
    bare,
    grown,
    improvised,
    play,
    shown,
    trial,
    words,
)

# -- the shared turns ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("mode", ["chat", "script"])
def test_after_the_shared_turns_everybody_stands_where_the_parent_stood(
    scene: Scene, order: str, when: str, mode: str
) -> None:
    patch = {"order": order, "author": {"when": when}, "model": {"mode": mode}}
    kinds: set[str] = set()
    for seed in range(3):
        t = trial(scene, BUSY, patch, seed=seed)
        parent = play(t, improvised)
        for fork in range(t.scene.turns):
            b = grown(t, parent, fork)
            again = play(t, improvised, b, parent)
            before = [x for x in parent.stage.turns if x.turn <= fork]
            assert again.stage.turns[: len(before)] == before
            assert again.moments[fork] == parent.moments[fork], (seed, fork)
            assert [x.turn for x in again.stage.own_turns] == sorted(
                x.turn for x in again.stage.own_turns
            )
            assert all(x.branch == b.id and x.turn > fork for x in again.stage.own_turns)
            assert {a.draw.branch for a in again.asks} == {b.id}
            # Each begins with all it had been shown; what the author does now is drawn anew.
            for (_, role), prompt in shown(again.asks).items():
                begun = parent.moments[fork][role].blocks[:-1]
                assert prompt.blocks[: len(begun)] == begun, (seed, fork, role)
            first, same = again.asks[0], shown(parent.asks)
            if first.schema is not None or when == "during":
                key = (fork + 1, first.draw.role)
                assert key not in same or shown(again.asks)[key] == same[key], (seed, fork)
        kinds |= {a.kind for x in parent.stage.turns for a in x.acts}
        kinds |= {f"aside {bool(x.heard_by)}" for x in parent.stage.turns if x.aside}
        kinds |= {x.kind for x in parent.stage.turns}
    assert kinds >= {"note", "cue", "move", "unread", "aside True", "aside False", "silence"}


@pytest.mark.parametrize("order", STEADY)
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("mode", ["chat", "script"])
@pytest.mark.parametrize("every", [1, 3])
def test_the_parents_own_replies_give_the_parents_own_continuation(
    scene: Scene, order: str, when: str, mode: str, every: int
) -> None:
    author = {"when": when, "every": every}
    patch = {"order": order, "author": author, "model": {"mode": mode}}
    for seed in range(2):
        t = trial(scene, BUSY, patch, seed=seed)
        parent = play(t, improvised)
        for fork in range(t.scene.turns):
            again = play(t, parent.like, grown(t, parent, fork), parent)
            assert bare(again.stage.turns) == bare(parent.stage.turns), (seed, fork)
            then = shown(parent.asks)
            assert all(then[key] == p for key, p in shown(again.asks).items()), (seed, fork)
            # And from the branch on, as from its parent.
            if fork % 3:
                continue
            later = min(fork + 2, t.scene.turns - 1)
            third = play(t, parent.like, grown(t, again, later), again)
            assert bare(third.stage.turns) == bare(parent.stage.turns), (seed, fork)


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("mode", ["chat", "script"])
def test_a_line_drawn_again_is_asked_as_it_was_and_can_be_gone_on_from(
    scene: Scene, when: str, mode: str
) -> None:
    for seed in range(3):
        t = trial(scene, BUSY, {"author": {"when": when}, "model": {"mode": mode}}, seed=seed)
        parent = play(t, improvised)
        for turn in range(1, t.scene.turns + 1):
            b = regenerate(t.id, MAIN, turn, draws=2)[1]
            again = play(t, parent.like, b, parent)
            (ask,) = again.asks
            assert (ask.draw.branch, ask.draw.attempt) == (MAIN, FIRST_REGENERATION + 1)
            assert ask.prompt == shown(parent.asks)[turn, ask.draw.role]
            until = [x for x in parent.stage.turns if x.turn <= turn]
            assert bare(again.stage.turns) == bare(until), (seed, turn)
            if turn < t.scene.turns and turn % 2:
                on = play(t, parent.like, grown(t, again, turn), again)
                assert bare(on.stage.turns) == bare(parent.stage.turns), (seed, turn)
                assert all(shown(parent.asks)[k] == p for k, p in shown(on.asks).items())
            twice = replace(b, parent=b.id)
            more = play(t, parent.like, twice, again)
            assert more.asks[0].prompt == ask.prompt and more.asks[0].draw.branch == b.id


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("mode", ["chat", "script"])
@pytest.mark.parametrize("order", STEADY)
def test_a_line_edited_to_what_it_was_changes_nothing(
    scene: Scene, when: str, mode: str, order: str
) -> None:
    """A character whose line is edited to the same text remembers it as before, also the cue."""
    patch = {"order": order, "author": {"when": when}, "model": {"mode": mode}}
    tried = 0
    for seed in range(3):
        t = trial(scene, BUSY, patch, seed=seed)
        parent = play(t, improvised)
        for was in [x for x in parent.stage.turns if x.turn and x.kind == "line"]:
            if was.text != was.raw or was.turn == t.scene.turns:
                continue
            tried += 1
            b = grown(t, parent, was.turn, Edit(line=was.text))
            assert b.fork == was.turn - 1
            again = play(t, parent.like, b, parent)
            said = next(x for x in again.stage.own_turns if x.speaker)
            assert (said.text, said.raw, said.cuts) == (was.text, "", ("edited",))
            assert bare(again.stage.turns) == [
                replace(x, branch="", **({"raw": "", "cuts": ("edited",)} if x == was else {}))
                for x in parent.stage.turns
            ]
            assert all(shown(parent.asks)[k] == p for k, p in shown(again.asks).items())
            for turn in {was.turn, t.scene.turns - 1}:
                on = play(t, parent.like, grown(t, again, turn), again)
                assert all(shown(parent.asks)[k] == p for k, p in shown(on.asks).items())
                assert bare(on.stage.turns) == bare(again.stage.turns)
    assert tried >= 5


def test_a_round_that_was_begun_is_finished_and_how_is_drawn_anew(scene: Scene) -> None:
    patch = {"order": "shuffled", "turns": 12, "events": [{"turn": 1, "enter": ["Cy"]}]}
    t = trial(scene, patch, {"author": {"live": False}})
    parent = play(t, improvised)
    ways = set()
    for fork in range(11):
        for number in range(4):
            b = grown(t, parent, fork, first=number)
            said = [x.speaker for x in play(t, improvised, b, parent).stage.turns if x.turn]
            assert all(len(set(said[i : i + 3])) == 3 for i in range(0, 12, 3)), (fork, said)
            ways.add(tuple(said))
    assert len(ways) > 12


# -- edits --------------------------------------------------------------------------------------
EDITS = [
    {"scene": {"author": {"frame": "Una never spares anybody."}}},
    {"scene": {"cast": {"Ana": {"card": "Ana is in a hurry."}}, "model": {"temperature": 0.5}}},
    {"memory": {"Ana": "There was a kettle once."}},
    {"memory": {"everybody": "", "Bo": "Only the train."}, "move": "dream"},
    {"line": "Bo, the kettle is a bomb.", "move": "The lights go out.", "memory": {"Cy": "Rain."}},
    {"scene": {"author": {"live": False, "frame": ""}}},
    {"scene": {"author": {"when": "before", "every": 2, "called": "the director"}}},
    {"scene": {"author": {"when": "during", "every": 1, "may": ["note"]}}},
    {"scene": {"model": {"mode": "script"}, "events": []}},
    {"scene": {"model": {"mode": "chat"}, "turns": 11}},
]


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("mode", ["chat", "script"])
def test_what_a_branch_changed_holds_for_its_own_branches_too(
    scene: Scene, when: str, mode: str
) -> None:
    t = trial(scene, BUSY, {"author": {"when": when}, "model": {"mode": mode}})
    parent = play(t, improvised)
    for edit in map(Edit.model_validate, EDITS):
        first = grown(t, parent, 3, edit)
        child = play(t, improvised, first, parent)
        last = max(x.turn for x in child.stage.turns)
        for turn in sorted({first.fork + 1, first.fork + 2, last - 1}):
            second = grown(t, child, turn)
            again = play(t, child.like, second, child)
            assert bare(again.stage.turns) == bare(child.stage.turns), (edit, turn)
            then = shown(child.asks)
            assert all(then[k] == p for k, p in shown(again.asks).items()), (edit, turn)
            if turn + 1 < last:
                # One more, with an edit of its own on top.
                more = Edit.model_validate({"scene": {"premise": "It boils."}})
                third = play(t, improvised, grown(t, again, turn + 1, more), again)
                assert "It boils." in words(third.asks[-1].prompt)
                late = play(t, third.like, grown(t, third, last - 1), third)
                assert bare(late.stage.turns) == bare(third.stage.turns), (edit, turn)


def test_an_edit_may_swap_the_author_a_card_or_the_model(scene: Scene) -> None:
    t = trial(scene, BUSY)
    parent = play(t, improvised)
    frame = "Una never spares anybody."
    swapped = {"author": {"name": "Una", "frame": frame, "live": False}, "model": {"model": "m2"}}
    edit = Edit.model_validate({"scene": merge(swapped, {"cast": {"Ana": {"card": "In haste."}}})})
    arm = play(t, improvised, grown(t, parent, 4, edit), parent)
    control = play(t, improvised, grown(t, parent, 4), parent)
    assert {a.model.model for a in arm.asks} == {"m2"}
    assert "author" in {a.draw.role for a in control.asks}
    assert "author" not in {a.draw.role for a in arm.asks}
    for ask in arm.asks:
        text = words(ask.prompt)
        assert frame in text and "Ines Okafor never" not in text
        assert ("In haste." in text) == (ask.draw.role == "Ana")
    assert all("Ines Okafor never" in words(a.prompt) for a in control.asks if not a.schema)
    # What was said before is what was said, in both arms: only the head of the prompt differs.
    heads = {n: (p, control.moments[4][n]) for n, p in arm.moments[4].items()}
    for name, (ours, theirs) in heads.items():
        assert ours.messages[1:] == theirs.messages[1:], name
        assert ours.messages[0] != theirs.messages[0]


@pytest.mark.parametrize("when", ["before", "during"])
def test_what_was_played_is_relived_as_it_was_whatever_the_edit_would_make_of_it(
    scene: Scene, when: str
) -> None:
    t = trial(scene, BUSY, {"author": {"when": when}})
    parent = play(t, improvised)
    other = {"before": "during", "during": "before"}[when]
    author = {"when": other, "called": "the director", "every": 4}
    edit = Edit.model_validate({"scene": {"author": author, "events": [], "order": "shuffled"}})
    noted = set()
    for fork in range(t.scene.turns):
        arm = play(t, improvised, grown(t, parent, fork, edit), parent)
        for name, asked in parent.moments[fork].items():
            assert arm.moments[fork][name].messages[1:] == asked.messages[1:], (fork, name)
            noted |= {n for n in ("the author", "the director") if f"note from {n}" in words(asked)}
        first = next((x for x in arm.stage.own_turns if x.kind == "direction"), None)
        assert first is None or first.text not in ("A knock.", "A whistle.", "Steam.")
        heard = {x.turn: {x.speaker, *x.heard_by} for x in arm.stage.own_turns if not x.aside}
        there = {"Ana", "Bo"} | ({"Cy"} if fork >= 2 else set())
        there -= ({"Bo"} if 4 <= fork < 6 else set()) | ({"Ana"} if fork == 7 else set())
        assert all(present - {""} == there for present in heard.values()), fork
    assert noted == {"the author"}


def test_an_edit_may_change_a_line_which_everybody_then_heard(scene: Scene) -> None:
    t = trial(scene, {"turns": 6, "author": {"live": False}, "model": {"mode": "chat"}})
    parent = play(t, lambda ask: f"Line {ask.draw.turn}.")
    speaker = next(x.speaker for x in parent.stage.turns if x.turn == 2)
    arm = play(t, lambda ask: "And?", grown(t, parent, 2, Edit(line="A  bomb\nticks.")), parent)
    said = [x for x in arm.stage.turns if x.turn == 2]
    assert [(x.speaker, x.text) for x in said] == [(speaker, "A bomb ticks.")]
    for ask in arm.asks:
        assert "Line 2." not in words(ask.prompt)
        assert ("A bomb ticks." in words(ask.prompt)) == (ask.draw.role != "Cy")  # not there yet
    mine = next(a for a in arm.asks if a.draw.role == speaker)
    assert {"role": "assistant", "content": "A bomb ticks."} in mine.prompt.messages


def test_an_edit_may_make_a_move_once(scene: Scene) -> None:
    t = trial(scene, BUSY, {"author": {"may": ["move"], "moves": {"dream": "It was a dream."}}})

    def dreaming(ask: Ask) -> str:
        return '{"move": "dream"}' if ask.schema else "Well."

    parent = play(t, lambda ask: '{"move": "none"}' if ask.schema else "Well.")
    for text, move in (("It was a dream.", "dream"), ("A bell rings.", "A bell rings.")):
        arm = play(t, dreaming, grown(t, parent, 3, Edit(move=move)), parent)
        first = next(x for x in arm.stage.turns if x.turn == 4)
        assert (first.kind, first.text, first.acts) == (
            "direction",
            text,
            (Act("move", move, text),),
        )
        assert "Bo" in first.heard_by and text in words(arm.asks[0].prompt)
        assert [x.text for x in arm.stage.turns].count("It was a dream.") == 1


def test_an_edit_may_change_what_is_remembered(scene: Scene) -> None:
    t = trial(scene, BUSY)
    parent = play(t, lambda ask: f"Line {ask.draw.turn}." if not ask.schema else "{}")
    edit = Edit(memory={"Ana": "There was a kettle once.", "Bo": ""})
    arm = play(t, lambda ask: "And?", grown(t, parent, 5, edit), parent)
    ana, bo, cy = (words(arm.moments[5 + 1][n]) for n in ("Ana", "Bo", "Cy"))
    assert "(What Ana remembers: There was a kettle once.)" in ana and "Line 4." not in ana
    assert "remembers" not in bo and "Line 4." not in bo and "train to catch" in bo
    assert "Line 4." in cy and "remembers" not in cy
    blocks = [
        arm.stage.blocks[b].kind for a in arm.asks if a.draw.role == "Ana" for b in a.prompt.blocks
    ]
    assert blocks.count("memory") == sum(a.draw.role == "Ana" for a in arm.asks) > 0
    # A memory that is later found to have been shared is none of the parent's.
    assert "memory" not in {b.kind for b in parent.stage.blocks.values()}


def test_what_an_author_thought_before_the_fork_still_reaches_the_turn_after(scene: Scene) -> None:
    t = trial(scene, {"author": {"when": "during", "every": 1, "may": ["note", "cue"]}})

    def reply(ask: Ask) -> str:
        note = f"Thought at {ask.draw.turn}."
        return json.dumps({"note_to": "Ana", "note": note, "next": "Ana"}) if ask.schema else "So."

    parent = play(t, reply)
    for edit in ({}, {"scene": {"author": {"live": False}}}, {"scene": {"author": {"may": []}}}):
        arm = play(t, reply, grown(t, parent, 3, Edit.model_validate(edit)), parent)
        first = next(x for x in arm.stage.turns if x.turn == 4 and x.speaker)
        assert (first.speaker, first.acts[0].text) == ("Ana", "Thought at 3."), edit
    drawn = {"scene": {"author": {"when": "before"}}}
    arm = play(t, reply, grown(t, parent, 3, Edit.model_validate(drawn)), parent)
    notes = [a.text for x in arm.stage.turns for a in x.acts if a.kind == "note"]
    assert notes == [f"Thought at {n}." for n in (1, 2, 3, 4, 5, 6)]


def test_a_probe_is_asked_last_and_heard_by_nobody(scene: Scene) -> None:
    for mode in ("chat", "script"):
        t = trial(scene, BUSY, {"model": {"mode": mode}})
        parent = play(t, improvised)
        for turn in (0, 4, 9):
            b = Branch(t.id, MAIN, turn, "probe", 0, arm="p", of="Bo", ask="Who are you?")
            asked: list[Ask] = []

            async def draw(ask: Ask, asked: list[Ask] = asked) -> Call:
                asked.append(ask)
                return made_call(ask.draw, blocks=ask.prompt.blocks, reply="BO: Bo.")

            stage = create_stage(branched(t, b), past(t, b, parent.stage.turns, parent.calls))
            asyncio.run(stage.play(draw))
            (ask,) = asked
            assert (ask.draw.purpose, ask.draw.role) == ("probe", "Bo")
            then = parent.moments[turn]["Bo"].blocks[:-1]
            assert ask.prompt.blocks[: len(then)] == then
            assert len(ask.prompt.blocks) == len(then) + 2 and "Who are you?" in words(ask.prompt)
            (answer,) = stage.own_turns
            assert (answer.kind, answer.text, answer.heard_by) == ("probe", "Bo.", ())


def test_a_scene_cannot_be_entered_where_it_never_was(scene: Scene) -> None:
    t = trial(scene, {"events": [{"turn": 3, "exit": ["Ana", "Bo"]}, {"turn": 5, "enter": ["Bo"]}]})
    parent = play(t, improvised)
    with pytest.raises(StudyError, match="has 6 turns; it cannot be entered at turn 7"):
        play(t, improvised, grown(t, parent, 7), parent)
    for b in (*regenerate(t.id, MAIN, 4, draws=1), grown(t, parent, 4, Edit(line="Hello?"))):
        with pytest.raises(StudyError, match="nobody speaks at turn 4"):
            play(t, improvised, b, parent)
    again = play(t, parent.like, grown(t, parent, 4), parent)
    assert bare(again.stage.turns) == bare(parent.stage.turns)
    with pytest.raises(StudyError, match="nothing is left to play after turn 6"):
        play(t, improvised, grown(t, parent, 6), parent)
