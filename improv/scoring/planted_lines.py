"""Planted lines: for every trait, lines that are known to be at its pole or at its opposite.

They are written by hand: for a shipped scene in scenes/calibration/<scene>.yaml, for another scene
in a file that the user names. A puppet's planted lines are its own sentences. measures.calibration
makes the questions about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from improv.errors import Problem, RunError, StudyError
from improv.files import shipped
from improv.models.puppet.player import puppet_sentences
from improv.scoring.measures.calibration import PlantedLines
from improv.study import yaml_source
from improv.study.puppet_spec import Puppet
from improv.study.scene import CharacterSpec, Scene, Trait

_Written = Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]
"""Character → "pole/opposite" → "pole" or "opposite" → lines."""


def planted_lines(file: str | None = None) -> Callable[[str, Scene], PlantedLines]:
    """Return a function from a scene's name and the scene to its planted lines.

    `file` has the lines of scenes that ship none, by scene. Raises RunError if it cannot be read,
    and StudyError if its content is wrong.
    """
    from_file: dict[str, _Written] = _read(Path(file), by_scene=True) if file else {}
    kept: dict[str, _Written] = {}

    def written(slug: str) -> _Written:
        if slug not in kept:
            own = shipped("scenes") / "calibration" / f"{slug}.yaml"
            kept[slug] = from_file.get(slug) or (_read(own)[""] if own.is_file() else {})
        return kept[slug]

    def of_scene(slug: str, scene: Scene) -> PlantedLines:
        def lines(c: CharacterSpec, trait: Trait) -> tuple[Sequence[str], Sequence[str]]:
            model = scene.model_of(c.name)
            if model.puppet is not None or model.model == "puppet":
                return puppet_sentences(model.puppet or Puppet())
            sides = written(slug).get(c.name, {}).get(f"{trait.pole}/{trait.opposite}", {})
            return sides.get("pole", ()), sides.get("opposite", ())

        return lines

    return of_scene


def _read(file: Path, *, by_scene: bool = False) -> dict[str, _Written]:
    """Read a file of planted lines: of one scene, under "", or of several."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise RunError(f"{file}: cannot be read: {e}") from None
    source = yaml_source.read_yaml(text, str(file))
    scenes = source.data if by_scene else {"": source.data}
    problems: list[Problem] = []
    for slug, cast in _mapping(scenes).items():
        for who, traits in _mapping(cast).items():
            for trait, sides in _mapping(traits).items():
                path = (*([slug] if by_scene else []), who, trait)
                sound = set(_mapping(sides)) == {"pole", "opposite"} and all(
                    isinstance(lines, list) and lines and all(isinstance(s, str) for s in lines)
                    for lines in sides.values()
                )
                if not sound or "/" not in trait:
                    what = "needs a trait 'pole/opposite' with the lists 'pole' and 'opposite'"
                    problems.append(source.problem(path, what))
    if problems or not isinstance(scenes, dict) or not all(map(_mapping, scenes.values())):
        raise StudyError(problems or [source.problem((), "needs characters, and their traits")])
    return dict(scenes)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
