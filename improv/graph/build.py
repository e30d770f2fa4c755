"""Builds the graphs of a run: reads its tables, measures, compares, and writes the files.

The other modules of this package know no folders and no requests; this one does.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from improv.errors import ImprovError, RunError
from improv.graph import other_graphs
from improv.graph.arrow_columns import Bools
from improv.graph.comparison import (
    Comparison,
    before_after,
    changes_at_marks,
    compare_conditions,
    compare_vectors,
)
from improv.graph.conversation import (
    SPEAKER_COLUMNS,
    TRIAL_COLUMNS,
    TURN_COLUMNS,
    Conversation,
    complete_casts,
    read_conversation,
)
from improv.graph.drawing import svg_to_png
from improv.graph.edges import EDGE_KINDS, windows
from improv.graph.figure import MeasuredGraph, distinguishing_names, draw_graphs
from improv.graph.file_formats import FORMATS, as_bytes
from improv.graph.graph import Graph, build_network
from improv.graph.null_model import compare_with_null
from improv.graph.persons import CastNames
from improv.records import MAIN
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, records_table

SUBJECTS = ("talk", "branches", "exposure", "flips")
"""The values of GraphRequest.of."""
GROUPINGS = ("condition", "scene")
MARKS = ("break", "move")
PICTURE_FORMATS = ("svg", "png")


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """Which graphs to build. `trial` is a trial's id, number or the beginning of its id, with
    ~BRANCH for a branch; an empty text, a `last` of None and a `window` of 0 mean no choice."""

    trial: str = ""
    of: str = "talk"
    by: str = ""
    kinds: tuple[str, ...] = ()
    first: int = 1
    last: int | None = None
    window: int = 0
    guesses: bool = True
    each: bool = False
    condition: str = ""
    against: str = ""
    around: str = ""
    null: bool = True
    scene: str = ""


@dataclass(frozen=True, slots=True)
class GraphResult:
    """The graphs of a request, and the comparison that it asked for."""

    title: str
    graphs: list[MeasuredGraph]
    comparison: Comparison | None = None


def build_graphs(folder: RunFolder, request: GraphRequest) -> GraphResult:
    """Read a run and build the graphs of a request. Raises RunError."""
    check_request(request)
    row = folder.transcripts.trial(request.trial) if request.trial else None
    title = f"{row['title'] or row['scene']} · {row['condition']}" if row else folder.id
    if request.of != "talk":
        return GraphResult(title, [MeasuredGraph("", _other_graph(folder, request), {})])
    conversation = (
        load_conversation(folder, row["trial"], row["branch"]) if row else load_conversation(folder)
    )
    if not conversation.scenes:
        raise no_finished_scene(folder)
    if request.scene:
        conversation, title = _scene(conversation, request.scene), result_title(folder, request)
    comparison = None
    if request.against or request.around:
        comparison = _compare(folder, conversation, request)
    if request.condition:
        conversation = conversation.select(condition=_condition(conversation, request.condition))
    return GraphResult(
        title, conversation_graphs(conversation, request, condition_order(folder)), comparison
    )


def conversation_graphs(
    conversation: Conversation, request: GraphRequest = GraphRequest(), order: Sequence[str] = ()
) -> list[MeasuredGraph]:
    """Return the graphs of a conversation: one, or one for each condition, scene or window."""
    parts = _parts(conversation, request, order)
    return [measured for name, part in parts for measured in _part_graphs(name, part, request)]


def _part_graphs(name: str, part: Conversation, request: GraphRequest) -> Iterator[MeasuredGraph]:
    """Yield the graph of a part, or one graph for each window."""
    row = name if request.window else ""
    spans = [(request.first, request.last)]
    if request.window:
        last = part.last if request.last is None else request.last
        spans = list(_spans(request, last))
    for first, last_turn in spans:
        window = f"turns {first}–{last_turn}" if request.window else ""
        label = " · ".join(text for text in (name, window) if text)
        figures = {}
        if request.null and not request.each:
            known = part if request.guesses else part.without_guesses()
            figures = compare_with_null(known, seed=0, first=first, last=last_turn)
        graph = build_network(
            part,
            name=label,
            kinds=request.kinds or EDGE_KINDS,
            first=first,
            last=last_turn,
            guesses=request.guesses,
            each=request.each,
        )
        yield MeasuredGraph(label, graph, figures, row)


def graph_files(
    result: GraphResult, name: str, kinds: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content) of the files that `name` stands for. Raises RunError.

    The suffix is the format. A picture holds all graphs side by side, with edges of `kinds`; in
    the other formats each graph has a file, with the graph's name in the file's name.
    """
    path = PurePath(name)
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise RunError(f"{name}: unknown format; end it in .{', .'.join(FORMATS)}")
    if form in PICTURE_FORMATS:
        svg = draw_graphs(result.graphs, title=result.title, kinds=kinds)
        yield name, svg_to_png(svg) if form == "png" else svg.encode()
        return
    taken: set[str] = set()
    for measured in result.graphs:
        stem = path.stem
        if len(result.graphs) > 1:
            stem += "-" + (re.sub(r"[^\w]+", "-", measured.name).strip("-").lower()[:80] or "graph")
        free = next(
            s
            for s in itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2)))
            if s not in taken
        )
        taken.add(free)
        yield str(path.with_name(free + path.suffix)), as_bytes(measured.graph, form)


