"""The material of a report, and how it is read from a run's folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from improv.analysis.decision import Doubt
from improv.analysis.delivery import read_delivery
from improv.analysis.exposure import Exposure
from improv.analysis.exposure_scan import read_exposure
from improv.analysis.inference import Analysis
from improv.analysis.judge_error import JudgeErrors
from improv.analysis.loader import analyse_run
from improv.analysis.look_record import record_look
from improv.errors import RunError, StudyError
from improv.graph.condition_graphs import ConditionGraphs, condition_graphs
from improv.models.budget import token_cost
from improv.records import Delivery, Json
from improv.report.history import history_doubts, history_notes
from improv.storage.history import NO_HISTORY, Past
from improv.storage.run_folder import RunFolder
from improv.storage.run_record import asked_branches, kept_price
from improv.storage.twins import find_twins
from improv.study.design import Study
from improv.study.named_models import named_models
from improv.study.plan import Plan
from improv.study.trial import plan as trials_of

_EMBEDDED = "embedded"
_CALL_COLUMNS = [
    "model",
    "endpoint",
    "latency",
    "error",
    "retried",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "estimated",
]


@dataclass(frozen=True)
class Material:
    """The material of a report: run.json, the study's texts, rows of tables, and the analysis.

    `calls` rows need endpoint, model, latency, error, retried and the token counts. `costs` maps
    a model to its dollars so far, None if it has no price. `lengths` are the rows that
    context_lengths.lengths made before the first call. `talk` has a graph of who speaks to whom for
    each condition. `failures` are the earlier failures of trials that were played again.
    `differences` say which files are not as improv wrote them.
    """

    run: str
    meta: Json
    question: str
    about: str
    trials: Sequence[Json]
    calls: Sequence[Json]
    limits: Sequence[Json]
    analysis: Analysis
    exposure: Exposure
    judges: Sequence[JudgeErrors] = ()
    costs: Mapping[str, float | None] = field(default_factory=dict)
    lengths: Sequence[Json] = ()
    talk: ConditionGraphs = field(default_factory=ConditionGraphs)
    differences: Sequence[str] = ()
    delivery: Mapping[str, Delivery] = field(default_factory=dict)
    """What did not arrive, by condition."""
    failures: Sequence[Json] = ()
    doubts: Sequence[Doubt] = ()
    """Doubts about the planned contrasts that the run's tables do not show."""
    past: Past = NO_HISTORY
    """What was done with the run."""
    notes: Sequence[str] = ()
    """Sentences on the run's history and on other runs of the same trials."""

    @property
    def embedded(self) -> bool:
        return _EMBEDDED in self.meta.get("models", [])


def read_material(folder: RunFolder, plan: Plan | None = None, *, by: str = "report") -> Material:
    """Analyse a run by its study's own plan or by another; return the material of its report.

    This is a look at the results, and the run's history says `by` what it was taken. Raises
    RunError, and ValueError if the plan does not fit the run.
    """
    analysed = analyse_run(folder, plan)
    study = analysed.study
    differences = folder.checksums.differences()
    if differences:
        with contextlib.suppress(OSError, RunError):
            folder.note_changes()
    record_look(folder, analysed.analysis, by)
    calls = folder.tables.read("calls", columns=_CALL_COLUMNS).to_pylist()
    meta, past = folder.meta(), folder.history
    return Material(
        run=folder.id,
        meta=meta,
        question=study.question,
        about=study.about,
        trials=folder.tables.read("trials").to_pylist(),
        calls=calls,
        limits=folder.tables.read("limits").to_pylist(),
        analysis=analysed.whole(),
        exposure=read_exposure(folder, study),
        judges=analysed.judges,
        costs=_costs(study, meta, calls),
        lengths=_rows(meta.get("lengths")),
        talk=condition_graphs(folder),
        differences=differences,
        delivery=read_delivery(folder) if analysed.delivery is None else analysed.delivery,
        failures=folder.tables.read("failures").to_pylist(),
        doubts=tuple(history_doubts(past, meta, analysed.analysis.plan)),
        past=past,
        notes=history_notes(past, meta, find_twins(folder)),
    )


def _rows(value: object) -> list[Json]:
    keys = {"scene", "context", "tokens", "matches", "of", "apart", "by"}
    rows = value if isinstance(value, list) else []
    return [row for row in rows if isinstance(row, dict) and keys <= set(row)]


def _costs(study: Study, meta: Json, calls: Sequence[Json]) -> dict[str, float | None]:
    """Return model → dollars, None if the model has no price."""
    asked = asked_branches(meta)
    try:
        models = named_models(study, trials_of(study), asked)
    except StudyError:
        models = named_models(study, trials_of(study), ())
    kept = kept_price(meta)
    prices = {model.model: model.price or kept for model in models}
    costs: dict[str, float | None] = {}
    for call in calls:
        price = prices.get(call["model"])
        if price is not None and not call["error"]:
            counts = (call["prompt_tokens"], call["completion_tokens"], call["cached_tokens"])
            before = costs.get(call["model"]) or 0.0
            costs[call["model"]] = before + token_cost(*counts, price)
    return costs
