"""Checks what a study's plan, branches and probes name against its factors and scenes.

Each function returns every problem that it finds. The classes (plan, edit) check single fields, and
overrides checks whether an edit fits a scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from improv.errors import Problem
from improv.study.arm_texts import own_quotations
from improv.study.base import did_you_mean
from improv.study.design import Condition, StudyFile
from improv.study.edit import Branching, Edit
from improv.study.measure_spec import find_measure
from improv.study.overrides import try_edit
from improv.study.plan import ARM, Plan, fewest_blocks_of, fits
from improv.study.scene import EVERYBODY, Scene
from improv.study.yaml_source import DataPath, Source


def block_problems(written: StudyFile, source: Source) -> list[Problem]:
    """Find blocking factors without levels, and levels whose name would split a scene's slug."""
    problems = []
    for name, levels in written.blocks.items():
        if not levels:
            problems.append(source.problem(("blocks", name), "needs at least one level"))
        for level in levels:
            if "/" in level:
                what = "the name of a blocking level cannot have a '/'"
                problems.append(source.problem(("blocks", name, level), what, at_key=True))
    return problems


def plan_problems(
    written: StudyFile, source: Source, conditions: list[Condition], scenes: list[Scene]
) -> list[Problem]:
    """Find names in a plan that the study does not have."""
    plan = written.plan
    if plan is None:
        return []
    problems = []
    if ARM in written.factors:
        what = f"rename the factor '{ARM}': in a plan this word means the arm of a branch"
        problems.append(source.problem(("factors", ARM), what, at_key=True))
    problems += _contrast_problems(plan, written, source, conditions)
    problems += _number_problems(plan, source)
    problems += _outcome_problems(plan, source)
    whom = plan.outcome.of_whom
    names = [c.name for scene in scenes for c in scene.cast]
    if whom != EVERYBODY and scenes and whom not in names:
        what = f"nobody in any scene is called '{whom}'{did_you_mean(whom, names)}"
        problems.append(source.problem(("plan", "outcome", "of_whom"), what))
    factor = plan.outcome.factor
    if factor and factor not in written.factors:
        what = f"'{factor}' is not a factor{did_you_mean(factor, written.factors)}"
        problems.append(source.problem(("plan", "outcome", "factor"), what))
    return problems


def _number_problems(plan: Plan, source: Source) -> list[Problem]:
    """Find a plan with so few blocks that no test of it can ever reject."""
    if not plan.contrasts or plan.blocks >= (fewest := fewest_blocks_of(plan)):
        return []
    contrasts = "contrast" if len(plan.contrasts) == 1 else "contrasts"
    what = (
        f"{plan.blocks} blocks can never show anything: the test of so few cannot reject at alpha "
        f"{plan.alpha:g} with {len(plan.contrasts)} planned {contrasts}. At least {fewest} blocks "
        "can; `improv power` says how many are needed to find an effect"
    )
    return [source.problem(("plan", "blocks"), what)]


def _outcome_problems(plan: Plan, source: Source) -> list[Problem]:
    """Find measures that no outcome can rest on."""
    problems = []
    for field in ("measure", "less"):
        name = getattr(plan.outcome, field)
        known = find_measure(name) if name else None
        if known is not None and known.no_outcome:
            what = f"'{name}' cannot be the outcome of a plan: {known.no_outcome}"
            problems.append(source.problem(("plan", "outcome", field), what))
    return problems


def _contrast_problems(
    plan: Plan, written: StudyFile, source: Source, conditions: list[Condition]
) -> list[Problem]:
    """Find sides of contrasts and controls that no condition of the study fits."""
    known: dict[str, Sequence[str]] = {f: list(levels) for f, levels in written.factors.items()}
    arms = [f"{b.name}: {arm}" for b in written.branches for arm in b.arms]
    if arms:
        known[ARM] = arms
    problems = []
    for path, where in plan.wheres():
        place = ("plan", *_as_written(source.data["plan"], path))
        for factor, level in where.items():
            what = level_problem(factor, level, known)
            if what:
                problems.append(source.problem((*place, factor), what, at_key=True))
        levels = {f: lv for f, lv in where.items() if f != ARM}
        exists = all(level in known.get(f, ()) for f, level in where.items())
        if exists and not any(fits(levels, dict(c.levels)) for c in conditions):
            what = "none of the conditions in 'cells' has these levels"
            problems.append(source.problem(place, what))
    return problems


