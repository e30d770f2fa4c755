"""What the Compare room reads: a run's analysis, and the scenes behind each of its numbers.

The planned result is computed before the curves, so that the page shows it first. The exposure
ledger of a large run is read on a thread of its own. The scenes behind a number come from the same
units as the number.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import orjson
import streamlit as st

from improv.analysis import cache
from improv.analysis.cache import MANY_SCORES
from improv.analysis.decision import Doubt, DoubtKind
from improv.analysis.exposure import Exposure
from improv.analysis.exposure_scan import cached_exposure
from improv.analysis.inference import Analysis, Findings, explored_means
from improv.analysis.loader import RunAnalysis, analyse_run
from improv.analysis.look_record import record_look_once
from improv.analysis.units import (
    Frame,
    by_cell,
    cell_weights,
    matching_units,
    ordered_scores,
    outcome_scores,
    outcome_units,
)
from improv.errors import ImprovError
from improv.records import MAIN, Json
from improv.report.history import history_doubts, history_notes
from improv.report.material import Material
from improv.storage.runs import open_run
from improv.storage.twins import Twin, find_twins
from improv.study.design import Study
from improv.study.plan import ContrastSpec as Planned
from improv.study.plan import Outcome
from ui.shared import run_data

BROKEN = ("broken", "broke", "time", "recovered")
"""Outcomes that are computed from breaks, so that a scene can have a first break."""
UNCHECKED = Exposure(0, 0, {}, (), 0, 0)
"""Stands in for the exposure ledger until it has been read."""
LARGE = 3000
"""Number of trials from which on reading the ledger takes seconds."""
_PATIENCE = 0.4
"""Seconds that a page waits for the ledger before it is drawn without it."""

SCENE_KINDS = {
    "break": "first break",
    "never": "never broke",
    "line": "broke",
    "fall": "fell",
    "back": "came back",
}
"""Kinds of scenes behind a point: with the first break at a turn, without a break, with a broken
line at a turn, with a change to the opposite pole, and with a change back."""


@dataclass(frozen=True)
class SceneBehind:
    """A scene behind a number, and the turn that the number is about (None for the whole scene)."""

    trial: str
    branch: str
    block: str
    cell: str
    turn: int | None
    character: str
    value: float


@dataclass(frozen=True)
class Pair:
    """A block behind a contrast, with the value of each side."""

    block: str
    plus: float
    minus: float

    @property
    def apart(self) -> float:
        return self.plus - self.minus


# --- the analysis


def with_ratings(run: run_data.ViewedRun) -> run_data.ViewedRun:
    """Return the run with a stamp that changes with its ratings too: they change the judges'
    measured accuracy, though no scene."""
    said = open_run(run_data.root(), run.id).ratings.state()
    return run if said == "[]" else replace(run, stamp=f"{run.stamp} {said}")


def decided(run: run_data.ViewedRun) -> Findings:
    """Return the planned result and the judges of a run; curves and exploratory comparisons only
    where findings are cached. Raises ImprovError."""
    study = run_data.study(run)
    return run_data.patiently(lambda: _decided(run_data.root(), run.id, run.stamp, study))


def whole(run: run_data.ViewedRun) -> Analysis:
    """Return the analysis with its curves and exploratory comparisons. Raises ImprovError."""
    study = run_data.study(run)
    return run_data.patiently(lambda: _whole(run_data.root(), run.id, run.stamp, study))


def run_exposure(run: run_data.ViewedRun, *, begin: bool) -> Exposure | None:
    """Return the exposure ledger's result, None until it has been read. `begin` starts the reading:
    for a large run the page does so after everything else is drawn. Raises ImprovError."""
    known = _begun(run_data.root(), run.id, run.stamp)
    if begin and not known:
        known.append(_ledger(run_data.root(), run.id, run_data.study(run)))
    try:
        return known[0].result(_PATIENCE) if known else None
    except TimeoutError:
        return None


def material(run: run_data.ViewedRun, findings: Findings, exposed: Exposure | None) -> Material:
    """Return the part of a report's material that its decisions and warnings need. To read it is a
    look at the results, which the run's history says."""
    study = run_data.study(run)
    folder = open_run(run_data.root(), run.id)
    record_look_once(folder, findings.analysis, "viewer")
    meta, past = folder.meta(), folder.history
    return Material(
        run=run.id,
        meta=run.meta,
        question=study.question,
        about=study.about,
        trials=(),
        calls=(),
        limits=(),
        analysis=findings.analysis,
        exposure=exposed or UNCHECKED,
        judges=findings.judges,
        doubts=(
            *(() if exposed is not None else (_unchecked(run),)),
            *history_doubts(past, meta, findings.analysis.plan),
        ),
        past=past,
        notes=history_notes(past, meta, _twins(run_data.root(), run.id, run.stamp)),
    )


