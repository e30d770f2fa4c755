"""The exposure ledger on real runs: a text that reached the wrong arm is found."""

from __future__ import annotations

import dataclasses
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
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from improv.analysis.exposure import PLAN, Exposure, ExposureRules, shown_kinds
from improv.analysis.exposure_scan import _FILE, cached_exposure, read_exposure
from improv.errors import StudyError
from improv.records import Block, BlockKind
from improv.runner.branching import branch
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.loader import load
from improv.study.overrides import read_edit
from improv.study.scene import EventSpec
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
replicates: 6
plan:
  hypothesis: A frame changes something.
  outcome: {{measure: habit}}
  contrasts: [{{name: framed against none, plus: {{author: framed}}, minus: {{author: none}}}}]
  blocks: 6
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
        ("none", "Bo", "Nobody ever turns."),  # three words, as anybody might say
        ("none", "Bo", "Every line that I ever wrote was longer than this play."),  # no run
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


KINDS: tuple[BlockKind, ...] = ("transcript", "note", "memory", "author", "world", "card")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        (FRAME.lower(), "in the plays of ines okafor nobody ever turns their coat"),
        (FRAME.replace(" coat.", "."), "in the plays of ines okafor nobody ever turns their"),
        (
            FRAME.replace("nobody", "no one"),  # two words for one
            "in the plays of ines okafor",
        ),
        (
            FRAME.replace("plays", "dramas").replace("coat", "cloak"),
            "of ines okafor nobody ever turns their",
        ),
        ("He said “in the plays – of Ines”!", "in the plays of ines"),
        ("ÌN THE PLÁYS OF ÍNES!", "in the plays of ines"),
        (f"I say: {FRAME[:20]}\n\n{FRAME[20:]}", FRAME[:-1].lower()),
        ("Nobody ever turns their coat?", "nobody ever turns their coat"),
    ],
)
def test_words_that_were_changed_a_little_are_found(once: Path, text: str, quoted: str) -> None:
    rules = ExposureRules(load(once / "arms.yaml"))
    row = {"scene": "kettle", "condition": "none", "trial": "t", "branch": "main"}
    for kind in KINDS:
        block = Block.of(kind, f"BO: {text} Well.")
        assert rules.quotes(block.text)
        leak = rules.leak({}, row, "Bo", block)
        assert leak is not None and (leak.owner, leak.kind) == ("framed", kind)
        assert quoted in leak.quoted
        assert rules.leak({}, {**row, "condition": "framed"}, "Bo", block) is None


def test_what_is_too_short_to_tell_is_named_and_decides_nothing(played: RunFolder) -> None:
    show(played, "none", "Bo", said(played, "transcript", "BO: To be short and dry I say no."))
    exposure = checked(played)
    assert exposure.clean and exposure.chance == 1
    assert [d.quoted for d in exposure.doubts] == ["to be short and dry"]
    clean = page(played, "report")
    assert "1 times a role was shown words of" in clean and "to be short and dry" in clean
    assert "Cannot be seen: a paraphrase" in clean and "at α = 0.05" in clean


class Parrot:
    """Answers every question with somebody else's words: lines, notes, diaries, sealed answers."""

    def __init__(self, server: HTTPServer) -> None:
        server.expect_request("/v1/chat/completions").respond_with_handler(self.answer)
        self.url = server.url_for("/v1")

    def answer(self, request: Request) -> Response:
        asked = json.dumps(request.get_json()["messages"][-1])
        words = f"They say that {FRAME[0].lower()}{FRAME[1:]}"
        if "Answer in JSON" in asked:
            words = json.dumps({"note_to": "Bo", "note": FRAME})
        elif "your line" in asked and "Ana" in asked:
            words = f"(aside) {FRAME}"
        message = {"role": "assistant", "content": words}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "p", "object": "chat.completion", "created": 1, "model": "parrot"}
        return Response(json.dumps(body | {"choices": [choice]}), mimetype="application/json")


def test_a_model_that_repeats_another_arms_words_is_found_in_every_kind_of_block(
    tmp_path: Path, httpserver: HTTPServer
) -> None:
    parrot = Parrot(httpserver)
    study = STUDY.replace(
        "  turns: 4\n",
        "  turns: 4\n  memory: diary\n  events: [{turn: 3, wake: true}]\n"
        "  envelope: {of: Bo, ask: What do you hide?, kept: own}\n"
        f"  model: {{model: parrot, base_url: '{parrot.url}'}}\n",
    )
    exposure = checked(play(tmp_path, study))
    assert {leak.condition for leak in exposure.leaks} <= {"none", "live"}
    assert {leak.owner for leak in exposure.leaks} == {"framed"}
    kinds = {(leak.kind, leak.text.split(":")[0]) for leak in exposure.leaks}
    assert {kind for kind, _ in kinds} == {"transcript", "memory", "note", "author"}
    memories = [leak.text for leak in exposure.leaks if leak.kind == "memory"]
    assert any("sealed" in text for text in memories) and any("remembers" in t for t in memories)
    assert exposure.leaked > len(exposure.leaks) == 20


