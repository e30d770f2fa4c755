"""Whom lines speak to, against 300 lines that a reader labelled."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from improv.stage.addressee import find_addressee
from tests.support.places import DATA

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (DATA / "addressed.jsonl").read_text().splitlines()
]
FERRY = (("Mara", ("Mam",)), ("Bo", ()), ("Inès", ("Ines",)))
ALL = ("Mara", "Bo", "Inès")


def heard(row: dict[str, Any]) -> tuple[str, str]:
    cast = tuple((name, tuple(aliases)) for name, aliases in row["cast"])
    return find_addressee(row["text"], row["speaker"], cast, row["previous"], row["present"])


def test_readers_agree() -> None:
    assert len(ROWS) >= 200
    got = [(row, heard(row)) for row in ROWS]
    confusion = Counter(
        (row["by"], by if who == row["addressed"] else f"{by}, wrong") for row, (who, by) in got
    )
    table = "\n".join(f"{a:>6} -> {b:<14} {n:4}" for (a, b), n in sorted(confusion.items()))
    print(f"\n{table}")  # noqa: T201

    right = [row["addressed"] == who for row, (who, _) in got]
    assert sum(right) / len(right) >= 0.9
    named = [ok for ok, row in zip(right, ROWS, strict=True) if row["by"] in ("said", "name")]
    assert sum(named) / len(named) >= 0.97


def test_lines_written_after_the_code_agree_too() -> None:
    held = [row for row in ROWS if row.get("held_out")]
    named = [row for row in held if row["by"] in ("said", "name")]
    assert sum(heard(row)[0] == row["addressed"] for row in held) / len(held) >= 0.8
    assert all(heard(row)[0] == row["addressed"] for row in named)


@pytest.mark.parametrize(
    ("line", "who", "by"),
    [
        ("(to Bo) Wait.", "Bo", "said"),
        ("Bo, wait.", "Bo", "name"),
        ("Wait, Bo.", "Bo", "name"),
        ("Bo! Wait!", "Bo", "name"),
        ("Oh Bo, wait.", "Bo", "name"),
        ("Bo will wait.", "Bo", "name"),
        ("I told Bo that. Inès, wait.", "Inès", "name"),
        ("Bo, ask Inès.", "Bo", "name"),
        ("Can you wait?", "Inès", "order"),
        ("Everyone, wait.", "", "none"),
        ("Bo and Inès, wait.", "", "none"),
        ("The harbour is full of boats.", "", "none"),
    ],
)
def test_outright_beats_name_beats_order(line: str, who: str, by: str) -> None:
    assert find_addressee(line, "Mara", FERRY, "Inès", ALL) == (who, by)


def test_a_name_inside_a_word_is_no_name() -> None:
    for line in ("Maracas! Bring the maracas, all of you.", "Bob, then. Bother."):
        assert find_addressee(line, "Inès", FERRY, "", ALL) == ("", "none")


def test_nobody_absent_is_spoken_to() -> None:
    assert find_addressee("Bo, where are you?", "Mara", FERRY, "Bo", ("Mara", "Inès")) == (
        "",
        "none",
    )
    assert find_addressee("Hello?", "Mara", FERRY, "Bo", ("Mara",)) == ("", "none")


def test_two_speak_to_each_other() -> None:
    assert find_addressee("It rains.", "Mara", FERRY, "", ("Mara", "Bo")) == ("Bo", "order")
    assert find_addressee("Good evening, everybody.", "Mara", FERRY, "Bo", ("Mara", "Bo"))[0] == ""


def test_lists_will_do_for_a_cast() -> None:
    assert find_addressee("Bo!", "Mara", [["Mara", []], ["Bo", []]], "", ["Mara", "Bo"])[0] == "Bo"


def test_a_call_is_cheap_and_a_long_line_no_trap() -> None:
    start = time.process_time()
    for _ in range(1000):
        find_addressee(
            "I told you it would rain in the night, Bo, and it did.", "Mara", FERRY, "", ALL
        )
    assert (time.process_time() - start) / 1000 < 300e-6  # of the processor; about 15 µs
    for piece in ("Bo, ", "(to ", "(", '"', "Bo and ", "all ", "you ", ", ", "Bo"):
        start = time.process_time()
        find_addressee((piece * 2000)[:2000], "Mara", FERRY, "Inès", ALL)
        assert time.process_time() - start < 0.2