# --- condition by condition


@dataclass(frozen=True, slots=True)
class ConditionParts:
    """A run in parts that can be read and measured apart.

    `conditions` holds (condition, display name); `casts` are those of the whole run, so that
    every part knows the same people.
    """

    conditions: tuple[tuple[str, str], ...]
    casts: Mapping[str, CastNames]


def can_split(request: GraphRequest) -> bool:
    """Whether the graphs of a request can be built condition by condition."""
    whole_run = (request.trial, request.condition, request.against, request.around)
    return request.of == "talk" and request.by == "condition" and not any(whole_run)


def split_by_condition(folder: RunFolder) -> ConditionParts:
    """Find the conditions of a run without reading its texts. Raises RunError."""
    trials = _trials(folder)
    if not len(trials):
        raise no_finished_scene(folder)
    turns = folder.tables.read_batches("turns", SPEAKER_COLUMNS)
    names = trials["condition"].unique().to_pylist()
    return ConditionParts(
        tuple(_display_names(names, condition_order(folder))),
        complete_casts(turns, trials, read_casts(folder)),
    )


def build_condition(
    folder: RunFolder,
    request: GraphRequest,
    condition: str,
    display_name: str,
    parts: ConditionParts,
) -> list[MeasuredGraph]:
    """Return the graphs of one condition, equal to those that `build_graphs` makes of it.

    The turns are read in batches, and those of other conditions are dropped. Raises RunError.
    """
    trials = _trials(folder)
    own = trials.filter(pc.equal(trials["condition"], condition))["trial"].unique()
    pieces = [
        piece.filter(pc.is_in(piece["trial"], value_set=own))
        for piece in folder.tables.read_batches("turns", TURN_COLUMNS)
    ]
    turns = (
        pa.concat_tables(pieces) if pieces else SCHEMAS["turns"].empty_table().select(TURN_COLUMNS)
    )
    # All trials, so that codes are those of the whole run.
    conversation = read_conversation(turns, trials, parts.casts).select(condition=condition)
    conversation = _scene(conversation, request.scene) if request.scene else conversation
    return list(_part_graphs(display_name, conversation, request)) if conversation.scenes else []


def result_title(folder: RunFolder, request: GraphRequest) -> str:
    """Return the title of a run's graphs."""
    return f"{folder.id} · {request.scene}" if request.scene else folder.id


def no_finished_scene(folder: RunFolder) -> RunError:
    return RunError(f"{folder.id}: no scene of this run is finished yet")


# --- reading


