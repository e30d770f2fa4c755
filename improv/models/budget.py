"""The budget of a run: calls, tokens and dollars. All hosts of a run spend from one purse.

A host leases a few calls at a time, so that a call seldom waits for the purse. Leases get smaller
as the budget runs out. A run therefore exceeds its budget by no more than its last calls cost.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from improv.errors import EndpointError, ErrorKind
from improv.records import Call
from improv.study.model_spec import Price

LEASED_CALLS = 16
HOST_TIMEOUT = 15.0
"""Seconds without a report after which a host counts as dead, and its lease as unspent."""


@dataclass(frozen=True, slots=True)
class Spent:
    """The number of answered calls, their prompt and completion tokens, and dollars."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.calls + other.calls, self.tokens + other.tokens, self.cost + other.cost)

    @property
    def each(self) -> Spent:
        """The mean of one call, with tokens rounded up."""
        n = max(self.calls, 1)
        return Spent(1, math.ceil(self.tokens / n), self.cost / n)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a run may spend, over all its sessions; None is no limit."""

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None

    def __bool__(self) -> bool:
        return self != Budget()

    def reached(self, spent: Spent) -> str:
        """Return a sentence about the limit that is reached, "" if none is."""
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
    """Return the cost of tokens in dollars. Prices are per million tokens; the cached tokens are
    part of the prompt's."""
    prompt, completion = prompt or 0, completion or 0
    cached = min(cached or 0, prompt)
    cached_price = price.prompt if price.cached is None else price.cached
    prompt_cost = (prompt - cached) * price.prompt + cached * cached_price
    return (prompt_cost + completion * price.completion) / 1e6


BYTES_PER_TOKEN = 2
"""Bytes of UTF-8 that a token has where nobody counts them. English has about four in a token and
few languages less than two, so an estimate is rather too high, and a limit is kept."""
_MESSAGE_TOKENS = 8
"""Tokens that mark a message and its role, at most."""


def estimated_tokens(texts: Sequence[str]) -> int:
    """Return the tokens of texts by their length, rather too many than too few."""
    bytes_of_all = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return math.ceil(bytes_of_all / BYTES_PER_TOKEN) + _MESSAGE_TOKENS * len(texts)


def call_cost(call: Call, price: Price | None) -> float:
    """Return the cost of a call in dollars, 0 if it has no price. A run with a cost limit is
    refused before it starts if a model has no price."""
    if price is None:
        return 0.0
    return token_cost(call.prompt_tokens, call.completion_tokens, call.cached_tokens, price)


def call_spending(call: Call, price: Price | None) -> Spent:
    """Return what one call takes from a budget."""
    tokens = (call.prompt_tokens or 0) + (call.completion_tokens or 0)
    return Spent(1, tokens, call_cost(call, price))


class Purse:
    """What a run has spent, and the calls that its hosts lease. Pure: callers pass the time."""

    def __init__(self, budget: Budget, spent: Spent) -> None:
        self._budget = budget
        self.spent = spent
        self._dearest = spent.each
        self._leased: dict[str, int] = {}
        self._seen: dict[str, float] = {}

    def lease(self, host: str, used: Spent, wanted: int, now: float) -> tuple[int, str]:
        """Count what a host used of its lease, and grant it up to `wanted` further calls.

        A negative `wanted` gives back that many calls. Returns the number of calls granted, and the
        reason if the budget is reached. 0 calls without a reason mean that other hosts still hold
        leases, so the host asks again later. `now` is in seconds.
        """
        self.spent += used
        if used.calls:
            # Not the mean of all calls: a scene's prompts grow, and so does their cost.
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
        # At most half of an even share: the cost of leased calls was estimated earlier, when calls
        # were cheaper.
        granted = min(wanted, math.ceil(self._left() / (2 * len(self._seen))))
        if granted <= 0 and not any(self._leased.values()):
            granted = 1
        granted = max(granted, 0)
        self._leased[host] += granted
        return granted, ""

    def _left(self) -> int:
        """Return how many calls the budget still allows, capped at more than hosts may ask for."""
        leased, spent, budget = sum(self._leased.values()), self.spent, self._budget
        left = [math.inf]
        if budget.calls is not None:
            left.append(budget.calls - spent.calls - leased)
        tokens = (budget.tokens, spent.tokens, self._dearest.tokens)
        cost = (budget.cost, spent.cost, self._dearest.cost)
        for most, so_far, each in (tokens, cost):
            if most is not None:
                # Before the first call its cost is unknown, so one call is allowed.
                each = each if spent.calls else most
                left.append((most - so_far) / each - leased if each else math.inf)
        return int(min(min(left), 2 * LEASED_CALLS * len(self._seen)))


Lease = Callable[[str, Spent, int], Awaitable[tuple[int, str]]]


class Allowance:
    """The calls that one host may still make: what it leased from the purse and has not used."""

    def __init__(self, host: str, lease: Lease) -> None:
        self._host = host
        self._lease = lease
        self._left = 0
        self._used = Spent()
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Use one call of the lease; lease more if none is left. Raises EndpointError of kind
        "budget" if the budget is reached."""
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
        """Count what a call spent."""
        self._used += spent

    def give_back(self) -> None:
        """Take back a call that failed, because it cost nothing."""
        self._left += 1

    async def report(self) -> None:
        """Report what was used, which also shows that this host lives, and give back the calls
        that no scene needs now, because other hosts may wait for them."""
        async with self._turn:
            used, self._used = self._used, Spent()
            unused, self._left = self._left, 0
            await self._lease(self._host, used, -unused)


class PurseKeeper:
    """A Purse with a clock: an object in this process, or a Ray actor that all hosts call."""

    def __init__(self, budget: Budget, spent: Spent) -> None:
        self._purse = Purse(budget, spent)

    async def lease(self, host: str, used: Spent, wanted: int) -> tuple[int, str]:
        return self._purse.lease(host, used, wanted, time.monotonic())

    async def spent(self) -> Spent:
        return self._purse.spent
