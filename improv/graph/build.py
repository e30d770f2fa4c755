"""From a run's folder to its graphs: what is asked for is read, measured, drawn and put in files.

What a graph is and measures stands in graph; this is where folders, names of files and what a
person asked for meet it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa
import pyarrow.compute as pc

from improv.errors import ImprovError, RunError
from improv.graph import other_graphs
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
from improv.graph.persons import Cast
from improv.records import MAIN
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, records_table

SUBJECTS = ("talk", "branches", "exposure", "flips")
"""What there are graphs of."""
GROUPINGS = ("condition", "scene")
MARKS = ("break", "move")
PICTURE_FORMATS = ("svg", "png")


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """What to make graphs of. `trial` is a trial's row by any of its names, with ~BRANCH; an empty
    text, a `last` of None and a `window` of 0 are no wish."""

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
    """What came of it."""

    title: str
    graphs: list[MeasuredGraph]
    comparison: Comparison | None = None


def build_graphs(folder: RunFolder, asked: GraphRequest) -> GraphResult:
    """Read a run and make the graphs that are asked for. Raises RunError."""
    check_request(asked)
    row = folder.transcripts.trial(asked.trial) if asked.trial else None
    title = f"{row['title'] or row['scene']} · {row['condition']}" if row else folder.id
    if asked.of != "talk":
        return GraphResult(title, [MeasuredGraph("", _other_graph(folder, asked), {})])
    spoken = (
        load_conversation(folder, row["trial"], row["branch"]) if row else load_conversation(folder)
    )
    if not spoken.scenes:
        raise no_finished_scene(folder)
    if asked.scene:
        spoken, title = _scene(spoken, asked.scene), result_title(folder, asked)
    comparison = None
    if asked.against or asked.around:
        comparison = _compare(folder, spoken, asked)
    if asked.condition:
        spoken = spoken.select(condition=_condition(spoken, asked.condition))
    return GraphResult(
        title, conversation_graphs(spoken, asked, _condition_order(folder)), comparison
    )


def conversation_graphs(
    spoken: Conversation, asked: GraphRequest = GraphRequest(), order: Sequence[str] = ()
) -> list[MeasuredGraph]:
    """Return the graphs of a talk: one, or one for each condition, scene or window asked for."""
    parts = _parts(spoken, asked, order)
    return [made for name, part in parts for made in _part_graphs(name, part, asked)]


def _part_graphs(name: str, part: Conversation, asked: GraphRequest) -> Iterator[MeasuredGraph]:
    """Yield the graph of a part, or one for each window."""
    row = name if asked.window else ""
    spans = [(asked.first, asked.last)]
    if asked.window:
        last = part.last if asked.last is None else asked.last
        spans = list(_spans(asked, last))
    for first, last_turn in spans:
        said = f"turns {first}–{last_turn}" if asked.window else ""
        full = " · ".join(text for text in (name, said) if text)
        figures = {}
        if asked.null and not asked.each:
            sure = part if asked.guesses else part.without_guesses()
            figures = compare_with_null(sure, seed=0, first=first, last=last_turn)
        graph = build_network(
            part,
            name=full,
            kinds=asked.kinds or EDGE_KINDS,
            first=first,
            last=last_turn,
            guesses=asked.guesses,
            each=asked.each,
        )
        yield MeasuredGraph(full, graph, figures, row)


def graph_files(
    found: GraphResult, name: str, kinds: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield the files that a name asks for, with what is in them. Raises RunError.

    The ending says the format. Pictures hold all graphs side by side, with edges of `kinds`; of
    the other formats there is a file for each, named after it.
    """
    path = PurePath(name)
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise RunError(f"{name}: no format is called so; end it in .{', .'.join(FORMATS)}")
    if form in PICTURE_FORMATS:
        svg = draw_graphs(found.graphs, title=found.title, kinds=kinds)
        yield name, svg_to_png(svg) if form == "png" else svg.encode()
        return
    taken: set[str] = set()
    for made in found.graphs:
        stem = path.stem
        if len(found.graphs) > 1:
            stem += "-" + (re.sub(r"[^\w]+", "-", made.name).strip("-").lower()[:80] or "graph")
        one = next(
            s
            for s in itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2)))
            if s not in taken
        )
        taken.add(one)
        yield str(path.with_name(one + path.suffix)), as_bytes(made.graph, form)


