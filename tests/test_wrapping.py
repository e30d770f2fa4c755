"""What models put around a reply, and how it is taken off."""

from __future__ import annotations

import pytest

from improv.stage.author import read_acts
from improv.stage.reply import UNKNOWN_MARKS, clean
from improv.wrapping import has_unknown_marks, plain_words, read_fields, strip_reasoning

LINE = "The lamp is low."
THOUGHT = "The user wants one line."
NOTE = {
    "properties": {
        "note_to": {"type": "string", "enum": ["Rufina", "Eliseo", "nobody"]},
        "note": {"type": "string"},
        "next": {"type": "string", "enum": ["Rufina", "Eliseo", "anybody"]},
    }
}
WANTED = {"note_to": "Rufina", "note": "Look up.", "next": "anybody"}
PLAIN = '{"note_to": "Rufina", "note": "Look up.", "next": "anybody"}'
CAST = (("Rufina", ()), ("Eliseo", ()))


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>{THOUGHT}</think>\n{LINE}",
        f"{THOUGHT}</think>{LINE}",
        f"[THINK]{THOUGHT}[/THINK]{LINE}",
        f"(THINK) {THOUGHT} (/THINK){LINE}",
        f"<seed:think>{THOUGHT}</seed:think>{LINE}",
        f"◁think▷{THOUGHT}◁/think▷{LINE}",
        f"analysis{THOUGHT}assistantfinal{LINE}",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{LINE}<|return|>",
        f"<|channel>thought\n{THOUGHT}<channel|>{LINE}",
        f"<unused94>thought\n{THOUGHT}<unused95>{LINE}",
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n<|begin_of_solution|>{LINE}"
        "<|end_of_solution|>",
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{LINE}<|END_RESPONSE|>",
        f'<details type="reasoning">\n<summary>3 s</summary>{THOUGHT}</details>\n{LINE}',
        f"**Thinking:** {THOUGHT}\n\n**Response:** {LINE}",
        f"Here is my thought process: {THOUGHT}\n\nHere is my response:\n{LINE}",
        f"```thinking\n{THOUGHT}\n```\n{LINE}",
        f"<reasoning>{THOUGHT}<think>More.</think></reasoning><answer>{LINE}</answer>",
    ],
    ids=ascii,
)
def test_reasoning_is_not_spoken_whatever_marks_it(reply: str) -> None:
    assert strip_reasoning(reply).strip() == LINE
    line = clean(reply, "Rufina", ["Rufina", "Eliseo"])
    assert line.text == LINE and "reasoning" in line.cuts
    assert plain_words(reply)[0] == LINE


@pytest.mark.parametrize(
    "reply",
    ["<think>The user", "[THINK]The user", "<|channel|>analysis<|message|>We", "analysisWe need a"],
)
def test_reasoning_without_an_end_leaves_nothing(reply: str) -> None:
    assert strip_reasoning(reply) == ""


@pytest.mark.parametrize(
    "line",
    ["(thinking) I suppose so.", "[thinks] Yes.", "Analysis is for cowards.", "I think (a lot)."],
)
def test_words_about_thought_are_words(line: str) -> None:
    assert strip_reasoning(line) == line


def test_marks_that_no_rule_knows_are_counted() -> None:
    odd = clean(f"<mulling>{THOUGHT}</mulling>{LINE}", "Rufina", ["Rufina"])
    assert UNKNOWN_MARKS in odd.cuts and LINE in odd.text
    assert not has_unknown_marks(LINE) and not has_unknown_marks("[SIGHS] Well.")
    assert UNKNOWN_MARKS not in clean(LINE, "Rufina", ["Rufina"]).cuts


@pytest.mark.parametrize(
    ("reply", "steps"),
    [
        (PLAIN, ()),
        (f"```json\n{PLAIN}\n```", ("fence",)),
        (f"Sure!\n```\n{PLAIN}\n```\nGood luck.", ("prose", "fence")),
        (f"I would do this: {PLAIN}", ("prose",)),
        (f'<think>{{"note_to": "Eliseo"}}?</think>{PLAIN}', ("reasoning",)),
        (f"[{PLAIN}]", ("list",)),
        (f'{{"reply": {PLAIN}}}', ("nested",)),
        (PLAIN[:-1] + ', "why": "It is dark."}', ("more keys",)),
        (PLAIN.replace("note_to", "Note To"), ("keys",)),
        (PLAIN.replace("note_to", "noteTo"), ("keys",)),
        (PLAIN.replace("Rufina", " RUFINA "), ("words",)),
        (PLAIN[:-1] + ",}", ("loose",)),
        (PLAIN.replace('"', "'"), ("loose",)),
        ("note_to: Rufina\nnote: Look up.\nnext: anybody", ("lines",)),
    ],
    ids=ascii,
)
def test_an_object_is_read_through_what_is_around_it(reply: str, steps: tuple[str, ...]) -> None:
    read = read_fields(reply, NOTE)
    assert (read.values, read.steps) == (WANTED, steps)


@pytest.mark.parametrize(
    "reply",
    [
        "I would whisper to Rufina.",
        PLAIN[:-9],
        f"{PLAIN} or {PLAIN.replace('Rufina', 'Eliseo')}",
        PLAIN.replace("Rufina", "Bo"),
        PLAIN.replace('"Look up."', "12"),
        "[]",
        "null",
        "[" * 5000,
        '{"a":' * 5000,
    ],
    ids=lambda reply: reply[:40],
)
def test_what_does_not_say_one_thing_says_nothing(reply: str) -> None:
    assert read_fields(reply, NOTE).values is None


@pytest.mark.parametrize(
    "called", ["Ines Quill", "INES QUILL", "ines", " Ines.", "QUILL", "the clerk"]
)
def test_a_note_reaches_whoever_is_meant(called: str) -> None:
    cast = (("Ines Quill", ("the clerk",)), ("Chandler Voss", ()))
    reply = f'{{"note_to": "{called}", "note": "Hide it.", "next": null}}'
    (act,) = read_acts(reply, ("note", "cue"), cast, {}, set())
    assert (act.kind, act.to, act.text) == ("note", "Ines Quill", "Hide it.")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ('{"note_to": "none", "note": "", "next": ""}', "nothing"),
        ('{"next": "Nobody"}', "nothing"),
        ('{"note": "To whom?"}', "unread"),
        ('{"note_to": "Rufina and Eliseo", "note": "Both."}', "unread"),
    ],
)
def test_an_author_may_do_nothing_and_may_not_be_guessed_at(reply: str, kind: str) -> None:
    (act,) = read_acts(reply, ("note", "cue"), CAST, {}, set())
    assert act.kind == kind
