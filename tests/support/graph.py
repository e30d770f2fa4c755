"""Talk for the tests of graphs: a scene written line by line, and networks planted at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from improv.graph.conversation import (
    TRIAL_COLUMNS,
    TURN_COLUMNS,
    AuthorActs,
    Conversation,
    ConversationLines,
    read_conversation,
)
from improv.graph.graph import Graph
from improv.graph.persons import Person
from improv.runner.launch import run
from improv.runner.session import Setup
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS
from improv.study.loader import load

CAST = (("Mara", ("Mam",)), ("Bo", ()), ("Inès", ("Ines",)))
FERRY = [
    # turn, speaker, text, addressed, by, acts
    (0, "Mara", "Bo, you've got water in your boots.", "Bo", "name", []),
    (1, "Bo", "So have you.", "Mara", "order", [("note", "Bo", "Slower.")]),
    (2, "Inès", "Did nobody ask Mara?", "", "none", []),
    (3, "Mara", "(to Inès) Ask Bo's mother.", "Inès", "said", [("cue", "Mara", "")]),
    (4, "Bo", "Leave her out of it.", "Mara", "order", []),
    (5, "Inès", "I will ask. Bo?", "Bo", "name", [("move", "dream sequence", "Fog.")]),
]
"""A scene of six lines with everything in it."""


def written(
    lines: Sequence[tuple[Any, ...]],
    *,
    trial: str = "t0",
    scene: str = "ferry",
    condition: str = "none",
    block: str = "ferry/0",
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of a scene's turns, and its own."""
    rows = [
        {
            "trial": trial,
            "branch": "main",
            "turn": turn,
            "seq": 0,
            "kind": "written" if turn == 0 else "line" if text else "silence",
            "speaker": who,
            "text": text,
            "addressed": to,
            "by": by,
            "acts": [{"kind": kind, "to": name, "text": words} for kind, name, words in acts],
        }
        for turn, who, text, to, by, acts in lines
    ]
    place = {"trial": trial, "branch": "main", "scene": scene, "condition": condition}
    return rows, place | {"block": block}


def read(*scenes: tuple[list[dict[str, Any]], dict[str, Any]], cast: Any = CAST) -> Conversation:
    """Read scenes as a run's tables are read."""
    turns = pa.Table.from_pylist([r for rows, _ in scenes for r in rows], SCHEMAS["turns"])
    trials = pa.Table.from_pylist([place for _, place in scenes], SCHEMAS["trials"])
    slugs = {place["scene"] for _, place in scenes}
    return read_conversation(
        turns.select(TURN_COLUMNS), trials.select(TRIAL_COLUMNS), dict.fromkeys(slugs, cast)
    )


def ferry() -> Conversation:
    return read(written(FERRY))


def planted(
    chance: np.random.Generator,
    blocks: int,
    *,
    conditions: int = 2,
    cast: int = 3,
    lines: int = 16,
    more: float = 0.0,
    spread: float = 1.0,
    turn: int | None = None,
) -> Conversation:
    """Draw a network for each block and play it under every condition.

    A block has its own liking of everybody for everybody (normal on the logit with SD `spread`),
    so that its scenes are more alike than others. Under condition 0 the first speaks to the second
    with `more` on that logit; with a `turn`, from that turn on only, drawn anew in each scene.
    """
    scenes = blocks * conditions
    likes = chance.normal(0, spread, (blocks, cast, cast))
    block = np.repeat(np.arange(blocks), conditions)
    condition = np.tile(np.arange(conditions), blocks)
    who = chance.integers(0, cast, (scenes, lines))
    push = np.zeros((scenes, lines))
    push[condition == 0] = more
    at = np.full(scenes, -1)
    if turn is not None:
        at = chance.integers(3, lines - 2, scenes)
        push = np.where(np.arange(1, lines + 1) >= at[:, None], more, 0.0)
    logit = likes[block[:, None], who].copy()
    logit[..., 1] += push * (who == 0)
    made_marks.clear()
    made_marks.update({f"t{i}": int(t) for i, t in enumerate(at) if t >= 0})
    conversation_lines = _drawn_lines(chance, who, logit)
    none = np.zeros(0, np.int32)
    return Conversation(
        tuple(f"t{i}" for i in range(scenes)),
        np.zeros(scenes, np.int32),
        ("ferry",),
        condition.astype(np.int32),
        tuple(f"c{i}" for i in range(conditions)),
        block.astype(np.int32),
        tuple(f"b{i}" for i in range(blocks)),
        (Person("", "author"), *(Person("ferry", f"p{i}") for i in range(cast))),
        np.array([1, 1 + cast], np.int32),
        conversation_lines,
        AuthorActs(none, none, none, none, none),
        np.zeros((0, 2), np.int32),
    )


