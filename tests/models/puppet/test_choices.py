"""A puppet's choices, secrets and memory: the planted truth is recovered from its replies."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from improv.models.client import Models
from improv.models.puppet.player import answer
from improv.models.request import Ask, Prompt
from improv.records import Call, Draw
from improv.stage.stage import Stage
from improv.study.puppet_spec import Puppet
from improv.study.scene import Scene
from tests.support.stage import trial

SIX = ["lamp", "key", "bell", "coin", "knife", "comb"]


def say(
    spec: dict[str, Any],
    shown: str = "(BO: Well?)",
    *,
    head: str = "You are ANA.",
    n: int = 1,
    trial: str = "t",
    purpose: str = "line",
    script: bool = False,
) -> list[str]:
    """Return Ana's replies to n attempts of one draw."""
    puppet, said = Puppet.model_validate({"alpha": 0} | spec), []
    for k in range(n):
        key = f"{trial}/main/3/{purpose}/{k}/Ana"
        body: dict[str, Any] = {"user": key, "seed": k}
        if script:
            body["prompt"] = f"{head}\n\n* * *\n{shown}\nANA:"
        else:
            system = {"role": "system", "content": head}
            body["messages"] = [system, {"role": "user", "content": shown}]
        choice = answer(body, puppet)["choices"][0]
        said.append((choice["text"] if script else choice["message"]["content"]).strip())
    return said


def collision(said: list[str]) -> float:
    n = len(said)
    return sum(c * (c - 1) for c in Counter(said).values()) / (n * (n - 1))


def test_nothing_commits_it_and_reveals_scatter_as_dirichlet_says() -> None:
    spec = {"choice": {"options": SIX, "when": "What is it?"}}
    collisions = [collision(say(spec, "BO: What is it?", n=10, trial=str(k))) for k in range(300)]
    # The mean of the sum of squares of six uniform Dirichlet shares is 2/7.
    assert sum(collisions) / 300 == pytest.approx(2 / 7, abs=0.03)
    assert not set(SIX) & {w for s in say(spec, "BO: Well?", n=20) for w in s.strip(".").split()}


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(("alias", "expected"), [(0.0, 1.0), (0.02, 0.96)])
def test_what_is_sealed_is_revealed_but_for_aliases(
    script: bool, alias: float, expected: float
) -> None:
    spec = {
        "choice": {"options": SIX, "when": "What is it?", "committed": "sealed:", "alias": alias}
    }
    head = "You are ANA.\n(What Ana has written down and sealed: the bell)"
    said = [
        say(spec, "BO: What is it?", head=head, n=10, trial=str(k), script=script)
        for k in range(150)
    ]
    assert sum(map(collision, said)) / 150 == pytest.approx(expected, abs=0.02)
    assert Counter(s for each in said for s in each).most_common(1)[0][0] == "It is bell."
    forgot = {**spec["choice"], "forget": 1.0, "alias": 0}
    assert len(set(say({"choice": forgot}, "BO: What is it?", head=head, n=40))) > 2


def test_acts_of_a_constant_entropy_are_equally_likely_at_every_line() -> None:
    spec = {"choice": {"options": SIX, "always": True, "concentration": None, "says": "The {}!"}}
    for depth in ("BO: One.", "BO: One.\nBO: Two.\nBO: Three."):
        counts = Counter(say(spec, depth, n=1200))
        assert len(counts) == 6 and max(counts.values()) < 250 and min(counts.values()) > 150


def test_made_up_believed_and_lied_can_be_told_apart() -> None:
    base = {"options": SIX, "when": "What was it?"}
    believes = {**base, "held": True}
    lies = {**base, "held": True, "reason": "owes", "candid": "the author", "truth": "nothing"}
    victim, aside = "BO: What was it?", "(To the author alone: What was it?)"
    motive = "You are ANA. She owes Bo."
    assert len(set(say({"choice": base}, victim, head=motive, n=30))) > 2
    replies = {
        (what, head, who): set(say({"choice": spec}, who, head=head, n=30))
        for what, spec in (("believes", believes), ("lies", lies))
        for head in (motive, "You are ANA.")
        for who in (victim, aside)
    }
    assert len({*map(frozenset, (v for k, v in replies.items() if k[0] == "believes"))}) == 1
    assert {k[1:]: v == {"It is nothing."} for k, v in replies.items() if k[0] == "lies"} == {
        (motive, victim): False,
        (motive, aside): True,
        ("You are ANA.", victim): True,
        ("You are ANA.", aside): True,
    }
    assert all(len(v) == 1 for v in replies.values())
    with pytest.raises(ValidationError, match="need a 'truth'"):
        Puppet.model_validate({"choice": {**base, "candid": "the author"}})


