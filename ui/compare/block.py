"""The scenes of one block side by side: a column for each condition, a row for each turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import streamlit as st

from improv.graph.figure import distinguishing_names
from improv.records import MAIN, Json, Turn
from improv.report.material import Material
from ui.compare import data as compare_data
from ui.shared import address, navigation, run_data, transcript
from ui.shared.html import clipped, label, safe, short_line

_SCRIPT = (Path(__file__).parent / "block.js").read_text(encoding="utf-8")

_WINDOW = 100
"""Blocks that the list offers before and after the chosen one."""
_COLUMNS = 4
"""Conditions that are shown unless the reader chooses others."""
_SAID = 700
"""Characters of a line that a column shows."""


def block(run: run_data.ViewedRun, material: Material) -> None:
    """Draw a block: the choice of the block and of its columns, and the table of turns."""
    names = compare_data.block_names(run)
    if not names:
        return
    wanted = address.get("block")
    now = wanted if wanted in names else names[0]
    st.html('<h2 class="side-title" id="abreast">One block, side by side</h2>')
    if wanted and wanted != now:
        st.html(
            '<p class="quiet" role="status">'
            f"There is no block “{safe(short_line(wanted, 60))}”.</p>"
        )
        address.put(block="")
    rows = compare_data.block_rows(run, now)
    picked = _choose(names, now, rows)
    shown = [r for r in rows if r["condition"] in picked] or rows[:_COLUMNS]
    plays = [run_data.play(run, row) for row in shown]
    hidden = material.analysis.mute
    marks = [{} if hidden else compare_data.broken_lines(run, play) for play in plays]
    titles = distinguishing_names([row["condition"] for row in shown])
    scene = next((p.scene for p in plays if p.scene is not None), None)
    turns = [t for p in plays for t in p.transcript.turns]
    st.html(_table(run, plays, marks, titles, transcript.voices(turns, scene)))
    note = (
        "No break is marked: no judge could tell."
        if hidden
        else "A line with a break is marked; its link opens the turn in the scene."
    )
    st.html(f'<p class="quiet">{note}</p>')
    # Registered at each mount: a second server in one process (a test's) has a registry of its own.
    st.components.v2.component("improv_abreast", js=_SCRIPT, isolate_styles=False)(
        key="abreast-scroll", data={"block": address.get("block")}
    )


def _choose(names: Sequence[str], now: str, rows: Sequence[Json]) -> list[str]:
    at = names.index(now)
    window = list(names[max(0, at - _WINDOW) : at + _WINDOW + 1])
    conditions = list(dict.fromkeys(r["condition"] for r in rows))
    short = dict(zip(conditions, distinguishing_names(conditions), strict=True))
    with st.container(horizontal=True, vertical_alignment="bottom", key="abreast-bar"):
        st.button(
            "Previous block",
            key="block-before",
            type="tertiary",
            disabled=at == 0,
            on_click=_go,
            args=(names[max(0, at - 1)],),
        )
        st.session_state["block"] = now
        st.selectbox(
            f"Block ({len(names):,})",
            window,
            key="block",
            on_change=_chosen,
            width=300,
            accept_new_options=len(names) > len(window),
            format_func=lambda b: short_line(b, 60),
        )
        st.button(
            "Next block",
            key="block-next",
            type="tertiary",
            disabled=at + 1 == len(names),
            on_click=_go,
            args=(names[min(len(names) - 1, at + 1)],),
        )
    if len(conditions) <= _COLUMNS:
        return conditions
    known = [c for c in st.session_state.get("abreast", []) if c in conditions]
    st.session_state["abreast"] = known or conditions[:_COLUMNS]
    with st.container(key="abreast-lines"):
        return list(
            st.multiselect(
                "Conditions",
                conditions,
                key="abreast",
                format_func=lambda c: label(short[c]),
            )
        )


def _table(
    run: run_data.ViewedRun,
    plays: Sequence[run_data.Play],
    marks: Sequence[Mapping[int, list[Json]]],
    titles: Sequence[str],
    colours: Mapping[str, int],
) -> str:
    by = [
        {n: list(rows) for n, rows in groupby(p.transcript.turns, key=lambda t: t.turn)}
        for p in plays
    ]
    heads = "".join(
        f'<th scope="col">{navigation.link("scene", title, run=run.id, trial=p.row["trial"])}'
        f"{_state(p)}</th>"
        for p, title in zip(plays, titles, strict=True)
    )
    body = []
    for number in sorted({n for each in by for n in each if n}):
        cells = "".join(
            _cell(run, play, number, each.get(number, []), own.get(number, []), colours)
            for play, each, own in zip(plays, by, marks, strict=True)
        )
        body.append(f'<tr><th scope="row">{number}</th>{cells}</tr>')
    return (
        '<div class="abreast" tabindex="0" role="region" aria-label="The scenes of one block, side '
        f'by side"><table><thead><tr><th scope="col">Turn</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _state(play: run_data.Play) -> str:
    if play.row["status"] != "failed":
        return ""
    at = f" at turn {play.row['failure_turn']}" if play.row["failure_turn"] else ""
    return f'<span class="wrong">broke off{at}</span>'


def _cell(
    run: run_data.ViewedRun,
    play: run_data.Play,
    number: int,
    rows: Sequence[Turn],
    broken: Sequence[Json],
    colours: Mapping[str, int],
) -> str:
    shown = [t for t in rows if t.kind not in transcript.MARGINAL and t.kind != "probe"]
    if not shown:
        return '<td><span class="quiet">—</span></td>'
    lines = "".join(_line(t, colours) for t in shown)
    row, mark, kind = play.row, "", ""
    branch = "" if row["branch"] == MAIN else row["branch"]
    where = {"run": run.id, "trial": row["trial"], "branch": branch, "turn": str(number)}
    if broken:
        kind = ' class="broke"'
        who = ", ".join(dict.fromkeys(short_line(s["character"], 40) for s in broken))
        link = navigation.link(
            "scene",
            "breaks",
            name=f"{who} breaks in turn {number} under {row['condition']}: read",
            **where,
            behind="1",
        )
        mark = f'<p class="mark">✕ {link}</p>'
    return f"<td{kind}>{lines}{mark}</td>"


def _line(turn: Turn, colours: Mapping[str, int]) -> str:
    if turn.kind == "direction":
        return f'<p class="direction">{clipped(turn.text, _SAID)}</p>'
    who = f'<span class="name v{colours.get(turn.speaker, 0)}">{safe(turn.speaker)}</span> '
    if turn.kind == "silence":
        return f'<p>{who}<i class="quiet">says nothing</i></p>'
    aside = '<i class="quiet">(aside)</i> ' if turn.aside else ""
    return f"<p>{who}{aside}{clipped(turn.text, _SAID)}</p>"


def _go(name: str) -> None:
    address.go(block=name)


def _chosen() -> None:
    address.go(block=str(st.session_state["block"]))
