"""The limit on one endpoint: refusals move it, latency never does."""

from __future__ import annotations

import itertools
import random

import pytest

from improv.models.rate_limiter import Limiter
from improv.models.shares import shares
from improv.models.tally import Tally
from tests.support.limiter import Endpoint, play


@pytest.mark.parametrize(
    ("rate", "latency", "burst", "retry_after"),
    [
        (100, 0.1, 1.0, None),  # ten in flight are enough, a twenty-fifth of the maximum
        (100, 0.1, 1.0, 1.0),
        (100, 1.0, 0.3, 1.0),
        (20, 1.0, 1.0, 2.0),
        (200, 0.05, 0.1, 0.5),
        (10, 0.2, 1.0, 2.0),  # two
        (150, 1.0, 1.0, None),
    ],
)
def test_a_rate_cap_is_found_and_held(
    rate: float, latency: float, burst: float, retry_after: float | None
) -> None:
    endpoint = Endpoint(latency, rate=rate, burst=burst, retry_after=retry_after)
    played = play(endpoint, 90)
    assert played.rate(45) > 0.85 * rate
    assert played.refused(45) < (0.05 if rate * latency > 3 else 0.15)
    assert played.rate(0, 20) > 0.5 * rate


@pytest.mark.parametrize(("rate", "latency"), [(20, 1.0), (150, 1.0), (100, 0.2)])
def test_an_endpoint_that_somebody_else_drained_is_found_all_the_same(
    rate: float, latency: float
) -> None:
    endpoint = Endpoint(latency, rate=rate, retry_after=1.0, left=0)
    played = play(endpoint, 150)
    assert played.rate(90) > 0.85 * rate
    assert played.refused(90) < 0.06


def test_an_endpoint_without_a_cap_is_used_in_full_within_seconds() -> None:
    played = play(Endpoint(0.5), 10)
    assert [m.limit for m in played.history if m.event == "grow"] == [16, 32, 64, 128, 256]
    assert played.seconds[4].limit == 256
    assert max(m.in_flight for m in played.history) == 256


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("most", [64, 200])
def test_refusals_that_no_cut_cures_do_not_hold_the_limit_down(most: int, seed: int) -> None:
    # At any load, three tenths are refused and a sixth fails otherwise.
    chances = {"429": 0.3, "500": 0.1, "garbage": 0.05, "hang": 0.02}
    endpoint = Endpoint(0.5, chances=chances, dice=random.Random(seed))
    played = play(endpoint, 50, most=most, scenes=4 * most)
    assert played.limit(35) > 0.8 * most


@pytest.mark.parametrize("share", [0.02, 0.1, 0.45])
def test_smaller_and_larger_backgrounds_are_seen_through_too(share: float) -> None:
    chances = {"429": share}
    played = play(Endpoint(0.5, chances=chances, dice=random.Random(3)), 70, most=128)
    assert played.limit(50) > 0.7 * 128


def test_a_cap_behind_a_background_of_refusals_is_found_all_the_same() -> None:
    endpoint = Endpoint(0.2, slots=60, chances={"429": 0.2}, retry_after=0.5)
    played = play(endpoint, 90)
    assert 30 < played.limit(30) < 90
    assert played.rate(30) > 0.7 * 60 * 0.8 / 0.2 / 1.25
    assert "restore" in played.events


def test_capacity_that_drops_and_comes_back_is_followed() -> None:
    endpoint = Endpoint(0.5, rate=100, retry_after=1.0)

    def drop() -> None:
        endpoint.rate = 20

    def recover() -> None:
        endpoint.rate = 100

    played = play(endpoint, 240, then={60: drop, 150: recover})
    assert played.rate(30, 60) > 85
    assert 17 < played.rate(90, 150) < 21
    assert played.seconds[145].limit < 15
    assert played.rate(210) > 85


def test_twice_the_latency_is_half_the_speed_and_nothing_else() -> None:
    quick, slow = (
        play(Endpoint(latency, slots=40), int(300 * latency), most=200, hosts=1)
        for latency in (0.2, 0.4)
    )
    assert quick.limit(30) == pytest.approx(slow.limit(60), rel=0.1)
    assert quick.rate(30) == pytest.approx(2 * slow.rate(60), rel=0.1)
    cuts = [sum(m.event == "cut" for m in p.history) for p in (quick, slow)]
    assert cuts[0] == pytest.approx(cuts[1], abs=4)


