"""What the Graph room reads: who spoke to whom in a scene or under a condition, as columns.

A single scene is read alone. An average or a difference of conditions needs the whole run, which is
then read once and cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from improv.graph.build import load_conversation
from improv.graph.centrality import Centrality, measure_centrality
from improv.graph.comparison import Comparison, compare_conditions
from improv.graph.conversation import AUTHOR_CODE, Conversation
from improv.graph.edges import ANSWERS, EDGE_KINDS, Edges, find_edges
from improv.graph.graph import Graph, build_network, node_names
from improv.graph.null_model import NullComparison, compare_with_null
from improv.records import MAIN, Json
from improv.storage.runs import open_run
from ui.shared import run_data

DRAWS = 60
"""Null models drawn for a figure on the page. `improv graph` draws more for a report."""
LINES = 40
"""Lines of an edge that are listed."""
SCENES = 12
"""Scenes of a condition whose lines can be listed."""
_AUTHORS = ("note", "cue")


@dataclass(frozen=True, kw_only=True)
class View:
    """The graph's selection: one scene, or one condition over the trials of a scene file, and a
    range of turns.

    `condition` is "" for a single scene. `against` is the condition that is subtracted, "" for
    none.
    """

    run: run_data.ViewedRun
    row: Json
    condition: str
    against: str
    first: int
    last: int
    guesses: bool
    kind: str

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.kind, *_AUTHORS)

    @property
    def key(self) -> tuple[str, ...]:
        """The values that decide which conversation is read, as a cache key."""
        trial = "" if self.condition else self.row["trial"]
        branch = "" if self.condition else self.row["branch"]
        slug = self.row["scene"] if self.condition else ""
        return (run_data.root(), self.run.id, self.run.stamp, trial, branch, slug, self.condition)


@dataclass(frozen=True)
class Heard:
    """One line, note or cue of an edge: its trial, its turn and its text. `by` says how late an
    answer is."""

    trial: str
    turn: int
    block: str
    text: str
    by: str


def talk(view: View) -> Conversation:
    """Return the talk that is looked at. Raises RunError."""
    return run_data.patiently(lambda: _talk(*view.key))


def last_turn(run: run_data.ViewedRun, row: Json) -> int:
    """Return the last turn of a scene."""
    return run_data.patiently(
        lambda: _talk(run_data.root(), run.id, run.stamp, row["trial"], row["branch"], "", "").last
    )


def graph(view: View) -> Graph:
    """Return the graph with edges of every kind, for files and tables."""
    return build_network(
        talk(view),
        name=view.condition or view.row["title"] or view.row["scene"],
        kinds=EDGE_KINDS,
        first=view.first,
        last=view.last,
        guesses=view.guesses,
    )


def people(view: View) -> list[Centrality]:
    return _standings(view.key, view.first, view.last, view.guesses, talk(view))


def figured(view: View) -> dict[str, NullComparison]:
    return _figures(view.key, view.first, view.last, view.guesses, talk(view))


def difference(view: View) -> Comparison:
    """Return how two conditions differ in the scenes of one slug, by the kind that is shown."""
    whole = run_data.patiently(lambda: _all(run_data.root(), view.run.id, view.run.stamp))
    key = (*view.key[:3], view.row["scene"], view.condition, view.against, view.kind)
    return _compared(key, view.first, view.last, view.guesses, whole)


def heard(view: View, source: str, target: str) -> tuple[list[Heard], int]:
    """Return the first lines of an edge (or the author's notes and cues), and how many it has."""
    every = talk(view)
    spoken = every if view.guesses else every.without_guesses()
    names = node_names(spoken)
    if source not in names or target not in names:
        return [], 0
    kinds = _AUTHORS if names.index(source) == AUTHOR_CODE else (view.kind,)
    candidates = find_edges(spoken).select(
        kinds=kinds, first=view.first, last=view.last, guesses=view.guesses
    )
    mask = (candidates.source == names.index(source)) & (candidates.target == names.index(target))
    rows = candidates.take(mask)
    order = np.lexsort((rows.line, rows.turn, rows.scene))
    rows = rows.take(order)
    return _fetched(view, spoken, rows, target), len(rows)


def _fetched(view: View, spoken: Conversation, rows: Edges, target: str) -> list[Heard]:
    """Fetch the words of the first contacts, from a few scenes at most."""
    scenes = list(dict.fromkeys(rows.scene.tolist()))[:SCENES]
    few = rows.take(np.isin(rows.scene, scenes))
    lines: list[Heard] = []
    texts: dict[int, dict[tuple[int, int], str]] = {}
    for i in range(min(len(few), LINES)):
        scene, line, turn = int(few.scene[i]), int(few.line[i]), int(few.turn[i])
        if scene not in texts:
            texts[scene] = _words(view, spoken.trials[scene])
        seq = int(spoken.lines.seq[line]) if line >= 0 else -1
        text = texts[scene].get((turn, seq), "")
        if line < 0:
            kind = EDGE_KINDS[int(few.kind[i])]
            text = _act(view, spoken.trials[scene], turn, kind, target)
        latency = int(few.latency[i])
        by = f"after {latency} lines" if int(few.kind[i]) == ANSWERS and latency > 1 else ""
        lines.append(
            Heard(spoken.trials[scene], turn, spoken.blocks[spoken.block[scene]], text, by)
        )
    return lines


def _words(view: View, trial: str) -> dict[tuple[int, int], str]:
    """Return (turn, seq) → what was said, of a scene of this view."""
    rows = _turns(run_data.root(), view.run.id, view.run.stamp, trial, view.key[4] or MAIN)
    return {(r["turn"], r["seq"]): r["text"] for r in rows}


def _act(view: View, trial: str, turn: int, kind: str, target: str) -> str:
    rows = _turns(run_data.root(), view.run.id, view.run.stamp, trial, view.key[4] or MAIN)
    acts = [a for r in rows if r["turn"] == turn for a in r["acts"] or ()]
    texts = [a["text"] for a in acts if a["kind"] == kind and a["to"] == target]
    return " ".join(texts) if kind == "note" else f"cues {target}"


@st.cache_resource(max_entries=24, show_spinner=False)
def _turns(root: str, run: str, stamp: str, trial: str, branch: str) -> Sequence[Json]:
    folder = open_run(root, run)
    if branch != MAIN:
        turns = folder.transcripts.read(trial, branch).turns
        return [
            {
                "turn": t.turn,
                "seq": t.seq,
                "text": t.text,
                "acts": [{"kind": a.kind, "to": a.to, "text": a.text} for a in t.acts],
            }
            for t in turns
        ]
    columns = ["turn", "seq", "text", "acts", "branch"]
    rows: list[Json] = folder.tables.read("turns", trial=trial, columns=columns).to_pylist()
    return [row for row in rows if row["branch"] == MAIN]


@st.cache_resource(max_entries=24, show_spinner=False)
def _talk(
    root: str, run: str, stamp: str, trial: str, branch: str, slug: str, condition: str
) -> Conversation:
    if trial:
        return load_conversation(open_run(root, run), trial, branch)
    whole = _all(root, run, stamp).select(condition=condition)
    at = whole.slugs.index(slug) if slug in whole.slugs else -1
    return whole.subset(whole.slug == at)


@st.cache_resource(max_entries=2, show_spinner="Reading who spoke to whom in every scene…")
def _all(root: str, run: str, stamp: str) -> Conversation:
    return load_conversation(open_run(root, run))


@st.cache_resource(max_entries=64, show_spinner="Placing everybody, and shuffling them…")
def _standings(
    key: tuple[str, ...], first: int, last: int, guesses: bool, _talk: Conversation
) -> list[Centrality]:
    talk = _talk if guesses else _talk.without_guesses()
    return measure_centrality(talk, seed=0, first=first, last=last, draws=DRAWS)


@st.cache_resource(max_entries=64, show_spinner="Measuring, beside a shuffled order…")
def _figures(
    key: tuple[str, ...], first: int, last: int, guesses: bool, _talk: Conversation
) -> dict[str, NullComparison]:
    talk = _talk if guesses else _talk.without_guesses()
    return compare_with_null(talk, seed=0, first=first, last=last, draws=DRAWS)


@st.cache_resource(max_entries=32, show_spinner="Comparing, block by block…")
def _compared(
    key: tuple[str, ...], first: int, last: int, guesses: bool, _talk: Conversation
) -> Comparison:
    slug, a, b, kind = key[3:]
    at = _talk.slugs.index(slug) if slug in _talk.slugs else -1
    talk = _talk.subset(_talk.slug == at)
    return compare_conditions(talk, a, b, kinds=(kind,), first=first, last=last, guesses=guesses)
