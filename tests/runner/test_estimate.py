"""The estimate of a run compared with its real calls, tokens, cached tokens and cost."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from improv.models.puppet.server import PuppetServer
from improv.runner.estimate import (
    Range,
    UsageEstimate,
    UsageRow,
    cost_text,
    dollars,
    estimate,
    usage_table,
)
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.branch import planned_branches
from improv.study.design import with_replicates
from improv.study.loader import load
from improv.study.trial import plan
from tests.support.places import TOP

TWO = {"model": "large", "price": {"prompt": 2, "completion": 8, "cached": 0.5}}


def estimated(path: Path, patch: dict[str, Any] | None = None, **options: int) -> UsageEstimate:
    return estimate(plan(load(path, patch or {})), **options)


def actual(folder: RunFolder) -> dict[str, int]:
    rows = [r for r in folder.tables.read("trials").to_pylist() if r["origin"] == "main"]
    return {k: sum(r[k] for r in rows) for k in ("calls", "prompt_tokens", "completion_tokens")}


def every_row(usage: UsageEstimate) -> Iterator[UsageRow]:
    yield from (usage.total, *usage.models, *usage.conditions, *usage.roles)


@pytest.mark.parametrize("mode", ["chat", "script"])
def test_the_estimate_of_a_puppet_run_is_exact(study_file: Path, tmp_path: Path, mode: str) -> None:
    patch = {"model": {"model": "puppet", "mode": mode}}
    folder = run(load(study_file, patch), runs=tmp_path / "runs", setup=Setup(ray="off")).folder
    usage, real = estimated(study_file, patch), actual(folder)
    assert usage.trials == usage.played == real.pop("calls") / 7.5 == 12
    assert usage.total.calls == Range(90, 90, 90)  # six lines, and three author's turns in half
    assert usage.total.prompt.expected == real["prompt_tokens"]
    assert usage.total.completion.expected == real["completion_tokens"]
    assert "words" in usage.counting


def test_the_estimate_of_another_models_run_is_within_a_band(
    study_file: Path, tmp_path: Path, puppet_server: Callable[..., PuppetServer]
) -> None:
    # Nothing tells the estimate that a puppet answers there: it counts characters and guesses.
    patch = {"model": {"model": "stranger", "base_url": puppet_server().url}}
    folder = run(load(study_file, patch), runs=tmp_path / "runs", setup=Setup(ray="off")).folder
    usage, real = estimated(study_file, patch), actual(folder)
    assert usage.total.calls.expected == real["calls"]
    # The puppet counts words and marks, some seven in a hundred fewer than models' tokens, and
    # nothing for a message's role.
    assert real["prompt_tokens"] <= usage.total.prompt.expected <= 1.35 * real["prompt_tokens"]
    assert usage.total.prompt.high > 1.5 * real["prompt_tokens"]
    low, high = usage.total.completion.low, usage.total.completion.high
    assert low < real["completion_tokens"] < high
    assert "3.8 characters a token" in usage.counting


def test_the_sample_run_is_foretold_prompts_within_a_sixth_replies_within_a_third() -> None:
    from improv.storage.runs import open_run

    folder = open_run(TOP / "runs", "sample")
    usage, real = estimate(plan(folder.study())), actual(folder)
    assert usage.total.calls.expected == real["calls"]
    total = usage.total
    for name, guess, share in (("prompt", total.prompt, 6), ("completion", total.completion, 3)):
        assert guess.low < real[f"{name}_tokens"] < guess.high
        # How long a model's lines are nobody knows before it has spoken.
        assert guess.expected == pytest.approx(real[f"{name}_tokens"], rel=1 / share)
    rows = folder.tables.read("trials").to_pylist()
    cached = sum(r["cached_tokens"] for r in rows if r["origin"] == "main")
    assert usage.total.cached == pytest.approx(cached / real["prompt_tokens"], abs=0.05)


def test_each_model_reads_the_prompts_of_its_own_mode(kettle: Path) -> None:
    def prompts(**model: str) -> Range:
        return estimated(kettle, {"model": model}).total.prompt

    # By itself an embedded model plays from a script and a named one in chat, whose prompts have
    # an improviser's instructions and a name for every message. (Other lines are drawn each time.)
    def alike(one: Range, other: Range) -> bool:
        return one.expected == pytest.approx(other.expected, rel=0.04)

    script, chat = prompts(model="embedded"), prompts(model="stranger")
    assert alike(script, prompts(model="stranger", mode="script"))
    assert alike(chat, prompts(model="embedded", mode="chat"))
    assert chat.expected > 1.15 * script.expected


def test_lines_are_as_long_as_the_written_ones_and_at_most_as_their_model_may(kettle: Path) -> None:
    def lines(patch: dict[str, Any]) -> Range:
        usage = estimated(kettle, {"model": {"model": "m", "max_tokens": 50}, **patch})
        return next(r for r in usage.roles if r.name == "cast").completion

    talk = {"samples": ["The kettle, I am told, was my grandmother's before it was anybody's."]}
    short, long = lines({}), lines({"cast": {"Ana": talk, "Bo": talk, "Cy": talk}})
    assert 0 < long.low < short.expected < long.expected / 2 < long.high
    assert short.high == long.high == pytest.approx(6 * 50, abs=3)


def test_an_author_that_may_end_the_scene_makes_calls_a_range(kettle: Path) -> None:
    usage = estimated(kettle, {"model": "m", "author": {"may": ["note", "end"]}})
    # It is asked before turns 1, 3 and 5, and at 5 it may end what has half been played.
    assert usage.total.calls == Range(4 + 3, 6 + 3, 6 + 3)
    notes = next(r for r in usage.roles if r.name == "author").completion
    assert notes.low < notes.expected < notes.high <= 3 * 200
    assert notes.high == pytest.approx(3 * 200, rel=0.02)


TEA = """\
title: Tea
premise: Water.
cast: [{name: Ana, role: waits}]
turns: 2
model:
  model: puppet
  mode: script
  max_tokens: 20
  puppet: {alpha: 0, pole: ["Yes."]}
