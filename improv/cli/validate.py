"""Commands for the writing desk: new, validate, schema, doctor, puppet."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated

import orjson
import typer

from improv.cli import terminal, terminal_cards
from improv.cli.options import RayAt, Runs, app, telling
from improv.errors import StudyError


class Kind(StrEnum):
    """What a new file is of."""

    SCENE = "scene"
    STUDY = "study"


@app.command("new")
def new_command(
    kind: Annotated[Kind, typer.Argument(metavar="scene|study", help="What it is to be.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name; the file is NAME.yaml.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Another file than NAME.yaml.")
    ] = "",
) -> None:
    """Write a small scene or study to begin with, with comments on what to change.

    A study plays the scene beside it that was written last, or one that ships with improv. No file
    is overwritten.
    """
    with telling():
        from improv.cli.beginnings import write_new

        file = write_new(kind, name, output)
        terminal.say(f"written: {file}")
        terminal.say(f"check it with: improv validate {shlex.quote(str(file))}")


@app.command("validate")
def validate_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Scenes and studies.")],
) -> None:
    """Check scene and study files; print everything that is wrong with them and exit 2."""
    from improv.study.loader import load, named_cards
    from improv.study.trial import plan

    wrong = 0
    for file in files:
        try:
            study = load(file)
        except StudyError as e:
            wrong += len(e.problems)
            terminal.plain_error(str(e))
        else:
            count = len(plan(study))
            terminal.say(f"{file}: good ({count} trial{'s' if count != 1 else ''})")
            terminal_cards.accounts(named_cards(file), brief=True)
    if wrong:
        terminal.plain_error(f"{wrong} problem{'s' if wrong != 1 else ''} found")
        raise typer.Exit(2)


@app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of scene and study files, for editors."""
    from improv.study.design import study_schema

    print(orjson.dumps(study_schema(), option=orjson.OPT_INDENT_2).decode())


@app.command("doctor")
def doctor_command(runs: Runs = "runs", ray: RayAt = "local") -> None:
    """Say what is installed, which model would play, and whether everything answers."""
    with telling():
        from improv.runner.doctor import examine

        good = True
        for finding in examine(runs, ray):
            terminal.finding(finding)
            good = good and finding.good
    raise typer.Exit(0 if good else 3)


@app.command("puppet")
def puppet_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each reply.")] = 0.0,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="P(a character breaks) at a line.")
    ] = 0.1,
    beta: Annotated[float, typer.Option(min=0, max=1, help="P(it recovers) at a line.")] = 0.3,
) -> None:
    """Serve a puppet, a fake model with a declared process, at an OpenAI-compatible address."""
    from improv.models.puppet.server import serve_puppet
    from improv.study.puppet_spec import Puppet

    serve_puppet(Puppet(latency=latency, alpha=alpha, beta=beta), port)
