"""The Multiverse room: a trial's tree of branches, one of them to read or two side by side, and
new ones grown.

Thin: the tree stands in `parts.tree`, its drawing in `parts.tree_chart`, what is read in
`parts.multiverse_data`.
"""

from __future__ import annotations

import streamlit as st

from improv.errors import ImprovError
from improv.record import MAIN, Json
from improv.scene import Scene
from ui.parts import beside, data, grow, library, link, notices, script, tree, tree_chart
from ui.parts import multiverse_data as worlds
from ui.parts.multiverse_data import EVER, Multiverse
from ui.parts.text import one_line, safe

LISTED = 300
"""Branches that a list offers; the table has them all."""
NEW = 12
"""Fresh branches up to which each is marked."""
BY_WAY = "How they parted"


def room() -> None:
    """Draw the room, or say why there is nothing to draw."""
    link.arrive("multiverse")
    try:
        runs = data.runs()
        if not runs:
            notices.no_runs()
        else:
            _run(library.choose_run(runs))
    except ImprovError as e:
        notices.unreadable(e)
    link.settle()


def _run(run: data.Run) -> None:
    rows = data.trials(run)
    if run.playing and not grow.growing(run.id):
        notices.being_played(run, len(rows))
    if not rows:
        notices.no_trials(run)
        link.put(trial="", branch="", turn="")
        return
    grown = worlds.grown(run)
    if not link.get("trial"):
        # The first that has something to show here.
        link.put(trial=next((r["trial"] for r in rows if r["trial"] in grown), rows[0]["trial"]))
    row = library.choose_trial(run, rows)
    library.about(run, rows)
    found = worlds.multiverse(run, row["trial"])
    _trial(run, row, found, data.play(run, row).scene)


def _trial(run: data.Run, row: Json, found: Multiverse, scene: Scene | None) -> None:
    branch, turn = _chosen(found)
    left, right = (link.get(side) if link.get(side) in found.rows else "" for side in _SIDES)
    pair = bool(left and right)
    _head(row, found)
    fresh = [b for b in grow.fresh(run, row["trial"]) if b in found.rows]
    _chart(row, found, branch, turn, (left, right) if pair else (), fresh)
    if pair:
        with st.container(key="pair"):
            _both(found, left, right, turn, scene)
        return
    reading, growing = st.columns([11, 6], gap="large")
    with reading, st.container(key="reading"):
        _leaf(run, row, found, branch, turn, scene)
    with growing, st.container(key="growing"):
        grow.panel(run, row, found, branch, turn, scene)


_SIDES = ("left", "right")


def _chosen(found: Multiverse) -> tuple[str, int]:
    """Return the branch and turn that are read: those of the address, else the first branch."""
    branch, wanted = link.get("branch"), link.get("turn")
    if branch and branch not in found.rows:
        close = [name for name in found.rows if name.startswith(branch)]
        if len(close) != 1:
            notices.no_such_branch(branch)
            link.put(branch="", turn="")
        branch = close[0] if len(close) == 1 else ""
        wanted = wanted if branch else ""
    if not branch:
        branch, first = MAIN, _first(found)
        if first is not None and not wanted:
            # A branch that stands by itself, or the turn after which many lie in a bundle.
            alone = tree.alone(found.worlds(), first)
            branch, wanted = (first, "") if alone else (MAIN, str(found.rows[first]["fork"]))
    turn = int(wanted[:9]) if wanted.isascii() and wanted.isdecimal() else found.begins(branch)
    return branch, min(turn, found.last(branch))


def _first(found: Multiverse) -> str | None:
    return next((name for name in found.rows if name != MAIN), None)


def _head(row: Json, found: Multiverse) -> None:
    count = len(found.rows) - 1
    ways = {worlds.way(r) for name, r in found.rows.items() if name != MAIN}
    told = "no branches yet" if not count else "1 branch" if count == 1 else f"{count} branches"
    told += f", parted in {len(ways)} ways" if len(ways) > 1 else ""
    st.html(
        f'<header class="room-head"><h1>{safe(one_line(row["title"] or row["scene"], 120))}</h1>'
        f'<p class="quiet">{safe(one_line(row["condition"]))} · {told}</p></header>'
    )