"""


def test_a_price_by_hand(tmp_path: Path) -> None:
    tea = tmp_path / "tea.yaml"
    tea.write_text(TEA)

    def bill(**price: float) -> UsageRow:
        return estimated(tea, {"model": {"price": {k: v * 1e6 for k, v in price.items()}}}).total

    row = bill(prompt=1, completion=10, cached=0.1)
    # TEA / a scene / Water. / The cast / ANA, waits / * * * / ANA: and then once more, with
    # ANA: Yes. / in place of the last two, which were all read before.
    first = 1 + 2 + 2 + 2 + 3 + 3 + 2
    second = first - 2 + 4 + 2
    assert row.prompt.expected == first + second
    assert row.completion.expected == 2 + 2
    assert row.cached == pytest.approx(first / (first + second))
    assert row.cost is not None
    assert row.cost.expected == pytest.approx((second) + 0.1 * first + 10 * 4)
    # The dearest case leans on no cache; nor does one whose price does not tell.
    assert row.cost.high == pytest.approx(row.prompt.high + 10 * row.completion.high)
    assert row.completion.high == 2 * 20
    plain = bill(prompt=1, completion=10).cost
    assert plain is not None and plain.expected == pytest.approx(first + second + 10 * 4)


def test_what_has_no_price_is_unknown_and_never_nothing(kettle: Path) -> None:
    for model in ("embedded", "puppet", "stranger"):
        usage = estimated(kettle, {"model": model})
        assert all(row.cost is None and row.known is None for row in every_row(usage))
        assert {row[-1] for row in usage_table(usage)[1:]} == {"unknown"}
        assert not any("$" in cell for row in usage_table(usage) for cell in row)


def test_what_is_known_is_named_beside_what_is_not(kettle: Path) -> None:
    usage = estimated(kettle, {"model": TWO, "cast": {"Bo": {"model": "local.gguf"}}})
    by_name = {row.name: row for row in usage.models}
    large, total = by_name["large"], usage.total
    assert total.cost is None and total.known == large.cost is not None
    assert by_name["local.gguf"].cost is None
    assert total.unpriced == ("local.gguf",)
    assert total.known and 0 < total.known.low < 0.01
    assert cost_text(total).startswith("at least $0.00")
    assert cost_text(total).endswith(", plus unknown for local.gguf")
    assert large.calls.expected + by_name["local.gguf"].calls.expected == total.calls.expected


def test_a_free_model_has_a_price_and_a_cheap_one_is_not_free(kettle: Path) -> None:
    free = {"model": "m", "price": {"prompt": 0, "completion": 0}}
    assert cost_text(estimated(kettle, {"model": free}).total) == "$0.00"
    assert [dollars(x) for x in (0.00042, 0.0051, 1e-7)] == ["$0.00042", "$0.0051", "$0.00000010"]
    assert [dollars(x) for x in (0.5, 12.345, 4321.9)] == ["$0.50", "$12.35", "$4,322"]


def test_models_of_one_name_are_told_apart(kettle: Path) -> None:
    other = {"model": {**TWO, "base_url": "http://other.example/v1"}}
    usage = estimated(kettle, {"model": TWO, "cast": {"Bo": other}})
    assert [r.name for r in usage.models] == ["large", "large at http://other.example/v1"]


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"order": "addressed", "turns": 12},
        {"order": "author-cued", "author": {"may": ["note", "cue", "end"], "every": 1}},
        {"author": {"may": ["move"], "moves": {"dream": "It was a dream."}, "when": "during"}},
        {"model": {"model": "large", "max_tokens": 700}, "turns": 8},
        {"model": {"model": "puppet", "puppet": {"mute": 0.3, "garble": 0.3}}},
        {"model": {"model": "puppet", "puppet": {"latency": 600}}},
    ],
)
def test_high_is_never_below_expected_nor_that_below_low(
    study_file: Path, patch: dict[str, Any]
) -> None:
    mixed = {"model": TWO, "cast": {"Bo": {"model": {**TWO, "model": "small", "max_tokens": 9}}}}
    for row in every_row(estimated(study_file, {**mixed, **patch})):
        for each in (row.calls, row.prompt, row.completion, row.cost or row.known):
            assert each is None or 0 <= each.low <= each.expected <= each.high
        assert row.calls.low > 0 and row.completion.low > 0
        assert 0 <= row.cached < 1


def test_a_balanced_part_is_played_and_scaled(study_file: Path) -> None:
    study = with_replicates(load(study_file, {"model": TWO}), 25)
    trials = plan(study)
    whole, part = estimate(trials), estimate(trials, at_most=9)
    assert (whole.trials, whole.played) == (100, 100)
    assert (part.trials, part.played) == (100, 8)  # two of each of the four conditions
    for row, full in zip(every_row(part), every_row(whole), strict=True):
        assert row.name == full.name
        assert row.calls == full.calls
        assert row.prompt.expected == pytest.approx(full.prompt.expected, rel=0.03)
        assert row.cost and full.cost
        assert row.cost.expected == pytest.approx(full.cost.expected, rel=0.03)
    assert estimate(trials, at_most=9) == part
    assert estimate(trials, at_most=1).played == 4
    # A plan cut short is scaled by what is left of each condition.
    assert estimate(trials[:41], at_most=8).total.calls == estimate(trials[:41]).total.calls


GROWN = """\
branches:
  - name: crossroads
    at: [2, 4]
    arms: {as it was: {}, silent: {scene: {author: {live: false}}}}
    draws: 3
