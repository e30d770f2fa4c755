"""Screenplays in Fountain: their import as scenes, a run of such a scene, and the round trip."""

from __future__ import annotations

import io
import os
import re
import time
from pathlib import Path

import pytest
from screenplain.parsers import fountain as screenplain
from screenplain.types import Action, Dialog, DualDialog

from improv.errors import StudyError
from improv.export.document import SceneDocument, to_fountain
from improv.files import shipped
from improv.records import MAIN, Turn
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.runs import open_run
from improv.study.importing.fountain import plain, read_fountain
from improv.study.importing.importer import import_fountain
from improv.study.importing.screenplay import adapt
from improv.study.loader import load, load_scene
from improv.study.scene import Scene
from tests.support.places import DATA
from tests.support.weather import command

QUAY = DATA / "quay.fountain"


PARENTHETICAL = re.compile(r"(^|[.!?…—-])[ ]?(\([^()\n]{1,200}\))(?=$|[ ])")


def screenplay(scene: Scene) -> str:
    """A scene's written opening as improv exports it, with its title page, setting and premise."""
    turns = []
    cast = [c.name for c in scene.cast]
    for seq, one in enumerate(scene.opening):
        if one.direction is not None:
            turns.append(Turn("", MAIN, 0, seq, "direction", "", one.direction))
            continue
        heard = (one.aside_to,) if one.aside_to else tuple(n for n in cast if n != one.who)
        # A parenthetical between sentences goes on a line of its own.
        line = PARENTHETICAL.sub(lambda m: f"{m[1]}\n{m[2]}\n", one.line or "")
        line = "\n".join(part.strip() for part in line.split("\n") if part.strip())
        aside = one.aside_to is not None
        who = one.who or ""
        turns.append(Turn("", MAIN, 0, seq, "written", who, line, aside=aside, heard_by=heard))
    return to_fountain(
        SceneDocument(scene.title, turns, scene, {"About": scene.about}, margin=False)
    )


def test_the_elements_of_a_screenplay() -> None:
    play = read_fountain(QUAY.read_text("utf-8"))
    assert play.page["title"] == "_**The Last Boat**_\nbut one"
    assert play.page["author"] == "Nobody in particular"
    assert play.cut == 1
    elements = [(e.kind, e.who, e.text) for e in play.elements]
    assert elements == [
        ("section", "", "Act one"),
        ("synopsis", "", "Two people have missed a boat, and *neither* says so."),
        ("transition", "", "FADE IN:"),
        ("heading", "", "EXT. QUAY - NIGHT"),
        (
            "action",
            "",
            "It is raining. MARA McCALL, in a coat too large, coils a rope.\n"
            "A second line of the same.",
        ),
        ("speech", "MARA", "(not looking)\nYou are *late*.\n(beat)\nAgain."),
        ("speech", "MARA", "Twice \\*in\\* one_year_only."),
        ("note", "", "Is this too much?"),
        ("speech", "ÉLODIE", "Je sais."),
        ("speech", "McCall", "And I never was."),
        ("note", "", "A note by itself over two lines"),
        ("heading", "", "THE LAMP GOES OUT"),
        ("action", "", "MARA"),
        ("centred", "", "The end of the pier"),
        ("lyric", "", "A song, low"),
        ("speech", "ILSE", "One moment."),
        ("speech", "MARA", "Never.\n\nNot once."),
        ("speech", "李雷", "船走了。"),
        ("action", "", "...and the rain goes on."),
        ("action", "", "SHE LEAVES."),
        ("transition", "", "Smash cut to:"),
        ("break", "", ""),
        ("heading", "", "INT. FERRY - LATER"),
        ("synopsis", "", "On the boat at last."),
        ("speech", "MARA", "So this is a boat."),
        ("speech", "THE CAPTAIN", "Sit down."),
        ("transition", "", "CUT TO:"),
    ]
    speeches = {e.line: e for e in play.elements if e.kind == "speech"}
    assert speeches[26].extension == "(V.O.) (CONT'D)"
    assert [e.who for e in play.elements if e.dual] == ["MARA"]
    assert [e.who for e in play.elements if e.kind == "speech" and e.forced] == ["McCall", "李雷"]


def test_another_reader_of_fountain_finds_the_same_speeches() -> None:
    theirs = screenplain.parse(io.StringIO(QUAY.read_text("utf-8")))
    parts = [(p.left, p.right) if isinstance(p, DualDialog) else (p,) for p in theirs]
    said = [one for pair in parts for one in pair if isinstance(one, Dialog)]
    spoken = [str(one.character).partition(" (")[0] for one in said]
    ours = [e.who for e in read_fountain(QUAY.read_text("utf-8")).elements if e.kind == "speech"]
    assert spoken == ours


