"""Budgets: what a run may spend over all its sessions, and by how much it may exceed that."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from improv.errors import EndpointError, RunError
from improv.models import budget
from improv.models.budget import (
    HOST_TIMEOUT,
    LEASED_CALLS,
    Allowance,
    Budget,
    Purse,
    PurseKeeper,
    Spent,
    call_cost,
)
from improv.models.puppet.server import PuppetServer
from improv.records import Call, Draw
from improv.runner.launch import resume, run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.model_spec import Price
from improv.study.trial import plan
from tests.support.call import made_call
from tests.support.weather import SCENE, command

Serve = Callable[..., PuppetServer]


def call(prompt: int | None = 100, completion: int | None = 10, cached: int | None = None) -> Call:
    draw = Draw("t", "main", 1, "Bo", "line")
    return made_call(draw, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


# --- the purse alone


def test_a_price_counts_what_was_cached_at_its_own_price() -> None:
    price = Price(prompt=2.0, completion=8.0, cached=0.5)
    assert call_cost(call(1000, 100, 600), price) == pytest.approx(
        (400 * 2.0 + 600 * 0.5 + 100 * 8.0) / 1e6
    )
    dear = Price(prompt=2.0, completion=8.0)
    assert call_cost(call(1000, 100, 600), dear) == pytest.approx((1000 * 2.0 + 800) / 1e6)
    # A broken endpoint may count more cached tokens than prompt tokens; the cost stays positive.
    assert call_cost(call(10, 0, 600), price) == pytest.approx(10 * 0.5 / 1e6)
    assert call_cost(call(None, None), price) == 0.0


def test_a_purse_lets_one_call_through_to_learn_what_calls_cost() -> None:
    for limits in (Budget(tokens=1000), Budget(cost=0.1)):
        purse = Purse(limits, Spent())
        assert purse.lease("a", Spent(), LEASED_CALLS, 0.0) == (1, "")
        assert purse.lease("b", Spent(), LEASED_CALLS, 0.0) == (0, "")
        # Nine calls are left at 100 tokens, or a cent, each; a host gets half of an even share.
        assert purse.lease("a", Spent(1, 100, 0.01), LEASED_CALLS, 0.0) == (3, "")
        assert purse.lease("b", Spent(), LEASED_CALLS, 0.0) == (2, "")


def test_what_has_become_dearer_is_dearer_from_now_on() -> None:
    """A scene's prompts grow, so the mean cost of all calls would let too many through."""
    purse = Purse(Budget(tokens=1000, cost=1.0), Spent(9, 500, 0.09))
    assert purse.lease("a", Spent(1, 100, 0.02), LEASED_CALLS, 0.0) == (2, "")


def test_a_reached_budget_says_so_for_good() -> None:
    purse = Purse(Budget(calls=3), Spent(calls=1))
    assert purse.lease("a", Spent(), LEASED_CALLS, 0.0) == (1, "")
    assert purse.lease("a", Spent(), LEASED_CALLS, 0.0) == (1, "")
    granted, why = purse.lease("a", Spent(calls=2), LEASED_CALLS, 0.0)
    assert (granted, why) == (0, "3 calls were made of at most 3")
    assert Budget(tokens=5).reached(Spent(1, 7)) == "7 tokens were used of at most 5"
    assert Budget(cost=0.5).reached(Spent(1, 7, 0.6)) == "$0.6000 were spent of at most $0.5000"
    assert Budget(cost=0.0).reached(Spent()) and not Budget().reached(Spent(10, 10, 10.0))


def test_what_a_host_does_not_use_goes_to_others() -> None:
    purse = Purse(Budget(calls=20), Spent())
    assert purse.lease("idle", Spent(), LEASED_CALLS, 0.0)[0] == 10
    got = 0
    while granted := purse.lease("busy", Spent(), LEASED_CALLS, 0.0)[0]:
        got += granted
    assert got == 10
    assert purse.lease("busy", Spent(calls=10), LEASED_CALLS, 1.0) == (0, "")
    purse.lease("idle", Spent(calls=1), -9, 2.0)
    assert purse.lease("busy", Spent(), LEASED_CALLS, 3.0)[0] > 0


def test_a_dead_host_keeps_nothing() -> None:
    purse = Purse(Budget(calls=2), Spent(calls=1))
    assert purse.lease("dead", Spent(), LEASED_CALLS, 0.0) == (1, "")
    assert purse.lease("alive", Spent(), LEASED_CALLS, HOST_TIMEOUT / 2) == (0, "")
    assert purse.lease("alive", Spent(), LEASED_CALLS, HOST_TIMEOUT + 1) == (1, "")


