"""The cleaning of replies: 130 raw replies of SmolLM2-135M, and 100 like those of other models."""

from __future__ import annotations

import json
import random
import re
import time
import unicodedata
from typing import Any

import pytest

from improv.stage.reply import MAX_LINE, clean
from improv.text import one_line
from tests.support.places import DATA

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (DATA / "garbage.jsonl").read_text().splitlines()
]
CAST = ["Mara", "Bo", "Dr. Okafor", "The Porter", "Inès"]


@pytest.mark.parametrize(
    "row", [r for r in ROWS if "hard" not in r], ids=lambda r: ascii(r["raw"][:30])
)
def test_a_reader_agrees(row: dict[str, Any]) -> None:
    line = clean(row["raw"], row["speaker"], row["cast"])
    assert line.text == row["text"]
    assert (line.aside_to if line.aside else None) == row.get("aside_to")


def test_few_replies_are_beyond_these_rules() -> None:
    """The file keeps what a reader sees and no rule does, with the reason."""
    real = [r for r in ROWS if r["source"] != "by hand"]
    hard = [r for r in ROWS if "hard" in r]
    assert len(real) >= 120
    assert len(hard) <= 0.05 * len(real)
    wrong = [r for r in hard if clean(r["raw"], r["speaker"], r["cast"]).text != r["text"]]
    assert wrong == hard, "a hard row that is right now is hard no more"


@pytest.mark.parametrize("row", ROWS, ids=lambda r: ascii(r["raw"][:30]))
def test_rules_only_take_away(row: dict[str, Any]) -> None:
    """Each word that is kept was in the reply, in the same order."""
    words = iter(re.findall(r"\w+", row["raw"].replace("*", " ").replace("_", " ")))
    said = clean(row["raw"], row["speaker"], row["cast"]).text.replace("_", " ")
    if "\x1b" not in row["raw"] and "\u200b" not in row["raw"]:
        assert all(word in words for word in re.findall(r"\w+", said))


def test_cuts_name_the_rules_that_applied() -> None:
    assert clean(" Run.", "Bo", CAST).cuts == ()
    line = clean('<think>Hm.</think>**BO:** "Run."\nMARA: No.', "Bo", CAST)
    assert line.text == "Run."
    assert set(line.cuts) == {"reasoning", "markup", "cue", "others", "quotes"}


def test_asides_know_who_hears_them() -> None:
    whispered = clean("BO (whispers to the Porter): Run.", "Bo", CAST)
    assert (whispered.text, whispered.aside, whispered.aside_to) == ("Run.", True, "The Porter")
    assert not clean("(to Mara) Run.", "Bo", CAST).aside
    assert clean("(aside to Bo) I am lost.", "Bo", CAST).aside_to == ""


def test_a_long_line_ends_with_a_sentence() -> None:
    line = clean("This is a sentence. " * 200, "Bo", CAST)
    assert MAX_LINE - 40 < len(line.text) <= MAX_LINE
    assert line.text.endswith("sentence.")
    assert "long" in line.cuts


def test_plain_is_one_line_without_tricks() -> None:
    assert one_line("a\x1b[31m b\n\n c\u202e\x07 ") == "a b c"
    assert one_line("👩\u200d🚀 می\u200cروم") == "👩\u200d🚀 می\u200cروم"


PIECES = [
    *("Mara", ":", "Bo", "BO", "MARA:", "(aside", "to", ")", "(", "*", "**", "_", '"', "“", "”"),
    *("\n", "\n\n", " ", "<think>", "</think>", "<|im_end|>", "[INST]", "#", "-", "Note:", "x"),
    *("Run.", "run", "aside", "[", "]", "\u200d", "é", "👩", "\x1b", "\x1b[", "…", ".", "A:", "'"),
    *("As an AI", "whispers", "Here is the line:", "THE END", "~", "·", ">", "Sure!", "•", "\x00"),
    *(
        "1",
        "\U0001f3f4",
        "\U000e0020",
        "\u2028",
        "\ud800",
        "\x85",
        "`",
        "</s>",
        "::",
        "…",
        "李明：",
    ),
]


def test_cleaning_twice_changes_nothing_and_nothing_unseen_is_left() -> None:
    dice = random.Random(7)
    replies = ["".join(dice.choices(PIECES, k=dice.randint(1, 16))) for _ in range(8000)]
    for raw in [*replies, *(r["raw"] for r in ROWS)]:
        text = clean(raw, "Bo", CAST).text
        again = clean(text, "Bo", CAST)
        assert again.text == text, raw
        assert not again.aside, raw
        seen = text.replace("\u200d", "").replace("\u200c", "").replace("\U000e0020", "")
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in seen), raw
        text.encode()


@pytest.mark.parametrize(
    "piece",
    [
        *PIECES,
        "(aside) ",
        "Bo (x) ",
        "Bo: ",
        "“”",
        "(a)",
        "*a* ",
        "\n- ",
        "as an ",
        "A.",
        "[a",
        "a ",
    ],
    ids=ascii,
)
def test_a_megabyte_of_anything_takes_less_than_a_second(piece: str) -> None:
    raw = piece * (1_000_000 // len(piece))
    start = time.process_time()
    clean(raw, "Bo", CAST)
    assert time.process_time() - start < 1


def test_a_plain_line_costs_microseconds() -> None:
    start = time.process_time()
    for _ in range(1000):
        clean(" You have water in your boots, Mara.", "Bo", CAST)
    assert (time.process_time() - start) / 1000 < 100e-6  # of the processor; about 5
