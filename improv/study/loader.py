"""Reads scene and study files into frozen data, or reports everything that is wrong with them.

An error names file, line, column and path, and all errors of a file are reported at once. scene and
design define the fields, yaml_source reads YAML, and trial unfolds a study into trials.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError

from improv.errors import Problem, StudyError
from improv.study.base import did_you_mean
from improv.study.design import Condition, Study, StudyFile
from improv.study.edit import Patch
from improv.study.find import read_file, read_source
from improv.study.importing.cards.card_file import read_cast_cards
from improv.study.importing.cards.convert import Account
from improv.study.limits import MAX_TRIALS
from improv.study.overrides import merge, name_of
from improv.study.problems import faults, problems_in
from improv.study.scene import Scene
from improv.study.scene_parts import SceneParts
from improv.study.trial import plan
from improv.study.trial_count import file_problems, refuse_too_many, trial_problems
from improv.study.validation import (
    block_problems,
    branching_problems,
    level_problem,
    plan_problems,
    quotation_problems,
)
from improv.study.yaml_source import DataPath, Source, read_yaml

Cell = tuple[str, Condition, Scene]


class _Layer(NamedTuple):
    """A patch that is laid over a scene, and its path in the study's file (None: from options)."""

    patch: Patch
    place: DataPath | None


def load(
    path: str | Path,
    patch: Patch | None = None,
    planted: str = "",
    *,
    replicates: int | None = None,
    max_trials: int = MAX_TRIALS,
) -> Study:
    """Read a study, or a scene as a study of one condition, from a file or by its shipped name.

    `planted` names one of the study's planted truths, which is laid over every scene. `patch`, such
    as the command's options, is laid over that; `replicates` replaces the study's number. Raises
    StudyError with every problem of the files, and where trials and branches would be more than
    `max_trials`.
    """
    source = read_source(path)
    options = _Layer(patch or {}, None)
    if "study" in source.data:
        return _study(source, options, planted, replicates, max_trials)
    if planted:
        what = "a scene plants no truth; only a study can, with 'planted'"
        raise StudyError([Problem(source.file, 1, 1, "", what)])
    scene = _scene(source, [options])
    only = Condition("as written", ())
    slug = Path(source.file).stem
    study = Study(
        name=scene.title,
        about=scene.about,
        replicates=replicates or 1,
        conditions=(only,),
        cells=((slug, only, scene),),
    )
    refuse_too_many(plan(study), max_trials)
    return study


def load_scene(path: str | Path) -> Scene:
    """Read one scene file. Raises StudyError."""
    return _scene(read_source(path), [])


def read_scene(text: str, file: str) -> Scene:
    """Read a scene from its text; paths of cards are relative to `file`. Raises StudyError."""
    source = read_yaml(text, file)
    if not isinstance(source.data, dict):
        raise StudyError(
            [Problem(file, 1, 1, "", "a scene is a mapping that begins with 'title:'")]
        )
    return _scene(source, [])


def named_cards(path: str | Path) -> list[Account]:
    """Return an account of each card that a scene names, or that the scenes of a study name.

    Raises StudyError.
    """
    return [
        account
        for source in sources(path)
        if "study" not in source.data
        for account in read_cast_cards(source.data, Path(source.file).parent, source.problem)[1]
    ]


def sources(path: str | Path) -> list[Source]:
    """Read a scene's file, or a study's and those of its scenes. Raises StudyError."""
    source = read_source(path)
    names = source.data.get("scenes") if "study" in source.data else None
    found = [source]
    for name in names if isinstance(names, list) else ():
        beside = Path(source.file).parent / str(name)
        found += sources(beside if beside.is_file() else name)
    return found


