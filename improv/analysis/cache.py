"""Keeps beside a large run's tables what its analysis found, for whoever looks again.

A million scores take seconds to weigh, and the findings are a page. They are kept for as long as
all that they hang on stays as it is: the tables, the study with its plan, what raters said, and
the code that weighs. Nothing is decided by them: a report reads the tables.
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
from improv.storage.run_files import READING
from improv.storage.run_folder import RunFolder
from improv.storage.run_tables import MANY_SCORES
from improv.study.design import Study
from improv.version import code_digest

if TYPE_CHECKING:
    from improv.analysis.inference import Findings

FINDINGS_FILE = "findings.json"
_LARGEST = 64 * 2**20
"""Bytes of a file that is looked at: no findings are as many."""
_CODE = ("improv.analysis", "improv.records", "improv.study", "improv.storage.schemas")
"""The code that decides what is found."""
_TABLES = ("trials", "turns", "scores", "verdicts")


def read_findings(folder: RunFolder, study: Study) -> Findings | None:
    """Return what was found of a run as it is now, None where that is not known."""
    with contextlib.suppress(*READING, RunError, ValidationError, KeyError, TypeError):
        file = f"{folder.path}/{FINDINGS_FILE}"
        if not 0 < (folder.fs.get_file_info(file).size or 0) <= _LARGEST:
            return None
        with folder.fs.open_input_stream(file) as source:
            # Not orjson: it knows no NaN, and an interval's end may be one.
            row = json.loads(source.read())
        if row["of"] == run_state(folder) != "":
            findings = _reader().validate_python(row["found"])
            return replace(findings, analysis=replace(findings.analysis, plan=study.plan))
    return None


def write_findings(folder: RunFolder, findings: Findings, before: str) -> None:
    """Keep what was found, if the run is still as it was `before`. A folder that cannot be written
    is read all the same."""
    if not before or before != run_state(folder):
        return
    # The plan is the study's, whose file the findings hang on.
    plain = replace(findings, analysis=replace(findings.analysis, plan=None))
    row = {"of": before, "found": _reader().dump_python(plain)}
    with contextlib.suppress(OSError, RunError):
        folder.files.write(FINDINGS_FILE, json.dumps(row).encode())


def run_state(folder: RunFolder) -> str:
    """Return what findings hang on, "" while that changes."""
    if folder.tables.stems():
        return ""
    names = [*(f"{name}.parquet" for name in _TABLES), "study.yaml"]
    infos = folder.fs.get_file_info([f"{folder.path}/{name}" for name in names])
    there = [(i.base_name, i.size, i.mtime_ns) for i in infos if i.is_file]
    planned = folder.meta().get("plan_hash")
    return digest(repr((there, planned, folder.ratings.state(), code_digest(*_CODE))))


def cache_if_large(folder: RunFolder) -> None:
    """Have what a large run shows found now: whoever looks at it next need not wait for it."""
    if folder.tables.read("scores", columns=["trial"]).num_rows >= MANY_SCORES:
        cache_findings(folder)


def cache_findings(folder: RunFolder) -> None:
    """Weigh a run and keep what was found, so that whoever looks first need not wait for it.

    A run that cannot be weighed is left to who looks: there is a place to say why.
    """
    # Both take a second to import, which small runs do without.
    from improv.analysis.inference import Findings
    from improv.analysis.loader import analyse_run

    with contextlib.suppress(ImprovError, ValueError):
        before = run_state(folder)
        analysis = analyse_run(folder)
        write_findings(folder, Findings(analysis.whole(), analysis.judges), before)


@functools.cache
def _reader() -> TypeAdapter[Findings]:
    from improv.analysis.inference import Findings  # as slow

    return TypeAdapter(Findings)
