"""Scores a played run: reads its transcripts, asks judges where there are any, plays nothing.

Measures that need no model are cheap and made anew each time. Verdicts cost money: one that the
run holds, of the same version and the same words, is not asked for again unless told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from improv.analysis.cache import cache_if_large
from improv.errors import ErrorKind, RunError
from improv.models.budget import Budget
from improv.models.endpoint import refuse_untrusted_addresses
from improv.records import Json, Score, Stop, Transcript, Turn
from improv.scoring.judges import (
    JudgeTerms,
    Question,
    TellProgress,
    ask_judges,
    journaled_verdicts,
    verdict_of,
)
from improv.scoring.measures import (
    dispersion,
    judge_item,
    likelihood,
    persona,
    predicates,
    probe,
    secret,
    stylometry,
    trait_state,
)
from improv.scoring.measures.calibration import PLANTS, calibration_items
from improv.scoring.measures.judge_item import Item
from improv.scoring.measures.questions import QUESTIONS
from improv.scoring.planted_lines import planted_lines
from improv.storage.lock import RunLock
from improv.storage.repair import mend
from improv.storage.run_folder import RunFolder
from improv.storage.transcripts import Played
from improv.study.branch import from_json
from improv.study.edit import Probe
from improv.study.measure_spec import (
    CALIBRATED,
    FREE_SCORERS,
    JUDGED_SCORERS,
    PROBABILITY_SCORERS,
    SCORERS,
    made_by,
    version_of,
)
from improv.study.model_spec import Model
from improv.study.trial import Trial, models_of, plan, remote

MAX_TOKENS = 60
"""What a verdict may take: a word in JSON."""


@dataclass(frozen=True)
class Judges:
    """Who judges: the first, whose verdicts become scores, and a second, for their agreement.

    Each is "embedded", "puppet", a GGUF, or a name that its address knows. `plants` lines of each
    truth are planted in each condition; `lines` is a file of planted lines for scenes that ship
    none. `trusted` are addresses that a run's study may name.
    """

    first: str = ""
    second: str = ""
    base_url: str | None = None
    second_base_url: str | None = None
    plants: int = PLANTS
    lines: str | None = None
    trusted: tuple[str, ...] = ()


@dataclass
class ScoringResult:
    """What came of a scoring: measure → (scores, missing, version), verdicts asked for and still
    owed, and what stopped it."""

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
    """Make the scores of a run, of `measures` or of all that can be made, and write them.

    With judges, what they have said already is not asked again unless `redo`. A call that was
    stopped goes on where it stopped. `budget` is for this call. Raises RunError where the run is
    being played, a measure is unknown or needs a judge, or an address is trusted by nobody.
    """
    judges, budget = judges or Judges(), budget or Budget()
    folder.refuse_links()
    with RunLock(folder.local) as lock:
        notices = [lock.took_over] if lock.took_over else []
        notices += mend(folder, folder.journaled())
        if folder.tables.stems():
            folder.tables.compact(finished=False)
        meta = folder.meta()
        chosen = _chosen(measures, judges, meta)
        models = _judge_models(judges, folder, budget)
        runs = folder.transcripts.played(folder.study(), from_json(meta.get("branches", [])))
        questions = _questions(runs, chosen, models, judges)
        table = folder.tables.read("verdicts").to_pylist()
        fresh = journaled_verdicts(folder)
        mine = {q.key for q in questions}
        known = _known([*([] if redo else table), *fresh])
        owed = [q for q in questions if q.key not in known]
        terms = JudgeTerms(connections, budget, tell)
        if owed:
            folder.make_parts()
        stop = ask_judges(folder, owed, terms) if owed else Stop()
        fresh = journaled_verdicts(folder)
        known = _known([*([] if redo else table), *fresh])
        free = [m for m in chosen if m in FREE_SCORERS and not (models and m in JUDGED_SCORERS)]
        scores = _free_scores(runs, free, folder.study().probes)
        if models:
            first = next(iter(models))
            scores += _judged_scores(
                runs,
                [m for m in chosen if m in (*JUDGED_SCORERS, *PROBABILITY_SCORERS)],
                questions,
                known,
                first,
            )
        left = sum(q.key not in known for q in questions)
        if not (redo and left and stop):
            # A redoing that was stopped stays in the journal, for the next call to go on with.
            rows = _merged(table, fresh, mine, models, chosen)
            old = [_score_of(r) for r in folder.tables.read("scores").to_pylist()]
            kept = [s for s in old if _scorer(s.measure) not in chosen]
            folder.tables.write_verdicts([*kept, *scores], rows)
            folder.update({"scored": _told(meta, chosen, models, scores)})
            cache_if_large(folder)
    wanted = {q.key for q in owed}
    asked = [r for r in fresh if (r["item"], r["judge"]) in wanted]
    failed = sum(bool(known_row["error"]) for known_row in _last(asked).values())
    return ScoringResult(
        folder,
        _counts(scores),
        len(asked),
        left - failed,
        failed,
        stop.reason,
        stop.kind,
        tuple(notices),
    )


def _chosen(measures: Sequence[str], judges: Judges, meta: Json) -> list[str]:
    """Return which measures are to be made. Raises RunError."""
    for m in measures:
        if m not in SCORERS:
            raise RunError(f"{m}: not a measure; there are {', '.join(SCORERS)}")
        if m not in FREE_SCORERS and not judges.first:
            raise RunError(f"{m}: needs a judge; name one with --judge")
    if measures:
        return list(dict.fromkeys(measures))
    # What a judge has made of secrets is not lost to a count of words.
    told = meta.get("scored")
    by_judge = {m for m, facts in told.items() if facts.get("judge")} if told else set()
    free = [m for m in FREE_SCORERS if judges.first or m not in by_judge]
    return list(dict.fromkeys([*free, *(JUDGED_SCORERS if judges.first else ())]))


def _judge_models(judges: Judges, folder: RunFolder, budget: Budget) -> dict[str, Model]:
    """Return name → model of the judges, the first one first. Raises RunError.

    A judge that plays in the run too keeps its address, key and price from there.
    """
    if judges.second and judges.second == judges.first:
        raise RunError(f"{judges.second}: a second judge needs another name than the first")
    playing = models_of(plan(folder.study()))
    models = {}
    named = ((judges.first, judges.base_url), (judges.second, judges.second_base_url))
    for name, base_url in named:
        if not name:
            continue
        base = next((m for m in playing if m.model == name), None) or Model(model=name)
        change: Json = {"temperature": 0.0, "max_tokens": MAX_TOKENS, "mode": base.plays_in}
        if base_url or judges.base_url:
            change["base_url"] = base_url or judges.base_url
        models[name] = Model.model_validate(base.model_dump(exclude_unset=True) | change)
    # Whoever types an address vouches for it.
    typed = [u for u in (judges.base_url, judges.second_base_url) if u]
    unpriced = [name for name, m in models.items() if m.price is None]
    if budget.cost is not None and unpriced:
        raise RunError(f"a budget in dollars needs a price, and {', '.join(unpriced)} has none")
    refuse_untrusted_addresses([m for m in models.values() if remote(m)], [*judges.trusted, *typed])
    return models


def _questions(
    runs: Sequence[Played], chosen: Sequence[str], models: Mapping[str, Model], judges: Judges
) -> list[Question]:
    """Return what the judges are to be asked, trial by trial in the order of the plan: stopped
    early, it is still balanced over conditions."""
    if not models:
        return []
    by_trial: dict[str, list[Item]] = {p.trial.id: [] for p in runs}
    for p in runs:
        if p.origin in ("main", "branch"):
            by_trial[p.trial.id] += _items(p, chosen)
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
    found = []
    for trial, items in by_trial.items():
        for name, model in models.items():
            asks = _planted_judge(model, trials[trial])
            found += [Question(item, asks, name) for item in items]
    return found


def _items(p: Played, chosen: Sequence[str]) -> list[Item]:
    return [item for m in QUESTIONS if m in chosen for item in QUESTIONS[m](p.transcript, p.scene)]


def _planted_judge(model: Model, trial: Trial) -> Model:
    """A puppet in process judges as the trial's own puppet declares, which may differ by arm: the
    planted truth of a judge that errs more in one of them."""
    if model.in_process and trial.scene.model.in_process:
        return model.model_copy(update={"puppet": trial.scene.model.puppet})
    return model


def _free_scores(
    runs: Sequence[Played], chosen: Sequence[str], probes: Sequence[Probe]
) -> list[Score]:
    """Make the scores that need no model."""
    scores: list[Score] = []
    for p in runs:
        own = Transcript(
            p.trial.id,
            p.transcript.branch,
            tuple(t for t in p.transcript.turns if t.branch == p.transcript.branch),
        )
        if "marker" in chosen:
            scores += predicates.marker_scores(own, p.scene)
        if "probe" in chosen and p.origin == "probe":
            scores += _probed(p, probes)
        if "secret" in chosen and p.origin != "probe":
            scores += secret.secret_scores(p.transcript, p.scene)
        if "stylometry" in chosen and p.origin != "probe":
            scores += stylometry.stylometry_scores(p.transcript, p.scene)
    return scores + (_dispersed(runs) if "dispersion" in chosen else [])


def _probed(p: Played, probes: Sequence[Probe]) -> list[Score]:
    return [
        s
        for each in probes
        if each.name == p.row["arm"]
        for s in probe.probe_scores(p.transcript, each.name, each.ask, each.expect, p.row["fork"])
    ]


def _dispersed(runs: Sequence[Played]) -> list[Score]:
    """Score the turns that were drawn several times, and how far arms lie apart at their fork."""
    draws: dict[tuple[str, str, int], list[Turn]] = {}
    arms: dict[tuple[str, str, int, str], dict[str, list[Turn]]] = {}
    changed: set[str] = set()
    by_key = {(p.trial.id, p.transcript.branch): p for p in runs}
    for p in runs:
        own = [t for t in p.transcript.lines() if t.branch == p.transcript.branch]
        place = (p.trial.id, p.row["parent"], p.row["fork"])
        if p.origin == "regeneration" and own:
            draws.setdefault(place, []).append(own[0])
        elif p.origin == "branch" and own and ": " in p.row["arm"]:
            wish, _, arm = p.row["arm"].partition(": ")
            arms.setdefault((*place, wish), {}).setdefault(arm, []).append(own[0])
            changed |= {arm} if p.row["edit"] else set()
    scores = []
    for (trial, parent, fork), found in draws.items():
        origin = by_key[trial, parent]
        first = [t for t in origin.transcript.lines() if t.turn == fork + 1]
        envelope = origin.scene.envelope
        options = envelope.options if envelope else ()
        speaker = found[0].speaker
        certain = origin.scene.model_of(speaker).temperature == 0
        scores.append(
            dispersion.turn_dispersion([*first, *found], parent, options, certain=certain)
        )
    for (trial, parent, fork, _), groups in arms.items():
        origin = by_key[trial, parent]
        speaker = next(iter(groups.values()))[0].speaker
        certain = origin.scene.model_of(speaker).temperature == 0
        # Against the arm that changes nothing, where there is one.
        ordered = {a: groups[a] for a in sorted(groups, key=lambda a: (a in changed, a))}
        scores += dispersion.arm_distances(trial, parent, fork, ordered, certain=certain)
    return scores


def _judged_scores(
    runs: Sequence[Played],
    chosen: Sequence[str],
    questions: Sequence[Question],
    known: Mapping[tuple[str, str], Json],
    first: str,
) -> list[Score]:
    """Make scores of what the first judge said. Plants make none, nor does what is still owed."""
    verdicts = {item: verdict_of(row) for (item, who), row in known.items() if who == first}
    asked: dict[str, list[Item]] = {}
    for q in questions:
        if q.judge == first and q.item.truth is None:
            asked.setdefault(_scorer(q.item.measure), []).append(q.item)
    scores: list[Score] = []
    for m in chosen:
        items = asked.get(m, [])
        if m == "l2l":
            scores += persona.l2l_scores(items, verdicts, first)
        elif m == "likelihood":
            scores += likelihood.likelihood_scores(items, verdicts, first)
        else:
            made = [
                judge_item.judged_score(i, verdicts[i.id], first) for i in items if i.id in verdicts
            ]
            made += _silences(runs, m, first)
            scores += made + (secret.disclosure_scores(made) if m == "secret" else [])
    return scores


def _silences(runs: Sequence[Played], measure: str, first: str) -> list[Score]:
    """Score as missing the turns in which somebody said nothing whose line would be judged."""
    scores: list[Score] = []
    for p in runs:
        if p.origin not in ("main", "branch"):
            continue
        for c in p.scene.cast:
            silences = judge_item.own_lines(p.transcript, c.name)[1]
            names = {
                "state": [trait_state.state_measure(t) for t in c.traits],
                "secret": ["secret"] if c.secret else [],
            }.get(measure, [measure])
            for name in names:
                scores += judge_item.silence_scores(
                    silences, name, version_of(measure, judged=True), first
                )
    return scores


def _known(rows: Iterable[Json]) -> dict[tuple[str, str], Json]:
    """Return the verdicts that need not be asked for again: the last of each that did not fail."""
    return {(r["item"], r["judge"]): r for r in rows if not r["error"]}


def _last(rows: Iterable[Json]) -> dict[tuple[str, str], Json]:
    """Return the last verdict on each item, a sound one before one that failed."""
    found: dict[tuple[str, str], Json] = {}
    for row in rows:
        key = (row["item"], row["judge"])
        if key not in found or not row["error"] or found[key]["error"]:
            found[key] = row
    return found


def _merged(
    table: Sequence[Json],
    fresh: Sequence[Json],
    asked: Set[tuple[str, str]],
    models: Mapping[str, Model],
    chosen: Sequence[str],
) -> list[Json]:
    """Return the verdicts that are to be kept. Of the measures and judges asked now, those on
    items that are asked no more go: they are of an earlier version, or plants of a smaller run."""
    found = _last([*table, *fresh])
    return [
        row
        for key, row in found.items()
        if key in asked or row["judge"] not in models or _scorer(row["measure"]) not in chosen
    ]


def _told(
    meta: Json, chosen: Sequence[str], models: Mapping[str, Model], scores: Sequence[Score]
) -> Json:
    """Return what run.json says of each measure: its version, its judges, and when it was made."""
    names = [*models, "", ""]
    versions = {_scorer(s.measure): s.version for s in scores}
    told = dict(meta.get("scored") or {})
    for m in chosen:
        judged = bool(models) and (m in JUDGED_SCORERS or m in PROBABILITY_SCORERS)
        told[m] = {
            "version": versions.get(m) or version_of(m, judged=judged),
            "judge": names[0] if judged else "",
            "second_judge": names[1] if judged else "",
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    return told


def _counts(scores: Sequence[Score]) -> dict[str, tuple[int, int, str]]:
    found: dict[str, tuple[int, int, str]] = {}
    for s in scores:
        n, missing, _ = found.get(s.measure, (0, 0, ""))
        found[s.measure] = (n + 1, missing + (s.value is None), s.version)
    return dict(sorted(found.items()))


def _scorer(measure: str) -> str:
    """Return what makes scores, or plants, of this name."""
    return made_by(measure.removeprefix("calibration:"))


def _score_of(row: Json) -> Score:
    return Score(**row)
