"""Unfolds a study into trials: scene × condition × replicate, each with an id of its content.

Pure. In the order of play the conditions alternate within each replicate of a scene, so that a run
that is stopped early is still balanced. A million trials take no memory: each is made when it is
asked for, and only the cells of the study are kept.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, overload

from improv.records import digest, seed_of
from improv.study.base import Strict, essence, essential_fields
from improv.study.design import Condition, Study
from improv.study.model_spec import Model
from improv.study.scene import Scene

TRIAL_VERSION = 1
"""Rises when the same trial would be played differently, so that old ids never mean new scenes."""
_ID_BYTES = 6
_SEARCHED = 10_000_000
"""The most trials that are looked through for an id whose place in the plan is not known."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The unit that is played. `block` names what its condition is compared within: the scene
    and the replicate. `index` is its place in the plan."""

    id: str
    index: int
    study: str
    slug: str
    scene: Scene
    condition: str
    levels: tuple[tuple[str, str], ...]
    block: str
    replicate: int


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block as it is planned: its name, the conditions that play in it, and the place after its
    last trial in the order of play."""

    name: str
    conditions: frozenset[str]
    end: int


class Trials(Sequence[Trial]):
    """The trials of a study in the order of play, or the first of them. Made by `plan`.

    Every cell is played once in each replicate, so the place of a trial can be computed.
    """

    def __init__(self, study: Study) -> None:
        fingerprints = _Fingerprints()
        scenes: dict[str, list[_Cell]] = {}
        for slug, condition, scene in study.cells:
            scenes.setdefault(slug, []).append(_Cell(study, slug, condition, scene, fingerprints))
        self.study = study
        self._scenes = [_without_repeats(cells) for cells in scenes.values()]
        self._ends = list(itertools.accumulate(map(len, self._scenes)))
        self._each = self._ends[-1] if self._ends else 0
        self._length = self._each * study.replicates
        self._searched: dict[str, int] = {}

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | Sequence[Trial]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            first = (start, step) == (0, 1)
            return self.first(stop) if first else [self[i] for i in range(start, stop, step)]
        place = index + self._length if index < 0 else index
        if not 0 <= place < self._length:
            raise IndexError(f"there is no trial {index} among {self._length}")
        cell, replicate = self._cell_at(place)
        return cell.trial(replicate, place)

    def __iter__(self) -> Iterator[Trial]:
        return (cell.trial(replicate, i) for i, (cell, replicate) in enumerate(self._cells()))

    def first(self, count: int | None) -> Trials:
        """Return the first `count` trials, or all of them for None."""
        shorter = copy(self)
        shorter._length = self._length if count is None else max(0, min(count, self._length))
        shorter._searched = {}
        return shorter

    def ids(self) -> Iterator[str]:
        """Yield the id of every trial, in order."""
        return (cell.id(replicate) for cell, replicate in self._cells())

    def one_of_each_cell(self) -> Trials:
        """Return the first trial of every cell: the first replicate."""
        return self.first(self._each)

    def counts(self) -> list[tuple[Trial, int]]:
        """Return the first trial of each cell, and how many trials of that cell there are."""
        whole, rest = divmod(self._length, self._each or 1)
        more = {id(self._cell_at(whole * self._each + i)[0]) for i in range(rest)}
        firsts = self.one_of_each_cell()
        cells = (cell for cell, _ in firsts._cells())
        pairs = zip(firsts, cells, strict=True)
        return [(trial, whole + (id(cell) in more)) for trial, cell in pairs]

    def blocks(self) -> Iterator[PlannedBlock]:
        """Yield every block of which all trials are here, in the order of play."""
        end = 0
        parts = [(cells[0].slug, cells) for cells in self._scenes]
        conditions = [frozenset(cell.condition.name for cell in cells) for _, cells in parts]
        for replicate in range(self.study.replicates):
            for (slug, cells), names in zip(parts, conditions, strict=True):
                end += len(cells)
                if end > self._length:
                    return
                yield PlannedBlock(f"{slug}/{replicate}", names, end)

    def cell_hashes(self) -> list[str]:
        """Return a hash of each cell, sorted: of what is played in it, and of nothing else. Studies
        of other names or seeds that play the same have the same ones."""
        cells = {cell.fingerprint for cell, _ in self.one_of_each_cell()._cells()}
        return sorted(digest(f"{TRIAL_VERSION} {cell}", size=_ID_BYTES) for cell in cells)

    def find(self, trial: str, index: object = None) -> Trial | None:
        """Return the trial with that id, None if there is none; `index` as in `find_all`."""
        return self.find_all([(trial, index)]).get(trial)

    def find_all(self, wanted: Iterable[tuple[str, object]]) -> dict[str, Trial]:
        """Return those of the wanted trials that there are, by id.

        Wanted are an id and the place that it has in a table of a run. Where that is None, or
        another trial has that place now, all trials are looked through, once.
        """
        trials: dict[str, Trial] = {}
        others: set[str] = set()
        for id_, index in wanted:
            place = self.place(id_, index)
            if place is not None:
                trials[id_] = self[place]
            else:
                others.add(id_)
        unknown = others - self._searched.keys() - trials.keys()
        if unknown:
            places = enumerate(itertools.islice(self.ids(), _SEARCHED))
            self._searched |= dict.fromkeys(unknown, -1)
            self._searched |= {id_: i for i, id_ in places if id_ in unknown}
        searched = ((id_, self._searched.get(id_, -1)) for id_ in others - trials.keys())
        return trials | {id_: self[place] for id_, place in searched if place >= 0}

    def place(self, trial: str, index: object) -> int | None:
        """Return `index` if it is the place of the trial with that id, else None."""
        if not isinstance(index, int) or not 0 <= index < self._length:
            return None
        cell, replicate = self._cell_at(index)
        return index if cell.id(replicate) == trial else None

    def cell_of(self, index: int) -> int:
        """Return the number of a trial's cell: its place in `one_of_each_cell` and `counts`."""
        number = bisect_right(self._ends, index % self._each)
        cells = self._scenes[number]
        cell, _ = self._cell_at(index)
        turned = (cells.index(cell) - self._start(cells, 0)) % len(cells)
        return self._ends[number] - len(cells) + turned

    def _cell_at(self, index: int) -> tuple[_Cell, int]:
        replicate, place = divmod(index, self._each)
        number = bisect_right(self._ends, place)
        cells = self._scenes[number]
        place -= self._ends[number] - len(cells)
        return cells[(self._start(cells, replicate) + place) % len(cells)], replicate

    def _cells(self) -> Iterator[tuple[_Cell, int]]:
        """Yield the cell and the replicate of each trial in the order of play."""
        pairs = (
            (cell, replicate)
            for replicate in range(self.study.replicates)
            for cells in self._scenes
            for start in (self._start(cells, replicate),)
            for cell in cells[start:] + cells[:start]
        )
        return itertools.islice(pairs, self._length)

    def _start(self, cells: Sequence[_Cell], replicate: int) -> int:
        """Return which condition begins: a seeded turn, so that no arm is always played first."""
        return seed_of("order", self.study.seed, f"{cells[0].slug}/{replicate}") % len(cells)