def condition_graphs(folder: RunFolder) -> list[MeasuredGraph]:
    """Return the graph of each condition of a run, with its figures. Raises RunError."""
    return conversation_graphs(
        load_conversation(folder), GraphRequest(by="condition"), _condition_order(folder)
    )


# --- condition by condition


@dataclass(frozen=True, slots=True)
class ConditionParts:
    """A run in parts that can be read and measured apart: each condition with what it is called
    beside the others, and the casts of the whole, so that every part knows the same people."""

    conditions: tuple[tuple[str, str], ...]
    casts: Mapping[str, Cast]


def can_split(asked: GraphRequest) -> bool:
    """Whether what is asked for falls into conditions that need not know of each other."""
    whole = (asked.trial, asked.condition, asked.against, asked.around)
    return asked.of == "talk" and asked.by == "condition" and not any(whole)


def split_by_condition(folder: RunFolder) -> ConditionParts:
    """Find the conditions of a run, without reading what was said. Raises RunError."""
    trials = _trials(folder)
    if not len(trials):
        raise no_finished_scene(folder)
    turns = folder.tables.read_batches("turns", SPEAKER_COLUMNS)
    names = trials["condition"].unique().to_pylist()
    return ConditionParts(
        tuple(_display_names(names, _condition_order(folder))),
        complete_casts(turns, trials, read_casts(folder)),
    )


def build_condition(
    folder: RunFolder, asked: GraphRequest, condition: str, called: str, given: ConditionParts
) -> list[MeasuredGraph]:
    """Return the graphs of one condition, equal to those of the whole run.

    The turns are read in pieces, and those of other conditions are not kept. Raises RunError.
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
    # All trials, so that codes are those of the whole.
    spoken = read_conversation(turns, trials, given.casts).select(condition=condition)
    spoken = _scene(spoken, asked.scene) if asked.scene else spoken
    return list(_part_graphs(called, spoken, asked)) if spoken.scenes else []


def result_title(folder: RunFolder, asked: GraphRequest) -> str:
    """Return what stands over the graphs of a run."""
    return f"{folder.id} · {asked.scene}" if asked.scene else folder.id


def no_finished_scene(folder: RunFolder) -> RunError:
    return RunError(f"{folder.id}: no scene of it is finished yet")


# --- reading


def load_conversation(folder: RunFolder, trial: str = "", branch: str = MAIN) -> Conversation:
    """Return who spoke when to whom in a run's finished scenes, or in one of them.

    A branch is read with what it shares with its parents. Raises RunError.
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
    found = read_conversation(turns, trials, read_casts(folder))
    del turns
    # The words of a million lines are not needed any more.
    pa.default_memory_pool().release_unused()
    return found


def _trials(folder: RunFolder, trial: str = "", branch: str = MAIN) -> pa.Table:
    found = folder.tables.read("trials", columns=[*TRIAL_COLUMNS, "index"], trial=trial or None)
    return found.filter(pc.equal(found["branch"], branch)).sort_by("index")


def read_casts(folder: RunFolder) -> dict[str, Cast]:
    """Return slug → cast of a run's study; a study that cannot be read any more leaves names to
    whoever speaks."""
    try:
        study = folder.study()
    except ImprovError:
        return {}
    found: dict[str, Cast] = {}
    for slug, _, scene in study.cells:
        found.setdefault(slug, [(c.name, tuple(c.aliases)) for c in scene.cast])
    return found


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


# --- what is asked for


def check_request(asked: GraphRequest) -> None:
    """Raise RunError where no graphs are of what is asked for."""
    for value, known, what in (
        (asked.of, SUBJECTS, "graphs are of"),
        (asked.by, ("", *GROUPINGS), "graphs are by"),
        (asked.around, ("", *MARKS), "networks are compared around"),
    ):
        if value not in known:
            raise RunError(f"{value}: {what} {', '.join(k for k in known if k)}")
    for kind in asked.kinds:
        if kind not in EDGE_KINDS:
            raise RunError(f"{kind}: no kind of edge; there are {', '.join(EDGE_KINDS)}")
    if asked.against and not asked.condition:
        raise RunError("--against needs the --condition that is compared with it")
    if asked.last is not None and asked.last < asked.first:
        raise RunError(f"turns {asked.first} to {asked.last}: there are none")


