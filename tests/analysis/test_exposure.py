"""The exposure ledger on real runs: a text that reached the wrong arm is found."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from improv.analysis.exposure import Exposure, shown_kinds
from improv.analysis.exposure_scan import _FILE, cached_exposure, read_exposure
from improv.records import Block, BlockKind
from improv.runner.branching import branch
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.overrides import read_edit
from tests.conftest import KETTLE
from tests.support.weather import command

FRAME = "In the plays of Ines Okafor nobody ever turns their coat."
BRIEF = "Wants every line of this play to be short and dry."
SHARED = "The kettle of this kitchen has been unplugged for a year."
STUDY = f"""\
study: arms
scenes: [kettle.yaml]
set:
  turns: 4
  author: {{live: false, frame: "", bible: {SHARED}}}
factors:
  author:
    none: {{}}
    framed: {{author: {{frame: {FRAME}}}}}
    live: {{author: {{live: true, brief: {BRIEF}, may: [note]}}}}
replicates: 2
plan:
  hypothesis: A frame changes something.
  outcome: {{measure: habit}}
  contrasts: [{{name: framed against none, plus: {{author: framed}}, minus: {{author: none}}}}]
  blocks: 2
"""
OFF = Setup(ray="off")


def play(folder: Path, study: str = STUDY) -> RunFolder:
    (folder / "kettle.yaml").write_text(KETTLE)
    (folder / "arms.yaml").write_text(study)
    result = run(load(folder / "arms.yaml"), runs=folder / "runs", name="arms", setup=OFF)
    assert (result.failed, result.owed) == (0, 0)
    return result.folder


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    play(folder)
    return folder


@pytest.fixture
def played(once: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run that the test may change."""
    shutil.copytree(once / "runs", tmp_path / "runs")
    return open_run(str(tmp_path / "runs"), "arms")


def checked(folder: RunFolder) -> Exposure:
    return read_exposure(folder, folder.study())


def rewritten(folder: RunFolder, table: str, rows: list[dict[str, Any]]) -> None:
    schema = folder.tables.read(table).schema
    folder.tables.write(table, pa.Table.from_pylist(rows, schema=schema))


def show(folder: RunFolder, condition: str, role: str, id: str) -> None:
    """Add a block to the last call of a role in the first scene of one arm."""
    trials = folder.tables.read("trials").to_pylist()
    name = next(t["trial"] for t in trials if t["condition"] == condition)
    calls = folder.tables.read("calls").to_pylist()
    place = (name, "main", role)
    call = [c for c in calls if (c["trial"], c["branch"], c["role"]) == place][-1]
    call["blocks"] = [*call["blocks"], id]
    rewritten(folder, "calls", calls)


def said(folder: RunFolder, kind: BlockKind, text: str) -> str:
    """Add a block with that text to the run."""
    block = Block.of(kind, text)
    rewritten(folder, "blocks", [*folder.tables.read("blocks").to_pylist(), asdict(block)])
    return block.id


def holding(folder: RunFolder, kind: BlockKind, text: str) -> str:
    """Return the one block of a kind that holds a text."""
    blocks = folder.tables.read("blocks").to_pylist()
    (id,) = [b["id"] for b in blocks if b["kind"] == kind and text in b["text"]]
    return str(id)


def test_what_was_played_as_planned_is_clean_and_told_apart(played: RunFolder) -> None:
    exposure = checked(played)
    assert exposure.clean and not exposure.leaks
    calls = played.tables.read("calls").to_pylist()
    assert exposure.prompts == len({(c["trial"], c["branch"], c["role"]) for c in calls})
    assert exposure.blocks == len({id for c in calls for id in c["blocks"]})
    # What an arm's texts are is seen in that arm alone; what all share is in each.
    arms = {kind: {c for c, k in exposure.seen if k == kind} for kind in shown_kinds(exposure)}
    assert arms["frame"] == {"framed"} and arms["author"] == arms["note"] == {"live"}
    assert arms["card"] == arms["world"] == {"none", "framed", "live"}
    assert shown_kinds(exposure)[:3] == ["frame", "author", "note"]


def frame(folder: RunFolder) -> str:
    return holding(folder, "frame", FRAME)


def brief(folder: RunFolder) -> str:
    return holding(folder, "author", BRIEF)


def anas(folder: RunFolder) -> str:
    return holding(folder, "card", "Ana has all the time")


def overheard(kind: BlockKind, text: str) -> Callable[[RunFolder], str]:
    return lambda folder: said(folder, kind, text)


@pytest.mark.parametrize(
    ("condition", "role", "block", "kind", "owner"),
    [
        ("none", "Bo", frame, "frame", "Ana of kettle, framed"),
        ("live", "author", frame, "frame", "Ana of kettle, framed"),
        ("none", "Bo", brief, "author", "author of kettle, live"),
        ("live", "Bo", brief, "author", "author of kettle, live"),  # of its own arm's author
        ("none", "Bo", anas, "card", "Ana of kettle, none"),  # and her secret with it
        ("none", "Bo", overheard("note", f"To Bo: {FRAME}"), "note", "framed"),
        ("framed", "Ana", overheard("transcript", f"BO: {BRIEF} Yes."), "transcript", "live"),
        ("framed", "Ana", overheard("memory", f"{FRAME} {BRIEF}"), "memory", "live"),
        ("none", "Ana", overheard("note", " \n".join(FRAME.split())), "note", "framed"),
    ],
)
def test_a_text_in_the_wrong_prompt_is_found(
    played: RunFolder,
    condition: str,
    role: str,
    block: Callable[[RunFolder], str],
    kind: str,
    owner: str,
) -> None:
    show(played, condition, role, block(played))
    exposure = checked(played)
    assert not exposure.clean and (exposure.leaked, exposure.unknown) == (1, 0)
    (leak,) = exposure.leaks
    assert (leak.condition, leak.role, leak.kind, leak.owner) == (condition, role, kind, owner)
    trials = {t["trial"]: t["condition"] for t in played.tables.read("trials").to_pylist()}
    assert trials[leak.trial] == condition and leak.branch == "main"


