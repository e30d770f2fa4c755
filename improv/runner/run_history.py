"""What a session writes into run.json and into the run's history: what is planned before the first
call, how each session began, and how it ended."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from improv.errors import RunError
from improv.records import Json
from improv.runner.provenance import identity
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.design import Study
from improv.study.trial import Trials, models_of, trials_hash


def first_record(study: Study, trials: Trials, setup: Setup, source: Json | None) -> Json:
    """Return the first content of run.json."""
    return {
        "study": study.name,
        "scenes": study.scenes,
        "conditions": [c.name for c in study.conditions],
        "models": sorted({m.model for m in models_of(trials)}),
        "trials": len(trials),
        "trials_hash": trials_hash(trials),
        "plan_hash": study.plan.hash if study.plan is not None else "",
        "cells": trials.cell_hashes(),
        "seed": study.seed,
        "source": source,
        **({"price": setup.price.model_dump(exclude_none=True)} if setup.price else {}),
        "status": "playing",
        "created": now(),
        "ray": setup.ray if setup.ray in ("local", "off") else "cluster",
        "batch": setup.batch,
        "until_decided": setup.until_decided,
        **identity(models_of(trials)),
    }


def first_entry(study: Study, trials: Trials) -> Json:
    """Return the details of the first entry of a run's history: what is planned."""
    plan = study.plan
    return {
        "study": study.name,
        "plan": plan.hash if plan is not None else "",
        "blocks": plan.blocks if plan is not None else 0,
        "looks": plan.looks.every if plan is not None and plan.looks is not None else 0,
        "trials": len(trials),
        "trials_hash": trials_hash(trials),
        "seed": study.seed,
    }


def record(folder: RunFolder, what: str, **details: Any) -> None:
    """Append an entry to a run's history. A disk that cannot be written stops a session by itself,
    with its own message."""
    with contextlib.suppress(OSError, RunError):
        folder.record(what, **details)


def record_session_end(folder: RunFolder, changes: Json, owed: int) -> None:
    """Append that a session ended, with the checksums of the tables. `changes` are those of
    run.json."""
    with contextlib.suppress(OSError, RunError):
        folder.record_end(
            "ended",
            session=folder.meta().get("session", 0),
            done=changes["done"],
            failed=changes["failed"],
            owed=owed,
            stopped=changes["stopped"],
        )


def now() -> str:
    """Return the time as run.json has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