regenerations: [{at: [1], draws: 5}]
probes: [{name: boiling, of: Ana, ask: "Does it boil?", at: every, draws: 2}]
"""


def test_branches_regenerations_and_probes_are_counted(study_file: Path) -> None:
    plainly = estimated(study_file, {"model": TWO})
    study_file.write_text(study_file.read_text() + GROWN)
    study = load(study_file, {"model": TWO})
    usage = estimate(plan(study), branches=lambda trial: planned_branches(study, trial))
    calls = {row.name: row.calls.expected for row in usage.roles}
    assert calls["cast"] == 12 * 6 and calls["author"] == 6 * 3
    # Of six turns four are left after turn 2 and two after turn 4; a live author, in half of the
    # trials and one arm, is asked before turns 3 and 5.
    assert calls["branches"] == 12 * 2 * 3 * (4 + 2) + 6 * 3 * (2 + 1)
    assert calls["regenerations"] == 12 * 5
    assert calls["probes"] == 12 * 7 * 2  # after the opening, and after each turn
    assert usage.total.calls.expected == sum(calls.values())
    assert usage.total.cached > plainly.total.cached
    assert usage.total.cost and plainly.total.cost
    assert usage.total.cost.expected > plainly.total.cost.expected
    part = estimate(plan(study), branches=lambda trial: planned_branches(study, trial), at_most=4)
    assert part.total.calls == usage.total.calls


def test_a_scene_of_many_turns_counts_as_several(kettle: Path) -> None:
    trials = plan(with_replicates(load(kettle, {"turns": 100, "author": {"live": False}}), 6))
    usage = estimate(trials, at_most=6)
    assert usage.played == 2
    assert usage.total.calls.expected == 600


def test_a_thousand_trials_take_seconds() -> None:
    study = with_replicates(load("demo", {"model": TWO}), 250)
    began = time.process_time()
    usage = estimate(plan(study))
    assert time.process_time() - began < 10
    assert (usage.trials, usage.played) == (1000, 120)


def test_the_table_reads_well(study_file: Path) -> None:
    usage = estimated(study_file, {"model": TWO})
    head, *rows = usage_table(usage)
    assert [row[0] for row in rows] == [
        "large",
        *(c.name for c in usage.conditions),
        "cast",
        "author",
        "total",
    ]
    assert all(len(row) == len(head) for row in rows)
    calls, prompts, replies, cached, price = rows[-1][1:]
    assert calls == "90"
    assert prompts.count(" / ") == replies.count(" / ") == 2
    assert cached.endswith("%") and price.startswith("$") and " – $" in price


def test_nothing_is_written_and_no_address_is_called(study_file: Path) -> None:
    study = load(study_file, {"model": {"model": "gpt-4.1-mini"}})
    here, watching, seen = threading.get_ident(), True, []
    calls = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system")
    changes = ("os.mkdir", "os.rename", "os.remove", "os.truncate", "tempfile.", "shutil.")

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if watching and threading.get_ident() == here:
            writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or event in calls or event.startswith(changes):
                seen.append((event, args))

    sys.addaudithook(watch)  # for good, hence the switch
    try:
        usage = estimate(plan(study))
    finally:
        watching = False
    assert usage.total.calls.expected == 90
    assert seen == []