def test_a_screenplay_becomes_a_scene_that_plays(tmp_path: Path) -> None:
    file = tmp_path / "quay.yaml"
    message = command("import-fountain", str(QUAY), "-o", str(file)).stderr
    assert "with Mara, Élodie, McCall" in message
    assert "left out: 2 notes, 1 sections, 1 transitions, 1 cut pieces" in message
    assert "other scenes (--scene): 2 THE LAMP GOES OUT; 3 INT. FERRY - LATER" in message
    scene = load_scene(file)
    assert (scene.title, scene.place) == ("The Last Boat, but one", "EXT. QUAY - NIGHT")
    assert scene.about == "written by Nobody in particular; third draft"
    assert scene.premise == "Two people have missed a boat, and neither says so."
    lines = [(o.who, o.line) for o in scene.opening if o.line]
    assert lines == [
        ("Mara", "(not looking) You are late. (beat) Again."),
        ("Mara", "(V.O.) Twice *in* one_year_only."),
        ("Élodie", "Je sais."),
        ("McCall", "And I never was."),
    ]
    assert scene.opening[0].direction == (
        "It is raining. MARA McCALL, in a coat too large, coils a rope.\nA second line of the same."
    )
    assert scene.character("Mara").samples == ["Never. Not once.", "So this is a boat."]
    study = load(file, {"turns": 3, "model": {"model": "puppet"}})
    assert run(study, runs=tmp_path / "runs", setup=Setup("off")).exit_code == 0
    folder = open_run(tmp_path / "runs", "last")
    said = [
        t.text
        for t in folder.transcripts.read(folder.transcripts.trial("0")["trial"]).turns
        if t.turn == 0
    ]
    assert said == [o.line or o.direction for o in scene.opening]


def test_any_scene_of_a_screenplay_can_be_imported() -> None:
    second = import_fountain(str(QUAY), 2)[0].scene
    assert [c.name for c in second.cast] == ["Ilse", "Mara", "李雷"]
    assert second.premise == "Two people have missed a boat, and neither says so.", "of the act"
    directions = [o.direction for o in second.opening if o.direction]
    assert directions == [
        "MARA",
        "The end of the pier",
        "A song, low",
        "...and the rain goes on.",
        "SHE LEAVES.",
    ]
    bare = adapt(read_fountain("INT. HUT\n\nMARA\nHi.\n\nBO\nHo."), "x").scene
    assert bare["premise"] == "INT. HUT: Mara and Bo are there."
    third = import_fountain(str(QUAY), 3)[0].scene
    assert third.premise == "On the boat at last."
    assert [o.line for o in third.opening] == ["So this is a boat.", "(on the tannoy) Sit down."]
    assert third.character("Mara").samples[0] == "(not looking) You are late. (beat) Again."
    with pytest.raises(StudyError, match=r"there is no scene 9: .* has 3; people speak in 1, 2, 3"):
        import_fountain(str(QUAY), 9)
    with pytest.raises(StudyError, match="there is no scene -1: "):
        import_fountain(str(QUAY), -1)


# -- round trips


def essentials(text: str) -> list[tuple[str, str, str]]:
    """Return the speeches and directions of a screenplay, which docs/cards.md says are kept."""
    rows = []
    for e in read_fountain(text).elements:
        lines = [e.extension.replace("(CONT'D)", ""), *plain(e.text).split("\n")]
        flat = " ".join(" ".join(lines).replace("~", "").split())
        if e.kind == "speech":
            rows.append(("speech", e.who.casefold(), flat))
        elif e.kind in ("action", "lyric", "centred") and flat != "end of the scene":
            rows.append(("action", "", flat))
    return rows


def test_fountain_to_scene_to_fountain_keeps_every_speech_and_direction() -> None:
    whole = QUAY.read_text("utf-8")
    for number, (start, end) in enumerate(
        [("FADE IN:", ".THE LAMP"), (".THE LAMP", "==="), ("INT. FERRY", None)], 1
    ):
        part = whole[whole.index(start) : whole.index(end) if end else None]
        scene = import_fountain(str(QUAY), number)[0].scene
        written = screenplay(scene)
        assert essentials(written) == essentials(part)
        # A second import of the exported scene returns the same scene.
        again = Scene.model_validate(adapt(read_fountain(written), "again").scene)
        without = {"samples"}
        assert again.opening == scene.opening
        assert (again.title, again.premise, again.place) == (
            scene.title,
            scene.premise,
            scene.place,
        )
        assert again.about == scene.about
        dumped = [c.model_dump(exclude=without) for c in scene.cast]
        assert [c.model_dump(exclude=without) for c in again.cast] == dumped
        assert screenplay(again) == written


