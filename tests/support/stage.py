"""Scenes and branches whose replies are a function of the request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from improv.models.request import Ask, Prompt
from improv.records import FIRST_REGENERATION, MAIN, REDRAW_STEP, Call, Turn, seed_of
from improv.stage.branch_stage import BranchStage, create_stage
from improv.stage.prompts import line_cue
from improv.stage.stage import Stage
from improv.study.branch import Branch, branched, grow, past, regenerate, shared
from improv.study.design import Condition, Study
from improv.study.edit import Edit
from improv.study.overrides import merge
from improv.study.scene import Scene
from improv.study.trial import Trial, plan
from tests.support.call import made_call

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
    cells = (("kettle", only, played),)
    return plan(Study(name="s", seed=seed, conditions=(only,), cells=cells))[0]


def improvised(ask: Ask) -> str:
    """Reply by a hash of the request: a line, an aside, or an unreadable reply."""
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
    note = {"note": f"Thought before turn {ask.draw.turn}."} if "note" in fields else {}
    return json.dumps(chosen | note | ({"end": False} if "end" in fields else {}))


@dataclass
class Played:
    """A played scene: its stage, its requests and its replies."""

    stage: Stage
    asks: list[Ask]
    own: list[Call]
    calls: list[Call]
    """Own ones, and those that it shares."""
    moments: list[dict[str, Prompt]]
    """After each turn, from 0: what each would be shown if it were asked then."""

    def like(self, ask: Ask) -> str:
        """Give the reply that the same role got at the same turn."""
        wanted = (ask.draw.turn, ask.draw.role, ask.draw.purpose)
        replies = [c for c in self.calls if (c.draw.turn, c.draw.role, c.draw.purpose) == wanted]
        assert replies, f"nobody asked this then: {ask.draw.key}"
        return replies[-1].reply


def play(t: Trial, reply: Callable[[Ask], str], b: Branch | None = None, of: Any = None) -> Played:
    """Play a trial, or a branch of a scene that was played."""
    before = past(t, b, of.stage.turns, of.calls) if b is not None else None
    done = Played(create_stage(branched(t, b) if b is not None else t, before), [], [], [], [])
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
        own = {
            "_ids": [*thread._ids],
            "_messages": [*thread._messages],
            "blocks": {**thread.blocks},
        }
        asked[name] = replace(thread, **own).ask(line_cue(mode, name))
    return asked


def grown(t: Trial, parent: Played, turn: int, edit: Edit | None = None, **more: Any) -> Branch:
    """Return a branch of a played scene, with its inherited turns and calls."""
    if isinstance(parent.stage, BranchStage):
        more |= {"inherited": parent.stage.past.branch.legacy}
    return grow(t.id, parent.stage.branch, turn, edit or Edit(), draws=1, **more)[0]


def bare(turns: Iterable[Turn]) -> list[Turn]:
    """Turns without their trial and branch."""
    return [replace(t, branch="") for t in turns]


def shown(asks: Sequence[Ask]) -> dict[tuple[int, str], Prompt]:
    return {(a.draw.turn, a.draw.role): a.prompt for a in asks}


def words(prompt: Prompt) -> str:
    return prompt.text or "\n".join(m["content"] for m in prompt.messages)


QUIET = {"author": {"live": False, "frame": ""}, "model": {"mode": "chat"}}


def relived(t: Trial, parent: Played) -> None:
    """Every branch begins in the state of its parent, and the replies of the parent give its turns.
    Every line can be drawn again with the same prompt.
    """
    then = {}
    for ask in parent.asks:
        then[ask.draw.turn, ask.draw.role, ask.draw.purpose] = ask.prompt

    def like(ask: Ask) -> str:
        replies = [
            c.reply
            for c in parent.calls
            if (c.draw.turn, c.draw.role, c.draw.purpose, c.draw.attempt % FIRST_REGENERATION)
            == (
                ask.draw.turn,
                ask.draw.role,
                ask.draw.purpose,
                ask.draw.attempt % FIRST_REGENERATION + ask.draw.attempt // REDRAW_STEP,
            )
        ]
        assert replies, ask.draw.key
        return replies[-1]

    last = max(x.turn for x in parent.stage.turns)
    for fork in range(last):
        again = play(t, like, grown(t, parent, fork), parent)
        # An envelope is sealed before the first turn, but after a stage is set.
        if fork or t.scene.envelope is None:
            assert again.moments[fork] == parent.moments[fork], fork
        assert bare(again.stage.turns) == bare(parent.stage.turns), fork
        for ask in again.asks:
            assert then[ask.draw.turn, ask.draw.role, ask.draw.purpose] == ask.prompt, fork
        if fork % 2:
            child = play(t, like, grown(t, again, min(fork + 1, last - 1)), again)
            assert bare(child.stage.turns) == bare(parent.stage.turns), fork
    for was in [x for x in parent.stage.turns if x.turn and x.kind in ("line", "silence")]:
        drawn = play(t, like, regenerate(t.id, MAIN, was.turn, draws=1)[0], parent)
        assert bare(drawn.stage.turns) == bare(
            [x for x in parent.stage.turns if x.turn <= was.turn]
        )


def improvised_alike(ask: Ask) -> str:
    return f"Line {ask.draw.turn}."


def test_a_frame_may_be_the_live_authors_alone(scene: Scene) -> None:
    done = play(trial(scene, {"author": {"shown": False}}), improvised)
    for ask in done.asks:
        assert ("Ines Okafor never" in words(ask.prompt)) == (ask.draw.role == "author")