def test_an_endpoint_that_slows_down_is_not_cut() -> None:
    endpoint = Endpoint(0.2)

    def slow_down() -> None:
        endpoint.latency = 4.0

    played = play(endpoint, 60, most=100, then={10: slow_down})
    assert not played.events["cut"]
    assert played.limit(10) == 100


def test_the_same_endpoint_makes_the_same_history() -> None:
    one, other = (play(Endpoint(0.2, rate=50, retry_after=1.0), 20).history for _ in range(2))
    assert one == other


class Rounds:
    """One host that always has enough requests, in rounds of a whole window."""

    def __init__(self, most: int = 1000) -> None:
        self.limiter = Limiter(most)
        self.now = 0.0
        self.send(0)

    def send(self, ok: int, limited: int = 0, errors: int = 0) -> str:
        """Report one round and return its events."""
        self.now += 1
        limiter = self.limiter
        limiter.report("host", Tally(ok, limited, errors), limiter.limit, 5000, self.now)
        return " ".join(m.event for m in limiter.history())

    def grow_to(self, limit: int) -> None:
        while self.limiter.limit < limit:
            assert self.send(self.limiter.limit) == "grow"


def test_a_burst_of_refusals_cuts_once_to_what_was_let_through() -> None:
    rounds = Rounds()
    rounds.grow_to(64)
    assert rounds.send(45, limited=19) == "cut"
    assert rounds.limiter.limit == 45
    # The replies in flight at the cut come back, all refused. They decide nothing.
    assert rounds.send(0, limited=30) == ""
    assert rounds.send(0, limited=34) == ""
    assert rounds.limiter.limit == 45
    # Replies to later requests count again, and here they are clean.
    assert rounds.send(45) == "late grow"
    assert rounds.limiter.limit == 47


def test_after_a_cut_growth_is_by_a_constant_step() -> None:
    rounds = Rounds()
    rounds.grow_to(64)
    rounds.send(45, limited=19)
    rounds.send(45)
    limits = []
    while rounds.limiter.limit < 79:
        rounds.send(rounds.limiter.limit)
        limits.append(rounds.limiter.limit)
    assert {b - a for a, b in itertools.pairwise(limits)} == {2}
    # At a quarter above the level of the cut, the limiter forgets that level.
    rounds.send(79)
    assert rounds.send(81) == "grow"
    assert rounds.limiter.limit == 162


def test_near_a_level_that_was_cut_twice_growth_takes_its_time() -> None:
    rounds = Rounds()
    rounds.grow_to(64)
    rounds.send(45, limited=19)
    rounds.send(45)
    for _ in range(12):
        rounds.send(rounds.limiter.limit)
    assert rounds.limiter.limit == 67
    # All steps except the last went well, so the limit nearly returns to it.
    assert rounds.send(34, limited=33) == "cut"
    assert rounds.limiter.limit == 58
    rounds.send(67)
    events = [rounds.send(rounds.limiter.limit).split()[-1] for _ in range(15)]
    assert 2 <= events.count("grow") <= 4


def test_refusals_that_go_on_below_every_cut_are_tolerated_until_they_must_prove_themselves() -> (
    None
):
    rounds = Rounds(64)

    def until(event: str) -> list[str]:
        """Refuse three tenths, round by round, until there is an event."""
        events: list[str] = []
        while event not in events:
            assert len(events) < 700
            events += rounds.send(14, limited=6).split()
        return [e for e in events if e != "late"]

    assert until("restore") == ["cut"] * 3 + ["restore"]
    assert rounds.limiter.limit == 8
    assert "cut" not in until("grow")
    while rounds.limiter.limit < 64:
        assert "cut" not in until("grow")
    windows = until("cut")
    assert 200 < len(windows) < 300
    assert "grow" not in until("restore")
    assert rounds.limiter.limit == 64
    # A 429 comes back sooner than a reply, so the first results after such a leap decide nothing.
    assert rounds.send(0, limited=64) == ""


def test_a_slot_is_not_given_up_for_a_refusal_in_eight() -> None:
    rounds = Rounds(2)
    assert rounds.send(88, limited=12) == "hold"
    assert rounds.send(60, limited=40) == "cut"


