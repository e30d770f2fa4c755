"""Starts Ray on this machine, or joins a cluster, without messages. The actors are in runner."""

from __future__ import annotations

import logging
import os

import ray

from improv.errors import MachineError, first_line

_RAY_TOKENS = "ray._private.authentication.authentication_token_setup"


def start_ray(address: str) -> bool:
    """Start Ray ("local") or join the cluster at `address`; return False if Ray ran already.

    Raises MachineError if Ray does not start.
    """
    if ray.is_initialized():
        return False
    # Ray would otherwise write over the progress on the terminal, and send usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray says at each start that it checks tokens. Only a message that it does not is news.
    logging.getLogger(_RAY_TOKENS).addFilter(lambda r: "is enabled" not in r.getMessage())
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
            configure_logging=False,
        )
    except Exception as e:  # Ray raises a bare Exception if a node starts too late
        raise MachineError(
            f"Ray did not start ({address}): {first_line(e)}; --ray off plays without it"
        ) from None
    return True