class _Cell:
    """A scene under a condition, and what all its trials have in common."""

    def __init__(
        self,
        study: Study,
        slug: str,
        condition: Condition,
        scene: Scene,
        fingerprints: _Fingerprints,
    ) -> None:
        self.study = study
        self.slug = slug
        self.condition = condition
        self.scene = scene
        self._fingerprints = fingerprints

    @property
    def fingerprint(self) -> str:
        return self._fingerprints.of(self.scene)

    @functools.cached_property
    def _hashed(self) -> hashlib.blake2b:
        """The state of an id's hash before the number of the replicate."""
        study = self.study
        identity: list[Any] = [TRIAL_VERSION, study.name, study.seed, self.slug, self.fingerprint]
        text = json.dumps([*identity, self.condition.levels])
        return hashlib.blake2b(f"{text[:-1]}, ".encode(), digest_size=_ID_BYTES)

    def id(self, replicate: int) -> str:
        """Return the id of the trial: the digest of its identity as JSON."""
        state = self._hashed.copy()
        state.update(b"%d]" % replicate)
        return state.hexdigest()

    def trial(self, replicate: int, index: int) -> Trial:
        return Trial(
            id=self.id(replicate),
            index=index,
            study=self.study.name,
            slug=self.slug,
            scene=self.scene,
            condition=self.condition.name,
            levels=self.condition.levels,
            block=f"{self.slug}/{replicate}",
            replicate=replicate,
        )


