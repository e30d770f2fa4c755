"""Branches: a played scene entered again, and records stepped again to the same turns.

First the stage alone, its replies from a hand; then whole runs, with a puppet behind a real server
that counts what it is asked; then what a study asks for, what a person may get wrong, and replay.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from improv.branch import Branch, branched, grow, past, regenerate, shared
from improv.edit import Edit
from improv.errors import ImprovError, RunError, StudyError
from improv.launch import branch, resume, run
from improv.prompt import line_cue
from improv.puppet_server import PuppetServer
from improv.record import MAIN, REGENERATED, Act, Call, Json, Turn, seed_of
from improv.relive import Branched, staged
from improv.replay import Check, replay
from improv.request import Ask, Prompt
from improv.scene import Scene
from improv.session import Setup
from improv.stage import Stage
from improv.store import RunFolder
from improv.study import Condition, Study, load, merge, read_edit
from improv.tables import CLOCKED, SCHEMAS
from improv.trial import Trial, plan
from tests.call_support import made_call
from tests.weather_support import command

OFF = Setup(ray="off")
ORDERS = ["round-robin", "addressed", "author-cued", "shuffled", "by-silence"]
STEADY = ORDERS[:3]
"""Orders that throw no dice: what is said decides who speaks."""
BUSY = {
    "turns": 9,
    "events": [
        {"turn": 2, "direction": "A knock.", "enter": ["Cy"]},
        {"turn": 4, "direction": "A whistle.", "exit": ["Bo"]},
        {"turn": 6, "enter": ["Bo"]},
        {"turn": 7, "direction": "Steam.", "exit": ["Ana"]},
        {"turn": 8, "enter": ["Ana"]},
    ],
    "author": {
        "may": ["note", "cue", "move"],
        "knows": ["transcript", "asides", "cards"],
        "every": 1,
        "moves": {"dream": "It was a dream.", "letter": "A letter falls from the shelf."},
        "samples": [{"to": "Ana", "note": "Wait."}],
    },
}
"""Everything at once: entrances, exits, notes, cues, moves; the replies bring asides, silences."""
LINES = (
    "Well.",
    "Cy, go up.",
    "Robert, hurry!",
    "(aside to Bo) Not a word.",
    "(aside) Nobody knows.",
    "",
    "ANA: ANA: Everybody, listen.",
    "Ana, is it you?",
    "*sighs* It hums.\nBO: Does it?",
    "(aside to Zoe) Who are you?",
    "(aside to Ana) Ana, I unplugged it.",
)


def trial(scene: Scene, *patches: Mapping[str, Any], seed: int = 0) -> Trial:
    data: Any = scene.model_dump(mode="json")
    for patch in patches:
        data = merge(data, patch)
    only = Condition("only", ())
    played = Scene.model_validate(data)
    return plan(Study("s", "", "", 1, seed, (only,), (("kettle", only, played),)))[0]


def improvised(ask: Ask) -> str:
    """Reply by hash of who is asked what when: now a line, now an aside, now what is unreadable."""
    dice = seed_of("hand", ask.draw.key)
    if ask.schema is None:
        return LINES[dice % len(LINES)]
    if dice % 7 == 0:
        return "I think Ana should cry."
    fields = ask.schema["properties"]
    chosen = {
        name: of["enum"][dice // (7 * 5**i) % len(of["enum"])]
        for i, (name, of) in enumerate(fields.items())
        if "enum" in of
    }
    told = {"note": f"Thought before turn {ask.draw.turn}."} if "note" in fields else {}
    return json.dumps(chosen | told | ({"end": False} if "end" in fields else {}))


@dataclass
class Played:
    """A scene that was played by hand: its stage, and what was asked and answered."""

    stage: Stage
    asks: list[Ask]
    own: list[Call]
    calls: list[Call]
    """Own ones, and those that it shares."""
    moments: list[dict[str, Prompt]]
    """After each turn, from 0: what each would be shown if it were asked then."""

    def like(self, ask: Ask) -> str:
        """Reply as was replied then at the same turn to the same role."""
        wanted = (ask.draw.turn, ask.draw.role, ask.draw.purpose)
        found = [c for c in self.calls if (c.draw.turn, c.draw.role, c.draw.purpose) == wanted]
        assert found, f"nobody asked this then: {ask.draw.key}"
        return found[-1].reply


def play(t: Trial, reply: Callable[[Ask], str], b: Branch | None = None, of: Any = None) -> Played:
    """Play a trial, or a branch of a scene that was played."""
    before = past(t, b, of.stage.turns, of.calls) if b is not None else None
    done = Played(staged(branched(t, b) if b is not None else t, before), [], [], [], [])
    first = 0 if b is None else b.fork + 1

    async def draw(ask: Ask) -> Call:
        assert ask.draw.turn >= first, f"a shared turn is drawn again: {ask.draw.key}"
        done.asks.append(ask)
        await asyncio.sleep(0)
        made = made_call(ask.draw, mode=ask.prompt.mode, blocks=ask.prompt.blocks, reply=reply(ask))
        done.own.append(made)
        return made

    async def whole() -> None:
        done.moments.append(moment(done.stage))
        while done.stage.running:
            done.stage.step()
            await done.stage.act(draw)
            done.moments.append(moment(done.stage))

    asyncio.run(whole())
    begun = shared(of.calls, b.fork, kept=b.keeps) if b is not None else []
    done.calls = [*begun, *done.own]
    return done


def moment(stage: Stage) -> dict[str, Prompt]:
    threads = {c.name: (c.thread, c.mode) for c in stage.cast}
    if stage.author is not None:
        threads["author"] = (stage.author.thread, stage.author.mode)
    asked = {}
    for name, (thread, mode) in threads.items():
        # A copy is asked: in chat a question stays in the thread.
        own = {"_ids": [*thread._ids], "_messages": [*thread._messages], "book": {**thread.book}}
        asked[name] = replace(thread, **own).ask(line_cue(mode, name))
    return asked


def grown(t: Trial, parent: Played, turn: int, edit: Edit | None = None, **more: Any) -> Branch:
    """Return a branch of a scene that was played, with what it inherits."""
    if isinstance(parent.stage, Branched):
        more |= {"inherited": parent.stage.past.branch.legacy}
    return grow(t.id, parent.stage.branch, turn, edit or Edit(), draws=1, **more)[0]


def bare(turns: Iterable[Turn]) -> list[Turn]:
    """Turns, whoever's they are."""
    return [replace(t, branch="") for t in turns]