def test_a_burst_of_5xx_pauses_growth_and_cuts_nothing() -> None:
    rounds = Rounds()
    rounds.grow_to(64)
    assert rounds.send(40, errors=24) == "hold"
    assert [rounds.send(0, errors=64) for _ in range(3)] == ["hold"] * 3
    assert rounds.limiter.limit == 64
    assert rounds.send(64) == "grow"


def test_errors_that_are_usual_pause_nothing() -> None:
    rounds = Rounds()
    events = []
    for _ in range(7):
        limit = rounds.limiter.limit
        errors = round(0.17 * limit)
        events.append(rounds.send(limit - errors, errors=errors))
    assert events.count("grow") >= 6
    # More errors than usual hold the limit.
    limit = rounds.limiter.limit
    assert rounds.send(limit // 2, errors=limit - limit // 2) == "hold"


def test_an_endpoint_that_only_fails_is_never_sent_more() -> None:
    rounds = Rounds()
    rounds.grow_to(32)
    assert {rounds.send(0, errors=32) for _ in range(300)} == {"hold"}


def test_a_limit_that_nobody_reaches_does_not_grow() -> None:
    limiter = Limiter(100)
    for second in range(20):
        limiter.report("host", Tally(ok=30), 3, 0, second)
    assert limiter.limit == 8


def test_the_limit_stays_within_its_bounds_whatever_is_reported() -> None:
    dice = random.Random(0)
    for most in (1, 3, 8, 50, 700):
        limiter = Limiter(most)
        for step in range(3000):
            counts = [dice.choice((0, 0, 1, 9, 90)) for _ in range(3)]
            host = f"host {dice.randrange(4)}"
            allowed = limiter.report(
                host, Tally(*counts), dice.randrange(90), dice.randrange(90), step / 9
            )
            assert 1 <= limiter.limit <= most
            assert 0 <= allowed <= limiter.limit
    with pytest.raises(ValueError, match="needs a limit of at least 1"):
        Limiter(0)


def test_history_counts_every_reply_of_its_windows() -> None:
    endpoint = Endpoint(0.1, rate=100, chances={"500": 0.1})
    history = play(endpoint, 30).history
    assert history[0].event == "start" and history[0].limit == 8
    assert sum(m.ok for m in history) == pytest.approx(endpoint.answered, rel=0.02)
    assert sum(m.limited for m in history) == pytest.approx(endpoint.refused, rel=0.02)
    assert all(a.at <= b.at for a, b in itertools.pairwise(history))
    assert {m.hosts for m in history[2:]} == {2}


def test_shares_go_by_demand_and_sum_to_the_limit() -> None:
    assert shares(10, {"a": 30, "b": 10, "c": 10}) == {"a": 6, "b": 2, "c": 2}
    assert shares(10, {"a": 1000, "b": 1}) == {"a": 9, "b": 1}
    assert shares(100, {"a": 12, "b": 4}) == {"a": 54, "b": 46}
    assert shares(8, {"a": 50, "idle": 0}) == {"a": 7, "idle": 1}
    assert shares(8, {"a": 0, "b": 0}) == {"a": 4, "b": 4}
    assert shares(2, {"a": 5, "b": 5, "c": 5}) == {"a": 1, "b": 1, "c": 0}
    dice = random.Random(2)
    for _ in range(500):
        limit = dice.randint(1, 60)
        demand = {str(i): dice.choice((0, 1, 7, 300)) for i in range(dice.randint(1, 12))}
        slots = shares(limit, demand)
        busy = [h for h, wanted in demand.items() if wanted]
        assert sum(slots.values()) == limit and min(slots.values()) >= 0
        assert limit < len(busy) or all(slots[h] for h in busy)


def test_allowances_never_exceed_the_limit_while_demand_moves() -> None:
    dice = random.Random(4)
    limiter = Limiter(20)
    allowed = dict.fromkeys("abcde", 0)
    for step in range(2000):
        host = dice.choice("abcde")
        demand = dice.choice((0, 1, 5, 40))
        in_flight = min(demand, allowed[host])
        tally = Tally(ok=in_flight)
        allowed[host] = limiter.report(host, tally, in_flight, demand - in_flight, step / 50)
        assert sum(allowed.values()) <= limiter.limit
    assert limiter.limit == 20
