"""Keeps the findings of a large run in a file beside its tables.

An analysis of a million scores takes seconds; its findings fill a page. The file is valid while
everything that the findings depend on is unchanged: the tables, the study with its plan, the
ratings, and the code of the analysis. A report does not use this file: it reads the tables.
"""

from __future__ import annotations

import contextlib
import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from improv.errors import ImprovError, RunError
from improv.records import digest
from improv.storage.run_files import READ_ERRORS
from improv.storage.run_folder import RunFolder
from improv.study.design import Study
from improv.version import code_digest

if TYPE_CHECKING:
    from improv.analysis.inference import Findings

FINDINGS_FILE = "findings.json"
MANY_SCORES = 100_000
"""Minimum scores of a run whose findings are kept: fewer are read as fast as a page is drawn."""
_CODE = ("improv.analysis", "improv.records", "improv.study", "improv.storage.schemas")
"""The code that findings depend on."""
_TABLES = ("trials", "turns", "scores", "verdicts")


def read_findings(folder: RunFolder, study: Study) -> Findings | None:
    """Return the findings of the run in its present state, None if the file has none."""
    errors = (*READ_ERRORS, RunError, ValidationError, TypeError, RecursionError)
    with contextlib.suppress(*errors):
        # Not orjson: it knows no NaN, and an interval's end may be one.
        row = json.loads(folder.files.read_cache(FINDINGS_FILE))
        if row["state"] == run_state(folder) != "":
            findings = _reader().validate_python(row["findings"])
            return replace(findings, analysis=replace(findings.analysis, plan=study.plan))
    return None


def write_findings(folder: RunFolder, findings: Findings, before: str) -> None:
    """Write the findings to the run's folder if the run still has the state `before`.

    A folder that cannot be written is no error: the next reader analyses the run again.
    """
    if not before or before != run_state(folder):
        return
    # The plan is not written: it is in the study's file, which `run_state` covers.
    plain = replace(findings, analysis=replace(findings.analysis, plan=None))
    row = {"state": before, "findings": _reader().dump_python(plain)}
    folder.files.write_cache(FINDINGS_FILE, json.dumps(row).encode())


def run_state(folder: RunFolder) -> str:
    """Return a digest of all that findings depend on, "" while a host still writes tables."""
    if folder.tables.stems():
        return ""
    names = [*(f"{name}.parquet" for name in _TABLES), "study.yaml"]
    infos = folder.fs.get_file_info([f"{folder.path}/{name}" for name in names])
    there = [(i.base_name, i.size, i.mtime_ns) for i in infos if i.is_file]
    planned = folder.meta().get("plan_hash")
    return digest(repr((there, planned, folder.ratings.state(), code_digest(*_CODE))))


def cache_if_large(folder: RunFolder) -> None:
    """Analyse a large run now, so that the next reader does not wait for it."""
    if folder.tables.read("scores", columns=["trial"]).num_rows >= MANY_SCORES:
        cache_findings(folder)


def cache_findings(folder: RunFolder) -> None:
    """Analyse a run and write its findings, so that the first reader does not wait for them.

    An analysis that fails is no error here: the reader runs it again and sees the reason.
    """
    # Both take a second to import, and small runs need neither.
    from improv.analysis.inference import Findings
    from improv.analysis.loader import analyse_run

    with contextlib.suppress(ImprovError, ValueError):
        before = run_state(folder)
        analysis = analyse_run(folder)
        write_findings(folder, Findings(analysis.whole(), analysis.judges), before)


@functools.cache
def _reader() -> TypeAdapter[Findings]:
    from improv.analysis.inference import Findings  # slow to import

    return TypeAdapter(Findings)
