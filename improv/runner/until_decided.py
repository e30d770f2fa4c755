"""Looks at a study while it is played, at the looks of its plan, and says when it is decided.

The scheduler plays up to the next look, has the hosts write what is finished, and looks. A look
reads the run's folder as a report does. So it does not matter which session played what, and a
process that was killed looks again when the run is resumed. Every look is in the run's history.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from improv.analysis.decision import decide
from improv.analysis.inference import Analysis, analyse_planned
from improv.analysis.loader import read_tables, speech_of_run, with_scores
from improv.analysis.stats.sequential import first_look
from improv.analysis.units import Tables
from improv.errors import RunError
from improv.runner.run_history import record
from improv.scoring.scores import free_scores
from improv.storage.run_folder import RunFolder
from improv.study.design import Study
from improv.study.measure_spec import FREE_SCORERS, made_by
from improv.study.plan import Plan
from improv.study.trial import Trials

_PLAYED = "marker"
"""The measure whose scores the hosts make while they play."""


@dataclass
class Frontier:
    """How far a session plays before the next look, and what the looks said.

    `end` is the place of the first trial that waits for the next look.
    """

    folder: RunFolder
    study: Study
    plan: Plan
    trials: Trials
    said: str = ""
    """What the last look said, for the display."""
    end: int = field(init=False)
    _ends: list[int] = field(init=False)
    _looks: list[int] = field(init=False)

    def __post_init__(self) -> None:
        blocks = itertools.islice(self.trials.blocks(), self.plan.blocks)
        self._ends = [block.end for block in blocks]
        assert self.plan.looks is not None
        looks = self.plan.looks.blocks(self.plan.blocks)
        # Before, no p could be small enough, whatever was played.
        first = first_look(looks, self.plan.blocks, self.plan.alpha / len(self.plan.contrasts))
        self._looks = [n for n in looks if n >= first]
        self._move(0)

    def look(self) -> str:
        """Look at what the folder holds, and move the frontier to the next look. Return why the
        session ends, "" if it goes on. Raises OSError and ImprovError."""
        analysis = _analyse(self.folder, self.study)
        reached = analysis.standing
        assert reached is not None
        self._move(reached.first)
        if not reached.decides_by_looks:
            return ""
        decisions = decide(analysis.findings, analysis.doubts, self.plan.alpha)
        decided = [d.contrast.name for d in decisions if d.decided is not None]
        self.said = (
            f"Look at {reached.look:,} of {reached.planned:,} planned blocks: {len(decided)} of "
            f"{len(decisions)} contrasts decided"
        )
        record(
            self.folder,
            "looked",
            by="run",
            plan=self.plan.hash,
            blocks=reached.look,
            p=True,
            decided=decided,
        )
        if len(decided) < len(decisions) or reached.is_whole:
            return ""
        return (
            f"all planned contrasts are decided after {reached.look:,} of {reached.planned:,} "
            "planned blocks"
        )

    def _move(self, there: int) -> None:
        """Set the end to that of the first look at more than `there` blocks."""
        following = next((n for n in self._looks if n > there), None)
        if following is None or following > len(self._ends):
            self.end = len(self.trials)
        else:
            self.end = self._ends[following - 1]


def frontier(folder: RunFolder, study: Study, trials: Trials) -> Frontier:
    """Return the frontier of a session that plays until all is decided. Raises RunError if the
    study's plan has no looks, or its outcome needs a judge."""
    plan = study.plan
    if plan is None or plan.looks is None:
        raise RunError(
            f"{study.name}: its plan declares no looks, so nothing can be decided before all "
            "blocks are played; add for example 'looks: {every: 10}' to the plan, before the first "
            "call, or play without --until-decided"
        )
    judged = [m for m in plan.measures() if made_by(m) not in FREE_SCORERS]
    if judged:
        raise RunError(
            f"{study.name}: its plan reads {', '.join(judged)}, which a judge scores after the run "
            "is played, so it cannot be looked at meanwhile; play it without --until-decided"
        )
    return Frontier(folder, study, plan, trials)


def _analyse(folder: RunFolder, study: Study) -> Analysis:
    assert study.plan is not None
    tables = _with_free_scores(folder, study, read_tables(folder, study, blocks=study.plan.blocks))
    speech = speech_of_run(folder, study, study.plan, tables)
    return analyse_planned(study.plan, tables, seed=study.seed, speech=speech)


def _with_free_scores(folder: RunFolder, study: Study, tables: Tables) -> Tables:
    """Return the tables with the scores of the plan that hosts do not make. They are not written:
    `improv score`, or the end of the session, makes them for the run."""
    assert study.plan is not None
    scorers = {made_by(m) for m in study.plan.measures()}
    missing = sorted(scorers.intersection(FREE_SCORERS) - {_PLAYED})
    if not missing:
        return tables
    runs = folder.transcripts.played(study, folder.asked_branches())
    return with_scores(tables, free_scores(runs, missing, study.probes), missing)
