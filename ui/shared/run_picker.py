"""The choice of a run, of a trial, and of the trials of the same block under other conditions.

The address keeps the choice. A thousand trials are too many for one list, so the list is a window
around the open trial; filters and a trial's number lead to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import streamlit as st

from improv.errors import RunError
from improv.records import Json
from ui.shared import address, notices, run_data, score_words
from ui.shared.html import label, safe, short_line
from ui.shared.lazy_rows import Rows

_WINDOW = 200
"""Trials that the list offers before and after the open one."""
SIDE_BY_SIDE = 4
"""Most conditions of a block that are offered as buttons; more are offered as a list."""

_ALL = "all"
_OTHER = {"branch": "", "marks": ""}
"""Values of the address that belong to one trial only."""


def choose_run(runs: Sequence[run_data.ViewedRun]) -> run_data.ViewedRun:
    """Offer the runs; return the run of the address, else the newest."""
    by_id = {run.id: run for run in runs}
    wanted = address.get("run")
    if wanted and wanted not in by_id:
        try:
            wanted = run_data.find_run(wanted).id
        except RunError:
            notices.no_such_run(wanted)
            address.put(trial="", turn="", behind="")
            wanted = ""
    chosen = by_id.get(wanted, runs[0])
    address.put(run=chosen.id)
    st.session_state["run"] = chosen.id
    st.sidebar.html('<p class="wordmark">improv</p>')
    st.sidebar.selectbox(
        "Run",
        list(by_id),
        key="run",
        on_change=_run_chosen,
        format_func=lambda name: _run_name(by_id[name]),
    )
    return chosen


def choose_trial(run: run_data.ViewedRun, rows: Rows) -> Json:
    """Offer the trials, filtered by scene and condition where there are several; return the chosen
    trial's row."""
    wanted = address.get("trial")
    place = rows.where(wanted) if wanted else None
    chosen = rows[place] if place is not None else None
    if wanted and chosen is None:
        try:
            chosen = run_data.find_trial(run, wanted)
        except RunError:
            notices.no_such_trial(run, wanted)
            address.put(turn="", behind="", branch="")
    scene = _filter("Scene", "scene", rows.distinct("scene"), _titles(rows))
    condition = _filter("Condition", "condition", rows.distinct("condition"), {})
    filters = {"scene": scene, "condition": condition}
    fitting = rows.places(**{name: value for name, value in filters.items() if value != _ALL})
    if chosen is None:
        chosen = rows[int(fitting[0]) if len(fitting) else 0]
    address.put(trial=chosen["trial"])
    _trial_list(chosen, rows, fitting)
    return chosen


def about(run: run_data.ViewedRun, rows: Rows) -> None:
    """Draw the facts of a run at the foot of the sidebar."""
    asks = run_data.question(run)
    failed = rows.column("status").count("failed")
    facts = [
        ("Played by", _players(run)),
        (
            "Trials",
            f"{len(rows):,} of {run.planned:,}" if len(rows) < run.planned else f"{len(rows):,}",
        ),
        ("Failed", f"{failed:,}"),
        ("Played again", f"{len(_plays_again(run)):,}"),
        ("Not delivered", str(run.meta.get("undelivered") or "").replace(" not delivered", "")),
        ("Begun", str(run.meta.get("created", "")).replace("T", " ").removesuffix("Z")),
    ]
    shown = "".join(
        f"<div><dt>{k}</dt><dd>{safe(short_line(v, 120))}</dd></div>"
        for k, v in facts
        if v and v != "0"
    )
    small = ""
    if "embedded" in run.models:
        small = (
            '<p class="quiet">The embedded model has 135 million parameters. Its runs show how '
            "the program works; their results are no evidence.</p>"
        )
    with st.sidebar.container(key="about"):
        st.html(f'<p class="asks">{safe(asks)}</p><dl class="facts">{shown}</dl>{small}')
        if lost := _lost(run):
            st.html(
                f'<details class="quiet"><summary>What did not arrive</summary>{lost}</details>'
            )


def _plays_again(run: run_data.ViewedRun) -> set[tuple[str, str]]:
    """Return the trials and branches that had failed and were played again."""
    return {(row["trial"], row["branch"]) for row in run_data.earlier_failures(run)}


def _lost(run: run_data.ViewedRun) -> str:
    """Return what did not arrive, by arm, as the run's own sentences in HTML."""
    said = run.meta.get("delivery")
    sentences = [s for s in said if isinstance(s, str)] if isinstance(said, list) else []
    return "".join(f"<p>{safe(short_line(sentence, 600))}</p>" for sentence in sentences[:12])


