"""A puppet's reply is a function of the request and of the declared process."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from improv.models.puppet.player import (
    OPPOSITE,
    POLE,
    answer,
    count_tokens,
    opposite_chance,
    read_request,
)
from improv.models.puppet.server import PuppetServer
from improv.study.puppet_spec import Puppet
from tests.support.puppet import HEAD, ask, chat, is_opposite, line_of, near, script, states

# The reply is a function of request and declared process


def test_the_same_draw_gets_the_same_reply_whoever_asks_and_whenever() -> None:
    spec = Puppet(alpha=0.5, spread=1, garble=0.2)
    with PuppetServer(spec) as server:
        for turn in range(1, 9):
            for body in (chat(turn), script(turn=turn)):
                here = answer(body, spec)
                assert answer(json.loads(json.dumps(body)), spec) == here
                there = ask(server, body).model_dump(exclude_unset=True)
                there["usage"]["prompt_tokens_details"]["cached_tokens"] = 0
                assert there == here
                assert here["created"] == 0


def test_seed_attempt_and_trial_each_change_what_is_said() -> None:
    spec = Puppet(alpha=0.5)
    said = {line_of(answer(script(seed=seed), spec)) for seed in range(40)}
    assert len(said) > 15
    again = {
        line_of(answer(script(user=f"t/main/1/line/{attempt}/Bo"), spec)) for attempt in range(40)
    }
    assert len(again) > 15
    ids = {answer(script(seed=seed), spec)["id"] for seed in range(40)}
    assert len(ids) == 40
    several = answer(script(n=20), spec)["choices"]
    assert [c["index"] for c in several] == list(range(20))
    assert len({c["text"] for c in several}) > 8


def test_a_client_that_names_no_draw_still_gets_different_lines_for_different_prompts() -> None:
    spec = Puppet(alpha=0.5)
    bare = {"model": "puppet", "seed": 7}
    said = {line_of(answer({**bare, "prompt": f"{HEAD}MARA: {k}?\nBO:"}, spec)) for k in range(40)}
    assert len(said) > 15
    assert answer({**bare, "prompt": HEAD}, spec) == answer({**bare, "prompt": HEAD}, spec)


# The declared process


def test_four_hundred_chains_give_back_alpha_and_beta() -> None:
    spec = Puppet(alpha=0.2, beta=0.35)
    steps: Counter[tuple[bool, bool]] = Counter()
    for k in range(400):
        chain = [False, *states(spec, f"trial{k}", 12)]
        steps.update(pairwise(chain))
    broke, kept = steps[False, True], steps[False, False]
    recovered, stayed = steps[True, False], steps[True, True]
    assert near(broke / (broke + kept), spec.alpha, broke + kept)
    assert near(recovered / (recovered + stayed), spec.beta, recovered + stayed)


def test_certain_puppets_are_certain_whatever_moves_them() -> None:
    shifts: dict[str, Any] = {"drift": 5, "spread": 3, "effects": {"storm": 9.0}}
    assert states(Puppet(alpha=0, **shifts), "t", 12) == [False] * 12
    assert states(Puppet(alpha=1, beta=0, drift=-5), "t", 12) == [True] * 12
    assert states(Puppet(alpha=1, beta=1), "t", 6) == [True, False] * 3


def test_the_chance_is_the_one_declared() -> None:
    spec = Puppet(
        alpha=0.2, beta=0.3, drift=0.5, effects={"storm": 1.0, "a note": -2.0, "thunder": 9}
    )
    base = math.log(0.2 / 0.8)

    def logit(text: str) -> float:
        p = opposite_chance(read_request(script(text)), spec)
        return math.log(p / (1 - p))

    plain = HEAD.replace("storm", "quiet")
    assert logit(plain + "BO:") == pytest.approx(base)
    assert logit(HEAD + "BO:") == pytest.approx(base + 1)
    assert logit(HEAD + "(a note to Bo)\nBO:") == pytest.approx(base + 1 - 2)
    # Only lines that the puppet wrote count for drift, not a line that the script gave it.
    played = f"BO: Good evening.\nMARA: {POLE[0]}\nBO: Mara, {POLE[1]}\nBO: {POLE[2]}\n"
    assert logit(plain + played + "BO:") == pytest.approx(base + 2 * 0.5)
    # Only Bo's own last line counts, not other characters' lines in the opposite state.
    assert logit(plain + f"MARA: {OPPOSITE[0]}\nBO:") == pytest.approx(base)
    flipped = read_request(script(plain + f"BO: Mara, {OPPOSITE[0]}\nMARA: Oh?\nBO:"))
    assert opposite_chance(flipped, spec) == pytest.approx(1 - 0.3)
    silent = read_request(script(plain + f"BO: {OPPOSITE[0]}\nMARA: Oh?\nBO: …\nMARA: Well?\nBO:"))
    assert opposite_chance(silent, spec) == pytest.approx(1 - 0.3)
    aside = read_request(script(plain + f"BO: (aside to MARA) {OPPOSITE[0]}\nBO:"))
    assert opposite_chance(aside, spec) == pytest.approx(1 - 0.3)


def test_in_chat_the_assistant_messages_are_the_characters_own_lines() -> None:
    spec = Puppet(alpha=0.01, beta=0.25)
    body = chat()
    assert opposite_chance(read_request(body), spec) == pytest.approx(0.01)
    body["messages"] += [{"role": "user", "content": f"MARA: {OPPOSITE[3]}"}]
    assert opposite_chance(read_request(body), spec) == pytest.approx(0.01)
    body["messages"] += [{"role": "assistant", "content": OPPOSITE[3]}]
    assert opposite_chance(read_request(body), spec) == pytest.approx(0.75)


def test_effects_and_drift_move_what_is_played() -> None:
    def breaks(spec: Puppet, lines: int = 6) -> float:
        played = [states(spec, f"{k}", lines) for k in range(100)]
        return sum(map(sum, played)) / (100 * lines)

    plain = breaks(Puppet(alpha=0.2, beta=1))
    assert breaks(Puppet(alpha=0.2, beta=1, effects={"Close the door": 2.0})) > plain + 0.1
    assert breaks(Puppet(alpha=0.2, beta=1, effects={"Open the door": 2.0})) == plain
    assert breaks(Puppet(alpha=0.2, beta=1, drift=-1.0)) < plain - 0.04


def test_spread_is_a_trait_of_the_trial_and_normal() -> None:
    spec = Puppet(alpha=0.5, spread=2)

    def z(trial: str, turn: int, user: bool = True, head: str = HEAD) -> float:
        body = script(head + "BO:", turn, trial)
        if not user:
            del body["user"]
        p = opposite_chance(read_request(body), spec)
        return math.log(p / (1 - p)) / 2

    assert z("a", 1) == z("a", 9) != z("b", 1)
    scores = sorted(z(f"{k}", 1) for k in range(1000))
    assert abs(sum(scores) / 1000) < 0.1
    assert 0.93 < math.sqrt(sum(v * v for v in scores) / 1000) < 1.07
    assert scores[158] == pytest.approx(-1, abs=0.15)
    # Without the key of a draw, the beginning of the prompt identifies the trial.
    long = HEAD + "x" * 200 + "\n"
    assert z("a", 1, False, long) == z("b", 1, False, long + "MARA: And?\n")
    assert z("a", 1, False) != z("a", 1, False, "Another play. " + HEAD)


def test_a_puppet_speaks_the_sentences_it_was_given() -> None:
    spec = Puppet(alpha=0.5, pole=["Aye, so it is."], opposite=["No, it is not."])
    said = {line_of(answer(script(seed=k), spec)) for k in range(40)}
    assert said == {
        "Aye, so it is.",
        "Mara, listen. Aye, so it is.",
        "No, it is not.",
        "Mara, listen. No, it is not.",
    }


def test_built_in_sentences_can_be_told_apart_by_one_word() -> None:
    assert all(re.search(r"\balways\b", s) and "never" not in s for s in POLE)
    assert all(re.search(r"\bnever\b", s) and "always" not in s for s in OPPOSITE)
    assert len(set(POLE + OPPOSITE)) >= 24


def test_lines_are_often_spoken_to_somebody_who_is_there() -> None:
    talk = HEAD + "CY: Who is it?\nBO: Me.\n(Time: it is late.)\nNote: no.\nBO:"
    said = [line_of(answer(script(talk, seed=k), Puppet())) for k in range(200)]
    called = Counter(line.split(",")[0] for line in said if re.match(r"\w+,", line))
    assert set(called) - {"Nobody", "There"} == {"Mara", "Cy"}
    assert 60 < called["Mara"] + called["Cy"] < 140
    # A card's sample lines come before the scene; their speakers are not in the scene.
    card = "From another scene:\nDEE: Hello.\n\n* * *\nMARA: Well?\nBO:"
    assert not any("Dee" in line_of(answer(script(card, seed=k), Puppet())) for k in range(100))
    alone = [line_of(answer(script("* * *\nBO:", seed=k), Puppet())) for k in range(40)]
    assert set(alone) <= set(POLE + OPPOSITE)


# Bounds, logprobs, JSON


def test_stop_strings_and_max_tokens_are_obeyed() -> None:
    whole = answer(script(), Puppet())
    assert whole["choices"][0]["finish_reason"] == "stop"
    text = whole["choices"][0]["text"]
    assert text == f" {text.strip()}"
    cut = answer(script(max_tokens=3), Puppet())
    assert cut["choices"][0]["finish_reason"] == "length"
    assert text.startswith(cut["choices"][0]["text"])
    assert count_tokens(cut["choices"][0]["text"]) == 3 == cut["usage"]["completion_tokens"]
    exact = answer(script(max_tokens=count_tokens(text)), Puppet())
    assert exact["choices"][0]["finish_reason"] == "stop"
    word = text.split()[2]
    stopped = answer(script(stop=word), Puppet())["choices"][0]
    assert stopped["text"] == text[: text.index(word)]
    assert stopped["finish_reason"] == "stop"


def test_usage_counts_words_and_marks() -> None:
    assert count_tokens("Bo, it's late.\n\nGo!") == 9
    usage = answer(script(n=3), Puppet())["usage"]
    assert usage["prompt_tokens"] == count_tokens(HEAD + "BO:")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_logprobs_sum_to_what_the_process_says_in_both_styles() -> None:
    spec = Puppet(alpha=0.2)
    with PuppetServer(spec) as server:
        talk = ask(server, chat(logprobs=True, top_logprobs=3)).choices[0]
        text = ask(server, script(logprobs=2)).choices[0]
        assert ask(server, chat()).choices[0].logprobs is None
    tokens = talk.logprobs.content
    assert "".join(t.token for t in tokens) == talk.message.content
    assert bytes(b for t in tokens for b in t.bytes).decode() == talk.message.content
    assert all(len(t.top_logprobs) == 3 and t.top_logprobs[0].token == t.token for t in tokens)
    assert "".join(text.logprobs.tokens) == text.text
    assert all(len(each) == 2 for each in text.logprobs.top_logprobs)
    starts = text.logprobs.text_offset
    assert [text.text[i] for i in starts] == [t[0] for t in text.logprobs.tokens]
    for line, likelihood in (
        (talk.message.content, sum(t.logprob for t in tokens)),
        (text.text, sum(text.logprobs.token_logprobs)),
    ):
        state = 0.2 if is_opposite(line) else 0.8
        assert likelihood == pytest.approx(math.log(state / 12 * 0.5))


# Bad lines


def test_a_mute_puppet_says_nothing_as_often_as_declared() -> None:
    said = [answer(script(seed=k), Puppet(mute=0.3)) for k in range(500)]
    silent = [r for r in said if line_of(r) == ""]
    assert near(len(silent) / 500, 0.3, 500)
    assert silent[0]["choices"][0]["text"] == ""
    assert silent[0]["usage"]["completion_tokens"] == 0
