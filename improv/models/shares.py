"""Shares the slots of one endpoint among the hosts that want them. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def shares(limit: int, demand: Mapping[str, int]) -> dict[str, int]:
    """Share `limit` slots among hosts by demand; the shares sum to `limit` if there is a host.

    If more hosts want a slot than there are slots, the first in order get one each. A host without
    demand gets one of the slots left over, or of a quarter of all, so that it can start at once.
    """
    busy = [h for h, wanted in demand.items() if wanted > 0]
    idle = [h for h, wanted in demand.items() if wanted <= 0]
    allotted = dict.fromkeys(demand, 0)
    if limit < len(busy):
        return allotted | dict.fromkeys(busy[:limit], 1)
    over = limit - sum(demand[h] for h in busy)
    spare = min(len(idle), max(over, min(limit // 4, limit - len(busy))))
    allotted |= dict.fromkeys(idle[:spare], 1)
    rest = limit - spare
    if over >= spare:
        allotted |= {h: demand[h] for h in busy}
        everyone = busy or idle
        extra = _split(over - spare, dict.fromkeys(everyone, 1))
        return allotted | {h: allotted[h] + extra[h] for h in everyone}
    weights = {h: demand[h] for h in busy}
    while small := [h for h in weights if rest * weights[h] < sum(weights.values())]:
        allotted |= dict.fromkeys(small, 1)
        weights = {h: w for h, w in weights.items() if h not in small}
        rest -= len(small)
    return allotted | _split(rest, weights)


def _split(seats: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Split seats in proportion to weights, by the method of the largest remainder."""
    total = sum(weights.values())
    if not total:
        return dict.fromkeys(weights, 0)
    allotted = {h: seats * w // total for h, w in weights.items()}
    by_remainder = sorted(weights, key=lambda h: seats * weights[h] % total, reverse=True)
    for h in by_remainder[: seats - sum(allotted.values())]:
        allotted[h] += 1
    return allotted
