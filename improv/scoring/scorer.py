"""Scores a played run: reads its transcripts and asks judges, if any are named. It plays nothing.

Measures that need no model are cheap and are computed anew each time. Verdicts cost money: a
verdict that the run holds, of the same version and the same prompt, is asked for again only on
request (`redo`). The first verdict on a line is the one that counts: whoever could replace it could
ask until the verdicts fit. What a redo brings is kept beside it, to show how steady the judge is.
Only of a judge that has given no readable verdict at all, a redo is a new beginning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from improv.analysis.cache import cache_if_large
from improv.errors import ErrorKind, RunError
from improv.models.agreed import agreed_at
from improv.models.budget import Budget
from improv.models.endpoint import refuse_untrusted
from improv.records import Json, Score, Stop
from improv.scoring.judge_models import Judges, judge_models, with_study_judge
from improv.scoring.judges import (
    JudgeTerms,
    Question,
    TellProgress,
    ask_judges,
    journaled_verdicts,
)
from improv.scoring.measures.calibration import calibration_items
from improv.scoring.measures.judge_item import Item
from improv.scoring.measures.questions import QUESTIONS
from improv.scoring.planted_lines import planted_lines
from improv.scoring.redone import first_verdicts, keep_redone, known_verdicts
from improv.scoring.scores import all_scores, scorer_of
from improv.storage.lock import RunLock
from improv.storage.repair import tidy
from improv.storage.run_folder import RunFolder
from improv.storage.transcripts import Played
from improv.study.measure_spec import (
    CALIBRATED,
    FREE_SCORERS,
    JUDGED_SCORERS,
    PROBABILITY_SCORERS,
    SCORERS,
    version_of,
)
from improv.study.model_spec import Model
from improv.study.trial import Trial


@dataclass(kw_only=True)
class ScoringResult:
    """The outcome of a scoring: measure → (number of scores, number missing, version), the numbers
    of verdicts asked for, still owed and failed, and the reason if the scoring was stopped."""

    folder: RunFolder
    measures: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    asked: int = 0
    owed: int = 0
    failed: int = 0
    stopped: str = ""
    kind: ErrorKind = ErrorKind.NONE
    notices: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        if self.kind:
            return {ErrorKind.BUDGET: 4, ErrorKind.HALTED: 130}.get(self.kind, 1)
        return 1 if self.failed else 0


def score(
    folder: RunFolder,
    measures: Sequence[str] = (),
    judges: Judges | None = None,
    *,
    redo: bool = False,
    connections: int = 64,
    budget: Budget | None = None,
    tell: TellProgress | None = None,
) -> ScoringResult:
    """Compute the scores of a run and write them: `measures`, or all that can be computed.

    Verdicts that the judges have given already are asked for again only with `redo`. A scoring that
    was stopped continues where it stopped. `budget` limits this call alone. Raises RunError if the
    run is being played, a measure is unknown or needs a judge, or an address is not trusted.
    """
    judges, budget = judges or Judges(), budget or Budget()
    folder.refuse_links()
    with RunLock(folder.local) as lock:
        notices = _tidied(folder, lock)
        meta, study = folder.meta(), folder.study()
        judges = with_study_judge(judges, study, measures)
        chosen = _chosen(measures, judges, meta)
        agreed = agreed_at(judges.agreed)
        models = judge_models(judges, study, budget)
        refuse_untrusted(list(models.values()), agreed)
        runs = folder.transcripts.played(study, folder.asked_branches())
        questions = _questions(runs, chosen, models, judges)
        table = _begun_again(folder.tables.read("verdicts").to_pylist(), models, redo)
        given = [] if redo else table
        answered = known_verdicts([*given, *journaled_verdicts(folder)])
        owed = [q for q in questions if q.key not in answered]
        folder.record("scoring", **(details := _details(chosen, models, judges, redo)))
        stop = Stop()
        if owed:
            folder.make_parts()
            stop = ask_judges(folder, owed, JudgeTerms(connections, agreed, budget, tell))
        fresh = journaled_verdicts(folder)
        answered = known_verdicts([*given, *fresh])
        known = known_verdicts([*table, *fresh])
        scores = all_scores(runs, chosen, study.probes, questions, known, list(models))
        left = sum(q.key not in answered for q in questions)
        if not (redo and left and stop):
            # Verdicts of a `redo` that was stopped stay in the journal, for the next call.
            details |= keep_redone(folder, table, fresh)
            rows = _merged(table, fresh, {q.key for q in questions}, models, chosen)
            _write(folder, scores, rows, chosen)
            _close(folder, _scored_facts(meta, chosen, models, scores), details)
    asked = _of_questions(fresh, owed)
    failed = sum(bool(row["error"]) for row in first_verdicts(asked).values())
    return ScoringResult(
        folder=folder,
        measures=_counts(scores),
        asked=len(asked),
        owed=left - failed,
        failed=failed,
        stopped=stop.reason,
        kind=stop.kind,
        notices=tuple(notices),
    )


def _tidied(folder: RunFolder, lock: RunLock) -> list[str]:
    """Repair and join the tables of a run that is locked, and return notices about it."""
    notices = [lock.took_over] if lock.took_over else []
    notices += tidy(folder, folder.journaled())
    notices += (differences := folder.checksums.differences())
    if differences:
        folder.note_changes()
    if folder.tables.stems():
        folder.record("joining tables")
        folder.tables.compact(finished=False)
    return notices


def _write(
    folder: RunFolder, scores: Sequence[Score], verdicts: Sequence[Json], chosen: Sequence[str]
) -> None:
    """Replace the scores of the chosen measures and all verdicts; keep other measures' scores."""
    old = [score_from_row(r) for r in folder.tables.read("scores").to_pylist()]
    kept = [s for s in old if scorer_of(s.measure) not in chosen]
    folder.tables.write_verdicts([*kept, *scores], verdicts)


