"""Says what is wrong with a YAML text in the words of somebody who writes dialogue.

A parser's message names a token; a writer needs to know which text has to stand in quotation marks.
So this module puts the suspected text in quotation marks and parses again: if the error is gone, or
comes later in the file, that was it, and the message shows the text as it should be. The errors
after it are found in the same way. yaml_source reads YAML; nothing here decides what is valid.
Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml

Parse = Callable[[str], yaml.MarkedYAMLError | None]
"""Parses a whole text, and returns the error in it."""
Advice = tuple[int, int, str]
"""A line and a column, both from 1, and what is wrong there."""

QUOTE_IT = "put the text in quotation marks"
_MOST_ERRORS = 20
_LONGEST_TO_TRY = 100_000
"""Characters of a text that is parsed again for each error: the parser takes 2 s for so many."""
_SHOWN = 70
_KEY = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'#\[\]{},:*&!|>%@`-][^#\[\]{},:]*?)\s*:(?=\s)"
_VALUE = re.compile(rf"(?P<head>\s*(?:-\s+)*(?:{_KEY}\s+)?)(?P<value>\S.*?)\s*")
_FLOW = re.compile(rf"[{{\[,]\s*(?:{_KEY}\s+)?(?=\S)")
_FLOW_END = re.compile(r"\s*(?:,\s*[\w \"']+:\s|[}\]](?=[}\]\s]*(?:,|$))|$)")
_SIGNS = {
    "*": "begins with *",
    "@": "begins with @",
    "`": "begins with `",
    "%": "begins with %",
    ">": "begins with >",
    "|": "begins with |",
    "!": "begins with !",
    "&": "begins with &",
    "[": "begins with [",
    "{": "begins with {",
    "]": "begins with ]",
    "}": "begins with }",
    ",": "begins with a comma",
    "-": "begins with a dash",
    "?": "begins with ?",
    ":": "begins with a colon",
    "#": "begins with #",
}
_NO_SPACE = re.compile(r"\s*(?:-\s+)*([\w ]+):(?!//)[^\s:]")
_STANDS = "stands in quotation marks"
_CURLY = "“”„«»‘’"


@dataclass(frozen=True)
class _Span:
    """A text in a line: the number of its line, from 0, and where in it the text is."""

    line: int
    start: int
    end: int


class LostMarks:
    """Finds texts whose first word YAML takes for a mark of its own, and would drop in silence.

    `see` gets each event of a file in turn. An anchor is one of them if no alias uses it.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._anchors: dict[str, tuple[int, int]] = {}
        self._places: list[Advice] = []
        self.comments: list[Advice] = []
        """Comments that may have been meant as part of a text: one space is before them. They are
        no error, since people also write comments so."""

    def see(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._anchors.pop(event.anchor or "", None)
        elif isinstance(event, yaml.ScalarEvent):
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            if event.anchor:
                self._anchors[event.anchor] = place
            if event.tag == "!":
                self._places.append((*place, f"a text that {_SIGNS['!']} {_STANDS}"))
            if not event.style and " " in event.value and event.end_mark is not None:
                self._look_behind(event.end_mark.line, event.end_mark.column)

    def _look_behind(self, line: int, column: int) -> None:
        rest = self._lines[line][column:] if line < len(self._lines) else ""
        if rest.startswith(" #") and len(rest.strip()) > 2:
            what = f"'{rest.strip()[:40]}' is a comment; if it is part of the text, {QUOTE_IT}"
            self.comments.append((line + 1, column + 2, what))

    def advice(self) -> list[Advice]:
        """Return what would be lost, each with its place."""
        unused = [
            (*place, f"a text that {_SIGNS['&']} {_STANDS} (no *{name[:40]} uses this anchor)")
            for name, place in self._anchors.items()
        ]
        return self._places + unused


def advice(text: str, error: yaml.MarkedYAMLError, parse: Parse) -> list[Advice]:
    """Return what is wrong with a YAML text, in the order of its lines; `error` is the first
    error in it."""
    found: list[Advice] = []
    wrong: yaml.MarkedYAMLError | None = error
    while wrong is not None and len(found) < _MOST_ERRORS:
        lines = text.split("\n")
        if (said := _by_itself(lines, wrong)) is not None:
            return [*found, said]
        mended = _quoted(lines, wrong, parse) if len(text) <= _LONGEST_TO_TRY else None
        if mended is None:
            return [*found, _in_other_words(lines, wrong)]
        what, text, wrong = mended
        found.append(what)
    return found


def _by_itself(lines: list[str], error: yaml.MarkedYAMLError) -> Advice | None:
    """What is wrong where the message alone says it, and quotation marks do not help."""
    line, column = _at(error)
    what = error.problem or ""
    written = lines[line] if line < len(lines) else ""
    if "'\\t'" in what and not written[:column].strip():
        return line + 1, column + 1, "a tab indents this line; YAML allows only spaces there"
    number = line
    if "expected '<document start>'" in what:
        ends = [i for i in range(min(line, len(lines))) if lines[i].startswith("...")]
        number = ends[-1] if ends else line
    written = lines[number] if number < len(lines) else ""
    if written.startswith(("---", "...")) and (number != line or not column):
        end = f"a line that begins with {written[:3]} ends the file's data"
        return number + 1, 1, f"{end}; if it is part of a text, indent it or {QUOTE_IT}"
    if "unknown escape character" in what:
        said = r"after \ in double quotation marks YAML expects a letter that it knows; write \\"
        return line + 1, column + 1, f"{said}, or use single quotation marks"
    return None


def _quoted(
    lines: list[str], error: yaml.MarkedYAMLError, parse: Parse
) -> tuple[Advice, str, yaml.MarkedYAMLError | None] | None:
    """Put the text in quotation marks that makes the error go away; return what to say, the new
    text, and the next error."""
    before = _at(error)[0]
    best: tuple[Advice, str, yaml.MarkedYAMLError | None] | None = None
    reached = -1.0
    for span in _suspects(lines, error):
        written = lines[span.line]
        value = written[span.start : span.end]
        quoted = _in_quotation_marks(value)
        line = written[: span.start] + quoted + written[span.end :]
        new = "\n".join([*lines[: span.line], line, *lines[span.line + 1 :]])
        wrong = parse(new)
        # Of several, the right one is that after which the parser comes furthest.
        line_of_next = math.inf if wrong is None else _at(wrong)[0]
        if line_of_next > max(before, span.line, reached):
            shown = quoted if len(quoted) <= _SHOWN else f"{quoted[:_SHOWN]}…"
            what = f"{_reason(value)}: {shown}"
            best, reached = ((span.line + 1, span.start + 1, what), new, wrong), line_of_next
    return best


def _suspects(lines: list[str], error: yaml.MarkedYAMLError) -> Iterator[_Span]:
    """The texts that may need quotation marks, the likeliest first."""
    line, column = _at(error)
    context = error.context_mark
    numbers = [line]
    if context is not None and context.line != line and "scanning" in str(error.context):
        numbers.append(context.line)
    if "could not find expected ':'" in str(error.problem) and line:
        numbers.append(line - 1)
    for number in numbers:
        if number >= len(lines):
            continue
        written = lines[number]
        starts = [m.end() for m in _FLOW.finditer(written) if m.end() <= column]
        for start in reversed(starts if number == line else []):
            if (end := _FLOW_END.search(written, max(start + 1, column))) is not None:
                yield _Span(number, start, max(end.start(), start + 1))
        if match := _VALUE.fullmatch(written):
            yield _Span(number, match.start("value"), match.end("value"))


def _reason(value: str) -> str:
    first, last = value[0], value[-1]
    if first == "'" and value.count("'") > 1:
        return "an apostrophe ends a text in single quotation marks; use double ones"
    if first in "\"'" and value.count(first) > 1:
        return "a text with quotation marks in it stands in quotation marks as a whole"
    if first in "\"'":
        return f"the quotation mark {first} has no end; end the text with it, or {QUOTE_IT}"
    if first in _SIGNS and not (first in "-?:" and value[1:2].strip()):
        return f"a text that {_SIGNS[first]} stands in quotation marks"
    if re.search(r":(\s|$)", value):
        curly = " (“ ” are none to YAML)" if first in _CURLY or last in _CURLY else ""
        return f"a text that holds ': ' stands in quotation marks{curly}"
    if " #" in value:
        return "a text that holds ' #' stands in quotation marks"
    if "\t" in value:
        return "a text that holds a tab stands in quotation marks"
    return "this text stands in quotation marks"


def _in_quotation_marks(value: str) -> str:
    if len(value) > 1 and value[0] == "'" == value[-1]:
        value = value[1:-1]
    if '"' in value or "\\" in value:
        return "'" + value.replace("'", "''") + "'"
    return f'"{value}"'


def _in_other_words(lines: list[str], error: yaml.MarkedYAMLError) -> Advice:
    """Return a parser's own message in simpler words."""
    line, column = _at(error)
    what = error.problem or "cannot be read as YAML"
    written = lines[line] if line < len(lines) else ""
    if error.context == "while scanning a quoted scalar" and error.context_mark is not None:
        mark = error.context_mark
        return mark.line + 1, mark.column + 1, "the quotation mark that opens here has no end"
    if "could not find expected ':'" in what:
        number = error.context_mark.line if error.context_mark is not None else line
        return number + 1, 1, _no_field(lines[number] if number < len(lines) else "")
    if "mapping values are not allowed" in what or "expected <block end>" in what:
        above = next((row for row in reversed(lines[:line]) if row.strip()), "")
        if match := _NO_SPACE.match(above):
            number = len(lines[:line]) - 1 - lines[:line][::-1].index(above)
            return number + 1, 1, f"a space is missing after '{match[1].strip()}:'"
        if _indent(written) != _indent(above):
            said = "this line is indented otherwise than the lines that it belongs to"
            return line + 1, column + 1, f"{said}; fields of one thing begin in one column"
    if (match := re.match(r"expected ',' or '([\]}])'", what)) and error.context_mark is not None:
        mark = error.context_mark
        opened = "[" if match[1] == "]" else "{"
        said = f"the {opened} that opens here has no {match[1]} where line {line + 1} begins"
        if line == mark.line:
            said = f"after the {opened} that opens here a comma is missing at column {column + 1}"
        said += f"; a text that {_SIGNS[opened]} {_STANDS}"
        return mark.line + 1, mark.column + 1, said
    return line + 1, column + 1, what


def _no_field(written: str) -> str:
    """What is wrong with a line that is neither a field nor part of a text."""
    if "：" in written:
        return "this line has a wide colon (：); a field's name ends with ':' and a space"
    if match := _NO_SPACE.match(written):
        return f"a space is missing after '{match[1].strip()}:'"
    return (
        "this line has no 'field: '; the lines of a longer text are indented, under 'field: |' or "
        "'field: >'"
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _at(error: yaml.MarkedYAMLError) -> tuple[int, int]:
    """Return line and column of an error, from 0: where the token begins that is wrong."""
    marks = (error.problem_mark, error.context_mark)
    if str(error.context) in ("while scanning an alias", "while scanning an anchor"):
        marks = (error.context_mark, error.problem_mark)
    mark = marks[0] or marks[1]
    return (mark.line, mark.column) if mark is not None else (0, 0)
