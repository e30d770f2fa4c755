"""The work that a run still owes is counted without making its trials, and is made in the order of
play."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from improv.models.budget import Budget
from improv.runner.branching import branch
from improv.runner.launch import asked_branches, resume, run
from improv.runner.owed import Owed, owed
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.study.loader import load
from improv.study.trial import plan
from tests.conftest import KETTLE

STUDY = """\
study: kettles
scenes: [kettle.yaml]
set: {model: puppet, turns: 3}
factors: {author: {none: {author: {live: false}}, live: {author: {live: true}}}}
replicates: 4
branches: [{name: fork, at: [1], arms: {as it was: {}}, draws: 2}]
"""


def checked(folder: RunFolder, **more: set[str]) -> Owed:
    """Return what is owed, after its counts were compared with the work itself."""
    trials = plan(folder.study())
    work_owed = owed(folder, trials, asked_branches(folder.meta()), **more)
    work = list(work_owed)
    assert work_owed.size == sum(w.size for w in work) == sum(work_owed.by_condition.values())
    assert work_owed.trials == len(work)
    assert [w.trial.index for w in work] == sorted(w.trial.index for w in work)
    assert {t.condition for t in work_owed.cells} == {w.trial.condition for w in work}
    for condition, count in work_owed.by_condition.items():
        assert count == sum(w.size for w in work if w.trial.condition == condition)
    return work_owed


def test_what_is_owed_shrinks_as_it_is_played(tmp_path: Path) -> None:
    (tmp_path / "kettle.yaml").write_text(KETTLE)
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    setup = Setup("off", stages=1, budget=Budget(calls=30))
    begun = run(load(file), runs=tmp_path / "runs", name="one", setup=setup)
    left = checked(begun.folder)
    assert 0 < left.size == begun.owed < 24
    done = resume(begun.folder, setup=Setup("off"))
    assert done.owed == 0 and not checked(done.folder)
    assert (done.done, done.branches) == (8, 16)
    grown = branch(done.folder, "0", 2, draws=2, setup=Setup("off"))
    assert grown.owed == 0 and len(grown.fresh) == 2
    # A branch that was asked for and not played: its number is another.
    more = [asdict(b) | {"number": b.number + 9} for b in grown.fresh]
    meta = done.folder.meta()
    done.folder.update({"branches": [*meta["branches"], *more]})
    assert checked(done.folder).size == 2
    wanted = {asked_branches(done.folder.meta())[-1].id}
    assert checked(done.folder, only=wanted).size == 1
    assert not checked(done.folder, only=set())