def shown(asks: Sequence[Ask]) -> dict[tuple[int, str], Prompt]:
    return {(a.draw.turn, a.draw.role): a.prompt for a in asks}


def words(prompt: Prompt) -> str:
    return prompt.text or "\n".join(m["content"] for m in prompt.messages)


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
            assert [x.turn for x in again.stage.own] == sorted(x.turn for x in again.stage.own)
            assert all(x.branch == b.id and x.turn > fork for x in again.stage.own)
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
            assert (ask.draw.branch, ask.draw.attempt) == (MAIN, REGENERATED + 1)
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
    """Whoever is said to have said something remembers it as said, with the cue and all."""
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
            said = next(x for x in again.stage.own if x.speaker)
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
        first = next((x for x in arm.stage.own if x.kind == "direction"), None)
        assert first is None or first.text not in ("A knock.", "A whistle.", "Steam.")
        heard = {x.turn: {x.speaker, *x.heard_by} for x in arm.stage.own if not x.aside}
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
        arm.stage.book[b].kind for a in arm.asks if a.draw.role == "Ana" for b in a.prompt.blocks
    ]
    assert blocks.count("memory") == sum(a.draw.role == "Ana" for a in arm.asks) > 0
    # A memory that is later found to have been shared is none of the parent's.
    assert "memory" not in {b.kind for b in parent.stage.book.values()}


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

            stage = staged(branched(t, b), past(t, b, parent.stage.turns, parent.calls))
            asyncio.run(stage.play(draw))
            (ask,) = asked
            assert (ask.draw.purpose, ask.draw.role) == ("probe", "Bo")
            then = parent.moments[turn]["Bo"].blocks[:-1]
            assert ask.prompt.blocks[: len(then)] == then
            assert len(ask.prompt.blocks) == len(then) + 2 and "Who are you?" in words(ask.prompt)
            (answer,) = stage.own
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


# -- whole runs ---------------------------------------------------------------------------------


