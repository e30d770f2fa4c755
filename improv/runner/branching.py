"""Adds branches and regenerations to a played run, and plays them into the same folder.

study.branch defines a branch; stage.branch_stage plays a scene again up to its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from improv.errors import RunError
from improv.runner.launch import Result, entered, number_in, play_owed
from improv.runner.preflight import look_ahead
from improv.runner.provenance import identity, refuse_drift
from improv.runner.run_history import record
from improv.runner.session import Setup, Watch
from improv.storage.run_folder import RunFolder
from improv.storage.run_record import asked_branches, kept_price
from improv.study.branch import Branch, branched, grow, past, planned_branches, regenerate
from improv.study.edit import Edit
from improv.study.trial import models_of, plan
from improv.study.trial_count import refuse_too_many


def branch(
    folder: RunFolder,
    trial: str,
    turn: int,
    *,
    edit: Edit | None = None,
    draws: int = 1,
    again: bool = False,
    setup: Setup | None = None,
    watch: Watch | None = None,
) -> Result:
    """Branch a played run at a turn of a trial (`ID`, number, or `TRIAL~BRANCH`).

    `draws` branches are played, each with the same edit. With `again`, that single turn is drawn
    `draws` more times instead. The new branches are added to the same run; `fresh` of the result
    holds them. Raises RunError for a turn or trial that is not there, and StudyError for an edit
    that does not fit the scene.
    """
    setup = setup or Setup()
    with entered(folder) as held:
        meta, study = folder.meta(), folder.study()
        setup = replace(setup, price=setup.price or kept_price(meta))
        row = folder.transcripts.trial(trial)
        trials, earlier = plan(study), asked_branches(meta)
        planned_trials = trials.first(number_in(meta, "trials"))
        refuse_too_many(planned_trials, setup.max_trials, asked=len(earlier) + draws)
        source = trials.find(row["trial"], row["index"])
        if source is None:
            raise RunError(
                f"{folder.path}/study.yaml: has no trial {row['trial']} any more; the file has "
                "changed since the trial was played, so copy it again"
            )
        if row["status"] == "failed" and row["turns"] < turn:
            raise RunError(f"{trial}: failed at turn {row['failure_turn']}: {row['failure']}")
        changes = refuse_drift(folder, meta, identity(models_of([source])), None, setup)
        if again and edit is not None and not edit.empty:
            raise RunError("a regeneration changes nothing; edit a branch instead")
        siblings = [*planned_branches(study, source), *(b for b in earlier if b.trial == source.id)]
        transcript = folder.transcripts.read(source.id, row["branch"])
        last = max((t.turn for t in transcript.lines()), default=0)
        if turn > last:
            raise RunError(f"{trial}: has {last} turns; there is no turn {turn} to branch at")
        # If the branch shares the turn with its parent, the new branch begins in the parent.
        parent = folder.transcripts.owner(source.id, row["branch"], turn)
        fresh = _next(siblings, source.id, parent, turn, None if again else edit or Edit(), draws)
        branched(source, fresh[0])
        past(source, fresh[0], transcript.turns, ())
        agreed = look_ahead(study, [source], setup, [fresh[0]])
        folder.update({"branches": [asdict(b) for b in [*earlier, *fresh]]})
        details = {"changes": changes} if changes else {}
        record(folder, "branched", trial=source.id, turn=turn, branches=draws, **details)
        session = held.session(study, planned_trials, setup, agreed, watch)
        result = play_owed(session, {b.id for b in fresh})
        return replace(result, fresh=tuple(fresh))


def _next(
    siblings: Sequence[Branch], trial: str, parent: str, turn: int, edit: Edit | None, draws: int
) -> list[Branch]:
    """Return new branches (or regenerations, without an edit), numbered after their siblings."""
    inherited = next((b.legacy for b in siblings if b.id == parent), "[]")

    def made(first: int) -> list[Branch]:
        if edit is None:
            return regenerate(trial, parent, turn, draws=draws, first=first, inherited=inherited)
        return grow(trial, parent, turn, edit, draws=draws, first=first, inherited=inherited)

    shape = replace(made(0)[0], number=0)
    same = [b.number for b in siblings if replace(b, number=0, arm="", length=None) == shape]
    return made(max(same) + 1 - made(0)[0].number if same else 0)
