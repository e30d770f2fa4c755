"""What the Compare room reads: a run's analysis, and the scenes behind each of its numbers.

The result comes first and the pictures after, so that a page can show the one while the other is
made; the ledger of a large run is read on a thread of its own. Whatever is looked at, its scenes
are found from the same units that its number was made of.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import orjson
import streamlit as st

from improv.analysis import cache
from improv.analysis.cache import MANY_SCORES
from improv.analysis.exposure import Exposure
from improv.analysis.exposure_scan import cached_exposure
from improv.analysis.inference import Analysis, Findings, explored_means
from improv.analysis.loader import RunAnalysis, analyse_run
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
from improv.report.material import Material
from improv.storage.runs import open_run
from improv.study.design import Study
from improv.study.plan import ContrastSpec as Planned
from improv.study.plan import Outcome
from ui.shared import run_data

Places = npt.NDArray[np.int64]

BROKEN = ("broken", "broke", "time", "recovered")
"""Outcomes that are made of breaks, so that a scene has a first one."""
UNCHECKED = Exposure(0, 0, {}, (), 0, 0)
"""What stands for the ledger while it is read."""
LARGE = 3000
"""Trials from which on the ledger takes seconds."""
PATIENCE = 0.4
"""Seconds that a page waits for the ledger before it shows all the rest."""

KINDS = {
    "break": "first break",
    "never": "never broke",
    "line": "broke",
    "fall": "fell",
    "back": "came back",
}
"""Which scenes of a condition: those whose first break was at a turn, those that never broke, those
with a broken line at a turn, and those in which somebody fell to the opposite or came back."""


@dataclass(frozen=True)
class Found:
    """A scene behind a number: where it is, and the turn that matters."""

    trial: str
    branch: str
    block: str
    cell: str
    turn: int | None
    character: str
    value: float


@dataclass(frozen=True)
class Pair:
    """A block behind a contrast: the value of each side, and the scenes that it is made of."""

    block: str
    plus: float
    minus: float

    @property
    def apart(self) -> float:
        return self.plus - self.minus


# --- the analysis


def with_ratings(run: run_data.Run) -> run_data.Run:
    """Return the run as this room knows it: a rating changes what judges are worth, if no scene."""
    said = open_run(run_data.root(), run.id).ratings.state()
    return run if said == "[]" else replace(run, stamp=f"{run.stamp} {said}")


def decided(run: run_data.Run) -> Findings:
    """Return what the run's plan decides, and its judges; the pictures only where they are kept.
    Raises ImprovError."""
    study = run_data.study(run)
    return run_data.patiently(lambda: _decided(run_data.root(), run.id, run.stamp, study))


def whole(run: run_data.Run) -> Analysis:
    """Return the analysis with its pictures, and what nobody planned. Raises ImprovError."""
    study = run_data.study(run)
    return run_data.patiently(lambda: _whole(run_data.root(), run.id, run.stamp, study))


def exposure(run: run_data.Run, *, begin: bool) -> Exposure | None:
    """Return what the ledger found, None while it is read, and before that is begun: of a large
    run it is only begun when all else is on the page. Raises ImprovError."""
    known = _begun(run_data.root(), run.id, run.stamp)
    if begin and not known:
        known.append(_ledger(run_data.root(), run.id, run_data.study(run)))
    try:
        return known[0].result(PATIENCE) if known else None
    except TimeoutError:
        return None


def material(run: run_data.Run, of: Findings, exposed: Exposure | None) -> Material:
    """Return as much of a report's material as its decisions and warnings need."""
    study = run_data.study(run)
    return Material(
        run=run.id,
        meta=run.meta,
        question=study.question,
        about=study.about,
        trials=(),
        calls=(),
        limits=(),
        analysis=of.analysis,
        exposure=exposed or UNCHECKED,
        judges=of.judges,
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(root: str, run: str, stamp: str, _study: Study) -> Findings | None:
    return cache.read_findings(open_run(root, run), _study)


def _decided(root: str, run: str, stamp: str, study: Study) -> Findings:
    if (known := _kept(root, run, stamp, study)) is not None:
        return known
    of, _ = _weighed(root, run, stamp, study)
    return Findings(of.analysis, of.judges)


@st.cache_resource(max_entries=2, show_spinner=False)
def _weighed(root: str, run: str, stamp: str, _study: Study) -> tuple[RunAnalysis, str]:
    """Return a run's tables and what is decided, and what that hangs on."""
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
    of, before = _weighed(root, run, stamp, _study)
    found = Findings(of.whole(), of.judges)
    if len(of.tables.scores) >= MANY_SCORES:
        cache.write_findings(open_run(root, run), found, before)
    return found.analysis


@st.cache_resource(max_entries=4, show_spinner=False)
def _begun(root: str, run: str, stamp: str) -> list[Future[Exposure]]:
    """Return where the reading of a run's ledger is kept, once it is begun."""
    return []


def _ledger(root: str, run: str, study: Study) -> Future[Exposure]:
    """Begin to read the ledger of a run."""
    future: Future[Exposure] = Future()

    def read() -> None:
        try:
            future.set_result(cached_exposure(open_run(root, run), study))
        except BaseException as e:
            future.set_exception(e)

    threading.Thread(target=read, daemon=True, name="ledger").start()
    return future


# --- units


def found(run: run_data.Run) -> Frame:
    """Return the units that the outcome is made of."""
    return _both(run)[0]


def _of(run: run_data.Run) -> RunAnalysis:
    """Return the tables too: for who looks behind a number, which what is kept cannot show."""
    study = run_data.study(run)
    return run_data.patiently(lambda: _weighed(run_data.root(), run.id, run.stamp, study)[0])


def _outcome(run: run_data.Run) -> Outcome | None:
    return decided(run).analysis.outcome


def _both(run: run_data.Run) -> tuple[Frame, Frame | None]:
    study = run_data.study(run)
    return run_data.patiently(lambda: _units(run_data.root(), run.id, run.stamp, study))


@st.cache_resource(max_entries=2, show_spinner=False)
def _units(root: str, run: str, stamp: str, _study: Study) -> tuple[Frame, Frame | None]:
    """Return the units of the outcome, and those of the first break where there is such a thing."""
    of, _ = _weighed(root, run, stamp, _study)
    outcome, plan = of.analysis.outcome, of.analysis.plan
    assert outcome is not None
    arms = plan is not None and plan.of_arms
    times = None
    if outcome.of in BROKEN:
        asked = outcome.model_copy(update={"of": "time", "less": ""})
        times = outcome_units(asked, of.tables, arms=arms)
    return outcome_units(outcome, of.tables, arms=arms), times


# --- the scenes behind a condition


def scenes(run: run_data.Run, cell: str, kind: str = "", turn: int | None = None) -> list[Found]:
    """Return the scenes of a condition, or those of a `kind`, those that matter most first."""
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


def _lines(run: run_data.Run, own: Frame, cell: str, kind: str, turn: int | None) -> list[Found]:
    of = _of(run)
    outcome = of.analysis.outcome
    assert outcome is not None
    place = np.full(len(of.tables.trials), -1, dtype=np.int64)
    mine = own[own["cell"] == cell]
    place[mine["at"].to_numpy()] = mine.index.to_numpy()
    if kind == "line":
        rows = outcome_scores(outcome, of.tables)
        hit = (rows["value"] == 0).to_numpy()
    else:
        rows = ordered_scores(of.tables, outcome.measure)
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


def _scene(own: Frame, i: int, turn: int | None, character: str = "") -> Found:
    names = ("trial", "branch", "block", "cell")
    trial, branch, block, cell = (str(own[name].iloc[i]) for name in names)
    return Found(trial, branch, block, cell, turn, character, float(own["value"].iloc[i]))


def quotes(
    run: run_data.Run, listed: Sequence[Found]
) -> dict[tuple[str, str, int], tuple[str, str]]:
    """Return who says what in the lines that matter: (trial, branch, turn) → (character, line)."""
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
    """Return the line in a score's evidence: a judge's has it in JSON, a marker's is the line."""
    try:
        told = orjson.loads(evidence) if evidence.startswith("{") else None
    except orjson.JSONDecodeError:
        return evidence
    return str(told.get("line", "")) if isinstance(told, dict) else evidence


# --- what is behind a contrast


def sides(run: run_data.Run, name: str) -> tuple[list[Pair], list[tuple[list[Found], list[Found]]]]:
    """Return the blocks behind a contrast, or the scenes of its two sides where they are not
    compared within blocks; both empty for a name that is none of theirs."""
    of = _of(run)
    plan, outcome = of.analysis.plan, of.analysis.outcome
    if outcome is None:
        return [], []
    asked = planned(of, name)
    if asked is None:
        return _unplanned(of, outcome, name), []
    own = found(run)
    if outcome.of == "time" or outcome.unit == "scene":
        both = [matching_units(own, side[0]) for side in (asked.plus, asked.minus)]
        listed = [
            [s for cell in dict.fromkeys(part["cell"]) for s in scenes(run, str(cell))]
            for part in both
        ]
        return [], [(listed[0], listed[1])]
    try:
        weighing = cell_weights(own, asked.plus, asked.minus)
    except ValueError:
        return [], []
    assert plan is not None
    return pairs(by_cell(own), weighing), []


def planned(of: RunAnalysis, name: str) -> Planned | None:
    """Return the planned contrast that is called so."""
    plan = of.analysis.plan
    return next((c for c in plan.contrasts if c.name == name), None) if plan is not None else None


def _unplanned(of: RunAnalysis, outcome: Outcome, name: str) -> list[Pair]:
    for measure, means in explored_means(of.analysis.plan, outcome, of.tables, of.judges):
        first, *others = means
        for other in others:
            if name == f"{measure}: {other} against {first}":
                return pairs(means, {first: -1.0, other: 1.0})
    return []


def pairs(values: Mapping[str, Mapping[str, float]], weighing: Mapping[str, float]) -> list[Pair]:
    """Return each complete block's two sides, those that are furthest apart first."""
    rows = []
    blocks = set.intersection(*(set(values[cell]) for cell in weighing)) if weighing else set()
    for block in sorted(blocks):
        plus = sum(w * values[cell][block] for cell, w in weighing.items() if w > 0)
        minus = -sum(w * values[cell][block] for cell, w in weighing.items() if w < 0)
        rows.append(Pair(block, plus, minus))
    return sorted(rows, key=lambda p: (-abs(p.apart), p.block))


# --- a block


def blocks(run: run_data.Run) -> list[str]:
    """Return the names of a run's blocks, in the order of the plan."""
    return [str(b) for b in run_data.trials(run).distinct("block")]


def of_block(run: run_data.Run, block: str) -> list[Json]:
    """Return the rows of the trials of a block, in the order of the study's conditions."""
    rows = run_data.trials(run)
    order = {name: i for i, name in enumerate(run.meta.get("conditions") or [])}
    here = [rows[i] for i in rows.places(block=block).tolist()]
    return sorted(here, key=lambda r: (order.get(r["condition"], len(order)), r["index"]))


def broken(run: run_data.Run, play: run_data.Play) -> dict[int, list[Json]]:
    """Return the scores of a scene's broken lines by turn, of what the outcome is made of."""
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
