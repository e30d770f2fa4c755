"""The Multiverse room: a trial's tree of branches, one branch to read or two side by side, and a
panel that plays new ones.

`layout` places the points of the tree, `view` draws it, `reader` shows the transcripts, and `grow`
starts new branches.
"""

from __future__ import annotations

import streamlit as st

from improv.records import MAIN, Json
from improv.study.edit_summary import describe_branch
from improv.study.scene import Scene
from ui.multiverse import data as worlds
from ui.multiverse import grow, layout, reader, view
from ui.multiverse.data import Multiverse
from ui.shared import address, notices, page, run_data, run_picker
from ui.shared.html import safe, short_line
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    chosen = page.chosen("trial", "branch", "turn", unwatched=grow.growing)
    if chosen is not None:
        _run(*chosen)


def _run(run: run_data.ViewedRun, rows: Rows) -> None:
    grown = worlds.grown(run)
    if not address.get("trial"):
        # The first trial with branches.
        names = rows.column("trial")
        address.put(trial=next((name for name in names if name in grown), names[0]))
    row = run_picker.choose_trial(run, rows)
    run_picker.about(run, rows)
    multiverse = worlds.multiverse(run, row["trial"])
    _trial(run, row, multiverse, run_data.play(run, row).scene)


def _trial(run: run_data.ViewedRun, row: Json, multiverse: Multiverse, scene: Scene | None) -> None:
    _leave_behind(run, row, multiverse)
    branch, turn = _chosen(multiverse)
    left, right = (address.get(side) for side in view.SIDES)
    pair = left in multiverse.rows and right in multiverse.rows
    _head(row, multiverse)
    fresh = [b for b in grow.fresh(run, row["trial"]) if b in multiverse.rows]
    view.draw(row, multiverse, branch, turn, (left, right) if pair else (), fresh)
    if pair:
        with st.container(key="pair"):
            reader.pair(multiverse, left, right, turn, scene)
        return
    reading, growing = st.columns([11, 6], gap="large")
    with reading, st.container(key="reading"):
        reader.single(run, row, multiverse, branch, turn, scene)
    with growing, st.container(key="growing"):
        grow.grow_panel(run, row, multiverse, branch, turn, scene)


def _leave_behind(run: run_data.ViewedRun, row: Json, multiverse: Multiverse) -> None:
    """Empty the parts of the address that name branches of the previous trial."""
    here, last = (run.id, row["trial"]), st.session_state.get("multiverse:trial")
    st.session_state["multiverse:trial"] = here
    if last in (None, here):
        return
    strange = [n for n in ("branch", *view.SIDES) if address.get(n) not in multiverse.rows]
    address.put(**dict.fromkeys(strange, ""))


def _chosen(multiverse: Multiverse) -> tuple[str, int]:
    """Return the branch and turn of the address, else those of the first branch."""
    branch, wanted = address.get("branch"), address.get("turn")
    if branch and branch not in multiverse.rows:
        close = [name for name in multiverse.rows if name.startswith(branch)]
        if len(close) != 1:
            notices.no_such_branch(branch)
            address.put(branch="", turn="")
        branch = close[0] if len(close) == 1 else ""
        wanted = wanted if branch else ""
    if not branch:
        branch, first = MAIN, multiverse.first
        if first is not None and not wanted:
            # A branch with points of its own, or the fork of a folded bundle.
            alone = layout.alone(multiverse.worlds(), first)
            branch, wanted = (first, "") if alone else (MAIN, str(multiverse.rows[first]["fork"]))
    turn = int(wanted[:9]) if wanted.isascii() and wanted.isdecimal() else multiverse.begins(branch)
    return branch, min(turn, multiverse.last(branch))


def _head(row: Json, multiverse: Multiverse) -> None:
    count = len(multiverse.rows) - 1
    ways = {describe_branch(r) for name, r in multiverse.rows.items() if name != MAIN}
    summary = "no branches yet" if not count else "1 branch" if count == 1 else f"{count} branches"
    summary += f", parted in {len(ways)} ways" if len(ways) > 1 else ""
    st.html(
        f'<header class="room-head"><h1>{safe(short_line(row["title"] or row["scene"], 120))}</h1>'
        f'<p class="quiet">{safe(short_line(row["condition"]))} · {summary}</p></header>'
    )


page.open_room("multiverse", room)