def test_a_secret_is_given_away_as_often_as_declared() -> None:
    leak = {"says": "I forged it.", "chance": 0.2, "effects": {"An author": -2.0}, "of": "forger"}
    spec = {"leak": leak}

    def share(head: str, spec: dict[str, Any] = spec) -> float:
        return sum("I forged it." in s for s in say(spec, head=head, n=1500)) / 1500

    assert share("You are ANA, a forger.") == pytest.approx(0.2, abs=0.03)
    guarded = 1 / (1 + math.exp(-(math.log(0.25) - 2)))
    assert share("An author writes. You are ANA, a forger.") == pytest.approx(guarded, abs=0.02)
    assert share("You are BO.") == 0
    assert share("A forger", {"leak": {**leak, "of": "", "when": "the letter"}}) == 0


FACTS = [
    {
        "says": "The bell is cracked.",
        "question": "Which is cracked",
        "answer": "The bell.",
        "options": ["The bell.", "The cup.", "The jug.", "The pan."],
    },
    "Bo left on a Tuesday.",
]


def test_facts_are_known_where_they_are_found_and_guessed_where_not() -> None:
    spec = {"facts": FACTS}
    heard = "BO: The bell is cracked. Bo left on a Tuesday."
    both = "The bell is cracked. Bo left on a Tuesday."
    assert say(spec, heard, purpose="diary") == say(spec, heard, purpose="bible") == [both]
    assert "bell" not in say(spec, purpose="diary")[0]
    ask = "(To Ana alone: Which is cracked?)"
    assert set(say(spec, f"{heard}\n{ask}", purpose="probe", n=20)) == {"The bell."}
    guesses = Counter(say(spec, ask, purpose="probe", n=800))
    assert len(guesses) == 4 and guesses["The bell."] / 800 == pytest.approx(0.25, abs=0.05)
    forgets = say({**spec, "forgets": 0.4}, heard, purpose="diary", n=600)
    assert sum("bell" in s for s in forgets) / 600 == pytest.approx(0.6, abs=0.06)


def test_a_move_that_is_found_in_the_prompt_brings_recovery() -> None:
    spec = {
        "alpha": 0.0,
        "beta": 0.2,
        "pole": ["Up."],
        "opposite": ["Down."],
        "recovers": {"It was a dream": 1.5},
    }
    puppet = Puppet.model_validate(spec)
    shares = []
    for text in ("BO: Well?", "(It was a dream.)"):
        said = [
            answer(
                {
                    "user": f"t/main/3/line/{k}/Ana",
                    "seed": k,
                    "messages": [
                        {"role": "user", "content": "Begin."},
                        {"role": "assistant", "content": "Down."},
                        {"role": "user", "content": text},
                    ],
                },
                puppet,
            )["choices"][0]["message"]["content"]
            for k in range(1500)
        ]
        shares.append(sum("Up." in s for s in said) / 1500)
    moved = 1 / (1 + math.exp(-(math.log(0.25) + 1.5)))
    assert shares == [pytest.approx(0.2, abs=0.03), pytest.approx(moved, abs=0.04)]


@pytest.mark.parametrize("kept", ["none", "own", "outside", "author"])
def test_on_the_stage_an_envelope_commits_those_who_can_read_it(scene: Scene, kept: str) -> None:
    """In twenty questions, only an envelope in the holder's prompt or an author who knows the
    object commits the holder to it."""
    choice = {"options": SIX, "when": "What is it?", "committed": "sealed:"}
    patch = {
        "turns": 4,
        "events": [{"turn": 3, "direction": "What is it?"}],
        "author": {"live": True, "may": ["note"], "every": 2, "knows": ["transcript"]},
        "envelope": {"of": "Bo", "ask": "What is in it?", "kept": kept, "options": SIX},
        "model": {"model": "puppet", "puppet": {"alpha": 0.0, "choice": choice}},
    }
    agreed = 0
    for seed in range(30):
        t = trial(scene, patch, seed=seed)
        stage, models = Stage(t), Models()
        asyncio.run(stage.play(models.complete))
        sealed = next((x.text for x in stage.turns if x.kind == "envelope"), "")
        (said,) = [x.text for x in stage.turns if x.turn == 3 and x.speaker == "Bo"]
        assert said.removeprefix("It is ").strip(".") in SIX
        agreed += said == f"It is {sealed}."
    assert (agreed == 30) == (kept in ("own", "author"))
    assert agreed <= 15 or kept in ("own", "author")


def test_a_puppet_that_declares_nothing_new_speaks_as_it_always_did() -> None:
    """The replies of the previous version, unchanged."""
    prompt = Prompt("chat", (), messages=({"role": "user", "content": "BO: Well?"},))
    calls: list[Call] = []

    async def all_of_it() -> None:
        models = Models()
        from improv.study.model_spec import Model

        model = Model(model="puppet", puppet=Puppet(alpha=0.4, drift=0.1, spread=1.0))
        for turn in range(1, 7):
            draw = Draw("t", "main", turn, "Ana", "line")
            calls.append(await models.complete(Ask(draw, model, prompt)))

    asyncio.run(all_of_it())
    assert [c.reply for c in calls] == BEFORE


BEFORE = [
    "My father always told me to look people in the eye.",
    "You can always ask me, and I will answer.",
    "Bo, I always leave the door open for you.",
    "Bo, I always pay back what I owe.",
    "There is always somebody who has to say it.",
    "Bo, I always come when I am called.",
]
