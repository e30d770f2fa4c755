"""Checks that a run is played on with the study, program, models and addresses it began with.

A run is one experiment. If one of them has changed, to go on would mix two experiments. So improv
refuses, and shows the difference; `--anyway` overrides it.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import platform
import sys
from collections.abc import Iterable
from importlib import metadata

from improv.errors import RunError, StudyError
from improv.models.embedded import weights_file
from improv.models.endpoint import public_address, remote_address
from improv.records import Json
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.run_record import kept_price
from improv.study.loader import load
from improv.study.model_spec import Model
from improv.study.named_models import with_price
from improv.study.snapshot import write_study
from improv.version import code_digest

PLAYING = (
    "improv.records",
    "improv.text",
    "improv.wrapping",
    "improv.study",
    "improv.models",
    "improv.stage",
)
"""The code that decides how a scene is played. Other code may play another scene."""
_DIFF_LINES = 30
"""Lines of a difference that a message shows."""
_PACKAGES = ("improv-theatre", "ray", "mesa", "openai", "pyarrow", "xllamacpp")
_AND = " and "


def identity(models: Iterable[Model]) -> Json:
    """Return what run.json keeps about program and models: versions, digests, addresses."""
    places: dict[str, set[str]] = {}
    for model in models:
        if model.embedded:
            places.setdefault(model.model, set()).add(f"weights {_weights(model.model)}")
        elif not model.in_process:
            places.setdefault(model.model, set()).add(public_address(remote_address(model)))
    served = {model: _AND.join(sorted(there)) for model, there in places.items()}
    versions = {name: version for name in _PACKAGES if (version := _version(name))}
    return {
        "versions": versions | {"python": platform.python_version()},
        "program": program(),
        "served": served,
        "platform": sys.platform,
    }


def program() -> str:
    """Return a digest of the code that decides how a scene is played."""
    return code_digest(*PLAYING)


def refuse_drift(
    folder: RunFolder, meta: Json, now: Json, trials_hash: str | None, setup: Setup
) -> list[str]:
    """Raise RunError with the differences if the run has changed since it was begun. Return them
    if the setup goes on anyway."""
    changes = _study_changes(folder, meta, setup.max_trials)
    then = _texts(meta, "versions").get("improv-theatre")
    here = now["versions"].get("improv-theatre")
    if then != here:
        changes.append(f"improv: version {then} then, {here} now")
    elif meta.get("program") and meta["program"] != now["program"]:
        changes.append(f"improv {here}: its code was {meta['program']} then, {now['program']} now")
    for model, was in _texts(meta, "served").items():
        is_now = now["served"].get(model, was)
        # A branch checks one trial alone, which may use fewer addresses than the whole run.
        if not set(is_now.split(_AND)) <= set(was.split(_AND)):
            changes.append(f"model {model}: {was} then, {is_now} now")
    if trials_hash is not None and trials_hash != meta.get("trials_hash") and not changes:
        changes.append("plan: this version of improv would play other trials than were planned")
    if changes and not setup.anyway:
        raise RunError(
            f"{folder.id}: has changed since it was begun:\n"
            + "\n".join(changes)
            + "\nGoing on could mix two experiments in one run. Play it as a new run; or, where "
            f"`improv replay {folder.id}` says that its scenes still come out the same, go on with "
            "--anyway."
        )
    return changes


def _study_changes(folder: RunFolder, meta: Json, max_trials: int) -> list[str]:
    now, then = folder.study_text(), folder.study_text(first=True)
    changes = _diff(then, now, "study.yaml when it was begun", "study.yaml now")
    source = meta.get("source")
    if not changes and isinstance(source, dict):
        try:
            planted = str(source.get("planted") or "")
            replicates = source.get("replicates")
            study = load(
                str(source.get("file")),
                source.get("patch") or {},
                planted,
                replicates=int(replicates) if replicates else None,
                max_trials=max_trials,
            )
            if (price := kept_price(meta)) is not None:
                study = with_price(study, price)
        except (StudyError, ValueError, TypeError, AttributeError):
            return []  # the file is gone or no study any more; the folder has its own copy
        changes = _diff(now, write_study(study), "as it was begun", f"{source['file']} now")
    return changes


def _texts(meta: Json, name: str) -> dict[str, str]:
    """Return a mapping of run.json as text; an empty one if the value is no mapping."""
    value = meta.get(name)
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _diff(then: str, now: str, before: str, after: str) -> list[str]:
    if then == now:
        return []
    lines = list(
        difflib.unified_diff(then.splitlines(), now.splitlines(), before, after, lineterm="", n=2)
    )
    more = len(lines) - _DIFF_LINES
    return lines[:_DIFF_LINES] + ([f"... and {more} lines more"] if more > 0 else [])


@functools.cache
def _weights(model: str) -> str:
    file = weights_file(model)
    whole = hashlib.blake2b(digest_size=8)
    with file.open("rb") as source:
        while part := source.read(1 << 22):
            whole.update(part)
    return whole.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
