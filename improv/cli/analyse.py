"""Commands that analyse runs: score, report, compare; and power, which analyses a plan."""

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
    PriceOption,
    Runs,
    Trust,
    app,
    exit_with,
    reported_errors,
)

MeasureNames = Annotated[
    list[str] | None, typer.Option(help="Compute only this measure; repeatable.")
]
JudgeName = Annotated[
    str, typer.Option(help='The judge: "embedded", "puppet", a GGUF file, or a model\'s name.')
]
JudgeUrl = Annotated[str | None, typer.Option(help="The address of the judge's endpoint.")]
SecondJudge = Annotated[str, typer.Option(help="A second judge; the report shows its agreement.")]
SecondUrl = Annotated[str | None, typer.Option(help="The second judge's address, if it differs.")]
Plants = Annotated[
    int, typer.Option(min=0, help="Planted lines for calibration, for each truth and condition.")
]
JudgeMaxTokens = Annotated[
    int | None, typer.Option(min=1, max=4000, help="At most this many tokens a verdict (60).")
]
JudgeTemperature = Annotated[
    float | None, typer.Option(min=0, max=5, help="The judges' temperature (0).")
]


@app.command("score")
def score_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    measure: MeasureNames = None,
    judge: JudgeName = "",
    base_url: JudgeUrl = None,
    second_judge: SecondJudge = "",
    second_base_url: SecondUrl = None,
    plants: Plants = 60,
    lines: Annotated[
        str | None, typer.Option(help="A file of planted lines, for scenes that contain none.")
    ] = None,
    judge_max_tokens: JudgeMaxTokens = None,
    judge_temperature: JudgeTemperature = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Ask judges again, even where verdicts exist.")
    ] = False,
    runs: Runs = "runs",
    connections: Connections = 64,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    price: PriceOption = None,
    trust: Trust = None,
) -> None:
    """Score the lines of a played run with measures and judges.

    Judges are not asked again where the run has their verdicts. Budgets apply to this command.
    """
    with reported_errors():
        from improv.models.budget import Budget
        from improv.scoring.judge_models import Judges
        from improv.scoring.scorer import score
        from improv.storage.runs import open_run

        judges = Judges(
            first=judge,
            second=second_judge,
            base_url=base_url,
            second_base_url=second_base_url,
            plants=plants,
            lines=lines,
            trusted=tuple(trust or ()),
            max_tokens=judge_max_tokens,
            temperature=judge_temperature,
            price=price,
        )
        with terminal.counting("verdicts") as report_count:
            result = score(
                open_run(runs, run),
                tuple(measure or ()),
                judges,
                redo=redo,
                connections=connections,
                budget=Budget(max_calls, max_tokens, max_cost),
                tell=report_count,
            )
        terminal.scored(result)
    exit_with(result)


@app.command("report")
def report_command(
    run: Annotated[str, typer.Argument(help='A run\'s id, its beginning, or "last".')] = "last",
    runs: Runs = "runs",
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="An .html or .md file; by default RUN.html and RUN.md in this folder.",
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            help="Analyse by the plan of this study; exploratory if it is not the run's own."
        ),
    ] = None,
) -> None:
    """Write a report on a run for a referee: result, design, controls, exposure of conditions."""
    with reported_errors():
        from improv.report.material import read_material
        from improv.report.run_report import report
        from improv.storage.runs import open_run
        from improv.study.loader import load

        folder = open_run(runs, run)
        names = [output] if output else [f"{folder.id}.html", f"{folder.id}.md"]
        files.check_writable(*names)
        material = read_material(folder, load(plan).plan if plan else None)
        for difference in material.differences:
            terminal.complain(difference)
        page = report(material)
        for name in names:
            text = page.as_markdown() if name.endswith(".md") else page.as_html()
            terminal.write_output(name, text)


@app.command("compare")
def compare_command(
    runs_of: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two or more runs.")],
    runs: Runs = "runs",
    output: Annotated[
        str, typer.Option("-o", "--output", help="The .html or .md file to write.")
    ] = "compare.html",
) -> None:
    """Compare runs of the same plan, for example of several models, side by side on one page."""
    with reported_errors():
        from improv.report.comparison import comparison_page
        from improv.report.material import read_material
        from improv.storage.runs import open_run

        folders = [open_run(runs, run) for run in runs_of]
        files.check_writable(output)
        materials = [read_material(folder, by="compare") for folder in folders]
        for difference in (d for material in materials for d in material.differences):
            terminal.complain(difference)
        page = comparison_page(materials)
        text = page.as_markdown() if output.endswith(".md") else page.as_html()
        terminal.write_output(output, text)


@app.command("power")
def power_command(
    study: Annotated[str, typer.Argument(help="A study with a plan and a planted truth.")],
    planted: Annotated[str, typer.Option(help="The planted truth that puppets play.")] = "effect",
    sizes: Annotated[
        list[int] | None, typer.Option("-n", min=2, help="Number of blocks of a study; repeatable.")
    ] = None,
    pool: Annotated[
        int,
        typer.Option(
            min=4, max=5000, help="Blocks that puppets play; studies are drawn from them."
        ),
    ] = 200,
    repetitions: Annotated[
        int, typer.Option(min=10, max=100_000, help="Number of studies drawn for each size.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the drawing of studies.")] = 0,
) -> None:
    """Estimate the power of a study's plan: how often it finds a planted effect, by study size."""
    with reported_errors():
        from improv.runner.power import SIZES, powers, rehearse
        from improv.study.loader import load

        loaded = load(study, None, planted)
        with terminal.progress() as watch:
            rehearsal = rehearse(loaded, blocks=pool, watch=watch)
        estimates = powers(loaded, rehearsal, sizes or SIZES, repetitions=repetitions, seed=seed)
        terminal.power(estimates, planted, pool, repetitions)
