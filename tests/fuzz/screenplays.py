"""Screenplays in Fountain, made of its elements, then bent."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from improv.study.importing.fountain import plain, read_fountain
from improv.study.importing.importer import import_fountain
from improv.study.loader import load_scene
from tests.fuzz.bend import ODD_TEXTS, bend_bytes, byte_bends, codings, encoded
from tests.fuzz.outcome import Kind, Words, command

_name = st.sampled_from(
    ["ANA", "BO", "Ana", "MR. O'HARA", "ÉLOÏSE", "R2D2", "@McCLANE", "THE 3RD MAN"]
)
_line = st.one_of(
    st.sampled_from(
        ["The lamp is out.", "*Never* say **that**.", "(softly)", "~la la la", "Yes, and."]
    ),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=40),
    st.text("*_\\[]()/ab \n", max_size=60),
)


def _joined(*parts: object) -> st.SearchStrategy[str]:
    made = [p if isinstance(p, st.SearchStrategy) else st.just(str(p)) for p in parts]
    return st.tuples(*made).map("".join)


_element = st.one_of(
    _joined(
        st.sampled_from(["INT. KITCHEN - DAY", "EXT. SEA", "I/E. CAR", ".FORCED", "INT."]), "\n\n"
    ),
    _joined(
        _name,
        st.sampled_from(["", " (V.O.)", " (CONT'D)", " ^", " (((", "  "]),
        "\n",
        _line,
        "\n\n",
    ),
    _joined(_name, "\n(", _line, ")\n", _line, "\n\n"),
    _joined(_line, "\n\n"),
    _joined("!", _line, "\n\n"),
    _joined("> ", _line, st.sampled_from([" <", ""]), "\n\n"),
    _joined("#" * 3, " ", _line, "\n\n= ", _line, "\n\n"),
    _joined(st.sampled_from(["/*", "/* ", "*/"]), _line, st.sampled_from(["*/", "", "/*"]), "\n"),
    _joined(st.sampled_from(["[[", "[["]), _line, st.sampled_from(["]]", "", "[["]), "\n"),
    st.sampled_from(["===\n\n", "FADE OUT.\n\n", "CUT TO:\n\n", "\n\n\n", "  \n", "====\n"]),
)
_page = st.lists(
    _joined(st.sampled_from(["Title", "Credit", "Author", "Draft date", "x"]), ": ", _line, "\n"),
    max_size=3,
).map("".join)
_SCENE = "INT. KITCHEN - DAY\n\nA kettle.\n\nANA\nIt hums.\n\nBO (O.S.)\n(softly)\nAna, wait.\n\n"
plays = st.fixed_dictionaries(
    {
        "page": _page,
        "first": st.sampled_from([_SCENE, _SCENE, ""]),
        "elements": st.lists(_element, max_size=14),
        "times": st.sampled_from([1] * 20 + [40, 400]),
        "coding": codings,
        "bytes": byte_bends | st.just([]),
        "number": st.sampled_from([0, 0, 0, 1, 1, 2, -1, 10**9]),
        "command": st.integers(0, 7),
    }
)


def try_play(words: Words, place: Path, shared: Path) -> None:
    text = f"{words['page']}\n{words['first']}{''.join(words['elements']) * words['times']}"[
        :3_000_000
    ]
    data = bend_bytes(encoded(text, words["coding"]), words["bytes"])
    for element in read_fountain(data.decode("utf-8", "replace")).elements:
        plain(element.text)
    file, scene = place / "play.fountain", place / "scene.yaml"
    file.write_bytes(data)
    if words["command"] == 0 and words["number"] >= 0:
        command("import-fountain", str(file), "--scene", str(words["number"]))
    made, _ = import_fountain(str(file), words["number"])
    scene.write_text(made.text)
    assert load_scene(scene) == made.scene, "the scene's file is not the scene"


PLAY = Kind("screenplay", "screenplays in Fountain", plays, try_play)
