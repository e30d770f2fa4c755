"""Starts Ray on this machine, or joins a cluster, without messages. The actors are in runner."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import ray
from ray.job_config import JobConfig

from improv.errors import MachineError, first_line
from improv.import_path import added_path, child_environment

_RAY_TOKENS = "ray._private.authentication.authentication_token_setup"


def start_ray(address: str) -> bool:
    """Start Ray ("local") or join the cluster at `address`; return False if Ray ran already.

    Raises MachineError if Ray does not start, or if the address has a user or password in it.
    """
    if ray.is_initialized():
        return False
    if "@" in address:
        # The address is printed; so it is not quoted.
        raise MachineError(
            "the address of the Ray cluster has a user or a password in it, which Ray does not "
            "read; write HOST:PORT or ray://HOST:PORT, and see Ray's documentation on tokens"
        )
    # Ray would otherwise write over the progress on the terminal, and send usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray says at each start that it checks tokens. Only a message that it does not is news.
    logging.getLogger(_RAY_TOKENS).addFilter(lambda r: "is enabled" not in r.getMessage())
    # A driver behind ray:// sends no path, and its server need not know the class.
    job = JobConfig() if address.startswith("ray://") else _Job()
    try:
        with _child_environment():
            ray.init(
                address=address,
                job_config=job,
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


class _Job(JobConfig):
    """The job of a session. Its workers import from where improv is.

    Ray adds the working folder of the driver, which may be a stranger's, to the path that a job
    names for its workers. What it adds here is not kept.
    """

    @property
    def _py_driver_sys_path(self) -> list[str]:
        return added_path()

    @_py_driver_sys_path.setter
    def _py_driver_sys_path(self, _: list[str]) -> None:
        """Keep nothing."""


@contextlib.contextmanager
def _child_environment() -> Iterator[None]:
    """Start children whose working folder is on no import path. This process's environment is then
    as it was, because a notebook's other children are not ours."""
    before = dict(os.environ)
    os.environ.update(child_environment())
    try:
        yield
    finally:
        for name in ("PYTHONSAFEPATH", "PYTHONPATH"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
