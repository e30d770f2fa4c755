"""What all sessions of a run have spent so far, from its tables and its journals."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from improv.models.budget import Spent, call_spending
from improv.models.endpoint import public_address, remote_address
from improv.storage.journal import Journaled
from improv.storage.run_folder import RunFolder
from improv.study.model_spec import Model, Price
from improv.study.trial import remote


def spent_so_far(
    folder: RunFolder, journal: Journaled, models: Iterable[Model], otherwise: Price | None
) -> Spent:
    """Return the calls, tokens and dollars that all sessions of the run have spent so far. A model
    without a price has the price `otherwise`."""
    prices: dict[tuple[str, str], Price | None] = {}
    for model in models:
        prices[model.model, ""] = model.price
        if remote(model):
            prices[model.model, public_address(remote_address(model))] = model.price
    counted = {}
    for call in itertools.chain(folder.transcripts.all_calls(), journal.calls()):
        # The time is part of the key, because another host may repeat a dead host's call.
        # The branch is not, because a regeneration's differs between table and journal.
        counted[call.draw.trial, call.draw.role, call.started] = call
    total = Spent()
    for call in counted.values():
        if not call.error:
            price = prices.get((call.model, call.endpoint), prices.get((call.model, "")))
            total += call_spending(call, price or otherwise)
    return total
