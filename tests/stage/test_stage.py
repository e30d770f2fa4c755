"""The stage: who acts when, who hears what, what the author may do. Replies are a function."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from improv.errors import ErrorKind, ModelError
from improv.models.request import Ask
from improv.records import Call, Turn
from improv.stage.author import read_acts, reply_schema
from improv.stage.prompts import line_cue
from improv.stage.stage import Stage
from improv.study.design import Condition, Study
from improv.study.overrides import merge
from improv.study.scene import Scene
from improv.study.trial import Trial, plan
from tests.support.call import made_call

Reply = Callable[[Ask], str]


def trial(scene: Scene, patch: dict[str, Any] | None = None, seed: int = 0) -> Trial:
    data = merge(scene.model_dump(mode="json"), patch or {})
    only = Condition("only", ())
    played = Scene.model_validate(data)
    cells = (("kettle", only, played),)
    return plan(Study(name="s", seed=seed, conditions=(only,), cells=cells))[0]


def call(ask: Ask, reply: str) -> Call:
    return made_call(ask.draw, mode=ask.prompt.mode, blocks=ask.prompt.blocks, reply=reply)


def play(t: Trial, reply: Reply) -> tuple[Stage, list[Ask]]:
    stage, asks = Stage(t), []

    async def draw(ask: Ask) -> Call:
        asks.append(ask)
        await asyncio.sleep(0)
        return call(ask, reply(ask))

    async def whole() -> None:
        while stage.running:
            stage.step()
            await stage.act(draw)

    asyncio.run(whole())
    return stage, asks


def speakers(stage: Stage) -> list[str]:
    return [t.speaker for t in stage.turns if t.kind in ("line", "silence")]


def quiet(ask: Ask) -> str:
    return '{"note_to":"nobody","note":"","next":"anybody"}' if ask.schema else "Well."


def test_nobody_keeps_a_stage_that_was_played(scene: Scene) -> None:
    """Mesa would: it counts the agents of each model in a dict that never forgets one."""
    stage, _ = play(trial(scene), quiet)
    seen = weakref.ref(stage)
    del stage
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("order", ["round-robin", "shuffled", "addressed", "by-silence"])
def test_the_same_trial_gives_the_same_order(scene: Scene, order: str) -> None:
    patch = {"order": order, "turns": 30, "events": [{"turn": 1, "enter": ["Cy"]}]}
    t = trial(scene, patch)
    assert speakers(play(t, quiet)[0]) == speakers(play(t, quiet)[0])
    seeds = {tuple(speakers(play(trial(scene, patch, seed), quiet)[0])) for seed in range(5)}
    assert (len(seeds) > 1) == (order in ("shuffled", "by-silence"))


def test_round_robin_follows_the_cast_and_absence(scene: Scene) -> None:
    stage, _ = play(trial(scene), quiet)
    # Ana spoke last in the opening; Cy enters before turn 3; Bo leaves before turn 5.
    assert speakers(stage) == ["Bo", "Ana", "Bo", "Cy", "Ana", "Cy"]


def test_shuffled_gives_everybody_one_turn_a_round_and_nobody_two_in_a_row(scene: Scene) -> None:
    patch = {"order": "shuffled", "turns": 30, "events": [{"turn": 1, "enter": ["Cy"]}]}
    said = speakers(play(trial(scene, patch), quiet)[0])
    rounds = [said[i : i + 3] for i in range(0, 30, 3)]
    assert all(sorted(r) == ["Ana", "Bo", "Cy"] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1
    assert all(a != b for a, b in pairwise(said))


def test_whoever_is_addressed_answers(scene: Scene) -> None:
    patch = {"order": "addressed", "turns": 9, "events": [{"turn": 1, "enter": ["Cy"]}]}

    def reply(ask: Ask) -> str:
        return (
            quiet(ask)
            if ask.schema
            else {"Bo": "Cy, go up.", "Cy": "Ana, tell him.", "Ana": "Robert, hurry."}[
                ask.draw.role
            ]
        )

    stage, _ = play(trial(scene, patch), reply)
    said = speakers(stage)
    assert said[said.index("Bo") : said.index("Bo") + 4] == ["Bo", "Cy", "Ana", "Bo"]
    assert next(t for t in stage.turns if t.text == "Robert, hurry.").addressed == "Bo"


def test_silence_gives_weight(scene: Scene) -> None:
    patch = {"order": "by-silence", "turns": 300, "events": [{"turn": 1, "enter": ["Cy"]}]}
    counts = Counter(speakers(play(trial(scene, patch), quiet)[0]))
    assert min(counts.values()) > 70


def test_the_author_cues_whispers_and_is_heard_by_one(scene: Scene) -> None:
    def reply(ask: Ask) -> str:
        if ask.schema is None:
            return "Well."
        assert ask.draw.role == "author"
        return '{"note_to":"Ana","note":"Keep the secret.","next":"Ana"}'

    stage, asks = play(trial(scene, {"author": {"every": 1, "knows": ["transcript"]}}), reply)
    assert set(speakers(stage)) == {"Ana"}
    shown = {r: prompts(stage, [a for a in asks if a.draw.role == r]) for r in ("Ana", "author")}
    assert "A note from the author to Ana: Keep the secret." in shown["Ana"]
    assert [a.kind for a in line(stage, 1).acts] == ["note", "cue"]
    bo = stage.by_name["Bo"].thread.ask(line_cue("chat", "Bo"))
    assert not any("Keep the secret" in stage.blocks[b].text for b in bo.blocks)


def test_characters_see_their_own_card_and_secret_only(scene: Scene) -> None:
    stage, asks = play(trial(scene), quiet)
    ana = prompts(stage, [a for a in asks if a.draw.role == "Ana"])
    bo = prompts(stage, [a for a in asks if a.draw.role == "Bo"])
    author = prompts(stage, [a for a in asks if a.draw.role == "author"])
    assert "unplugged it" in ana and "unplugged it" not in bo
    assert "train to catch" in bo and "train to catch" not in ana
    assert "Ines Okafor never" in ana and "Ines Okafor never" in bo
    assert "all the time in the world" in author and "unplugged it" not in author
    granted, more = play(trial(scene, {"author": {"knows": ["secrets"]}}), quiet)
    text = prompts(granted, [a for a in more if a.draw.role == "author"])
    assert "unplugged it" in text and "all the time" not in text and "Well." not in text


def test_asides_and_absences_are_not_heard(scene: Scene) -> None:
    def reply(ask: Ask) -> str:
        if ask.schema:
            return quiet(ask)
        return "(aside to Ana) It is off." if ask.draw.role == "Bo" else "Well."

    stage, asks = play(trial(scene), reply)
    whispered = next(t for t in stage.turns if t.kind == "line" and t.aside)
    assert (whispered.text, whispered.heard_by) == ("It is off.", ("Ana",))
    cy = prompts(stage, [a for a in asks if a.draw.role == "Cy"])
    assert "It is off" not in cy and "Ana, does it boil" not in cy and "A knock" in cy
    assert "It is off" in prompts(stage, [a for a in asks if a.draw.role == "Ana"])
    assert "It is off" not in prompts(stage, [a for a in asks if a.draw.role == "author"])
    late = [t for t in stage.turns if t.turn >= 5]
    assert all("Bo" not in t.heard_by for t in late)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I think Ana should cry.",
        '{"note_to": "Zoe", "note": "x", "next": "Ana"}',
        "{" * 5000,
        '{"note_to": "Ana", "note": 7, "next": "Ana"}',
        '["Ana"]',
        '{"note": "To whom?", "next": "Ana"}',
    ],
)
def test_nonsense_from_the_author_is_recorded_and_ignored(scene: Scene, reply: str) -> None:
    stage, _ = play(trial(scene), lambda ask: reply if ask.schema else "Well.")
    first = line(stage, 1)
    assert [a.kind for a in first.acts] == ["unread"]
    assert speakers(stage) == speakers(play(trial(scene), quiet)[0])


def test_moves_are_made_once_and_the_end_ends(scene: Scene) -> None:
    patch = {"turns": 20, "author": {"may": ["move", "end"], "moves": {"dream": "It was a dream."}}}

    def reply(ask: Ask) -> str:
        if ask.schema is None:
            return "Well."
        assert ("end" in ask.schema["properties"]) == (ask.draw.turn > 10)
        return f'{{"move": "dream", "end": {str(ask.draw.turn >= 13).lower()}}}'

    stage, _ = play(trial(scene, patch), reply)
    assert [t.text for t in stage.turns].count("It was a dream.") == 1
    assert stage.turns[-1].turn == 13 and stage.turns[-1].acts[-1].kind == "end"


def test_an_author_that_thinks_meanwhile_is_heard_a_turn_later(scene: Scene) -> None:
    patch = {"author": {"when": "during", "every": 1, "may": ["note"]}}

    def reply(ask: Ask) -> str:
        if ask.schema is None:
            return "Well."
        return f'{{"note_to": "Ana", "note": "Thought at {ask.draw.turn}."}}'

    stage, _ = play(trial(scene, patch), reply)
    assert line(stage, 1).acts == ()
    assert line(stage, 2).acts[0].text == "Thought at 1."


def test_prompts_only_grow(scene: Scene) -> None:
    for mode in ("chat", "script"):
        _, asks = play(trial(scene, {"turns": 12, "model": {"mode": mode}}), quiet)
        for role in ("Ana", "Cy", "author"):
            mine = [a.prompt for a in asks if a.draw.role == role]
            assert len(mine) > 1
            for a, b in pairwise(mine):
                if mode == "script":
                    assert b.text.startswith(a.text)
                else:
                    assert b.messages[: len(a.messages)] == a.messages


def test_a_script_is_a_document_that_breaks_off(scene: Scene) -> None:
    _, asks = play(trial(scene, {"model": {"mode": "script"}}), quiet)
    bo = next(a.prompt for a in asks if a.draw.role == "Bo")
    assert bo.text.startswith("THE KETTLE\na kitchen play\n\nA kitchen. 12:30.")
    assert bo.text.endswith(
        "(The kettle hums.)\nBO: Ana, does it boil?\nANA: (aside to Bo) Bo, it hums.\nBO:"
    )
    assert bo.stop == ("\n",)


def test_a_silence_is_a_silence_and_a_failed_call_ends_the_scene(scene: Scene) -> None:
    stage, _ = play(trial(scene), lambda ask: quiet(ask) if ask.schema else " \n")
    assert {t.kind for t in stage.turns if t.turn and t.speaker} == {"silence"}

    async def fail(ask: Ask) -> Call:
        raise ModelError("gone", kind=ErrorKind.TIMEOUT)

    broken = Stage(trial(scene))
    broken.step()
    with pytest.raises(ModelError):
        asyncio.run(broken.act(fail))


def test_the_schema_is_what_the_reader_reads() -> None:
    import jsonschema

    powers = ("note", "cue", "move", "end")
    schema = reply_schema(powers, ["Ana", "Bo"], ["dream"])
    good = '{"note_to":"Bo","note":"x","next":"Ana","move":"dream","end":false}'
    jsonschema.validate(__import__("json").loads(good), schema)
    acts = read_acts(good, powers, (("Ana", ()), ("Bo", ())), {"dream": "It was."}, set())
    assert [a.kind for a in acts] == ["note", "cue", "move"]


def line(stage: Stage, turn: int) -> Turn:
    return next(t for t in stage.turns if t.turn == turn and t.speaker)


def prompts(stage: Stage, asks: list[Ask]) -> str:
    return "\n".join(stage.blocks[b].text for a in asks for b in a.prompt.blocks)
