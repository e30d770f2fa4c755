"""Other runs in the same folder of runs that play the same scenes under the same conditions.

Whoever plays a study several times and shows the best run must say so. Models draw anew each time,
so the same trials in another run are another sample; a different name, seed or plan of the study
makes no difference here.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from improv.errors import RunError
from improv.records import Json
from improv.storage.run_folder import RunFolder
from improv.storage.runs import list_runs


@dataclass(frozen=True, slots=True)
class Twin:
    """Another run of the same trials: its id, when it was begun, and how it differs."""

    run: str
    created: str
    done: int
    same_plan: bool
    same_seed: bool

    @property
    def sentence(self) -> str:
        differs = [
            *([] if self.same_plan else ["another plan"]),
            *([] if self.same_seed else ["another seed"]),
        ]
        with_what = f", with {' and '.join(differs)}" if differs else ""
        return f"{self.run} ({self.created or 'no date'}{with_what}; {self.done:,} scenes done)"


def find_twins(folder: RunFolder) -> list[Twin]:
    """Return the other runs in the folder of runs that play the same. A run that cannot be read is
    left out."""
    meta = folder.meta()
    twins = []
    with contextlib.suppress(RunError, OSError):
        for other in list_runs(folder.root):
            with contextlib.suppress(RunError, OSError):
                if other.id != folder.id and _same(meta, theirs := other.meta()):
                    twins.append(_twin(other.id, meta, theirs))
    return sorted(twins, key=lambda twin: (twin.created, twin.run))


def _same(one: Json, other: Json) -> bool:
    if one.get("cells") and other.get("cells"):
        return bool(set(one["cells"]) & set(other["cells"]))
    return bool(one.get("trials_hash")) and one.get("trials_hash") == other.get("trials_hash")


def _twin(run: str, meta: Json, theirs: Json) -> Twin:
    return Twin(
        run=run,
        created=theirs.get("created", ""),
        done=theirs.get("done", 0),
        same_plan=meta.get("plan_hash", "") == theirs.get("plan_hash", ""),
        same_seed=meta.get("seed", 0) == theirs.get("seed", 0),
    )
