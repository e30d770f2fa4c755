"""The Multiverse: the positions of the points, the texts on a branch, and the page itself."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from improv.records import MAIN
from improv.runner.branching import branch
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.runs import open_run
from improv.study.edit import Edit
from improv.study.loader import load
from improv.study.overrides import read_edit
from tests.support.ui import HOSTILE, address, bare_run, page, read, shown, vandal_run, well
from ui.multiverse import chart, side_by_side
from ui.multiverse import data as worlds
from ui.multiverse.data import Change
from ui.multiverse.layout import FEW_MEMBERS, MOST_COURSES, REST, Tree, World, drawn, family
from ui.shared.spoken_line import SpokenLine

OFF = Setup(ray="off")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of eight turns, its line of turn 3 changed twice, a turn drawn eight times again,
    one branch that continues and is branched itself, one with another author."""
    runs = tmp_path_factory.mktemp("runs")
    patch = {"model": "puppet", "turns": 8}
    folder = run(load("cold-pass", patch), runs=runs, name="grown", setup=OFF).folder
    branch(folder, "0", 3, edit=Edit(line="Nobody sold me anything."), draws=2, setup=OFF)
    branch(folder, "0", 6, again=True, draws=8, setup=OFF)
    anew = branch(folder, "0", 5, setup=OFF).fresh[0]
    frame = read_edit(['author.frame="A clerk wrote it. <b>She lost the end.</b>"'])
    branch(folder, f"0~{anew.id}", 7, edit=frame, setup=OFF)
    return runs


def forest(seed: int) -> list[World]:
    """Branches of branches, at random."""
    source = random.Random(seed)
    last = source.randint(3, 12)
    worlds = [World(MAIN, "", 0, "", tuple((t, str(t)) for t in range(last + 1)))]
    for i in range(source.randint(0, 40)):
        parent = source.choice(worlds)
        fork = source.randint(max(0, parent.said[0][0] - 1), last - 1)
        length = source.choice([1, last - fork])
        said = tuple((fork + 1 + k, source.choice("abc")) for k in range(length))
        worlds.append(World(f"b{i}", parent.id, fork, source.choice(["again", "edit"]), said))
    return worlds


Spot = tuple[int, int]


def lines(tree: Tree) -> list[tuple[Spot, Spot]]:
    """The lines between points: to another row within the first turn, then level."""
    segments = []
    for point in tree.points:
        if point.before >= 0:
            parent = tree.points[point.before]
            start, end = (parent.turn, parent.row), (point.turn, point.row)
            bend = (start[0] + 1, end[1])
            if start[1] == end[1]:
                segments.append((start, end))
            else:
                segments.append((start, bend))
                if bend != end:
                    segments.append((bend, end))
    return segments


def side(a: Spot, b: Spot, c: Spot) -> int:
    turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (turn > 0) - (turn < 0)


def cross(first: tuple[Spot, Spot], second: tuple[Spot, Spot]) -> bool:
    (a, b), (c, d) = first, second
    if {a, b} & {c, d}:
        return False
    if side(a, b, c) == side(a, b, d) == 0:
        return a[1] == c[1] and max(a[0], c[0]) < min(b[0], d[0])
    apart = side(a, b, c) * side(a, b, d) > 0 or side(c, d, a) * side(c, d, b) > 0
    return not apart


@pytest.mark.parametrize("seed", range(40))
def test_no_two_lines_of_the_tree_cross_and_no_two_points_meet(seed: int) -> None:
    worlds = forest(seed)
    tree = drawn(worlds, opened=family(worlds[-1]), shown=[worlds[-1].id])
    spots = [(p.turn, p.row) for p in tree.points]
    assert len(set(spots)) == len(spots)
    assert {p.row for p in tree.points} == set(range(tree.rows))
    whole = lines(tree)
    crossing = [(a, b) for i, a in enumerate(whole) for b in whole[:i] if cross(a, b)]
    assert not crossing


