"""Reads scene and study files into frozen data, or says everything that is wrong with them.

An error names file, line, column and path, and all errors of a file come at once. What a scene
is made of stands in scene; how YAML is read, in source; what a study unfolds into, in trial.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import itertools
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from improv.cards.casting import Account
from improv.cards.named import with_cards
from improv.edit import EVERYBODY, Branching, Edit, Probe, Regeneration
from improv.errors import Problem, StudyError
from improv.files import shipped
from improv.plan import ARM, Plan, fits
from improv.scene import Scene, SceneProblems, Strict
from improv.source import MAX_BYTES, Source, core_scalar, read, write

Patch = dict[str, Any]
Place = tuple[str | int, ...]


class StudyFile(Strict):
    """A study as its file has it: scenes, factors whose levels patch them, and how often."""

    study: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    """The study's name."""
    question: str = Field(default="", max_length=1000)
    """What it asks, in a sentence."""
    about: str = Field(default="", max_length=5000)
    """Which idea it tests, and what would count against it."""
    scenes: list[str] = Field(min_length=1, max_length=200)
    """Scene files, relative to this one, or names of scenes that ship with improv."""
    set: Patch = {}
    """A patch that every condition starts from, such as `turns: 8` or `model: gpt-4.1-mini`."""
    factors: dict[str, dict[str, Patch]] = {}
    """Factor → level → a patch of the scene; conditions are their product."""
    cells: list[dict[str, str]] | None = None
    """The conditions to play, a level for every factor each, where the product is not meant."""
    blocks: dict[str, dict[str, Patch]] = {}
    """Blocking factor (a topic, a cast) → level → a patch of the scene. Each combination makes a
    scene of its own, within which conditions are compared."""
    replicates: int = Field(default=1, ge=1, le=100_000)
    """How often each scene is played under each condition."""
    seed: int = 0
    """Changes every draw of the study at once."""
    branches: list[Branching] = Field(default=[], max_length=50)
    """Branches grown from every trial: paired counterfactuals."""
    regenerations: list[Regeneration] = Field(default=[], max_length=50)
    """Turns of every trial that are drawn again."""
    probes: list[Probe] = Field(default=[], max_length=50)
    """Questions put to characters off the record."""
    plan: Plan | None = None
    """What will be looked at, settled beforehand."""
    planted: dict[str, Patch] = {}
    """Name → a patch that has puppets play a known truth, to see whether the plan would find it."""


@dataclass(frozen=True)
class Condition:
    """One cell of the design: its name, and the level of each factor."""

    name: str
    levels: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Study:
    """A study with its scenes resolved: one scene per (scene file, condition).

    `cells` maps the slug of a scene (its file's name, and the levels of blocking factors after a
    slash each) and a condition to the scene as it is played there.
    """

    name: str
    question: str
    about: str
    replicates: int
    seed: int
    conditions: tuple[Condition, ...]
    cells: tuple[tuple[str, Condition, Scene], ...]
    branches: tuple[Branching, ...] = ()
    regenerations: tuple[Regeneration, ...] = ()
    probes: tuple[Probe, ...] = ()
    plan: Plan | None = None

    @property
    def scenes(self) -> list[str]:
        return list(dict.fromkeys(slug for slug, _, _ in self.cells))


def load(path: str | Path, patch: Patch | None = None, planted: str = "") -> Study:
    """Read a study, or a scene as a study of one condition, from a file or by its shipped name.

    `planted` names one of the study's planted truths, which is laid over every scene; `patch`
    goes over that, as the command's options do. Raises StudyError with every problem found.
    """
    file = find(path)
    source = _source(file)
    if isinstance(source.data, dict) and "study" in source.data:
        return _study(source, file, patch or {}, planted)
    if planted:
        what = "a scene plants no truth; only a study's 'planted' does"
        raise StudyError([Problem(str(file), 1, 1, "", what)])
    scene = _scene(source, [(patch or {}, None)])
    only = Condition("as written", ())
    return Study(scene.title, "", scene.about, 1, 0, (only,), ((file.stem, only, scene),))


def load_scene(path: str | Path) -> Scene:
    """Read one scene file. Raises StudyError."""
    return _scene(_source(find(path)), [])


