"""Keys in answers: found in any spelling, before an answer is cleaned, cut or stored."""

from __future__ import annotations

import logging
import random
import time

import pytest

from improv.models.agreed import NOTHING_AGREED, agreed_at
from improv.models.redaction import Redactor, known_keys
from improv.stage.author import read_acts
from improv.stage.reply import clean
from improv.text import one_line
from tests.support.spellings import SPELLINGS, SPLIT

KEY = "sk-PLANTED-qwertyuiop-0987654321"
REDACTOR = Redactor({KEY, "sk-another/9876543210", "not-needed", "none"})


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_key_is_taken_out_in_any_spelling(name: str) -> None:
    spelled = SPELLINGS[name](KEY)
    text = REDACTOR(f"I know {spelled}, and you do not.")
    assert "[key]" in text and spelled not in text
    # At most what stands at the ends of a spelling is left of it.
    assert text == "[key]" or len(text) < len("I know [key], and you do not.") + 18
    redacted = REDACTOR.in_json({"a": [1, {"b": spelled, spelled: None}], "c": f"({spelled})"})
    assert spelled not in repr(redacted) and repr(redacted).count("[key]") == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It is not needed, Bo. None of it is.",
        "sk-PLANTED begins as many a key does, qwertyuiop.",
        "Not [needed]! (Not) <needed>.",
        "Пора, мой друг, пора! Покоя сердце просит.",
        "x" * 1000,
        "%41%42 &amp; \\u0041 \x1b[0m",
    ],
)
def test_a_text_without_a_key_is_left_as_it_is(text: str) -> None:
    assert REDACTOR(text) is text
    assert REDACTOR.in_json({"a": [text]}) == {"a": [text]}


def test_a_key_of_words_is_found_as_it_stands_and_no_line_is_taken_for_it() -> None:
    assert REDACTOR("My key is not-needed.") == "My key is [key]."
    assert REDACTOR("My key is not\u200b-ne\x1b[0meded.") == "My key is [key]."
    assert REDACTOR("Not-Needed? None.") == "Not-Needed? None."
    assert Redactor({"none", ""})("none") == "none"


PIECES = [
    *("\x1b[0m", "\x1b[31;1m", "\x1b]0;t\x07", "\x1bX", "\x9b1m", "\u200b", "\u200d", "\xad", "\0"),
    *("**", "*", "_", "__", "`", "```", "<b>", "</b>", "<think>", "</think>", "<|x|>", "</s>"),
    *("(Bo, your line.)", "(aside)", "[x]", "{y}", "BO:", "ANA: ", "\n", "  ", "#", "\u0301"),
    *("&shy;", "&#8203;", "%00", "\\u200b", "\\n", '"', "“", "—", "as an AI model.", "[INST]"),
    *("<think>hm</think>", "(a (b) c)", "\ufffe", "\U000e0041", "<br/>", "<th\u200bink>"),
]


def _hidden(draw: random.Random) -> str:
    pieces, share = draw.sample(PIECES, draw.randint(1, 3)), draw.choice([0.02, 0.1, 0.5])
    spelled = draw.choice([str, str, str, str, SPELLINGS["JSON"], SPELLINGS["HTML"]])
    key = "".join(
        (draw.choice(pieces) if draw.random() < share else "") + spelled(letter) for letter in KEY
    )
    before = draw.choice(["", "I know ", "(", "[", "\x1b]", "<think>", '{"note_to":"Bo","note":"'])
    return before + key + draw.choice(["", " I do.", ")", "</think>", '"}', "\nBO: no"])


def test_no_cleaning_brings_a_key_to_light() -> None:
    draw, cast = random.Random(5), (("Ana", ()), ("Bo", ()))
    for _ in range(400):
        hidden = _hidden(draw)
        text = REDACTOR(hidden)
        acts = read_acts(text, ("note",), cast, {}, set())
        made = [text, one_line(text), clean(text, "Ana", ["Ana", "Bo"]).text]
        made += [act.text for act in acts]
        shown = ["".join(c for c in each if c.isprintable()) for each in made]
        assert not [each for each in made + shown if KEY in each], ascii(hidden)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10**6,
        "<([{" * 250_000,
        "<think>" * 150_000,
        "\x1b[" * 500_000,
        "%25" * 300_000,
        f"((a)) [[b]] <c> {KEY[:20]} &#x41; " * 20_000,
    ],
)
def test_a_long_text_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    assert len(REDACTOR(text)) <= 100_000
    parts = REDACTOR.in_json([text[i : i + 50_000] for i in range(0, len(text), 50_000)] * 4)
    assert sum(map(len, parts)) <= 500_000
    assert time.process_time() - began < 10


def test_deep_data_is_looked_through() -> None:
    data: object = KEY
    for _ in range(5000):
        data = [data]
    data = REDACTOR.in_json(data)
    while isinstance(data, list):
        (data,) = data
    assert data == "[key]"


def test_the_log_of_httpx2_has_no_key() -> None:
    record = logging.LogRecord("httpx2", 20, "", 0, "%s %d", (SPLIT["colour"](KEY), 500), None)
    assert REDACTOR.filter(record) and record.getMessage() == "[key] 500"


def test_all_keys_that_may_be_sent_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "SOME_API_KEY", "HF_TOKEN", "ODD", "PATH_OF_NOBODY"):
        monkeypatch.setenv(name, f" {name}-value\n")
    known = known_keys(NOTHING_AGREED)
    assert {"OPENAI_API_KEY-value", "SOME_API_KEY-value", "HF_TOKEN-value"} <= known
    assert "ODD-value" not in known and "ODD-value" in known_keys(agreed_at(["env:ODD"]))