@pytest.mark.parametrize("file", sorted(shipped("scenes").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_shipped_scene_survives_export_and_import(file: Path) -> None:
    scene = load_scene(file)
    text = screenplay(scene)
    play = read_fountain(text)
    assert [e.text for e in play.elements if e.kind == "synopsis"]
    spoken = [o for o in scene.opening if o.line]
    theirs = [p for p in screenplain.parse(io.StringIO(text)) if isinstance(p, Dialog | Action)]
    assert sum(isinstance(p, Dialog) for p in theirs) == len(spoken)
    if not spoken:
        return
    again = Scene.model_validate(adapt(play, file.name).scene)
    flat = [(o.who, " ".join((o.line or "").split()), o.aside_to) for o in spoken]
    assert [(o.who, o.line, o.aside_to) for o in again.opening if o.line] == flat
    assert [o.direction for o in again.opening if o.direction] == [
        "\n".join(" ".join(line.split()) for line in o.direction.splitlines())
        for o in scene.opening
        if o.direction
    ]
    assert again.title == scene.title
    assert again.premise == " ".join(scene.premise.split())


# -- hard cases


@pytest.mark.parametrize(
    ("text", "kind", "content"),
    [
        ("INT HOUSE", "heading", "INT HOUSE"),
        ("i/e car - day", "heading", "i/e car - day"),
        ("INTERIOR MONOLOGUE.", "action", "INTERIOR MONOLOGUE."),
        ("INT. HOUSE\nwith more", "action", "INT. HOUSE\nwith more"),
        ("MARA", "action", "MARA"),
        ("MARA  \nwith two spaces", "action", "MARA\nwith two spaces"),
        ("23\nYears later.", "action", "23\nYears later."),
        ("R2D2\nBeep.", "speech", "Beep."),
        ("ŽOFIE (on the phone)\nAno.", "speech", "Ano."),
        ("ΜΆΡΑ\nΝαι.", "speech", "Ναι."),
        ("CUT TO:\n\nx", "transition", "CUT TO:"),
        ("Cut to:", "action", "Cut to:"),
        (">CUT TO: <", "centred", "CUT TO:"),
        ("..and then", "action", "..and then"),
        (". ", "action", "."),
        ("/* never closed", "action", "/* never closed"),
        ("[[ never closed", "action", "[[ never closed"),
        ("## Deeper", "section", "Deeper"),
        ("====", "break", ""),
    ],
)
def test_one_element_alone(text: str, kind: str, content: str) -> None:
    elements = read_fountain(f"x: y\n\n{text}\n").elements
    assert (elements[0].kind, elements[0].text) == (kind, content)


@pytest.mark.parametrize(
    ("marked", "bare"),
    [
        ("*a* **b** ***c*** _d_ _*e*_", "a b c d e"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("snake_case_name", "snake_case_name"),
        (r"\*a\* \_b\_ \\", r"*a* _b_ " + "\\"),
        ("*never closed", "*never closed"),
        ("*one\ntwo*", "*one\ntwo*"),
    ],
)
def test_emphasis(marked: str, bare: str) -> None:
    assert plain(marked) == bare


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "nobody speaks in this screenplay"),
        (b"INT. HOUSE\n\nNothing.", "nobody speaks in this screenplay"),
        (b"\xff\xfe\x00", "not UTF-8 text (byte 0)"),
        (b"@\xf0\x9f\x94\xa5\nHot.", "4:1: '🔥' has no letter, so a scene cannot use it as a name"),
        (b"x" * 1_000_001, "1.0 MB; a screenplay may have 1000 kB"),
        ("\n\n".join(f"{chr(65 + i)}NN\nHi." for i in range(13)).encode(), "13 people speak"),
        (b"AUTHOR\nHi.", "'Author' is a word of the stage"),
    ],
    ids=range(7),
)
def test_a_screenplay_that_makes_no_scene_is_an_error_with_a_reason(
    data: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "play.fountain"
    file.write_bytes(b"\n\n\n" + data if data[:1] == b"@" else data)
    with pytest.raises(StudyError) as caught:
        import_fountain(str(file))
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none.fountain", "."):
        with pytest.raises(StudyError, match="there is no such file"):
            import_fountain(str(tmp_path / name))


def test_a_hostile_screenplay_takes_no_time() -> None:
    pieces = [
        "[[",
        "/*",
        "*a",
        "**_",
        "_",
        "A^\nx\n\n",
        "@",
        "MARA (",
        "[[a]] ",
        "/* a */\n",
        "~\n",
        "a: \n",
        "#",
        "A  \n",
        "\n\nMARA\nx [[y",
        "=",
        ">",
        "<",
        "\\",
        "(",
        "INT. ",
        " ",
        "\r",
    ]
    begun = time.process_time()
    for piece in pieces:
        text = piece * (200_000 // len(piece))
        play = read_fountain(text)
        for element in play.elements[:1000]:
            plain(element.text)
    assert time.process_time() - begun < 20


def test_long_speeches_are_split_at_sentences() -> None:
    text = "MARA\n" + "It rains on the quay. " * 300
    scene = Scene.model_validate(adapt(read_fountain(text), "x").scene)
    lines = [o.line or "" for o in scene.opening]
    assert len(lines) > 3
    assert all(line.endswith("quay.") and len(line) <= 2000 for line in lines)
    assert sum(line.count("It rains") for line in lines) == 300


def test_asides_and_silences_that_improv_writes_are_read(tmp_path: Path) -> None:
    from tests.conftest import KETTLE

    file = tmp_path / "kettle.yaml"
    file.write_text(KETTLE, "utf-8")
    scene = load_scene(file)
    assert any(o.aside_to for o in scene.opening)
    again = Scene.model_validate(adapt(read_fountain(screenplay(scene)), "x").scene)
    assert again.opening == scene.opening
    silent = read_fountain("MARA\n(says nothing)\n\nANA\nWell.")
    assert [o["line"] for o in adapt(silent, "x").scene["opening"]] == ["Well."]