def read_scene(text: str, file: str) -> Scene:
    """Read a scene from its text; cards are looked for beside `file`. Raises StudyError."""
    source = read(text, file)
    if not isinstance(source.data, dict):
        raise StudyError(
            [Problem(file, 1, 1, "", "a scene is a mapping that begins with 'title:'")]
        )
    return _scene(source, [])


def read_source(path: str | Path) -> Source:
    """Read a scene's or study's file as it is written, unchecked. Raises StudyError."""
    return _source(find(path))


def named_cards(path: str | Path) -> list[Account]:
    """Return what became of each card that a scene, or the scenes of a study, name. Raises
    StudyError."""
    source = _source(find(path))
    folder = Path(source.file).parent
    names = source.data.get("scenes") if "study" in source.data else None
    if not isinstance(names, list):
        return with_cards(source.data, folder, source.problem)[1]
    beside = [folder / str(name) for name in names]
    return [
        a for f, n in zip(beside, names, strict=True) for a in named_cards(f if f.is_file() else n)
    ]


def with_replicates(study: Study, replicates: int) -> Study:
    """Return the study played so many times."""
    return dataclasses.replace(study, replicates=replicates)


def read_edit(words: Sequence[str]) -> Edit:
    """Read an edit from `path=text` words and YAML files, later ones over earlier.

    `line`, `move` and `memory.NAME` are the edit's own; any other path is one of the scene's
    (`author.frame`, `cast.Ana.card`, `model`), whose text is a number, true, false or null where
    YAML would say so, and YAML where it begins with a bracket or a quotation mark. Raises
    StudyError.
    """
    whole: Patch = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals:
            whole = merge(whole, _edit_file(word))
            continue
        own, _, rest = path.strip().partition(".")
        # A name may have a dot in it; what else stands after `memory` has not.
        steps = [own, rest] if own == "memory" else path.strip().split(".")
        if not all(step.strip() for step in steps):
            raise StudyError([Problem("--edit", 1, 1, path, "not a path; write author.frame=TEXT")])
        value: Any = text
        if own not in Edit.model_fields:
            steps.insert(0, "scene")
            value = read(text, "--edit").data if text[:1] in _YAML else core_scalar(text)
            value = value if text.strip() else ""
        for step in reversed(steps):
            value = {step: value}
        whole = merge(whole, value)
    try:
        return Edit.model_validate(whole)
    except ValidationError as e:
        raise StudyError(_problems(e, Source("--edit", whole), Edit)) from None


_YAML = ("[", "{", '"', "'")


def _edit_file(word: str) -> Patch:
    try:
        source = _source(find(word))
    except StudyError as e:
        if "=" in word or Path(word).exists():
            raise
        what = f"{e.problems[0].what}; an edit is PATH=TEXT or a YAML file"
        raise StudyError([Problem("--edit", 1, 1, word, what)]) from None
    try:
        Edit.model_validate(source.data)
    except ValidationError as e:
        raise StudyError(_problems(e, source, Edit)) from None
    return cast(Patch, source.data)


def changed(scene: Scene, edit: Edit) -> Scene:
    """Return the scene with an edit laid over it. Raises StudyError where it does not fit."""
    found = _changed(scene, edit)
    if isinstance(found, Scene):
        return found
    raise StudyError([Problem("edit", 1, 1, ".".join(map(str, p)), what) for p, what, _ in found])


def _changed(scene: Scene, edit: Edit) -> Scene | list[tuple[Place, str, bool]]:
    """Return the scene that an edit makes, or everything that does not fit: path, what, at_key."""
    names = [c.name for c in scene.cast]
    cast = edit.scene.get("cast")
    named: list[Place] = [("memory", n) for n in edit.memory if n != EVERYBODY]
    named += [("scene", "cast", n) for n in cast] if isinstance(cast, dict) else []
    told = f"; the cast is {', '.join(names)}"
    strange: list[tuple[Place, str, bool]] = [
        (place, f"nobody is called '{place[-1]}'{_hint(str(place[-1]), names) or told}", True)
        for place in named
        if place[-1] not in names
    ]
    if strange:
        return strange
    data = merge(scene.model_dump(mode="json"), edit.scene)
    if _who(data.get("cast")) != _who(scene.model_dump(mode="json")["cast"]):
        return [(("scene", "cast"), "an edit may not change who is there", False)]
    try:
        made = Scene.model_validate(data)
    except ValidationError as e:
        for path, what, at_key in _problems(e, Source("", data), Scene, raw=True):
            if isinstance(cast, dict) and len(path) > 1 and path[0] == "cast":
                path = ("cast", names[path[1]], *path[2:])
            if at_key and len(path) == 1:
                known = [*Edit.model_fields, *Scene.model_fields]
                what = f"not a field{_hint(str(path[0]), known)}"
            strange.append((("scene", *path), what, at_key))
        return strange
    if made.opening != scene.opening:
        return [(("scene", "opening"), "an edit may not change what was written to be said", False)]
    return made