def test_many_draws_are_a_bundle_until_it_is_opened() -> None:
    trunk = World(MAIN, "", 0, "", tuple((t, str(t)) for t in range(15)))
    draws = [World(f"d{i}", MAIN, 9, "again", ((10, "abcde"[i % 5]),)) for i in range(20)]
    few = [World(f"f{i}", MAIN, 5, "again", ((6, str(i)),)) for i in range(FEW_MEMBERS)]
    worlds = [trunk, *draws, *few]

    folded = drawn(worlds)
    [bundle] = [p for p in folded.points if p.folded]
    assert (len(bundle.worlds), bundle.lines, bundle.turn) == (20, 5, 10)
    assert chart.bundle(bundle) == "20 draws, 5 different lines"
    assert sum(p.turn == 6 and MAIN not in p.worlds for p in folded.points) == FEW_MEMBERS

    with_one_shown = drawn(worlds, shown=["d3"])
    assert sorted(len(p.worlds) for p in with_one_shown.points if p.turn == 10) == [1, 1, 19]

    opened = drawn(worlds, opened=bundle.folded)
    own = [p for p in opened.points if p.turn == 10 and MAIN not in p.worlds]
    assert [len(p.worlds) for p in own] == [4] * 5
    assert not any(p.folded for p in opened.points)


def test_a_tree_of_ten_thousand_branches_stays_small() -> None:
    trunk = World(MAIN, "", 0, "", tuple((t, str(t)) for t in range(2001)))
    spread = [World(f"s{i}", MAIN, i % 2000, "again", ((i % 2000 + 1, "x"),)) for i in range(9000)]
    at_once = [World(f"o{i}", MAIN, 70, "more", ((71, f"line {i}"),)) for i in range(1000)]
    tree = drawn([trunk, *spread, *at_once], opened=family(at_once[0]), near=70)
    assert len(tree.points) < 3000
    assert tree.rows < 200
    [rest] = [p for p in tree.points if p.folded == REST]
    assert len(rest.worlds) == 1000 - MOST_COURSES
    assert tree.left > 8000
    near = [p.turn for p in tree.points if p.folded not in ("", REST)]
    assert near
    assert all(abs(turn - 70) < 80 for turn in near)


def test_what_parted_a_branch_is_told_with_what_was_before(grown: Path) -> None:
    multiverse, folder = reading(grown)
    edited = [name for name, row in multiverse.rows.items() if "Nobody sold" in row["edit"]]
    assert len(edited) == 2
    scene = folder.study().cells[0][2]
    [change] = worlds.changes(multiverse, edited[0], scene)
    was = next(
        t.text
        for t in folder.transcripts.read(multiverse.rows[MAIN]["trial"]).lines()
        if t.turn == 3
    )
    assert change == Change("The line of turn 3", was, "Nobody sold me anything.")

    [framed] = [name for name, row in multiverse.rows.items() if "frame" in row["edit"]]
    [change] = worlds.changes(multiverse, framed, scene)
    assert change.what == "The author’s frame"
    assert change.before == scene.author.frame
    html = side_by_side.parted([change], "")
    assert "&lt;b&gt;She lost the end" in html
    assert 'aria-label="added"' in html


def test_two_branches_part_where_they_part(grown: Path) -> None:
    multiverse, folder = reading(grown)
    trial = multiverse.rows[MAIN]["trial"]
    whole = {name: folder.transcripts.read(trial, name).turns for name in multiverse.rows}
    for left in multiverse.rows:
        for right in multiverse.rows:
            sides = [whole[left], whole[right]]
            common = multiverse.parted(left, right)
            shared = [[t for t in turns if t.turn <= common] for turns in sides]
            assert shared[0] == shared[1]
            assert [s.text for s in multiverse.line(left)] == [t.text for t in sides[0]]
            owners = [
                {t.branch for t in turns if t.turn == common + 1 and t.speaker} for turns in sides
            ]
            assert left == right or not owners[0] & owners[1]


