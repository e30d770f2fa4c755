"""What a run may spend: calls, tokens, dollars. One purse for all hosts, however many there are.

Hosts lease a few calls at a time, so that asking for leave costs a call next to nothing, and
leases grow small as the end comes near: a budget is passed by no more than what the last calls
turn out to need.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from improv.errors import EndpointError, ErrorKind
from improv.records import Call
from improv.study.model_spec import Price

LEASED_CALLS = 16
HOST_TIMEOUT = 15.0
"""Seconds after which a host that does not report is taken for dead, and its lease for unspent."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls that were answered, their prompt and completion tokens, and dollars."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.calls + other.calls, self.tokens + other.tokens, self.cost + other.cost)

    @property
    def each(self) -> Spent:
        """What one call spent on average."""
        n = max(self.calls, 1)
        return Spent(1, math.ceil(self.tokens / n), self.cost / n)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a run may spend in all its sessions; None where there is no limit."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None

    def __bool__(self) -> bool:
        return self != Budget()

    def reached(self, spent: Spent) -> str:
        """Say which limit is reached, or nothing."""
        if self.calls is not None and spent.calls >= self.calls:
            return f"{spent.calls:,} calls were made of at most {self.calls:,}"
        if self.tokens is not None and spent.tokens >= self.tokens:
            return f"{spent.tokens:,} tokens were used of at most {self.tokens:,}"
        if self.cost is not None and spent.cost >= self.cost:
            return f"${spent.cost:,.4f} were spent of at most ${self.cost:,.4f}"
        return ""


def token_cost(
    prompt: int | None, completion: int | None, cached: int | None, price: Price
) -> float:
    """Return what so many tokens cost; those that were cached count among the prompt's."""
    kept = min(cached or 0, prompt or 0)
    each = price.prompt if price.cached is None else price.cached
    paid = (
        ((prompt or 0) - kept) * price.prompt + kept * each + (completion or 0) * price.completion
    )
    return paid / 1e6


def call_cost(call: Call, price: Price | None) -> float:
    """Return what a call cost in dollars; 0 where no price is known, which a budget refuses."""
    if price is None:
        return 0.0
    return token_cost(call.prompt_tokens, call.completion_tokens, call.cached_tokens, price)


def call_spending(call: Call, price: Price | None) -> Spent:
    """Return what one call spent."""
    tokens = (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    return Spent(1, tokens, call_cost(call, price))


class Purse:
    """Knows what was spent and what is leased. Pure: who asks says what time it is."""

    def __init__(self, budget: Budget, spent: Spent) -> None:
        self._budget = budget
        self.spent = spent
        self._dearest = spent.each
        self._leased: dict[str, int] = {}
        self._seen: dict[str, float] = {}

    def lease(self, host: str, used: Spent, wanted: int, now: float) -> tuple[int, str]:
        """Take in what a host used of its lease and grant it up to `wanted` further calls.

        A `wanted` below 0 gives so many back. Returns how many are granted, and why there will
        never be more where the budget is reached. None granted without a reason means that others
        still hold leases: ask again.
        """
        self.spent += used
        if used.calls:
            # Not the mean of all: scenes grow, and so do their calls.
            before, these = self._dearest, used.each
            self._dearest = Spent(1, max(before.tokens, these.tokens), max(before.cost, these.cost))
        self._leased[host] = max(0, self._leased.get(host, 0) - used.calls + min(wanted, 0))
        self._seen[host] = now
        for other, seen in list(self._seen.items()):
            if now - seen > HOST_TIMEOUT:
                self._leased.pop(other), self._seen.pop(other)
        reached = self._budget.reached(self.spent)
        if reached or wanted <= 0:
            return 0, reached
        # Half of a fair share at most: what is out on a lease was guessed at an earlier price.
        granted = min(wanted, math.ceil(self._left() / (2 * len(self._seen))))
        if granted <= 0 and not any(self._leased.values()):
            granted = 1
        granted = max(granted, 0)
        self._leased[host] += granted
        return granted, ""

    def _left(self) -> int:
        """Return how many further calls the budget has room for, or more than a host may want."""
        out, spent, budget = sum(self._leased.values()), self.spent, self._budget
        left = [math.inf]
        if budget.calls is not None:
            left.append(budget.calls - spent.calls - out)
        tokens = (budget.tokens, spent.tokens, self._dearest.tokens)
        cost = (budget.cost, spent.cost, self._dearest.cost)
        for most, so_far, each in (tokens, cost):
            if most is not None:
                # Nothing is known of the first call's price; one is let through to find out.
                each = each if spent.calls else most
                left.append((most - so_far) / each - out if each else math.inf)
        return int(min(min(left), 2 * LEASED_CALLS * len(self._seen)))


Lease = Callable[[str, Spent, int], Awaitable[tuple[int, str]]]


class Allowance:
    """One host's part of the purse."""

    def __init__(self, host: str, lease: Lease) -> None:
        self._host = host
        self._lease = lease
        self._left = 0
        self._used = Spent()
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Take leave to make one call. Raises EndpointError of kind "budget" if there is none."""
        async with self._turn:
            while not self._left:
                used, self._used = self._used, Spent()
                self._left, reached = await self._lease(self._host, used, LEASED_CALLS)
                if reached:
                    raise EndpointError(reached, kind=ErrorKind.BUDGET)
                if not self._left:
                    await asyncio.sleep(0.1)
            self._left -= 1

    def spend(self, spent: Spent) -> None:
        """Note what a call spent."""
        self._used += spent

    def give_back(self) -> None:
        """Return leave that was not used: a call that failed cost nothing."""
        self._left += 1

    async def report(self) -> None:
        """Tell what was used, so that the purse knows that this host lives, and give back what
        nobody asked for: other hosts may be waiting for it."""
        async with self._turn:
            used, self._used = self._used, Spent()
            unused, self._left = self._left, 0
            await self._lease(self._host, used, -unused)


class PurseKeeper:
    """A purse with a clock: what hosts in this process call, or the Ray actor that all call."""

    def __init__(self, budget: Budget, spent: Spent) -> None:
        self._purse = Purse(budget, spent)

    async def lease(self, host: str, used: Spent, wanted: int) -> tuple[int, str]:
        return self._purse.lease(host, used, wanted, time.monotonic())

    async def spent(self) -> Spent:
        return self._purse.spent