def load_conversation(folder: RunFolder, trial: str = "", branch: str = MAIN) -> Conversation:
    """Return the conversation of a run's finished scenes, or of one of them.

    A branch is read with the turns that it shares with its parents. Raises RunError.
    """
    trials = _trials(folder, trial, branch)
    if branch == MAIN:
        turns = folder.tables.read("turns", columns=TURN_COLUMNS, trial=trial or None)
    else:
        table = records_table("turns", folder.transcripts.read(trial, branch).turns).select(
            TURN_COLUMNS
        )
        at = TURN_COLUMNS.index("branch")
        turns = table.set_column(at, "branch", pa.array([branch] * len(table), pa.string()))
    conversation = read_conversation(turns, trials, read_casts(folder))
    conversation = replace(conversation, by_address=_by_address(folder, trials))
    del turns
    # The texts of a million lines are no longer needed.
    pa.default_memory_pool().release_unused()
    return conversation


def _trials(folder: RunFolder, trial: str = "", branch: str = MAIN) -> pa.Table:
    rows = folder.tables.read("trials", columns=[*TRIAL_COLUMNS, "index"], trial=trial or None)
    return rows.filter(pc.equal(rows["branch"], branch)).sort_by("index")


def _by_address(folder: RunFolder, trials: pa.Table) -> Bools:
    """Return in which scenes the character that was spoken to speaks next, by their order."""
    try:
        study = folder.study()
    except ImprovError:
        return np.zeros(len(trials), dtype=np.bool_)
    of_cell = {(slug, c.name): scene.order == "addressed" for slug, c, scene in study.cells}
    cells = zip(trials["scene"].to_pylist(), trials["condition"].to_pylist(), strict=True)
    return np.array([of_cell.get(cell, False) for cell in cells], dtype=np.bool_)


def read_casts(folder: RunFolder) -> dict[str, CastNames]:
    """Return slug → cast of a run's study. It is empty if the study can no longer be read; the
    people are then those who speak."""
    try:
        study = folder.study()
    except ImprovError:
        return {}
    casts: dict[str, CastNames] = {}
    for slug, _, scene in study.cells:
        casts.setdefault(slug, [(c.name, tuple(c.aliases)) for c in scene.cast])
    return casts


def find_marks(folder: RunFolder, around: str) -> dict[str, int]:
    """Return trial → the turn of its first move, or of the first line after its first break.

    A break is a line's score of 0, by a trait's sign where there are such scores, else by a habit.
    """
    if around == "move":
        turns = folder.tables.read("turns", columns=["trial", "branch", "turn", "acts"])
        turns = turns.filter(pc.greater(pc.list_value_length(turns["acts"]), 0))
        moved = [any(a["kind"] == "move" for a in acts) for acts in turns["acts"].to_pylist()]
        rows = turns.filter(pa.array(moved, pa.bool_()))
        after = 0
    else:
        rows = folder.tables.read("scores", columns=["trial", "branch", "turn", "measure", "value"])
        rows = rows.filter(pc.and_(pc.is_valid(rows["turn"]), pc.equal(rows["value"], 0.0)))
        for family in ("sign:", "habit:"):
            known = rows.filter(pc.starts_with(rows["measure"], family))
            if known.num_rows:
                break
        rows, after = known, 1
    rows = rows.filter(pc.equal(rows["branch"], MAIN)).select(["trial", "turn"])
    first = rows.group_by("trial").aggregate([("turn", "min")])
    pairs = zip(first["trial"].to_pylist(), first["turn_min"].to_pylist(), strict=True)
    return {trial: turn + after for trial, turn in pairs}


# --- the request


def check_request(request: GraphRequest) -> None:
    """Raise RunError if a request has an unknown value or contradicts itself."""
    for value, known, what in (
        (request.of, SUBJECTS, "graphs are of"),
        (request.by, ("", *GROUPINGS), "graphs are by"),
        (request.around, ("", *MARKS), "networks are compared around"),
    ):
        if value not in known:
            raise RunError(f"{value}: {what} {', '.join(k for k in known if k)}")
    for kind in request.kinds:
        if kind not in EDGE_KINDS:
            raise RunError(f"{kind}: no kind of edge; there are {', '.join(EDGE_KINDS)}")
    if request.against and not request.condition:
        raise RunError("--against needs --condition, the condition to compare with")
    if request.last is not None and request.last < request.first:
        raise RunError(f"turns {request.first} to {request.last}: there are none")


