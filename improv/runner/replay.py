"""Checks recorded scenes against the program: the same calls must give the same turns.

A trial and the replies to its draws determine a scene. If a recorded scene is stepped again from
its calls and a prompt or a turn differs, then the program or the record has changed. The first
difference is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest

from improv import event_loop
from improv.errors import ErrorKind, ModelError, RunError, StudyError
from improv.models.request import Ask
from improv.records import MAIN, Block, Call, Draw, Json, Turn
from improv.stage.branch_stage import create_stage
from improv.stage.stage import Stage
from improv.storage.run_folder import RunFolder
from improv.study.branch import Branch, Past, branched, past, planned_branches
from improv.study.design import Study
from improv.study.trial import Trial, plan


@dataclass(frozen=True, slots=True)
class Check:
    """The result for one trial or branch that was stepped again: the first difference, or ""."""

    trial: str
    branch: str
    turns: int
    calls: int
    difference: str = ""


def replay(folder: RunFolder, what: str = "") -> Iterator[Check]:
    """Step one trial again (`ID` or number) or one branch (`ID~BRANCH`), or all of a run.

    Raises RunError if there is no such trial.
    """
    study = folder.study()
    asked_for = {(b.trial, b.id): b for b in folder.asked_branches()}
    rows = [folder.transcripts.trial(what)] if what else folder.tables.read("trials").to_pylist()
    trials = plan(study).find_all((row["trial"], row["index"]) for row in rows)
    stored = {row["id"]: Block(**row) for row in folder.tables.read("blocks").to_pylist()}
    for row in rows:
        trial = trials.get(row["trial"])
        if trial is None:
            yield Check(row["trial"], row["branch"], 0, 0, "the study has no such trial any more")
            continue
        branches = asked_for if row["branch"] == MAIN else asked_for | _planned(study, trial)
        yield _check(folder, stored, trial, row, branches.get((trial.id, row["branch"])))


def _planned(study: Study, trial: Trial) -> dict[tuple[str, str], Branch]:
    return {(trial.id, b.id): b for b in planned_branches(study, trial)}


def _check(
    folder: RunFolder, stored: dict[str, Block], trial: Trial, row: Json, branch: Branch | None
) -> Check:
    """Step one trial or branch again."""
    name = row["branch"]
    before: Past | None = None
    shared: set[Draw] = set()
    try:
        recorded = folder.transcripts.read(trial.id, name).turns
        calls = folder.transcripts.calls(trial.id, name)
        if name != MAIN:
            if branch is None:
                return Check(
                    trial.id,
                    name,
                    0,
                    0,
                    "neither the study nor run.json says what this branch changes",
                )
            parent = folder.transcripts.calls(trial.id, branch.parent)
            shared = {call.draw for call in parent}
            turns = folder.transcripts.read(trial.id, branch.parent).turns
            before = past(trial, branch, turns, parent)
            trial = branched(trial, branch)
    except (StudyError, RunError) as e:
        expected = row["failure_kind"] == ErrorKind.UNREACHED and row["failure"] == str(e)
        return Check(trial.id, name, 0, 0, "" if expected else str(e))
    recorded_calls = _RecordedCalls(calls, stored)
    stage = create_stage(trial, before)
    problem = event_loop.run_coroutine(recorded_calls.play(stage))
    difference = _first_difference(recorded, stage.turns, whole=not problem) or problem
    failure = [row["failure"], *(row["failure"] or "").strip().splitlines()[-1:]]
    if problem and difference == problem and problem in failure:
        difference = ""
    elif not difference and row["status"] == "failed":
        difference = f"it failed when it was played ({failure[-1]}) and does not fail now"
    elif not difference and (extra := recorded_calls.left - shared):
        first = min(extra, key=lambda d: (d.turn, d.key))
        difference = f"turn {first.turn}: nothing asks for {first.key}, which is recorded"
    return Check(trial.id, name, stage.turn, len(calls), difference)


class _RecordedCalls:
    """Answers a stage from recorded calls, as long as draws and prompts are the recorded ones."""

    def __init__(self, calls: list[Call], stored: dict[str, Block]) -> None:
        self._known = {call.draw: call for call in calls}
        self._stored = stored
        self.left = set(self._known)

    async def play(self, stage: Stage) -> str:
        """Play the stage to its end; return the first draw or prompt that differs, or ""."""

        async def draw(ask: Ask) -> Call:
            return self._answer(ask, stage.blocks)

        try:
            await stage.play(draw)
        except (RunError, ModelError) as e:
            return str(e)
        except Exception as e:
            return f"{type(e).__name__}: {e}"
        return ""

    def _answer(self, ask: Ask, blocks: dict[str, Block]) -> Call:
        turn = f"turn {ask.draw.turn}"
        call = self._known.get(ask.draw)
        if call is None:
            raise RunError(f"{turn}: asks for {ask.draw.key}, which is not recorded")
        self.left.discard(ask.draw)
        now = [blocks[b] for b in ask.prompt.blocks]
        then = [self._stored.get(b) for b in call.blocks]
        for i, (is_now, was) in enumerate(zip_longest(now, then)):
            if is_now != was:
                raise RunError(
                    f"{turn}: {call.draw.role} would be shown, as block {i + 1}, {_quoted(is_now)} "
                    f"where it was shown {_quoted(was)}"
                )
        if call.error:
            raise ModelError(f"{ask.draw.role}: {call.error}", kind=call.error_kind)
        return call


def _first_difference(then: tuple[Turn, ...], now: list[Turn], *, whole: bool) -> str:
    for a, b in zip(then, now, strict=False):
        if a != b:
            was, here = asdict(a), asdict(b)
            field = next(k for k in was if was[k] != here[k])
            return (
                f"turn {a.turn}.{a.seq}: {field} was {json.dumps(was[field], ensure_ascii=False)}"
                f", comes out as {json.dumps(here[field], ensure_ascii=False)}"
            )
    if whole and len(then) != len(now):
        return f"{len(then)} rows were recorded, {len(now)} come out"
    return ""


def _quoted(block: Block | None) -> str:
    if block is None:
        return "nothing"
    text = " ".join(block.text.split())
    return f"the {block.kind} {text if len(text) < 80 else text[:77] + '...'!r}"