def _chart(
    row: Json, found: Multiverse, branch: str, turn: int, pair: tuple[str, ...], fresh: list[str]
) -> None:
    measures = list(found.scores)
    measure = link.get("colour") if link.get("colour") in measures else ""
    opened = link.get("open")
    shown = {branch, *pair, *(fresh if len(fresh) <= NEW else ())}
    drawn = tree.drawn(found.worlds(), shown=shown, opened=opened, near=turn)
    ink = tree_chart.DARK if st.context.theme.type == "dark" else tree_chart.LIGHT
    seen = tree_chart.look(found, measure, ink)
    with st.container(horizontal=True, vertical_alignment="bottom", key="tree-bar"):
        if measures:
            st.session_state["tree:colour"] = measure
            st.selectbox(
                "Coloured by", ["", *measures], key="tree:colour", on_change=_coloured, width=260,
                format_func=lambda m: one_line(m) if m else BY_WAY,
            )  # fmt: skip
        keys = "".join(
            f'<li><span style="color:{key.colour}" aria-hidden="true">{key.glyph}</span> '
            f"{safe(one_line(key.words, 48))}</li>"
            for key in seen.legend()
        )
        st.html(f'<ul class="legend" aria-label="Legend">{keys}</ul>')
        if opened:
            st.button("Fold again", key="tree:fold", on_click=_folded)
    marks = [("new", b, found.begins(b)) for b in fresh if len(fresh) <= NEW]
    if pair:
        marks += [(s, b, found.last(b)) for s, b in zip(_SIDES, pair, strict=True)]
    st.session_state["tree:points"] = [(p.worlds[0], p.turn, p.folded) for p in drawn.points]
    st.echarts_chart(
        tree_chart.spec(drawn, found, seen, [*marks, ("here", branch, turn)]),
        height=tree_chart.height(drawn), key=f"tree-{row['trial']}", renderer="svg",
        on_select=_clicked, alt=tree_chart.alt(drawn, found, row["title"] or row["scene"]),
    )  # fmt: skip
    st.session_state["tree:key"] = f"tree-{row['trial']}"
    if drawn.left:
        st.html(
            f'<p class="quiet">{drawn.left:,} more branches part elsewhere, or from those that are '
            "folded. The table has them all.</p>"
        )
    with st.expander("As a table"):
        table = tree_chart.columns(found, measure, list(found.rows))
        st.session_state["tree:table-rows"] = list(found.rows)
        st.dataframe(
            table, key="tree:table", hide_index=True, on_select=_row_chosen,
            selection_mode="single-row",
        )  # fmt: skip


def _leaf(
    run: data.Run, row: Json, found: Multiverse, branch: str, turn: int, scene: Scene | None
) -> None:
    own = found.rows[branch]
    head = f'<h2 class="side-title">{safe(worlds.title(own))}</h2>'
    st.html(head)
    with st.container(horizontal=True, vertical_alignment="bottom", key="leaf-bar"):
        _pick("branch", found, branch, "Branch")
        if branch != MAIN:
            st.button("Set beside its parent", key="beside", on_click=_beside,
                      args=(own["parent"], branch))  # fmt: skip
        elif len(found.rows) > 1:
            st.button("Set beside a branch", key="beside", on_click=_beside,
                      args=(MAIN, _first(found)))  # fmt: skip
        place = link.address("scene", run=run.id, trial=row["trial"],
                             branch="" if branch == MAIN else branch, turn=str(turn))  # fmt: skip
        st.html(f'<a class="onward" href="{safe(place)}" target="_self">Read as a play</a>')
    if own["status"] == "failed":
        notices.failed(own)
    if branch != MAIN:
        otherwise = "Nothing was changed; it was drawn anew."
        st.html(beside.parted(worlds.changes(found, branch, scene), otherwise))
    fork = own["fork"] if branch != MAIN else 0
    colours = _colours(found, scene)
    st.html(
        beside.leaf(
            found.line(branch),
            colours,
            fork=fork if branch != MAIN else 0,
            turn=turn,
            named=worlds.title(own),
        )
    )


