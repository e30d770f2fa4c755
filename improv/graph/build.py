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
from improv.graph.comparison import Comparison, before_after, changes, compare, compared
from improv.graph.conversation import COLUMNS, PLACES, SPOKEN, Talk, completed, talk
from improv.graph.drawing import as_png
from improv.graph.edges import KINDS, windows
from improv.graph.figure import Made, drawn, telling
from improv.graph.file_formats import FORMATS, as_bytes
from improv.graph.graph import Graph, network
from improv.graph.null_model import beside
from improv.graph.persons import Cast
from improv.records import MAIN
from improv.storage.run_folder import RunFolder
from improv.storage.schemas import SCHEMAS, table_of

OF = ("talk", "branches", "exposure", "flips")
"""What there are graphs of."""
BY = ("condition", "scene")
AROUND = ("break", "move")
PICTURES = ("svg", "png")


@dataclass(frozen=True, slots=True)
class Asked:
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
class Graphed:
    """What came of it."""

    title: str
    made: list[Made]
    comparison: Comparison | None = None


def graphed(folder: RunFolder, asked: Asked) -> Graphed:
    """Read a run and make the graphs that are asked for. Raises RunError."""
    check(asked)
    row = folder.transcripts.trial(asked.trial) if asked.trial else None
    title = f"{row['title'] or row['scene']} · {row['condition']}" if row else folder.id
    if asked.of != "talk":
        return Graphed(title, [Made("", _other(folder, asked), {})])
    spoken = read_talk(folder, row["trial"], row["branch"]) if row else read_talk(folder)
    if not spoken.scenes:
        raise nothing_yet(folder)
    if asked.scene:
        spoken, title = _scene(spoken, asked.scene), titled(folder, asked)
    comparison = None
    if asked.against or asked.around:
        comparison = _compared(folder, spoken, asked)
    if asked.condition:
        spoken = spoken.of(condition=_condition(spoken, asked.condition))
    return Graphed(title, graphs(spoken, asked, _order(folder)), comparison)


def graphs(spoken: Talk, asked: Asked = Asked(), order: Sequence[str] = ()) -> list[Made]:
    """Return the graphs of a talk: one, or one for each condition, scene or window asked for."""
    parts = _parts(spoken, asked, order)
    return [made for name, part in parts for made in _graphs_of(name, part, asked)]


def _graphs_of(name: str, part: Talk, asked: Asked) -> Iterator[Made]:
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
            sure = part if asked.guesses else part.sure()
            figures = beside(sure, seed=0, first=first, last=last_turn)
        graph = network(
            part,
            name=full,
            kinds=asked.kinds or KINDS,
            first=first,
            last=last_turn,
            guesses=asked.guesses,
            each=asked.each,
        )
        yield Made(full, graph, figures, row)


