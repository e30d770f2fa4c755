"""What a file may hold: bytes, depth, nodes, texts and numbers are bounded before it is built."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from improv.errors import StudyError
from improv.study.edit import Edit
from improv.study.loader import load
from improv.study.overrides import merge
from improv.study.scene import Scene
from improv.study.snapshot import read_study
from improv.study.yaml_source import KEPT_LIMITS, WRITTEN_LIMITS, read_yaml

ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
SCENE = "title: T\npremise: P\ncast:\n- {name: Ana, role: r}\n- {name: Bo, role: r}\n"


def message(text: str, *, own: bool = False) -> str:
    with pytest.raises(StudyError) as caught:
        read_yaml(text, "x.yaml", own=own)
    return str(caught.value)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        (ALIASES, "do aliases unfold into each other?"),
        ("q: " + "[" * 200_000 + "]" * 200_000, "nested more than 40 deep"),
        ("q: " + "{a: " * 100_000, "nested more than 40 deep"),
        ("- " * 100_000, "nested more than 40 deep"),
        ("? " * 100_000, "nested more than 40 deep"),
        ("\n".join(" " * i + "a:" for i in range(1000)), "nested more than 40 deep"),
        ("a: &a [*a]", "an alias to a value that contains the alias"),
        ("a: " + "x" * 2_000_000, ""),
    ],
    ids=["aliases", "lists", "mappings", "items", "keys", "lines", "itself", "text"],
)
def test_what_would_explode_is_refused_at_once(text: str, what: str, own: bool) -> None:
    tracemalloc.start()
    begun = time.process_time()
    try:
        assert what in message(text, own=own)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 60


@pytest.mark.parametrize("limits", [WRITTEN_LIMITS, KEPT_LIMITS])
def test_a_text_within_the_limits_is_read(limits: Any) -> None:
    nodes = limits.nodes // 20
    text = "a:\n" + "- b\n" * nodes + f"c: {'x' * (limits.text - 1)}\n"
    data = read_yaml(text, "x", own=limits is KEPT_LIMITS).data
    assert len(data["a"]) == nodes
    assert len(data["c"]) == limits.text - 1


def test_an_alias_counts_as_what_it_unfolds_to() -> None:
    shared = "a: &a [" + ",".join("x" * 1000) + "]\n"
    most = WRITTEN_LIMITS.nodes // 1001 - 1
    assert read_yaml(shared + "b: [" + ",".join(["*a"] * most) + "]", "x").data["b"]
    assert "keys and values" in message(shared + "b: [" + ",".join(["*a"] * (most + 2)) + "]")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('a: "half \\ud83d"', "x.yaml:1:"),
        ('"half \\ud83d": b', "x.yaml:1:"),
        ("a:\n  b: .nan", "x.yaml:2:6: a.b: nan is no number that can be kept"),
        ("a: [1, -.inf]", "x.yaml:1:8: a.1: -inf is no number that can be kept"),
        ("a: 1e999", "x.yaml:1:4: a: inf is no number that can be kept"),
    ],
)
def test_a_value_that_cannot_be_kept_is_named(text: str, place: str) -> None:
    assert place in message(text)


@pytest.mark.parametrize("digits", ["0x" + "f" * 5000, "0o" + "7" * 5000, "9" * 5000])
def test_a_number_of_thousands_of_digits_is_text(digits: str, tmp_path: Path) -> None:
    assert read_yaml(f"a: {digits}", "x").data == {"a": digits}
    file = tmp_path / "s.yaml"
    file.write_text(f"{SCENE}turns: {digits}\n")
    with pytest.raises(StudyError, match=r"s\.yaml:6:8: turns: must be a whole number"):
        load(file)
    with pytest.raises(StudyError, match="not a study file that improv wrote"):
        read_study(f"study: s\nseed: {digits}\ncells: []\n", "study.yaml")


@pytest.mark.parametrize(
    ("patch", "place"),
    [
        ({"premise": "half \ud83d"}, "premise"),
        ({"author": {"moves": {"half \ud83d": "x"}}}, "author.moves"),
        ({"model": {"model": "m", "temperature": float("nan")}}, "model.temperature"),
        ({"model": {"model": "m", "extra": {"a": [1, float("inf")]}}}, "model.extra.a.1"),
    ],
)
def test_data_from_python_is_held_to_the_same(patch: dict[str, Any], place: str) -> None:
    data = merge(read_yaml(SCENE, "x").data, patch)
    with pytest.raises(ValueError) as caught:
        Scene.model_validate(data)
    steps = tuple(place.split("."))
    problems = caught.value.errors()[0]["ctx"]["error"].problems  # type: ignore[attr-defined]
    assert [tuple(map(str, where)) for where, _ in problems] == [steps]
    with pytest.raises(ValueError):
        Edit.model_validate({"scene": patch})


@pytest.mark.parametrize("cast", ["[Ana, {name: Bo, role: r}]", "[{name: [a]}]", "7", "[[]]", "x"])
@pytest.mark.parametrize("patch", ["{Ana: {card: hello}}", "{Bo: 7}", "[]", "~"])
def test_a_patch_of_a_cast_that_is_none_is_told_with_its_place(
    cast: str, patch: str, tmp_path: Path
) -> None:
    tmp_path.joinpath("scene.yaml").write_text(f"title: T\npremise: P\ncast: {cast}\n")
    file = tmp_path / "study.yaml"
    file.write_text(f"study: A\nscenes: [scene.yaml]\nset: {{cast: {patch}}}\n")
    with pytest.raises(StudyError) as caught:
        load(file)
    assert all(p.line >= 1 and p.what for p in caught.value.problems)
    assert json.dumps([p.what for p in caught.value.problems])
