"""Checks a session before its first call, so that no paid call is made for a run that would fail.

No model is called. Whether a run has changed since it was begun is checked in provenance.
"""

from __future__ import annotations

from collections.abc import Sequence

from improv.errors import RunError
from improv.models.agreed import Agreed, agreed_at
from improv.models.embedded import weights_file
from improv.models.endpoint import (
    check_endpoint,
    refuse_untrusted,
    remote_address,
    secret_for,
)
from improv.runner.session import Setup
from improv.study.branch import Branch
from improv.study.design import Study
from improv.study.named_models import edited_trials, named_models
from improv.study.trial import Trial, models_of, remote


def look_ahead(
    study: Study, trials: Sequence[Trial], setup: Setup, asked: Sequence[Branch] = ()
) -> Agreed:
    """Raise the error that the session would meet later; return what may be sent where.

    It checks the weights, the edits, the addresses (agreed to, and answering), the keys, and the
    prices that a budget in dollars needs. Raises StudyError, EndpointError, MachineError, RunError.
    """
    agreed = agreed_at(setup.trusted)
    refuse_untrusted(named_models(study, trials, asked), agreed)
    models = models_of(edited_trials(study, trials, asked))
    for name in {m.model for m in models if m.embedded}:
        weights_file(name)
    remote_models = [m for m in models if remote(m)]
    if setup.batch and not remote_models:
        raise RunError(
            "--batch needs a model at an endpoint that takes OpenAI's batches; "
            f"{', '.join(sorted({m.model for m in models}))} is played on this machine. "
            "Leave --batch out, or name an endpoint with --base-url"
        )
    if setup.ray in ("off", "local"):
        # The nodes of a cluster may have keys and routes that this machine does not have.
        for model in remote_models:
            secret_for(remote_address(model), model)
        for url in {remote_address(m) for m in remote_models}:
            check_endpoint(url, agreed)
    unpriced = sorted({m.model for m in models if m.price is None})
    if setup.budget.cost is not None and unpriced and setup.price is None:
        raise RunError(
            f"a budget in dollars needs the price of {', '.join(unpriced)}: say --price IN,OUT, in "
            "dollars per million tokens, give its model a 'price' in the study, or set "
            "--max-tokens instead"
        )
    return agreed
