"""Starts Ray on this machine, or joins a cluster, quietly. What runs there is others' business."""

from __future__ import annotations

import logging
import os

import ray

from improv.errors import MachineError, first_line

_RAY_TOKENS = "ray._private.authentication.authentication_token_setup"


def start_ray(address: str) -> bool:
    """Start or join Ray; return whether it was this call that did."""
    if ray.is_initialized():
        return False
    # Ray would otherwise write to the terminal over our progress, and send usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # That it guards itself is well, and no news at every run; that it does not would be.
    logging.getLogger(_RAY_TOKENS).addFilter(lambda r: "is enabled" not in r.getMessage())
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
            configure_logging=False,
        )
    except Exception as e:  # a node that comes up too late is a bare one
        raise MachineError(
            f"Ray did not start ({address}): {first_line(e)}; --ray off plays without it"
        ) from None
    return True
