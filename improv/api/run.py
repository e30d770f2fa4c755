"""improv from Python: load a study, play it, and read the run as an object.

    run = improv.run("author-context", ray="off")
    run.turns.pandas()
    run.report()
    run.branch("0@6", edit={"line": "The lamp is out."})

It does what the commands do, in a script or in a notebook's cell. Modules that take seconds to
import (Ray, statistics) are imported when they are first needed.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from improv.api.table import NAMES, Table, connect, html_table
from improv.api.transcript import Script, script
from improv.errors import RunError
from improv.models.budget import Budget
from improv.records import MAIN, Json
from improv.runner.session import Setup, Watch
from improv.storage import runs as run_list
from improv.storage.run_folder import RunFolder
from improv.study.design import Study
from improv.study.limits import MAX_TRIALS
from improv.study.loader import load
from improv.study.overrides import read_edit

if TYPE_CHECKING:
    import duckdb

    from improv.api.results import DryRun, Graphs, Report
    from improv.export.exporter import ExportResult
    from improv.graph.graph import Graph
    from improv.runner.launch import Result
    from improv.scoring.scorer import ScoringResult

# In a notebook Ray would print a red, dated warning that widgets are missing.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)

Where = str | os.PathLike[str]
_BUDGETS = {"max_calls": "calls", "max_tokens": "tokens", "max_cost": "cost"}


@dataclass(frozen=True)
class Run:
    """One run: its tables, its scenes, its report and its graphs.

    `result` is there if this process played the run: how many trials are done, failed and owed,
    and what stopped it. A run that is still being played may be read.
    """

    folder: RunFolder
    result: Result | None = None

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def meta(self) -> Json:
        """The content of run.json: versions, models, conditions, status."""
        return self.folder.meta()

    @property
    def history(self) -> list[Json]:
        """What was done with the run, a row for each entry, for `pandas.DataFrame`."""
        past = self.folder.history
        return [{"number": e.number, "at": e.at, "what": e.what, **e.details} for e in past.entries]

    @property
    def study(self) -> Study:
        """The study as it was when the run was created. Raises StudyError."""
        return self.folder.study()

    @property
    def trials(self) -> Table:
        return Table(self.folder, "trials")

    @property
    def turns(self) -> Table:
        return Table(self.folder, "turns")

    @property
    def calls(self) -> Table:
        return Table(self.folder, "calls")

    @property
    def blocks(self) -> Table:
        return Table(self.folder, "blocks")

    @property
    def scores(self) -> Table:
        return Table(self.folder, "scores")

    @property
    def verdicts(self) -> Table:
        return Table(self.folder, "verdicts")

    @property
    def limits(self) -> Table:
        return Table(self.folder, "limits")

    @property
    def failures(self) -> Table:
        """The earlier failures of trials and branches that were played again."""
        return Table(self.folder, "failures")

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Query the run's tables by their names with DuckDB. Only the tables that the query names
        are read. Raises RunError if DuckDB is not installed, and duckdb.Error."""
        connection = connect()
        for name in NAMES:
            if re.search(rf"\b{name}\b", query):
                connection.register(name, Table(self.folder, name).arrow())
        return connection.sql(query)

    def transcript(self, trial: str | int = 0) -> Script:
        """Return one scene. `trial` is the trial's id, its number, or the beginning of its id;
        TRIAL~BRANCH names a branch. Raises RunError."""
        return script(self.folder, str(trial))

    def report(self, by: Study | Where | None = None) -> Report:
        """Return the report by the run's own plan, or by the plan of another study.
        Raises RunError, and StudyError if the other study cannot be read."""
        from improv.api.results import report_on_run

        other = by if isinstance(by, Study) or by is None else load(os.fspath(by))
        return report_on_run(self.folder, other.plan if other is not None else None)

    def graph(self, trial: str | int = "", **fields: Any) -> Graph:
        """Return one NetworkX graph of who spoke to whom, in one trial or in all of them.

        `fields` are fields of graph.build.GraphRequest, like the options of `improv graph`: of,
        kinds, first, last, guesses, each, scene, condition. Raises RunError.
        """
        from improv.graph.build import GraphRequest, build_graphs

        request = GraphRequest(str(trial), **{"null": False, **fields})
        graphs = build_graphs(self.folder, request).graphs
        if len(graphs) != 1:
            raise RunError(f"this request makes {len(graphs)} graphs; call `graphs` for them")
        return graphs[0].graph

    def graphs(self, trial: str | int = "", *, ray: str = "off", **fields: Any) -> Graphs:
        """Return graphs by name, with their figures and those of a null model.

        by="condition" or window=4 make several graphs; `condition` with `against` or `around`
        adds a comparison. `fields` are those of `graph`, `ray` is "off", "local" or an address.
        Raises RunError, and MachineError if Ray does not start."""
        from improv.api.results import Graphs
        from improv.graph import parallel
        from improv.graph.build import GraphRequest

        return Graphs(
            parallel.build_graphs_with_ray(self.folder, GraphRequest(str(trial), **fields), ray)
        )

    def branch(
        self,
        place: str,
        *,
        edit: Mapping[str, str] | Sequence[str] = (),
        draws: int = 1,
        again: bool = False,
        setup: Setup | None = None,
        **settings: Any,
    ) -> list[Script]:
        """Branch a scene at "TRIAL@TURN", play on from there, and return the new scenes.

        `edit` changes something first: {"author.frame": "She never lies."}, "line", "move",
        "memory.NAME". `draws` is the number of branches. With `again`, only that turn is drawn
        again. Raises RunError, StudyError.
        """
        from improv.runner.branching import branch

        trial, at, turn = place.rpartition("@")
        if not at or not turn.isascii() or not turn.isdecimal():
            raise RunError(f"{place!r}: not a place; write TRIAL@TURN, such as 0@4")
        edits = [f"{k}={v}" for k, v in edit.items()] if isinstance(edit, Mapping) else list(edit)
        setup = _setup(setup, {"ray": "off", **settings} if setup is None else settings)
        branches = branch(
            self.folder,
            trial,
            int(turn),
            edit=read_edit(edits),
            draws=draws,
            again=again,
            setup=setup,
        )
        table = self.folder.tables.read("trials", columns=["trial", "branch"]).to_pylist()
        played = {(row["trial"], row["branch"]) for row in table}
        if branches.stopped or any((b.trial, b.id) not in played for b in branches.fresh):
            why = branches.stopped or "it was not played"
            raise RunError(f"{place}: {why}; `resume` continues it")
        return [script(self.folder, f"{b.trial}~{b.id}") for b in branches.fresh]

    def score(
        self,
        *measures: str,
        judge: str = "",
        redo: bool = False,
        connections: int = 64,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        **judges: Any,
    ) -> ScoringResult:
        """Score the run by measures and, if `judge` names one, by a judge; nothing is played.

        `judges` are fields of scoring.scorer.Judges: second, base_url, plants, trusted and others.
        Raises RunError.
        """
        from improv.scoring.judge_models import Judges
        from improv.scoring.scorer import score

        budget = Budget(max_calls, max_tokens, max_cost)
        who = Judges(judge, **judges)
        return score(self.folder, measures, who, redo=redo, connections=connections, budget=budget)

    def export(
        self,
        to: str,
        output: Where = "",
        trial: str | int = "",
        *,
        force: bool = False,
        **selection: Any,
    ) -> ExportResult:
        """Write scenes in another program's format: to="jsonl", "hf", "inspect", "fountain",
        "markdown" or "otel" (docs/export.md). `selection` may hold condition, scene and branches.
        Raises RunError.
        """
        from improv.export.exporter import export
        from improv.export.selection import SceneFilter

        return export(
            self.folder, to, SceneFilter(str(trial), **selection), os.fspath(output), force=force
        )

    def resume(
        self, *, setup: Setup | None = None, watch: Watch | None = None, **settings: Any
    ) -> Run:
        """Play the trials that the run still owes, and return the run. `settings` are those of
        `run`. Raises RunError and MachineError."""
        from improv.runner import launch

        result = launch.resume(self.folder, setup=_setup(setup, settings), watch=watch)
        return Run(result.folder, result)

    def __repr__(self) -> str:
        return f"<run {self.id}: {self._summary()}>"

    def _repr_html_(self) -> str:
        counts = {str(name): [0, 0, 0, 0, 0] for name in self.meta.get("conditions", [])}
        columns = ["condition", "branch", "status", "turns", "calls"]
        for row in self.folder.tables.read("trials", columns=columns).to_pylist():
            count = counts.setdefault(row["condition"], [0, 0, 0, 0, 0])
            if row["branch"] == MAIN:
                count[row["status"] == "failed"] += 1
            else:
                count[2] += 1
            count[3] += row["turns"] or 0
            count[4] += row["calls"] or 0
        head = ("condition", "done", "failed", "branches", "turns", "calls")
        rows = [(condition, *count) for condition, count in counts.items() if any(count)]
        return html_table(head, rows, f"{self.id}: {self._summary()}")

    def _summary(self) -> str:
        try:
            meta = self.meta
        except RunError as e:
            return str(e)
        models = ", ".join(map(str, meta.get("models", [])))
        return f"{meta.get('study', '')}, played by {models}, {meta.get('status', '')}"


