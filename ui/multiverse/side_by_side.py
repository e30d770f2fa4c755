"""Two branches side by side after their fork, and the changes between them, as HTML. Pure.

Words that only one side has are underlined. An edit is shown as removed and added text with a minus
and a plus sign, so that it can be read without colours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from ui.multiverse.data import Change
from ui.shared.branch_lines import line
from ui.shared.html import LINE_SHOWN, clipped, safe
from ui.shared.spoken_line import SpokenLine

COMPARED = 2_000
"""Most characters of two lines together that are compared word by word."""
ALIKE = 0.5
"""Similarity (0 to 1) below which no words are marked: the lines are two different lines."""


def parted(changes: Sequence[Change], otherwise: str) -> str:
    """Return the changes of a branch against its parent as HTML, or `otherwise` where it has
    none."""
    if not changes:
        return f'<p class="parted quiet">{safe(otherwise)}</p>'
    return "".join(
        f'<div class="parted"><p class="what">{safe(change.what)}</p>{_diff(change)}</div>'
        for change in changes
    )


def pair_table(
    left: Sequence[SpokenLine],
    right: Sequence[SpokenLine],
    colours: Mapping[str, int],
    heads: tuple[str, str],
    turn: int,
) -> str:
    """Return two branches as a table, a turn a row, the same turn of both in one row."""
    by = [
        {n: list(rows) for n, rows in groupby(side, key=lambda s: s.turn)} for side in (left, right)
    ]
    rows = []
    for number in sorted({*by[0], *by[1]}):
        left_rows, right_rows = by[0].get(number, []), by[1].get(number, [])
        same = [(s.speaker, s.text) for s in left_rows] == [(s.speaker, s.text) for s in right_rows]
        marked = _marked(left_rows, right_rows)
        cells = [
            _cell(side_rows, words, colours)
            for side_rows, words in zip((left_rows, right_rows), marked, strict=True)
        ]
        if same:
            cells = [cells[0].replace("<td>", '<td colspan="2">', 1)]
        here = ' class="here"' if number == turn else ""
        rows.append(f'<tr{here}><th scope="row">{number or "opening"}</th>{"".join(cells)}</tr>')
    titles = "".join(f'<th scope="col">{safe(head)}</th>' for head in heads)
    return (
        '<table class="both"><caption class="quiet">Words that only one side has are '
        f'<u>underlined</u>.</caption><thead><tr><th scope="col">Turn</th>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(rows: Sequence[SpokenLine], words: Sequence[str], colours: Mapping[str, int]) -> str:
    if not rows:
        return '<td><p class="quiet">—</p></td>'
    lines = (line(said, text, colours) for said, text in zip(rows, words, strict=True))
    return f"<td>{''.join(lines)}</td>"


def _marked(left: Sequence[SpokenLine], right: Sequence[SpokenLine]) -> tuple[list[str], list[str]]:
    """Return the texts of both sides of a turn as HTML. Where each side has one line, words that
    only one has are underlined."""
    texts = [clipped(s.text) for s in left], [clipped(s.text) for s in right]
    spoken = [[i for i, s in enumerate(side) if s.kind == "line"] for side in (left, right)]
    if len(spoken[0]) == len(spoken[1]) == 1:
        (i,), (k,) = spoken
        a, b = left[i].text, right[k].text
        if a != b and len(a) + len(b) <= COMPARED:
            texts[0][i], texts[1][k] = _words(a, b)
    return texts


def _words(a: str, b: str) -> tuple[str, str]:
    """Return two lines as HTML, with the words that only one has underlined."""
    left, right = (re.findall(r"\s+|[^\W_]+|[^\s]", text) for text in (a, b))
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < ALIKE:
        return safe(a), safe(b)
    shown: tuple[list[str], list[str]] = ([], [])
    for kind, a0, a1, b0, b1 in matcher.get_opcodes():
        for side, words in ((0, "".join(left[a0:a1])), (1, "".join(right[b0:b1]))):
            plain = kind == "equal" or not words.strip()
            shown[side].append(safe(words) if plain else f"<u>{safe(words)}</u>")
    return "".join(shown[0]), "".join(shown[1])


def _diff(change: Change) -> str:
    """Return a change as a diff, sentence by sentence."""
    before, after = (_sentences(text) for text in (change.before, change.after))
    parts = []
    for kind, a0, a1, b0, b1 in difflib.SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            parts += [f"<p>{clipped(text, 400)}</p>" for text in before[a0:a1]]
        else:
            parts += [_changed("−", "removed", text) for text in before[a0:a1]]
            parts += [_changed("+", "added", text) for text in after[b0:b1]]
    return f'<div class="diff">{"".join(parts)}</div>'


def _changed(sign: str, how: str, text: str) -> str:
    kind = "out" if sign == "−" else "in"
    return (
        f'<p class="{kind}"><span class="sign" role="img" aria-label="{how}">{sign}</span>'
        f"{clipped(text, 1200)}</p>"
    )


def _sentences(text: str) -> list[str]:
    """Cut a text into sentences; a very long one stays whole."""
    if len(text) > 10 * LINE_SHOWN:
        return [text]
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]
