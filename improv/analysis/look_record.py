"""Records in a run's history that somebody looked at its results."""

from __future__ import annotations

import contextlib
import math

from improv.analysis.inference import Analysis
from improv.errors import RunError
from improv.storage.run_folder import RunFolder


def record_look(folder: RunFolder, analysis: Analysis, by: str) -> None:
    """Append a look to the run's history: who looked, by which plan, at how many blocks, whether a
    p was shown. In a folder that cannot be written, nothing is recorded."""
    plan, standing = analysis.plan, analysis.standing
    if plan is None or standing is None:
        return
    hidden = any(doubt.hides_p for doubt in analysis.doubts)
    shown = not hidden and any(not math.isnan(c.p) for c in analysis.findings)
    with contextlib.suppress(OSError, RunError):
        folder.record(
            "looked",
            by=by,
            plan=plan.hash,
            blocks=standing.look or standing.there,
            p=shown,
            decided=[c.name for c in analysis.findings if c.rejected and not hidden],
        )


def record_look_once(folder: RunFolder, analysis: Analysis, by: str) -> None:
    """Record a look, unless the last entry of the history says the same: a page is drawn again at
    each click."""
    with contextlib.suppress(OSError, RunError):
        last = folder.history.entries[-1:]
        standing, plan = analysis.standing, analysis.plan
        same = [
            entry.what == "looked"
            and entry.details.get("by") == by
            and plan is not None
            and entry.details.get("plan") == plan.hash
            and standing is not None
            and entry.details.get("blocks") == (standing.look or standing.there)
            for entry in last
        ]
        if any(same):
            return
    record_look(folder, analysis, by)