def _both(found: Multiverse, left: str, right: str, turn: int, scene: Scene | None) -> None:
    st.html('<h2 class="side-title">Side by side</h2>')
    with st.container(horizontal=True, vertical_alignment="bottom", key="pair-bar"):
        for side, name in zip(_SIDES, (left, right), strict=True):
            _pick(side, found, name, side.capitalize())
        st.button("Swap", key="swap", on_click=link.go, kwargs={"left": right, "right": left})
        st.button("Done", key="apart", on_click=link.go, kwargs={"left": "", "right": ""})
    common = found.parted(left, right)
    if common >= EVER:
        st.html('<p class="quiet">Both sides are the same branch. Click another in the tree.</p>')
        return
    where = f"turn {common}" if common else "the opening"
    st.html(f'<p class="together">Together up to and with {where}. Then what parted them:</p>')
    for side, name, column in zip(_SIDES, (left, right), st.columns(2), strict=True):
        parts = []
        for ancestor in found.lineage(name, common):
            title = worlds.title(found.rows[ancestor])
            told = beside.parted(worlds.changes(found, ancestor, scene), "nothing was changed")
            parts.append(f"<p><strong>{safe(title)}</strong></p>{told}")
        nothing = '<p class="quiet">as it was played</p>'
        column.html(f'<p class="cap">{side.capitalize()}</p>{"".join(parts) or nothing}')
    colours = _colours(found, scene)
    heads = (worlds.name(found.rows[left]), worlds.name(found.rows[right]))
    sides = [found.line(name, first=max(common, 0)) for name in (left, right)]
    st.html(beside.both(sides[0], sides[1], colours, heads, turn))


def _colours(found: Multiverse, scene: Scene | None) -> dict[str, int]:
    names = [c.name for c in scene.cast] if scene is not None else []
    names += [s.speaker for s in found.own.get(MAIN, ()) if s.speaker]
    return {name: i % script.VOICES for i, name in enumerate(dict.fromkeys(names))}


def _pick(side: str, found: Multiverse, chosen: str, name: str) -> None:
    """Offer the branches in a list, for those who do not click in a chart."""
    listed = list(found.rows)[:LISTED]
    if chosen not in listed:
        listed.append(chosen)
    key = f"pick-{side}"
    st.session_state[key] = chosen
    st.selectbox(
        name, listed, key=key, on_change=_picked, args=(side,),
        format_func=lambda b: one_line(worlds.name(found.rows[b]), 90),
    )  # fmt: skip


def _clicked() -> None:
    """Go to the point that was clicked. A second click on a point takes its mark away: that is a
    click on it all the same."""
    state = st.session_state[st.session_state["tree:key"]]
    places = [i for group in state["selection"]["selected"] for i in group["data_indices"]]
    points = st.session_state["tree:points"]
    place = places[0] if places else st.session_state.get("tree:last")
    if not isinstance(place, int) or not 0 <= place < len(points):
        return
    st.session_state["tree:last"] = place
    branch, turn, folded = points[place]
    if folded and folded != tree.REST:
        link.go(open=folded)
    else:
        _go(branch, turn)


def _row_chosen() -> None:
    chosen = st.session_state["tree:table"]["selection"]["rows"]
    names = st.session_state["tree:table-rows"]
    if chosen and 0 <= chosen[0] < len(names):
        _go(names[chosen[0]], None)


def _go(branch: str, turn: int | None) -> None:
    pair = bool(link.get("left") and link.get("right"))
    more = {"right": branch} if pair else {}
    link.go(branch=branch, turn="" if turn is None else str(turn), **more)


def _picked(side: str) -> None:
    link.go(
        **{side: st.session_state[f"pick-{side}"], **({"turn": ""} if side == "branch" else {})}
    )


def _beside(left: str, right: str) -> None:
    link.go(left=left, right=right)


def _coloured() -> None:
    link.go(colour=st.session_state["tree:colour"])


def _folded() -> None:
    link.go(open="")


room()