def _who(cast: Any) -> list[Any]:
    members = cast if isinstance(cast, list) else []
    return [(c.get("name"), c.get("offstage")) if isinstance(c, dict) else c for c in members]


def find(path: str | Path) -> Path:
    """Return the file meant by a path, or by the name of a scene or study that ships."""
    given = Path(path)
    if given.is_file():
        return given
    if given.parent == Path():
        for folder in ("", "studies"):
            candidate = shipped("scenes") / folder / f"{given.name.removesuffix('.yaml')}.yaml"
            if candidate.is_file():
                return candidate
    names = sorted(p.stem for p in shipped("scenes").rglob("*.yaml"))
    near = difflib.get_close_matches(given.stem, names, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    raise StudyError(
        [Problem(str(path), 1, 1, "", f"there is no such file or shipped scene{hint}")]
    )


def merge(base: Any, patch: Any) -> Any:
    """Lay `patch` over `base`: mappings merge, anything else replaces.

    A cast may be patched by a mapping from a character's name to a patch of that character.
    """
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(base)
    for key, value in patch.items():
        old = merged.get(key)
        if key == "cast" and isinstance(value, dict) and isinstance(old, list):
            merged[key] = [merge(c, value[c["name"]]) if c.get("name") in value else c for c in old]
        elif key == "model" and isinstance(old, str) and isinstance(value, dict):
            merged[key] = merge({"model": old}, value)
        else:
            merged[key] = merge(old, value) if isinstance(old, dict) else copy.deepcopy(value)
    return merged


def resolved(study: Study) -> str:
    """Return the study as YAML with every scene as it is played: what a run folder keeps."""
    data = {
        "study": study.name,
        "question": study.question,
        "about": study.about,
        "replicates": study.replicates,
        "seed": study.seed,
        **(
            {"plan": study.plan.model_dump(mode="json", exclude_defaults=True, by_alias=True)}
            if study.plan is not None
            else {}
        ),
        **{
            wish: [w.model_dump(mode="json", exclude_defaults=True) for w in getattr(study, wish)]
            for wish in _WISHES
            if getattr(study, wish)
        },
        "cells": [
            {
                "scene": slug,
                "condition": condition.name,
                "levels": dict(condition.levels),
                "as_played": scene.model_dump(mode="json", exclude_defaults=True),
            }
            for slug, condition, scene in study.cells
        ],
    }
    return write(data)


def unresolved(text: str, file: str) -> Study:
    """Read back what `resolved` wrote. Raises StudyError."""
    source = read(text, file, own=True)
    try:
        data = source.data
        conditions: dict[str, Condition] = {}
        cells = []
        for cell in data["cells"]:
            name = cell["condition"]
            levels = tuple((str(f), str(lv)) for f, lv in cell["levels"].items())
            condition = conditions.setdefault(name, Condition(name, levels))
            cells.append((cell["scene"], condition, Scene.model_validate(cell["as_played"])))
        wishes = {
            wish: tuple(map(kind.model_validate, data.get(wish, ())))
            for wish, kind in _WISHES.items()
        }
        return Study(
            data["study"],
            data["question"],
            data["about"],
            data["replicates"],
            data["seed"],
            tuple(conditions.values()),
            tuple(cells),
            **wishes,
            plan=Plan.model_validate(data["plan"]) if "plan" in data else None,
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as e:
        what = f"not a study that improv resolved: {str(e).splitlines()[0]}"
        raise StudyError([Problem(file, 1, 1, "", what)]) from None


_CELLS, _CELL = "\ncells:\n", "\n- scene: "
"""How `resolved` begins its cells, and each of them: what is in a text is indented further."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def unresolved_question(text: str, file: str) -> str:
    """Return what a study asks, or says about itself, from what `resolved` wrote, without reading
    its scenes: a study of fifty cells takes the third of a second. Raises StudyError."""
    data = read(text.partition(_CELLS)[0], file, own=True).data
    found = (data.get("question"), data.get("about")) if isinstance(data, dict) else ()
    return next((words for words in found if isinstance(words, str) and words), "")


def unresolved_scene(text: str, file: str, slug: str, condition: str) -> Scene | None:
    """Return one scene as it is played under a condition, from what `resolved` wrote, and None
    where it is not there. Reads no other scene. Raises StudyError."""
    for cell in f"\n{text.partition(_CELLS)[2]}".split(_CELL)[1:]:
        first = cell.partition("\n")[0]
        if first != slug and _PLAIN.fullmatch(first):
            continue  # a name that needs no quotes is there as it is
        data = read(f"- scene: {cell}", file, own=True).data
        try:
            (found,) = data
            if (found["scene"], found["condition"]) == (slug, condition):
                return Scene.model_validate(found["as_played"])
        except (KeyError, TypeError, ValueError) as e:
            what = f"not a study that improv resolved: {str(e).splitlines()[0]}"
            raise StudyError([Problem(file, 1, 1, "", what)]) from None
    return None


_WISHES: dict[str, Any] = {
    "branches": Branching,
    "regenerations": Regeneration,
    "probes": Probe,
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of scene and study files, for editors."""
    adapter: TypeAdapter[Any] = TypeAdapter(Scene | StudyFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter.json_schema()}


def _source(file: Path) -> Source:
    name = str(file)
    try:
        size = file.stat().st_size
        # Asked before reading, so that a file of gigabytes costs nothing.
        text = "" if size > MAX_BYTES else file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise StudyError([Problem(name, 1, 1, "", f"not UTF-8 text (byte {e.start})")]) from None
    except OSError as e:
        raise StudyError([Problem(name, 1, 1, "", f"cannot be read: {e.strerror}")]) from None
    if size > MAX_BYTES:
        what = f"{size / 1e6:.1f} MB is too large; a scene or study may have {MAX_BYTES // 1000} kB"
        raise StudyError([Problem(name, 1, 1, "", what)])
    source = read(text, name)
    if not isinstance(source.data, dict):
        what = (
            "a scene is a mapping that begins with 'title:', a study one that begins with 'study:'"
        )
        raise StudyError([Problem(name, 1, 1, "", what)])
    return source


def _study(source: Source, file: Path, over: Patch, planted: str = "") -> Study:
    try:
        written = StudyFile.model_validate(source.data)
    except ValidationError as e:
        raise StudyError(_problems(e, source, StudyFile)) from None
    problems: list[Problem] = []
    conditions = _conditions(written, source, problems)
    truth: list[tuple[Patch, Place | None]] = []
    if planted:
        if planted not in written.planted:
            known = ", ".join(written.planted) or "none"
            what = f"no truth is planted as '{planted}'{_hint(planted, written.planted)}; "
            raise StudyError([source.problem(("planted",), f"{what}there are: {known}")])
        truth = [(written.planted[planted], ("planted", planted))]
    cells: list[tuple[str, Condition, Scene]] = []
    failed: set[str] = set()
    for i, name in enumerate(written.scenes):
        beside = file.parent / name
        try:
            scene_file = beside if beside.is_file() else find(name)
            scene_source = _source(scene_file)
            if not scene_source.data.keys() & {"title", "premise", "cast"}:
                # Not checked as one, or the keys of any file of the machine would be shown.
                what = f"{name} is no scene: it has no title, no premise and no cast"
                raise StudyError([Problem(str(scene_file), 1, 1, "", what)])
        except StudyError as e:
            problems += [source.problem(("scenes", i), str(p.what)) for p in e.problems]
            continue
        for block, condition in itertools.product(_blocks(written), conditions):
            patches: list[tuple[Patch, Place | None]] = [(written.set, ("set",))]
            patches += [(written.blocks[b][lv], ("blocks", b, lv)) for b, lv in block]
            patches += [(written.factors[f][lv], ("factors", f, lv)) for f, lv in condition.levels]
            try:
                scene = _scene(scene_source, [*patches, *truth, (over, None)], source)
            except StudyError as e:
                # The same mistake shows in every condition; it is told once.
                fresh = [p for p in e.problems if str(p) not in failed]
                failed.update(map(str, fresh))
                problems += fresh
            else:
                slug = "/".join([scene_file.stem, *(level for _, level in block)])
                cells.append((slug, condition, scene))
    slugs = list(dict.fromkeys(slug.partition("/")[0] for slug, _, _ in cells))
    if not problems and len(slugs) < len(written.scenes):
        problems.append(source.problem(("scenes",), "two scene files have the same name"))
    problems += _wishes(written, source, [scene for _, _, scene in cells])
    problems += _plan_problems(written, source, conditions, [scene for _, _, scene in cells])
    if problems:
        raise StudyError(problems)
    return Study(
        written.study,
        written.question,
        written.about,
        written.replicates,
        written.seed,
        tuple(conditions),
        tuple(cells),
        tuple(written.branches),
        tuple(written.regenerations),
        tuple(written.probes),
        written.plan,
    )


def _blocks(written: StudyFile) -> list[tuple[tuple[str, str], ...]]:
    """Return the combinations of the blocking factors' levels: (factor, level) each."""
    named = [[(name, level) for level in levels] for name, levels in written.blocks.items()]
    return list(itertools.product(*named))


def _plan_problems(
    written: StudyFile, source: Source, conditions: list[Condition], scenes: list[Scene]
) -> list[Problem]:
    """Find what a plan names that the study has not, and levels that would be confused."""
    found = []
    for name, levels in written.blocks.items():
        if not levels:
            found.append(source.problem(("blocks", name), "needs at least one level"))
        for level in levels:
            if "/" in level:
                what = "a blocking level may have no '/' in its name"
                found.append(source.problem(("blocks", name, level), what, at_key=True))
    if written.plan is None:
        return found
    if ARM in written.factors:
        what = f"a study with a plan may have no factor called '{ARM}': it is a branch's arm"
        found.append(source.problem(("factors", ARM), what, at_key=True))
    arms = [f"{b.name}: {arm}" for b in written.branches for arm in b.arms]
    known: dict[str, Sequence[str]] = {f: list(levels) for f, levels in written.factors.items()}
    if arms:
        known[ARM] = arms
    for given, where in written.plan.wheres():
        place = _as_written(source.data["plan"], given)
        for factor, level in where.items():
            if factor not in known:
                what = f"'{factor}' is not a factor{_hint(factor, known)}"
            elif level not in known[factor]:
                what = f"'{level}' is not a level of '{factor}'{_hint(level, known[factor])}"
            else:
                continue
            found.append(source.problem(("plan", *place, factor), what, at_key=True))
        meant = {f: lv for f, lv in where.items() if f != ARM}
        good = all(level in known.get(f, ()) for f, level in where.items())
        if good and not any(fits(meant, dict(c.levels)) for c in conditions):
            what = "none of the conditions that 'cells' lists is this one"
            found.append(source.problem(("plan", *place), what))
    whom = written.plan.outcome.of_whom
    names = [c.name for scene in scenes for c in scene.cast]
    if whom != EVERYBODY and scenes and whom not in names:
        what = f"nobody in any scene is called '{whom}'{_hint(whom, names)}"
        found.append(source.problem(("plan", "outcome", "of_whom"), what))
    factor = written.plan.outcome.factor
    if factor and factor not in written.factors:
        what = f"'{factor}' is not a factor{_hint(factor, written.factors)}"
        found.append(source.problem(("plan", "outcome", "factor"), what))
    return found


def _as_written(data: Any, place: Place) -> Place:
    """Leave out of a place the number of a mapping that stands there without a list around it."""
    found = []
    for step in place:
        if isinstance(step, int) and isinstance(data, dict):
            continue
        found.append(step)
        known = isinstance(data, list) or (isinstance(data, dict) and step in data)
        data = data[step] if known else None
    return tuple(found)


def _wishes(written: StudyFile, source: Source, scenes: list[Scene]) -> list[Problem]:
    """Find branches and probes that no scene of the study can be asked for."""
    found = []
    longest = max((scene.turns for scene in scenes), default=0)
    wishes: list[tuple[str, Sequence[Any], int]] = [
        ("branches", written.branches, longest - 1),
        ("regenerations", written.regenerations, longest),
        ("probes", written.probes, longest),
    ]
    for field, wanted, last in wishes:
        for i, wish in enumerate(wanted):
            for k, turn in enumerate(wish.at if scenes and wish.at != "every" else ()):
                if turn > last:
                    what = f"no scene goes on after turn {turn} (the longest has {longest} turns)"
                    if field != "branches":
                        what = f"no scene has a turn {turn} (the longest has {longest} turns)"
                    found.append(source.problem((field, i, "at", k), what))
        for i, name in enumerate(names := [getattr(wish, "name", None) for wish in wanted]):
            if name is not None and name in names[:i]:
                what = f"there are {field} called '{name}' already"
                found.append(source.problem((field, i, "name"), what))
    for i, wish in enumerate(written.branches):
        for arm, edit in wish.arms.items():
            found += _misfits(source, wish, edit, ("branches", i, "arms", arm), scenes)
    for i, probe in enumerate(written.probes):
        for scene in scenes:
            names = [c.name for c in scene.cast]
            if probe.of != EVERYBODY and probe.of not in names:
                what = f"nobody in '{scene.title}' is called '{probe.of}'{_hint(probe.of, names)}"
                found.append(source.problem(("probes", i, "of"), what))
                break
    return found


def _misfits(
    source: Source, wish: Branching, edit: Edit, place: Place, scenes: list[Scene]
) -> list[Problem]:
    """Find what is wrong with an arm, in the first of the scenes that it does not fit."""
    turns = wish.at if wish.at != "every" else []
    if edit.line is not None and 0 in turns:
        what = "the written opening cannot be edited; branch at a turn from 1 on"
        return [source.problem((*place, "line"), what)]
    for scene in scenes:
        made = _changed(scene, edit)
        if not isinstance(made, Scene):
            return [source.problem((*place, *p), what, at_key=key) for p, what, key in made]
        for turn in turns:
            if made.turns <= turn < scene.turns:
                what = f"nothing is left to play after turn {turn} of {made.turns}"
                return [source.problem((*place, "scene", "turns"), what)]
    return []


def _conditions(written: StudyFile, source: Source, problems: list[Problem]) -> list[Condition]:
    factors = written.factors
    for name, levels in factors.items():
        if not levels:
            problems.append(source.problem(("factors", name), "a factor needs at least one level"))
    if written.cells is None:
        rows: list[dict[str, str]] = [{}]
        for name, levels in factors.items():
            rows = [{**row, name: level} for row in rows for level in levels]
    else:
        rows = []
        for i, cell in enumerate(written.cells):
            wrong = [
                (f, f"'{f}' is not a factor{_hint(f, factors)}") for f in cell if f not in factors
            ]
            wrong += [
                (f, f"'{lv}' is not a level of '{f}'{_hint(lv, factors[f])}")
                for f, lv in cell.items()
                if f in factors and lv not in factors[f]
            ]
            wrong += [("", f"no level for '{f}'") for f in factors if f not in cell]
            problems += [
                source.problem(("cells", i, f) if f else ("cells", i), what) for f, what in wrong
            ]
            if not wrong:
                rows.append({f: cell[f] for f in factors})
    return [Condition(" · ".join(row.values()) or "as written", tuple(row.items())) for row in rows]


def _scene(
    source: Source, patches: list[tuple[Patch, Place | None]], owner: Source | None = None
) -> Scene:
    """Build a scene from its file and patches; an error points at the patch that caused it."""
    data: Any = with_cards(source.data, Path(source.file).parent, source.problem)[0]
    patches = [*patches]
    for i, (patch, where) in enumerate(patches):
        if owner is not None and where is not None:
            folder, said = Path(owner.file).parent, functools.partial(_inside, owner, where)
            patch = with_cards(patch, folder, said, data.get("cast"))[0]
            patches[i] = (patch, where)
        data = merge(data, patch)
        cast_patch = patch.get("cast")
        if isinstance(cast_patch, dict) and owner is not None and where is not None:
            names = [c.get("name") for c in data.get("cast", []) if isinstance(c, dict)]
            for name in cast_patch:
                if name not in names:
                    what = f"nobody in {source.file} is called '{name}'{_hint(name, names)}"
                    raise StudyError([owner.problem((*where, "cast", name), what, at_key=True)])
    try:
        return Scene.model_validate(data)
    except ValidationError as e:
        return _blame(e, source, patches, owner, data)


def _inside(owner: Source, where: Place, path: Place, what: str) -> Problem:
    return owner.problem((*where, *path), what)


def _blame(
    error: ValidationError,
    source: Source,
    patches: list[tuple[Patch, Place | None]],
    owner: Source | None,
    data: Any,
) -> typing.NoReturn:
    problems = []
    for p in _problems(error, source, Scene, raw=True):
        path, what, at_key = cast(tuple[Place, str, bool], p)
        spot = source.problem(path, what, at_key=at_key)
        for patch, where in reversed(patches):
            named = path
            if len(path) > 1 and path[0] == "cast" and isinstance(patch.get("cast"), dict):
                named = ("cast", data["cast"][path[1]].get("name"), *path[2:])
            if _holds(patch, named):
                if where is not None and owner is not None:
                    spot = owner.problem((*where, *named), what, at_key=at_key)
                else:
                    spot = Problem("options", 1, 1, ".".join(map(str, named)), what)
                break
        problems.append(spot)
    raise StudyError(problems) from None


def _holds(patch: Any, path: Place) -> bool:
    """Whether `patch` itself gives the value at `path`, or a whole that contains it."""
    at = patch
    for step in path:
        if isinstance(at, dict):
            if step not in at:
                return False
            at = at[step]
        elif isinstance(at, list):
            return isinstance(step, int)
        else:
            return True
    return True


def _problems(
    error: ValidationError, source: Source, model: type[BaseModel], *, raw: bool = False
) -> list[Any]:
    found: list[tuple[Place, str, bool]] = []
    for e in error.errors(include_url=False):
        path, at_key = tuple(e["loc"]), False
        # Inside a union, a factor's patch or a validator, pydantic adds steps that no file has.
        path = tuple(s for s in path if not (isinstance(s, str) and s.startswith("function-")))
        what = e["msg"].removeprefix("Value error, ")
        inner = (e.get("ctx") or {}).get("error")
        if isinstance(inner, SceneProblems):
            found += [(p, w, False) for p, w in inner.problems]
            continue
        if e["type"] == "extra_forbidden":
            what = f"not a field{_hint(str(path[-1]), _fields_at(model, path[:-1]))}"
            at_key = True
        elif e["type"] == "missing":
            what = "this field is required"
        elif e["type"] == "string_pattern_mismatch":
            what = f"{_shown(e['input'])} does not have the form {e['ctx']['pattern']}"
        elif not isinstance(e["input"], dict | list):
            what = f"{what[0].lower()}{what[1:]}, not {_shown(e['input'])}"
        else:
            what = f"{what[0].lower()}{what[1:]}"
        found.append((path, what, at_key))
    if raw:
        return list(found)
    return [source.problem(path, what, at_key=at_key) for path, what, at_key in found]


def _fields_at(model: Any, path: Place) -> list[str]:
    """Return the field names of the class that stands at `path` inside `model`."""
    at: Any = model
    for step in path:
        field = _fields_of(at).get(str(step))
        at = _class_in(field.annotation if field is not None else at)
    return list(_fields_of(_class_in(at)))


def _fields_of(kind: object) -> dict[str, FieldInfo]:
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _class_in(annotation: Any) -> Any:
    """Find the model class inside an annotation such as `list[Annotated[Model, ...]] | None`."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    args = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or args:
        for arg in args:
            inner = _class_in(arg)
            if _fields_of(inner):
                return inner
    return annotation


def _hint(word: str, known: Any) -> str:
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _shown(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 60 else text[:57] + "…"
