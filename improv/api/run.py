"""improv from Python: a study is loaded and played, and a run is an object to read and go on with.

    run = improv.run("author-context", ray="off")
    run.turns.pandas()
    run.report()
    run.branch("0@6", edit={"line": "The lamp is out."})

What the commands do and no more, in a script as in a notebook's cell. What takes seconds to import
(Ray, statistics) waits until it is asked for.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from improv.api.table import NAMES, Table, connect, framed
from improv.api.transcript import Script, script
from improv.errors import RunError
from improv.models.budget import Budget
from improv.records import MAIN, Json
from improv.runner.session import Setup, Watch
from improv.storage import runs as run_list
from improv.storage.run_folder import RunFolder
from improv.study.design import Study, with_replicates
from improv.study.loader import load
from improv.study.overrides import read_edit

if TYPE_CHECKING:
    import duckdb

    from improv.api.results import DryRun, Graphs, Report
    from improv.export.exporter import ExportResult
    from improv.graph.graph import Graph
    from improv.runner.launch import Result
    from improv.scoring.scorer import ScoringResult

# In a notebook Ray would say, in red and with a date, that it would rather have widgets.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)

Where = str | os.PathLike[str]
BUDGETS = {"max_calls": "calls", "max_tokens": "tokens", "max_cost": "cost"}


@dataclass(frozen=True)
class Run:
    """One run: its tables, its scenes, and what can be made of it.

    `result` says what came of playing it, where that was done here: how many trials are done,
    failed and owed, and what stopped it. A run that is still being played may be read.
    """

    folder: RunFolder
    result: Result | None = None

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def meta(self) -> Json:
        """What run.json says: versions, models, conditions, how it stands."""
        return self.folder.meta()

    @property
    def study(self) -> Study:
        """The study as it was when the run was made. Raises StudyError."""
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

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Ask DuckDB, which knows the run's tables by their names; only those that the query
        names are read. Raises RunError without DuckDB, and duckdb.Error."""
        connection = connect()
        for name in NAMES:
            if re.search(rf"\b{name}\b", query):
                connection.register(name, Table(self.folder, name).arrow())
        return connection.sql(query)

    def transcript(self, trial: str | int = 0) -> Script:
        """Return a scene to read, by its trial's id, number or beginning; TRIAL~BRANCH for a
        branch. Raises RunError."""
        return script(self.folder, str(trial))

    def report(self, by: Study | Where | None = None) -> Report:
        """Return what a referee would read, by the run's own plan or by another study's.
        Raises RunError, and StudyError where that cannot be read."""
        from improv.api.results import reported

        other = by if isinstance(by, Study) or by is None else load(os.fspath(by))
        return reported(self.folder, other.plan if other is not None else None)

    def graph(self, trial: str | int = "", **asked: Any) -> Graph:
        """Return who spoke to whom as one NetworkX graph, of a trial or of all of them.

        `asked` are the fields of graph.build.GraphRequest, as the options of `improv graph`: of,
        kinds, first, last, guesses, each, scene, condition. Raises RunError.
        """
        from improv.graph.build import GraphRequest, build_graphs

        found = build_graphs(self.folder, GraphRequest(str(trial), **{"null": False, **asked}))
        if len(found.graphs) != 1:
            raise RunError(f"that is {len(found.graphs)} graphs; ask `graphs` for them")
        return found.graphs[0].graph

    def graphs(self, trial: str | int = "", *, ray: str = "off", **asked: Any) -> Graphs:
        """Return graphs by name, with their figures beside a null model and, where `condition`
        and `against` or `around` are given, the comparison; by="condition" or window=4 make
        several. Raises RunError."""
        from improv.api.results import Graphs
        from improv.graph import parallel
        from improv.graph.build import GraphRequest

        return Graphs(
            parallel.build_graphs_with_ray(self.folder, GraphRequest(str(trial), **asked), ray)
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
        """Enter a scene again at "TRIAL@TURN", play on from there, and return what came of it.

        `edit` changes something first: {"author.frame": "She never lies."}, "line", "move",
        "memory.NAME". With `again` that turn alone is drawn again. Raises RunError, StudyError.
        """
        from improv.runner.branching import branch

        trial, at, turn = place.rpartition("@")
        if not at or not turn.isascii() or not turn.isdecimal():
            raise RunError(f"{place!r}: not a place; write TRIAL@TURN, such as 0@4")
        words = [f"{k}={v}" for k, v in edit.items()] if isinstance(edit, Mapping) else list(edit)
        how = _setup(setup, {"ray": "off", **settings} if setup is None else settings)
        found = branch(
            self.folder,
            trial,
            int(turn),
            edit=read_edit(words),
            draws=draws,
            again=again,
            setup=how,
        )
        table = self.folder.tables.read("trials", columns=["trial", "branch"]).to_pylist()
        there = {(row["trial"], row["branch"]) for row in table}
        if found.stopped or any((b.trial, b.id) not in there for b in found.fresh):
            why = found.stopped or "it was not played"
            raise RunError(f"{place}: {why}; `resume` goes on with it")
        return [script(self.folder, f"{b.trial}~{b.id}") for b in found.fresh]

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
        """Score the run by measures and, where one is named, by a judge; nothing is played.

        `judges` are the fields of score.Judges: second, base_url, plants, trusted and such.
        Raises RunError.
        """
        from improv.scoring.scorer import Judges, score

        budget = Budget(max_calls, max_tokens, max_cost)
        who = Judges(judge, **judges)
        return score(self.folder, measures, who, redo=redo, connections=connections, budget=budget)

    def export(
        self, to: str, output: Where = "", trial: str | int = "", *, force: bool = False, **of: Any
    ) -> ExportResult:
        """Write scenes in another program's format: to="jsonl", "hf", "inspect", "fountain",
        "markdown" or "otel" (docs/export.md). `of` are condition, scene, branches. Raises RunError.
        """
        from improv.export.exporter import export
        from improv.export.selection import SceneFilter

        return export(
            self.folder, to, SceneFilter(str(trial), **of), os.fspath(output), force=force
        )

    def resume(
        self, *, setup: Setup | None = None, watch: Watch | None = None, **settings: Any
    ) -> Run:
        """Play what the run still owes, and return it. `settings` are as those of `run`."""
        from improv.runner import launch

        result = launch.resume(self.folder, setup=_setup(setup, settings), watch=watch)
        return Run(result.folder, result)

    def __repr__(self) -> str:
        return f"<run {self.id}: {self._told()}>"

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
        return framed(head, rows, f"{self.id}: {self._told()}")

    def _told(self) -> str:
        meta = self.meta
        models = ", ".join(map(str, meta.get("models", [])))
        return f"{meta.get('study', '')}, played by {models}, {meta.get('status', '')}"


def load_study(
    path: Where, *, planted: str = "", replicates: int | None = None, **scene: Any
) -> Study:
    """Read a study, or a scene as a study of one condition, from a file or by its shipped name.

    `planted` has puppets play one of the study's planted truths. All else is laid over every
    scene, as a study's `set`: turns=8, model="gpt-4.1-mini", author={"live": False}. Raises
    StudyError with every problem found.
    """
    if isinstance(scene.get("model"), str):
        scene["model"] = {"model": scene["model"]}
    found = load(os.fspath(path), scene, planted)
    return found if replicates is None else with_replicates(found, replicates)


def dry_run(given: Study | Where, *, limit: int | None = None) -> DryRun:
    """Return what playing a study would ask of its models, and cost. Nothing is asked."""
    from improv.api.results import DryRun
    from improv.runner.estimate import estimate
    from improv.study.branch import planned_branches
    from improv.study.trial import plan

    found = given if isinstance(given, Study) else load_study(given)
    trials = plan(found)[:limit]
    return DryRun(estimate(trials, branches=lambda trial: planned_branches(found, trial)))


def run(
    given: Study | Where,
    *,
    runs: Where | None = None,
    name: str | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Run:
    """Play a study into a new run under `runs` (or $IMPROV_RUNS, or "runs"), and return it.

    `settings` are the fields of Setup and the command's budgets: ray="off", hosts, stages,
    connections, limit, fail_on_error, trusted, max_calls, max_tokens, max_cost. Trials that fail
    are rows of the run, not errors. Raises RunError where its folder cannot be made, MachineError
    where Ray or a model cannot start.
    """
    from improv.runner import launch

    source: Json | None = None
    if not isinstance(given, Study):
        # For `improv resume` to look at again.
        source = {"file": os.fspath(given), "patch": {}, "replicates": None, "planted": ""}
    found = given if isinstance(given, Study) else load_study(given)
    result = launch.run(
        found,
        runs=_runs(runs),
        name=name,
        setup=_setup(setup, settings),
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
    """Play what a run still owes, and return it. Calls that its journal holds are not made again.
    Raises RunError where somebody else plays it, or where it has changed since."""
    found = run if isinstance(run, Run) else open_run(run, runs=runs)
    return found.resume(setup=setup, watch=watch, **settings)


def open_run(run: Where = "last", *, runs: Where | None = None) -> Run:
    """Open a run by its id, a unique beginning or ending of it, "last", or its folder's path.
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
    """Set runs side by side: the same plan's findings, run by run. Raises RunError."""
    if not runs:
        raise RunError("there are no runs to compare")
    from improv.api.results import beside

    return beside([run.folder for run in runs])


def _runs(given: Where | None) -> str:
    text = os.fspath(given) if given is not None else os.environ.get("IMPROV_RUNS", "runs")
    return text if "://" in text else str(Path(text))


def _setup(given: Setup | None, settings: Mapping[str, Any]) -> Setup:
    """Return how to play, some of it said by keyword. Raises TypeError for what is no setting."""
    most = {BUDGETS[name]: value for name, value in settings.items() if name in BUDGETS}
    rest = {name: value for name, value in settings.items() if name not in BUDGETS}
    setup = replace(given or Setup(), **rest)
    return replace(setup, budget=replace(setup.budget, **most)) if most else setup
