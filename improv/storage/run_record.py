"""run.json: what a run says about itself, and the one reader that checks it.

The file may be anybody's. Its size and depth are bounded, and each known key has a type. A key that
is wrong is a RunError that names it; keys of other versions are kept as they are. Nobody else reads
the file, and nobody behind this module guesses what a key holds.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from improv.errors import RunError, StudyError, first_line
from improv.records import Json, Origin
from improv.storage.table_rules import MOST_TURNS
from improv.study.branch import Branch
from improv.study.model_spec import Price
from improv.study.plain_data import MAX_DEPTH, deeper_than

RUN_FILE = "run.json"
LARGEST = 64 * 2**20
"""The largest size of run.json (in bytes)."""
_LONGEST_EDIT = 2**20
_NEW_NAMES = {"plan": "trials_hash", "analysis": "plan_hash"}
"""The old names of the hashes in run.json, and the present ones."""

_Count = Annotated[int, Field(ge=0, le=2**53)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


class _Source(_Checked):
    file: str
    patch: dict[str, Any] | None = None
    replicates: _Count | None = None
    planted: str | None = ""


class _Length(_Checked):
    """The length of a context, as `context_lengths` measures it."""

    scene: str = ""
    context: str = ""
    tokens: int = 0
    matches: str = ""
    of: int = 0
    apart: float = 0.0
    by: str = ""


class _Scored(_Checked):
    version: str = ""
    judge: str = ""
    second_judge: str = ""
    at: str = ""


class _Price(_Checked):
    """The price that a command gave, in dollars per million tokens."""

    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None


class _Manner(_Checked):
    """A manner that was learned of a model, and the endpoint's words that taught it."""

    endpoint: str
    model: str
    manner: str
    because: str = ""


class _Head(_Checked):
    """How many entries the run's history has, and the hash of the last one."""

    entries: _Count = 0
    hash: str = ""


class RunRecord(_Checked):
    """The keys of run.json. A run that is being made has the first ones only."""

    study: str = ""
    scenes: list[str] = []
    conditions: list[str] = []
    models: list[str] = []
    trials: _Count | None = None
    trials_hash: str = ""
    plan_hash: str = ""
    seed: int = 0
    source: _Source | None = None
    status: str = ""
    created: str = ""
    ray: str = ""
    batch: bool = False
    versions: dict[str, str] = {}
    program: str = ""
    served: dict[str, str] = {}
    platform: str = ""
    manners: list[_Manner] = []
    price: _Price | None = None
    lengths: list[_Length] = []
    session: _Count = 0
    hosts: list[dict[str, Any]] = []
    done: _Count = 0
    failed: _Count = 0
    grown: _Count = 0
    stopped: str = ""
    ended: str = ""
    seconds: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    branches: list[dict[str, Any]] = []
    scored: dict[str, _Scored] = {}
    history: _Head | None = None
    until_decided: bool = False
    found_changed: bool = False
    cells: list[str] = []


class _BranchRow(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    trial: Annotated[str, Field(min_length=1, max_length=100)]
    parent: Annotated[str, Field(min_length=1, max_length=100)]
    fork: Annotated[int, Field(ge=0, le=MOST_TURNS)]
    origin: Origin
    number: Annotated[int, Field(ge=0, le=2**53)]
    arm: str = ""
    edit: Annotated[str, Field(max_length=_LONGEST_EDIT)] = "{}"
    length: Annotated[int, Field(ge=0, le=MOST_TURNS)] | None = None
    of: str = ""
    ask: str = ""
    inherited: Annotated[str, Field(max_length=16 * _LONGEST_EDIT)] = "[]"


def read_record(data: bytes, file: str) -> Json:
    """Return the content of run.json, the `data` of `file`, under its present names. Raises
    RunError."""
    if len(data) > LARGEST:
        raise RunError(f"{file}: has {len(data):,} bytes; the most is {LARGEST:,}")
    try:
        meta = orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise RunError(f"{file}: cannot be read as JSON: {first_line(e)}{_REMEDY}") from None
    if not isinstance(meta, dict):
        raise RunError(f"{file}: holds no JSON object{_REMEDY}")
    if deeper_than(meta, MAX_DEPTH):
        raise RunError(f"{file}: is nested more than {MAX_DEPTH} levels deep{_REMEDY}")
    meta = _with_new_names(meta)
    try:
        RunRecord.model_validate(meta)
    except ValidationError as e:
        raise RunError(f"{file}: {_first_problem(e)}{_REMEDY}") from None
    return meta


def asked_branches(meta: Json, file: str = RUN_FILE) -> list[Branch]:
    """Return the branches that users asked for, which run.json holds. Raises RunError."""
    branches = []
    for i, row in enumerate(meta.get("branches", [])):
        try:
            branch = Branch(**_BranchRow.model_validate(row).model_dump())
            for text in (branch.edit, branch.inherited):
                if deeper_than(orjson.loads(text), MAX_DEPTH):
                    raise ValueError("its edit is nested too deep")
            _ = branch.changes
        except ValidationError as e:
            raise RunError(f"{file}: branches.{i}: {_first_problem(e)}{_REMEDY}") from None
        except (StudyError, ValueError, TypeError) as e:
            raise RunError(f"{file}: branches.{i}: cannot be read: {first_line(e)}") from None
        branches.append(branch)
    return branches


_REMEDY = "; copy the file again from where the run comes from, or mend it in an editor"


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part)[:40] for part in problem["loc"])
    shown = repr(problem["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    what = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"'{path}' is {shown}: {what}" if path else what


def _with_new_names(meta: Json) -> Json:
    """Return run.json with the present names of its hashes."""
    renamed = {_NEW_NAMES.get(key, key): value for key, value in meta.items()}
    # If both names are there, the present one counts.
    return renamed | {key: meta[key] for key in _NEW_NAMES.values() if key in meta}


def kept_price(meta: Json) -> Price | None:
    """Return the price that a command gave to the models of a run without one. A model that only
    a branch brings has it too."""
    return Price.model_validate(meta["price"]) if meta.get("price") else None
