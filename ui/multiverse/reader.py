"""A branch to read, or two side by side, with what parted them, and the lists to choose them."""

from __future__ import annotations

import streamlit as st

from improv.records import MAIN, Json
from improv.study.scene import Scene
from ui.multiverse import data as worlds
from ui.multiverse import side_by_side
from ui.multiverse.data import EVER, Multiverse
from ui.multiverse.view import SIDES
from ui.shared import address, branch_lines, notices, run_data, transcript
from ui.shared.html import one_line, safe

LISTED = 300
"""Branches that a list offers; the table has them all."""


def leaf(
    run: run_data.Run, row: Json, found: Multiverse, branch: str, turn: int, scene: Scene | None
) -> None:
    """Draw a branch: what parted it from its parent, what it shares, and what is its own."""
    own = found.rows[branch]
    st.html(f'<h2 class="side-title">{safe(worlds.title(own))}</h2>')
    with st.container(horizontal=True, vertical_alignment="bottom", key="leaf-bar"):
        _pick("branch", found, branch, "Branch")
        if branch != MAIN:
            st.button(
                "Set beside its parent",
                key="beside",
                on_click=_beside,
                args=(own["parent"], branch),
            )
        elif len(found.rows) > 1:
            st.button(
                "Set beside a branch", key="beside", on_click=_beside, args=(MAIN, found.first)
            )
        if st.button("Read as a play", key="as-play", type="tertiary"):
            at = "" if branch == MAIN else branch
            address.enter("scene", run=run.id, trial=row["trial"], branch=at, turn=str(turn))
    if own["status"] == "failed":
        notices.failed(own)
    if branch != MAIN:
        otherwise = "Nothing was changed; it was drawn anew."
        st.html(side_by_side.parted(worlds.changes(found, branch, scene), otherwise))
    fork = own["fork"] if branch != MAIN else 0
    colours = _colours(found, scene)
    st.html(
        branch_lines.leaf(
            found.line(branch),
            colours,
            fork=fork,
            turn=turn,
            named=worlds.title(own),
        )
    )


def both(found: Multiverse, left: str, right: str, turn: int, scene: Scene | None) -> None:
    """Draw two branches from their last common turn on, and what parted them."""
    st.html('<h2 class="side-title">Side by side</h2>')
    with st.container(horizontal=True, vertical_alignment="bottom", key="pair-bar"):
        for side, name in zip(SIDES, (left, right), strict=True):
            _pick(side, found, name, side.capitalize())
        st.button("Swap", key="swap", on_click=address.go, kwargs={"left": right, "right": left})
        st.button("Done", key="apart", on_click=address.go, kwargs={"left": "", "right": ""})
    common = found.parted(left, right)
    if common >= EVER:
        st.html('<p class="quiet">Both sides are the same branch. Click another in the tree.</p>')
        return
    where = f"turn {common}" if common else "the opening"
    st.html(f'<p class="together">Together up to and with {where}. Then what parted them:</p>')
    for side, name, column in zip(SIDES, (left, right), st.columns(2), strict=True):
        parts = []
        for ancestor in found.lineage(name, common):
            title = worlds.title(found.rows[ancestor])
            told = side_by_side.parted(
                worlds.changes(found, ancestor, scene), "nothing was changed"
            )
            parts.append(f"<p><strong>{safe(title)}</strong></p>{told}")
        nothing = '<p class="quiet">as it was played</p>'
        column.html(f'<p class="cap">{side.capitalize()}</p>{"".join(parts) or nothing}')
    colours = _colours(found, scene)
    heads = (worlds.name(found.rows[left]), worlds.name(found.rows[right]))
    sides = [found.line(name, first=max(common, 0)) for name in (left, right)]
    st.html(side_by_side.both(sides[0], sides[1], colours, heads, turn))


def _colours(found: Multiverse, scene: Scene | None) -> dict[str, int]:
    names = [c.name for c in scene.cast] if scene is not None else []
    names += [s.speaker for s in found.own.get(MAIN, ()) if s.speaker]
    return {name: i % transcript.VOICES for i, name in enumerate(dict.fromkeys(names))}


def _pick(side: str, found: Multiverse, chosen: str, name: str) -> None:
    """Offer the branches in a list, for those who do not click in a chart."""
    listed = list(found.rows)[:LISTED]
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
        format_func=lambda b: one_line(worlds.name(found.rows[b]), 90),
    )


def _picked(side: str) -> None:
    address.go(
        **{side: st.session_state[f"pick-{side}"], **({"turn": ""} if side == "branch" else {})}
    )


def _beside(left: str, right: str) -> None:
    address.go(left=left, right=right)
