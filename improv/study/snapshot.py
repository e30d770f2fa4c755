"""Writes and reads the study file of a run folder, which has every scene as it is played.

The question, and single scenes, can be read alone, because a study of fifty cells takes a third of
a second. loader reads the files that people write.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, ValidationError

from improv.errors import Problem, StudyError
from improv.study.base import Strict, WholeFile
from improv.study.design import Condition, Study
from improv.study.edit import Branching, Probe, Regeneration
from improv.study.limits import MAX_REPLICATES
from improv.study.model_spec import Model
from improv.study.plan import Plan
from improv.study.scene import Scene
from improv.study.yaml_source import KEPT_LIMITS, read_yaml, write_yaml


class _KeptCell(Strict):
    """One cell as a run folder keeps it."""

    scene: str
    condition: str
    levels: dict[str, str]
    as_played: Scene


class _KeptStudy(WholeFile):
    """A resolved study as a run folder keeps it. A folder may come from a stranger."""

    study: str
    question: str
    about: str
    replicates: int = Field(ge=1, le=MAX_REPLICATES)
    seed: int
    plan: Plan | None = None
    branches: list[Branching] = []
    regenerations: list[Regeneration] = []
    probes: list[Probe] = []
    judge: Model | None = None
    cells: list[_KeptCell]


_BRANCHINGS = ("branches", "regenerations", "probes")
_CELLS, _CELL = "\ncells:\n", "\n- scene: "
"""The text before all cells, and before each cell. Lines inside a value are indented further."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
"""A name that YAML writes without quotes."""


def write_study(study: Study) -> str:
    """Return the study as YAML with every scene as it is played.

    Raises StudyError if it would be more than `read_study` reads.
    """
    data: dict[str, Any] = {
        "study": study.name,
        "question": study.question,
        "about": study.about,
        "replicates": study.replicates,
        "seed": study.seed,
    }
    if study.plan is not None:
        data["plan"] = study.plan.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    for field in _BRANCHINGS:
        if items := getattr(study, field):
            data[field] = [i.model_dump(mode="json", exclude_defaults=True) for i in items]
    if study.judge is not None:
        data["judge"] = study.judge.model_dump(mode="json", exclude_unset=True)
    data["cells"] = [
        {
            "scene": slug,
            "condition": condition.name,
            "levels": dict(condition.levels),
            "as_played": scene.model_dump(mode="json", exclude_defaults=True),
        }
        for slug, condition, scene in study.cells
    ]
    _refuse_too_large(study, data)
    return write_yaml(data)


def _refuse_too_large(study: Study, data: Any) -> None:
    nodes = _count_nodes(data)
    if nodes > KEPT_LIMITS.nodes:
        what = (
            f"with every one of {len(study.cells):,} scenes as it is played, the study has "
            f"{nodes:,} keys and values, and a run's folder holds {KEPT_LIMITS.nodes:,}; "
            "play fewer conditions in one run"
        )
        raise StudyError([Problem(study.name, 1, 1, "", what)])


def _count_nodes(data: Any) -> int:
    """Count keys, values, lists and mappings, as the reader of YAML does."""
    if isinstance(data, dict):
        return 1 + len(data) + sum(map(_count_nodes, data.values()))
    return 1 + sum(map(_count_nodes, data)) if isinstance(data, list) else 1


def read_study(text: str, file: str) -> Study:
    """Read a study that `write_study` wrote. Raises StudyError."""
    data = read_yaml(text, file, own=True).data
    try:
        kept = _KeptStudy.model_validate(data)
    except ValidationError as e:
        raise _not_written_here(file, e) from None
    conditions: dict[str, Condition] = {}
    cells = []
    for cell in kept.cells:
        levels = tuple(cell.levels.items())
        condition = conditions.setdefault(cell.condition, Condition(cell.condition, levels))
        cells.append((cell.scene, condition, cell.as_played))
    return Study(
        name=kept.study,
        question=kept.question,
        about=kept.about,
        replicates=kept.replicates,
        seed=kept.seed,
        conditions=tuple(conditions.values()),
        cells=tuple(cells),
        plan=kept.plan,
        branches=tuple(kept.branches),
        regenerations=tuple(kept.regenerations),
        probes=tuple(kept.probes),
        judge=kept.judge,
    )


def read_question(text: str, file: str) -> str:
    """Return a study's `question`, or else its `about`, without reading its scenes.

    Raises StudyError.
    """
    data = read_yaml(text.partition(_CELLS)[0], file, own=True).data
    texts = (data.get("question"), data.get("about")) if isinstance(data, dict) else ()
    return next((text for text in texts if isinstance(text, str) and text), "")


def read_played_scene(text: str, file: str, slug: str, condition: str) -> Scene | None:
    """Return one scene as it is played under a condition, or None if the file does not have it.

    Reads no other scene. Raises StudyError.
    """
    for cell in f"\n{text.partition(_CELLS)[2]}".split(_CELL)[1:]:
        name = cell.partition("\n")[0]
        if name != slug and _PLAIN.fullmatch(name):
            continue
        data = read_yaml(f"- scene: {cell}", file, own=True).data
        try:
            (row,) = data
            if (row["scene"], row["condition"]) == (slug, condition):
                return Scene.model_validate(row["as_played"])
        except (KeyError, TypeError, ValueError) as e:
            raise _not_written_here(file, e) from None
    return None


def _not_written_here(file: str, error: Exception) -> StudyError:
    reason = str(error).splitlines()[0]
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        reason = f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    what = f"not a study file that improv wrote: {reason}"
    return StudyError([Problem(file, 1, 1, "", what)])
