"""Builds the scenes of a study whose conditions share most of their parts.

A study may have ten thousand cells, which differ from each other in a field or two. Each part (a
cast, an author, a list of events) is checked once and held once, and so is a scene whose parts are
all the same.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from improv.records import digest
from improv.study.scene import Scene

_Key = tuple[str, object]


class SceneParts:
    """The parts of the scenes that were built so far."""

    def __init__(self) -> None:
        self._parts: dict[_Key, Any] = {}
        self._digests: dict[int, tuple[Any, str]] = {}
        """The digest of written data by its `id`, with the data, which so keeps its id."""
        self._known: set[str] = set()
        self._scenes: dict[tuple[_Key, ...], Scene] = {}

    def build(self, data: Any) -> Scene:
        """Return the scene that `data` describes. Raises ValidationError, as Scene does."""
        if not isinstance(data, dict):
            return Scene.model_validate(data)
        try:
            keys = {field: self._key(field, value) for field, value in data.items()}
            whole = tuple(keys.values())
            scene = self._scenes.get(whole)
        except (TypeError, RecursionError):
            return Scene.model_validate(data)  # not the data of a file
        if scene is None:
            scene = self._scenes[whole] = self._build(data, keys)
        return scene

    def _build(self, data: dict[str, Any], keys: dict[str, _Key]) -> Scene:
        known = {field: self._parts[key] for field, key in keys.items() if key in self._parts}
        try:
            scene = Scene.model_validate(data | known)
        except ValidationError:
            return Scene.model_validate(data)  # the error shows what was written
        shared = [field for field, value in data.items() if isinstance(value, dict | list)]
        held = {
            field: self._parts.setdefault(keys[field], getattr(scene, field)) for field in shared
        }
        return scene.model_copy(update=held)

    def _key(self, field: str, value: Any) -> _Key:
        if not isinstance(value, dict | list):
            return field, (type(value), value)
        if id(value) in self._digests:
            return field, self._digests[id(value)][1]
        of_value = digest(repr(value))
        if of_value not in self._known:
            self._known.add(of_value)
            self._digests[id(value)] = (value, of_value)
        return field, of_value
