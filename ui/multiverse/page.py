"""The Multiverse room: a trial's tree of branches, one of them to read or two side by side, and
new ones grown.

Thin: `layout` places the tree's points, `view` draws it, `reader` shows what is read, and `grow`
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
from ui.shared.html import one_line, safe
from ui.shared.lazy_rows import Rows


def room() -> None:
    """Draw the room."""
    found = page.chosen("trial", "branch", "turn", unwatched=grow.growing)
    if found is not None:
        _run(*found)


def _run(run: run_data.Run, rows: Rows) -> None:
    grown = worlds.grown(run)
    if not address.get("trial"):
        # The first that has something to show here.
        names = rows.column("trial")
        address.put(trial=next((name for name in names if name in grown), names[0]))
    row = run_picker.choose_trial(run, rows)
    run_picker.about(run, rows)
    found = worlds.multiverse(run, row["trial"])
    _trial(run, row, found, run_data.play(run, row).scene)


def _trial(run: run_data.Run, row: Json, found: Multiverse, scene: Scene | None) -> None:
    _leave_behind(run, row, found)
    branch, turn = _chosen(found)
    left, right = (address.get(side) for side in view.SIDES)
    pair = left in found.rows and right in found.rows
    _head(row, found)
    fresh = [b for b in grow.fresh(run, row["trial"]) if b in found.rows]
    view.draw(row, found, branch, turn, (left, right) if pair else (), fresh)
    if pair:
        with st.container(key="pair"):
            reader.both(found, left, right, turn, scene)
        return
    reading, growing = st.columns([11, 6], gap="large")
    with reading, st.container(key="reading"):
        reader.leaf(run, row, found, branch, turn, scene)
    with growing, st.container(key="growing"):
        grow.panel(run, row, found, branch, turn, scene)


def _leave_behind(run: run_data.Run, row: Json, found: Multiverse) -> None:
    """Forget the branches of another trial, which the reader has come from."""
    here, last = (run.id, row["trial"]), st.session_state.get("multiverse:trial")
    st.session_state["multiverse:trial"] = here
    if last in (None, here):
        return
    strange = [n for n in ("branch", *view.SIDES) if address.get(n) not in found.rows]
    address.put(**dict.fromkeys(strange, ""))


def _chosen(found: Multiverse) -> tuple[str, int]:
    """Return the branch and turn that are read: those of the address, else the first branch."""
    branch, wanted = address.get("branch"), address.get("turn")
    if branch and branch not in found.rows:
        close = [name for name in found.rows if name.startswith(branch)]
        if len(close) != 1:
            notices.no_such_branch(branch)
            address.put(branch="", turn="")
        branch = close[0] if len(close) == 1 else ""
        wanted = wanted if branch else ""
    if not branch:
        branch, first = MAIN, found.first
        if first is not None and not wanted:
            # A branch that stands by itself, or the turn after which many lie in a bundle.
            alone = layout.alone(found.worlds(), first)
            branch, wanted = (first, "") if alone else (MAIN, str(found.rows[first]["fork"]))
    turn = int(wanted[:9]) if wanted.isascii() and wanted.isdecimal() else found.begins(branch)
    return branch, min(turn, found.last(branch))


def _head(row: Json, found: Multiverse) -> None:
    count = len(found.rows) - 1
    ways = {describe_branch(r) for name, r in found.rows.items() if name != MAIN}
    told = "no branches yet" if not count else "1 branch" if count == 1 else f"{count} branches"
    told += f", parted in {len(ways)} ways" if len(ways) > 1 else ""
    st.html(
        f'<header class="room-head"><h1>{safe(one_line(row["title"] or row["scene"], 120))}</h1>'
        f'<p class="quiet">{safe(one_line(row["condition"]))} · {told}</p></header>'
    )


page.enter("multiverse", room)