def load_study(
    path: Where,
    *,
    planted: str = "",
    replicates: int | None = None,
    max_trials: int = MAX_TRIALS,
    **scene: Any,
) -> Study:
    """Read a study, or a scene as a study of one condition, from a file or by its shipped name.

    `planted` names one of the study's planted truths, which puppets then play. `replicates`
    replaces the study's number, and `max_trials` is the most trials, branches included, that the
    study may have. All other keywords are set in every scene, like a study's `set`:
    turns=8, model="gpt-4.1-mini", author={"live": False}. Raises StudyError, which lists every
    problem.
    """
    if isinstance(scene.get("model"), str):
        scene["model"] = {"model": scene["model"]}
    return load(os.fspath(path), scene, planted, replicates=replicates, max_trials=max_trials)


def dry_run(
    study: Study | Where, *, limit: int | None = None, max_trials: int = MAX_TRIALS
) -> DryRun:
    """Estimate the calls, tokens and dollars that playing a study takes. No model is called.

    Raises StudyError."""
    from improv.api.results import DryRun
    from improv.runner.estimate import estimate
    from improv.study.branch import planned_branches
    from improv.study.trial import plan
    from improv.study.trial_count import refuse_too_many

    loaded = study if isinstance(study, Study) else load_study(study, max_trials=max_trials)
    trials = plan(loaded).first(limit)
    refuse_too_many(trials, max_trials)
    return DryRun(estimate(trials, branches=lambda trial: planned_branches(loaded, trial)))


