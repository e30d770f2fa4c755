"""One branch to read, or two side by side, with their changes and the lists to choose them."""

from __future__ import annotations

import streamlit as st

from improv.records import MAIN, Json
from improv.study.scene import Scene
from ui.multiverse import data as worlds
from ui.multiverse import side_by_side
from ui.multiverse.data import EVER, Multiverse
from ui.multiverse.view import SIDES
from ui.shared import address, branch_lines, notices, run_data, transcript
from ui.shared.html import safe, short_line

LISTED = 300
"""Branches that a list offers; the table has all."""


def single(
    run: run_data.ViewedRun,
    row: Json,
    multiverse: Multiverse,
    branch: str,
    turn: int,
    scene: Scene | None,
) -> None:
    """Draw a branch: its changes against its parent, its shared turns and its own turns."""
    own = multiverse.rows[branch]
    st.html(f'<h2 class="side-title">{safe(worlds.branch_title(own))}</h2>')
    with st.container(horizontal=True, vertical_alignment="bottom", key="leaf-bar"):
        _pick("branch", multiverse, branch, "Branch")
        if branch != MAIN:
            st.button(
                "Set beside its parent",
                key="beside",
                on_click=_beside,
                args=(own["parent"], branch),
            )
        elif len(multiverse.rows) > 1:
            st.button(
                "Set beside a branch", key="beside", on_click=_beside, args=(MAIN, multiverse.first)
            )
        if st.button("Read as a play", key="as-play", type="tertiary"):
            at = "" if branch == MAIN else branch
            address.go_to_room("scene", run=run.id, trial=row["trial"], branch=at, turn=str(turn))
    if own["status"] == "failed":
        notices.failed(own)
    if branch != MAIN:
        otherwise = "Nothing was changed; the turns were drawn again."
        st.html(side_by_side.parted(worlds.changes(multiverse, branch, scene), otherwise))
    fork = own["fork"] if branch != MAIN else 0
    colours = _colours(multiverse, scene)
    st.html(
        branch_lines.branch_html(
            multiverse.line(branch),
            colours,
            fork=fork,
            turn=turn,
            named=worlds.branch_title(own),
        )
    )


def pair(multiverse: Multiverse, left: str, right: str, turn: int, scene: Scene | None) -> None:
    """Draw two branches from their last common turn on, and the changes of each."""
    st.html('<h2 class="side-title">Side by side</h2>')
    with st.container(horizontal=True, vertical_alignment="bottom", key="pair-bar"):
        for side, name in zip(SIDES, (left, right), strict=True):
            _pick(side, multiverse, name, side.capitalize())
        st.button("Swap", key="swap", on_click=address.go, kwargs={"left": right, "right": left})
        st.button("Done", key="apart", on_click=address.go, kwargs={"left": "", "right": ""})
    common = multiverse.parted(left, right)
    if common >= EVER:
        st.html('<p class="quiet">Both sides are the same branch. Click another in the tree.</p>')
        return
    where = f"turn {common}" if common else "the opening"
    st.html(f'<p class="together">Shared up to and including {where}. The changes after it:</p>')
    for side, name, column in zip(SIDES, (left, right), st.columns(2), strict=True):
        parts = []
        for ancestor in multiverse.lineage(name, common):
            title = worlds.branch_title(multiverse.rows[ancestor])
            parted = side_by_side.parted(
                worlds.changes(multiverse, ancestor, scene), "nothing was changed"
            )
            parts.append(f"<p><strong>{safe(title)}</strong></p>{parted}")
        nothing = '<p class="quiet">as it was played</p>'
        column.html(f'<p class="cap">{side.capitalize()}</p>{"".join(parts) or nothing}')
    colours = _colours(multiverse, scene)
    heads = (worlds.branch_name(multiverse.rows[left]), worlds.branch_name(multiverse.rows[right]))
    sides = [multiverse.line(name, first=max(common, 0)) for name in (left, right)]
    st.html(side_by_side.pair_table(sides[0], sides[1], colours, heads, turn))


def _colours(multiverse: Multiverse, scene: Scene | None) -> dict[str, int]:
    names = [c.name for c in scene.cast] if scene is not None else []
    names += [s.speaker for s in multiverse.own.get(MAIN, ()) if s.speaker]
    return {name: i % transcript.VOICE_COLOURS for i, name in enumerate(dict.fromkeys(names))}


def _pick(side: str, multiverse: Multiverse, chosen: str, name: str) -> None:
    """Offer the branches in a list, as an alternative to the chart."""
    listed = list(multiverse.rows)[:LISTED]
    if chosen not in listed:
        listed.append(chosen)
    key = f"pick-{side}"
    st.session_state[key] = chosen
    st.selectbox(
        name,
        listed,
        key=key,
        on_change=_picked,
        args=(side,),
        format_func=lambda b: short_line(worlds.branch_name(multiverse.rows[b]), 90),
    )


def _picked(side: str) -> None:
    address.go(
        **{side: st.session_state[f"pick-{side}"], **({"turn": ""} if side == "branch" else {})}
    )


def _beside(left: str, right: str) -> None:
    address.go(left=left, right=right)