@pytest.fixture
def served(
    kettle: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> tuple[RunFolder, PuppetServer]:
    """One kettle, played by a puppet behind a server that has forgotten what it was asked."""
    server = puppet_server()
    patch = {"model": {"model": "puppet", "base_url": server.url}}
    folder = run(load(kettle, patch), runs=tmp_path / "runs", name="tea", setup=OFF).folder
    server.asked.clear()
    return folder, server


def rows(folder: RunFolder, name: str, **where: Any) -> list[Json]:
    return [r for r in folder.table(name).to_pylist() if all(r[k] == v for k, v in where.items())]


def everything(folder: RunFolder) -> dict[str, list[Json]]:
    return {n: rows(folder, n) for n in SCHEMAS if n not in ("limits", "verdicts")}


def lines(folder: RunFolder, branch_id: str) -> list[str]:
    return [t.text for t in folder.transcript(folder.trial("0")["trial"], branch_id).lines()]


def differences(folder: RunFolder, what: str = "") -> list[str]:
    return [c.difference for c in replay(folder, what) if c.difference]


def grow_in(folder: RunFolder, place: str, turn: int, **more: Any) -> list[str]:
    """Grow branches in a run; return their ids."""
    result = branch(folder, place, turn, setup=OFF, **more)
    assert result.exit_code == 0 and not result.owed
    return [b.id for b in result.fresh]


def test_branches_share_what_was_played_and_draw_only_what_follows(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    before = everything(folder)
    main = folder.trial("0")["trial"]
    result = branch(folder, "0", 3, draws=3, setup=OFF)
    ids = [b.id for b in result.fresh]
    assert (result.branches, result.owed, len(set(ids))) == (3, 0, 3)
    # Two calls of the author (before turns 1, 3, 5: one of them is shared and one is not) and
    # three lines each: four calls, none of them twice, none of a shared turn.
    assert set(server.asked.values()) == {1}
    asked = [key.split("/") for key in server.asked]
    assert Counter(a[1] for a in asked) == dict.fromkeys(ids, 4)
    assert min(int(a[2]) for a in asked) == 4
    server.asked.clear()
    (again,) = grow_in(folder, "0", 3, again=True)
    assert list(server.asked) == [f"{main}/main/3/line/1000/{again_speaker(folder, again)}"]
    # The parent is untouched: new rows, and not one that is different.
    for name, table in before.items():
        after = rows(folder, name)
        assert [r for r in after if r in table] == table, name
        if name != "blocks":
            assert {r["branch"] for r in after if r not in table} == {*ids, again}, name
    # They differ from each other and from the parent, and share their beginning to the byte.
    parent = folder.transcript(main)
    ends = set()
    for each in [*ids, again]:
        t = folder.transcript(main, each)
        fork = 2 if each == again else 3
        begun = [x for x in parent.turns if x.turn <= fork]
        assert list(t.turns[: len(begun)]) == begun
        assert {x.branch for x in t.turns[len(begun) :]} == {each}
        ends.add(tuple(x.text for x in t.turns))
        calls = folder.calls(main, each)
        assert [c for c in calls if c.draw.turn <= fork and c.draw.branch == MAIN] == [
            c for c in folder.calls(main) if c.draw.turn <= fork
        ]
    assert len({*ends, tuple(x.text for x in parent.turns)}) == 5
    told = {r["branch"]: r for r in rows(folder, "trials")}
    assert [(told[i]["origin"], told[i]["parent"], told[i]["fork"]) for i in (ids[0], again)] == [
        ("branch", "main", 3),
        ("regeneration", "main", 2),
    ]
    assert (told[again]["attempt"], told[again]["status"]) == (REGENERATED, "done")
    assert differences(folder) == []


def again_speaker(folder: RunFolder, branch_id: str) -> str:
    return next(r["speaker"] for r in rows(folder, "turns", branch=branch_id) if r["speaker"])


def test_branches_can_be_branched_and_so_can_regenerations(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    main = folder.trial("0")["trial"]
    edit = read_edit(["author.frame=Una never spares anybody.", "memory.Ana=Only steam."])
    (first,) = grow_in(folder, "0", 2, edit=edit)
    (child,) = grow_in(folder, f"0~{first}", 4)
    (again,) = grow_in(folder, f"0~{first}", 5, again=True)
    (on,) = grow_in(folder, f"0~{again}", 5)
    (twice,) = grow_in(folder, f"0~{again}", 5, again=True)
    (edited,) = grow_in(folder, f"0~{child}", 5, edit=Edit(line="It boils over!"))
    (last,) = grow_in(folder, f"0~{edited}", 5)
    told = {r["branch"]: (r["parent"], r["fork"], r["origin"]) for r in rows(folder, "trials")}
    assert told == {
        MAIN: ("", 0, "main"),
        first: (MAIN, 2, "branch"),
        child: (first, 4, "branch"),
        again: (first, 4, "regeneration"),
        on: (again, 5, "branch"),
        twice: (again, 4, "regeneration"),
        edited: (child, 4, "branch"),
        last: (edited, 5, "branch"),
    }
    assert set(server.asked.values()) == {1}
    assert lines(folder, child)[:4] == lines(folder, first)[:4]
    assert lines(folder, child)[:2] == lines(folder, MAIN)[:2]
    assert lines(folder, again)[:4] == lines(folder, first)[:4] and len(lines(folder, again)) == 5
    assert lines(folder, on)[:5] == lines(folder, again)
    assert lines(folder, last)[4] == lines(folder, edited)[4] == "It boils over!"
    assert len({tuple(lines(folder, b)) for b in told}) == 8
    # What the first branch changed, its branches and theirs are played with.
    texts = {r["id"]: r["text"] for r in rows(folder, "blocks")}
    for each in (first, child, on, last, twice):
        for call in rows(folder, "calls", branch=each, purpose="line"):
            shown_text = "\n".join(texts[b] for b in call["blocks"])
            assert "Una never spares" in shown_text and "Ines Okafor never" not in shown_text
            assert ("Only steam." in shown_text) == (call["role"] == "Ana")
    assert differences(folder) == []
    checks = list(replay(folder, f"0~{last}"))
    assert [(c.trial, c.branch, c.turns) for c in checks] == [(main, last, 6)]


def test_asking_again_gives_further_draws_never_the_same_ones(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    ids = grow_in(folder, "0", 3, draws=2) + grow_in(folder, "0", 3)
    again = grow_in(folder, "0", 2, again=True, draws=2)
    # A branch's turn that is its parent's is regenerated as what it is: its parent's.
    again += grow_in(folder, f"0~{ids[0]}", 2, again=True)
    told = rows(folder, "trials", origin="regeneration")
    assert sorted(r["attempt"] for r in told) == [1000, 1001, 1002]
    assert {r["parent"] for r in told} == {MAIN}
    assert set(server.asked.values()) == {1} and len({*ids, *again}) == 6
    assert differences(folder) == []


def test_an_interrupted_branch_is_played_by_resume(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    server.spec = server.spec.model_copy(update={"errors": {"401": 0.2}})
    result = branch(folder, "0", 3, draws=4, setup=OFF)
    assert result.owed and "401" in result.stopped and result.exit_code
    paid = Counter(server.asked)
    server.spec = server.spec.model_copy(update={"errors": {}})
    resumed = resume(folder, setup=OFF)
    assert (resumed.owed, resumed.branches, resumed.exit_code) == (0, 4, 0)
    assert {r["branch"] for r in rows(folder, "trials")} == {MAIN, *(b.id for b in result.fresh)}
    assert all(server.asked[key] == count for key, count in paid.items())
    assert set(server.asked.values()) == {1} and differences(folder) == []


def test_branches_and_their_branches_that_were_lost_are_played_in_their_order(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, _ = served
    (first,) = grow_in(folder, "0", 2, edit=Edit(memory={"Bo": "Steam."}))
    (again,) = grow_in(folder, f"0~{first}", 4, again=True)
    grow_in(folder, f"0~{again}", 4)
    whole = everything(folder)
    for name in ("trials", "turns", "calls", "scores"):
        left = [r for r in rows(folder, name) if r["branch"] == MAIN]
        folder.write_table(name, pa.Table.from_pylist(left, schema=SCHEMAS[name]))
    assert resume(folder, setup=OFF).exit_code == 0
    for name in ("trials", "turns", "calls", "scores"):
        for was, now in zip(whole[name], rows(folder, name), strict=True):
            same = {k: v for k, v in was.items() if k not in CLOCKED.get(name, ())}
            assert now | same == now, name
    assert differences(folder) == []


# -- what a study asks for ----------------------------------------------------------------------

WISHES = """\
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


def test_a_study_asks_for_counterfactuals_and_for_probes_off_the_record(
    kettle: Path, tmp_path: Path
) -> None:
    file = kettle.with_name("wishes.yaml")
    file.write_text(WISHES)
    result = run(load(file), runs=tmp_path / "runs", setup=OFF)
    folder = result.folder
    told = rows(folder, "trials")
    assert (result.done, result.failed, result.owed) == (1, 0, 0)
    assert Counter((r["origin"], r["status"]) for r in told) == {
        ("main", "done"): 1,
        ("branch", "done"): 2 * 3 * 2,
        ("regeneration", "done"): 2 * 2 + 3,
        ("probe", "done"): 6 + 3 * 2,
    }
    turns = rows(folder, "turns")
    for r in (r for r in told if r["origin"] == "branch"):
        own = [t for t in turns if (t["trial"], t["branch"]) == (r["trial"], r["branch"])]
        drawn = [t for t in own if t["kind"] == "line" and t["cuts"] != ["edited"]]
        frozen = r["fork"] + ("bomb" in r["arm"])
        # Every arm goes on from the same turn, and for as long.
        assert frozen in (2, 4) and {t["turn"] for t in drawn} == {frozen + 1}, r["arm"]
    assert Counter(r["arm"] for r in told if r["origin"] == "branch") == dict.fromkeys(
        ["freeze: as it was", "freeze: another author", "freeze: a bomb"], 4
    )
    # No probe is anywhere but in its own rows.
    texts = {r["id"]: r["text"] for r in rows(folder, "blocks")}
    probes = {r["branch"] for r in told if r["origin"] == "probe"}
    answers = {t["text"] for t in turns if t["kind"] == "probe"}
    assert {t["branch"] for t in turns if t["kind"] == "probe"} == probes and answers
    for call in rows(folder, "calls"):
        asked = any("no part of the scene" in texts[b] for b in call["blocks"])
        assert asked == (call["purpose"] == "probe") == (call["branch"] in probes)
    for r in told:
        kinds = {t.kind for t in folder.transcript(r["trial"], r["branch"]).turns}
        assert ("probe" in kinds) == (r["branch"] in probes)
        assert not [
            t for t in folder.transcript(r["trial"], r["branch"]).lines() if t.branch in probes
        ]
    scored = rows(folder, "scores")
    assert {s["branch"] for s in scored if s["branch"] in probes} == set()
    assert differences(folder) == []
    assert resume(folder, setup=OFF).idle


def arms(at: str, edit: str) -> str:
    return f"branches:\n  - name: x\n    at: {at}\n    arms:\n      a: {edit}"


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ("branches: [{name: x, at: [2, 6]}]", "4:30: branches.0.at.1: no scene goes on after"),
        ("regenerations: [{at: [7]}]", "4:23: regenerations.0.at.0: no scene has a turn 7 (the"),
        ("probes: [{name: x, ask: Who, at: [9]}]", "probes.0.at.0: no scene has a turn 9"),
        ("probes: [{name: x, ask: Who, at: [1], of: Anna}]", "probes.0.of: nobody in 'The "),
        ("regenerations: [{at: [0]}]", "4:17: regenerations.0: 'at' needs turns, each 1 or later"),
        ("regenerations: [{at: often}]", "4:22: regenerations.0.at"),
        ("branches: [{name: x, at: [], arms: {}}]", "4:12: branches.0: 'at' needs turns, each 0"),
        ("branches: [{name: x, at: [1], arm: {}}]", "not a field (did you mean 'arms'?)"),
        ("branches: [{name: x, at: [1]}, {name: x, at: [2]}]", "4:39: branches.1.name: there are"),
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
            "branches.0.arms.a.scene.opening: an edit may not change what was written",
        ),
    ],
)
def test_a_wish_that_cannot_be_met_is_named_with_its_place(
    kettle: Path, wish: str, told: str
) -> None:
    file = kettle.with_name("s.yaml")
    file.write_text(f"study: s\nscenes: [kettle.yaml]\nreplicates: 1\n{wish}\n")
    with pytest.raises(StudyError) as e:
        load(file)
    assert told in str(e.value)
    assert all(p.file == str(file) and p.line >= 4 for p in e.value.problems)


def test_every_turn_means_every_turn_that_all_arms_can_have(kettle: Path) -> None:
    from improv.branch import planned

    file = kettle.with_name("s.yaml")
    two = "{as it was: {}, told: {line: Boo.}}"
    file.write_text(
        f"study: s\nscenes: [kettle.yaml]\nbranches: [{{name: x, at: every, arms: {two}}}]\n"
        "regenerations: [{at: [2, 2, 3]}]\n"
    )
    study = load(file)
    found = planned(study, plan(study)[0])
    assert Counter((b.arm, b.begins) for b in found if b.arm) == {
        (f"x: {arm}", turn + 1): 1 for arm in ("as it was", "told") for turn in range(1, 6)
    }
    assert [b.fork for b in found if not b.arm] == [1, 2]


def test_a_scene_that_ended_or_failed_before_the_turn_leaves_a_row_that_says_so(
    kettle: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    file = kettle.with_name("wishes.yaml")
    file.write_text(
        "study: s\nscenes: [kettle.yaml]\nset: {turns: 8, author: {may: [end], every: 1}}\n"
        "replicates: 12\nbranches: [{name: x, at: [1, 7]}]\nregenerations: [{at: [8]}]\n"
        "probes: [{name: p, of: Bo, ask: Well, at: [8]}]\n"
    )
    server = puppet_server(errors={"400": 0.04})
    study = load(file, {"model": {"model": "puppet", "base_url": server.url}})
    result = run(study, runs=tmp_path / "runs", setup=OFF)
    assert result.owed == 0 and result.failed
    told = rows(result.folder, "trials")
    turns = {r["trial"]: r["turns"] for r in told if r["branch"] == MAIN}
    early = 0
    for r in (r for r in told if r["branch"] != MAIN):
        needed = r["fork"] + (r["origin"] == "regeneration")
        unreached = r["failure_kind"] == "unreached"
        assert unreached == (turns[r["trial"]] < needed), r
        early += unreached
        if unreached:
            assert f"cannot be entered at turn {needed}" in r["failure"]
            assert (r["status"], r["calls"], r["turns"]) == ("failed", 0, 0)
    assert 0 < early < len(told) / 2
    assert {r["failure_kind"] for r in told} == {"", "unreached", "status 400"}
    assert differences(result.folder) == []
    assert resume(result.folder, setup=OFF).idle


# -- replay -------------------------------------------------------------------------------------


def alter(folder: RunFolder, name: str, change: Callable[[list[Json]], Any], **where: Any) -> None:
    """Change the first row of a table that is so, as somebody with a text editor would."""
    found = rows(folder, name)
    at = next(i for i, r in enumerate(found) if all(r[k] == v for k, v in where.items()))
    change_to = change(found[at : at + 1])
    found[at : at + 1] = change_to if change_to is not None else [found[at]]
    folder.write_table(name, pa.Table.from_pylist(found, schema=SCHEMAS[name]))


def setting(**values: Any) -> Callable[[list[Json]], None]:
    return lambda found: found[0].update(values)


def test_replay_shows_the_first_difference(served: tuple[RunFolder, PuppetServer]) -> None:
    folder, server = served
    (grown_id,) = grow_in(folder, "0", 3)
    (again,) = grow_in(folder, "0", 4, again=True)
    server.asked.clear()
    main = folder.trial("0")["trial"]
    kept = {n: folder.table(n) for n in SCHEMAS if n != "limits"}
    assert differences(folder) == []

    def restored() -> None:
        for name, table in kept.items():
            folder.write_table(name, table)

    # (a) a reply
    told = next(r for r in rows(folder, "turns", branch=MAIN, turn=2) if r["speaker"])
    alter(folder, "calls", setting(reply="I said nothing."), branch=MAIN, turn=2, purpose="line")
    (first, *_) = differences(folder, "0")
    assert first == (
        f"turn 2.0: text was {json.dumps(told['text'], ensure_ascii=False)}, "
        'comes out as "I said nothing."'
    )
    assert differences(folder, f"0~{grown_id}") == []  # it shares turns, not how they came about
    restored()
    alter(folder, "calls", setting(reply="I said that."), branch=again)
    assert "turn 4." in differences(folder, f"0~{again}")[0]
    restored()
    note = '{"note_to": "Ana", "note": "Lie.", "next": "Ana"}'
    alter(folder, "calls", setting(reply=note), branch=MAIN, turn=3, purpose="author")
    assert "turn 3: Ana would be shown" in differences(folder, "0")[0]
    assert "author" in differences(folder, f"0~{grown_id}")[0]
    restored()
    # (b) a turn's text: the branch that shares it was shown something else, too
    alter(folder, "turns", setting(text="Boo."), branch=MAIN, turn=2, kind="line")
    assert differences(folder, "0")[0].startswith('turn 2.0: text was "Boo.", comes out as ')
    (other,) = differences(folder, f"0~{grown_id}")
    assert "would be shown, as block" in other and "BOO" in other.upper()
    restored()
    alter(folder, "turns", setting(heard_by=["Cy"]), branch=grown_id, kind="line")
    assert "heard_by was" in differences(folder, f"0~{grown_id}")[0]
    assert differences(folder, "0") == []
    restored()
    alter(folder, "turns", lambda found: [], branch=MAIN, turn=6, kind="line")
    assert "rows were recorded" in differences(folder, "0")[0]
    restored()
    # (c) a block shown: the list of a call, and the text of a block
    ids = next(r["blocks"] for r in rows(folder, "calls", branch=MAIN, turn=3, purpose="line"))
    alter(folder, "calls", setting(blocks=ids[1:]), branch=MAIN, turn=3, purpose="line")
    (told_so,) = differences(folder, "0")
    assert told_so.startswith("turn 3: ") and "would be shown, as block 1, the " in told_so
    restored()
    alter(folder, "blocks", setting(text="You always lie."), id=ids[-2])
    (told_so,) = differences(folder, "0")
    assert f"as block {len(ids) - 1}, " in told_so and "'You always lie.'" in told_so
    restored()
    alter(folder, "blocks", lambda found: [], id=ids[-2])
    assert "where it was shown nothing" in differences(folder, "0")[0]
    restored()
    # (d) a call that is missing, and one that nobody made
    alter(folder, "calls", lambda found: [], branch=MAIN, turn=5, purpose="line")
    (told_so,) = differences(folder, "0")
    assert told_so.startswith("turn 5: asks for") and "is not recorded" in told_so
    restored()
    alter(folder, "calls", lambda found: [*found, found[0] | {"attempt": 7}], branch=MAIN, turn=5)
    assert "turn 5: nothing asks for" in differences(folder, "0")[0]
    restored()
    alter(folder, "trials", setting(status="failed", failure="gone"), branch=MAIN)
    assert differences(folder, "0") == ["it failed then (gone) and does not now"]
    restored()
    folder.update({"branches": []})
    assert "nobody knows" in differences(folder, f"0~{again}")[0]
    # Nothing of all this asked a model.
    assert not server.asked and main


def test_replay_steps_failed_scenes_to_where_they_failed(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    server = puppet_server(errors={"400": 0.1})
    study = load(study_file, {"model": {"model": "puppet", "base_url": server.url}})
    folder = run(study, runs=tmp_path / "r", setup=OFF).folder
    assert folder.meta()["failed"]
    checks = list(replay(folder))
    assert len(checks) == 12 and [c for c in checks if c.difference] == []
    assert {c.turns for c in checks if c.turns < 6}
    assert isinstance(checks[0], Check)


# -- what a person may get wrong ----------------------------------------------------------------


def test_an_edit_is_read_as_it_is_meant(tmp_path: Path) -> None:
    found = read_edit(
        [
            "line=Ana: it boils, # yes",
            "memory.Dr. No=He said: no.",
            "author.frame=",
            "turns=8",
            "cast.Ana.card=Bo: a liar - always",
            "world=[one, two]",
            "author.live=false",
            "model.temperature=null",
            "move=12:30",
        ]
    )
    assert (found.line, found.move) == ("Ana: it boils, # yes", "12:30")
    assert found.memory == {"Dr. No": "He said: no."}
    assert found.scene == {
        "author": {"frame": "", "live": False},
        "cast": {"Ana": {"card": "Bo: a liar - always"}},
        "world": ["one", "two"],
        "turns": 8,
        "model": {"temperature": None},
    }
    file = tmp_path / "edit.yaml"
    file.write_text("line: Boo.\nscene: {turns: 9}\n")
    assert read_edit([str(file), "line=Bah."]) == Edit(line="Bah.", scene={"turns": 9})
    assert read_edit([]).empty


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ("not a path", "=x"),
        ("not a path", "author..frame=x"),
        ("not a path", "memory.=x"),
        ("an edit is PATH=TEXT or a YAML file", "lines"),
        ("line: needs words", "line= "),
        ("memory.Ana.x: not a field", "EDIT:memory: {Ana: {x: 1}}"),
        ("1:1: linne: not a field (did you mean 'line'?)", "EDIT:linne: Boo."),
    ],
)
def test_an_edit_that_cannot_be_read_is_refused(tmp_path: Path, told: str, word: str) -> None:
    kind, _, text = word.partition(":")
    if kind == "EDIT":
        word = str(tmp_path / "edit.yaml")
        Path(word).write_text(text)
    with pytest.raises(StudyError) as e:
        read_edit([word])
    assert told in str(e.value) or "memory.Ana" in str(e.value)


@pytest.mark.parametrize(
    ("place", "turn", "words_of_edit", "told"),
    [
        ("0", 7, [], "has 6 turns; there is no turn 7"),
        ("0", 6, [], "nothing is left to play after turn 6"),
        ("0", 6, ["line=The end."], "nothing is left to play after turn 6"),
        ("0", 0, ["line=Hello."], "the written opening cannot be edited"),
        ("1", 2, [], "1: is not a finished trial"),
        ("0~feed", 2, [], "0~feed: is not a finished branch"),
        ("0", 2, ["linne=x"], "not a field (did you mean 'line'?)"),
        ("0", 2, ["author.framee=x"], "author.framee: not a field (did you mean 'frame'?)"),
        ("0", 2, ["cast.Ana.name=Zoe"], "an edit may not change who is there"),
        ("0", 2, ["cast.Cy.offstage=false"], "an edit may not change who is there"),
        ("0", 2, ["cast.Anna.card=x"], "nobody is called 'Anna' (did you mean 'Ana'?)"),
        ("0", 2, ["cast.Ana.cards=x"], "cast.Ana.cards: not a field (did you mean 'card'?)"),
        ("0", 2, ["memory.Zoe=x"], "nobody is called 'Zoe'; the cast is Ana, Bo, Cy"),
        ("0", 2, ["turns=2"], "nothing is left to play"),
        ("0", 2, ["model.temperature=hot"], "model.temperature"),
    ],
)
def test_a_branch_that_cannot_be_is_refused_before_anything_is_asked(
    kettle: Path, tmp_path: Path, place: str, turn: int, words_of_edit: list[str], told: str
) -> None:
    folder = run(load(kettle), runs=tmp_path / "runs", setup=OFF).folder
    before = everything(folder)
    with pytest.raises(ImprovError) as e:
        branch(folder, place, turn, edit=read_edit(words_of_edit), setup=OFF)
    assert told in str(e.value) and e.value.exit_code == 2
    assert everything(folder) == before and not folder.meta().get("branches")


def test_a_regeneration_takes_no_edit_and_no_written_line(kettle: Path, tmp_path: Path) -> None:
    folder = run(load(kettle), runs=tmp_path / "runs", setup=OFF).folder
    with pytest.raises(RunError, match="a regeneration changes nothing"):
        branch(folder, "0", 2, again=True, edit=Edit(line="Boo."), setup=OFF)
    with pytest.raises(StudyError, match="only improvised turns"):
        branch(folder, "0", 0, again=True, setup=OFF)
    with pytest.raises(RunError, match="is not a finished trial"):
        list(replay(folder, "7"))


@pytest.mark.parametrize("place", ["tea/0", "tea@3", "tea/0@", "tea/0@-1", "tea/@2", "/0@two"])
def test_a_place_is_a_run_a_trial_and_a_turn(tmp_path: Path, place: str) -> None:
    done = command("branch", place, "--runs", str(tmp_path), code=2)
    assert "write RUN/TRIAL@TURN" in " ".join(done.stderr.split())


def test_the_command_branches_and_replays(kettle: Path, tmp_path: Path) -> None:
    folder = run(load(kettle), runs=tmp_path / "runs", name="tea", setup=OFF).folder
    words_of_edit = ["--edit", "line=A bomb!", "--edit", "author.live=false"]
    runs = ("--runs", folder.root)
    given = ["branch", "tea/0@3", "-n", "2", *words_of_edit, *runs]
    told = command(*given).stdout
    ids = [b["branch"] for b in rows(folder, "trials", origin="branch")]
    assert len(ids) == 2 and all(i in told for i in ids) and told.count("A bomb!") == 2
    alter(folder, "turns", setting(text="Boo."), branch=ids[0], turn=5, kind="line")
    told = " ".join(command("replay", "tea", *runs, code=1).stdout.split())
    assert f"~{ids[0]}: turn 5.0: text was" in told
    assert "2 scenes come out the same, 1 not" in told
    wrong = command("branch", "tea/0@3", "--edit", "auther.frame=x", *runs, code=2)
    assert "auther: not a field (did you mean 'author'?)" in " ".join(wrong.stderr.split())


def test_a_copy_without_its_empty_folders_can_be_branched(played: RunFolder) -> None:
    # As git leaves it, which keeps no empty folder.
    for part in ("journal", "shards"):
        shutil.rmtree(played.local / part)
    trial = played.table("trials")["trial"][0].as_py()
    done = branch(played, trial, 3, setup=Setup(ray="off"))
    assert not done.stopped and len(played.branches(trial)) == 2