@pytest.mark.parametrize("seed", range(20))
def test_calls_are_never_overshot_and_tokens_by_what_was_in_flight(seed: int) -> None:
    """Hosts take, spend, fail and report in any order, until the purse has stopped them all."""
    dice = random.Random(seed)
    limits = Budget(calls=dice.choice([None, 1, 50, 333]), tokens=dice.choice([500, 9000, 40_000]))
    purse = Purse(limits, Spent())
    hosts = [str(i) for i in range(dice.choice([1, 2, 7]))]
    left = dict.fromkeys(hosts, 0)
    flying = dict.fromkeys(hosts, 0)
    used = dict.fromkeys(hosts, Spent())
    over: dict[str, str] = {}
    made = tokens = most_flying = 0
    for step in range(20_000):
        host = dice.choice(hosts)
        if flying[host] and (dice.random() < 0.5 or host in over):
            flying[host] -= 1
            if dice.random() < 0.1:
                left[host] += 1  # it failed, and cost nothing
                continue
            size = dice.randrange(20, 200)
            made, tokens = made + 1, tokens + size
            used[host] += Spent(1, size)
        elif left[host] and host not in over:
            left[host] -= 1
            flying[host] += 1
            most_flying = max(most_flying, sum(flying.values()))
        elif host not in over:
            granted, why = purse.lease(host, used[host], LEASED_CALLS, step / 1000)
            used[host] = Spent()
            left[host] += granted
            if why:
                over[host] = why
        if len(over) == len(hosts) and not any(flying.values()):
            break
    assert len(over) == len(hosts), "a host was neither granted calls nor stopped"
    assert limits.calls is None or made <= limits.calls
    assert limits.tokens is not None and tokens <= limits.tokens + 200 * most_flying


def test_an_allowance_waits_for_others_and_takes_back_what_failed() -> None:
    async def go() -> int:
        keeper = PurseKeeper(Budget(calls=3), Spent())
        one, other = (Allowance(name, keeper.lease) for name in ("one", "other"))
        for _ in range(3):
            await one.take()
        waiting = asyncio.create_task(other.take())
        await asyncio.sleep(0.2)
        assert not waiting.done(), "all three calls are in flight, none is known to be spent"
        one.give_back()
        one.spend(Spent(1, 10))
        await one.report()
        await asyncio.wait_for(waiting, 60)
        one.spend(Spent(1, 10))
        other.spend(Spent(1, 10))
        await one.report()
        with pytest.raises(EndpointError, match="3 calls were made of at most 3"):
            await asyncio.wait_for(other.take(), 60)
        return (await keeper.spent()).tokens

    assert asyncio.run(go()) == 30


def test_a_host_with_nothing_to_play_does_not_hold_up_the_others() -> None:
    async def go() -> None:
        keeper = PurseKeeper(Budget(calls=20), Spent())
        idle, busy = (Allowance(name, keeper.lease) for name in ("idle", "busy"))
        await idle.take()  # and so leases ten
        idle.spend(Spent(1, 1))
        for _ in range(10):
            await busy.take()
            busy.spend(Spent(1, 1))
        waiting = asyncio.create_task(busy.take())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await idle.report()
        await asyncio.wait_for(waiting, 60)

    asyncio.run(go())


# --- through a run


def chairs(folder: Path, url: str, replicates: int = 20, **model: Any) -> Path:
    (folder / "chairs.yaml").write_text(SCENE.replace("turns: 2", "turns: 6"))
    file = folder / "study.yaml"
    spec = {"model": "puppet", "base_url": url} | model
    study = {"study": "chairs", "scenes": ["chairs.yaml"], "set": {"model": spec}}
    file.write_text(json.dumps(study | {"replicates": replicates}))
    return file


def spent(folder: RunFolder) -> Spent:
    """Return the cost of a run's calls, from its tables and journal."""
    calls = {
        c.draw: c
        for c in [*folder.transcripts.all_calls(), *folder.journaled().calls()]
        if not c.error
    }
    price = plan(folder.study())[0].scene.model.price
    return sum((budget.call_spending(c, price) for c in calls.values()), Spent())


HOUSES = [
    pytest.param(Setup(ray="off"), id="off"),
    pytest.param(Setup(ray="off", hosts=3, stages=2), id="off-3-hosts"),
    pytest.param(Setup(hosts=2, stages=4), id="ray", marks=pytest.mark.ray),
]


