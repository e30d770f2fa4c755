"""Makes the scores again that `improv score` had made and a rebuilt table of scores lacks.

When a damaged table is made again from the calls, only the markers come back with it. The other
scores follow from the transcripts and from the verdicts that the run still has; no judge is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from improv.records import Json, Score
from improv.scoring.judges import Question, journaled_verdicts
from improv.scoring.redone import known_verdicts
from improv.scoring.scorer import items_of, score_from_row
from improv.scoring.scores import free_scores, judged_scores, scorer_of
from improv.storage.lock import RunLock
from improv.storage.run_folder import RunFolder
from improv.storage.transcripts import Played
from improv.study.measure_spec import FREE_SCORERS
from improv.study.model_spec import Model


def restore_scores(folder: RunFolder) -> list[str]:
    """Make the lost scores again, and return messages about them. Raises RunError if another
    process has the run."""
    scored = folder.meta().get("scored", {})
    if not scored:
        return []
    measures = folder.tables.read("scores", columns=["measure"])["measure"].unique()
    there = {scorer_of(measure) for measure in measures.to_pylist()}
    lost = {m: facts.get("judge", "") for m, facts in scored.items() if m not in there}
    if not lost:
        return []
    with RunLock(folder.local):
        study = folder.study()
        runs = folder.transcripts.played(study, folder.asked_branches())
        free = [m for m, judge in lost.items() if not judge and m in FREE_SCORERS]
        scores = free_scores(runs, free, study.probes)
        table = folder.tables.read("verdicts").to_pylist()
        known = known_verdicts([*table, *journaled_verdicts(folder)])
        for judge in sorted(set(lost.values()) - {""}):
            scores += _of_judge(runs, judge, [m for m in lost if lost[m] == judge], known)
        if not scores:
            return []
        kept = [score_from_row(r) for r in folder.tables.read("scores").to_pylist()]
        names = ", ".join(sorted({scorer_of(s.measure) for s in scores}))
        folder.record("restoring", measures=names)
        folder.tables.write_scores([*kept, *scores])
        folder.record_end("restored", measures=names)
    return [f"{folder.id}: {len(scores):,} scores ({names}) are made again; no judge was asked"]


def _of_judge(
    runs: list[Played], judge: str, measures: list[str], known: Mapping[tuple[str, str], Json]
) -> list[Score]:
    """Return the scores of the verdicts that a judge has given."""
    model = Model(model=judge)
    items = [i for p in runs if p.origin in ("main", "branch") for i in items_of(p, measures)]
    questions = [Question(item, model, judge) for item in items]
    return judged_scores(runs, measures, questions, known, judge)