@pytest.mark.parametrize(
    ("patch", "place"),
    [
        (f"premise: 'Ana waits. {FRAME}'", "premise"),
        (f"events: [{{turn: 2, direction: '(Aside) {FRAME}'}}]", "event of turn 2, direction"),
        (f"events: [{{turn: 2, audience: '{FRAME.upper()}'}}]", "event of turn 2, audience"),
        (f"world: ['{FRAME}']", "world"),
        (f"cast: {{Bo: {{card: '{FRAME[:-6]}.'}}}}", "card of Bo"),
        (f"cast: {{Bo: {{goal: 'Knows that {FRAME[9:]}'}}}}", "goal of Bo"),
        (f"opening: [{{who: Bo, line: '“{FRAME}”'}}]", "opening, number 1"),
        (f"beats: [{{turn: 1, text: '{FRAME.replace('nobody', 'somebody')}'}}]", "beat of turn 1"),
        (f"rules: {{r: {{marker: never_asks, says: '{FRAME}'}}}}", "rule 'r'"),
    ],
)
def test_a_study_whose_arm_quotes_another_arms_author_is_refused(
    tmp_path: Path, patch: str, place: str
) -> None:
    (tmp_path / "kettle.yaml").write_text(KETTLE)
    (tmp_path / "arms.yaml").write_text(STUDY.replace("none: {}", f"none: {{{patch}}}"))
    with pytest.raises(StudyError) as caught:
        load(tmp_path / "arms.yaml")
    (problem,) = caught.value.problems
    assert problem.path.startswith("factors.author.none.")
    assert f"the {place} of the condition 'none' quotes the author.frame of 'framed'" in str(
        problem
    )
    assert "of ines okafor" in str(problem) and "Take these words out" in str(problem)


@pytest.mark.parametrize(
    "factors",
    [
        # The author's text quotes the premise of everybody, or of some level of a crossed factor.
        "author: {none: {}, framed: {author: {frame: Ana and Bo wait for a kettle.}}}",
        f"author: {{none: {{}}, framed: {{author: {{frame: '{FRAME}'}}}}}}\n"
        f"  told: {{no: {{}}, 'yes': {{premise: 'Ana waits. {FRAME}'}}}}",
        # Two arms whose authors have one text in two fields: who reads it is what differs.
        f"author: {{live: {{author: {{brief: '{FRAME}'}}}}, "
        f"none: {{author: {{frame: '{FRAME}'}}}}}}",
    ],
)
def test_what_some_arm_has_beside_the_authors_text_is_not_refused(
    tmp_path: Path, factors: str
) -> None:
    (tmp_path / "kettle.yaml").write_text(KETTLE)
    before, _, after = STUDY.partition("factors:")
    study = f"{before}factors:\n  {factors}\nreplicates: 2\n"
    (tmp_path / "arms.yaml").write_text(study)
    assert after and load(tmp_path / "arms.yaml").cells


def test_a_run_of_a_study_that_was_not_refused_when_it_was_played_is_told(tmp_path: Path) -> None:
    # The study is made in Python, as an older version of improv would have read it.
    (tmp_path / "kettle.yaml").write_text(KETTLE)
    (tmp_path / "arms.yaml").write_text(STUDY)
    study = load(tmp_path / "arms.yaml")
    event = EventSpec(turn=2, direction=FRAME)
    cells = tuple(
        (slug, c, scene.model_copy(update={"events": [event]}) if c.name == "none" else scene)
        for slug, c, scene in study.cells
    )
    spoilt = dataclasses.replace(study, cells=cells)
    folder = run(spoilt, runs=tmp_path / "runs", name="arms", setup=OFF).folder
    exposure = checked(folder)
    assert {(leak.condition, leak.owner) for leak in exposure.leaks} == {("none", "framed")}
    assert [leak.trial for leak in exposure.leaks] == [PLAN]
    assert "direction of the condition 'none' quotes the author.frame" in page(folder, "report")


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
    assert "No arm was shown words of this kind that only another arm may see." in clean
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
