"""What writers of dialogue type into YAML: each mistake is said in their words, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from improv.errors import StudyError
from improv.study.loader import load
from tests.support.weather import command

HEAD = "title: Ferry\npremise: Two people wait.\n"
CAST = "cast:\n  - {name: Odile, role: a clerk}\n  - {name: Piet, role: a sailor}\n"
OPENING = "opening:\n  - who: Odile\n    line: %s\n  - who: Piet\n    line: Yes.\nturns: 4\n"


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "x.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(StudyError) as caught:
        load(file)
    return [str(p).replace(str(file), "x.yaml") for p in caught.value.problems]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("*sighs* no", "begins with *"),
        ("*sighs*", "begins with *"),
        ("*sighs no", "begins with *"),
        ("@Piet come here", "begins with @"),
        ("`code` here", "begins with `"),
        ("%hello", "begins with %"),
        ("> hello", "begins with >"),
        ("| hello", "begins with |"),
        ("& so", "begins with &"),
        ("[sighs] no", "begins with ["),
        ("{laughs} no", "begins with {"),
        ("] no", "begins with ]"),
        (", no", "begins with a comma"),
        ("- no", "begins with a dash"),
        ("? what", "begins with ?"),
        (": no", "begins with a colon"),
        ("Wait: no, go", "holds ': '"),
        ("Wait:", "holds ': '"),
        ("“Wait: no”", "holds ': ' stands in quotation marks (“ ” are none to YAML)"),
        ("Wait: no # go", "holds ': '"),
        ('"Go," he said.', "a text with quotation marks in it"),
        ('"Wait": no', "a text with quotation marks in it"),
        ("'Don't go'", "an apostrophe ends a text in single quotation marks"),
        ("'tis the end", "the quotation mark ' has no end"),
        ('"Go', 'the quotation mark " has no end'),
    ],
)
def test_a_text_that_needs_quotation_marks_is_shown_with_them(
    line: str, says: str, tmp_path: Path
) -> None:
    text = HEAD + CAST + OPENING
    (problem,) = problems(tmp_path, text % line)
    assert problem.startswith("x.yaml:8:11: ") and says in problem
    # Written as the message says, the scene is good, and the line is what was meant.
    advised = problem.rpartition(": " + ("'" if problem.endswith("'") else '"'))[2]
    advised = f"{problem[-1]}{advised}"
    (tmp_path / "y.yaml").write_text(text % advised, "utf-8")
    said = load(tmp_path / "y.yaml").cells[0][2].opening[0].line
    assert said == (line[1:-1] if line == "'Don't go'" else line)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("!no way", "opening.0.line: unknown tag !no; a text that begins with ! stands"),
        ("! way", "a text that begins with ! stands in quotation marks"),
        ("&Piet come here", "a text that begins with & stands in quotation marks (no *Piet uses"),
        ("[sighs]", "line: must be a text, not a list; a text that begins with ["),
        ("{laughs}", "line: must be a text, not fields; a text that holds ': ' or begins with {"),
        ("true", 'line: must be a text, not true; put it in quotation marks: "true"'),
        ("12", 'line: must be a text, not 12; put it in quotation marks: "12"'),
        ("#no", "'line' is empty; a line that begins with # stands in quotation marks"),
        (r'"a\qb"', "in double quotation marks YAML expects a letter that it knows"),
    ],
)
def test_a_text_that_yaml_takes_for_something_else_is_no_text(
    line: str, says: str, tmp_path: Path
) -> None:
    assert any(says in p for p in problems(tmp_path, HEAD + CAST + OPENING % line))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "cast:\n  Odile: {role: a clerk}\n", "4:3: cast: must be a list, each entry"),
        (HEAD + "cast: Odile, Piet\n", "3:7: cast: must be a list, each entry on a line"),
        (HEAD + "cast: [Odile]\n", "3:8: cast.0: must have fields; write '- name: Odile'"),
        (HEAD + "cast:\n  - Odile:\n      role: a\n", "cast.0.Odile: not a field; write '- name:"),
        (HEAD + "cast:\n  - name:Odile\n    role: a\n", "4:1: a space is missing after 'name:'"),
        (HEAD + "cast:\n  - {name: 'Agent \"K\"', role: a}\n", "is no name: it begins with a"),
        (HEAD + CAST + "opening:\n  - Odile: Hi.\n", "Odile: not a field; write '- who: Odile'"),
        (HEAD + CAST + "premises: x\n", "premises: not a field (did you mean 'premise'?)"),
        (HEAD + CAST + "world: one rule\n", "6:8: world: must be a list, each entry on a line"),
        (HEAD + CAST + "author: Ann\n", "6:9: author: must have fields"),
        ("title: Ferry\npremise：Two.\n" + CAST, "2:1: this line has a wide colon"),
        ("title: Ferry\npremise:Two.\n" + CAST, "2:1: a space is missing after 'premise:'"),
        ("title: Ferry\n  premise: Two.\n" + CAST, "2:10: this line is indented otherwise"),
        ("title: Ferry\nIt rains.\n" + CAST, "2:1: this line has no 'field: '"),
        ("title: Ferry\npremise: [a\n" + CAST, "2:10: the [ that opens here has no ]"),
        (
            HEAD + "cast:\n  - {name: Odile, role: a\nturns: 4\n",
            "4:5: the { that opens here has no",
        ),
        (HEAD + "---\n" + CAST, "3:1: a line that begins with --- ends the file's data"),
        (HEAD + "...\n" + CAST, "a line that begins with ... ends the file's data"),
        (HEAD + CAST + "turns: many\n", "turns: must be a whole number, not 'many'"),
        (HEAD + CAST + "opening: [{who: Odile, line: @Piet come, go}]\n", '"@Piet come, go"'),
        (HEAD + CAST + "opening:\n\t- who: Odile\n", "7:1: a tab indents this line"),
    ],
)
def test_a_file_of_another_shape_is_told_which_it_has_to_have(
    text: str, says: str, tmp_path: Path
) -> None:
    assert any(says in p for p in problems(tmp_path, text)), problems(tmp_path, text)


def test_all_texts_without_quotation_marks_are_told_at_once(tmp_path: Path) -> None:
    lines = ["*one*", "Two: yes", "three", "%four", '"Five" he said', "[six] no"]
    body = "".join(f"  - who: Odile\n    line: {line}\n" for line in lines)
    places = [p.split(": ")[0] for p in problems(tmp_path, f"{HEAD}{CAST}opening:\n{body}")]
    assert places == [f"x.yaml:{8 + 2 * i}:11" for i in (0, 1, 3, 4, 5)]


def test_a_large_file_is_told_its_first_mistake_soon(tmp_path: Path) -> None:
    body = "  - {who: Odile, line: Yes.}\n" * 5000
    text = f"{HEAD}{CAST}opening:\n  - who: Odile\n    line: Wait: no\n{body}"
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("x.yaml:8:15: ")


def test_a_comment_that_may_be_part_of_a_text_is_noted(tmp_path: Path) -> None:
    line = "We are # one here\n    # a comment\n    aside_to: Piet  # another"
    (tmp_path / "x.yaml").write_text(HEAD + CAST + OPENING % line, "utf-8")
    done = command("validate", str(tmp_path / "x.yaml"))
    notes = [row for row in done.output.splitlines() if "note:" in row]
    assert len(notes) == 1 and ":8:18: note: '# one here' is a comment" in notes[0]
