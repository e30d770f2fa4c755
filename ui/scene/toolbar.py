"""The tools over a transcript: search, bookmarks, downloads, and the line about branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import orjson
import pandas as pd
import streamlit as st

from improv.export import document
from improv.export.document import SceneDocument
from improv.records import MAIN, Json
from ui.scene import player, stops
from ui.shared import address, navigation, run_data, score_words
from ui.shared.html import safe, short_line

_FORMS: dict[str, tuple[str, str, Callable[[SceneDocument], str | bytes]]] = {
    "Fountain": ("fountain", "text/plain", document.to_fountain),
    "Markdown": ("md", "text/markdown", document.to_markdown),
    "JSON": ("json", "application/json", document.to_json),
}
"""Download formats: file extension, MIME type, and the function that makes the file."""


def tools(run: run_data.ViewedRun, play: run_data.Play, last: int, *, margin: bool) -> list[int]:
    """Draw the tools and return the bookmarks."""
    hits = stops.hits(play.transcript.turns, address.get("find"), margin=margin)
    marks = stops.bookmarks(address.get("marks"), last)
    now = player.current_turn(last)
    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        _search(play, hits, now, last, margin=margin)
        label = "Remove bookmark" if now in marks else "Bookmark"
        st.button(
            label,
            key="bookmark",
            shortcut="K",
            type="tertiary",
            disabled=not now,
            on_click=_bookmark,
            args=(now, marks),
            help="Mark this turn; the address keeps the mark",
        )
        if marks:
            st.html(_listed(run, play, marks, now))
        with st.popover("Download", key="downloads"):
            _downloads(run, play, margin=margin)
    return marks


def _search(play: run_data.Play, hits: Sequence[int], now: int, last: int, *, margin: bool) -> None:
    st.session_state["find"] = address.get("find")
    st.text_input(
        "Find in this scene",
        key="find",
        placeholder="Find in this scene  ( / )",
        label_visibility="collapsed",
        on_change=_found,
        args=(play, last, margin),
        max_chars=200,
        width=260,
    )
    if not address.get("find"):
        return
    if not hits:
        st.html('<p class="quiet hits" role="status">no match</p>')
        return
    at = f"{hits.index(now) + 1} of " if now in hits else ""
    turns = "turn" if len(hits) == 1 else "turns"
    st.html(f'<p class="quiet hits" role="status">{at}{len(hits)} {turns}</p>')
    for name, key, to in (("Back", None, stops.before), ("On", "N", stops.after)):
        st.button(
            name,
            key=f"hit-{name.lower()}",
            shortcut=key,
            type="tertiary",
            help="To the next match" if key else "To the previous match",
            on_click=_hit,
            args=(to(hits, now),),
        )


def branch_line(run: run_data.ViewedRun, play: run_data.Play) -> None:
    """Draw links to the parent of a branch, or to the branches of a trial."""
    row, turn = play.row, address.get("turn")
    trial = row["trial"]
    grown = run_data.branch_rows(run, trial)
    if not grown:
        return
    count = f"{len(grown)} {'branch' if len(grown) == 1 else 'branches'}"
    here = {"run": run.id, "trial": trial, "branch": "" if row["branch"] == MAIN else row["branch"]}
    tree = navigation.link("multiverse", "the Multiverse", **here)
    if row["branch"] == MAIN:
        sentence = f"{count} grow{'s' if len(grown) == 1 else ''} from this scene: see {tree}."
    else:
        parent = "" if row["parent"] == MAIN else row["parent"]
        whose = f"branch {parent[:6]}" if parent else "the scene as it was first played"
        link = navigation.link("scene", whose, run=run.id, trial=trial, branch=parent, turn=turn)
        kind = _KINDS.get(row["origin"], "A branch")
        sentence = f"<strong>{kind}</strong> of {link}, {_parting(row)}. "
        sentence += f"It is one of {count}: see {tree}."
    st.html(f'<p class="branch-line">{sentence}</p>')


_KINDS = {"regeneration": "Another draw", "probe": "A question off the record"}


def _parting(row: Json) -> str:
    """Return in words where a branch parts from its parent, and its edit."""
    at = f"which it shares up to turn {row['fork']}" if row["fork"] else "from its first turn on"
    by = f" ({safe(short_line(row['arm'], 120))})" if row["arm"] else ""
    return at + by + _edited(row["edit"])


def _edited(text: str) -> str:
    """Return in words the edit of a branch, which is JSON; "" for none."""
    try:
        edit = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        edit = {}
    if not isinstance(edit, dict) or not edit:
        return ""
    changes = "; ".join(
        f"{name}: {value if isinstance(value, str) else orjson.dumps(value).decode()}"
        for name, value in edit.items()
        if value
    )
    return f", with <q>{safe(short_line(changes, 200))}</q>" if changes else ""


def scores_table(play: run_data.Play) -> None:
    """Draw the scores as a table: those of the strip, and those of the whole scene."""
    if not play.scores:
        return
    with st.expander("The scores as a table", key="scores-table"):
        rows = [
            {
                "turn": s["turn"],
                "character": s["character"],
                "measure": score_words.measure_name(s["measure"]),
                "score": s["value"],
                "in words": score_words.verdict(s)[1],
                "evidence": "; ".join(
                    f"{what}: {text}" if what else text for what, text in score_words.evidence(s)
                )[:300],
                "version": s["version"],
            }
            for s in play.scores
        ]
        frame = pd.DataFrame(rows).astype({"turn": "Int32", "score": "float64"})
        st.dataframe(frame, hide_index=True, height="content" if len(rows) < 12 else 420)


def _listed(run: run_data.ViewedRun, play: run_data.Play, marks: Sequence[int], now: int) -> str:
    links = []
    for n in marks:
        where = address.address("scene", run=run.id, trial=play.row["trial"], turn=str(n))
        current = ' aria-current="true"' if n == now else ""
        links.append(
            f'<a href="{safe(where)}" target="_self" data-jump="{n}"{current} '
            f'aria-label="Bookmark: turn {n}">{n}</a>'
        )
    return f'<nav class="bookmarks" aria-label="Bookmarks">{"".join(links)}</nav>'


def _downloads(run: run_data.ViewedRun, play: run_data.Play, *, margin: bool) -> None:
    row = play.row
    kept = "with" if margin else "without"
    st.caption(f"As it is shown: {kept} the author’s margin and scores.")
    branch = "" if row["branch"] == MAIN else f"-{row['branch'][:6]}"
    whole = _folio(run, play, margin=margin)
    for name, (ending, mime, make) in _FORMS.items():
        st.download_button(
            name,
            partial(make, whole),
            f"{run.id}-{row['index']}{branch}.{ending}",
            mime,
            key=f"download-{ending}",
            on_click="ignore",
            width="stretch",
        )


def _folio(run: run_data.ViewedRun, play: run_data.Play, *, margin: bool) -> SceneDocument:
    row = play.row
    facts = {
        "Run": run.id,
        "Trial": row["trial"],
        "Condition": row["condition"],
        "Block": row["block"],
        "Branch": "" if row["branch"] == MAIN else row["branch"],
        "Played by": ", ".join(run.models),
    }
    broken = row["failure"] or row["failure_kind"] if row["status"] == "failed" else ""
    title = play.scene.title if play.scene is not None else row["title"] or row["scene"]
    turns = play.transcript.turns
    return SceneDocument(title, turns, play.scene, facts, play.scores, margin, broken)


def _found(play: run_data.Play, last: int, margin: bool) -> None:
    """Store the search text, and go to the next turn that contains it."""
    wanted = str(st.session_state["find"]).strip()
    address.go(find=wanted)
    hits = stops.hits(play.transcript.turns, wanted, margin=margin)
    now = player.current_turn(last)
    if hits and now not in hits:
        _hit(stops.after(hits, now))


def _bookmark(now: int, marks: Sequence[int]) -> None:
    address.go(marks=stops.bookmarks_text(set(marks) ^ {now}))


def _hit(turn: int | None) -> None:
    if turn is not None:
        st.session_state["playing"] = False
        address.go(turn=turn)