def _study(
    source: Source, options: _Layer, planted: str, replicates: int | None, max_trials: int
) -> Study:
    try:
        written = StudyFile.model_validate(source.data)
    except ValidationError as e:
        raise StudyError(problems_in(source, e, StudyFile)) from None
    if too_many := file_problems(written, source, replicates, max_trials):
        raise StudyError(too_many)
    conditions, problems = _conditions(written, source)
    over = [*_planted(written, source, planted), options]
    cells: list[Cell] = []
    parts = SceneParts()
    for i, name in enumerate(written.scenes):
        try:
            scene_source = _scene_source(name, beside=Path(source.file))
        except StudyError as e:
            problems += [source.problem(("scenes", i), str(p.what)) for p in e.problems]
            continue
        played, wrong = _cells(written, source, scene_source, conditions, over, parts)
        cells += played
        # The same mistake shows in every scene; it is reported once.
        problems += [p for p in wrong if p not in problems]
    slugs = {slug.partition("/")[0] for slug, _, _ in cells}
    if not problems and len(slugs) < len(written.scenes):
        problems.append(source.problem(("scenes",), "two scene files have the same name"))
    study = Study(
        name=written.study,
        question=written.question,
        about=written.about,
        replicates=written.replicates if replicates is None else replicates,
        seed=written.seed,
        conditions=tuple(conditions),
        cells=tuple(cells),
        branches=tuple(written.branches),
        regenerations=tuple(written.regenerations),
        probes=tuple(written.probes),
        judge=written.judge,
        plan=written.plan,
    )
    problems += trial_problems(plan(study), max_trials, source)
    scenes = [scene for _, _, scene in cells]
    problems += branching_problems(written, source, scenes)
    problems += block_problems(written, source)
    problems += plan_problems(written, source, conditions, scenes)
    problems += quotation_problems(written, source, cells)
    if problems:
        raise StudyError(problems)
    return study


def _planted(written: StudyFile, source: Source, name: str) -> list[_Layer]:
    """Return the patch of the planted truth of that name as a list; an empty one for no name."""
    if not name:
        return []
    if name not in written.planted:
        known = ", ".join(written.planted) or "none"
        hint = did_you_mean(name, written.planted)
        what = f"no planted truth is called '{name}'{hint}; there are: {known}"
        raise StudyError([source.problem(("planted",), what)])
    return [_Layer(written.planted[name], ("planted", name))]


def _scene_source(name: str, beside: Path) -> Source:
    """Read the scene that a study names: a file relative to the study's, or a shipped scene."""
    file = beside.parent / name
    source = read_file(file) if file.is_file() else read_source(name)
    if not source.data.keys() & {"title", "premise", "cast"}:
        # Checked as a scene, any file of the machine would have its keys shown in errors.
        what = f"{name} is no scene: it has no title, no premise and no cast"
        raise StudyError([Problem(source.file, 1, 1, "", what)])
    return source


def _cells(
    written: StudyFile,
    source: Source,
    scene_source: Source,
    conditions: list[Condition],
    over: list[_Layer],
    parts: SceneParts,
) -> tuple[list[Cell], list[Problem]]:
    """Build one scene for every combination of blocking levels and every condition."""
    cells: list[Cell] = []
    problems: list[Problem] = []
    try:
        base = _with_cards(scene_source)
    except StudyError as e:
        return [], e.problems
    for block, condition in itertools.product(_blocks(written), conditions):
        layers = [_Layer(written.set, ("set",))]
        layers += [_Layer(written.blocks[b][lv], ("blocks", b, lv)) for b, lv in block]
        layers += [_Layer(written.factors[f][lv], ("factors", f, lv)) for f, lv in condition.levels]
        try:
            scene = _scene(scene_source, [*layers, *over], source, base, parts)
        except StudyError as e:
            # The same mistake shows in every condition; it is reported once.
            problems += [p for p in e.problems if p not in problems]
        else:
            slug = "/".join([Path(scene_source.file).stem, *(level for _, level in block)])
            cells.append((slug, condition, scene))
    return cells, problems


def _blocks(written: StudyFile) -> list[tuple[tuple[str, str], ...]]:
    """Return the combinations of the blocking factors' levels, each of (factor, level) pairs."""
    named = [[(name, level) for level in levels] for name, levels in written.blocks.items()]
    return list(itertools.product(*named))


