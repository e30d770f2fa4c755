"""Lays patches and edits over scenes, and reads edits from a command's words and files.

The fields of an edit are in edit; branch makes a branch from an edit and a played scene.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from improv.errors import Problem, StudyError
from improv.study.base import did_you_mean
from improv.study.edit import Edit, Patch
from improv.study.find import read_source
from improv.study.problems import Fault, faults, problems_in
from improv.study.scene import EVERYBODY, Scene
from improv.study.yaml_source import DataPath, Source, core_scalar, read_yaml


def merge(base: Any, patch: Any) -> Any:
    """Return `base` with `patch` laid over it: mappings merge, any other value replaces.

    The patch of a cast can be a mapping from a character's name to a patch of that character.
    """
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(base)
    for key, value in patch.items():
        old = merged.get(key)
        if key == "cast" and isinstance(value, dict) and isinstance(old, list):
            # A patch is laid over before the scene is checked: a member may be anything.
            merged[key] = [
                merge(c, value[name]) if (name := name_of(c)) in value else c for c in old
            ]
        elif key == "model" and isinstance(old, str) and isinstance(value, dict):
            merged[key] = merge({"model": old}, value)
        else:
            merged[key] = merge(old, value) if isinstance(old, dict) else copy.deepcopy(value)
    return merged


def name_of(member: Any) -> str | None:
    """Return the name in the data of a cast's member, None where the data has none."""
    name = member.get("name") if isinstance(member, dict) else None
    return name if isinstance(name, str) else None


def read_edit(words: Sequence[str]) -> Edit:
    """Read an edit from `path=text` words and YAML files; a later one is laid over an earlier one.

    `line`, `move` and `memory.NAME` are fields of the edit. Any other path is one of the scene's
    (`author.frame`, `cast.Ana.card`, `model`). Its text is read as YAML if it begins with a bracket
    or a quotation mark, and else as a plain YAML scalar: a number, true, false, null or text.
    Raises StudyError.
    """
    whole: Patch = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals:
            whole = merge(whole, _edit_file(word))
            continue
        own, _, rest = path.strip().partition(".")
        # A name may have a dot in it, so all that follows `memory.` is one step.
        steps = [own, rest] if own == "memory" else path.strip().split(".")
        if not all(step.strip() for step in steps):
            raise StudyError([Problem("--edit", 1, 1, path, "not a path; write author.frame=TEXT")])
        value: Any = text
        if own not in Edit.model_fields:
            steps.insert(0, "scene")
            value = read_yaml(text, "--edit").data if text[:1] in _YAML else core_scalar(text)
            value = value if text.strip() else ""
        for step in reversed(steps):
            value = {step: value}
        whole = merge(whole, value)
    try:
        return Edit.model_validate(whole)
    except ValidationError as e:
        raise StudyError(problems_in(Source("--edit", whole), e, Edit)) from None


_YAML = ("[", "{", '"', "'")


def _edit_file(word: str) -> Patch:
    try:
        source = read_source(word)
    except StudyError as e:
        if "=" in word or Path(word).exists():
            raise
        what = f"{e.problems[0].what}; an edit is PATH=TEXT or a YAML file"
        raise StudyError([Problem("--edit", 1, 1, word, what)]) from None
    try:
        Edit.model_validate(source.data)
    except ValidationError as e:
        raise StudyError(problems_in(source, e, Edit)) from None
    return cast(Patch, source.data)


def changed(scene: Scene, edit: Edit) -> Scene:
    """Return the scene with an edit laid over it. Raises StudyError if the edit does not fit."""
    made = try_edit(scene, edit)
    if isinstance(made, Scene):
        return made
    raise StudyError([Problem("edit", 1, 1, ".".join(map(str, f.place)), f.what) for f in made])


def try_edit(scene: Scene, edit: Edit) -> Scene | list[Fault]:
    """Return the edited scene, or everything in the edit that does not fit the scene."""
    names = [c.name for c in scene.cast]
    strangers = _strangers(edit, names)
    if strangers:
        return strangers
    if not edit.scene:
        return scene
    # What the edit leaves alone was checked when the scene was read.
    written = scene.model_dump(mode="json", include=set(edit.scene))
    data = dict(scene) | merge(written, edit.scene)
    if "cast" in edit.scene and _who(data["cast"]) != _who(written["cast"]):
        return [
            Fault(
                ("scene", "cast"),
                "an edit cannot change who is in the cast or offstage",
                at_key=False,
            )
        ]
    try:
        made = Scene.model_validate(data)
    except ValidationError as e:
        return [_in_edit(fault, edit, names) for fault in faults(e, Scene)]
    if made.opening != scene.opening:
        what = "an edit cannot change the written opening"
        return [Fault(("scene", "opening"), what, at_key=False)]
    return made


def _strangers(edit: Edit, names: list[str]) -> list[Fault]:
    """Find names in an edit that no character of the cast has."""
    cast = edit.scene.get("cast")
    places: list[DataPath] = [("memory", n) for n in edit.memory if n != EVERYBODY]
    places += [("scene", "cast", n) for n in cast] if isinstance(cast, dict) else []
    problems = []
    for place in places:
        name = str(place[-1])
        if name not in names:
            hint = did_you_mean(name, names) or f"; the cast is {', '.join(names)}"
            problems.append(Fault(place, f"nobody is called '{name}'{hint}", at_key=True))
    return problems


def _in_edit(fault: Fault, edit: Edit, names: list[str]) -> Fault:
    """Turn a fault of the edited scene into one of the edit, whose paths have characters' names."""
    place, what, at_key = fault
    if isinstance(edit.scene.get("cast"), dict) and len(place) > 1 and place[0] == "cast":
        place = ("cast", names[int(place[1])], *place[2:])
    if at_key and len(place) == 1:
        known = [*Edit.model_fields, *Scene.model_fields]
        what = f"not a field{did_you_mean(str(place[0]), known)}"
    return Fault(("scene", *place), what, at_key)


def _who(cast: Any) -> list[Any]:
    members = cast if isinstance(cast, list) else []
    return [(c.get("name"), c.get("offstage")) if isinstance(c, dict) else c for c in members]