@pytest.mark.parametrize(
    ("condition", "role", "text"),
    [
        ("framed", "Bo", f"The author says: {FRAME}"),  # its own
        ("none", "Bo", SHARED),  # every arm's author holds it
        ("none", "Bo", "Nobody ever turns their coat."),  # what anybody might say
        ("none", "Bo", "A letter of more than thirty characters that no author has written."),
    ],
)
def test_what_an_arm_holds_itself_or_all_share_is_no_leak(
    played: RunFolder, condition: str, role: str, text: str
) -> None:
    show(played, condition, role, said(played, "note", text))
    assert checked(played).clean


def test_what_all_arms_of_another_scene_hold_tells_no_arms_apart(tmp_path: Path) -> None:
    secret = "She has put something else into the pot."
    (tmp_path / "pot.yaml").write_text(KETTLE.replace("She has unplugged it.", secret))
    folder = play(tmp_path, STUDY.replace("[kettle.yaml]", "[kettle.yaml, pot.yaml]"))
    show(folder, "none", "Bo", said(folder, "transcript", f"ANA: {secret}"))
    assert checked(folder).clean


def test_a_block_that_no_table_knows_is_not_taken_for_harmless(played: RunFolder) -> None:
    show(played, "none", "Bo", "feedfeedfeedfeed")
    exposure = checked(played)
    assert not exposure.clean and (exposure.leaked, exposure.unknown) == (0, 1)


def test_all_leaks_are_counted_and_some_are_named(played: RunFolder) -> None:
    calls = played.tables.read("calls").to_pylist()
    alien = [said(played, "note", f"{n}. {FRAME}") for n in range(15)]
    rewritten(played, "calls", [c | {"blocks": [*c["blocks"], *alien]} for c in calls])
    roles = {(c["trial"], c["role"]) for c in calls}
    names = {
        t["trial"] for t in played.tables.read("trials").to_pylist() if t["condition"] != "framed"
    }
    exposure = checked(played)
    assert exposure.leaked == 15 * sum(trial in names for trial, _ in roles) > 20
    assert len(exposure.leaks) == 20


def test_a_study_that_gives_an_arms_text_to_another_is_caught(tmp_path: Path) -> None:
    # Somebody quotes the author of one arm in the direction of another.
    spoilt = STUDY.replace("none: {}", f"none: {{events: [{{turn: 2, direction: {FRAME}}}]}}")
    exposure = checked(play(tmp_path, spoilt))
    assert {(leak.condition, leak.owner) for leak in exposure.leaks} == {("none", "framed")}
    assert {leak.role for leak in exposure.leaks} == {"Ana", "Bo"}


def test_an_edit_may_bring_a_text_into_its_branch_and_its_branches_branches(
    played: RunFolder,
) -> None:
    trials = played.tables.read("trials").to_pylist()
    none = next(t["trial"] for t in trials if t["condition"] == "none")
    edit = read_edit([f"author.frame={FRAME}"])
    for of in (none, f"{none}~{{}}"):
        grown = [
            r["branch"] for r in played.tables.read("trials").to_pylist() if r["branch"] != "main"
        ]
        place = of.format(*grown)
        assert branch(played, place, 2, edit=edit if of == none else read_edit([]), setup=OFF).done
    assert sum(r["branch"] != "main" for r in played.tables.read("trials").to_pylist()) == 2
    exposure = checked(played)
    assert exposure.clean and exposure.seen["none", "frame"] == 1
    # What the branch may be shown, its trial may not.
    show(played, "none", "Bo", frame(played))
    assert checked(played).leaked == 1


def page(folder: RunFolder, name: str, *more: str) -> str:
    out = Path(folder.root).parent / f"{name}.md"
    command(name, folder.id, *more, "--runs", folder.root, "-o", str(out))
    return out.read_text()


def test_a_leak_is_fatal_to_a_planned_analysis(played: RunFolder) -> None:
    clean = page(played, "report")
    assert "No arm was shown a text that only another arm may see." in clean
    assert "Nothing is decided" not in clean and "framed against none:" in clean
    assert "at α = 0.05" in clean
    show(played, "none", "Bo", frame(played))
    spoilt = page(played, "report")
    assert "Nothing is decided. The exposure check found 1 leak" in spoilt
    assert "at α = 0.05" not in spoilt and "Not decided." in spoilt
    assert FRAME in spoilt.split("Who saw what")[1], "what leaked is shown"
    assert "1 leak" in page(played, "compare")


def test_what_a_large_run_showed_is_kept_until_its_tables_change(played: RunFolder) -> None:
    study, file = played.study(), played.local / _FILE
    exposure = read_exposure(played, study)
    assert cached_exposure(played, study) == exposure and not file.exists(), "it took no time"
    assert cached_exposure(played, study, worth=0) == exposure
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"leaked": 7}))
    assert cached_exposure(played, study).leaked == 7, "it is what was kept"
    later = time.time_ns() + 5_000_000_000
    os.utime(played.local / "calls.parquet", ns=(later, later))
    assert cached_exposure(played, study) == exposure
    file.write_text("{torn")
    assert cached_exposure(played, study) == exposure
