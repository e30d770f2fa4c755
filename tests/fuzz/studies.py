"""Scenes, studies and edits: valid ones from the models of improv.study, and then bent."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from improv.study.branch import planned_branches
from improv.study.design import StudyFile
from improv.study.edit import Edit
from improv.study.find import read_source
from improv.study.loader import load
from improv.study.overrides import changed, read_edit
from improv.study.scene import CharacterSpec, Scene
from improv.study.snapshot import read_study, write_study
from improv.study.trial import plan
from improv.study.yaml_source import read_yaml, write_yaml
from tests.conftest import KETTLE, STUDY
from tests.fuzz.bend import (
    ODD_TEXTS,
    as_text,
    bend,
    bend_bytes,
    byte_bends,
    codings,
    data_bends,
    encoded,
    forms,
    odd,
)
from tests.fuzz.from_models import data_of, field
from tests.fuzz.outcome import Kind, Words, command
from tests.support.export import BUSY
from tests.support.places import TOP

SHIPPED = sorted(p.name for p in (TOP / "scenes").glob("*.yaml"))
STUDIES = sorted(p.name for p in (TOP / "scenes" / "studies").glob("*.yaml"))
_MOST_TRIALS = 2_000


@functools.cache
def scene_data(name: str) -> Any:
    """Return the data of a shipped scene or study, or of the tests' kettle."""
    own = {"kettle": KETTLE, "kettles": STUDY, "busy": BUSY}
    return read_yaml(own[name], name).data if name in own else read_source(name).data


def fields_of(model: type[Any], most: int = 4) -> st.SearchStrategy[Words]:
    """Return a strategy for a few fields of a model, each with a value that it allows."""
    names = st.lists(st.sampled_from(sorted(model.model_fields)), max_size=most, unique=True)
    return names.flatmap(lambda ns: st.fixed_dictionaries({n: field(model, n) for n in ns}))


_written = st.fixed_dictionaries(
    {"bends": data_bends, "form": forms, "bytes": byte_bends | st.just([]), "coding": codings}
)
_patches = st.one_of(
    fields_of(Scene, 2),
    st.dictionaries(
        st.just("cast"),
        st.dictionaries(st.sampled_from(["Ana", "Bo", "Nobody"]), fields_of(CharacterSpec, 2)),
    ),
    st.dictionaries(st.sampled_from(sorted(Scene.model_fields)), odd, max_size=2),
)

scenes = st.fixed_dictionaries(
    {
        "base": st.sampled_from(["kettle", "kettle", *SHIPPED]) | data_of(Scene),
        "fields": fields_of(Scene),
        "written": _written,
        "command": st.integers(0, 7),
    }
)
studies = st.fixed_dictionaries(
    {
        "base": st.sampled_from(["kettles", "busy", *STUDIES]) | data_of(StudyFile),
        "fields": fields_of(StudyFile, 2),
        "factors": st.none()
        | st.dictionaries(
            st.sampled_from(["a", "b", "c", "d"]),
            st.dictionaries(st.sampled_from(["x", "y", "z"]), _patches, max_size=3),
            max_size=4,
        ),
        "written": _written,
        "command": st.integers(0, 7),
    }
)
_values = st.one_of(
    st.sampled_from(ODD_TEXTS),
    st.sampled_from(["true", "3", "[a, b]", '{"live": true}', "{frame: x}", "'x'", "[[", "puppet"]),
    odd.map(lambda v: as_text(v, "ascii")),
)
_paths = st.one_of(
    st.sampled_from(sorted(Scene.model_fields)),
    st.sampled_from(["line", "move", "memory.Ana", "memory.everybody", "memory.", "scene.turns"]),
    st.sampled_from(
        ["cast.Ana.card", "cast.Bo.model", "cast.0.name", "author.frame", "author.may"]
    ),
    st.sampled_from(
        ["model.extra", "model.base_url", "model.extra.messages", "..", "", "cast.Ana"]
    ),
    st.text(max_size=8),
)
edits = st.fixed_dictionaries(
    {
        "scene": st.sampled_from(["kettle", *SHIPPED]),
        "words": st.lists(st.tuples(_paths, _values).map(list), max_size=3),
        "file": st.none() | data_of(Edit) | fields_of(Edit),
        "patch": _patches,
        "written": _written,
    }
)


def write(data: Any, how: Words) -> bytes:
    """Return a file: the data bent, written in a form, encoded, and its bytes bent."""
    text = as_text(bend(data, how["bends"]), how["form"])
    return bend_bytes(encoded(text, how["coding"]), how["bytes"])


def try_scene(words: Words, place: Path, shared: Path) -> None:
    base = words["base"]
    data = scene_data(base) if isinstance(base, str) else base
    file = place / "scene.yaml"
    file.write_bytes(write({**data, **words["fields"]}, words["written"]))
    _try_file(file, words["command"])


def try_study(words: Words, place: Path, shared: Path) -> None:
    base = words["base"]
    data = scene_data(base) if isinstance(base, str) else base
    (place / "kettle.yaml").write_text(KETTLE)
    data = {**data, **words["fields"]}
    if words["factors"] is not None:
        data |= {"factors": words["factors"]}
    file = place / "study.yaml"
    file.write_bytes(write(data, words["written"]))
    _try_file(file, words["command"])


def _try_file(file: Path, chosen: int) -> None:
    """Read a file; what is read can be written, read again and planned, and nothing changes."""
    if chosen == 0:
        command("validate", str(file))
    study = load(file)
    again = read_study(write_study(study), "study.yaml")
    assert again.cells == study.cells, "study.yaml holds other scenes than the study"
    if study.replicates * len(study.cells) <= _MOST_TRIALS:
        trials = plan(study)
        for trial in trials[:3]:
            if all(item.at != "every" and item.draws < 50 for item in study.branches):
                planned_branches(study, trial)
        if chosen == 1:
            command("run", str(file), "--dry-run", "--limit", "5")


def try_edit(words: Words, place: Path, shared: Path) -> None:
    scene = Scene.model_validate(scene_data(words["scene"]))
    given = [f"{path}={text}" for path, text in words["words"]]
    if words["file"] is not None:
        file = place / "edit.yaml"
        data = {**words["file"]}
        data.setdefault("scene", words["patch"])
        file.write_bytes(write(data, words["written"]))
        given.insert(0, str(file))
    edit = read_edit(given)
    made = changed(scene, edit)
    kept = write_yaml(made.model_dump(mode="json", exclude_defaults=True))
    assert Scene.model_validate(read_yaml(kept, "scene", own=True).data) == made


SCENE = Kind("scene", "scene files", scenes, try_scene, quick=20)
STUDY_KIND = Kind(
    "study", "study files, with factors, blocks and plans", studies, try_study, quick=15
)
EDIT = Kind("edit", "edits, in words and in files", edits, try_edit)
