"""What a researcher puts elsewhere before the first call: the hash of the plan, and of the trials.

A time stamp in a run's own folder is worth as much as the folder: whoever can write there can write
another one. The registration is a small JSON file for a witness: a registry, a mail to oneself, a
public commit. Later `compare` says whether a run is the one that was registered.
"""

from __future__ import annotations

from typing import Any

import orjson

from improv.errors import RunError
from improv.records import Json
from improv.runner.run_history import now
from improv.storage.history import Past
from improv.study.design import Study
from improv.study.trial import Trials

_VERSION = 1
_KEYS = ("plan_hash", "trials_hash", "trials")
_LARGEST = 2**20


def registration(study: Study, trials: Trials, run: Json) -> Json:
    """Return the registration of a study. `run` is what run.json would say of it, see
    `run_history.first_record`. Raises RunError if the study has no plan."""
    plan = study.plan
    if plan is None:
        raise RunError(f"{study.name}: has no plan, so there is nothing to register")
    looks = plan.looks
    return {
        "improv-plan": _VERSION,
        "made": now(),
        "study": study.name,
        "hypothesis": plan.hypothesis,
        "contrasts": [contrast.name for contrast in plan.contrasts],
        "blocks": plan.blocks,
        "looks": f"every {looks.every} blocks" if looks is not None else "at all blocks",
        "alpha": plan.alpha,
        "models": run["models"],
        "plan_hash": plan.hash,
        "trials_hash": run["trials_hash"],
        "trials": len(trials),
        "cells": run["cells"],
        "plan": plan.model_dump(mode="json", by_alias=True),
    }


def read_registration(data: bytes, name: str) -> Json:
    """Return a registration. Raises RunError if the data is none."""
    try:
        row = orjson.loads(data) if len(data) <= _LARGEST else None
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict) or row.get("improv-plan") != _VERSION:
        raise RunError(f"{name}: is no file that `improv plan` wrote")
    missing = [key for key in _KEYS if key not in row]
    if missing:
        raise RunError(f"{name}: has no '{missing[0]}'; take the file that `improv plan` wrote")
    return row


def compare(registered: Json, meta: Json, past: Past) -> list[str]:
    """Return how a run differs from its registration; nothing if it is the one registered."""
    begun = past.entries[0].details if past.entries else {}
    problems = []
    for key, what in (("plan_hash", "plan"), ("trials_hash", "trials"), ("trials", "number of")):
        wanted: Any = registered[key]
        is_now = meta.get(key)
        if wanted != is_now:
            name = "trials" if key == "trials" else "hash"
            problems.append(f"{what} {name}: {wanted} registered, {is_now} in run.json")
    then = begun.get("plan")
    if then is not None and then != registered["plan_hash"]:
        problems.append(f"the run was begun with plan {then}")
    made, created = str(registered.get("made", "")), str(meta.get("created", ""))
    if made and created and made > created:
        problems.append(f"registered on {made}, after the run was begun on {created}")
    return [*problems, *past.problems]