def condition_order(folder: RunFolder) -> list[str]:
    names = folder.meta().get("conditions", [])
    return [str(name) for name in names] if isinstance(names, list) else []


def _condition(conversation: Conversation, name: str) -> str:
    """Return the condition of this name, or the only one that contains it. Raises RunError."""
    matches = [c for c in conversation.conditions if c == name]
    matches = matches or [c for c in conversation.conditions if name.casefold() in c.casefold()]
    if len(matches) != 1:
        why = "means several conditions" if matches else "is no condition of this run"
        raise RunError(f"{name}: {why}; there are {', '.join(conversation.conditions)}")
    return matches[0]


def _scene(conversation: Conversation, slug: str) -> Conversation:
    if slug not in conversation.slugs:
        raise RunError(f"{slug}: no scene of this run; there are {', '.join(conversation.slugs)}")
    return conversation.subset(conversation.slug == conversation.slugs.index(slug))


def _parts(
    conversation: Conversation, request: GraphRequest, order: Sequence[str]
) -> Iterator[tuple[str, Conversation]]:
    """Yield (name, conversation) of each part that has a graph of its own."""
    if request.by == "condition":
        for name, display_name in _display_names(conversation.conditions, order):
            part = conversation.select(condition=name)
            if part.scenes:
                yield display_name, part
    elif request.by == "scene":
        for code, slug in enumerate(conversation.slugs):
            part = conversation.subset(conversation.slug == code)
            if part.scenes:
                yield slug, part
    else:
        yield "", conversation


def _display_names(conditions: Sequence[str], order: Sequence[str]) -> list[tuple[str, str]]:
    """Return (condition, display name), in the order of the study."""
    names = [c for c in order if c in conditions]
    names += [c for c in conditions if c not in names]
    return list(zip(names, distinguishing_names(names), strict=True))


def _spans(request: GraphRequest, last: int) -> Iterator[tuple[int, int | None]]:
    for first, end in windows(last, request.window):
        if end >= request.first:
            yield max(first, request.first), end


def _compare(folder: RunFolder, conversation: Conversation, request: GraphRequest) -> Comparison:
    kinds = request.kinds or ("addresses",)
    a = _condition(conversation, request.condition) if request.condition else ""
    b = _condition(conversation, request.against) if request.against else ""
    if not request.around:
        return compare_conditions(
            conversation,
            a,
            b,
            kinds=kinds,
            first=request.first,
            last=request.last,
            guesses=request.guesses,
        )
    marked = find_marks(folder, request.around)
    if b:
        changes = changes_at_marks(conversation, marked, kinds=kinds, guesses=request.guesses)
        return compare_vectors(conversation, changes, a, b, seed=0)
    part = conversation.select(condition=a) if a else conversation
    return before_after(part, marked, kinds=kinds, guesses=request.guesses)


def _other_graph(folder: RunFolder, request: GraphRequest) -> Graph:
    trial = folder.transcripts.trial(request.trial)["trial"] if request.trial else None
    name = folder.id if trial is None else f"{folder.id}/{trial}"
    trials = folder.tables.read("trials", trial=trial)
    if request.condition:
        keep = [request.condition.casefold() in str(c).casefold() for c in trials["condition"]]
        trials = trials.filter(pa.array(keep, pa.bool_()))
    if request.of == "branches":
        return other_graphs.branch_graph(trials.to_pylist(), name)
    own = trials["trial"].unique()
    if request.of == "flips":
        scores = folder.tables.read("scores", trial=trial)
        return other_graphs.flip_graph(
            scores.filter(pc.is_in(scores["trial"], value_set=own)), name
        )
    calls = folder.tables.read("calls", columns=["trial", "branch", "role", "blocks"], trial=trial)
    calls = calls.filter(pc.is_in(calls["trial"], value_set=own))
    return other_graphs.exposure_graph(
        calls, folder.tables.read("blocks"), name, whole=trial is not None
    )