def files(found: Graphed, name: str, kinds: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield the files that a name asks for, with what is in them. Raises RunError.

    The ending says the format. Pictures hold all graphs side by side, with edges of `kinds`; of
    the other formats there is a file for each, named after it.
    """
    path = PurePath(name)
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise RunError(f"{name}: no format is called so; end it in .{', .'.join(FORMATS)}")
    if form in PICTURES:
        svg = drawn(found.made, title=found.title, kinds=kinds)
        yield name, as_png(svg) if form == "png" else svg.encode()
        return
    taken: set[str] = set()
    for made in found.made:
        stem = path.stem
        if len(found.made) > 1:
            stem += "-" + (re.sub(r"[^\w]+", "-", made.name).strip("-").lower()[:80] or "graph")
        one = next(
            s
            for s in itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2)))
            if s not in taken
        )
        taken.add(one)
        yield str(path.with_name(one + path.suffix)), as_bytes(made.graph, form)


def by_condition(folder: RunFolder) -> list[Made]:
    """Return the graph of each condition of a run, with its figures. Raises RunError."""
    return graphs(read_talk(folder), Asked(by="condition"), _order(folder))


# --- condition by condition


@dataclass(frozen=True, slots=True)
class Split:
    """A run in parts that can be read and measured apart: each condition with what it is called
    beside the others, and the casts of the whole, so that every part knows the same people."""

    conditions: tuple[tuple[str, str], ...]
    casts: Mapping[str, Cast]


def splits(asked: Asked) -> bool:
    """Whether what is asked for falls into conditions that need not know of each other."""
    whole = (asked.trial, asked.condition, asked.against, asked.around)
    return asked.of == "talk" and asked.by == "condition" and not any(whole)


def split(folder: RunFolder) -> Split:
    """Find the conditions of a run, without reading what was said. Raises RunError."""
    trials = _trials(folder)
    if not len(trials):
        raise nothing_yet(folder)
    turns = folder.tables.read_batches("turns", SPOKEN)
    names = trials["condition"].unique().to_pylist()
    return Split(tuple(_called(names, _order(folder))), completed(turns, trials, casts(folder)))


def part(folder: RunFolder, asked: Asked, condition: str, called: str, given: Split) -> list[Made]:
    """Return the graphs of one condition, as `graphed` makes them of the whole: its turns are read
    in pieces, and those of others never held. Raises RunError."""
    trials = _trials(folder)
    own = trials.filter(pc.equal(trials["condition"], condition))["trial"].unique()
    pieces = [
        piece.filter(pc.is_in(piece["trial"], value_set=own))
        for piece in folder.tables.read_batches("turns", COLUMNS)
    ]
    turns = pa.concat_tables(pieces) if pieces else SCHEMAS["turns"].empty_table().select(COLUMNS)
    # All trials, so that codes are those of the whole.
    spoken = talk(turns, trials, given.casts).of(condition=condition)
    spoken = _scene(spoken, asked.scene) if asked.scene else spoken
    return list(_graphs_of(called, spoken, asked)) if spoken.scenes else []


def titled(folder: RunFolder, asked: Asked) -> str:
    """Return what stands over the graphs of a run."""
    return f"{folder.id} · {asked.scene}" if asked.scene else folder.id


def nothing_yet(folder: RunFolder) -> RunError:
    return RunError(f"{folder.id}: no scene of it is finished yet")


# --- reading


def read_talk(folder: RunFolder, trial: str = "", branch: str = MAIN) -> Talk:
    """Return who spoke when to whom in a run's finished scenes, or in one of them.

    A branch is read with what it shares with its parents. Raises RunError.
    """
    trials = _trials(folder, trial, branch)
    if branch == MAIN:
        turns = folder.tables.read("turns", columns=COLUMNS, trial=trial or None)
    else:
        table = table_of("turns", folder.transcripts.read(trial, branch).turns).select(COLUMNS)
        at = COLUMNS.index("branch")
        turns = table.set_column(at, "branch", pa.array([branch] * len(table), pa.string()))
    found = talk(turns, trials, casts(folder))
    del turns
    # The words of a million lines are not needed any more.
    pa.default_memory_pool().release_unused()
    return found


def _trials(folder: RunFolder, trial: str = "", branch: str = MAIN) -> pa.Table:
    found = folder.tables.read("trials", columns=[*PLACES, "index"], trial=trial or None)
    return found.filter(pc.equal(found["branch"], branch)).sort_by("index")


def casts(folder: RunFolder) -> dict[str, Cast]:
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


def marks(folder: RunFolder, around: str) -> dict[str, int]:
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


def check(asked: Asked) -> None:
    """Raise RunError where no graphs are of what is asked for."""
    for value, known, what in (
        (asked.of, OF, "graphs are of"),
        (asked.by, ("", *BY), "graphs are by"),
        (asked.around, ("", *AROUND), "networks are compared around"),
    ):
        if value not in known:
            raise RunError(f"{value}: {what} {', '.join(k for k in known if k)}")
    for kind in asked.kinds:
        if kind not in KINDS:
            raise RunError(f"{kind}: no kind of edge; there are {', '.join(KINDS)}")
    if asked.against and not asked.condition:
        raise RunError("--against needs the --condition that is compared with it")
    if asked.last is not None and asked.last < asked.first:
        raise RunError(f"turns {asked.first} to {asked.last}: there are none")


def _order(folder: RunFolder) -> list[str]:
    found = folder.meta().get("conditions", [])
    return [str(name) for name in found] if isinstance(found, list) else []


def _condition(spoken: Talk, name: str) -> str:
    """Return the condition of this name, or the only one that has it in its own."""
    near = [c for c in spoken.conditions if c == name]
    near = near or [c for c in spoken.conditions if name.casefold() in c.casefold()]
    if len(near) != 1:
        why = "means several conditions" if near else "is no condition of this run"
        raise RunError(f"{name}: {why}; there are {', '.join(spoken.conditions)}")
    return near[0]


def _scene(spoken: Talk, slug: str) -> Talk:
    if slug not in spoken.slugs:
        raise RunError(f"{slug}: no scene of this run; there are {', '.join(spoken.slugs)}")
    return spoken.only(spoken.slug == spoken.slugs.index(slug))


def _parts(spoken: Talk, asked: Asked, order: Sequence[str]) -> Iterator[tuple[str, Talk]]:
    """Yield each part that has a graph of its own: its name, and its talk."""
    if asked.by == "condition":
        for name, called in _called(spoken.conditions, order):
            one = spoken.of(condition=name)
            if one.scenes:
                yield called, one
    elif asked.by == "scene":
        for code, slug in enumerate(spoken.slugs):
            one = spoken.only(spoken.slug == code)
            if one.scenes:
                yield slug, one
    else:
        yield "", spoken


def _called(conditions: Sequence[str], order: Sequence[str]) -> list[tuple[str, str]]:
    """Return conditions in the order of the study, each with what it is called beside the rest."""
    names = [c for c in order if c in conditions]
    names += [c for c in conditions if c not in names]
    return list(zip(names, telling(names), strict=True))


def _spans(asked: Asked, last: int) -> Iterator[tuple[int, int | None]]:
    for first, end in windows(last, asked.window):
        if end >= asked.first:
            yield max(first, asked.first), end


def _compared(folder: RunFolder, spoken: Talk, asked: Asked) -> Comparison:
    kinds = asked.kinds or ("addresses",)
    a = _condition(spoken, asked.condition) if asked.condition else ""
    b = _condition(spoken, asked.against) if asked.against else ""
    if not asked.around:
        return compare(
            spoken, a, b, kinds=kinds, first=asked.first, last=asked.last, guesses=asked.guesses
        )
    marked = marks(folder, asked.around)
    if b:
        given = changes(spoken, marked, kinds=kinds, guesses=asked.guesses)
        return compared(spoken, given, a, b, seed=0)
    part = spoken.of(condition=a) if a else spoken
    return before_after(part, marked, kinds=kinds, guesses=asked.guesses)


def _other(folder: RunFolder, asked: Asked) -> Graph:
    trial = folder.transcripts.trial(asked.trial)["trial"] if asked.trial else None
    name = folder.id if trial is None else f"{folder.id}/{trial}"
    trials = folder.tables.read("trials", trial=trial)
    if asked.condition:
        keep = [asked.condition.casefold() in str(c).casefold() for c in trials["condition"]]
        trials = trials.filter(pa.array(keep, pa.bool_()))
    if asked.of == "branches":
        return other_graphs.branches(trials.to_pylist(), name)
    own = trials["trial"].unique()
    if asked.of == "flips":
        scores = folder.tables.read("scores", trial=trial)
        return other_graphs.flips(scores.filter(pc.is_in(scores["trial"], value_set=own)), name)
    calls = folder.tables.read("calls", columns=["trial", "branch", "role", "blocks"], trial=trial)
    calls = calls.filter(pc.is_in(calls["trial"], value_set=own))
    return other_graphs.exposure(calls, folder.tables.read("blocks"), name, whole=trial is not None)
