"""The command `graph`: it makes graphs of who speaks to whom, prints their measures beside their
null models, and writes them to files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from improv import files
from improv.cli import terminal
from improv.cli.options import Runs, app, reported_errors

if TYPE_CHECKING:
    from improv.graph.build import GraphResult
    from improv.graph.comparison import Comparison
    from improv.graph.figure import MeasuredGraph
    from improv.graph.null_model import NullComparison

_WIDE = 150
"""Columns of a terminal that has room for a description of each measure."""
_PRINTED = 12
"""Graphs whose measures are printed, at most; the files contain all."""

What = Annotated[
    str,
    typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help="The run or scene to make graphs of."),
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        help="A file to write: .gexf, .graphml, .json, .dot, .csv, .svg or .png.",
    ),
]
Of = Annotated[
    str, typer.Option(help='The kind of graph: "talk", "branches", "exposure" or "flips".')
]
By = Annotated[str, typer.Option(help='One graph for each "condition" or "scene".')]
Kinds = Annotated[
    str, typer.Option(help="Only these kinds of edges: addresses,answers,mentions,note,cue.")
]
First = Annotated[
    int, typer.Option("--from", min=0, help="The first turn; 0 is the written opening.")
]
Last = Annotated[int | None, typer.Option("--to", min=0, help="The last turn.")]
Window = Annotated[int, typer.Option(min=0, help="One graph for each span of this many turns.")]
Guesses = Annotated[
    bool,
    typer.Option("--guesses/--no-guesses", help="Guess addressees that a line does not name."),
]
Each = Annotated[
    bool, typer.Option("--each", help="One edge for each line, not one for each pair.")
]
OnlyScene = Annotated[str, typer.Option(help="Only this scene, by its name.")]
OnlyCondition = Annotated[str, typer.Option(help="Only this condition.")]
Against = Annotated[str, typer.Option(help="Compare --condition with this condition.")]
Around = Annotated[
    str, typer.Option(help='Compare the turns before and after the first "break" or "move".')
]
Null = Annotated[
    bool, typer.Option("--null/--no-null", help="Compare each measure with a null model.")
]
RayForConditions = Annotated[
    str,
    typer.Option(
        "--ray",
        help='With --by condition: "off" measures one condition after another; "local" or the '
        "address of a Ray cluster measures several at once.",
    ),
]


@app.command("graph")
def graph_command(
    what: What = "last",
    output: Output = None,
    of: Of = "talk",
    by: By = "",
    kinds: Kinds = "",
    first: First = 1,
    last: Last = None,
    window: Window = 0,
    guesses: Guesses = True,
    each: Each = False,
    scene: OnlyScene = "",
    condition: OnlyCondition = "",
    against: Against = "",
    around: Around = "",
    null: Null = True,
    ray: RayForConditions = "off",
    runs: Runs = "runs",
) -> None:
    """Make graphs of who speaks to whom, measure them, and write them to files.

    Measures are means over scenes. The null model keeps each speaker's number of lines and
    shuffles their order. Conditions are compared within blocks.
    """
    with reported_errors():
        from improv.graph import build, parallel
        from improv.storage.runs import open_run

        run, _, trial = what.partition("/")
        edge_kinds = tuple(kind for kind in kinds.replace(",", " ").split() if kind)
        wanted = build.GraphRequest(
            trial=trial,
            of=of,
            by=by,
            kinds=edge_kinds,
            first=first,
            last=last,
            window=window,
            guesses=guesses,
            each=each,
            condition=condition,
            against=against,
            around=around,
            null=null,
            scene=scene,
        )
        folder = open_run(runs, run)
        files.check_writable(*(output or []))
        result = parallel.build_graphs_with_ray(folder, wanted, ray)
        _print_graphs(result)
        for name in output or []:
            for file, data in build.graph_files(result, name, edge_kinds):
                terminal.write_output(file, data)


def _print_graphs(result: GraphResult) -> None:
    """Print the size and measures of each graph, and the comparison, if there is measured."""
    for made in result.graphs[:_PRINTED]:
        _print_graph(result.title, made)
    if len(result.graphs) > _PRINTED:
        terminal.say(f"and {len(result.graphs) - _PRINTED} more graphs; the files contain all")
    if result.comparison is not None:
        _print_comparison(result.comparison)


def _print_graph(title: str, made: MeasuredGraph) -> None:
    from improv.graph.metrics import FIGURES

    graph = made.graph
    name = " · ".join(text for text in (title, made.name) if text)
    count = f"{len(graph)} nodes, {graph.number_of_edges()} edges"
    scenes = int(graph.graph.get("scenes", 0))
    source = f", of {scenes:,} scene{'s' if scenes != 1 else ''}" if scenes else ""
    terminal.say(f"{name}: {count}{source}")
    rows = [_row(name, value) for name, value in made.figures.items() if not _unknown(value)]
    if rows:
        wide = terminal.width() >= _WIDE
        names = ("figure", "mean [interval]", "if shuffled [95%]", "p")
        terminal.print_table(
            (*names, "what it is") if wide else names,
            [(*row, FIGURES[row[0]]) if wide else row for row in rows],
        )


def _row(name: str, measured: NullComparison) -> tuple[str, ...]:
    from improv.report.numbers import estimate_text, number

    estimate = measured.value
    mean = number(estimate.value) if math.isnan(estimate.low) else estimate_text(estimate)
    if measured.fixed:
        return name, mean, "the same", ""
    null = f"{number(measured.null)} [{number(measured.low)}, {number(measured.high)}]"
    return name, mean, null, number(measured.p)


def _unknown(measured: NullComparison) -> bool:
    return math.isnan(measured.value.value)


def _print_comparison(comparison: Comparison) -> None:
    from improv.report.numbers import estimate_text, number, p_text

    terminal.say(f"\n{comparison.a} less {comparison.b}, {comparison.units} {comparison.unit}")
    if comparison.dropped:
        terminal.say(
            f"{len(comparison.dropped)} {comparison.unit} were left out: "
            "they were played under one condition only"
        )
    if math.isnan(comparison.p):
        terminal.say(f"The networks: not tested, {comparison.why or 'there is nothing to test'}.")
    else:
        terminal.say(f"The networks as wholes: {p_text(comparison.p)} (permutation).")
    rows = [
        (
            f"{d.source} > {d.target}",
            number(d.a),
            number(d.b),
            estimate_text(d.estimate),
            number(d.p),
        )
        for d in sorted(
            comparison.pairs, key=lambda d: (math.isnan(d.p), d.p, -abs(d.estimate.value))
        )
    ]
    if rows:
        terminal.print_table(("edge", "a", "b", "a less b [interval]", "p, all edges"), rows)
    if comparison.figures:
        terminal.print_table(
            ("figure", "a less b [interval]", "p", "p (Benjamini–Hochberg)"),
            [
                (c.name, estimate_text(c.estimate), number(c.p), number(c.adjusted))
                for c in comparison.figures
            ],
        )