def _close(folder: RunFolder, facts: Json, details: Json) -> None:
    """Say in run.json and in the history what was scored."""
    folder.update({"scored": facts})
    folder.record_end("scored", **details)
    cache_if_large(folder)


def _chosen(measures: Sequence[str], judges: Judges, meta: Json) -> list[str]:
    """Return the measures to compute. Raises RunError."""
    for m in measures:
        if m not in SCORERS:
            raise RunError(f"{m}: not a measure; there are {', '.join(SCORERS)}")
        if m not in FREE_SCORERS and not judges.first:
            raise RunError(f"{m}: needs a judge; name one with --judge, or as the study's judge")
    if measures:
        return list(dict.fromkeys(measures))
    # A judge's scores of secrets are not replaced by a count of words.
    scored = meta.get("scored")
    by_judge = {m for m, facts in scored.items() if facts.get("judge")} if scored else set()
    free = [m for m in FREE_SCORERS if judges.first or m not in by_judge]
    return list(dict.fromkeys([*free, *(JUDGED_SCORERS if judges.first else ())]))


def _questions(
    runs: Sequence[Played], chosen: Sequence[str], models: Mapping[str, Model], judges: Judges
) -> list[Question]:
    """Return the questions for the judges, trial by trial in the order of the plan, so that a
    scoring that is stopped early is still balanced over conditions."""
    if not models:
        return []
    by_trial: dict[str, list[Item]] = {p.trial.id: [] for p in runs}
    for p in runs:
        if p.origin in ("main", "branch"):
            by_trial[p.trial.id] += items_of(p, chosen)
    lines = planted_lines(judges.lines)
    conditions: dict[str, list[Played]] = {}
    for p in runs:
        if p.origin == "main":
            conditions.setdefault(p.trial.condition, []).append(p)
    for plays in conditions.values():
        places = [(p.transcript, p.scene, lines(p.trial.slug, p.scene)) for p in plays]
        calibrated = [m for m in CALIBRATED if m in chosen]
        for item in calibration_items(places, calibrated, judges.plants):
            by_trial[item.trial].append(item)
    trials = {p.trial.id: p.trial for p in runs}
    questions = []
    for trial, items in by_trial.items():
        for name, model in models.items():
            judge = _judge_for(model, trials[trial])
            questions += [Question(item, judge, name) for item in items]
    return questions


