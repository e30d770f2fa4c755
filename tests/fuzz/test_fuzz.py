"""A quick turn of each fuzzer, every input that failed once, and the pool that `make fuzz` uses."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from improv.errors import RunError
from tests.fuzz.bend import as_text, bend, bend_bytes, byte_bends, data_bends, encoded, forms, odd
from tests.fuzz.damage import DAMAGE, TRIES, all_damages
from tests.fuzz.kinds import KINDS
from tests.fuzz.outcome import Kind, Outcome, Words, attempt
from tests.fuzz.pool import Pool

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder that each kind has filled, made when it is first asked for."""
    return Prepared(tmp_path_factory.mktemp("shared"))


class Prepared(dict[str, Path]):
    def __init__(self, place: Path) -> None:
        super().__init__()
        self._place = place

    def __missing__(self, name: str) -> Path:
        folder = self[name] = self._place / name
        folder.mkdir()
        KINDS[name].prepare(folder)
        return folder


@pytest.fixture(scope="module")
def prepared_damage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Words]]:
    """The run that is damaged, and some of all cases: half of the kinds of damage to each file, the
    other half to the next file, each with one command or room."""
    shared = tmp_path_factory.mktemp("damage")
    DAMAGE.prepare(shared)
    kinds = {(words["file"], words["how"]): words for words in all_damages(shared)}
    ways: dict[str, list[Words]] = {}
    for (file, _), words in kinds.items():
        ways.setdefault(file, []).append(words)
    some = [words for turn, file in enumerate(ways) for words in ways[file][turn % 2 :: 2]]
    return shared, [
        {**words, "try": TRIES[number % len(TRIES)]} for number, words in enumerate(some)
    ]


@pytest.fixture(autouse=True)
def same_environment() -> Any:
    """The viewer's rooms read the environment, which an attempt sets."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def well(name: str, words: Words, place: Path, shared: Path) -> None:
    place.mkdir()
    result = attempt(KINDS[name], words, place, shared)
    assert not result.bad, f"{result.outcome}: {result.where}\n{result.text}"


@pytest.mark.parametrize("name", KINDS)
def test_a_quick_turn_is_fine_or_told(name: str, tmp_path: Path, prepared: dict[str, Path]) -> None:
    shared, count = prepared[name], 0

    @settings(
        max_examples=KINDS[name].quick,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[name].inputs)
    def turn(words: Words) -> None:
        nonlocal count
        count += 1
        well(name, words, tmp_path / str(count), shared)

    turn()
    assert count


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.json")), ids=lambda file: file.stem)
def test_what_failed_once_does_not_fail_again(
    file: Path, tmp_path: Path, prepared: dict[str, Path]
) -> None:
    name = file.parent.name
    well(name, json.loads(file.read_text()), tmp_path / "place", prepared[name])


# -- the pool


def _misbehave(words: Words, place: Path, shared: Path) -> None:
    how = words["how"]
    if how == "hangs":
        time.sleep(600)
    elif how == "grows":
        hoard = []
        while True:
            hoard.append(bytearray(64 * 2**20))
    elif how == "dies":
        os.abort()
    elif how == "breaks":
        raise KeyError("whatever")
    elif how == "says":
        raise RunError("x/run.json: cannot be read")


PROBE = Kind("probe", "what may not happen", st.just({}), _misbehave)


@pytest.mark.slow
def test_a_hang_a_crash_and_a_flood_are_outcomes(tmp_path: Path) -> None:
    pool = Pool(f"{__name__}:PROBE", tmp_path)
    hows = ["fine", "breaks", "says", "dies", "grows", "hangs", "fine"]
    try:
        for how in hows:
            pool.try_input({"how": how})
        pool.finish()
    finally:
        pool.close()
    outcomes = {words["how"]: result.outcome for words, result in pool.results}
    assert len(pool.results) == len(hows)
    assert outcomes == {
        "fine": Outcome.FINE,
        "breaks": Outcome.TRACEBACK,
        "says": Outcome.TOLD,
        "dies": Outcome.TRACEBACK,
        "grows": Outcome.LARGE,
        "hangs": Outcome.SLOW,
    }
    ways = {words["how"]: result.where for words, result in pool.results}
    assert ways["breaks"] == "KeyError in test_fuzz.py _misbehave"


# -- the bends


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(odd, data_bends, forms)
def test_anything_can_be_bent_and_written(data: Any, bends: Any, form: str) -> None:
    bent = bend(data, bends)
    assert as_text(bend(data, bends), form) == as_text(bent, form), "a bend is always the same"
    encoded(as_text(bent, form), "utf-8")


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(st.binary(max_size=200), byte_bends)
def test_bytes_can_be_bent(data: bytes, bends: Any) -> None:
    assert bend_bytes(data, bends) == bend_bytes(data, bends)
    assert bend_bytes(data, []) == data


# -- damage


def test_a_damaged_file_is_no_matter_or_is_named(
    tmp_path: Path, prepared_damage: tuple[Path, list[Words]]
) -> None:
    shared, cases = prepared_damage
    files = {words["file"].rpartition(".")[2] for words in cases}
    assert {"parquet", "json", "yaml", "jsonl"} <= files
    assert len({words["how"] for words in cases}) == 9
    assert {words["try"] for words in cases} == set(TRIES)
    for number, words in enumerate(cases):
        result = attempt(DAMAGE, words, tmp_path / str(number), shared)
        assert not result.bad, f"{words}\n{result.outcome}: {result.where}\n{result.text}"
