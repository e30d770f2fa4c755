"""Scenes as documents, read by a parser of screenplays and by a parser of Markdown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from improv.errors import RunError
from improv.export.document import SceneDocument, to_fountain, to_markdown
from improv.export.exporter import export
from improv.export.selection import SceneFilter
from improv.records import MAIN, Act, Turn
from improv.storage.run_folder import RunFolder
from improv.study.loader import load_scene
from tests.support.export import busy_run

HOSTILE = [
    "INT. BARN - NIGHT",
    "# Act One\n## Scene",
    "= not a synopsis",
    "> CUT TO:",
    ".A HEADING",
    "MARA\nI am here.",
    "@ELISEO\nMine.",
    "[[a note]] and /* a cut */",
    "===",
    "!An action",
    "~a song~",
    "*loud* **louder** _low_ \\*",
    "Title: x\n\n\nAuthor: y",
    "^",
    "(whispers)\nYes.",
    "![p](http://x/p.png) [l](javascript:x) <script>alert(1)</script> <http://x>",
    "    indented code",
    "```\nfence\n```",
    "- a\n- b\n1. c\n2) d\n+ e",
    "Setext\n===\nOther\n---",
    "| a | b |\n|---|---|\n| c | d |",
    "&copy; &#35; `code`",
    "\x1b[31mred\u202e\x00",
    "a\r\n\r\nb",
    "[x]: http://x 'y'",
    "***",
    "~~gone~~ $x$",
    "\u2028# split",
    "FADE OUT.",
    "2) two",
    "> quoted",
]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return busy_run(tmp_path_factory.mktemp("busy"))


def hostile() -> SceneDocument:
    """Return a scene in which each line, direction and note could be read as markup."""
    turns = [Turn("t", MAIN, 0, 0, "direction", "", "CUT TO:")]
    for n, text in enumerate(HOSTILE, 1):
        acts = (Act("note", "Eliseo", text),)
        who = ("Rufina", "Eliseo")[n % 2]
        turns.append(Turn("t", MAIN, n, 0, "direction", "", text))
        turns.append(Turn("t", MAIN, n, 1, "line", who, text, acts=acts))
    return SceneDocument("A # [title]", turns, load_scene("cold-pass"), {"Run": "r"})


def test_a_parser_of_screenplays_finds_the_same_speeches(busy: RunFolder, tmp_path: Path) -> None:
    from screenplain.parsers import fountain as parser
    from screenplain.types import Dialog, Slug

    exported = export(busy, "fountain", path=tmp_path / "plays")
    files = sorted((tmp_path / "plays").iterdir())
    assert exported.written == {"scenes": 4} and len(files) == 4
    assert files[0].name.startswith("00000-kettle-")
    for file in files:
        play = parser.parse(io.StringIO(file.read_text()))
        assert play.title_page["Title"] == ["The Kettle"]
        trial = play.title_page["Notes"][0].split("Trial: ")[1].split(";")[0]
        said = [
            t
            for t in busy.transcripts.read(trial).turns
            if t.kind in ("written", "line", "silence")
        ]
        speeches = [p for p in play if isinstance(p, Dialog)]
        assert [str(d.character) for d in speeches] == [t.speaker for t in said]
        for speech, turn in zip(speeches, said, strict=True):
            words = " ".join(str(text) for aside, text in speech.blocks if not aside)
            assert words == turn.text
        assert sum(isinstance(p, Slug) for p in play) == 1


def test_in_fountain_a_line_stays_a_line() -> None:
    from screenplain.parsers import fountain as parser
    from screenplain.types import Action, Dialog, Slug

    play = list(parser.parse(io.StringIO(to_fountain(hostile()))))
    speeches = [p for p in play if isinstance(p, Dialog)]
    assert [str(d.character) for d in speeches] == [
        ("Rufina", "Eliseo")[n % 2] for n in range(1, len(HOSTILE) + 1)
    ]
    assert {type(p) for p in play} == {Slug, Dialog, Action}
    assert sum(isinstance(p, Slug) for p in play) == 1, "only the setting"
    text = to_fountain(hostile())
    assert "\x1b" not in text and "\u202e" not in text and "\x00" not in text


def test_no_line_becomes_markup_in_markdown() -> None:
    from markdown_it import MarkdownIt

    text = to_markdown(hostile())
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    inline = [child for t in tokens for child in t.children or []]
    kinds = {t.type for t in [*tokens, *inline]}
    for forbidden in (
        "image",
        "link_open",
        "html_inline",
        "html_block",
        "fence",
        "code_block",
        "code_inline",
        "table_open",
        "s_open",
        "ordered_list_open",
    ):
        assert forbidden not in kinds, forbidden
    assert sum(t.type == "heading_open" for t in tokens) == 1, "the title"
    assert sum(t.type == "bullet_list_open" for t in tokens) == 1, "the facts"
    assert sum(t.type == "hr" for t in tokens) == 1, "the seam"
    read = "".join(c.content if c.type == "text" else "\n" for c in inline)
    for words in (
        "<script>alert(1)</script>",
        "![p](http://x/p.png)",
        "&copy; &#35; `code`",
        "| c | d |",
        "*loud* **louder** _low_ \\*",
        "~~gone~~ $x$",
    ):
        assert words in read, "the text is shown as it was written"


def test_one_scene_may_be_one_file(busy: RunFolder, tmp_path: Path) -> None:
    export(busy, "markdown", SceneFilter("0"), tmp_path / "kettle.md")
    assert (tmp_path / "kettle.md").read_text().startswith("# The Kettle\n")
    with pytest.raises(RunError, match="a file of this kind has one scene, but 4 are chosen"):
        export(busy, "fountain", path=tmp_path / "all.fountain")
    branch = next(
        r["branch"]
        for r in busy.transcripts.branches(busy.transcripts.trial("0")["trial"])
        if r["origin"] == "branch"
    )
    export(busy, "fountain", SceneFilter(f"0~{branch}"), tmp_path / "b.fountain")
    assert f"Branch: {branch}" in (tmp_path / "b.fountain").read_text()