def _drawn_lines(
    chance: np.random.Generator, who: np.ndarray[Any, Any], logit: np.ndarray[Any, Any]
) -> ConversationLines:
    """Draw whom each line (scene × line) of `who` addresses, with these logits of everybody."""
    scenes, lines = who.shape

    def column(values: Any) -> Any:
        return np.ascontiguousarray(np.broadcast_to(values, (scenes, lines)), np.int32).ravel()

    logit = logit + chance.gumbel(size=logit.shape)
    np.put_along_axis(logit, who[..., None], -np.inf, axis=2)
    return ConversationLines(
        scene=column(np.arange(scenes)[:, None]),
        place=column(np.arange(lines)),
        turn=column(np.arange(lines) + 1),
        seq=column(0),
        who=column(who + 1),
        to=column(logit.argmax(axis=2) + 1),
        by=column(1),
        words=column(7),
        spoken=np.ones(scenes * lines, dtype=bool),
    )


made_marks: dict[str, int] = {}
"""Where the last planted talk changed, by trial."""

STUDY = """\
study: company
scenes: [honey-job]
set: {turns: 10}
factors:
  author:
    none: {author: {live: false, frame: ""}}
    live: {author: {live: true, every: 2, may: [note, cue]}}
replicates: 3
planted:
  nothing:
    model: {model: puppet, puppet: {alpha: 0.2, beta: 0.5}}
"""


def company_run(runs: Path, name: str = "company") -> RunFolder:
    """Play a scene of five people three times under two conditions."""
    file = runs / "company-study.yaml"
    runs.mkdir(parents=True, exist_ok=True)
    file.write_text(STUDY)
    study = load(str(file), None, "nothing")
    file.unlink()
    return run(study, runs=runs, name=name, setup=Setup(ray="off")).folder


Edge = tuple[str, str, str, str]


def edges(graph: Graph) -> Counter[Edge]:
    """(source, target, kind, by) → how many."""
    return Counter({(s, t, d["kind"], d["by"]): d["lines"] for s, t, d in graph.edges(data=True)})


def row(branch: str, parent: str = "main", fork: int = 0, **more: object) -> dict[str, object]:
    base = {"trial": "t", "branch": branch, "parent": parent, "fork": fork, "turns": 8}
    return base | {"origin": "branch", "arm": "", "edit": "", "status": "done"} | more


CALLS = pa.table({"role": ["Bo", "Bo", "author"], "blocks": [["w", "n"], ["w"], ["w", "s"]]})
BLOCKS = pa.table(
    {
        "id": ["w", "n", "s"],
        "kind": ["world", "note", "author"],
        "text": ["Rain.", "Slower.", "The end."],
    }
)


def flipping() -> pa.Table:
    values = [1.0, 1.0, 0.0, None, 0.0, 1.0]
    rows = [
        {
            "trial": "t",
            "branch": "main",
            "turn": i,
            "character": "Bo",
            "measure": "sign:honest/deceitful",
            "version": "1",
            "value": v,
            "evidence": "",
        }
        for i, v in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["scores"])
