"""Study files: they are read as YAML 1.2, unfolded into trials, and errors name their place."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from improv.errors import StudyError
from improv.files import shipped
from improv.study.design import study_schema
from improv.study.find import find_source
from improv.study.loader import load
from improv.study.overrides import merge
from improv.study.scene import Scene
from improv.study.snapshot import read_played_scene, read_question, read_study, write_study
from improv.study.trial import plan, trials_hash
from improv.study.yaml_source import _FastLoader, _Loader, read_yaml

CAST = "cast:\n  - {name: Ana, role: x}\n  - {name: Bo, role: y}\n"


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    file = tmp_path / "x.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError) as caught:
        load(file)
    return [str(p).replace(str(file), "x.yaml") for p in caught.value.problems]


def test_core_scalars_stay_what_they_look_like(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"title: yes\npremise: 'no'\ntime: 12:30\nplace: on, off\n{CAST}turns: 0o17\n")
    scene = load(file).cells[0][2]
    assert (scene.title, scene.premise, scene.time, scene.place) == (
        "yes",
        "no",
        "12:30",
        "on, off",
    )
    assert scene.turns == 15


def test_all_errors_at_once_with_place_and_hint(tmp_path: Path) -> None:
    messages = problems(
        tmp_path,
        "title: T\npremise: p\ncast:\n  - name: Ana\n    role: r\n    goall: win\n"
        "  - {name: Bo, role: y, habit: {says: s, marker: at_most_words}}\nturns: many\n",
    )
    assert messages == [
        "x.yaml:6:5: cast.0.goall: not a field (did you mean 'goal'?)",
        "x.yaml:7:32: cast.1.habit: 'at_most_words' needs a value: a number of words",
        "x.yaml:8:8: turns: must be a whole number, not 'many'",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "x.yaml:1:1: the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("title: T\n\tpremise: p\n", "x.yaml:2:1: a tab"),
        (
            "title: T\ntitle: U\npremise: p\n" + CAST,
            "x.yaml:2:1: title: this key is here twice, first",
        ),
        ("title: T\npremise: p\n", "x.yaml:1:1: cast: this field is required"),
        ("title: T\npremise: p\ncast: []\n", "x.yaml:3:7: cast: list should have at least 1 item"),
        (
            "title: T\npremise: p\ncast: [{name: Ana, role: x}, {name: ANA, role: y}]\n",
            "x.yaml:3:37: cast.1.name: 'ANA' is also a name of Ana",
        ),
        ("title: T\npremise: p\ncast: [{name: Author, role: x}]\n", "is a word of the stage"),
        ("- a\n- b\n", "a scene is a mapping"),
        ("title: [T\n", "x.yaml:1:8: the [ that opens here has no ] where line 2 begins"),
        ("title: !!python/object:os.system x\n", "unknown tag"),
        ("a: &a [*a]\n", "an alias to a value that contains the alias"),
        ("<<: {title: T}\n", "merge keys"),
        (b"title: \xff\xfe\n", "not UTF-8"),
        (b"title: a\x07b\n", "a character that YAML does not allow (#x0007)"),
        (
            "title: T\npremise: p\n" + CAST + "opening: [{who: Anna, line: hi}]\n",
            "opening.0.who: nobody is called 'Anna' (did you mean 'Ana'?)",
        ),
        ("title: T\npremise: p\n" + CAST + "author: {may: [move]}\n", "'moves' names none"),
        ("[" * 5000, "nested more than"),
        ("title: T\npremise: " + "9" * 5000 + "\n" + CAST + "turns: " + "9" * 5000, "turns"),
    ],
)
def test_a_bad_file_gets_a_clear_error(tmp_path: Path, text: str | bytes, says: str) -> None:
    assert any(says in p for p in problems(tmp_path, text)), problems(tmp_path, text)


def test_anchors_work_and_an_alias_bomb_does_not(tmp_path: Path) -> None:
    file = tmp_path / "ok.yaml"
    file.write_text(f"title: &t T\npremise: *t\n{CAST}")
    assert load(file).cells[0][2].premise == "T"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{two}: &{two} [{','.join([f'*{one}'] * 10)}]\n"
    assert "do aliases unfold" in problems(tmp_path, bomb)[0]


def test_ten_megabytes_are_refused_unread(tmp_path: Path) -> None:
    assert "10.0 MB is too large" in problems(tmp_path, "# " + "x" * 10_000_000)[0]


def test_a_patch_is_blamed_in_the_study(kettle: Path, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "study: s\nscenes: [kettle.yaml, kettel.yaml]\nset: {turns: 0}\nfactors:\n  author:\n"
        "    a: {author: {fram: x}}\n    b: {cast: {Anna: {goal: y}}}\n"
        "    c: {cast: {Bo: {gol: y}}}\n"
    )
    with pytest.raises(StudyError) as caught:
        load(file)
    text = str(caught.value)
    assert "s.yaml:2:23: scenes.1: there is no such file" in text
    assert "s.yaml:3:14: set.turns: input should be greater than or equal to 1" in text
    assert "s.yaml:6:18: factors.author.a.author.fram: not a field (did you mean 'frame'?)" in text
    assert "factors.author.b.cast.Anna: nobody in" in text
    assert "s.yaml:8:21: factors.author.c.cast.Bo.gol: not a field (did you mean 'goal'?)" in text


def test_conditions_are_the_product_and_patch_by_name(study_file: Path) -> None:
    study = load(study_file)
    names = [c.name for c in study.conditions]
    assert names == ["none · round", "none · silence", "live · round", "live · silence"]
    by_name = {c.name: s for _, c, s in study.cells}
    assert by_name["none · round"].author.frame == ""
    assert by_name["live · silence"].order == "by-silence"


def test_cells_choose_conditions(study_file: Path) -> None:
    text = study_file.read_text()
    study_file.write_text(text + "cells: [{author: live, order: round}, {author: lve}]\n")
    with pytest.raises(StudyError) as caught:
        load(study_file)
    assert "'lve' is not a level of 'author' (did you mean 'live'?)" in str(caught.value)
    assert "no level for 'order'" in str(caught.value)
    study_file.write_text(text + "cells: [{author: live, order: round}]\n")
    assert [c.name for c in load(study_file).conditions] == ["live · round"]


def test_merge_patches_a_cast_by_name() -> None:
    base = {"cast": [{"name": "Ana", "role": "x"}, {"name": "Bo", "role": "y"}], "turns": 3}
    merged = merge(base, {"cast": {"Bo": {"goal": "z"}}, "model": {"model": "m"}})
    assert merged["cast"] == [
        {"name": "Ana", "role": "x"},
        {"name": "Bo", "role": "y", "goal": "z"},
    ]
    assert base["cast"][1] == {"name": "Bo", "role": "y"}


def test_a_resolved_study_reads_back_as_it_was(study_file: Path) -> None:
    study = load(study_file)
    again = read_study(write_study(study), "study.yaml")
    assert again == study
    assert trials_hash(plan(again)) == trials_hash(plan(study))


@pytest.mark.parametrize("name", ["demo", "author-context", "outside-text"])
def test_one_scene_of_a_resolved_study_is_read_without_the_others(name: str) -> None:
    study = load(name)
    text = write_study(study)
    assert read_question(text, "x") == study.question
    for slug, condition, scene in [study.cells[0], study.cells[-1]]:
        # The lines of a text are indented, so a text that looks like a cell does not begin one.
        odd = dataclasses.replace(
            study,
            about="\ncells:\n- scene: cold-pass\n",
            cells=tuple(
                (s, c, v.model_copy(update={"premise": f"Yes.\ncells:\n- scene: {slug}\n"}))
                for s, c, v in study.cells
            ),
        )
        assert read_played_scene(text, "x", slug, condition.name) == scene
        played = read_played_scene(write_study(odd), "x", slug, condition.name)
        assert played is not None
        assert played.premise == f"Yes.\ncells:\n- scene: {slug}\n"
    assert read_played_scene(text, "x", "nowhere", "none") is None
    with pytest.raises(StudyError):
        read_played_scene("study: s\ncells:\n- scene: a\n", "x", "a", "b")


def test_both_yaml_readers_read_a_run_folders_study_alike(study_file: Path) -> None:
    odd = ["yes", "no", "12:30", "null", "~", "1e5", "a: b", "# x", "\u2028", "a\n\nb\n", "<<"]
    study = dataclasses.replace(load(study_file), about="\n".join(odd), question=odd[2])
    text = write_study(study)
    fast = read_yaml(text, "x", own=True)
    slow = read_yaml(text, "x")
    assert _FastLoader is not _Loader
    assert fast == slow
    assert fast.data["question"] == "12:30"


def test_the_plan_is_balanced_interleaved_and_unique(study_file: Path) -> None:
    trials = plan(load(study_file))
    assert len(trials) == len({t.id for t in trials}) == 12
    for i in range(0, 12, 4):
        assert len({t.condition for t in trials[i : i + 4]}) == 4
        assert len({t.block for t in trials[i : i + 4]}) == 1


def test_ids_follow_content_not_place(study_file: Path) -> None:
    before = [t.id for t in plan(load(study_file))]
    assert before == [t.id for t in plan(load(study_file))]
    moved = plan(load(study_file, {"model": {"base_url": "http://127.0.0.1:9/v1"}}))
    assert before == [t.id for t in moved]
    longer = plan(load(study_file, {"turns": 7}))
    assert not set(before) & {t.id for t in longer}


def test_every_shipped_scene_and_study_is_good() -> None:
    scenes = sorted(shipped("scenes").glob("*.yaml"))
    assert len(scenes) >= 6
    for file in [*scenes, *sorted(shipped("scenes").glob("studies/*.yaml"))]:
        assert plan(load(file))
    assert find_source("cold-pass").name == "cold-pass.yaml"


def test_shipped_scenes_are_written_with_care() -> None:
    """Each has two to five characters, a trait, and a habit that its written lines keep."""
    from improv.study.predicate import satisfies

    scenes = [load(f).cells[0][2] for f in sorted(shipped("scenes").glob("*.yaml"))]
    for scene in scenes:
        assert 2 <= len(scene.cast) <= 5, scene.title
        assert any(c.habit for c in scene.cast) and any(c.traits for c in scene.cast)
        assert scene.world and scene.opening and all(c.samples for c in scene.cast)
        for c in scene.cast:
            if c.habit is not None:
                said = [o.line for o in scene.opening if o.who == c.name and o.line]
                for line in [*c.samples, *said]:
                    assert satisfies(c.habit, line), f"{scene.title}: {c.name}: {line}"
    assert any(c.secret for s in scenes for c in s.cast)
    assert len({s.order for s in scenes}) == 5


def test_the_schema_agrees_with_the_reader() -> None:
    import jsonschema
    import yaml

    validator = jsonschema.Draft202012Validator(study_schema())
    for file in shipped("scenes").rglob("*.yaml"):
        if file.parent.name == "calibration":
            continue  # planted lines for judges: neither a scene nor a study
        validator.validate(yaml.safe_load(file.read_text()))
    assert list(validator.iter_errors({"title": "T", "premise": "p", "casst": []}))
    assert isinstance(Scene.model_json_schema()["properties"]["turns"]["description"], str)