def strip(run: run_data.ViewedRun, rows: Rows, play: run_data.Play) -> None:
    """Draw the strip over a scene: its facts, the other conditions of its block, the margin's
    switch."""
    row = play.row
    siblings = list(rows.take(rows.places(block=row["block"])))
    status = "failed" if row["status"] == "failed" else row["status"]
    facts = [
        ("Condition", row["condition"]),
        ("Block", row["block"]),
        ("Played by", _players(run)),
        ("Status", f"{status}, {row['turns']} turns"),
    ]
    if len(siblings) > 1:
        facts = facts[1:]
    shown = "".join(f"<div><dt>{k}</dt><dd>{safe(short_line(v))}</dd></div>" for k, v in facts)
    with st.container(horizontal=True, vertical_alignment="center", key="strip"):
        if len(siblings) > 1:
            names = {r["trial"]: r["condition"] for r in siblings}
            st.session_state["sibling"] = row["trial"]
            if len(siblings) <= SIDE_BY_SIDE:
                st.segmented_control(
                    "The same block under",
                    list(names),
                    key="sibling",
                    required=True,
                    on_change=_sibling_chosen,
                    format_func=lambda t: label(names[t]),
                )
            else:
                st.selectbox(
                    "The same block under",
                    list(names),
                    key="sibling",
                    on_change=_sibling_chosen,
                    format_func=lambda t: short_line(names[t]),
                )
        st.html(f'<dl class="strip">{shown}</dl>')
        if _has_margin(play):
            st.session_state["margin"] = not address.get("audience")
            st.toggle("Author’s margin", key="margin", on_change=_margin_turned)


def _has_margin(play: run_data.Play) -> bool:
    """Whether the scene has anything that the audience does not see."""
    author = play.scene.author if play.scene is not None else None
    acted = any(t.acts for t in play.transcript.turns)
    broken = any(map(score_words.broken, play.scores))
    return acted or broken or (author is not None and bool(author.live or author.frame))


def _run_name(run: run_data.ViewedRun) -> str:
    study = short_line(str(run.meta.get("study", "")), 40)
    playing = " (playing)" if run.playing else ""
    return f"{study} · {short_line(run.id, 60)}{playing}" if study else run.id


def _players(run: run_data.ViewedRun) -> str:
    names = ["SmolLM2 135M (embedded)" if m == "embedded" else m for m in run.models]
    return ", ".join(names) or "unknown"


def _titles(rows: Rows) -> dict[str, str]:
    return dict(zip(rows.column("scene"), rows.column("title"), strict=True))


def _filter(name: str, key: str, distinct: list[str], titles: dict[str, str]) -> str:
    """Offer a filter where there are two values or more; return the chosen value, or _ALL."""
    if len(distinct) < 2:
        return _ALL
    picked = st.sidebar.selectbox(
        name,
        [_ALL, *distinct],
        key=f"filter-{key}",
        on_change=_filtered,
        format_func=lambda v: f"Every {key}" if v == _ALL else short_line(titles.get(v) or v),
    )
    return str(picked)


def _trial_list(chosen: Json, rows: Rows, fitting: npt.NDArray[np.int64]) -> None:
    at = int(np.searchsorted(fitting, rows.where(chosen["trial"]) or 0))
    shown = list(rows.take(fitting[max(0, at - _WINDOW) : at + _WINDOW + 1]))
    if all(r["trial"] != chosen["trial"] for r in shown):
        shown.insert(0, chosen)
    by_id = {r["trial"]: r for r in shown}
    st.session_state["trial"] = chosen["trial"]
    st.sidebar.selectbox(
        f"Trial ({len(fitting):,})" if len(fitting) > 1 else "Trial",
        list(by_id),
        key="trial",
        on_change=_trial_chosen,
        format_func=lambda t: _trial_name(by_id[t]),
    )
    if len(fitting) > len(shown):
        st.sidebar.number_input(
            "Trial number",
            0,
            value=int(chosen["index"]),
            key=f"number-{chosen['trial']}",
            on_change=_number_typed,
            args=(f"number-{chosen['trial']}",),
        )


def _trial_name(row: Json) -> str:
    again = f" · {row['replicate'] + 1}" if row["replicate"] else ""
    failed = " · failed" if row["status"] == "failed" else ""
    title = short_line(row["title"] or row["scene"], 40)
    return f"{row['index']}  {title} · {short_line(row['condition'], 40)}{again}{failed}"


def _run_chosen() -> None:
    st.session_state["playing"] = False
    address.go(run=st.session_state["run"], trial="", turn=0, heard=False, behind=False, **_OTHER)


def _trial_chosen() -> None:
    st.session_state["playing"] = False
    address.go(trial=st.session_state["trial"], turn=0, heard=False, **_OTHER)


def _filtered() -> None:
    st.session_state["playing"] = False
    address.go(trial="", turn=0, heard=False, **_OTHER)


def _number_typed(key: str) -> None:
    st.session_state["playing"] = False
    address.go(trial=str(st.session_state[key]), turn=0, heard=False, **_OTHER)


def _sibling_chosen() -> None:
    """Open the other trial of the block at the same turn, so that the two can be compared."""
    if st.session_state["sibling"]:
        st.session_state["playing"] = False
        address.go(trial=st.session_state["sibling"], **_OTHER)


def _margin_turned() -> None:
    address.go(audience=not st.session_state["margin"])
