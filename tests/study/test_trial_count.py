"""What a study asks for is counted before it is built, and a study over a limit is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from improv.errors import StudyError
from improv.study.branch import planned_branches
from improv.study.loader import load
from improv.study.snapshot import read_study, write_study
from improv.study.trial import plan
from improv.study.trial_count import branch_counts

SCENE = "title: T\npremise: P\nturns: 4\ncast:\n- {name: Ana, role: r}\n- {name: Bo, role: r}\n"


def study(folder: Path, text: str) -> Path:
    (folder / "s.yaml").write_text(SCENE)
    file = folder / "st.yaml"
    file.write_text(f"study: A\nscenes: [s.yaml]\n{text}")
    return file


def factors(count: int, levels: int = 2, field: str = "factors") -> str:
    each = "{" + ", ".join(f"l{k}: {{}}" for k in range(levels)) + "}"
    return f"{field}:\n" + "".join(f"  {field}{i}: {each}\n" for i in range(count))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (factors(30), "4:3: factors:", ["2^30 conditions × 1 scene = 1,073,741,824 scenes"]),
        (factors(30), "factors", ["the limit is 10,000", "--max-trials 107374182400"]),
        (factors(900), "factors", ["2^900 conditions", "about 10^271", "--max-trials"]),
        (factors(3, 30), "factors", ["30^3 conditions", "27,000"]),
        (
            factors(20, field="blocks"),
            "4:3: blocks:",
            ["1 condition × 2^20 combinations of blocking levels × 1 scene"],
        ),
        (
            "replicates: 100000\n" + factors(5),
            "3:13: replicates:",
            ["2^5 conditions × 1 scene × 100,000 replicates = 3,200,000 trials", "3200000"],
        ),
        ("replicates: 999999999\n", "replicates", ["999,999,999 replicates", "1,000,000"]),
        (
            "branches:\n- {name: b, at: every, draws: 10000}\n" * 1
            + "".join(f"- {{name: c{i}, at: every, draws: 10000}}\n" for i in range(49)),
            "branches.0",
            ["4 turns × 1 arm × 10,000 draws = 40,000 in each trial", "2,000,001", "--max-trials"],
        ),
        (
            "replicates: 1000\nregenerations:\n- {at: every, draws: 1000}\n",
            "regenerations.0",
            ["4 turns × 1,000 draws", "4,001,000"],
        ),
        (
            "replicates: 1000\nprobes:\n- {name: q, ask: why, at: every, draws: 1000}\n",
            "probes.0",
            ["5 turns × 2 characters × 1,000 draws", "10,001,000"],
        ),
    ],
)
def test_a_study_over_a_limit_is_refused_at_once(
    text: str, place: str, words: list[str], tmp_path: Path
) -> None:
    begun = time.process_time()
    with pytest.raises(StudyError) as caught:
        load(study(tmp_path, text))
    message = str(caught.value)
    assert all(word in message for word in (place, *words)), message
    assert time.process_time() - begun < 20


def test_the_limit_is_raised_by_the_option_that_the_message_names(tmp_path: Path) -> None:
    file = study(tmp_path, "replicates: 400000\n" + factors(2))
    with pytest.raises(StudyError, match="--max-trials 1600000"):
        load(file)
    assert len(plan(load(file, max_trials=1_600_000))) == 1_600_000
    assert len(plan(load(file, replicates=3))) == 12
    with pytest.raises(StudyError, match=r"options.*replicates"):
        load(study(tmp_path, ""), replicates=1_000_001)
    with pytest.raises(StudyError, match="--max-trials"):
        load(tmp_path / "s.yaml", replicates=1_000_001)


def test_one_trial_has_no_more_branches_than_a_process_holds(tmp_path: Path) -> None:
    text = "".join(f"- {{name: b{i}, at: every, draws: 10000}}\n" for i in range(3))
    with pytest.raises(StudyError, match="at most 100,000 times is possible"):
        load(study(tmp_path, "branches:\n" + text))


@pytest.mark.parametrize(
    "text",
    [
        "branches: [{name: b, at: every, draws: 3, arms: {x: {}, y: {move: Rain.}}}]",
        "branches: [{name: b, at: every, draws: 2, arms: {x: {line: Never.}}}]",
        "branches: [{name: b, at: [1, 1, 3], draws: 2}]",
        "regenerations: [{at: every, draws: 3}, {at: [2], draws: 5}, {at: [2, 2], draws: 4}]",
        "probes: [{name: p, ask: why, at: every, draws: 2}, {name: q, ask: why, at: [2], of: Bo}]",
    ],
)
def test_branches_are_counted_as_they_are_planned(text: str, tmp_path: Path) -> None:
    loaded = load(study(tmp_path, text))
    (trial,) = plan(loaded)
    branches = planned_branches(loaded, trial)
    assert sum(c.number for c in branch_counts(loaded, trial.scene)) == len(branches)
    assert len({b.id for b in branches}) == len(branches)


def test_cells_share_what_is_the_same(tmp_path: Path) -> None:
    text = "factors:\n  a: {x: {}, y: {place: Here.}}\n  b: {x: {}, y: {}}\n"
    scenes = [scene for _, _, scene in load(study(tmp_path, text)).cells]
    assert scenes[0] is scenes[1] and scenes[2] is scenes[3]
    assert scenes[0] != scenes[2] and scenes[0].cast is scenes[2].cast


def test_what_a_run_could_not_read_again_is_not_written(tmp_path: Path) -> None:
    few = load(study(tmp_path, factors(3)))
    assert len(read_study(write_study(few), "study.yaml").cells) == 8
    world = "set: {world: [" + ", ".join("xyz"[i % 3] for i in range(600)) + "]}\n"
    many = load(study(tmp_path, world + factors(10)))
    assert len(many.cells) == 2**10
    with pytest.raises(StudyError, match="play fewer conditions in one run"):
        write_study(many)