def level_problem(factor: str, level: str, known: Mapping[str, Sequence[str]]) -> str:
    """Return a message if there is no such factor, or no such level of it; "" if both exist."""
    if factor not in known:
        return f"'{factor}' is not a factor{did_you_mean(factor, known)}"
    if level not in known[factor]:
        return f"'{level}' is not a level of '{factor}'{did_you_mean(level, known[factor])}"
    return ""


def _as_written(data: Any, path: DataPath) -> DataPath:
    """Return the path without list numbers where the file has one mapping instead of a list."""
    steps = []
    for step in path:
        if isinstance(step, int) and isinstance(data, dict):
            continue
        steps.append(step)
        known = isinstance(data, list) or (isinstance(data, dict) and step in data)
        data = data[step] if known else None
    return tuple(steps)


def branching_problems(written: StudyFile, source: Source, scenes: list[Scene]) -> list[Problem]:
    """Find branches, regenerations and probes that fit no scene of the study."""
    longest = max((scene.turns for scene in scenes), default=0)
    branchings: list[tuple[str, Sequence[Any], int]] = [
        ("branches", written.branches, longest - 1),
        ("regenerations", written.regenerations, longest),
        ("probes", written.probes, longest),
    ]
    problems = []
    for field, items, last in branchings:
        for i, item in enumerate(items):
            for k, turn in enumerate(item.at if scenes and item.at != "every" else ()):
                if turn > last:
                    what = f"no scene goes on after turn {turn} (the longest has {longest} turns)"
                    if field != "branches":
                        what = f"no scene has a turn {turn} (the longest has {longest} turns)"
                    problems.append(source.problem((field, i, "at", k), what))
        names = [getattr(item, "name", None) for item in items]
        for i, name in enumerate(names):
            if name is not None and name in names[:i]:
                what = f"other {field} are called '{name}' too; names must differ"
                problems.append(source.problem((field, i, "name"), what))
    for i, branching in enumerate(written.branches):
        for arm, edit in branching.arms.items():
            problems += _arm_problems(source, branching, edit, ("branches", i, "arms", arm), scenes)
    return problems + _probe_problems(written, source, scenes)


def _probe_problems(written: StudyFile, source: Source, scenes: list[Scene]) -> list[Problem]:
    """Find probes of a character who is missing in a scene; the first such scene is reported."""
    problems = []
    for i, probe in enumerate(written.probes):
        for scene in scenes:
            names = [c.name for c in scene.cast]
            if probe.of != EVERYBODY and probe.of not in names:
                hint = did_you_mean(probe.of, names)
                what = f"nobody in '{scene.title}' is called '{probe.of}'{hint}"
                problems.append(source.problem(("probes", i, "of"), what))
                break
    return problems


def _arm_problems(
    source: Source, branching: Branching, edit: Edit, place: DataPath, scenes: list[Scene]
) -> list[Problem]:
    """Find what is wrong with an arm; only the first scene that it does not fit is reported."""
    turns = branching.at if branching.at != "every" else []
    if edit.line is not None and 0 in turns:
        what = "the written opening cannot be edited; branch at a turn from 1 on"
        return [source.problem((*place, "line"), what)]
    for scene in scenes:
        made = try_edit(scene, edit)
        if not isinstance(made, Scene):
            return [source.problem((*place, *f.place), f.what, at_key=f.at_key) for f in made]
        for turn in turns:
            if made.turns <= turn < scene.turns:
                what = f"nothing is left to play after turn {turn} of {made.turns}"
                return [source.problem((*place, "scene", "turns"), what)]
    return []


def quotation_problems(
    written: StudyFile, source: Source, cells: Sequence[tuple[str, Condition, Scene]]
) -> list[Problem]:
    """Find texts of a condition that quote the author of another condition, each text once."""
    levels = {condition.name: condition.levels for _, condition, _ in cells}
    problems: dict[tuple[DataPath, str], Problem] = {}
    for q in own_quotations({(slug, c.name): scene for slug, c, scene in cells}):
        place: DataPath = ("factors",)
        for factor, level in levels[q.condition]:
            if q.field in written.factors[factor][level]:
                place = ("factors", factor, level, q.field)
        what = (
            f"{q}. So '{q.condition}' would be shown what only '{q.owner}' may see, and the two "
            f"could not be compared. Take these words out of the {q.place} of '{q.condition}', or "
            "give both conditions this text"
        )
        problems.setdefault((place, q.place), source.problem(place, what))
    return [*problems.values()]