@st.cache_resource(max_entries=4, show_spinner=False, ttl=60)
def _twins(root: str, run: str, stamp: str) -> list[Twin]:
    """Return the runs of the same trials; to read all runs at each click would be slow."""
    return find_twins(open_run(root, run))


def _unchecked(run: run_data.ViewedRun) -> Doubt:
    if run.playing:
        return Doubt(DoubtKind.UNCHECKED, "The run is still being played.")
    why = "The prompts are being checked for texts that reached another arm."
    return Doubt(DoubtKind.UNCHECKED, why)


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(root: str, run: str, stamp: str, _study: Study) -> Findings | None:
    return cache.read_findings(open_run(root, run), _study)


def _decided(root: str, run: str, stamp: str, study: Study) -> Findings:
    if (known := _kept(root, run, stamp, study)) is not None:
        return known
    analysed, _ = _weighed(root, run, stamp, study)
    return Findings(analysed.analysis, analysed.judges)


@st.cache_resource(max_entries=2, show_spinner=False)
def _weighed(root: str, run: str, stamp: str, _study: Study) -> tuple[RunAnalysis, str]:
    """Return a run's analysis with its tables, and the state of the run that it was computed
    from."""
    folder = open_run(root, run)
    before = cache.run_state(folder)
    try:
        return analyse_run(folder, study=_study), before
    except ValueError as e:
        raise ImprovError(f"the plan does not fit this run: {e}") from None


@st.cache_resource(max_entries=4, show_spinner=False)
def _whole(root: str, run: str, stamp: str, _study: Study) -> Analysis:
    if (known := _kept(root, run, stamp, _study)) is not None:
        return known.analysis
    analysed, before = _weighed(root, run, stamp, _study)
    findings = Findings(analysed.whole(), analysed.judges)
    if len(analysed.tables.scores) >= MANY_SCORES:
        cache.write_findings(open_run(root, run), findings, before)
    return findings.analysis


@st.cache_resource(max_entries=4, show_spinner=False)
def _begun(root: str, run: str, stamp: str) -> list[Future[Exposure]]:
    """Return the list that holds the future of a run's ledger, once its reading has begun."""
    return []


def _ledger(root: str, run: str, study: Study) -> Future[Exposure]:
    """Start a thread that reads the ledger of a run; return its future."""
    future: Future[Exposure] = Future()

    def read() -> None:
        try:
            future.set_result(cached_exposure(open_run(root, run), study))
        except BaseException as e:
            future.set_exception(e)

    threading.Thread(target=read, daemon=True, name="ledger").start()
    return future


# --- units


def units(run: run_data.ViewedRun) -> Frame:
    """Return the units of the outcome."""
    return _both(run)[0]


def _of(run: run_data.ViewedRun) -> RunAnalysis:
    """Return the analysis with its tables, which cached findings do not have."""
    study = run_data.study(run)
    return run_data.patiently(lambda: _weighed(run_data.root(), run.id, run.stamp, study)[0])


def _outcome(run: run_data.ViewedRun) -> Outcome | None:
    return decided(run).analysis.outcome


def _both(run: run_data.ViewedRun) -> tuple[Frame, Frame | None]:
    study = run_data.study(run)
    return run_data.patiently(lambda: _units(run_data.root(), run.id, run.stamp, study))


@st.cache_resource(max_entries=2, show_spinner=False)
def _units(root: str, run: str, stamp: str, _study: Study) -> tuple[Frame, Frame | None]:
    """Return the units of the outcome, and those of the first break where the outcome has one."""
    analysed, _ = _weighed(root, run, stamp, _study)
    outcome, plan = analysed.analysis.outcome, analysed.analysis.plan
    assert outcome is not None
    arms = plan is not None and plan.of_arms
    times = None
    if outcome.of in BROKEN:
        first_break = outcome.model_copy(update={"of": "time", "less": ""})
        times = outcome_units(first_break, analysed.tables, arms=arms)
    return outcome_units(outcome, analysed.tables, arms=arms), times


