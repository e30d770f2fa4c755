"""What tests of exports share: a run with every kind of record, and its prompts as they were sent.

Puppets play two conditions, in chat and in script mode: an author that whispers, an aside, a role
that comes and goes, a rule that has lines drawn again, an envelope, diaries between two sessions,
branches, regenerations, probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from improv.models.request import Ask, Prompt
from improv.records import MAIN, Call, Draw, Json
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.stage.branch_stage import create_stage
from improv.storage.run_folder import RunFolder
from improv.study.branch import branched, from_json, past, planned_branches
from improv.study.loader import load
from improv.study.trial import plan
from tests.conftest import KETTLE

BUSY = """\
study: busy kettles
question: Does anything of a kettle get lost on its way out?
scenes: [kettle.yaml]
set:
  turns: 6
  events:
    - {turn: 2, direction: A knock., enter: [Cy]}
    - {turn: 4, wake: true, direction: Tuesday.}
    - {turn: 5, exit: [Bo]}
  memory: diary
  envelope: {of: Ana, ask: "What is in it?", kept: own}
  rules:
    short: {says: Be short., marker: at_most_words, value: 7, of: Bo, enforced: filter, redraws: 1}
  author:
    may: [note, cue, move]
    moves: {dream: It was a dream.}
    samples: [{to: Ana, note: Wait.}]
    knows: [transcript, asides, cards]
  model: {model: puppet, puppet: {alpha: .5}}
factors:
  heard:
    in chat: {model: {mode: chat}}
    as script: {model: {mode: script}}
replicates: 2
branches:
  - {name: frozen, at: [2], turns: 2, arms: {as it was: {}, louder: {line: "Ana, IT BOILS."}}}
regenerations:
  - {at: [3]}
probes:
  - {name: boil, of: Ana, ask: "Does it boil?", expect: ["no"], at: [2]}
"""


def busy_run(place: Path) -> RunFolder:
    """Play the run with every kind of record."""
    (place / "kettle.yaml").write_text(KETTLE)
    file = place / "busy.yaml"
    file.write_text(BUSY)
    folder = run(load(file), runs=place / "runs", setup=Setup(ray="off")).folder
    assert folder.meta()["failed"] == 0
    return folder


def sent(folder: RunFolder) -> Iterator[tuple[Json, dict[Draw, Prompt]]]:
    """Step every scene of a run again; yield its row and the prompts that its stage makes, which
    are what was sent (a run that shows anything else is no replay, and its tests say so)."""
    study = folder.study()
    trials = {t.id: t for t in plan(study)}
    for row in folder.tables.read("trials").to_pylist():
        trial, before = trials[row["trial"]], None
        if row["branch"] != MAIN:
            asked = [*planned_branches(study, trial), *from_json(folder.meta().get("branches", []))]
            one = next(b for b in asked if b.id == row["branch"])
            turns = folder.transcripts.read(trial.id, one.parent).turns
            before = past(trial, one, turns, folder.transcripts.calls(trial.id, one.parent))
            trial = branched(trial, one)
        known = {c.draw: c for c in folder.transcripts.calls(trial.id, row["branch"])}
        prompts: dict[Draw, Prompt] = {}

        async def draw(
            ask: Ask, known: dict[Draw, Call] = known, prompts: dict[Draw, Prompt] = prompts
        ) -> Call:
            prompts[ask.draw] = ask.prompt
            return known[ask.draw]

        asyncio.run(create_stage(trial, before).play(draw))
        yield row, prompts
