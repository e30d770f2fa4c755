"""Commands that ask what came of it: score, report, compare, graph, power."""

from __future__ import annotations

from typing import Annotated

import typer

from improv import files
from improv.cli import terminal
from improv.cli.options import (
    Connections,
    MaxCalls,
    MaxCost,
    MaxTokens,
    Runs,
    Trust,
    app,
    leave,
    telling,
)


@app.command("score")
def score_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    measure: Annotated[
        list[str] | None, typer.Option(help="Only this measure; may be given several times.")
    ] = None,
    judge: Annotated[
        str, typer.Option(help='Who judges: "embedded", "puppet", a GGUF, or a model\'s name.')
    ] = "",
    base_url: Annotated[str | None, typer.Option(help="The judge's address.")] = None,
    second_judge: Annotated[
        str, typer.Option(help="Another judge, whose agreement with the first is reported.")
    ] = "",
    second_base_url: Annotated[str | None, typer.Option(help="Its address, if another.")] = None,
    plants: Annotated[
        int, typer.Option(min=0, help="Planted lines of each truth for each condition.")
    ] = 60,
    lines: Annotated[
        str | None, typer.Option(help="A file of planted lines, for scenes that ship none.")
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Ask again what a judge has said already.")
    ] = False,
    runs: Runs = "runs",
    connections: Connections = 64,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    trust: Trust = None,
) -> None:
    """Score a played run, by measures and by judges; nothing is played.

    Verdicts that the run holds are not asked for again. Budgets are for this call.
    """
    with telling():
        from improv.models.budget import Budget
        from improv.scoring.scorer import Judges, score
        from improv.storage.runs import open_run

        judges = Judges(
            judge, second_judge, base_url, second_base_url, plants, lines, tuple(trust or ())
        )
        with terminal.counting("verdicts") as tell:
            result = score(
                open_run(runs, run),
                tuple(measure or ()),
                judges,
                redo=redo,
                connections=connections,
                budget=Budget(max_calls, max_tokens, max_cost),
                tell=tell,
            )
        terminal.scored(result)
    leave(result)


@app.command("report")
def report_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    runs: Runs = "runs",
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="report.html or report.md; both in . by default."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="A study whose plan to analyse by; exploratory if it is another's."),
    ] = None,
) -> None:
    """Write a page on a run that a referee could read: result, design, controls, who saw what."""
    with telling():
        from improv.report.material import appraise
        from improv.report.run_report import report
        from improv.storage.runs import open_run
        from improv.study.loader import load

        folder = open_run(runs, run)
        names = [output] if output else [f"{folder.id}.html", f"{folder.id}.md"]
        files.check_writable(*names)
        page = report(appraise(folder, load(plan).plan if plan else None))
        for name in names:
            text = page.as_markdown() if name.endswith(".md") else page.as_html()
            terminal.write(name, text)


@app.command("compare")
def compare_command(
    runs_of: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, two or more.")],
    runs: Runs = "runs",
    output: Annotated[
        str, typer.Option("-o", "--output", help="Where to: an .html or an .md file.")
    ] = "compare.html",
) -> None:
    """Set runs side by side, of several models say: the same plan's findings, run by run."""
    with telling():
        from improv.report.comparison import compared
        from improv.report.material import appraise
        from improv.storage.runs import open_run

        folders = [open_run(runs, run) for run in runs_of]
        files.check_writable(output)
        page = compared([appraise(folder) for folder in folders])
        text = page.as_markdown() if output.endswith(".md") else page.as_html()
        terminal.write(output, text)


@app.command("graph")
def graph_command(
    what: Annotated[
        str, typer.Argument(metavar="RUN[/TRIAL[~BRANCH]]", help="What to make graphs of.")
    ] = "last",
    output: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", help="A file: .gexf .graphml .json .dot .csv .svg or .png."),
    ] = None,
    of: Annotated[str, typer.Option(help='"talk", "branches", "exposure" or "flips".')] = "talk",
    by: Annotated[str, typer.Option(help='A graph for each "condition" or "scene".')] = "",
    kinds: Annotated[
        str, typer.Option(help="Of addresses,answers,mentions,note,cue: these alone.")
    ] = "",
    first: Annotated[
        int, typer.Option("--from", min=0, help="The first turn; 0 is the written opening.")
    ] = 1,
    last: Annotated[int | None, typer.Option("--to", min=0, help="The last turn.")] = None,
    window: Annotated[
        int, typer.Option(min=0, help="A graph for each stretch of so many turns.")
    ] = 0,
    guesses: Annotated[
        bool, typer.Option("--guesses/--no-guesses", help="With whom the order of turns suggests.")
    ] = True,
    each: Annotated[bool, typer.Option("--each", help="An edge for every single line.")] = False,
    scene: Annotated[str, typer.Option(help="Of one scene alone, by its name.")] = "",
    condition: Annotated[str, typer.Option(help="Of one condition alone.")] = "",
    against: Annotated[str, typer.Option(help="Another, to compare it with.")] = "",
    around: Annotated[
        str, typer.Option(help='Compare before and after the first "break" or "move".')
    ] = "",
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Measure, beside a null model.")
    ] = True,
    ray: Annotated[
        str,
        typer.Option(
            "--ray",
            help='With --by condition: "off", or conditions at once by the Ray at "local" or '
            "the address of a cluster.",
        ),
    ] = "off",
    runs: Runs = "runs",
) -> None:
    """Make graphs of who speaks to whom, measure them, and write them to files.

    Figures are means over scenes. The null model keeps how much everybody says and shuffles the
    order. Conditions are compared within blocks.
    """
    with telling():
        from improv.cli import terminal_graph
        from improv.graph import build, parallel
        from improv.storage.runs import open_run

        run, _, trial = what.partition("/")
        wanted = tuple(kind for kind in kinds.replace(",", " ").split() if kind)
        asked = build.GraphRequest(
            trial,
            of,
            by,
            wanted,
            first,
            last,
            window,
            guesses,
            each,
            condition,
            against,
            around,
            null,
            scene,
        )
        folder = open_run(runs, run)
        files.check_writable(*(output or []))
        found = parallel.build_graphs_with_ray(folder, asked, ray)
        terminal_graph.print_graphs(found)
        for name in output or []:
            for file, data in build.graph_files(found, name, wanted):
                terminal.write(file, data)


@app.command("power")
def power_command(
    study: Annotated[str, typer.Argument(help="A study with a plan and a planted truth.")],
    planted: Annotated[str, typer.Option(help="Which planted truth puppets play.")] = "effect",
    sizes: Annotated[
        list[int] | None, typer.Option("-n", min=2, help="Blocks of a study; several.")
    ] = None,
    pool: Annotated[
        int, typer.Option(min=4, max=5000, help="Blocks that are played and drawn from.")
    ] = 200,
    repetitions: Annotated[
        int, typer.Option(min=10, max=100_000, help="Studies drawn at each size.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Changes which studies are drawn.")] = 0,
) -> None:
    """Say how often the plan of a study would find what is planted, at several sizes."""
    with telling():
        from improv.runner.power import SIZES, powers, rehearse
        from improv.study.loader import load

        loaded = load(study, None, planted)
        with terminal.progress() as watch:
            given = rehearse(loaded, blocks=pool, watch=watch)
        found = powers(loaded, given, sizes or SIZES, repetitions=repetitions, seed=seed)
        terminal.power(found, planted, pool, repetitions)