# --- the scenes behind a condition


def scenes(
    run: run_data.ViewedRun, cell: str, kind: str = "", turn: int | None = None
) -> list[SceneBehind]:
    """Return the scenes of a condition, or those of a `kind` at a `turn`, the largest value
    first."""
    own, times = _both(run)
    mine = own[own["cell"] == cell]
    if kind in ("line", "fall", "back"):
        return _lines(run, own, cell, kind, turn)
    first = np.full(len(own), -1)
    if times is not None:
        known = (times["event"] & times["value"].notna()).to_numpy(dtype=bool)
        first[known] = times["value"].to_numpy(dtype=float)[known].astype(int)
    at = mine.index.to_numpy()
    if kind == "break":
        at = at[(first[at] >= 0) & ((first[at] == turn) if turn is not None else True)]
    elif kind == "never":
        at = at[(first[at] < 0) & mine["value"].notna().to_numpy()]
    values = own["value"].to_numpy(dtype=float)
    order = np.lexsort((at, -np.nan_to_num(values[at], nan=-1.0)))
    return [_scene(own, i, int(first[i]) if first[i] >= 0 else None) for i in at[order].tolist()]


def _lines(
    run: run_data.ViewedRun, own: Frame, cell: str, kind: str, turn: int | None
) -> list[SceneBehind]:
    analysed = _of(run)
    outcome = analysed.analysis.outcome
    assert outcome is not None
    place = np.full(len(analysed.tables.trials), -1, dtype=np.int64)
    mine = own[own["cell"] == cell]
    place[mine["at"].to_numpy()] = mine.index.to_numpy()
    if kind == "line":
        rows = outcome_scores(outcome, analysed.tables)
        hit = (rows["value"] == 0).to_numpy()
    else:
        rows = ordered_scores(analysed.tables, outcome.measure)
        values = rows["value"].to_numpy(dtype=float)
        same = np.diff(rows["sequence"].to_numpy(), prepend=-1) == 0
        before, now = (1.0, 0.0) if kind == "fall" else (0.0, 1.0)
        hit = same & (np.roll(values, 1) == before) & (values == now)
    rows = rows[hit & (place[rows["at"].to_numpy()] >= 0)]
    if turn is not None:
        rows = rows[rows["turn"] == turn]
    at = place[rows["at"].to_numpy()].tolist()
    each = zip(at, rows["turn"].tolist(), rows["character"].tolist(), strict=True)
    listed = [_scene(own, i, int(t), str(who)) for i, t, who in each]
    return sorted(listed, key=lambda s: (s.turn or 0, s.block))


def _scene(own: Frame, i: int, turn: int | None, character: str = "") -> SceneBehind:
    names = ("trial", "branch", "block", "cell")
    trial, branch, block, cell = (str(own[name].iloc[i]) for name in names)
    return SceneBehind(trial, branch, block, cell, turn, character, float(own["value"].iloc[i]))


def quotes(
    run: run_data.ViewedRun, listed: Sequence[SceneBehind]
) -> dict[tuple[str, str, int], tuple[str, str]]:
    """Return the lines at the turns of these scenes: (trial, branch, turn) → (character, line)."""
    outcome = _outcome(run)
    if outcome is None:
        return {}
    family = outcome.measure
    said: dict[tuple[str, str, int], tuple[str, str]] = {}
    for trial in dict.fromkeys(s.trial for s in listed):
        wanted = {(s.trial, s.branch, s.turn or 0) for s in listed if s.trial == trial}
        for row in _scores(run_data.root(), run.id, run.stamp, trial):
            key = (trial, row["branch"], row["turn"] or 0)
            named = row["measure"] == family or row["measure"].startswith(f"{family}:")
            if key in wanted and named and (key not in said or row["value"] == 0):
                said[key] = (row["character"], line_of(row["evidence"]))
    return said


