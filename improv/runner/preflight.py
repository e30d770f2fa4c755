"""Checks a session before its first call, so that no paid call is made for a run that would fail.

No model is called. Whether a run has changed since it was begun is checked in provenance.
"""

from __future__ import annotations

from collections.abc import Sequence

from improv.errors import RunError
from improv.models.embedded import weights_file
from improv.models.endpoint import (
    check_endpoint,
    refuse_untrusted_addresses,
    remote_address,
    secret_for,
)
from improv.runner.session import Setup
from improv.study.branch import Branch, branched, planned_branches
from improv.study.design import Study
from improv.study.trial import Trial, models_of, remote


def wished(study: Study, trials: Sequence[Trial], asked: Sequence[Branch]) -> list[Trial]:
    """Return the trials, and each as every edit that its branches have would change it."""
    tried: set[tuple[str, ...]] = set()
    wished = list(trials)
    for trial in trials:
        for b in [*planned_branches(study, trial), *(b for b in asked if b.trial == trial.id)]:
            # The key is what the branch changes, because one name may mean several changes.
            kind = (trial.slug, trial.condition, b.arm, b.edit, b.of)
            if kind not in tried:
                tried.add(kind)
                wished.append(branched(trial, b))
    return wished


def look_ahead(
    study: Study, trials: Sequence[Trial], setup: Setup, asked: Sequence[Branch] = ()
) -> None:
    """Raise the error that the session would meet later.

    Checked are the weights, the edits, the addresses (trusted, and answering), the keys, and the
    prices that a budget in dollars needs. Raises StudyError, EndpointError, MachineError, RunError.
    """
    models = models_of(wished(study, trials, asked))
    for model in {m.model for m in models if m.embedded}:
        weights_file(model)
    far = [m for m in models if remote(m)]
    refuse_untrusted_addresses(far, setup.trusted)
    if setup.ray in ("off", "local"):
        # The nodes of a cluster may have keys and routes that this machine does not have.
        for called in far:
            secret_for(remote_address(called), called)
        for url in {remote_address(called) for called in far}:
            check_endpoint(url)
    unpriced = sorted({m.model for m in models if m.price is None})
    if setup.budget.cost is not None and unpriced:
        raise RunError(
            f"a budget in dollars needs the price of {', '.join(unpriced)}: give its model a "
            "'price' in the study, or set --max-tokens instead"
        )
