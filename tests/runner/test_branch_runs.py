"""Branches in whole runs, with a puppet behind a real server that counts its calls, and the errors
for a branch that is not possible."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from improv.errors import ImprovError, RunError, StudyError
from improv.models.puppet.server import PuppetServer
from improv.records import FIRST_REGENERATION, MAIN
from improv.runner.branching import branch
from improv.runner.launch import resume, run
from improv.runner.replay import replay
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import CLOCK_COLUMNS, SCHEMAS
from improv.study.edit import Edit
from improv.study.loader import load
from improv.study.overrides import read_edit
from tests.support.branch import OFF, alter, differences, everything, grow_in, lines, rows, setting
from tests.support.weather import command


def test_branches_share_what_was_played_and_draw_only_what_follows(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    before = everything(folder)
    main = folder.transcripts.trial("0")["trial"]
    result = branch(folder, "0", 3, draws=3, setup=OFF)
    ids = [b.id for b in result.fresh]
    assert (result.branches, result.owed, len(set(ids))) == (3, 0, 3)
    # Two calls of the author (before turns 1, 3, 5: one of them is shared and one is not) and
    # three lines each: four calls, none of them twice, none of a shared turn.
    assert set(server.asked.values()) == {1}
    asked = [key.split("/") for key in server.asked]
    assert Counter(a[1] for a in asked) == dict.fromkeys(ids, 4)
    assert min(int(a[2]) for a in asked) == 4
    server.asked.clear()
    (again,) = grow_in(folder, "0", 3, again=True)
    assert list(server.asked) == [f"{main}/main/3/line/1000/{again_speaker(folder, again)}"]
    # The parent is untouched: new rows, and not one that is different.
    for name, table in before.items():
        after = rows(folder, name)
        assert [r for r in after if r in table] == table, name
        if name == "failures":
            assert not after
        elif name != "blocks":
            assert {r["branch"] for r in after if r not in table} == {*ids, again}, name
    # They differ from each other and from the parent, and share their beginning to the byte.
    parent = folder.transcripts.read(main)
    ends = set()
    for each in [*ids, again]:
        t = folder.transcripts.read(main, each)
        fork = 2 if each == again else 3
        begun = [x for x in parent.turns if x.turn <= fork]
        assert list(t.turns[: len(begun)]) == begun
        assert {x.branch for x in t.turns[len(begun) :]} == {each}
        ends.add(tuple(x.text for x in t.turns))
        calls = folder.transcripts.calls(main, each)
        assert [c for c in calls if c.draw.turn <= fork and c.draw.branch == MAIN] == [
            c for c in folder.transcripts.calls(main) if c.draw.turn <= fork
        ]
    assert len({*ends, tuple(x.text for x in parent.turns)}) == 5
    trials = {r["branch"]: r for r in rows(folder, "trials")}
    assert [
        (trials[i]["origin"], trials[i]["parent"], trials[i]["fork"]) for i in (ids[0], again)
    ] == [
        ("branch", "main", 3),
        ("regeneration", "main", 2),
    ]
    assert (trials[again]["attempt"], trials[again]["status"]) == (FIRST_REGENERATION, "done")
    assert differences(folder) == []


def again_speaker(folder: RunFolder, branch_id: str) -> str:
    return next(r["speaker"] for r in rows(folder, "turns", branch=branch_id) if r["speaker"])


def test_branches_can_be_branched_and_so_can_regenerations(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    main = folder.transcripts.trial("0")["trial"]
    edit = read_edit(["author.frame=Una never spares anybody.", "memory.Ana=Only steam."])
    (first,) = grow_in(folder, "0", 2, edit=edit)
    (child,) = grow_in(folder, f"0~{first}", 4)
    (again,) = grow_in(folder, f"0~{first}", 5, again=True)
    (on,) = grow_in(folder, f"0~{again}", 5)
    (twice,) = grow_in(folder, f"0~{again}", 5, again=True)
    (edited,) = grow_in(folder, f"0~{child}", 5, edit=Edit(line="It boils over!"))
    (last,) = grow_in(folder, f"0~{edited}", 5)
    trials = {r["branch"]: (r["parent"], r["fork"], r["origin"]) for r in rows(folder, "trials")}
    assert trials == {
        MAIN: ("", 0, "main"),
        first: (MAIN, 2, "branch"),
        child: (first, 4, "branch"),
        again: (first, 4, "regeneration"),
        on: (again, 5, "branch"),
        twice: (again, 4, "regeneration"),
        edited: (child, 4, "branch"),
        last: (edited, 5, "branch"),
    }
    assert set(server.asked.values()) == {1}
    assert lines(folder, child)[:4] == lines(folder, first)[:4]
    assert lines(folder, child)[:2] == lines(folder, MAIN)[:2]
    assert lines(folder, again)[:4] == lines(folder, first)[:4] and len(lines(folder, again)) == 5
    assert lines(folder, on)[:5] == lines(folder, again)
    assert lines(folder, last)[4] == lines(folder, edited)[4] == "It boils over!"
    assert len({tuple(lines(folder, b)) for b in trials}) == 8
    # What the first branch changed, its branches and theirs are played with.
    texts = {r["id"]: r["text"] for r in rows(folder, "blocks")}
    for each in (first, child, on, last, twice):
        for call in rows(folder, "calls", branch=each, purpose="line"):
            shown_text = "\n".join(texts[b] for b in call["blocks"])
            assert "Una never spares" in shown_text and "Ines Okafor never" not in shown_text
            assert ("Only steam." in shown_text) == (call["role"] == "Ana")
    assert differences(folder) == []
    checks = list(replay(folder, f"0~{last}"))
    assert [(c.trial, c.branch, c.turns) for c in checks] == [(main, last, 6)]


def test_asking_again_gives_further_draws_never_the_same_ones(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    ids = grow_in(folder, "0", 3, draws=2) + grow_in(folder, "0", 3)
    again = grow_in(folder, "0", 2, again=True, draws=2)
    # A branch's turn that is its parent's is regenerated as what it is: its parent's.
    again += grow_in(folder, f"0~{ids[0]}", 2, again=True)
    regenerations = rows(folder, "trials", origin="regeneration")
    assert sorted(r["attempt"] for r in regenerations) == [1000, 1001, 1002]
    assert {r["parent"] for r in regenerations} == {MAIN}
    assert set(server.asked.values()) == {1} and len({*ids, *again}) == 6
    assert differences(folder) == []


def test_an_interrupted_branch_is_played_by_resume(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, server = served
    server.spec = server.spec.model_copy(update={"errors": {"401": 0.2}})
    result = branch(folder, "0", 3, draws=4, setup=OFF)
    assert result.owed and "401" in result.stopped and result.exit_code
    paid = Counter(server.asked)
    server.spec = server.spec.model_copy(update={"errors": {}})
    resumed = resume(folder, setup=OFF)
    assert (resumed.owed, resumed.branches, resumed.exit_code) == (0, 4, 0)
    assert {r["branch"] for r in rows(folder, "trials")} == {MAIN, *(b.id for b in result.fresh)}
    assert all(server.asked[key] == count for key, count in paid.items())
    assert set(server.asked.values()) == {1} and differences(folder) == []


def test_branches_and_their_branches_that_were_lost_are_played_in_their_order(
    served: tuple[RunFolder, PuppetServer],
) -> None:
    folder, _ = served
    (first,) = grow_in(folder, "0", 2, edit=Edit(memory={"Bo": "Steam."}))
    (again,) = grow_in(folder, f"0~{first}", 4, again=True)
    grow_in(folder, f"0~{again}", 4)
    whole = everything(folder)
    for name in ("trials", "turns", "calls", "scores"):
        left = [r for r in whole[name] if r["branch"] == MAIN]
        folder.tables.write(name, pa.Table.from_pylist(left, schema=SCHEMAS[name]))
    assert resume(folder, setup=OFF).exit_code == 0
    for name in ("trials", "turns", "calls", "scores"):
        for was, now in zip(whole[name], rows(folder, name), strict=True):
            same = {k: v for k, v in was.items() if k not in CLOCK_COLUMNS.get(name, ())}
            assert now | same == now, name
    assert differences(folder) == []


# -- what a person may get wrong ----------------------------------------------------------------


def test_an_edit_is_read_as_it_is_meant(tmp_path: Path) -> None:
    edit = read_edit(
        [
            "line=Ana: it boils, # yes",
            "memory.Dr. No=He said: no.",
            "author.frame=",
            "turns=8",
            "cast.Ana.card=Bo: a liar - always",
            "world=[one, two]",
            "author.live=false",
            "model.temperature=null",
            "move=12:30",
        ]
    )
    assert (edit.line, edit.move) == ("Ana: it boils, # yes", "12:30")
    assert edit.memory == {"Dr. No": "He said: no."}
    assert edit.scene == {
        "author": {"frame": "", "live": False},
        "cast": {"Ana": {"card": "Bo: a liar - always"}},
        "world": ["one", "two"],
        "turns": 8,
        "model": {"temperature": None},
    }
    file = tmp_path / "edit.yaml"
    file.write_text("line: Boo.\nscene: {turns: 9}\n")
    assert read_edit([str(file), "line=Bah."]) == Edit(line="Bah.", scene={"turns": 9})
    assert read_edit([]).empty


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("not a path", "=x"),
        ("not a path", "author..frame=x"),
        ("not a path", "memory.=x"),
        ("an edit is PATH=TEXT or a YAML file", "lines"),
        ("line: needs words", "line= "),
        ("memory.Ana.x: not a field", "EDIT:memory: {Ana: {x: 1}}"),
        ("1:1: linne: not a field (did you mean 'line'?)", "EDIT:linne: Boo."),
    ],
)
def test_an_edit_that_cannot_be_read_is_refused(tmp_path: Path, message: str, word: str) -> None:
    kind, _, text = word.partition(":")
    if kind == "EDIT":
        word = str(tmp_path / "edit.yaml")
        Path(word).write_text(text)
    with pytest.raises(StudyError) as e:
        read_edit([word])
    assert message in str(e.value) or "memory.Ana" in str(e.value)


@pytest.mark.parametrize(
    ("place", "turn", "words_of_edit", "message"),
    [
        ("0", 7, [], "has 6 turns; there is no turn 7"),
        ("0", 6, [], "nothing is left to play after turn 6"),
        ("0", 6, ["line=The end."], "nothing is left to play after turn 6"),
        ("0", 0, ["line=Hello."], "the written opening cannot be edited"),
        ("1", 2, [], "1: is not a finished trial"),
        ("0~feed", 2, [], "0~feed: is not a finished branch"),
        ("0", 2, ["linne=x"], "not a field (did you mean 'line'?)"),
        ("0", 2, ["author.framee=x"], "author.framee: not a field (did you mean 'frame'?)"),
        ("0", 2, ["cast.Ana.name=Zoe"], "an edit cannot change who is in the cast"),
        ("0", 2, ["cast.Cy.offstage=false"], "an edit cannot change who is in the cast"),
        ("0", 2, ["cast.Anna.card=x"], "nobody is called 'Anna' (did you mean 'Ana'?)"),
        ("0", 2, ["cast.Ana.cards=x"], "cast.Ana.cards: not a field (did you mean 'card'?)"),
        ("0", 2, ["memory.Zoe=x"], "nobody is called 'Zoe'; the cast is Ana, Bo, Cy"),
        ("0", 2, ["turns=2"], "nothing is left to play"),
        ("0", 2, ["model.temperature=hot"], "model.temperature"),
    ],
)
def test_a_branch_that_cannot_be_is_refused_before_anything_is_asked(
    kettle: Path, tmp_path: Path, place: str, turn: int, words_of_edit: list[str], message: str
) -> None:
    folder = run(load(kettle), runs=tmp_path / "runs", setup=OFF).folder
    before = everything(folder)
    with pytest.raises(ImprovError) as e:
        branch(folder, place, turn, edit=read_edit(words_of_edit), setup=OFF)
    assert message in str(e.value) and e.value.exit_code == 2
    assert everything(folder) == before and not folder.meta().get("branches")


def test_a_regeneration_takes_no_edit_and_no_written_line(kettle: Path, tmp_path: Path) -> None:
    folder = run(load(kettle), runs=tmp_path / "runs", setup=OFF).folder
    with pytest.raises(RunError, match="a regeneration changes nothing"):
        branch(folder, "0", 2, again=True, edit=Edit(line="Boo."), setup=OFF)
    with pytest.raises(StudyError, match="only improvised turns"):
        branch(folder, "0", 0, again=True, setup=OFF)
    with pytest.raises(RunError, match="is not a finished trial"):
        list(replay(folder, "7"))


@pytest.mark.parametrize("place", ["tea/0", "tea@3", "tea/0@", "tea/0@-1", "tea/@2", "/0@two"])
def test_a_place_is_a_run_a_trial_and_a_turn(tmp_path: Path, place: str) -> None:
    done = command("branch", place, "--runs", str(tmp_path), code=2)
    assert "write RUN/TRIAL@TURN" in " ".join(done.stderr.split())


def test_the_command_branches_and_replays(kettle: Path, tmp_path: Path) -> None:
    folder = run(load(kettle), runs=tmp_path / "runs", name="tea", setup=OFF).folder
    words_of_edit = ["--edit", "line=A bomb!", "--edit", "author.live=false"]
    runs = ("--runs", folder.root)
    words = ["branch", "tea/0@3", "-n", "2", *words_of_edit, *runs]
    output = command(*words).stdout
    ids = [b["branch"] for b in rows(folder, "trials", origin="branch")]
    assert len(ids) == 2 and all(i in output for i in ids) and output.count("A bomb!") == 2
    alter(folder, "turns", setting(text="Boo."), branch=ids[0], turn=5, kind="line")
    output = " ".join(command("replay", "tea", *runs, code=1).stdout.split())
    assert f"~{ids[0]}: turn 5.0: text was" in output
    assert "2 scenes come out the same, 1 not" in output
    wrong = command("branch", "tea/0@3", "--edit", "auther.frame=x", *runs, code=2)
    assert "auther: not a field (did you mean 'author'?)" in " ".join(wrong.stderr.split())


def test_a_copy_without_its_empty_folders_can_be_branched(played: RunFolder) -> None:
    # As git leaves it, which keeps no empty folder.
    for part in ("journal", "shards"):
        shutil.rmtree(played.local / part)
    trial = played.tables.read("trials")["trial"][0].as_py()
    done = branch(played, trial, 3, setup=Setup(ray="off"))
    assert not done.stopped and len(played.transcripts.branches(trial)) == 2