@st.cache_resource(max_entries=256, show_spinner=False)
def _scores(root: str, run: str, stamp: str, trial: str) -> list[Json]:
    rows: list[Json] = open_run(root, run).tables.read("scores", trial=trial).to_pylist()
    return rows


def line_of(evidence: str) -> str:
    """Return the line in a score's evidence: JSON for a judge, the line itself for a marker."""
    try:
        fields = orjson.loads(evidence) if evidence.startswith("{") else None
    except orjson.JSONDecodeError:
        return evidence
    return str(fields.get("line", "")) if isinstance(fields, dict) else evidence


# --- what is behind a contrast


def sides(
    run: run_data.ViewedRun, name: str
) -> tuple[list[Pair], list[tuple[list[SceneBehind], list[SceneBehind]]]]:
    """Return the blocks behind a contrast, or the scenes of its two sides where they are not
    compared within blocks. Both lists are empty where no contrast has that name."""
    analysed = _of(run)
    plan, outcome = analysed.analysis.plan, analysed.analysis.outcome
    if outcome is None:
        return [], []
    contrast = planned_contrast(analysed, name)
    if contrast is None:
        return _unplanned(analysed, outcome, name), []
    own = units(run)
    if outcome.of == "time" or outcome.unit == "scene":
        both = [matching_units(own, side[0]) for side in (contrast.plus, contrast.minus)]
        listed = [
            [s for cell in dict.fromkeys(part["cell"]) for s in scenes(run, str(cell))]
            for part in both
        ]
        return [], [(listed[0], listed[1])]
    try:
        weighing = cell_weights(own, contrast.plus, contrast.minus)
    except ValueError:
        return [], []
    assert plan is not None
    return pairs(by_cell(own), weighing), []


def planned_contrast(analysed: RunAnalysis, name: str) -> Planned | None:
    """Return the planned contrast of that name, None for none."""
    plan = analysed.analysis.plan
    return next((c for c in plan.contrasts if c.name == name), None) if plan is not None else None


def _unplanned(analysed: RunAnalysis, outcome: Outcome, name: str) -> list[Pair]:
    for measure, means in explored_means(
        analysed.analysis.plan, outcome, analysed.tables, analysed.judges
    ):
        first, *others = means
        for other in others:
            if name == f"{measure}: {other} against {first}":
                return pairs(means, {first: -1.0, other: 1.0})
    return []


def pairs(values: Mapping[str, Mapping[str, float]], weighing: Mapping[str, float]) -> list[Pair]:
    """Return the two sides of each complete block, the largest difference first."""
    rows = []
    blocks = set.intersection(*(set(values[cell]) for cell in weighing)) if weighing else set()
    for block in sorted(blocks):
        plus = sum(w * values[cell][block] for cell, w in weighing.items() if w > 0)
        minus = -sum(w * values[cell][block] for cell, w in weighing.items() if w < 0)
        rows.append(Pair(block, plus, minus))
    return sorted(rows, key=lambda p: (-abs(p.apart), p.block))


# --- a block


def block_names(run: run_data.ViewedRun) -> list[str]:
    """Return the names of a run's blocks, in the order of the plan."""
    return [str(b) for b in run_data.trial_rows(run).distinct("block")]


def block_rows(run: run_data.ViewedRun, block: str) -> list[Json]:
    """Return the rows of the trials of a block, in the order of the study's conditions."""
    rows = run_data.trial_rows(run)
    order = {name: i for i, name in enumerate(run.meta.get("conditions") or [])}
    here = [rows[i] for i in rows.places(block=block).tolist()]
    return sorted(here, key=lambda r: (order.get(r["condition"], len(order)), r["index"]))


def broken_lines(run: run_data.ViewedRun, play: run_data.Play) -> dict[int, list[Json]]:
    """Return turn → scores of the scene's broken lines, for the measure of the outcome."""
    outcome = _outcome(run)
    marks: dict[int, list[Json]] = {}
    for score in play.scores:
        named = (
            outcome is not None
            and score["measure"].partition(":")[0] == (outcome.measure.partition(":")[0])
        )
        if (
            named
            and score["value"] == 0
            and score["turn"] is not None
            and (score["branch"] in (MAIN, play.row["branch"]))
        ):
            marks.setdefault(score["turn"], []).append(score)
    return marks
