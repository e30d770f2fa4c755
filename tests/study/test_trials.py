"""The trials of a study: in order, computed when asked for, found by id, a million of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.plan import STEPS, measure, write_study
from improv.study.design import with_replicates
from improv.study.loader import load
from improv.study.trial import Trials, models_of, plan, trials_hash


@pytest.fixture
def trials() -> Trials:
    return plan(with_replicates(load("author-context"), 3))


def test_a_trial_is_the_same_however_it_is_asked_for(trials: Trials) -> None:
    listed = list(trials)
    assert len(listed) == len(trials) and [t.index for t in listed] == list(range(len(trials)))
    assert [trials[i] for i in range(len(trials))] == listed
    assert list(trials.ids()) == [t.id for t in listed]
    assert trials[-1] == listed[-1] and list(trials[2:5]) == listed[2:5]
    assert trials.find(listed[7].id) == trials.find(listed[7].id, 7) == listed[7]
    assert trials.find(listed[7].id, 8) == listed[7], "the place in a table may be old"
    assert trials.find("no such id") is None
    with pytest.raises(IndexError):
        trials[len(trials)]


def test_an_id_is_a_digest_of_what_is_played(trials: Trials) -> None:
    from improv.study.trial import TRIAL_VERSION

    trial = trials[5]
    same = with_replicates(trials.study, 1)
    assert plan(same).find(trial.id) in (None, trial)
    fingerprint = trials._cell_at(5)[0].fingerprint
    identity = [TRIAL_VERSION, trial.study, trials.study.seed, trial.slug, fingerprint]
    text = json.dumps([*identity, trial.levels, trial.replicate])
    assert trial.id == hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def test_the_hash_is_that_of_the_ids_one_a_line(trials: Trials) -> None:
    text = "\n".join(trials.ids())
    assert trials_hash(trials) == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("count", [0, 1, 5, 48, 100, None])
def test_the_first_trials_are_counted_by_cell(count: int | None, trials: Trials) -> None:
    first = trials.first(count)
    assert list(first) == list(trials)[:count]
    counts = Counter((t.slug, t.condition) for t in first)
    assert {(t.slug, t.condition): n for t, n in first.counts() if n} == counts
    firsts = [trial for trial, _ in first.counts()]
    for trial in first:
        cell = firsts[first.cell_of(trial.index)]
        assert (cell.slug, cell.condition) == (trial.slug, trial.condition)
    assert len(models_of(first)) <= len(models_of(trials))


@pytest.mark.parametrize("step", STEPS)
def test_a_million_trials_take_no_memory(step: str, tmp_path: Path) -> None:
    file = write_study(tmp_path, 1_000_000)
    if step == "resume":
        measure("stop", file)
    _, memory = measure(step, file)
    assert memory < 500, f"{memory} MB"