def plan(study: Study) -> Trials:
    """Return every trial of `study` in the order of play."""
    return Trials(study)


def trials_hash(trials: Trials) -> str:
    """Return a hash of everything that will be played: the ids, a line each."""
    whole = hashlib.blake2b(digest_size=16)
    ids = trials.ids()
    end = ""
    while part := "\n".join(itertools.islice(ids, 10_000)):
        whole.update(f"{end}{part}".encode())
        end = "\n"
    return whole.hexdigest()


def one_of_each_cell(trials: Sequence[Trial]) -> Sequence[Trial]:
    """Return trials that have every scene which any of `trials` has."""
    return trials.one_of_each_cell() if isinstance(trials, Trials) else trials


def find_trials(trials: Sequence[Trial], ids: Iterable[str]) -> Mapping[str, Trial]:
    """Return those of the trials that have these ids, by id."""
    if isinstance(trials, Trials):
        return trials.find_all((id_, None) for id_ in ids)
    wanted = set(ids)
    return {trial.id: trial for trial in trials if trial.id in wanted}


def models_of(trials: Sequence[Trial]) -> list[Model]:
    """Return every model that plays in the trials, without those that only branches use."""
    models = []
    for scene in {id(t.scene): t.scene for t in one_of_each_cell(trials)}.values():
        models += [scene.model_of(c.name) for c in scene.cast]
        keeps = scene.memory == "bible" and any(event.wake for event in scene.events)
        if scene.author.live or keeps:
            models.append(scene.model_of("author"))
    return models


def remote(model: Model) -> bool:
    """Whether a model is called over the network."""
    return not model.embedded and not model.in_process


def _without_repeats(cells: list[_Cell]) -> list[_Cell]:
    """Leave out a cell that is there already: its trials would have the same ids."""
    if len({cell.condition.levels for cell in cells}) == len(cells):
        return cells
    return list({(cell.condition.levels, cell.fingerprint): cell for cell in cells}.values())


class _Fingerprints:
    """What decides how each scene of a study plays, as a hash. Parts that scenes share are read
    once."""

    def __init__(self) -> None:
        self._scenes: dict[int, str] = {}
        self._parts: dict[int, str] = {}

    def of(self, scene: Scene) -> str:
        """Hash a scene, without the addresses and prices of its models."""
        if id(scene) not in self._scenes:
            fields = sorted(essential_fields(scene), key=itemgetter(0))
            texts = (f"{json.dumps(name)}: {self._text(name, held)}" for name, held in fields)
            self._scenes[id(scene)] = digest("{" + ", ".join(texts) + "}")
        return self._scenes[id(scene)]

    def _text(self, field: str, value: Any) -> str:
        if not isinstance(value, Strict | dict | list):
            return json.dumps(value)
        if id(value) not in self._parts:
            self._parts[id(value)] = _part_text(field, value)
        return self._parts[id(value)]


def _part_text(field: str, value: Any) -> str:
    data = essence(value)
    models: dict[str, list[Any]] = {
        "model": [data],
        "author": [data["model"]] if field == "author" else [],
        "cast": [member["model"] for member in data] if field == "cast" else [],
    }
    for model in models.get(field, []):
        if model is not None:
            for place in ("base_url", "api_key_env", "timeout", "retries", "price"):
                model.pop(place)
    return json.dumps(data, sort_keys=True)
