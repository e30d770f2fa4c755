"""The lines of one branch as HTML: shared turns are folded, its own turns are open. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from ui.shared.html import clipped, safe
from ui.shared.spoken_line import SpokenLine


def branch_html(
    said: Sequence[SpokenLine], colours: Mapping[str, int], *, fork: int, turn: int, named: str
) -> str:
    """Return the transcript of a branch, in which the turns up to `fork` are folded. `turn` is
    marked as the current one, and `named` labels the section of the branch's own turns."""
    shared = [s for s in said if s.turn <= fork]
    own = [s for s in said if s.turn > fork]
    parts = ['<div class="leaf">']
    if shared:
        opened = " open" if turn <= fork or not own else ""
        upto = f"turns 1 to {fork}" if fork > 1 else "turn 1" if fork else "the opening"
        parts.append(
            f"<details{opened}><summary>Shared: {upto}</summary>{_rows(shared, colours, turn)}"
            "</details>"
        )
    if own:
        parts.append(f'<section aria-label="{safe(named)}">{_rows(own, colours, turn)}</section>')
    elif fork:
        parts.append('<p class="quiet">No turn was played after the fork.</p>')
    return "".join([*parts, "</div>"])


def line(said: SpokenLine, words: str, colours: Mapping[str, int]) -> str:
    """Return one row as HTML; `words` is its text, which is HTML already."""
    if said.kind == "direction":
        return f'<p class="direction">{words}</p>'
    if said.kind == "note":
        return f'<p class="note">Note to {safe(said.speaker)}: {words}</p>'
    who = f'<span class="name v{colours.get(said.speaker, 0)}">{safe(said.speaker)}</span> '
    if said.kind == "silence":
        return f'<p>{who}<i class="quiet">says nothing</i></p>'
    kinds = {"probe": "asked off the record", "memory": "writes down", "envelope": "seals"}
    asides = [
        kinds.get(said.kind, ""),
        "aside" if said.aside else "",
        "edited" if said.edited else "",
    ]
    aside = "".join(f'<i class="quiet">({a})</i> ' for a in asides if a)
    return f"<p>{who}{aside}{words}</p>"


def _rows(said: Sequence[SpokenLine], colours: Mapping[str, int], turn: int) -> str:
    parts = ["<ol>"]
    for number, rows in groupby(said, key=lambda s: s.turn):
        here = ' class="here" aria-current="true"' if number == turn and number else ""
        lines = "".join(line(s, clipped(s.text), colours) for s in rows)
        parts.append(f'<li{here}><span class="no">{number or ""}</span><div>{lines}</div></li>')
    return "".join([*parts, "</ol>"])
