"""Behind a number: the scenes or blocks that it is computed from, each with a link to its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import streamlit as st

from improv.records import MAIN
from improv.report import doubts
from improv.report.material import Material
from improv.report.numbers import number
from ui.compare import data as compare_data
from ui.compare.data import Pair, SceneBehind
from ui.shared import address, navigation, run_data
from ui.shared.html import clipped, safe, short_line

_T = TypeVar("_T")

SHEET = 20
"""Scenes or blocks on a page of the list."""
_SAID = 220
"""Characters of a line in the list."""


def chosen_name(material: Material) -> str:
    """Return the contrast or the condition whose scenes are open, "" for none."""
    if material.analysis.mute or material.analysis.outcome is None:
        return ""
    if name := address.get("contrast"):
        return name
    cells = [arm.cell for arm in material.analysis.arms]
    return address.get("condition") if address.get("condition") in cells else ""


def scenes_panel(run: run_data.ViewedRun, material: Material) -> None:
    """Draw the scenes behind the contrast or the condition that the address names."""
    name = chosen_name(material)
    with st.container(horizontal=True, vertical_alignment="center", key="behind-head"):
        st.html('<h2 class="behind-title">The scenes behind it</h2>')
        st.button("Close", key="close", shortcut="Esc", type="tertiary", on_click=_close)
    st.html(f'<p class="cap">{safe(short_line(name, 160))}</p>')
    if address.get("contrast"):
        _contrast(run, material, name)
    else:
        _condition(run, material, name)


def _contrast(run: run_data.ViewedRun, material: Material, name: str) -> None:
    names = (decision.contrast.name for decision in doubts.decisions(material))
    said = dict(zip(names, doubts.sentences(material), strict=True))
    if name in said:
        st.html(f'<p class="as-found">{safe(said[name].removeprefix(f"{name}: "))}</p>')
    pairs, apart = compare_data.sides(run, name)
    if pairs:
        _pairs(run, pairs)
    for two_sides in apart:
        for title, listed in zip(("The first side", "The second side"), two_sides, strict=True):
            st.html(f"<h3>{title}</h3>")
            _list(run, material, listed[:SHEET], len(listed))
    if not pairs and not apart:
        st.html(
            '<p class="quiet">This number has no list of blocks: it covers all conditions at once, '
            "or conditions that were not played.</p>"
        )


def _pairs(run: run_data.ViewedRun, pairs: Sequence[Pair]) -> None:
    more, less = (sum(p.apart * link > 1e-12 for p in pairs) for link in (1, -1))
    alike = len(pairs) - more - less
    st.html(
        f'<p class="quiet">{len(pairs):,} blocks: the first side is higher in {more:,}, lower in '
        f"{less:,}, equal in {alike:,}. The largest differences come first.</p>"
    )
    rows = []
    for p in _sheet(pairs):
        link = navigation.link(
            "compare",
            p.block,
            name=f"Block {p.block}, side by side",
            run=run.id,
            block=p.block,
            **{n: address.get(n) for n in ("contrast", "condition", "of", "sheet")},
        )
        cells = "".join(f"<td>{number(v)}</td>" for v in (p.plus, p.minus, p.apart))
        rows.append(f'<tr><th scope="row">{link}</th>{cells}</tr>')
    st.html(
        '<table class="pairs"><thead><tr><th scope="col">block, side by side</th>'
        '<th scope="col">first side</th><th scope="col">second</th><th scope="col">difference</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _condition(run: run_data.ViewedRun, material: Material, cell: str) -> None:
    kind = address.get("of") if address.get("of") in compare_data.SCENE_KINDS else ""
    turn = int(address.get("turn")[:9]) if address.get("turn").isdecimal() else None
    listed = compare_data.scenes(run, cell, kind, turn)
    if kind == "break" and turn is not None and not listed:
        kind, turn = "never", None
        listed = compare_data.scenes(run, cell, kind)
    at = f" at turn {turn}" if turn is not None else ""
    summary = {
        "": f"{len(listed):,} scenes, the largest value first.",
        "break": f"{len(listed):,} scenes have their first break{at}.",
        "never": f"No scene has its first break there. {len(listed):,} scenes never break.",
        "line": f"{len(listed):,} broken lines{at}.",
        "fall": f"{len(listed):,} falls: a line at the opposite after one at the pole{at}.",
        "back": f"{len(listed):,} returns: a line at the pole after one at the opposite{at}.",
    }[kind]
    st.html(f'<p class="quiet">{summary}</p>')
    _list(run, material, _sheet(listed), len(listed))


def _sheet(listed: Sequence[_T]) -> Sequence[_T]:
    """Draw the page numbers of a long list; return the items of the chosen page."""
    sheets = -(-len(listed) // SHEET)
    if sheets < 2:
        return listed
    wanted = address.get("sheet")
    now = min(max(int(wanted[:6]), 1), sheets) if wanted.isdecimal() else 1
    st.session_state["sheet"] = now
    st.pagination(sheets, key="sheet", on_change=_turned, max_visible_pages=5)
    return listed[(now - 1) * SHEET : now * SHEET]


def _value(material: Material, value: float) -> str:
    """Return the value of a scene with its unit."""
    kind = material.analysis.outcome.of if material.analysis.outcome is not None else ""
    unit = {"broken": "broken", "collision": "alike", "mean": "on average"}.get(kind, "")
    if kind in ("broke", "recovered"):
        said = {"broke": ("broke", "never broke"), "recovered": ("came back", "did not come back")}
        return said[kind][0 if value else 1]
    if kind == "time":
        return f"turn {value:g}"
    return f"{number(value)} {unit}".strip()


def _list(
    run: run_data.ViewedRun, material: Material, listed: Sequence[SceneBehind], many: int
) -> None:
    said = compare_data.quotes(run, listed)
    rows = []
    for s in listed:
        place = f"{s.block}, turn {s.turn}" if s.turn is not None else s.block
        link = navigation.link(
            "scene",
            place,
            name=f"Read {place}",
            run=run.id,
            trial=s.trial,
            branch="" if s.branch == MAIN else s.branch,
            turn=str(s.turn or ""),
            behind="1" if s.turn else "",
        )
        who, line = said.get((s.trial, s.branch, s.turn), ("", "")) if s.turn else ("", "")
        value = "" if s.value != s.value else f" · {_value(material, s.value)}"
        quoted = ""
        if line:
            name = f'<span class="name">{safe(short_line(who, 40))}</span> '
            quoted = f"<p>{name}{clipped(short_line(line, _SAID), _SAID)}</p>"
        rows.append(f"<li>{quoted}<p class='cap'>{link}{value}</p></li>")
    left = many - len(listed)
    more = f'<p class="quiet">{left:,} more.</p>' if left > 0 and many <= SHEET else ""
    st.html(f'<ol class="found">{"".join(rows)}</ol>{more}')


def _turned() -> None:
    address.go(sheet=st.session_state["sheet"])


def _close() -> None:
    address.go(contrast="", condition="", of="", turn="", sheet="")