def items_of(p: Played, chosen: Sequence[str]) -> list[Item]:
    return [item for m in QUESTIONS if m in chosen for item in QUESTIONS[m](p.transcript, p.scene)]


def _judge_for(model: Model, trial: Trial) -> Model:
    """Return the judge of a trial. A puppet in process judges as the trial's own puppet declares;
    that may differ by arm, to simulate a judge that errs more in one arm."""
    if model.in_process and trial.scene.model.in_process:
        return model.model_copy(update={"puppet": trial.scene.model.puppet})
    return model


def _of_questions(rows: Sequence[Json], questions: Sequence[Question]) -> list[Json]:
    wanted = {q.key for q in questions}
    return [row for row in rows if (row["item"], row["judge"]) in wanted]


def _begun_again(table: Sequence[Json], models: Mapping[str, Model], redo: bool) -> list[Json]:
    """Return the verdicts of the table, without those of judges of a redo that have given no
    readable one: with them a redo begins."""
    if not redo:
        return list(table)
    able = {row["judge"] for row in table if row["value"] is not None}
    return [row for row in table if row["judge"] not in models or row["judge"] in able]


def _details(
    chosen: Sequence[str], models: Mapping[str, Model], judges: Judges, redo: bool
) -> Json:
    """Return what a run's history says about a scoring."""
    judged = [m for m in chosen if m in JUDGED_SCORERS or m in PROBABILITY_SCORERS]
    details: Json = {"measures": list(chosen), "judges": list(models), "redo": redo}
    if models:
        settings = {name: _settings(model) for name, model in models.items()}
        details |= {"judged": judged, "settings": settings, "plants": judges.plants}
        details |= {"lines": judges.lines} if judges.lines else {}
    return details


def _merged(
    table: Sequence[Json],
    fresh: Sequence[Json],
    asked: Set[tuple[str, str]],
    models: Mapping[str, Model],
    chosen: Sequence[str],
) -> list[Json]:
    """Return the verdicts to keep. For the measures and judges of this scoring, verdicts on items
    that are no longer asked are dropped: they are of an earlier version or of other plants."""
    first = first_verdicts([*table, *fresh])
    return [
        row
        for key, row in first.items()
        if key in asked or row["judge"] not in models or scorer_of(row["measure"]) not in chosen
    ]


def _scored_facts(
    meta: Json, chosen: Sequence[str], models: Mapping[str, Model], scores: Sequence[Score]
) -> Json:
    """Return what run.json says about each measure: its version, its judges, and the time."""
    names = [*models, "", ""]
    versions = {scorer_of(s.measure): s.version for s in scores}
    facts = dict(meta.get("scored") or {})
    for m in chosen:
        judged = bool(models) and (m in JUDGED_SCORERS or m in PROBABILITY_SCORERS)
        facts[m] = {
            "version": versions.get(m) or version_of(m, judged=judged),
            "judge": names[0] if judged else "",
            "second_judge": names[1] if judged else "",
            "settings": _settings(next(iter(models.values()))) if judged else {},
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    return facts


def _settings(judge: Model) -> Json:
    """Return how a judge was asked."""
    names = ("temperature", "top_p", "max_tokens", "reasoning_tokens", "mode", "extra")
    return {n: getattr(judge, n) for n in names if getattr(judge, n) not in (None, {})}


def _counts(scores: Sequence[Score]) -> dict[str, tuple[int, int, str]]:
    counts: dict[str, tuple[int, int, str]] = {}
    for s in scores:
        n, missing, _ = counts.get(s.measure, (0, 0, ""))
        counts[s.measure] = (n + 1, missing + (s.value is None), s.version)
    return dict(sorted(counts.items()))


def score_from_row(row: Json) -> Score:
    return Score(**row)
