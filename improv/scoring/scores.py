"""The scores of a played run, computed from its transcripts and from verdicts that it holds.

Nothing here asks a judge or writes; improv.scoring.scorer does both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from improv.records import Json, Score, Transcript, Turn
from improv.scoring.judges import Question, verdict_of
from improv.scoring.measures import (
    dispersion,
    judge_item,
    likelihood,
    persona,
    predicates,
    probe,
    secret,
    stylometry,
    superposition,
    trait_state,
)
from improv.scoring.measures.judge_item import Item
from improv.storage.transcripts import Played
from improv.study.edit import Probe
from improv.study.measure_spec import (
    FREE_SCORERS,
    JUDGED_SCORERS,
    PROBABILITY_SCORERS,
    made_by,
    version_of,
)


def all_scores(
    runs: Sequence[Played],
    chosen: Sequence[str],
    probes: Sequence[Probe],
    questions: Sequence[Question],
    known: Mapping[tuple[str, str], Json],
    judges: Sequence[str],
) -> list[Score]:
    """Return the scores of the chosen measures. With judges, theirs replace a count of words."""
    free = [m for m in chosen if m in FREE_SCORERS and not (judges and m in JUDGED_SCORERS)]
    scores = free_scores(runs, free, probes)
    if judges:
        judged = [m for m in chosen if m in (*JUDGED_SCORERS, *PROBABILITY_SCORERS)]
        scores += judged_scores(runs, judged, questions, known, judges[0])
    return scores


def free_scores(
    runs: Sequence[Played], chosen: Sequence[str], probes: Sequence[Probe]
) -> list[Score]:
    """Compute the scores that need no model."""
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
    """Score the turns that were drawn several times, and the distance of arms at their fork."""
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
    for (trial, parent, fork), turns in draws.items():
        origin = by_key[trial, parent]
        first = [t for t in origin.transcript.lines() if t.turn == fork + 1]
        envelope = origin.scene.envelope
        options = envelope.options if envelope else ()
        speaker = turns[0].speaker
        certain = origin.scene.model_of(speaker).temperature == 0
        scores.append(
            dispersion.turn_dispersion([*first, *turns], parent, options, certain=certain)
        )
    for (trial, parent, fork, _), groups in arms.items():
        origin = by_key[trial, parent]
        speaker = next(iter(groups.values()))[0].speaker
        certain = origin.scene.model_of(speaker).temperature == 0
        # The arm that changes nothing, if there is one, comes first: others are compared with it.
        ordered = {a: groups[a] for a in sorted(groups, key=lambda a: (a in changed, a))}
        scores += dispersion.arm_distances(trial, parent, fork, ordered, certain=certain)
    return scores


def judged_scores(
    runs: Sequence[Played],
    chosen: Sequence[str],
    questions: Sequence[Question],
    known: Mapping[tuple[str, str], Json],
    first: str,
) -> list[Score]:
    """Return the scores of the first judge's verdicts. Plants get no score, nor do items whose
    verdict is still owed."""
    verdicts = {item: verdict_of(row) for (item, who), row in known.items() if who == first}
    asked: dict[str, list[Item]] = {}
    for q in questions:
        if q.judge == first and q.item.truth is None:
            asked.setdefault(scorer_of(q.item.measure), []).append(q.item)
    scores: list[Score] = []
    for m in chosen:
        items = asked.get(m, [])
        if m == "l2l":
            scores += persona.l2l_scores(items, verdicts, first)
        elif m == "likelihood":
            scores += likelihood.likelihood_scores(items, verdicts, first)
            scores += superposition.superposition_scores(items, verdicts, first)
        else:
            made = [
                judge_item.judged_score(i, verdicts[i.id], first) for i in items if i.id in verdicts
            ]
            made += _silences(runs, m, first)
            scores += made + (secret.disclosure_scores(made) if m == "secret" else [])
    return scores


def _silences(runs: Sequence[Played], measure: str, first: str) -> list[Score]:
    """Return a missing score for each silence of a character whose lines are judged."""
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


def scorer_of(measure: str) -> str:
    """Return the scorer whose scores, or plants, have this name."""
    return made_by(measure.removeprefix("calibration:"))
