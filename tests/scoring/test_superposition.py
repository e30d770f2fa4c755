"""From the verdicts on each line to the weights of the simulacra, in the table of scores."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from improv.records import Score, Transcript, Turn
from improv.scoring.measures.judge_item import Item, Verdict
from improv.scoring.measures.likelihood import likelihood_items
from improv.scoring.measures.superposition import superposition_scores
from improv.study.scene import Scene


def played(scene: Scene, *turns: int) -> list[Item]:
    name = next(c.name for c in scene.cast if c.traits)
    lines = tuple(Turn("t", "main", n, 0, "line", name, f"Line {n}.") for n in turns)
    return likelihood_items(Transcript("t", "main", lines), scene)


def verdicts(items: list[Item], **nats: float) -> dict[str, Verdict]:
    return {i.id: Verdict("", "", nats.get(i.place.split()[-1], -9.0)) for i in items}


def by_measure(scores: list[Score]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for s in scores:
        values.setdefault(s.measure, []).append(s)
    return values


def test_weights_of_each_line_and_turns_of_the_scene(scene: Scene) -> None:
    items = played(scene, 2, 4)
    known = verdicts(items, own=-1.0, opposite=-1.0)
    changed = {i.id: Verdict("", "", -8.0) for i in items if i.turn == 4 and i.place == "own"}
    scores = by_measure(superposition_scores(items, known | changed, "m"))
    own = [s.value for s in scores["superposition"]]
    assert own == pytest.approx([0.5, 0.001], abs=1e-3)
    assert [s.turn for s in scores["superposition"]] == [2, 4]
    assert sum(orjson.loads(scores["superposition"][1].evidence)["weights"].values()) == (
        pytest.approx(1.0)
    )
    (collapse,) = scores["superposition:collapse"]
    assert (collapse.turn, collapse.value) == (None, 4.0)
    assert orjson.loads(collapse.evidence) == {"happened": True, "last": 4, "into": "opposite"}
    (flip,) = scores["superposition:flip"]
    assert orjson.loads(flip.evidence)["happened"] is False
    assert flip.value == 4.0, "censored at the last line"


def test_what_is_owed_scores_nothing_and_what_failed_is_missing(scene: Scene) -> None:
    items = played(scene, 1)
    assert superposition_scores(items, {}, "m") == []
    failed = {i.id: Verdict("", "", None, "status 400") for i in items}
    assert {s.value for s in superposition_scores(items, failed, "m")} == {None}


def test_a_branch_begins_amid_a_scene_and_has_no_weights(scene: Scene) -> None:
    name = next(c.name for c in scene.cast if c.traits)
    line = Turn("t", "b1", 3, 0, "line", name, "Other words.")
    items = likelihood_items(Transcript("t", "b1", (line,)), scene)
    assert items
    assert superposition_scores(items, verdicts(items), "m") == []
