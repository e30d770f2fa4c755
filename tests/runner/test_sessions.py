"""Scenes of several sessions, and sealed envelopes: what characters remember later, and who may
read what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from improv.errors import ErrorKind, ModelError
from improv.models.request import Ask
from improv.records import MAIN, Call, Transcript
from improv.stage.branch_stage import create_stage
from improv.stage.stage import Stage
from improv.study.branch import Branch, branched, past
from improv.study.edit import Edit
from improv.study.scene import Scene
from tests.support.call import made_call
from tests.support.stage import (
    BUSY,
    QUIET,
    bare,
    grown,
    improvised,
    improvised_alike,
    play,
    relived,
    trial,
    words,
)

WAKES = {
    "turns": 8,
    "events": [
        {"turn": 3, "wake": True, "direction": "Tuesday.", "enter": ["Cy"]},
        {"turn": 6, "wake": True, "direction": "Wednesday."},
    ],
}


def answer(ask: Ask) -> str:
    purpose = ask.draw.purpose
    if purpose in ("diary", "bible"):
        return f"{ask.draw.role} at {ask.draw.turn}:\nit hums."
    return improvised_alike(ask) if purpose == "line" else improvised(ask)


def remembered(ask: Ask) -> list[str]:
    text = words(ask.prompt)
    return [part.split(")")[0] for part in text.split(" remembers: ")[1:]]


@pytest.mark.parametrize("mode", ["chat", "script"])
@pytest.mark.parametrize(
    ("memory", "page"),
    [
        ("nothing", []),
        ("diary", ["Bo at 3: it hums.\nBo at 6: it hums."]),
        ("bible", ["The kettle is unplugged.\nauthor at 3: it hums.\nauthor at 6: it hums."]),
        ("another's diary", ["Cy at 6: it hums."]),
    ],
)
def test_everybody_wakes_with_what_the_scene_grants_and_no_more(
    scene: Scene, mode: str, memory: str, page: list[str]
) -> None:
    t = trial(scene, QUIET, WAKES, {"memory": memory, "model": {"mode": mode}})
    done = play(t, answer)
    bo = [a for a in done.asks if a.draw.role == "Bo" and a.draw.purpose == "line"]
    late = next(a for a in bo if a.draw.turn >= 6)
    assert remembered(late) == page
    assert "Line 2." not in words(late.prompt) and "(Wednesday.)" in words(late.prompt)
    assert "The kettle hums" not in words(late.prompt) and "train to catch" in words(late.prompt)
    wrote = [(x.turn, x.speaker, x.heard_by) for x in done.stage.turns if x.kind == "memory"]
    own = {
        "diary": lambda n: (n,),
        "another's diary": {"Ana": ("Cy",), "Bo": ("Ana",), "Cy": ("Bo",)}.get,
    }
    expected: list[Any] = []
    if memory in own:
        expected = [(3, n, own[memory](n)) for n in ("Ana", "Bo")]
        expected += [(6, n, own[memory](n)) for n in ("Ana", "Bo", "Cy")]
    elif memory == "bible":
        expected = [(n, "author", ("Ana", "Bo", "Cy")) for n in (3, 6)]
    assert wrote == expected
    off = [a for a in done.asks if a.draw.purpose in ("diary", "bible")]
    assert [(a.draw.turn, a.draw.role) for a in off] == [(n, who) for n, who, _ in expected]
    assert all(a.model.max_tokens >= 200 for a in off)
    lines = Transcript(t.id, MAIN, tuple(done.stage.turns)).lines()
    assert [x.turn for x in lines] == list(range(1, 9))
    relived(t, done)


def test_with_full_memory_nobody_writes_a_diary(scene: Scene) -> None:
    done = play(trial(scene, QUIET, WAKES), answer)
    assert {a.draw.purpose for a in done.asks} == {"line"}
    assert "Line 1." in words(done.asks[-1].prompt)


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("memory", ["nothing", "diary", "bible"])
def test_sessions_are_relived_with_all_else_that_happens(
    scene: Scene, when: str, memory: str
) -> None:
    events = [*BUSY["events"], {"turn": 4, "wake": True}, {"turn": 7, "wake": True}]  # type: ignore[misc]
    patch = {"events": events, "memory": memory, "author": {"when": when}}
    envelope = {"envelope": {"of": "Bo", "ask": "What?", "kept": "author"}}
    for seed in range(2):
        t = trial(scene, BUSY, patch, envelope, seed=seed)
        relived(t, play(t, improvised))


def test_what_is_remembered_may_be_changed_from_a_branch_on(scene: Scene) -> None:
    t = trial(scene, QUIET, WAKES, {"memory": "diary"})
    parent = play(t, answer)
    edit = Edit(scene={"memory": "nothing"})
    arm = play(t, answer, grown(t, parent, 4, edit), parent)
    assert {a.draw.purpose for a in arm.asks} == {"line"}
    early = next(a for a in arm.asks if a.draw.turn == 5)
    assert remembered(early) and not remembered(arm.asks[-1])
    child = play(t, answer, grown(t, arm, 6), arm)
    assert bare(child.stage.turns) == bare(arm.stage.turns)


def test_a_failed_diary_ends_the_scene(scene: Scene) -> None:
    stage = Stage(trial(scene, QUIET, WAKES, {"memory": "diary"}))
    asked = []

    async def draw(ask: Ask) -> Call:
        asked.append(ask.draw.role)
        if ask.draw.purpose == "diary" and ask.draw.role == "Ana":
            raise ModelError("gone", kind=ErrorKind.TIMEOUT)
        return made_call(ask.draw, mode=ask.prompt.mode, blocks=ask.prompt.blocks, reply="Well.")

    with pytest.raises(ModelError, match="gone"):
        asyncio.run(stage.play(draw))
    # The other's call was waited for, so that it is journaled.
    assert asked[-2:] == ["Ana", "Bo"] and stage.turn == 3


@pytest.mark.parametrize("mode", ["chat", "script"])
@pytest.mark.parametrize("kept", ["none", "own", "outside", "author"])
def test_a_sealed_text_is_stored_only_where_it_is_kept(scene: Scene, mode: str, kept: str) -> None:
    envelope = {"of": "Bo", "ask": "What is in it?", "kept": kept, "options": ["tea", "rain water"]}
    t = trial(scene, {"envelope": envelope, "model": {"mode": mode}})

    def reply(ask: Ask) -> str:
        if ask.draw.purpose == "envelope":
            assert "What is in it? One of: tea, rain water." in words(ask.prompt)
            return "BO: It is Rain water, no tea."
        return answer(ask)

    done = play(t, reply)
    first = done.asks[0].draw
    assert ((first.purpose, first.turn, first.role) == ("envelope", 0, "Bo")) == (kept != "none")
    rows = [x for x in done.stage.turns if x.kind == "envelope"]
    assert [(x.turn, x.text) for x in rows] == [(0, "rain water")] * (kept != "none")
    block = "(What Bo has written down and sealed: rain water)"
    knows = {a.draw.role for a in done.asks if block in words(a.prompt)}
    assert knows == {"own": {"Bo"}, "author": {"author"}}.get(kept, set())
    assert not any("What is in it" in words(a.prompt) for a in done.asks if a.draw.turn)
    relived(t, done)
    for turn in (0, 3):
        b = Branch(t.id, MAIN, turn, "probe", 0, arm="p", of="Bo", ask="So?")
        (ask,) = probed(t, b, done)
        assert (block in words(ask.prompt)) == (kept == "own")


def probed(t: Any, b: Branch, of: Any) -> list[Ask]:
    stage, asks = create_stage(branched(t, b), past(t, b, of.stage.turns, of.calls)), []

    async def draw(ask: Ask) -> Call:
        asks.append(ask)
        return made_call(ask.draw, mode=ask.prompt.mode, blocks=ask.prompt.blocks, reply="Tea.")

    asyncio.run(stage.play(draw))
    return asks
