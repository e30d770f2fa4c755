"""A scene as a document in Fountain, Markdown and JSON."""

from __future__ import annotations

import re

import orjson
import pytest

from improv.export.document import SceneDocument, to_fountain, to_json, to_markdown
from improv.records import MAIN, Act, Turn
from improv.study.loader import load_scene

HOSTILE = (
    "# INT. BARN\n\nMARA\n[[gone]] /* cut */ *loud* _low_ <b>&</b> ![p](http://x/p.png)\n"
    "- one\n1. two\n=== \u202e"
)
KIND = Act("note", "Eliseo", "Be [[kind]].")


def turn(number: int, kind: str, who: str, text: str, **more: object) -> Turn:
    return Turn("t", MAIN, number, more.pop("seq", 0), kind, who, text, **more)  # type: ignore[arg-type]


TURNS = [
    turn(0, "direction", "", "THE DOOR BURSTS OPEN TO:"),
    turn(0, "written", "Rufina", "Sit down.", seq=1),
    turn(1, "line", "Eliseo", HOSTILE, raw="ELISEO: x", acts=(KIND,)),
    turn(2, "silence", "Rufina", ""),
    turn(
        3, "line", "Rufina", "Only you.", aside=True, heard_by=("Eliseo",), acts=(Act("nothing"),)
    ),
    turn(3, "memory", "Rufina", "He took the soup.", seq=1),
]
DOCUMENT = SceneDocument(
    "Fair, Turning Finer", TURNS, load_scene("cold-pass"), {"Run": "r1", "Trial": "t"}
)


def elements(text: str) -> list[tuple[str, str]]:
    """Read Fountain by the rules that these tests need; return (kind, text) of each element."""
    rows = []
    for block in re.split(r"\n\n", text.split("\n\n", 1)[1].strip("\n")):
        first, _, rest = block.partition("\n")
        if re.fullmatch(r"\[\[.*\]\]", block, re.DOTALL):
            assert "[[" not in block[2:]
            assert "]]" not in block[:-2]
            rows.append(("note", block[2:-2]))
        elif first.startswith("@"):
            rows.append(("cue", first[1:]))
            rows += [
                ("aside" if line.startswith("(") and line.endswith(")") else "said", line)
                for line in rest.split("\n")
            ]
        elif kind := {"!": "action", ".": "heading", "=": "synopsis", ">": "centred"}.get(first[0]):
            rows.append((kind, block[1:].strip()))
        else:
            rows.append(("stray", block))
    return rows


def test_a_scene_in_fountain_is_read_by_a_screenwriters_program() -> None:
    text = to_fountain(DOCUMENT)
    head = text.split("\n\n", 1)[0]
    assert head.splitlines()[0] == "Title: Fair, Turning Finer"
    assert "Run: r1; Trial: t" in head
    rows = elements(text)
    kinds = [kind for kind, _ in rows]
    assert "stray" not in kinds
    assert [t for k, t in rows if k == "cue"] == ["Rufina", "Eliseo", "Rufina", "Rufina"]
    assert ("action", "THE DOOR BURSTS OPEN TO:") in rows, "forced, so it is not a transition"
    assert kinds.index("heading") < kinds.index("synopsis") < kinds.index("action")
    assert ("aside", "(says nothing)") in rows
    assert ("aside", "(aside, to Eliseo)") in rows
    assert [t for k, t in rows if k == "note"] == [
        "Note to Eliseo: Be [ [kind] ].",
        "The author lets it run",
        "Rufina writes down: He took the soup.",
    ]
    assert [t for k, t in rows if k == "centred"] == [
        "from here on, improvised <",
        "end of the scene <",
    ]


def test_what_a_model_wrote_stays_its_speakers_line() -> None:
    rows = elements(to_fountain(DOCUMENT))
    at = rows.index(("cue", "Eliseo"))
    end = next(i for i, (k, _) in enumerate(rows) if i > at and k not in ("said", "aside"))
    said = [t for _, t in rows[at + 1 : end]]
    assert said[0] == "# INT. BARN", "not a section within a speech"
    assert said[1] == "  ", "an empty line would end the speech"
    assert said[2] == "MARA", "after an empty line this would be a cue"
    assert "\\*loud\\* \\_low\\_" in said[3]
    assert "/*" not in said[3]
    assert "\u202e" not in "".join(said)


def test_markdown_shows_the_text_without_markup_of_its_own() -> None:
    text = to_markdown(DOCUMENT)
    assert text.startswith("# Fair, Turning Finer\n")
    assert "**Rufina**: Sit down." in text
    assert "**Rufina** *(aside, to Eliseo)*: Only you." in text
    assert "> **Note to Eliseo**: Be \\[\\[kind\\]\\]." in text
    assert "\\!\\[p\\]" in text or "!\\[p\\]" in text
    assert "\\<b\\>" in text
    lines = text.splitlines()
    assert sum(line.startswith("#") for line in lines) == 1, "the title is the only heading"
    assert "\\- one  " in lines
    assert "1\\. two  " in lines
    assert "\\=== " in text or "\\===" in text


def test_json_holds_the_turns_and_the_scores() -> None:
    score = {"turn": 1, "measure": "habit:never_asks", "value": 0.0}
    read = orjson.loads(to_json(SceneDocument("T", TURNS, None, {"Run": "r"}, [score])))
    assert read["title"] == "T"
    assert read["facts"] == {"Run": "r"}
    assert read["turns"][2]["text"] == HOSTILE
    assert read["turns"][2]["acts"][0]["kind"] == "note"
    assert read["scores"] == [score]


@pytest.mark.parametrize("make", [to_fountain, to_markdown, lambda f: to_json(f).decode()])
def test_a_document_for_an_audience_has_no_margin(make: object) -> None:
    whole = make(DOCUMENT)  # type: ignore[operator]
    bare = make(SceneDocument("T", TURNS, DOCUMENT.scene, {}, [{"value": 1}], margin=False))  # type: ignore[operator]
    assert "Only you." in bare
    for private in ("kind", "writes down", "took the soup", "ELISEO: x", "lets it run"):
        assert private not in bare.replace('"kind":', "")
    assert "took the soup" in whole


def test_a_scene_that_broke_off_says_so() -> None:
    document = SceneDocument("T", TURNS[:3], None, broken="timeout: no [[answer]]")
    assert "> the scene breaks off here <" in to_fountain(document)
    assert "[[Broke off: timeout: no [ [answer] ] ]]" in to_fountain(document)
    assert "*the scene breaks off here*" in to_markdown(document)
    assert orjson.loads(to_json(document))["broken"] == "timeout: no [[answer]]"
