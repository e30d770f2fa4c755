"""Commands that check files and the machine: validate, schema, doctor, puppet."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from improv.cli import terminal
from improv.cli.importing import print_accounts
from improv.cli.options import MaxTrials, RayAt, Runs, app, reported_errors
from improv.errors import StudyError
from improv.study.limits import MAX_TRIALS


@app.command("validate")
def validate_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Scenes and studies.")],
    max_trials: MaxTrials = MAX_TRIALS,
) -> None:
    """Check scene and study files; print all problems, and exit with code 2 if there are any."""
    from improv.study.loader import load, named_cards, sources
    from improv.study.trial import plan

    problem_count = 0
    for file in files:
        try:
            study = load(file, max_trials=max_trials)
        except StudyError as e:
            problem_count += len(e.problems)
            terminal.plain_error(str(e))
        else:
            count = len(plan(study))
            terminal.say(f"{file}: good ({count} trial{'s' if count != 1 else ''})")
            print_accounts(named_cards(file), brief=True)
            for note in (note for source in sources(file) for note in source.notes):
                terminal.plain_error(f"{note.file}:{note.line}:{note.column}: note: {note.what}")
    if problem_count:
        terminal.plain_error(f"{problem_count} problem{'s' if problem_count != 1 else ''} found")
        raise typer.Exit(2)


@app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of scene and study files, for editors."""
    from improv.study.design import study_schema

    print(orjson.dumps(study_schema(), option=orjson.OPT_INDENT_2).decode())


@app.command("doctor")
def doctor_command(runs: Runs = "runs", ray: RayAt = "local") -> None:
    """Check the installation, the model, Ray and the runs folder, and say how to mend each."""
    with reported_errors():
        from improv.runner.doctor import examine

        good = True
        for finding in examine(runs, ray):
            terminal.finding(finding)
            good = good and finding.good
    raise typer.Exit(0 if good else 3)


@app.command("puppet")
def puppet_command(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")
    ] = 0,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each reply.")] = 0.0,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="Probability that a character breaks, at each line.")
    ] = 0.1,
    beta: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Probability that a broken character recovers, at each line."
        ),
    ] = 0.3,
) -> None:
    """Serve a puppet at an OpenAI-compatible address: a fake model with known probabilities."""
    from improv.models.puppet.server import serve_puppet
    from improv.study.puppet_spec import Puppet

    serve_puppet(Puppet(latency=latency, alpha=alpha, beta=beta), port)
