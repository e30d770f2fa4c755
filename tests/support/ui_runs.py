"""Runs that the viewer's tests read, both those without and those in a browser."""

from __future__ import annotations

from pathlib import Path

from improv.files import shipped
from improv.records import MAIN, Act, Score, Turn
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.design import with_replicates
from improv.study.loader import load
from improv.study.trial import plan
from tests.support.ui import bare_run, keep, the_study

STAGE_RUN = "stage"
"""The id of the run that `stage_run` plays."""

BLINDED_STUDY = """\
study: blinded
question: Can anybody tell?
scenes: [kettle.yaml]
set:
  turns: 4
  author: {live: false}
factors:
  author:
    zero-author: {author: {frame: ""}}
    framed-author: {author: {frame: Ines Okafor never lets a character turn.}}
replicates: 2
"""


def stage_run(runs: Path) -> RunFolder:
    """Play the shipped study of authors with the puppet, a block of each scene."""
    whole = load(shipped("scenes") / "studies" / "author-context.yaml", {"turns": 8}, "effect")
    study = with_replicates(whole, 1)
    return run(study, runs=runs, name=STAGE_RUN, setup=Setup(ray="off")).folder


def broken_run(runs: Path, name: str = "broken") -> RunFolder:
    """Twelve turns: breaks of different kinds, a missing score, and a score of the whole scene."""
    folder = bare_run(runs, name)
    trial = plan(the_study())[0].id
    turns = [
        Turn(
            trial,
            MAIN,
            n,
            0,
            "line",
            ("Rufina", "Eliseo")[n % 2],
            f"Line {n}, straße <b>.",
            acts=(Act("note", "Rufina", "A lamp."),) if n in (4, 9) else (),
        )
        for n in range(1, 13)
    ]

    def mark(n: int | None, measure: str, value: float | None, evidence: str = "said") -> Score:
        who = ("Rufina", "Eliseo")[(n or 0) % 2]
        return Score(trial, MAIN, n, who, measure, "v-1", value, evidence)

    scores = [
        *(mark(n, "habit:never_asks", 0.0 if n in (3, 7) else 1.0) for n in range(1, 13, 2)),
        mark(4, "sign:blunt/flattering", None),
        mark(6, "state:hopeful/despairing", 0.5),
        mark(8, "state:hopeful/despairing", 0.0, '{"line": "<i>No</i>", "sure": 0.25}'),
        mark(10, "likelihood", -3.5),
        mark(12, "secret", 0.0, '{"words": ["gold", "mule"], "of": 4, "line": "The gold."}'),
        mark(None, "secret:turn", 12.0, '{"given_away": true, "last": 12, "missing": 0}'),
    ]
    keep(folder, turns, scores=scores)
    return folder
