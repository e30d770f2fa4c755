"""The command that registers a plan: prints its hash for a witness, and compares a run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from improv.cli import terminal
from improv.cli.options import Runs, app, reported_errors
from improv.cli.run import BaseUrl, Limit, ModelName, Planted, PlayMode, Replicates, Turns, patched
from improv.errors import RunError

Check = Annotated[
    str | None,
    typer.Option("--check", metavar="FILE", help="Compare a run with what was registered."),
]


@app.command("plan")
def plan_command(
    what: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study with a plan; with --check, a run.")
    ],
    check: Check = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="The .json file to write.")
    ] = None,
    model: ModelName = None,
    base_url: BaseUrl = None,
    mode: PlayMode = None,
    turns: Turns = None,
    replicates: Replicates = None,
    planted: Planted = "",
    limit: Limit = None,
    runs: Runs = "runs",
) -> None:
    """Print a plan's hash and that of its trials, to be kept elsewhere before the first call.

    Give the same options as to `improv run`: they decide which trials are played. Put what is
    printed where a date is kept that you cannot change: a registry, a mail, a public commit.
    """
    with reported_errors():
        if check is not None:
            same = _check(check, runs, what)
        else:
            patch = patched(turns, model=model, base_url=base_url, mode=mode)
            _print(what, patch, planted, replicates, limit, output)
            same = True
    raise typer.Exit(0 if same else 1)


def _print(
    name: str,
    patch: dict[str, object],
    planted: str,
    replicates: int | None,
    limit: int | None,
    output: str | None,
) -> None:
    from improv.runner.registration import registration
    from improv.runner.run_history import first_record
    from improv.runner.session import Setup
    from improv.study.loader import load
    from improv.study.trial import plan

    study = load(name, patch, planted, replicates=replicates)
    trials = plan(study).first(limit)
    row = registration(study, trials, first_record(study, trials, Setup(), None))
    text = orjson.dumps(row, option=orjson.OPT_INDENT_2).decode() + "\n"
    if output is None:
        print(text, end="")
    else:
        terminal.write_output(output, text)


def _check(name: str, runs: str, run: str) -> bool:
    from improv.runner.registration import compare, read_registration
    from improv.storage.runs import open_run

    folder = open_run(runs, run)
    registered = read_registration(_read(name), name)
    problems = compare(registered, folder.meta(), folder.history)
    for problem in problems:
        terminal.plain_error(f"{folder.id}: {problem}")
    if not problems:
        terminal.say(f"{folder.id}: is the run that was registered on {registered.get('made')}")
    return not problems


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as e:
        raise RunError(f"{name}: cannot be read: {e.strerror or e}") from None
