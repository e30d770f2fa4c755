"""Checks recorded scenes against the program: the same calls must give the same turns.

A scene is a function of its trial and its draws. Where a recorded one, stepped again from its
calls, shows a character something else or comes to another turn, either the program or the record
is not what it was; the first difference says where.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from improv.branch import Branch, Past, branched, from_json, past, planned
from improv.errors import ImprovError, ModelError, RunError
from improv.model import Ask
from improv.record import MAIN, Block, Call, Json, Turn
from improv.stage import Stage
from improv.store import RunFolder
from improv.study import Study
from improv.trial import Trial, plan


@dataclass(frozen=True, slots=True)
class Check:
    """What came of stepping one trial or branch again: the first difference, if there is one."""

    trial: str
    branch: str
    turns: int
    calls: int
    difference: str = ""


def replay(folder: RunFolder, what: str = "") -> Iterator[Check]:
    """Step a trial (by id or number, with `~BRANCH` a branch) again, or all of a run's.

    Raises RunError where there is no such trial.
    """
    study = folder.study()
    trials = {t.id: t for t in plan(study)}
    asked = {(b.trial, b.id): b for b in from_json(folder.meta().get("branches", []))}
    rows = [folder.trial(what)] if what else folder.table("trials").to_pylist()
    for row in rows:
        trial = trials.get(row["trial"])
        if trial is None:
            yield Check(row["trial"], row["branch"], 0, 0, "the study has no such trial any more")
            continue
        wishes = asked if row["branch"] == MAIN else asked | _planned(study, trial)
        yield _check(folder, trial, row, wishes.get((trial.id, row["branch"])))


def _planned(study: Study, trial: Trial) -> dict[tuple[str, str], Branch]:
    return {(trial.id, b.id): b for b in planned(study, trial)}


def _check(folder: RunFolder, trial: Trial, row: Json, branch: Branch | None) -> Check:
    """Step one trial or branch again."""
    name = row["branch"]
    if row["failure_kind"] == "unreached":
        return Check(trial.id, name, 0, 0)
    recorded = folder.transcript(trial.id, name).turns
    calls = folder.calls(trial.id, name)
    before: Past | None = None
    if name != MAIN:
        if branch is None:
            return Check(trial.id, name, 0, 0, "nobody knows what this branch was asked to be")
        parent = folder.transcript(trial.id, branch.parent)
        try:
            before = past(branch, parent.turns, folder.calls(trial.id, branch.parent))
            trial = branched(trial, branch)
        except ImprovError as e:
            return Check(trial.id, name, 0, 0, str(e))
    stage = Stage(trial, before)
    found = asyncio.run(_step(stage, calls, folder))
    if found and row["status"] == "failed" and row["failure"] and found == row["failure"]:
        found = ""
    return Check(
        trial.id,
        name,
        stage.turn,
        len(calls),
        found or _first_difference(recorded, stage.turns, whole=row["status"] == "done"),
    )


async def _step(stage: Stage, calls: list[Call], folder: RunFolder) -> str:
    """Play the stage from its calls; return what the program asked or showed otherwise."""
    known = {call.draw: call for call in calls}

    async def draw(ask: Ask) -> Call:
        call = known.get(ask.draw)
        if call is None:
            raise RunError(f"turn {ask.draw.turn}: asks for {ask.draw.key}, which is not recorded")
        if call.blocks != ask.prompt.blocks:
            raise RunError(f"turn {ask.draw.turn}: {_otherwise(call, ask, stage, folder)}")
        if call.error:
            raise ModelError(f"{ask.draw.role}: {call.error.partition(': ')[2]}", kind="recorded")
        return call

    try:
        await stage.play(draw)
    except (RunError, ModelError) as e:
        return str(e)
    return ""


def _otherwise(call: Call, ask: Ask, stage: Stage, folder: RunFolder) -> str:
    """Say what a call would be shown now that it was not shown then."""
    then, now = call.blocks, ask.prompt.blocks
    at = next((i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), None)
    if at is None:
        at = min(len(then), len(now))
    was = folder.blocks(then[at : at + 1]).get(then[at]) if at < len(then) else None
    here = stage.book.get(now[at]) if at < len(now) else None
    return (
        f"{call.draw.role} would be shown, as block {at + 1}, {_told(here)} "
        f"where it was shown {_told(was)}"
    )


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


def _told(block: Block | None) -> str:
    if block is None:
        return "nothing"
    text = " ".join(block.text.split())
    return f"the {block.kind} {text if len(text) < 80 else text[:77] + '...'!r}"