@pytest.mark.parametrize("setup", HOUSES)
def test_calls_stop_at_the_budget_and_go_on_with_a_larger_one(
    setup: Setup, puppet_server: Serve, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if setup.ray != "off":
        request.getfixturevalue("local_ray")
    server = puppet_server(latency=0.02)
    file = chairs(tmp_path, server.url, 20)

    def within(calls: int | None) -> Setup:
        return dataclasses.replace(setup, budget=Budget(calls=calls))

    first = run(load(file), runs=tmp_path / "r", setup=within(50))
    assert (first.kind, first.exit_code, first.failed) == ("budget", 4, 0)
    assert first.stopped == "50 calls were made of at most 50" and first.owed > 0
    assert server.answered == 50 == spent(first.folder).calls
    if setup.ray == "off":
        same = resume(first.folder, setup=within(50))
        assert (same.exit_code, same.owed, server.answered) == (4, first.owed, 50)
        more = resume(first.folder, setup=within(70))
        assert (more.exit_code, server.answered) == (4, 70)
    last = resume(first.folder, setup=Setup(ray="off"))
    assert (last.exit_code, last.done, last.owed) == (0, 20, 0)
    assert server.answered == 120 and max(server.asked.values()) == 1


@pytest.mark.parametrize("setup", HOUSES)
def test_tokens_and_dollars_are_overshot_by_no_more_than_was_in_flight(
    setup: Setup, puppet_server: Serve, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if setup.ray != "off":
        request.getfixturevalue("local_ray")
    server = puppet_server(latency=0.02)
    price = {"prompt": 2.0, "completion": 8.0, "cached": 0.5}
    file = chairs(tmp_path, server.url, 20, price=price)
    on_ray = setup.ray != "off"
    for number, limits in enumerate((Budget(tokens=3000), Budget(cost=0.004))[on_ray:]):
        within = dataclasses.replace(setup, budget=limits)
        server.peak = 0
        result = run(load(file), runs=tmp_path / str(number), setup=within)
        assert (result.kind, result.exit_code, result.failed) == ("budget", 4, 0)
        used = spent(result.folder)
        calls = [c for c in result.folder.journaled().calls() if not c.error]
        largest = max(budget.call_spending(c, Price.model_validate(price)).tokens for c in calls)
        dearest = max(call_cost(c, Price.model_validate(price)) for c in calls)
        if limits.tokens is not None:
            over, bound = used.tokens - limits.tokens, 3 * largest
        else:
            assert limits.cost is not None
            over, bound = used.cost - limits.cost, 3 * dearest
        assert 0 <= over <= bound
        assert result.stopped.endswith(("of at most 3,000", "of at most $0.0040"))
        if on_ray:
            return  # each session costs seconds there
        larger = dataclasses.replace(setup, budget=Budget(tokens=10**9, cost=100.0))
        again = resume(result.folder, setup=larger)
        assert (again.exit_code, again.done) == (0, 20)
        assert any(c.cached_tokens for c in again.folder.transcripts.all_calls()), (
            "no cached price was tried"
        )


def test_a_budget_that_is_enough_is_not_reached(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url, 5)
    setup = Setup(ray="off", hosts=2, budget=Budget(calls=30, tokens=10**6))
    result = run(load(file), runs=tmp_path / "r", setup=setup)
    assert (result.exit_code, result.done, result.stopped) == (0, 5, "")
    assert server.answered == 30


def test_calls_that_failed_are_not_counted_and_those_retried_once(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server(errors={"400": 0.1, "500": 0.1})
    file = chairs(tmp_path, server.url, 20)
    result = run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", budget=Budget(calls=40)))
    assert result.exit_code == 4 and server.answered == 40
    assert server.failed["400"] and server.failed["500"]


def test_dollars_spent_on_what_is_over_count_in_the_next_session(
    puppet_server: Serve, tmp_path: Path
) -> None:
    """The remaining trials play another model than the trials that spent the money."""
    dear, cheap = puppet_server(), puppet_server(errors={"401": 1.0})
    (tmp_path / "chairs.yaml").write_text(SCENE)
    price = {"prompt": 10.0, "completion": 10.0}
    levels = {
        name: {"model": {"model": "puppet", "base_url": s.url, "price": price}}
        for name, s in (("dear", dear), ("cheap", cheap))
    }
    levels["dear"]["model"]["model"] = "dear"
    levels["dear"]["model"]["puppet"] = {}
    study = {"study": "two", "scenes": ["chairs.yaml"], "factors": {"model": levels}}
    for seed in range(50):
        (tmp_path / "study.yaml").write_text(json.dumps(study | {"seed": seed}))
        loaded = load(tmp_path / "study.yaml")
        if plan(loaded)[0].condition == "dear":
            break
    first = run(loaded, runs=tmp_path / "r", setup=Setup(ray="off", stages=1))
    assert (first.kind, first.done, first.owed) == ("key", 1, 1)
    paid = sum(
        call_cost(c, Price.model_validate(price)) for c in first.folder.transcripts.all_calls()
    )
    assert paid > 0
    cheap.spec = cheap.spec.model_copy(update={"errors": {}})
    asked = cheap.requests
    setup = Setup(ray="off", budget=Budget(cost=paid * 0.99))
    again = resume(first.folder, setup=setup)
    assert (again.exit_code, again.owed, cheap.requests) == (4, 1, asked)
    assert f"${paid:,.4f} were spent" in again.stopped


def test_dollars_without_a_price_are_refused_before_anything_is_made(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url)
    with pytest.raises(RunError, match="needs the price of puppet: say --price IN,OUT"):
        run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", budget=Budget(cost=1.0)))
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off")
    result = command("run", str(file), *runs, "--max-cost", "1", code=2)
    assert "or set --max-tokens instead" in result.output
    assert not (tmp_path / "r").exists() and server.requests == 0


def test_a_branch_that_plays_an_unpriced_model_needs_a_price_too(
    puppet_server: Serve, tmp_path: Path
) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url, 1, price={"prompt": 1, "completion": 1})
    study = json.loads(file.read_text())
    edit = {"scene": {"model": {"model": "other", "base_url": server.url, "price": None}}}
    study["branches"] = [{"name": "b", "at": [1], "arms": {"as it was": {}, "other": edit}}]
    file.write_text(json.dumps(study))
    with pytest.raises(RunError, match="needs the price of other"):
        run(load(file), runs=tmp_path / "r", setup=Setup(ray="off", budget=Budget(cost=1.0)))


def test_the_command_stops_says_why_and_how_to_go_on(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server()
    file = chairs(tmp_path, server.url, 5)
    runs = ("--runs", str(tmp_path / "some runs"), "--ray", "off")
    result = command("run", str(file), "--name", "one", *runs, "--max-calls", "10", code=4)
    assert "stopped: 10 calls were made of at most 10" in result.output
    # The command in the hint must have a limit, and must work when it is copied to a shell.
    hint = f"improv resume one --runs '{tmp_path}/some runs' --max-calls MORE\n"
    assert hint in result.output
    assert command("resume", "one", *runs, "--max-tokens", "1", code=4)
    assert server.answered == 10
    assert command("resume", "one", *runs, "--max-calls", "1000").exit_code == 0
    assert server.answered == 30
    for wrong in (("--max-cost", "nan"), ("--max-cost", "inf"), ("--fail-on-error", "nan")):
        assert "Invalid value" in command("run", str(file), *runs, *wrong, code=2).output
    assert command("run", str(file), *runs, "--max-calls", "0", code=2)


# --- a hopeless run


def test_a_hopeless_run_is_stopped(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server(errors={"400": 0.25})  # four of five trials of six calls fail
    file = chairs(tmp_path, server.url, 200)
    runs = ("--runs", str(tmp_path / "r"), "--ray", "off", "--stages", "4")
    result = command("run", str(file), *runs, "--fail-on-error", "0.5", code=1)
    assert "trials failed, more than was allowed" in result.output and "still owed" in result.output
    rows = open_run(tmp_path / "r", "last").tables.read("trials").to_pylist()
    assert 20 <= len(rows) < 80, "the run is stopped neither too early nor too late"
    server.spec = server.spec.model_copy(update={"errors": {}})
    assert "still owed" not in command("resume", *runs, code=1).output
    assert len(open_run(tmp_path / "r", "last").tables.read("trials")) == 200


def test_a_run_with_some_failures_goes_on(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server(errors={"400": 0.02})
    file = chairs(tmp_path, server.url, 60)
    setup = Setup(ray="off", fail_on_error=0.5)
    result = run(load(file), runs=tmp_path / "r", setup=setup)
    assert (result.owed, result.stopped, result.exit_code) == (0, "", 1)
    assert 0 < result.failed < 30


def test_not_one_failure_may_be_asked_for(puppet_server: Serve, tmp_path: Path) -> None:
    server = puppet_server(errors={"400": 1.0})
    file = chairs(tmp_path, server.url, 30)
    setup = Setup(ray="off", stages=2, fail_on_error=0.0)
    result = run(load(file), runs=tmp_path / "r", setup=setup)
    assert 1 <= result.failed <= 2 and result.owed >= 28 and server.requests <= 4