def run(
    study: Study | Where,
    *,
    runs: Where | None = None,
    name: str | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Run:
    """Play a study into a new run under `runs` (or $IMPROV_RUNS, or "runs"), and return it.

    `settings` are the fields of Setup and the command's budgets: ray="off", hosts, stages,
    connections, limit, fail_on_error, trusted, max_trials, max_calls, max_tokens, max_cost. Trials
    that fail are rows of the run, not errors. Raises StudyError, RunError if the run's folder
    cannot be created, and MachineError if Ray or a model cannot start.
    """
    from improv.runner import launch

    source: Json | None = None
    if not isinstance(study, Study):
        # `improv resume` reads the file again and compares.
        source = {"file": os.fspath(study), "patch": {}, "replicates": None, "planted": ""}
    wanted = _setup(setup, settings)
    result = launch.run(
        study if isinstance(study, Study) else load_study(study, max_trials=wanted.max_trials),
        runs=_runs(runs),
        name=name,
        setup=wanted,
        watch=watch,
        source=source,
    )
    return Run(result.folder, result)


def resume(
    run: Run | Where = "last",
    *,
    runs: Where | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Run:
    """Play the trials that a run still owes, and return it. Calls in its journal are not repeated.
    Raises RunError if another process plays the run, or if the run has changed since."""
    opened = run if isinstance(run, Run) else open_run(run, runs=runs)
    return opened.resume(setup=setup, watch=watch, **settings)


def open_run(run: Where = "last", *, runs: Where | None = None) -> Run:
    """Open a run by its id, a unique beginning or end of its id, "last", or its folder's path.
    Raises RunError."""
    text = os.fspath(run)
    if "/" in text or os.sep in text:
        where, _, text = str(text).replace(os.sep, "/").rstrip("/").rpartition("/")
        return Run(run_list.open_run(where or "/", text))
    return Run(run_list.open_run(_runs(runs), text))


def list_runs(runs: Where | None = None) -> list[Run]:
    """Return the runs of a folder, newest first."""
    return [Run(folder) for folder in run_list.list_runs(_runs(runs))]


def compare(*runs: Run) -> Report:
    """Return a report that compares runs: the findings of the same plan in each run. Raises
    RunError."""
    if not runs:
        raise RunError("there are no runs to compare")
    from improv.api.results import report_on_runs

    return report_on_runs([run.folder for run in runs])


def _runs(folder: Where | None) -> str:
    text = os.fspath(folder) if folder is not None else os.environ.get("IMPROV_RUNS", "runs")
    return text if "://" in text else str(Path(text))


def _setup(base: Setup | None, settings: Mapping[str, Any]) -> Setup:
    """Return `base` with the settings laid over it. Raises TypeError for an unknown setting."""
    limits = {_BUDGETS[name]: value for name, value in settings.items() if name in _BUDGETS}
    rest = {name: value for name, value in settings.items() if name not in _BUDGETS}
    setup = replace(base or Setup(), **rest)
    return replace(setup, budget=replace(setup.budget, **limits)) if limits else setup
