"""Reads a run's folder for an analysis: whole columns, never row by row. The package report reads
its own material."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from improv.analysis.borrowed import read_borrowed
from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.delivery import read_delivery, unheard_sentence
from improv.analysis.design_doubts import record_doubts
from improv.analysis.inference import (
    Analysis,
    add_exploratory,
    analyse_planned,
)
from improv.analysis.judge_error import JudgeErrors, measure_judges
from improv.analysis.speech import Speech, read_speech
from improv.analysis.units import Frame, Tables, make_tables
from improv.errors import RunError
from improv.records import Delivery, Score
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS
from improv.study.design import Study
from improv.study.measure_spec import made_by
from improv.study.plan import Plan
from improv.study.trial import plan as plan_trials

_PUPPET = "puppet"
_TRIALS = [
    "trial",
    "branch",
    "index",
    "origin",
    "scene",
    "condition",
    "levels",
    "block",
    "arm",
    "status",
    "turns",
]
_SCORES = ["trial", "branch", "turn", "character", "measure", "version", "value"]
_TEXTS = ["trial", "branch", "character", "measure", "version"]
VERDICT_COLUMNS = [
    "trial",
    "branch",
    "turn",
    "character",
    "measure",
    "judge",
    "item",
    "value",
    "truth",
    "error",
]


def read_tables(
    folder: RunFolder, study: Study | None = None, *, moves: bool = True, blocks: int = 0
) -> Tables:
    """Return the tables that an analysis needs. Raises RunError.

    `blocks` is the number of planned blocks whose order is wanted too. `moves` reads the authors'
    moves too, which only the outcome "recovered" needs.
    """
    study = study or folder.study()
    turns = _moves(folder) if moves else SCHEMAS["turns"].empty_table()
    return make_tables(
        _with_levels(folder.tables.read("trials", columns=_TRIALS)),
        # Columns of one kind are not gathered into one array: that is a copy of everything.
        folder.tables.read_coded("scores", _SCORES, _TEXTS).to_pandas(split_blocks=True),
        turns.to_pandas(),
        [c.name for c in study.conditions],
        list(itertools.islice(plan_trials(study).blocks(), blocks)),
    )


def with_scores(tables: Tables, scores: Sequence[Score], scorers: Sequence[str]) -> Tables:
    """Return the tables with these scores instead of those that the scorers made before."""
    there = tables.scores
    kept = there[[made_by(m) not in scorers for m in there["measure"]]]
    rows = [tuple(getattr(score, name) for name in _SCORES) for score in scores]
    added = pd.DataFrame(rows, columns=_SCORES)
    parts = [part.astype(dict.fromkeys(_TEXTS, object)) for part in (kept, added)]
    return replace(tables, scores=pd.concat(parts, ignore_index=True), _kept={})


def _with_levels(trials: pa.Table) -> Frame:
    """Return the trials with their levels as dicts, one dict shared by all trials of a condition.

    To unpack levels trial by trial would take longer than the rest of the analysis.
    """
    lists = trials["levels"].combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    pairs = lists.flatten()
    texts = pc.binary_join_element_wise(pairs.field("name"), pairs.field("value"), "\x1f")
    offsets = pc.subtract(lists.offsets, lists.offsets[0])
    keys = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), "\x1e").dictionary_encode()
    levels = [
        dict(pair.split("\x1f", 1) for pair in key.split("\x1e")) if key else {}
        for key in keys.dictionary.to_pylist()
    ]
    frame = trials.drop_columns(["levels"]).to_pandas()
    frame["levels"] = [levels[i] for i in keys.indices.to_pylist()]
    return frame


def _moves(folder: RunFolder) -> pa.Table:
    """Return the turns that an author's act precedes."""
    turns = folder.tables.read("turns", columns=["trial", "branch", "turn", "acts"])
    # Few turns have an act, and lists are slow to convert.
    return turns.filter(pc.greater(pc.list_value_length(turns["acts"]), 0))


@dataclass(frozen=True)
class RunAnalysis:
    """A run's study, its tables, its judges, and its planned analysis.

    `analysis` has no curves and no exploration: `RunAnalysis.whole` adds them. `delivery` is what
    did not arrive, by condition, if the analysis had to know it.
    """

    study: Study
    tables: Tables
    judges: tuple[JudgeErrors, ...]
    analysis: Analysis
    delivery: Mapping[str, Delivery] | None = None

    def whole(self) -> Analysis:
        """Return the analysis with its curves over turns and its exploratory contrasts."""
        return add_exploratory(self.analysis, self.tables, seed=self.study.seed, judges=self.judges)


def speech_of_run(folder: RunFolder, study: Study, plan: Plan | None, tables: Tables) -> Speech:
    """Return what an analysis needs of the lines of a run. Raises RunError."""
    speech = read_speech(folder, study)
    if plan is None or folder.meta().get("models") == [_PUPPET]:
        return speech
    others = read_borrowed(folder, plan.outcome, tables, speech.predicates)
    return replace(speech, borrowed=others)


def analyse_run(
    folder: RunFolder, plan: Plan | None = None, study: Study | None = None
) -> RunAnalysis:
    """Analyse a run by its own plan or by another. Raises RunError, and ValueError if the plan
    does not fit the run."""
    study = study or folder.study()
    plan = plan or study.plan
    tables = read_tables(
        folder,
        study,
        moves=plan is not None and plan.outcome.of == "recovered",
        blocks=plan.blocks if plan is not None else 0,
    )
    verdicts = folder.tables.read("verdicts", columns=VERDICT_COLUMNS).to_pandas()
    tables = replace(tables, verdicts=verdicts)
    judges = tuple(measure_judges(verdicts, tables.trials, seed=study.seed))
    planned = plan is not None and plan.hash == folder.meta().get("plan_hash")
    speech = speech_of_run(folder, study, plan, tables)
    analysis = analyse_planned(
        plan, tables, seed=study.seed, planned=planned, judges=judges, speech=speech
    )
    doubts: list[Doubt] = []
    if plan is not None:
        blocks = len({slug for slug, _, _ in study.cells}) * study.replicates
        meta = folder.meta()
        doubts += record_doubts(plan, meta, tables.trials, speech.turns(), blocks)
    delivery = None
    if any(scene.author.live for _, _, scene in study.cells) and analysis.outcome is not None:
        try:
            delivery = read_delivery(folder)
            unheard = unheard_sentence(delivery)
        except RunError as e:
            unheard = f"Whether the author was heard is not known, because its calls are lost: {e}"
        if unheard:
            doubts.append(Doubt(DoubtKind.UNHEARD, unheard))
    analysis = replace(analysis, doubts=(*analysis.doubts, *doubts))
    return RunAnalysis(study, tables, judges, analysis, delivery)