def _condition_order(folder: RunFolder) -> list[str]:
    found = folder.meta().get("conditions", [])
    return [str(name) for name in found] if isinstance(found, list) else []


def _condition(spoken: Conversation, name: str) -> str:
    """Return the condition of this name, or the only one that has it in its own."""
    near = [c for c in spoken.conditions if c == name]
    near = near or [c for c in spoken.conditions if name.casefold() in c.casefold()]
    if len(near) != 1:
        why = "means several conditions" if near else "is no condition of this run"
        raise RunError(f"{name}: {why}; there are {', '.join(spoken.conditions)}")
    return near[0]


def _scene(spoken: Conversation, slug: str) -> Conversation:
    if slug not in spoken.slugs:
        raise RunError(f"{slug}: no scene of this run; there are {', '.join(spoken.slugs)}")
    return spoken.subset(spoken.slug == spoken.slugs.index(slug))


def _parts(
    spoken: Conversation, asked: GraphRequest, order: Sequence[str]
) -> Iterator[tuple[str, Conversation]]:
    """Yield each part that has a graph of its own: its name, and its talk."""
    if asked.by == "condition":
        for name, called in _display_names(spoken.conditions, order):
            one = spoken.select(condition=name)
            if one.scenes:
                yield called, one
    elif asked.by == "scene":
        for code, slug in enumerate(spoken.slugs):
            one = spoken.subset(spoken.slug == code)
            if one.scenes:
                yield slug, one
    else:
        yield "", spoken


def _display_names(conditions: Sequence[str], order: Sequence[str]) -> list[tuple[str, str]]:
    """Return conditions in the order of the study, each with what it is called beside the rest."""
    names = [c for c in order if c in conditions]
    names += [c for c in conditions if c not in names]
    return list(zip(names, distinguishing_names(names), strict=True))


def _spans(asked: GraphRequest, last: int) -> Iterator[tuple[int, int | None]]:
    for first, end in windows(last, asked.window):
        if end >= asked.first:
            yield max(first, asked.first), end


def _compare(folder: RunFolder, spoken: Conversation, asked: GraphRequest) -> Comparison:
    kinds = asked.kinds or ("addresses",)
    a = _condition(spoken, asked.condition) if asked.condition else ""
    b = _condition(spoken, asked.against) if asked.against else ""
    if not asked.around:
        return compare_conditions(
            spoken, a, b, kinds=kinds, first=asked.first, last=asked.last, guesses=asked.guesses
        )
    marked = find_marks(folder, asked.around)
    if b:
        given = changes_at_marks(spoken, marked, kinds=kinds, guesses=asked.guesses)
        return compare_vectors(spoken, given, a, b, seed=0)
    part = spoken.select(condition=a) if a else spoken
    return before_after(part, marked, kinds=kinds, guesses=asked.guesses)


def _other_graph(folder: RunFolder, asked: GraphRequest) -> Graph:
    trial = folder.transcripts.trial(asked.trial)["trial"] if asked.trial else None
    name = folder.id if trial is None else f"{folder.id}/{trial}"
    trials = folder.tables.read("trials", trial=trial)
    if asked.condition:
        keep = [asked.condition.casefold() in str(c).casefold() for c in trials["condition"]]
        trials = trials.filter(pa.array(keep, pa.bool_()))
    if asked.of == "branches":
        return other_graphs.branch_graph(trials.to_pylist(), name)
    own = trials["trial"].unique()
    if asked.of == "flips":
        scores = folder.tables.read("scores", trial=trial)
        return other_graphs.flip_graph(
            scores.filter(pc.is_in(scores["trial"], value_set=own)), name
        )
    calls = folder.tables.read("calls", columns=["trial", "branch", "role", "blocks"], trial=trial)
    calls = calls.filter(pc.is_in(calls["trial"], value_set=own))
    return other_graphs.exposure_graph(
        calls, folder.tables.read("blocks"), name, whole=trial is not None
    )