def test_words_that_one_side_alone_has_are_marked() -> None:
    left = [SpokenLine(4, "line", "Ana", "I never sold <b>anything</b> here.", False, False)]
    right = [SpokenLine(4, "line", "Ana", "I never sold <b>bread</b> here.", False, False)]
    html = side_by_side.pair_table(left, right, {"Ana": 0}, ("left", "right"), 4)
    assert "<u>anything</u>" in html
    assert "<u>bread</u>" in html
    assert "<b>" not in html
    same = side_by_side.pair_table(left, left, {"Ana": 0}, ("left", "right"), 0)
    assert 'colspan="2"' in same
    assert same.count("anything") == 1


def test_the_page_opens_on_a_branch_and_on_a_pair(
    grown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiverse, _ = reading(grown)
    edited = next(name for name, row in multiverse.rows.items() if "Nobody sold" in row["edit"])
    app = page(grown, monkeypatch, room="multiverse", run="grown", branch=edited, turn="5")
    assert "12 branches, parted in 4 ways" in read(app)
    assert "Changed, and played on, after turn 2" in read(app)
    assert "Nobody sold me anything." in read(app)
    assert address(app)["branch"] == edited
    app.button(key="beside").click()
    well(app.run())
    assert (address(app)["left"], address(app)["right"]) == (MAIN, edited)
    assert "Shared up to and including turn 2" in read(app)
    app.button(key="swap").click()
    well(app.run())
    assert (address(app)["left"], address(app)["right"]) == (edited, MAIN)
    app.button(key="apart").click()
    assert "left" not in address(well(app.run()))


def test_a_branch_that_is_not_there_is_told(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = page(grown, monkeypatch, room="multiverse", run="grown", branch="feedc0de", left="nobody")
    assert "has no branch “feedc0de”" in read(app)
    assert "branch" not in address(app)


def test_the_table_has_every_branch_and_its_score(
    grown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = "habit:never_asks"
    app = page(grown, monkeypatch, room="multiverse", run="grown", colour=measure)
    table = app.dataframe[0].value
    assert len(table) == 13
    assert set(table["change"]) >= {"as it was played", "drawn again", "played on anew"}
    assert table[measure].notna().any()
    assert "near 1" in read(app)


def test_what_a_trial_says_is_never_markup_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vandal_run(tmp_path)
    app = page(tmp_path, monkeypatch, room="multiverse", run="vandal")
    assert "no branches yet" in read(app)
    assert "document.title='owned'" in read(app)
    assert "<script" not in shown(app)
    assert "\u202e" not in shown(app)
    assert HOSTILE not in shown(app)


def test_an_empty_house_and_a_run_without_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "The house is dark" in read(page(tmp_path, monkeypatch, room="multiverse"))
    bare_run(tmp_path, "bare")
    assert "No scene is finished" in read(page(tmp_path, monkeypatch, room="multiverse"))


def test_only_models_of_this_machine_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grown: Path
) -> None:
    app = page(grown, monkeypatch, room="multiverse", run="grown", branch=MAIN, turn="4")
    assert app.selectbox(key="grow:model").options[0] == "As it was played"
    command = app.code[0].value
    assert command.startswith("improv branch grown/")
    assert "@4 -n 3" in command
    app.selectbox(key="grow:model").select("A puppet")
    app.selectbox(key="grow:what").select("The line said here")
    well(app.run())
    app.text_area[0].set_value('He says "[no]", and goes.')
    assert '--edit=line=He says "[no]", and goes.' in well(app.run()).code[0].value
    assert "--edit=model=puppet" in app.code[0].value

    # A run that was played at an address: its model is not asked again by a click.
    elsewhere = tmp_path / "runs"
    shutil.copytree(grown, elsewhere)
    file = elsewhere / "grown/study.yaml"
    text = file.read_text().replace(
        "model: puppet", "model: gpt\n      base_url: https://models.example/v1"
    )
    file.write_text(text)
    app = page(elsewhere, monkeypatch, room="multiverse", run="grown", branch=MAIN, turn="4")
    assert "As it was played" not in app.selectbox(key="grow:model").options


def reading(runs: Path) -> tuple[worlds.Multiverse, RunFolder]:
    folder = open_run(runs, "grown")
    trial = folder.transcripts.trial("0")["trial"]
    return worlds.read(str(runs), "grown", trial), folder