def _conditions(written: StudyFile, source: Source) -> tuple[list[Condition], list[Problem]]:
    """Return the conditions to play: `cells` if the study lists them, or else the product of its
    factors."""
    factors = written.factors
    problems = [
        source.problem(("factors", name), "a factor needs at least one level")
        for name, levels in factors.items()
        if not levels
    ]
    rows: list[dict[str, str]]
    if written.cells is None:
        rows = [
            dict(zip(factors, levels, strict=True))
            for levels in itertools.product(*factors.values())
        ]
    else:
        rows = []
        known = {name: list(levels) for name, levels in factors.items()}
        for i, cell in enumerate(written.cells):
            wrong = [
                source.problem(("cells", i, factor), what)
                for factor, level in cell.items()
                if (what := level_problem(factor, level, known))
            ]
            wrong += [
                source.problem(("cells", i), f"no level for '{f}'")
                for f in factors
                if f not in cell
            ]
            problems += wrong
            if not wrong:
                rows.append({f: cell[f] for f in factors})
    conditions = [
        Condition(" · ".join(row.values()) or "as written", tuple(row.items())) for row in rows
    ]
    return conditions, problems


def _with_cards(source: Source) -> Any:
    """Return a scene's data with its cards read. Raises StudyError."""
    return read_cast_cards(source.data, Path(source.file).parent, source.problem)[0]


def _scene(
    source: Source,
    layers: list[_Layer],
    owner: Source | None = None,
    base: Any = None,
    parts: SceneParts | None = None,
) -> Scene:
    """Build a scene from its file and patches. An error points at the patch that caused it.

    `base` is the scene's data if its cards were read before, and `parts` has what other scenes of
    the study share with it.
    """
    data = _with_cards(source) if base is None else base
    laid: list[_Layer] = []
    for patch, place in layers:
        if owner is not None and place is not None:
            folder, report = Path(owner.file).parent, functools.partial(_inside, owner, place)
            patch = read_cast_cards(patch, folder, report, data.get("cast"))[0]
        laid.append(_Layer(patch, place))
        data = merge(data, patch)
        cast_patch = patch.get("cast")
        if isinstance(cast_patch, dict) and owner is not None and place is not None:
            members = data.get("cast")
            names = [name_of(c) for c in members] if isinstance(members, list) else []
            for name in cast_patch:
                if name not in names:
                    what = f"nobody in {source.file} is called '{name}'{did_you_mean(name, names)}"
                    raise StudyError([owner.problem((*place, "cast", name), what, at_key=True)])
    try:
        return (parts or SceneParts()).build(data)
    except ValidationError as e:
        _blame(e, source, laid, owner, data)


def _inside(owner: Source, outer: DataPath, place: DataPath, what: str) -> Problem:
    return owner.problem((*outer, *place), what)


def _blame(
    error: ValidationError, source: Source, layers: list[_Layer], owner: Source | None, data: Any
) -> NoReturn:
    """Raise StudyError with each problem at the last patch that sets the value, or in the scene's
    file if no patch sets it."""
    problems = []
    for path, what, at_key in faults(error, Scene):
        problem = source.problem(path, what, at_key=at_key)
        for patch, place in reversed(layers):
            patch_path = path
            if len(path) > 1 and path[0] == "cast" and isinstance(patch.get("cast"), dict):
                patch_path = ("cast", name_of(data["cast"][path[1]]) or "", *path[2:])
            if _sets(patch, patch_path):
                if place is not None and owner is not None:
                    problem = owner.problem((*place, *patch_path), what, at_key=at_key)
                else:
                    problem = Problem("options", 1, 1, ".".join(map(str, patch_path)), what)
                break
        problems.append(problem)
    raise StudyError(problems) from None


def _sets(patch: Any, path: DataPath) -> bool:
    """Whether `patch` sets the value at `path`, or a mapping or list that contains it."""
    value = patch
    for step in path:
        if isinstance(value, dict):
            if step not in value:
                return False
            value = value[step]
        elif isinstance(value, list):
            return isinstance(step, int)
        else:
            return True
    return True
